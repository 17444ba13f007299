package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
)

// TakeLeadership makes this server the leader, under a new term, unless another
// one is and its time has not run out. It waits for the claims of the leader
// before to commit, so that none can commit later.
func (s SystemDB) TakeLeadership(ctx context.Context, server corp.ServerID, address string, ttl time.Duration) (term int64, ok bool, err error) {
	terms, err := querySystem(ctx, s, pgx.RowTo[int64], `
		INSERT INTO leaders (shard, term, holder, address, expires_at)
		VALUES (0, 1, $1, $2, clock_timestamp() + $3::bigint * interval '1 millisecond')
		ON CONFLICT (shard) DO UPDATE SET term = leaders.term + 1, holder = excluded.holder, address = excluded.address, expires_at = excluded.expires_at
			WHERE leaders.expires_at <= clock_timestamp() OR leaders.holder = excluded.holder
		RETURNING term`, server, address, ttl.Milliseconds())
	if err != nil || len(terms) == 0 {
		return 0, false, err
	}
	return terms[0], true, nil
}

// RenewLeadership prolongs a term. It also does so after the term's time ran out,
// as long as nobody has begun the next one: then nobody else has led meanwhile.
func (s SystemDB) RenewLeadership(ctx context.Context, server corp.ServerID, term int64, ttl time.Duration) (ok bool, err error) {
	n, err := execSystem(ctx, s, `
		UPDATE leaders SET expires_at = clock_timestamp() + $3::bigint * interval '1 millisecond'
		WHERE shard = 0 AND holder = $1 AND term = $2`, server, term, ttl.Milliseconds())
	return n == 1, err
}

// Resign ends this server's term, so that another one need not wait for it. It
// does nothing to another's.
func (s SystemDB) Resign(ctx context.Context, server corp.ServerID, term int64) error {
	_, err := execSystem(ctx, s, `
		UPDATE leaders SET expires_at = least(expires_at, clock_timestamp()) WHERE shard = 0 AND holder = $1 AND term = $2`, server, term)
	return err
}

// Leader returns where the leader is and its term; "" and 0 when nobody leads.
func (s SystemDB) Leader(ctx context.Context) (address string, term int64, err error) {
	type leader struct {
		Address string
		Term    int64
	}
	found, err := querySystem(ctx, s, pgx.RowToStructByName[leader], `SELECT address, term FROM leaders WHERE shard = 0 AND expires_at > clock_timestamp()`)
	if err != nil || len(found) == 0 {
		return "", 0, err
	}
	return found[0].Address, found[0].Term, nil
}

// queuedColumns are what the leader needs to place a run r.
const queuedColumns = `r.workspace_id AS workspace, r.id AS run_id, r.task_id, r.agent_id, r.repository_id, r.runtime, r.epoch, r.priority, r.labels, r.not_before, r.created_at`

const selectQueue = `
	SELECT ` + queuedColumns + `
	FROM runs r
	JOIN workspaces w ON w.workspace_id = r.workspace_id AND w.archived_at IS NULL
	WHERE r.state = 'queued' `

// Queue returns all runs that wait for a runner, oldest first, those whose time
// has not come included.
func (s SystemDB) Queue(ctx context.Context) ([]QueuedRun, error) {
	return querySystem(ctx, s, pgx.RowToStructByName[QueuedRun], selectQueue+`ORDER BY r.created_at, r.id`)
}

// QueueOf is Queue for some workspaces: those that a notice named.
func (s SystemDB) QueueOf(ctx context.Context, workspaces []corp.WorkspaceID) ([]QueuedRun, error) {
	return querySystem(ctx, s, pgx.RowToStructByName[QueuedRun], selectQueue+`AND r.workspace_id = ANY($1) ORDER BY r.created_at, r.id`, workspaces)
}

// Leased returns all runs that take up a slot.
func (s SystemDB) Leased(ctx context.Context) ([]LeasedRun, error) {
	return querySystem(ctx, s, pgx.RowToStructByName[LeasedRun], `
		SELECT workspace_id AS workspace, id AS run_id, runner_id, state FROM runs WHERE state IN ('leased', 'running', 'waiting')`)
}

// Limits returns how many runs of each workspace may be leased at a time, by its
// plan and its own limit; 0 is unlimited.
func (s SystemDB) Limits(ctx context.Context) (map[corp.WorkspaceID]int, error) {
	type limit struct {
		WorkspaceID corp.WorkspaceID
		Concurrency int
	}
	found, err := querySystem(ctx, s, pgx.RowToStructByName[limit], `
		SELECT w.workspace_id, coalesce(least(nullif(w.concurrency, 0), nullif(p.concurrency, 0)), 0) AS concurrency
		FROM workspaces w JOIN plans p ON p.name = w.plan WHERE w.archived_at IS NULL`)
	limits := make(map[corp.WorkspaceID]int, len(found))
	for _, l := range found {
		limits[l.WorkspaceID] = l.Concurrency
	}
	return limits, err
}

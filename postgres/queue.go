package postgres

import (
	"context"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// queuedColumns are what the leader needs to place a run r.
const queuedColumns = `r.workspace_id AS workspace, r.id AS run_id, r.task_id, r.agent_id, r.repository_id, r.runtime, r.epoch, r.priority, r.labels, r.not_before,
	(extract(epoch FROM r.not_before - clock_timestamp()) * 1000)::bigint AS due_in_ms, r.created_at`

const leasedColumns = `r.workspace_id AS workspace, r.id AS run_id, r.runner_id, r.agent_id, r.repository_id, r.epoch,
	coalesce((extract(epoch FROM clock_timestamp() - r.leased_at) * 1000)::bigint, 0) AS age_ms`

// inHand are the states of a run that takes up a slot, as the index has them.
const inHand = `r.state IN ('leased', 'running', 'waiting')`

// WorkspaceQueues returns what the leader must know of the workspaces that follow
// one, in the order of their ids, at most so many, and at most so many runs of
// the head of each queue. Archived and suspended ones are not among them.
func (s SystemDB) WorkspaceQueues(ctx context.Context, after corp.WorkspaceID, workspaces, head int) ([]WorkspaceQueue, error) {
	return s.workspaceQueues(ctx, `
		SELECT workspace_id FROM workspaces WHERE archived_at IS NULL AND suspended_at IS NULL AND ($1::uuid IS NULL OR workspace_id > $1) ORDER BY workspace_id LIMIT $2`, head, after, workspaces)
}

// WorkspaceQueuesOf is WorkspaceQueues for some workspaces.
func (s SystemDB) WorkspaceQueuesOf(ctx context.Context, workspaces []corp.WorkspaceID, head int) ([]WorkspaceQueue, error) {
	return s.workspaceQueues(ctx, `
		SELECT workspace_id FROM workspaces WHERE archived_at IS NULL AND suspended_at IS NULL AND workspace_id = ANY($1) LIMIT $2`, head, workspaces, len(workspaces))
}

// workspaceQueues reads what is in hand before what is queued: a run that goes
// back to the queue in between is in both, and never in neither.
func (s SystemDB) workspaceQueues(ctx context.Context, page string, head int, args ...any) ([]WorkspaceQueue, error) {
	type share struct {
		WorkspaceID                     corp.WorkspaceID
		Plan                            string
		PlanWeight, Weight, Concurrency int
	}
	type limit struct {
		WorkspaceID  corp.WorkspaceID
		AgentID      corp.AgentID
		RepositoryID corp.RepositoryID
		Concurrency  int
	}
	var shares []share
	var limits []limit
	var leased []LeasedRun
	var queued []QueuedRun
	page = `WITH page AS (` + page + `) `
	err := s.door.ReadTogether(ctx, func(b *pgx.Batch) {
		readInto(b, &shares, page+`
			SELECT w.workspace_id, w.plan, p.weight AS plan_weight, w.weight, coalesce(least(nullif(w.concurrency, 0), nullif(p.concurrency, 0)), 0) AS concurrency
			FROM page JOIN workspaces w USING (workspace_id) JOIN plans p ON p.name = w.plan ORDER BY w.workspace_id`, args...)
		readInto(b, &limits, page+`
			SELECT a.workspace_id, a.id AS agent_id, NULL::uuid AS repository_id, a.concurrency FROM page JOIN agents a USING (workspace_id) WHERE a.concurrency > 0
			UNION ALL
			SELECT a.workspace_id, NULL, a.id, a.concurrency FROM page JOIN repositories a USING (workspace_id) WHERE a.concurrency > 0`, args...)
		readInto(b, &leased, page+`SELECT `+leasedColumns+` FROM page JOIN runs r USING (workspace_id) WHERE `+inHand, args...)
		readInto(b, &queued, page+`
			SELECT h.* FROM page CROSS JOIN LATERAL (
				SELECT `+queuedColumns+` FROM runs r WHERE r.workspace_id = page.workspace_id AND r.state = 'queued' AND r.not_before IS NULL
				ORDER BY r.priority DESC, r.created_at, r.id LIMIT $3) h`, append(args, head+1)...)
	})
	if err != nil {
		return nil, err
	}
	found := make([]WorkspaceQueue, len(shares))
	at := make(map[corp.WorkspaceID]*WorkspaceQueue, len(shares))
	for i, w := range shares {
		found[i] = WorkspaceQueue{
			Workspace: w.WorkspaceID, Plan: w.Plan, PlanWeight: w.PlanWeight, Weight: w.Weight, Concurrency: w.Concurrency,
			Agents: map[corp.AgentID]int{}, Repositories: map[corp.RepositoryID]int{}, Whole: true,
		}
		at[w.WorkspaceID] = &found[i]
	}
	for _, l := range limits {
		if w := at[l.WorkspaceID]; w != nil && !l.AgentID.IsZero() {
			w.Agents[l.AgentID] = l.Concurrency
		} else if w != nil {
			w.Repositories[l.RepositoryID] = l.Concurrency
		}
	}
	for _, r := range leased {
		if w := at[r.Workspace]; w != nil {
			w.Leased = append(w.Leased, r)
		}
	}
	for _, r := range queued {
		if w := at[r.Workspace]; w != nil && len(w.Head) < head {
			w.Head = append(w.Head, r)
		} else if w != nil {
			w.Whole = false
		}
	}
	return found, nil
}

// readInto queues a statement whose rows become what into then holds.
func readInto[T any](b *pgx.Batch, into *[]T, sql string, args ...any) {
	b.Queue(sql, args...).Query(func(rows pgx.Rows) (err error) {
		*into, err = pgx.CollectRows(rows, pgx.RowToStructByName[T])
		return err
	})
}

// QueueAfter returns what is queued behind each place in its workspace, in order,
// at most so many each, of the runs that are not to wait for a time. It costs the
// same however many were leased from before that place.
func (s SystemDB) QueueAfter(ctx context.Context, places []Place, limit int) ([][]QueuedRun, error) {
	const ready = `SELECT ` + queuedColumns + ` FROM runs r WHERE r.workspace_id = $1 AND r.state = 'queued' AND r.not_before IS NULL `
	found := make([][]QueuedRun, len(places))
	err := s.door.ReadTogether(ctx, func(b *pgx.Batch) {
		for i, from := range places {
			if from.RunID.IsZero() {
				from.Priority = math.MaxInt32
			}
			readInto(b, &found[i], `
				(`+ready+`AND r.priority = $2 AND (r.created_at, r.id) > ($3, coalesce($4, '00000000-0000-0000-0000-000000000000'::uuid)) ORDER BY r.created_at, r.id LIMIT $5)
				UNION ALL
				(`+ready+`AND r.priority < $2 ORDER BY r.priority DESC, r.created_at, r.id LIMIT $5)
				LIMIT $5`, from.Workspace, from.Priority, from.CreatedAt, from.RunID, limit)
		}
	})
	return found, err
}

// RunsNow returns where runs stand: those that a notice named.
func (s SystemDB) RunsNow(ctx context.Context, runs []RunRef) ([]RunNow, error) {
	workspaces, ids := make([]corp.WorkspaceID, len(runs)), make([]corp.RunID, len(runs))
	for i, r := range runs {
		workspaces[i], ids[i] = r.Workspace, r.RunID
	}
	named := func(columns, state string) string {
		return `SELECT x.* FROM unnest($1::uuid[], $2::uuid[]) AS u (workspace_id, id)
			CROSS JOIN LATERAL (SELECT ` + columns + ` FROM runs r WHERE r.workspace_id = u.workspace_id AND r.id = u.id AND ` + state + ` LIMIT 1) x`
	}
	var leased []LeasedRun
	var queued []QueuedRun
	err := s.door.ReadTogether(ctx, func(b *pgx.Batch) {
		readInto(b, &leased, named(leasedColumns, inHand), workspaces, ids)
		readInto(b, &queued, named(queuedColumns, `r.state = 'queued'`), workspaces, ids)
	})
	if err != nil {
		return nil, err
	}
	now := make(map[corp.RunID]RunNow, len(runs))
	for i := range leased {
		now[leased[i].RunID] = RunNow{Leased: &leased[i]}
	}
	for i := range queued {
		now[queued[i].RunID] = RunNow{Queued: &queued[i]}
	}
	found := make([]RunNow, len(runs))
	for i, r := range runs {
		found[i] = now[r.RunID]
		found[i].RunID = r.RunID
	}
	return found, nil
}

// Lately returns what was queued so lately, at most so many: what a lost hint was
// about.
func (s SystemDB) Lately(ctx context.Context, within time.Duration, limit int) ([]QueuedRun, error) {
	return door.QuerySystem(ctx, s.door, pgx.RowToStructByName[QueuedRun], selectLately, within.Milliseconds(), limit)
}

// The times are compared with now(), which an index can be searched by: with
// clock_timestamp() all that is queued would be gone through.
const (
	selectLately = `
		SELECT ` + queuedColumns + ` FROM runs r
		WHERE r.state = 'queued' AND r.not_before IS NULL AND r.created_at > now() - $1::bigint * interval '1 millisecond'
		ORDER BY r.created_at DESC LIMIT $2`
	selectSoon = `
		SELECT ` + queuedColumns + ` FROM runs r
		WHERE r.state = 'queued' AND r.not_before < now() + $1::bigint * interval '1 millisecond'
		ORDER BY r.not_before LIMIT $2`
	makeReady = `
		WITH due AS (
			SELECT r.workspace_id, r.id FROM runs r
			WHERE r.state = 'queued' AND r.not_before < now() - $1::bigint * interval '1 millisecond'
			ORDER BY r.not_before LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
		), ready AS (
			UPDATE runs r SET not_before = NULL FROM due WHERE r.workspace_id = due.workspace_id AND r.id = due.id RETURNING r.workspace_id
		)
		SELECT DISTINCT workspace_id FROM ready`
)

// Soon returns the runs that wait for a time that comes so soon, or has come, the
// next ones first.
func (s SystemDB) Soon(ctx context.Context, within time.Duration, limit int) ([]QueuedRun, error) {
	return door.QuerySystem(ctx, s.door, pgx.RowToStructByName[QueuedRun], selectSoon, within.Milliseconds(), limit)
}

// Ready makes runs that have been due for so long, and were not leased, ordinary
// ones of their queues, at most so many, and returns whose they are.
func (s SystemDB) Ready(ctx context.Context, overdue time.Duration, limit int) ([]corp.WorkspaceID, error) {
	return door.QuerySystem(ctx, s.door, pgx.RowTo[corp.WorkspaceID], makeReady, overdue.Milliseconds(), limit)
}

// Leased returns all runs that take up a slot.
func (s SystemDB) Leased(ctx context.Context) ([]LeasedRun, error) {
	return door.QuerySystem(ctx, s.door, pgx.RowToStructByName[LeasedRun], `SELECT `+leasedColumns+` FROM runs r WHERE `+inHand)
}

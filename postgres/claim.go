package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// A claim's lease begins with the acknowledgement and lasts this many times the
// time for that, unless the claim says how long.
const leasePerAck = 3

// ClaimRuns leases queued runs, and returns those that it leased: not those that
// somebody cancelled or claimed before, or whose time has not come or is over, or whose
// workspace is out of use, or that somebody is about to change: no workspace keeps the others waiting. The leader's
// row is held until the commit, so that a new leader's term begins after it, and
// a leader that is one no more claims nothing.
func (s SystemDB) ClaimRuns(ctx context.Context, server corp.ServerID, term int64, claims []Claim) (claimed []corp.RunID, err error) {
	if len(claims) == 0 {
		return nil, nil
	}
	leased, err := claim(ctx, s, server, term, claims)
	if err != nil {
		return nil, err
	}
	last := map[corp.WorkspaceID]int64{}
	for _, l := range leased {
		claimed = append(claimed, l.ID)
		last[l.WorkspaceID] = max(last[l.WorkspaceID], l.Seq)
	}
	said := make([]Notice, 0, len(last))
	for ws, seq := range last {
		said = append(said, Notice{Kind: NoticeEvent, Workspace: ws, Seq: seq})
	}
	s.door.DB.Say(said...) //nolint:contextcheck // who listens is told also when the caller has gone
	return claimed, nil
}

type leased struct {
	WorkspaceID corp.WorkspaceID
	ID          corp.RunID
	Seq         int64 // of the newest event
}

// claim is one statement, and with its settings one round trip. It writes the
// events as writeEvents does. OFFSET 0 keeps the planner from merging its parts: each
// row is looked up by its key, in the order of the locks.
func claim(ctx context.Context, s SystemDB, server corp.ServerID, term int64, claims []Claim) ([]leased, error) {
	n := len(claims)
	workspaces, runs, epochs := make([]corp.WorkspaceID, n), make([]corp.RunID, n), make([]int64, n)
	runners, names := make([]corp.RunnerID, n), make([]string, n)
	leases, keys := make([][]byte, n), make([][]byte, n)
	acks, ttls := make([]int64, n), make([]int64, n)
	for i, c := range claims {
		workspaces[i], runs[i], epochs[i] = c.Workspace, c.RunID, c.Epoch
		runners[i], names[i] = c.RunnerID, storable(c.RunnerName, 120)
		leases[i], keys[i] = c.LeaseHash, c.RunKeyHash
		acks[i], ttls[i] = c.AckWithin.Milliseconds(), c.TTL.Milliseconds()
		if c.TTL == 0 {
			ttls[i] = leasePerAck * acks[i]
		}
	}
	return door.RoutineSystem(ctx, s.door, pgx.RowToStructByName[leased], `
		WITH fence AS (
			SELECT FROM leaders WHERE shard = 0 AND term = $1 AND holder = $2 AND expires_at > clock_timestamp() FOR SHARE
		), c AS ( -- by primary key, in the order of the locks: without statistics the planner would join every queued task
			SELECT u.*, r.task_id
			FROM unnest($3::uuid[], $4::uuid[], $5::bigint[], $6::uuid[], $7::text[], $8::bytea[], $9::bytea[], $10::bigint[], $11::bigint[])
				AS u (workspace_id, run_id, epoch, runner_id, runner_name, lease_hash, run_key_hash, ack_ms, ttl_ms)
			CROSS JOIN LATERAL (SELECT r.task_id FROM runs r WHERE r.workspace_id = u.workspace_id AND r.id = u.run_id LIMIT 1) r
			-- What is out of use since is not handed out, though the leader has not heard of it.
			CROSS JOIN LATERAL (SELECT FROM workspaces w WHERE w.workspace_id = u.workspace_id AND w.archived_at IS NULL AND w.suspended_at IS NULL LIMIT 1) w
			ORDER BY u.workspace_id, r.task_id OFFSET 0
		), t AS (
			SELECT c.* FROM c
			CROSS JOIN LATERAL (
				SELECT t.state, t.deadline_at FROM tasks t WHERE t.workspace_id = c.workspace_id AND t.id = c.task_id AND EXISTS (SELECT FROM fence)
				LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED) task
			CROSS JOIN LATERAL (
				SELECT r.state, r.epoch, r.not_before FROM runs r WHERE r.workspace_id = c.workspace_id AND r.id = c.run_id
					AND task.state = 'queued' -- which also keeps the order of the locks: first the task
				LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED) run
			WHERE run.state = 'queued' AND run.epoch = c.epoch - 1
				AND (run.not_before IS NULL OR run.not_before <= clock_timestamp())
				AND (task.deadline_at IS NULL OR task.deadline_at > clock_timestamp())
			OFFSET 0
		), r AS (
			UPDATE runs r SET state = 'leased', reason = '', detail = '', epoch = t.epoch, runner_id = t.runner_id, runner_name = t.runner_name,
				lease_hash = t.lease_hash, run_key_hash = t.run_key_hash, leased_at = clock_timestamp(),
				lease_expires_at = clock_timestamp() + t.ack_ms * interval '1 millisecond', lease_ttl_ms = t.ttl_ms
			FROM t WHERE r.workspace_id = t.workspace_id AND r.id = t.run_id
			RETURNING r.workspace_id, r.id, r.task_id, r.attempt
		), begun AS (
			UPDATE tasks t SET state = 'running', reason = '', detail = '', started_at = coalesce(t.started_at, clock_timestamp())
			FROM r WHERE t.workspace_id = r.workspace_id AND t.id = r.task_id
		), heads AS (
			SELECT n.workspace_id, number_events(n.workspace_id, n.events) AS seq, n.events
			FROM (SELECT workspace_id, 2 * count(*) AS events FROM r GROUP BY workspace_id ORDER BY workspace_id OFFSET 0) n
		), said AS (
			INSERT INTO events (workspace_id, seq, at, kind, task_id, run_id, data)
			SELECT x.workspace_id, h.seq - h.events + 2 * x.n + e.n - 2, clock_timestamp(), e.kind, x.task_id, x.id, json_build_object('attempt', x.attempt)
			FROM (SELECT r.*, row_number() OVER (PARTITION BY workspace_id ORDER BY id) AS n FROM r) x
			JOIN heads h ON h.workspace_id = x.workspace_id
			CROSS JOIN (VALUES (1, 'run.leased'), (2, 'task.running')) AS e (n, kind)
		)
		SELECT r.workspace_id, r.id, h.seq FROM r JOIN heads h ON h.workspace_id = r.workspace_id`,
		term, server, workspaces, runs, epochs, runners, names, leases, keys, acks, ttls)
}

package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// Waiting is what the rows say of why a task has not started.
type Waiting struct {
	Task   corp.Task
	After  []corp.TaskID // those that it follows and that have not ended, at most ten
	Queued *QueuedRun    // its run that waits, nil when none does
	Ahead  int           // of its workspace's queue, without those that wait for a time; at most AheadMost
}

// AheadMost is how far a position in a queue is counted.
const AheadMost = 10_000

// Waiting returns what a task waits for.
func (w WorkspaceDB) Waiting(ctx context.Context, id corp.TaskID) (found Waiting, err error) {
	err = w.door.In(ctx, func(tx pgx.Tx) error {
		if found.Task, err = w.task(ctx, tx, id); err != nil {
			return err
		}
		switch found.Task.State {
		case corp.TaskBlocked:
			found.After, err = door.Collect(ctx, tx, pgx.RowTo[corp.TaskID], `
				SELECT d.depends_on FROM task_dependencies d JOIN tasks p ON p.workspace_id = $1 AND p.id = d.depends_on
				WHERE d.workspace_id = $1 AND d.task_id = $2 AND p.state IN ('queued', 'running', 'blocked') ORDER BY d.depends_on LIMIT 10`, w.door.ID, id)
			return err
		case corp.TaskQueued:
			return w.waitingRun(ctx, tx, &found)
		default:
			return nil
		}
	})
	return found, err
}

// countAhead reads just what is ahead: with one condition for both parts it would
// go through all that is behind.
const countAhead = `
	SELECT count(*) FROM (
		SELECT FROM runs r WHERE r.workspace_id = $1 AND r.state = 'queued' AND r.not_before IS NULL AND r.priority > $2
		UNION ALL
		SELECT FROM runs r WHERE r.workspace_id = $1 AND r.state = 'queued' AND r.not_before IS NULL AND r.priority = $2 AND (r.created_at, r.id) < ($3, $4)
		LIMIT $5) ahead`

func (w WorkspaceDB) waitingRun(ctx context.Context, tx pgx.Tx, found *Waiting) error {
	queued, err := door.Collect(ctx, tx, pgx.RowToAddrOfStructByName[QueuedRun], `
		SELECT `+queuedColumns+` FROM runs r WHERE r.workspace_id = $1 AND r.id = $2 AND r.state = 'queued'`, w.door.ID, found.Task.RunID)
	if err != nil || len(queued) == 0 {
		return err
	}
	q := queued[0]
	found.Queued = q
	return tx.QueryRow(ctx, countAhead, w.door.ID, q.Priority, q.CreatedAt, q.RunID, AheadMost).Scan(&found.Ahead)
}

// PlacingRunner is a runner that was heard of lately and takes new runs.
type PlacingRunner struct {
	WorkspaceID corp.WorkspaceID // zero for a pool runner
	Labels      []string
	Runtimes    []string
	Slots       int
	Free        int // as it said last, but for what this workspace has been leased since
}

// PlacingRunners returns the runners that may carry out a workspace's runs.
func (s SystemDB) PlacingRunners(ctx context.Context, ws corp.WorkspaceID) ([]PlacingRunner, error) {
	const (
		lately = ` seen_at > clock_timestamp() - $2::bigint * interval '1 millisecond' AND NOT draining`
		free   = `greatest(least(x.free, x.slots - (
			SELECT count(*) FROM runs r WHERE r.workspace_id = $1 AND r.runner_id = x.id AND r.state IN ('leased', 'running', 'waiting'))), 0) AS free`
	)
	return door.QuerySystem(ctx, s.door, pgx.RowToStructByName[PlacingRunner], `
		SELECT workspace_id, labels, runtimes, slots, `+free+` FROM runners x WHERE workspace_id = $1 AND`+lately+`
		UNION ALL
		SELECT NULL, labels, runtimes, slots, `+free+` FROM pool_runners x WHERE`+lately, ws, offlineAfter.Milliseconds())
}

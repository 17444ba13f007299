package postgres

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

const runFields = `
	r.id, r.task_id, r.attempt, r.state, r.reason, r.detail, r.epoch, r.runner_id, r.runner_name, r.trace_id,
		r.branch, r.commit_hash, r.diffstat, r.check_result, r.result_id, r.patch_id, r.pushed, r.sandbox, r.simulated,
		r.calls, r.fresh_input, r.cache_read, r.cache_write_short, r.cache_write_long, r.output, r.cost_nanodollars,
		r.not_before, r.created_at, r.leased_at, r.started_at, r.finished_at`

const selectRuns = `SELECT ` + runFields + ` FROM runs r `

func scanRun(row pgx.CollectableRow) (r corp.Run, err error) { return readRun(row) }

// readRun reads a row of runFields and, after them, more.
func readRun(row pgx.CollectableRow, more ...any) (r corp.Run, err error) {
	var diffstat, check []byte
	u := &r.Usage
	err = row.Scan(append([]any{
		&r.ID, &r.TaskID, &r.Attempt, &r.State, &r.Reason, &r.Detail, &r.Epoch, &r.RunnerID, &r.RunnerName, &r.TraceID,
		&r.Branch, &r.Commit, &diffstat, &check, &r.ResultID, &r.PatchID, &r.Pushed, &r.Sandbox, &r.Simulated,
		&r.Calls, &u.FreshInput, &u.CacheRead, &u.CacheWriteShort, &u.CacheWriteLong, &u.Output, &r.Cost,
		&r.NotBefore, &r.CreatedAt, &r.LeasedAt, &r.StartedAt, &r.FinishedAt,
	}, more...)...)
	if err == nil && diffstat != nil {
		err = json.Unmarshal(diffstat, &r.Diffstat)
	}
	if err == nil && check != nil {
		err = json.Unmarshal(check, &r.Check)
	}
	if err != nil {
		return r, fmt.Errorf("read a run's row: %w", err)
	}
	return r, nil
}

// Run returns one run.
func (w WorkspaceDB) Run(ctx context.Context, id corp.RunID) (corp.Run, error) {
	return door.QueryOne(ctx, w.door, "run", scanRun, selectRuns+`WHERE r.workspace_id = $1 AND r.id = $2`, id)
}

// Runs lists the runs of a task, or of the workspace for the zero task, newest first.
func (w WorkspaceDB) Runs(ctx context.Context, task corp.TaskID, p corp.Page) (corp.List[corp.Run], error) {
	from, limit, err := door.Start(p)
	if err != nil {
		return corp.List[corp.Run]{}, err
	}
	where, args := `WHERE r.workspace_id = $1 AND (r.created_at, r.id) < ($2, $3)`, []any{from.At, from.ID, limit + 1}
	if !task.IsZero() {
		args = append(args, task)
		where += ` AND r.task_id = $5`
	}
	found, err := door.Query(ctx, w.door, scanRun, selectRuns+where+` ORDER BY r.created_at DESC, r.id DESC LIMIT $4`, args...)
	return door.Page(found, limit, func(r corp.Run) door.Position { return door.At(r.CreatedAt, r.ID) }), err
}

// held is a run under its lock, with why it must stop.
type held struct {
	corp.Run
	StopReason corp.Reason
	StopDetail string
}

// lockRun takes the lock that follows the task's.
func (w WorkspaceDB) lockRun(ctx context.Context, tx pgx.Tx, id corp.RunID) (h held, err error) {
	var b door.Batch
	w.queueLockRun(&b, id, &h)
	return h, door.Send(ctx, tx, &b)
}

func (w WorkspaceDB) queueLockRun(b *door.Batch, id corp.RunID, into *held) {
	b.Queue(`SELECT `+runFields+`, r.stop_reason, r.stop_detail FROM runs r WHERE r.workspace_id = $1 AND r.id = $2 FOR NO KEY UPDATE`, w.door.ID, id).Query(func(rows pgx.Rows) error {
		found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (h held, err error) {
			h.Run, err = readRun(row, &h.StopReason, &h.StopDetail)
			return h, err
		})
		if err == nil && len(found) == 0 {
			err = corp.NotFound("run")
		}
		if err == nil {
			*into = found[0]
		}
		return err
	})
}

func (w WorkspaceDB) run(ctx context.Context, tx pgx.Tx, id corp.RunID) (corp.Run, error) {
	return door.CollectOne(ctx, tx, "run", scanRun, selectRuns+`WHERE r.workspace_id = $1 AND r.id = $2`, w.door.ID, id)
}

// lockBoth takes the locks of a run's task and of the run, in this order.
func (w WorkspaceDB) lockBoth(ctx context.Context, tx pgx.Tx, id corp.RunID) (task corp.Task, run held, err error) {
	const ofRun = `(SELECT r.task_id FROM runs r WHERE r.workspace_id = $1 AND r.id = $2)`
	var b door.Batch
	b.Queue(`SELECT FROM tasks WHERE workspace_id = $1 AND id = `+ofRun+` FOR NO KEY UPDATE`, w.door.ID, id)
	w.queueLockRun(&b, id, &run)
	// A statement of its own, which sees what was committed while the others waited.
	b.Queue(selectTasks+`WHERE t.workspace_id = $1 AND t.id = `+ofRun, w.door.ID, id).Query(func(rows pgx.Rows) (err error) {
		task, err = pgx.CollectExactlyOneRow(rows, scanTask)
		return err
	})
	return task, run, door.Send(ctx, tx, &b)
}

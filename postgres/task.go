package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

const taskFields = `
	t.id, t.prompt, a.name AS agent, t.repository_id, t.repository_url, t.source_id, t.base, t.base_commit, t.check_command AS "check",
		b.limit_nanodollars AS budget, t.timeout_seconds, t.max_attempts, t.priority, t.labels,
		json_build_object('base_ms', t.retry_base_ms, 'cap_ms', t.retry_cap_ms) AS retry,
		t.not_before, 0 AS delay_seconds, t.deadline_at, 0 AS deadline_seconds, t.parent_id, t.redrives, t.batch_id, t.schedule_id,
		t.agent_id, t.agent_version, t.state, t.reason, t.detail, t.attempts, t.run_id, b.spent_nanodollars AS spent,
		t.cancel_requested_at AS cancel_at, t.created_by, t.created_at, t.started_at, t.finished_at,
		(SELECT string_agg(d.depends_on || ' ' || d.on_failure, ',' ORDER BY d.depends_on) FROM task_dependencies d
			WHERE d.workspace_id = t.workspace_id AND d.task_id = t.id) AS after`

const besideTasks = `
	JOIN agents a ON a.workspace_id = t.workspace_id AND a.id = t.agent_id
	JOIN budgets b ON b.workspace_id = t.workspace_id AND b.task_id = t.id `

const selectTasks = `SELECT ` + taskFields + ` FROM tasks t ` + besideTasks

// taskRow is a task with its dependencies as one text: "UUID policy,UUID policy".
type taskRow struct {
	corp.Task
	After *string
}

func scanTask(row pgx.CollectableRow) (corp.Task, error) {
	r, err := pgx.RowToStructByName[taskRow](row)
	if err != nil {
		return r.Task, err
	}
	return r.task()
}

// task puts the task together.
func (r taskRow) task() (corp.Task, error) {
	if r.After == nil {
		return r.Task, nil
	}
	for link := range strings.SplitSeq(*r.After, ",") {
		var d corp.Dependency
		id, policy, _ := strings.Cut(link, " ")
		if err := d.TaskID.Scan(id); err != nil {
			return r.Task, fmt.Errorf("read a task's dependencies: %w", err)
		}
		d.OnFailure = policy
		r.Task.After = append(r.Task.After, d)
	}
	return r.Task, nil
}

// Task returns one task.
func (w WorkspaceDB) Task(ctx context.Context, id corp.TaskID) (corp.Task, error) {
	return door.QueryOne(ctx, w.door, "task", scanTask, selectTasks+`WHERE t.workspace_id = $1 AND t.id = $2`, id)
}

func (w WorkspaceDB) task(ctx context.Context, tx pgx.Tx, id corp.TaskID) (corp.Task, error) {
	return door.CollectOne(ctx, tx, "task", scanTask, selectTasks+`WHERE t.workspace_id = $1 AND t.id = $2`, w.door.ID, id)
}

// taskLater reads a task before the commit. It is in into when that is done.
func (w WorkspaceDB) taskLater(tx pgx.Tx, id corp.TaskID, into *corp.Task) {
	var b door.Batch
	b.Queue(selectTasks+`WHERE t.workspace_id = $1 AND t.id = $2`, w.door.ID, id).Query(func(rows pgx.Rows) (err error) {
		*into, err = pgx.CollectExactlyOneRow(rows, scanTask)
		return err
	})
	door.Later(tx, &b)
}

// Tasks lists tasks, newest first.
func (w WorkspaceDB) Tasks(ctx context.Context, f corp.TaskFilter, p corp.Page) (corp.List[corp.Task], error) {
	from, limit, err := door.Start(p)
	if err != nil {
		return corp.List[corp.Task]{}, err
	}
	where, args := newestTasks, []any{from.At, from.ID, limit + 1}
	narrow := func(column string, wanted any, asked bool) {
		if asked {
			args = append(args, wanted)
			where += fmt.Sprintf(` AND t.%s = $%d`, column, len(args)+1)
		}
	}
	narrow("state", f.State, f.State != "")
	narrow("agent_id", f.Agent, !f.Agent.IsZero())
	narrow("parent_id", f.Parent, !f.Parent.IsZero())
	narrow("batch_id", f.Batch, !f.Batch.IsZero())
	narrow("schedule_id", f.Schedule, !f.Schedule.IsZero())
	narrow("reason", f.Reason, f.Reason != "")
	found, err := door.Query(ctx, w.door, scanTask, pageOfTasks(where), args...)
	return door.Page(found, limit, func(t corp.Task) door.Position { return door.At(t.CreatedAt, t.ID) }), err
}

const newestTasks = `WHERE t.workspace_id = $1 AND (t.created_at, t.id) < ($2, $3)`

// pageOfTasks takes the page before what stands beside its tasks. In one step the
// planner reads all tasks of the workspace: it takes workspace and agent to be
// independent, so that few seem to have both.
func pageOfTasks(where string) string {
	const newest = ` ORDER BY t.created_at DESC, t.id DESC`
	return `SELECT ` + taskFields + ` FROM (SELECT t.* FROM tasks t ` + where + newest + ` LIMIT $4) t ` + besideTasks + newest
}

// lockTask takes the first lock of every change to a task or its runs. It leaves
// room for foreign keys, so that entries and calls are never kept waiting.
func (w WorkspaceDB) lockTask(ctx context.Context, tx pgx.Tx, id corp.TaskID) (task corp.Task, err error) {
	var b door.Batch
	b.Queue(`SELECT FROM tasks WHERE workspace_id = $1 AND id = $2 FOR NO KEY UPDATE`, w.door.ID, id)
	// A statement of its own, which sees what was committed while the first one waited.
	b.Queue(selectTasks+`WHERE t.workspace_id = $1 AND t.id = $2`, w.door.ID, id).Query(func(rows pgx.Rows) error {
		found, err := pgx.CollectRows(rows, scanTask)
		if err == nil && len(found) == 0 {
			err = corp.NotFound("task")
		}
		if err == nil {
			task = found[0]
		}
		return err
	})
	return task, door.Send(ctx, tx, &b)
}

// CancelTask cancels a task and all tasks beneath it: those that nobody carries
// out end at once, the runners of the others are asked to stop them. What has
// ended stays as it is.
func (w WorkspaceDB) CancelTask(ctx context.Context, actor corp.Actor, id corp.TaskID) (task corp.Task, err error) {
	err = w.door.InLane(ctx, door.LaneOfTasks, func(tx pgx.Tx) error {
		if err := w.cancel(ctx, tx, actor, []corp.TaskID{id}); err != nil {
			return err
		}
		task, err = w.task(ctx, tx, id)
		return err
	})
	return task, err
}

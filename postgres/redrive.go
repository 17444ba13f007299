package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// RetryTask gives a task that failed, died or was cancelled one more attempt, at
// once, under the same budget. Any other state is a conflict. What it follows is
// asked anew: it is blocked while one of these has not ended, and a conflict if
// one did not succeed. So is a task whose deadline has passed. Without its
// uploaded source, when that is no longer kept, it is not found, file_gone.
func (w WorkspaceDB) RetryTask(ctx context.Context, actor corp.Actor, id corp.TaskID) (task corp.Task, err error) {
	return w.onceMore(ctx, again{actor: actor, states: []corp.TaskState{corp.TaskFailed, corp.TaskDead, corp.TaskCancelled}}, id)
}

// RedriveTask is RetryTask for a dead or failed task that gets as many new
// attempts as it had at first. The events and errors of those before remain.
func (w WorkspaceDB) RedriveTask(ctx context.Context, actor corp.Actor, id corp.TaskID) (task corp.Task, err error) {
	return w.onceMore(ctx, again{actor: actor, states: []corp.TaskState{corp.TaskFailed, corp.TaskDead}, redrive: true}, id)
}

func (w WorkspaceDB) onceMore(ctx context.Context, a again, id corp.TaskID) (task corp.Task, err error) {
	err = w.door.InLane(ctx, door.LaneOfTasks, func(tx pgx.Tx) error {
		tasks, err := w.lockAgain(ctx, tx, []corp.TaskID{id})
		switch {
		case err != nil:
			return err
		case len(tasks) == 0:
			return corp.NotFound("task")
		case !slices.Contains(a.states, tasks[0].State):
			return corp.Conflict("This task is "+string(tasks[0].State)+" and cannot be tried again.", a.hint())
		case tasks[0].Late:
			return pastDeadline()
		case tasks[0].Gone:
			return fileGone("The source that was uploaded for this task is no longer kept.", "Submit the task again.")
		case !tasks[0].failed.IsZero():
			return corp.Conflict(fmt.Sprintf("Task %s, which it follows, did not succeed.", tasks[0].failed), "Try that one again first: this one then waits for it.")
		}
		if err := w.queueAgain(ctx, tx, a, tasks); err != nil {
			return err
		}
		task, err = w.task(ctx, tx, id)
		return err
	})
	return task, err
}

// RedriveFilter says which tasks to redrive. Zero values do not narrow.
type RedriveFilter struct {
	State         corp.TaskState // dead or failed
	Agent         corp.AgentID
	Reason        corp.Reason // of the task or of its last run
	Batch         corp.BatchID
	Schedule      corp.ScheduleID
	CreatedBefore *time.Time
	EndedBefore   *time.Time
	Limit         int // at most so many in one transaction
	DryRun        bool
}

// RedriveTasks redrives the oldest of the tasks that the filter matches, together.
// Those that follow a task which did not succeed are left out, and those whose
// deadline has passed or whose uploaded source is no longer kept. With DryRun it
// changes nothing and says how many these would be.
func (w WorkspaceDB) RedriveTasks(ctx context.Context, actor corp.Actor, f RedriveFilter) (done corp.Redriven, err error) {
	if f.State != corp.TaskDead && f.State != corp.TaskFailed {
		return done, corp.Invalid("state", "Only dead or failed tasks can be redriven.", "Say dead or failed.")
	}
	err = w.door.InLane(ctx, door.LaneOfTasks, func(tx pgx.Tx) error {
		found, err := door.Collect(ctx, tx, pgx.RowTo[corp.TaskID], `
			SELECT t.id FROM tasks t
			WHERE t.workspace_id = $1 AND t.state = $2 AND (t.deadline_at IS NULL OR t.deadline_at > clock_timestamp()) AND NOT `+sourceGone+`
				AND ($3::uuid IS NULL OR t.agent_id = $3) AND ($4::uuid IS NULL OR t.batch_id = $4) AND ($5::uuid IS NULL OR t.schedule_id = $5)
				AND ($6::timestamptz IS NULL OR t.created_at < $6) AND ($9::timestamptz IS NULL OR t.finished_at < $9)
				AND ($7 = '' OR t.reason = $7 OR EXISTS (SELECT FROM runs r WHERE r.workspace_id = $1 AND r.id = t.run_id AND r.reason = $7))
				AND (
					SELECT true FROM task_dependencies d
					CROSS JOIN LATERAL (SELECT p.state FROM tasks p WHERE p.workspace_id = $1 AND p.id = d.depends_on LIMIT 1) p
					WHERE d.workspace_id = $1 AND d.task_id = t.id AND d.on_failure = 'cancel' AND p.state IN ('failed', 'cancelled', 'dead') LIMIT 1) IS NULL
			ORDER BY t.id LIMIT $8`, w.door.ID, f.State, f.Agent, f.Batch, f.Schedule, f.CreatedBefore, string(f.Reason), f.Limit+1, f.EndedBefore)
		if err != nil {
			return err
		}
		done = corp.Redriven{More: len(found) > f.Limit}
		if done.At, err = clock(ctx, tx); err != nil {
			return err
		}
		found = found[:min(len(found), f.Limit)]
		if f.DryRun {
			done.Redriven = len(found)
			return nil
		}
		tasks, err := w.lockAgain(ctx, tx, found)
		if err != nil {
			return err
		}
		tasks = slices.DeleteFunc(tasks, func(t againTask) bool { return t.State != f.State || t.Late || t.Gone || !t.failed.IsZero() }) // somebody was faster
		done.Redriven = len(tasks)
		waitForEachOther(tasks)
		return w.queueAgain(ctx, tx, again{actor: actor, redrive: true}, tasks)
	})
	return done, err
}

// again is who asks for more attempts, and for how many.
type again struct {
	actor   corp.Actor
	states  []corp.TaskState // in which a task may be
	redrive bool             // as many as at first; otherwise one
}

func (a again) hint() string {
	if a.redrive {
		return "Only a failed or dead task can be redriven."
	}
	return "Only a failed, dead or cancelled task can: submit a new one."
}

// againTask is a task under its lock, and how it stands with those that it follows.
type againTask struct {
	ID       corp.TaskID
	State    corp.TaskState
	Attempts int
	Late     bool          // its deadline has passed
	Gone     bool          // its uploaded source is no longer kept
	open     int           // of those that it follows, that have not ended
	ended    []corp.TaskID // the others
	failed   corp.TaskID   // one of these that did not succeed, where that matters
}

// lockAgain locks tasks together with those that they follow, in the order of
// their ids, and returns the tasks that are there.
func (w WorkspaceDB) lockAgain(ctx context.Context, tx pgx.Tx, ids []corp.TaskID) ([]againTask, error) {
	type link struct {
		TaskID, DependsOn corp.TaskID
		OnFailure         string
	}
	links, err := door.Collect(ctx, tx, pgx.RowToStructByName[link], `
		SELECT task_id, depends_on, on_failure FROM task_dependencies WHERE workspace_id = $1 AND task_id = ANY($2) ORDER BY task_id, depends_on`, w.door.ID, ids)
	if err != nil {
		return nil, err
	}
	all := slices.Clone(ids)
	for _, l := range links {
		all = append(all, l.DependsOn)
	}
	rows, err := door.Collect(ctx, tx, pgx.RowToStructByNameLax[againTask], `
		SELECT id, state, attempts, coalesce(deadline_at <= clock_timestamp(), false) AS late, `+sourceGone+` AS gone FROM tasks t WHERE workspace_id = $1 AND id = ANY($2) ORDER BY id FOR NO KEY UPDATE`, w.door.ID, all)
	if err != nil {
		return nil, err
	}
	found := make(map[corp.TaskID]*againTask, len(rows))
	for i := range rows {
		found[rows[i].ID] = &rows[i]
	}
	for _, l := range links {
		t, state := found[l.TaskID], found[l.DependsOn].State
		if !state.Final() {
			t.open++
			continue
		}
		t.ended = append(t.ended, l.DependsOn)
		if state != corp.TaskSucceeded && l.OnFailure == corp.OnFailureCancel && t.failed.IsZero() {
			t.failed = l.DependsOn
		}
	}
	wanted := make(map[corp.TaskID]bool, len(ids))
	for _, id := range ids {
		wanted[id] = true
	}
	return slices.DeleteFunc(rows, func(t againTask) bool { return !wanted[t.ID] }), nil
}

// waitForEachOther counts those that are begun anew together as not ended.
func waitForEachOther(tasks []againTask) {
	begun := make(map[corp.TaskID]bool, len(tasks))
	for _, t := range tasks {
		begun[t.ID] = true
	}
	for i := range tasks {
		for _, on := range tasks[i].ended {
			if begun[on] {
				tasks[i].open++
			}
		}
	}
}

// queueAgain gives locked tasks their next run, or blocks them until they may have it.
func (w WorkspaceDB) queueAgain(ctx context.Context, tx pgx.Tx, a again, tasks []againTask) error {
	if len(tasks) == 0 {
		return nil
	}
	var ready, blocked []corp.TaskID
	runs, details := map[string]string{}, map[string]string{}
	fresh := sortedIDs[corp.RunID](len(tasks))
	said := "Tried again by " + string(a.actor) + "."
	if a.redrive {
		said = "Redriven by " + string(a.actor) + "."
	}
	var events []door.Event
	for i, t := range tasks {
		if a.redrive {
			events = append(events, door.Event{Kind: "task.redriven", Task: t.ID, Run: corp.RunID{}, Data: door.Why{Attempt: t.Attempts, Detail: said}})
		}
		if t.open > 0 {
			blocked, details[t.ID.UUID()] = append(blocked, t.ID), blockedBy(t.open)
			events = append(events, door.Event{Kind: "task.blocked", Task: t.ID, Run: corp.RunID{}, Data: door.Why{Attempt: t.Attempts, Reason: corp.ReasonDependency, Detail: blockedBy(t.open)}})
			continue
		}
		ready, runs[t.ID.UUID()], details[t.ID.UUID()] = append(ready, t.ID), fresh[i].UUID(), said
		because := door.Why{Attempt: t.Attempts + 1, Reason: corp.ReasonRetry, Detail: said}
		events = append(events, door.Event{Kind: "task.queued", Task: t.ID, Run: fresh[i], Data: because}, door.Event{Kind: "run.queued", Task: t.ID, Run: fresh[i], Data: because})
	}
	const anew = `detail = $3::jsonb ->> id::text, cancel_requested_at = NULL, cancel_requested_by = NULL, finished_at = NULL,
		redrives = redrives + CASE WHEN $4 THEN 1 ELSE 0 END, attempts_granted = CASE WHEN $4 THEN attempts + max_attempts ELSE attempts_granted END`
	var b door.Batch
	b.Queue(`
		UPDATE tasks SET state = 'queued', reason = 'retry', attempts = attempts + 1, run_id = ($5::jsonb ->> id::text)::uuid, `+anew+`
		WHERE workspace_id = $1 AND id = ANY($2)`, w.door.ID, ready, details, a.redrive, runs)
	b.Queue(`UPDATE tasks SET state = 'blocked', reason = 'dependency', `+anew+` WHERE workspace_id = $1 AND id = ANY($2)`, w.door.ID, blocked, details, a.redrive)
	queueRuns(&b, w.door.ID, ready, a.actor, nil)
	door.QueueEvents(&b, w.door.ID, events...)
	return door.Send(ctx, tx, &b)
}

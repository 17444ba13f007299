package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// dueAtOnce is how many rows that are due one look returns; the rest is found by
// the next one. The comparison is with now(), which an index can be searched by.
const dueAtOnce = 1000

// OverdueTasks returns tasks that are not final although their deadline has come,
// the longest overdue first; not those whose run was told to stop already.
func (s SystemDB) OverdueTasks(ctx context.Context) ([]TaskRef, error) {
	return door.QuerySystem(ctx, s.door, pgx.RowToStructByName[TaskRef], `
		SELECT t.workspace_id AS workspace, t.id AS task_id FROM tasks t
		WHERE t.deadline_at <= now() AND t.state IN ('queued', 'running', 'blocked') AND NOT EXISTS (
			SELECT FROM runs r WHERE r.workspace_id = t.workspace_id AND r.task_id = t.id AND r.state IN ('leased', 'running', 'waiting') AND r.stop_reason <> '')
		ORDER BY t.deadline_at LIMIT $1`, dueAtOnce)
}

// MissDeadline fails a task whose deadline has come: at once if it has not
// started, else by telling its run to stop. A task that ended in time, or whose
// deadline has not come, is left as it is.
func (w WorkspaceDB) MissDeadline(ctx context.Context, id corp.TaskID) error {
	return w.door.In(ctx, func(tx pgx.Tx) error {
		task, err := w.lockTask(ctx, tx, id)
		if err != nil || task.State.Final() || task.DeadlineAt == nil {
			return err
		}
		if left, err := timeLeft(ctx, tx, task); err != nil || *left > 0 {
			return err
		}
		detail := "It was not done by its deadline of " + stamp(*task.DeadlineAt) + "."
		if task.State == corp.TaskBlocked {
			return w.settle(ctx, tx, task, corp.TaskFailed, corp.ReasonDeadline, detail)
		}
		run, err := w.lockRun(ctx, tx, task.RunID)
		switch {
		case err != nil:
			return err
		case run.State.Leased():
			return w.stop(ctx, tx, run.ID, corp.ReasonDeadline, detail)
		default:
			return w.end(ctx, tx, task, run, ending{state: corp.RunCancelled, reason: corp.ReasonDeadline, detail: detail})
		}
	})
}

// timeLeft returns how long it is until a task's deadline, by the database's
// clock, negative after it; nil without one.
func timeLeft(ctx context.Context, tx pgx.Tx, task corp.Task) (*time.Duration, error) {
	if task.DeadlineAt == nil {
		return nil, nil
	}
	now, err := clock(ctx, tx)
	return new(task.DeadlineAt.Sub(now)), err
}

func pastDeadline() error {
	return corp.Conflict("This task's deadline has passed.", "Submit a new one, with a later deadline.")
}

// clock reads the database's clock.
func clock(ctx context.Context, tx pgx.Tx) (now time.Time, err error) {
	err = tx.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&now)
	return now, err
}

// stamp writes a time for people.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// The furthest that a task's times may be ahead.
const furthest = 366 * 24 * time.Hour

func hasTimes(spec corp.TaskSpec) bool {
	return spec.NotBefore != nil || spec.DelaySeconds != 0 || spec.DeadlineAt != nil || spec.DeadlineSeconds != 0
}

// settleTimes checks when a task may start and must end, and replaces what is
// counted from its submission by the moment that it means.
func settleTimes(spec *corp.TaskSpec, field string, now time.Time) error {
	if spec.NotBefore != nil && spec.DelaySeconds != 0 {
		return corp.Invalid(field+"delay_seconds", "The start is given twice.", "Give one of not_before and delay_seconds.")
	}
	if spec.DeadlineAt != nil && spec.DeadlineSeconds != 0 {
		return corp.Invalid(field+"deadline_seconds", "The deadline is given twice.", "Give one of deadline_at and deadline_seconds.")
	}
	begin, err := moment(field, "not_before", "delay_seconds", spec.NotBefore, spec.DelaySeconds, now)
	if err != nil {
		return err
	}
	end, err := moment(field, "deadline_at", "deadline_seconds", spec.DeadlineAt, spec.DeadlineSeconds, now)
	if err != nil {
		return err
	}
	deadline := field + "deadline_at"
	if spec.DeadlineSeconds != 0 {
		deadline = field + "deadline_seconds"
	}
	switch {
	case end != nil && !end.After(now):
		return corp.Invalid(deadline, "The deadline has passed already.", "Name a time to come.")
	case end != nil && begin != nil && !end.After(*begin):
		return corp.Invalid(deadline, "The deadline is not after the start.", "Let the task start earlier, or give it a later deadline.")
	}
	spec.NotBefore, spec.DelaySeconds, spec.DeadlineAt, spec.DeadlineSeconds = begin, 0, end, 0
	return nil
}

func moment(field, absolute, relative string, at *time.Time, seconds int64, now time.Time) (*time.Time, error) {
	if seconds < 0 || seconds > int64(furthest.Seconds()) {
		return nil, corp.Invalid(field+relative, "That is not a time within a year.", "Give 1 to 31536000 seconds.")
	}
	if seconds > 0 {
		return new(now.Add(time.Duration(seconds) * time.Second)), nil
	}
	if at != nil && at.After(now.Add(furthest)) {
		return nil, corp.Invalid(field+absolute, "That is more than a year ahead.", "Name an earlier time; a schedule repeats a task for longer.")
	}
	return at, nil
}

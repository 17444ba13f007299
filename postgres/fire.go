package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
	"github.com/genericcorp/corp/timetable"
)

const opTriggerSchedule = "schedule.trigger"

// DueSchedules returns the schedules whose time has come, the longest due first.
func (s SystemDB) DueSchedules(ctx context.Context) ([]ScheduleRef, error) {
	return door.QuerySystem(ctx, s.door, pgx.RowToStructByName[ScheduleRef], `
		SELECT s.workspace_id AS workspace, s.id AS schedule_id, s.next_at AS due FROM schedules s JOIN workspaces w USING (workspace_id)
		WHERE NOT s.paused AND s.archived_at IS NULL AND s.next_at <= now() AND w.archived_at IS NULL AND w.suspended_at IS NULL
		ORDER BY s.next_at LIMIT $1`, dueAtOnce)
}

// FireSchedule submits the task of a schedule that is due at this time, and moves
// the schedule on to its next time, in one transaction: however many servers try,
// each due time makes one task. It returns the zero id when there was nothing to
// do: somebody else does it, or the time was missed and is to be skipped.
//
// When the task cannot be submitted any more, that is written down, the schedule
// moves on, and the error is returned. An error that is not about the task, such
// as a database that does not answer, leaves the schedule due.
func (w WorkspaceDB) FireSchedule(ctx context.Context, id corp.ScheduleID, due time.Time) (corp.TaskID, error) {
	task, err := w.fire(ctx, id, due)
	if err == nil || ctx.Err() != nil || corp.KindOf(err) == corp.KindUnavailable {
		return task, err
	}
	return corp.TaskID{}, errors.Join(err, w.failTime(ctx, id, due, err))
}

// firing is the data of an event about one time of a schedule.
type firing struct {
	door.About
	Due    *time.Time `json:"due,omitempty"` // left out when somebody triggered it
	Detail string     `json:"detail,omitempty"`
}

// lockDue locks a schedule that is due at $3. Whoever finds it locked has been
// overtaken.
const lockDue = ` FROM schedules
	WHERE workspace_id = $1 AND id = $2 AND next_at = $3 AND next_at <= clock_timestamp() AND NOT paused AND archived_at IS NULL
	FOR NO KEY UPDATE SKIP LOCKED`

// dueSchedule is a schedule under that lock.
type dueSchedule struct {
	corp.Schedule
	Now time.Time
}

func (w WorkspaceDB) fire(ctx context.Context, id corp.ScheduleID, due time.Time) (made corp.TaskID, err error) {
	err = w.door.In(ctx, func(tx pgx.Tx) error {
		made = corp.TaskID{}
		found, err := door.Collect(ctx, tx, pgx.RowToStructByName[dueSchedule], `SELECT `+scheduleColumns+`, clock_timestamp() AS now`+lockDue, w.door.ID, id, due)
		if err != nil || len(found) == 0 {
			return err
		}
		s := found[0]
		table, err := timetable.Parse(s.Cron, s.TimeZone)
		if err != nil {
			return err
		}
		data := firing{About: door.About{ID: id.String(), Name: s.Name}, Due: &due}
		if s.Missed == corp.MissedSkip && !timely(table, s) {
			if err := w.advance(ctx, tx, id, due, after(table, s.Now), nil, ""); err != nil {
				return err
			}
			w.door.Emit(tx, door.Event{Kind: "schedule.skipped", Data: data})
			return nil
		}
		sub, err := scheduled(corp.Actor(id.String()), s.Task)
		if err != nil {
			return err
		}
		sub.schedule, made = id, sub.tasks[0].id
		if err := w.advance(ctx, tx, id, due, after(table, s.Now), &made, ""); err != nil {
			return err
		}
		if err := w.submit(ctx, tx, sub); err != nil {
			return err
		}
		w.door.Emit(tx, door.Event{Kind: "schedule.fired", Task: made, Data: data})
		return nil
	})
	return made, err
}

// failTime writes down why a schedule's time made no task. It reads nothing that
// could be the reason.
func (w WorkspaceDB) failTime(ctx context.Context, id corp.ScheduleID, due time.Time, failure error) error {
	type timing struct {
		Name, Cron, TimeZone string
		Now                  time.Time
	}
	return w.door.In(ctx, func(tx pgx.Tx) error {
		found, err := door.Collect(ctx, tx, pgx.RowToStructByName[timing], `SELECT name, cron, time_zone, clock_timestamp() AS now`+lockDue, w.door.ID, id, due)
		if err != nil || len(found) == 0 {
			return err
		}
		s, detail := found[0], sentence(failure)
		var next *time.Time // in a zone that is known no more it comes no more
		if table, err := timetable.Parse(s.Cron, s.TimeZone); err == nil {
			next = after(table, s.Now)
		}
		if err := w.advance(ctx, tx, id, due, next, nil, detail); err != nil {
			return err
		}
		w.door.Emit(tx, door.Event{Kind: "schedule.failed", Data: firing{About: door.About{ID: id.String(), Name: s.Name}, Due: &due, Detail: detail}})
		return nil
	})
}

// timely says whether the last of the times that have come is not over yet.
func timely(table *timetable.Timetable, s dueSchedule) bool {
	recent := s.Now.Add(-corp.MissedAfter)
	if s.NextAt.After(recent) {
		return true
	}
	next, ever := table.Next(recent)
	return ever && !next.After(s.Now)
}

// advance writes down what became of a schedule's time and when it comes next.
func (w WorkspaceDB) advance(ctx context.Context, tx pgx.Tx, id corp.ScheduleID, due time.Time, next *time.Time, task *corp.TaskID, failure string) error {
	_, err := tx.Exec(ctx, `
		UPDATE schedules SET next_at = $3, last_at = $4, last_task_id = coalesce($5, last_task_id), last_error = $6 WHERE workspace_id = $1 AND id = $2`,
		w.door.ID, id, next, due, task, storable(failure, 1000))
	return err
}

// sentence is what a person may read of an error.
func sentence(err error) string {
	e, ok := errors.AsType[*corp.Error](err)
	switch {
	case !ok:
		return "Something went wrong inside Generic Corp."
	case e.Field != "":
		return e.Field + ": " + e.Message
	default:
		return e.Message
	}
}

// TriggerSchedule submits a schedule's task now, paused or not, as if by a person;
// when it comes by the clock does not change. An idempotency key is treated as
// SubmitTask does. An archived schedule is a conflict.
func (w WorkspaceDB) TriggerSchedule(ctx context.Context, actor corp.Actor, id corp.ScheduleID, idem Idempotency) (task corp.Task, replayed bool, err error) {
	taskID := corp.NewID[corp.TaskID]()
	err = w.door.In(ctx, func(tx pgx.Tx) error {
		s, err := door.CollectOne(ctx, tx, "schedule", scanSchedule, `
			SELECT `+scheduleColumns+` FROM schedules WHERE workspace_id = $1 AND id = $2 FOR KEY SHARE`, w.door.ID, id)
		if err != nil {
			return err
		}
		made, err := remember(ctx, tx, w.door.ID, opTriggerSchedule, idem, taskID)
		if err != nil {
			return err
		}
		if replayed = made != taskID; !replayed {
			if s.ArchivedAt != nil {
				return corp.Conflict("This schedule is archived and submits nothing any more.", "Create another one, or submit its task by itself.")
			}
			sub, err := scheduled(actor, s.Task)
			if err != nil {
				return err
			}
			sub.schedule, sub.tasks[0].id = id, taskID
			if err := w.submit(ctx, tx, sub); err != nil {
				return err
			}
			w.door.Emit(tx, door.Event{Kind: "schedule.fired", Task: taskID, Data: firing{About: door.About{ID: id.String(), Name: s.Name, By: actor}}})
		}
		task, err = w.task(ctx, tx, made)
		return err
	})
	return task, replayed, err
}

// scheduled is a submission of a schedule's task, whose fields are named as the
// schedule has them.
func scheduled(actor corp.Actor, spec corp.TaskSpec) (*submission, error) {
	s, err := newSubmission(actor, spec)
	if err != nil {
		return nil, inField("task.", err)
	}
	s.tasks[0].field = "task."
	return s, nil
}

var errTried = errors.New("the submission was only tried")

// tryTask refuses a task that could not be submitted now, and submits nothing.
func (w WorkspaceDB) tryTask(ctx context.Context, actor corp.Actor, spec corp.TaskSpec) error {
	s, err := scheduled(actor, spec)
	if err != nil {
		return err
	}
	s.trial = true
	err = w.door.In(ctx, func(tx pgx.Tx) error {
		if err := w.submit(ctx, tx, s); err != nil {
			return err
		}
		return errTried
	})
	if errors.Is(err, errTried) {
		return nil
	}
	return err
}

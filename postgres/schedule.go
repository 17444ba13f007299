package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
	"github.com/genericcorp/corp/timetable"
)

const scheduleColumns = `id, name, cron, time_zone, missed, paused, spec AS task, next_at, last_at, last_task_id, last_error, created_by, created_at, archived_at`

var scanSchedule = pgx.RowToStructByName[corp.Schedule]

// CreateSchedule stores a task that is submitted by the clock from now on. Its
// task is refused as SubmitTask would refuse it, with "task." before the field. A
// name in use is a conflict.
func (w WorkspaceDB) CreateSchedule(ctx context.Context, actor corp.Actor, spec corp.ScheduleSpec) (made corp.Schedule, err error) {
	table, err := completeSchedule(&spec)
	if err != nil {
		return made, err
	}
	if err := w.tryRepeated(ctx, actor, spec.Task); err != nil {
		return made, err
	}
	text, err := json.Marshal(spec.Task)
	if err != nil {
		return made, fmt.Errorf("write a schedule's task: %w", err)
	}
	id := corp.NewID[corp.ScheduleID]()
	err = w.door.In(ctx, func(tx pgx.Tx) error {
		if err := w.oneMore(ctx, tx, lockSchedules, countSchedules, noRoomForSchedule); err != nil {
			return err
		}
		next, err := nextTime(ctx, tx, table, spec.Paused, nil)
		if err != nil {
			return err
		}
		made, err = door.CollectOne(ctx, tx, "schedule", scanSchedule, `
			INSERT INTO schedules (workspace_id, id, name, cron, time_zone, missed, spec, source_id, paused, next_at, created_by)
			VALUES ($1, $2, $3, $4, $5, $6, $7::text::json, $8, $9, $10, $11) RETURNING `+scheduleColumns,
			w.door.ID, id, spec.Name, spec.Cron, spec.TimeZone, spec.Missed, string(text), spec.Task.SourceID, spec.Paused, next, actor)
		if err != nil {
			return err
		}
		w.door.Emit(tx, door.Event{Kind: "schedule.created", Data: door.About{ID: id.String(), Name: spec.Name, By: actor}})
		return nil
	})
	return made, err
}

// completeSchedule fills in the defaults and reads the timetable.
func completeSchedule(spec *corp.ScheduleSpec) (*timetable.Timetable, error) {
	if spec.TimeZone == "" {
		spec.TimeZone = "UTC"
	}
	if spec.Missed == "" {
		spec.Missed = corp.MissedRunOnce
	}
	if spec.Missed != corp.MissedRunOnce && spec.Missed != corp.MissedSkip {
		return nil, corp.Invalid("missed", "There is no such way to treat missed times.", "Use run_once or skip.")
	}
	return timetable.Parse(spec.Cron, spec.TimeZone)
}

// tryRepeated refuses a task that could not be submitted now, or not again.
func (w WorkspaceDB) tryRepeated(ctx context.Context, actor corp.Actor, spec corp.TaskSpec) error {
	const hint = "Use delay_seconds and deadline_seconds, which count from each submission."
	switch {
	case spec.NotBefore != nil:
		return corp.Invalid("task.not_before", "A task that is repeated cannot start at one moment.", hint)
	case spec.DeadlineAt != nil:
		return corp.Invalid("task.deadline_at", "A task that is repeated cannot have one moment as its deadline.", hint)
	}
	return w.tryTask(ctx, actor, spec)
}

// nextTime returns when a timetable comes next, by the database's clock, and
// after the last time that it came; nil while it is paused.
func nextTime(ctx context.Context, tx pgx.Tx, table *timetable.Timetable, paused bool, last *time.Time) (*time.Time, error) {
	if paused {
		return nil, nil
	}
	now, err := clock(ctx, tx)
	if err != nil {
		return nil, err
	}
	if last != nil && last.After(now) {
		now = *last
	}
	return after(table, now), nil
}

func after(table *timetable.Timetable, t time.Time) *time.Time {
	if next, ever := table.Next(t); ever {
		return &next
	}
	return nil
}

// UpdateSchedule changes what u names. When the timetable changes, or a paused
// schedule is resumed, it comes at the next time from now on: what passed is not
// made up for. An archived schedule is not found.
func (w WorkspaceDB) UpdateSchedule(ctx context.Context, actor corp.Actor, id corp.ScheduleID, u corp.ScheduleUpdate) (made corp.Schedule, err error) {
	if u.Task != nil {
		if err := w.tryRepeated(ctx, actor, *u.Task); err != nil {
			return made, err
		}
	}
	err = w.door.In(ctx, func(tx pgx.Tx) error {
		now, err := door.CollectOne(ctx, tx, "schedule", scanSchedule, `
			SELECT `+scheduleColumns+` FROM schedules WHERE workspace_id = $1 AND id = $2 AND archived_at IS NULL FOR NO KEY UPDATE`, w.door.ID, id)
		if err != nil {
			return err
		}
		spec := merged(now.ScheduleSpec, u)
		table, err := completeSchedule(&spec)
		if err != nil {
			return err
		}
		next := now.NextAt
		if next == nil || spec.Paused || spec.Cron != now.Cron || spec.TimeZone != now.TimeZone {
			if next, err = nextTime(ctx, tx, table, spec.Paused, now.LastAt); err != nil {
				return err
			}
		}
		text, err := json.Marshal(spec.Task)
		if err != nil {
			return fmt.Errorf("write a schedule's task: %w", err)
		}
		made, err = door.CollectOne(ctx, tx, "schedule", scanSchedule, `
			UPDATE schedules SET name = $3, cron = $4, time_zone = $5, missed = $6, spec = $7::text::json, source_id = $8, paused = $9, next_at = $10
			WHERE workspace_id = $1 AND id = $2 RETURNING `+scheduleColumns,
			w.door.ID, id, spec.Name, spec.Cron, spec.TimeZone, spec.Missed, string(text), spec.Task.SourceID, spec.Paused, next)
		if err != nil {
			return err
		}
		w.door.Emit(tx, door.Event{Kind: "schedule.updated", Data: door.About{ID: id.String(), Name: spec.Name, By: actor}})
		return nil
	})
	return made, err
}

func merged(spec corp.ScheduleSpec, u corp.ScheduleUpdate) corp.ScheduleSpec {
	take(&spec.Name, u.Name)
	take(&spec.Cron, u.Cron)
	take(&spec.TimeZone, u.TimeZone)
	take(&spec.Missed, u.Missed)
	take(&spec.Paused, u.Paused)
	take(&spec.Task, u.Task)
	return spec
}

func take[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// ArchiveSchedule ends a schedule: it submits nothing any more, and its name is
// free again. Its tasks stay. Archiving twice changes nothing.
func (w WorkspaceDB) ArchiveSchedule(ctx context.Context, actor corp.Actor, id corp.ScheduleID) (made corp.Schedule, err error) {
	err = w.door.In(ctx, func(tx pgx.Tx) error {
		changed, err := archive(ctx, tx, w.door.ID, "schedules", id)
		if err != nil {
			return err
		}
		if changed {
			if _, err := tx.Exec(ctx, `UPDATE schedules SET next_at = NULL WHERE workspace_id = $1 AND id = $2`, w.door.ID, id); err != nil {
				return err
			}
		}
		made, err = door.CollectOne(ctx, tx, "schedule", scanSchedule, `SELECT `+scheduleColumns+` FROM schedules WHERE workspace_id = $1 AND id = $2`, w.door.ID, id)
		if err != nil || !changed {
			return err
		}
		w.door.Emit(tx, door.Event{Kind: "schedule.archived", Data: door.About{ID: id.String(), Name: made.Name, By: actor}})
		return nil
	})
	return made, err
}

// Schedule returns the schedule with this id, archived or not, or the one that
// has this name now.
func (w WorkspaceDB) Schedule(ctx context.Context, nameOrID string) (corp.Schedule, error) {
	id, _ := corp.ParseID[corp.ScheduleID](nameOrID) // a name: the zero id, which is nobody's
	return door.QueryOne(ctx, w.door, "schedule", scanSchedule, `
		SELECT `+scheduleColumns+` FROM schedules WHERE workspace_id = $1 AND (id = $2 OR name = $3 AND archived_at IS NULL)`, id, nameOrID)
}

// Schedules lists the schedules that are not archived, newest first.
func (w WorkspaceDB) Schedules(ctx context.Context, p corp.Page) (corp.List[corp.Schedule], error) {
	from, limit, err := door.Start(p)
	if err != nil {
		return corp.List[corp.Schedule]{}, err
	}
	found, err := door.Query(ctx, w.door, scanSchedule, `
		SELECT `+scheduleColumns+` FROM schedules
		WHERE workspace_id = $1 AND archived_at IS NULL AND (created_at, id) < ($2, $3)
		ORDER BY created_at DESC, id DESC LIMIT $4`, from.At, from.ID, limit+1)
	return door.Page(found, limit, func(s corp.Schedule) door.Position { return door.At(s.CreatedAt, s.ID) }), err
}

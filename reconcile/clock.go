package reconcile

import (
	"context"
	"fmt"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
)

// atOnce is how many schedules are fired side by side: many are due at midnight,
// and the database has other work, too.
const atOnce = 4

// MissDeadlines fails the tasks whose deadline has come, or tells their runs to stop.
func (r *Reconciler) MissDeadlines(ctx context.Context) error {
	due, err := r.DB.System("reconcile").OverdueTasks(ctx)
	if err != nil {
		return fmt.Errorf("find overdue tasks: %w", err)
	}
	for _, ref := range due {
		err := r.DB.In(ref.Workspace).MissDeadline(ctx, ref.TaskID)
		log := r.Logger.With(slog.String("workspace_id", ref.Workspace.String()), slog.String("task_id", ref.TaskID.String()))
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			log.ErrorContext(ctx, "a task that missed its deadline could not be ended", slog.Any("error", err))
		default:
			log.InfoContext(ctx, "a task missed its deadline")
		}
	}
	return nil
}

// FireSchedules submits the tasks of the schedules whose time has come. One that
// cannot be submitted does not keep the rest from it.
func (r *Reconciler) FireSchedules(ctx context.Context) error {
	due, err := r.DB.System("reconcile").DueSchedules(ctx)
	if err != nil {
		return fmt.Errorf("find due schedules: %w", err)
	}
	var all errgroup.Group
	all.SetLimit(atOnce)
	for _, ref := range due {
		all.Go(func() error {
			r.fireSchedule(ctx, ref)
			return ctx.Err()
		})
	}
	return all.Wait()
}

func (r *Reconciler) fireSchedule(ctx context.Context, ref postgres.ScheduleRef) {
	task, err := r.DB.In(ref.Workspace).FireSchedule(ctx, ref.ScheduleID, ref.Due)
	log := r.Logger.With(slog.String("workspace_id", ref.Workspace.String()), slog.String("schedule_id", ref.ScheduleID.String()), slog.Time("due", ref.Due))
	switch {
	case ctx.Err() != nil:
	case err != nil && corp.KindOf(err) != corp.KindUnavailable && corp.KindOf(err) != corp.KindInternal:
		log.InfoContext(ctx, "a schedule's task was refused", slog.Any("error", err)) // its owner's to mend, who sees it in the schedule
	case err != nil:
		log.ErrorContext(ctx, "a schedule could not be fired", slog.Any("error", err))
	case !task.IsZero():
		log.InfoContext(ctx, "a schedule fired", slog.String("task_id", task.String()))
	}
}

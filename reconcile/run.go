package reconcile

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
)

// RequeueOffers puts the runs back whose offer nobody acknowledged in time. No
// attempt is used.
func (r *Reconciler) RequeueOffers(ctx context.Context) error {
	due, err := r.DB.System("reconcile").ExpiredOffers(ctx)
	if err != nil {
		return fmt.Errorf("find expired offers: %w", err)
	}
	return r.each(ctx, "offer returned to the queue", due, postgres.WorkspaceDB.RequeueRun)
}

// LoseRuns ends the runs whose runner fell silent, and starts their task's next
// attempt if there is one left.
func (r *Reconciler) LoseRuns(ctx context.Context) error {
	due, err := r.DB.System("reconcile").ExpiredLeases(ctx, r.Margin)
	if err != nil {
		return fmt.Errorf("find expired leases: %w", err)
	}
	return r.each(ctx, "run lost its runner", due, postgres.WorkspaceDB.LoseRun)
}

// ExpireRuns ends the runs that used up their time and that their runner did
// not end.
func (r *Reconciler) ExpireRuns(ctx context.Context) error {
	due, err := r.DB.System("reconcile").OverdueRuns(ctx, r.Grace)
	if err != nil {
		return fmt.Errorf("find overdue runs: %w", err)
	}
	return r.each(ctx, "run used up its time", due, postgres.WorkspaceDB.ExpireRun)
}

// each repairs one run after the other. One that cannot be repaired does not
// keep the rest from it; one that has moved on meanwhile needs nothing.
func (r *Reconciler) each(ctx context.Context, what string, due []postgres.RunRef, repair func(postgres.WorkspaceDB, context.Context, corp.RunID, int64) error) error {
	for _, ref := range due {
		err := repair(r.DB.In(ref.Workspace), ctx, ref.RunID, ref.Epoch)
		log := r.Logger.With(slog.String("workspace_id", ref.Workspace.String()), slog.String("run_id", ref.RunID.String()))
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case corp.KindOf(err) == corp.KindLeaseLost, corp.KindOf(err) == corp.KindConflict:
		case err != nil:
			log.ErrorContext(ctx, "a run could not be repaired", slog.String("repair", what), slog.Any("error", err))
		default:
			log.InfoContext(ctx, "a run was repaired", slog.String("repair", what))
		}
	}
	return nil
}

package reconcile

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
)

// CloseAllowances settles what servers held that died and did not come back for
// it. Whoever restarts in its old data folder settles exactly, from its journal
// (package gateway); here nobody knows what was spent, so what is unaccounted
// for counts as spent, as an estimated call.
//
// A machine that slept wakes with every sign of life old, its own included. So a
// server is settled only when it was found dead in two rounds in a row, and never
// by itself.
func (r *Reconciler) CloseAllowances(ctx context.Context) error {
	system := r.DB.System("reconcile")
	silent, err := system.DeadServers(ctx, r.Dead)
	if err != nil {
		return fmt.Errorf("find dead servers: %w", err)
	}
	before := r.silent
	r.silent = silent
	for _, server := range silent {
		if server == r.Server.ID || !slices.Contains(before, server) {
			continue
		}
		open, err := system.OpenAllowances(ctx, server)
		if err != nil {
			return fmt.Errorf("find open allowances: %w", err)
		}
		for _, a := range open {
			if err := r.closeAllowance(ctx, a); err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				r.Logger.ErrorContext(ctx, "an allowance could not be settled",
					slog.String("workspace_id", a.Workspace.String()), slog.String("allowance_id", a.AllowanceID.String()), slog.Any("error", err))
			}
		}
	}
	return nil
}

func (r *Reconciler) closeAllowance(ctx context.Context, a postgres.AllowanceRef) error {
	call := corp.Call{
		Outcome: corp.CallUnsettled, Estimated: true,
		Detail: "The server that made these calls died before it could say what they cost; this is the most that it can be.",
	}
	if err := r.DB.In(a.Workspace).CloseAllowance(ctx, a.AllowanceID, &call); err != nil {
		return err
	}
	r.Logger.WarnContext(ctx, "a dead server's allowance was settled by estimate",
		slog.String("workspace_id", a.Workspace.String()), slog.String("allowance_id", a.AllowanceID.String()), slog.Int64("cost_nanodollars", int64(call.Cost)))
	return nil
}

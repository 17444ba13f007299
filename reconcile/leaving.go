package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/people"
)

const (
	leavingBatch = 100  // people and workspaces of a round
	purgeBatch   = 5000 // rows of a transaction
)

// PurgePeople removes those whose time of grace is over. One person's trouble does
// not keep the others from it.
func (r *Reconciler) PurgePeople(ctx context.Context) error {
	if r.People == nil {
		return nil
	}
	system := r.People.System("leaving")
	due, err := system.Leaving(ctx, leavingBatch)
	if err != nil {
		return fmt.Errorf("find who leaves: %w", err)
	}
	var failed []error
	for _, id := range due {
		switch gone, err := system.PurgePerson(ctx, id); {
		case err != nil:
			failed = append(failed, fmt.Errorf("remove %s: %w", id, err))
		case gone:
			r.Logger.InfoContext(ctx, "a person who asked for it was deleted", slog.String("user_id", id.String()))
		}
	}
	return errors.Join(failed...)
}

// PurgeWorkspaces removes those whose time of grace is over: their rows, their
// files, and their own row last. A crash in between leaves a workspace that is still
// due, and the next round goes on. One where a run is under way waits for its end.
func (r *Reconciler) PurgeWorkspaces(ctx context.Context) error {
	if r.People == nil {
		return nil
	}
	system := r.People.System("leaving")
	due, err := system.Doomed(ctx, leavingBatch)
	if err != nil {
		return fmt.Errorf("find deleted workspaces: %w", err)
	}
	var failed []error
	for _, ws := range due {
		if err := r.purgeWorkspace(ctx, system, ws); err != nil {
			failed = append(failed, fmt.Errorf("remove %s: %w", ws, err))
		}
	}
	return errors.Join(failed...)
}

func (r *Reconciler) purgeWorkspace(ctx context.Context, system people.System, ws corp.WorkspaceID) error {
	var rows int64
	for {
		removed, due, err := system.PurgeWorkspace(ctx, ws, purgeBatch)
		if err != nil || !due {
			return err
		}
		if rows += removed; removed == 0 {
			break
		}
	}
	if r.RemoveFiles != nil {
		if err := r.RemoveFiles(ctx, ws); err != nil {
			return err
		}
	}
	gone, err := system.BuryWorkspace(ctx, ws)
	if gone {
		r.Logger.InfoContext(ctx, "a workspace that was deleted is gone", slog.String("workspace_id", ws.String()), slog.Int64("rows", rows))
	}
	return err
}

// DropSessions forgets the sessions, links and devices that ended long ago.
func (r *Reconciler) DropSessions(ctx context.Context) error {
	if r.People == nil {
		return nil
	}
	dropped, err := r.People.System("retention").DropOver(ctx)
	if err != nil {
		return fmt.Errorf("drop old sessions: %w", err)
	}
	if dropped > 0 {
		r.Logger.InfoContext(ctx, "old sessions dropped", slog.Int64("rows", dropped))
	}
	return nil
}

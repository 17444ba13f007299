package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/genericcorp/corp/audit"
	"github.com/genericcorp/corp/postgres/trail"
)

// sealLate is how long an event may wait for a transaction that somebody forgot,
// before the log says so.
const sealLate = 5 * time.Minute

// SealAudit seals what is new in the audit logs, and says in the server's log, and
// in the anchor, how each chain then ends: there the database's owner cannot
// change it. What another server seals just now is left to it.
func (r *Reconciler) SealAudit(ctx context.Context) error {
	if r.Signer == nil {
		return nil
	}
	logs := trail.New(r.DB.Door())
	backlog, err := logs.Backlog(ctx)
	if err != nil {
		return fmt.Errorf("find what is new in the audit logs: %w", err)
	}
	if late := backlog.Delayed > sealLate; late != r.late {
		r.late = late
		if late {
			r.Logger.WarnContext(ctx, "the audit log is not sealed: a transaction of the database has been open for long", slog.Duration("waiting", backlog.Delayed))
		} else {
			r.Logger.InfoContext(ctx, "the audit log is sealed again")
		}
	}
	if len(backlog.Logs) == 0 {
		return nil
	}
	var all errgroup.Group
	all.SetLimit(atOnce)
	whole := make([]bool, len(backlog.Logs))
	for i, u := range backlog.Logs {
		all.Go(func() error {
			points, ok, err := logs.Seal(ctx, backlog, u, r.Signer)
			whole[i] = ok
			err = errors.Join(err, r.anchor(ctx, points))
			if err != nil {
				return fmt.Errorf("seal the audit log of %q: %w", u.Workspace, err)
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		return err
	}
	for _, ok := range whole {
		if !ok {
			return nil
		}
	}
	if err := logs.Sealed(ctx, backlog); err != nil {
		return fmt.Errorf("note what is sealed: %w", err)
	}
	return nil
}

// anchor tells the checkpoints where they are kept apart from the database.
func (r *Reconciler) anchor(ctx context.Context, points []audit.Checkpoint) error {
	var failed []error
	for _, c := range points {
		r.Logger.InfoContext(ctx, "audit log sealed",
			slog.String("workspace_id", c.WorkspaceID.String()), slog.Int64("seq", c.Seq), slog.String("hash", c.Hash.String()), slog.String("key_id", c.KeyID))
		if r.Anchor != nil {
			failed = append(failed, r.Anchor(c))
		}
	}
	return errors.Join(failed...)
}

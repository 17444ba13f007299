package reconcile

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/genericcorp/corp"
)

// TouchServer says that this server lives, so that nobody takes its money. One that
// slept so long that it was forgotten is registered again.
func (r *Reconciler) TouchServer(ctx context.Context) error {
	system := r.DB.System("reconcile")
	err := system.TouchServer(ctx, r.Server.ID)
	if corp.KindOf(err) == corp.KindNotFound {
		err = system.RegisterServer(ctx, r.Server)
	}
	if err != nil {
		return fmt.Errorf("touch server: %w", err)
	}
	return nil
}

// MakePartitions makes room for the coming months' entries, calls and events.
func (r *Reconciler) MakePartitions(ctx context.Context) error {
	made, err := r.DB.System("reconcile").EnsurePartitions(ctx, time.Now().UTC(), Months)
	if err != nil {
		return fmt.Errorf("make partitions: %w", err)
	}
	if made > 0 {
		r.Logger.InfoContext(ctx, "partitions made", slog.Int("partitions", made))
	}
	return nil
}

// DropKeys forgets the idempotency keys that nobody repeats any more.
func (r *Reconciler) DropKeys(ctx context.Context) error {
	dropped, err := r.DB.System("reconcile").DropIdempotencyKeys(ctx, r.Keys)
	if err != nil {
		return fmt.Errorf("drop idempotency keys: %w", err)
	}
	if dropped > 0 {
		r.Logger.InfoContext(ctx, "idempotency keys dropped", slog.Int("keys", dropped))
	}
	return nil
}

// DropServers forgets the servers of long ago: each start is one of its own.
func (r *Reconciler) DropServers(ctx context.Context) error {
	if _, err := r.DB.System("reconcile").DropServers(ctx, r.Keys); err != nil {
		return fmt.Errorf("drop old servers: %w", err)
	}
	return nil
}

package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/genericcorp/corp/postgres"
)

// blobBatch is how many files are removed before it is written down.
const blobBatch = 100

// DropPartitions drops the months of entries, events, calls and audit logs that are older
// than they are kept. One table's trouble does not keep the others from it.
func (r *Reconciler) DropPartitions(ctx context.Context) error {
	var failed []error
	for table, keep := range map[postgres.Kept]time.Duration{
		postgres.KeptEntries: r.Retention.Entries, postgres.KeptEvents: r.Retention.Events, postgres.KeptCalls: r.Retention.Calls,
		postgres.KeptAudit: r.Retention.Audit, postgres.KeptAuditPersonal: r.Retention.Audit,
	} {
		if keep <= 0 {
			continue
		}
		dropped, err := r.DB.System("retention").DropPartitions(ctx, table, keep)
		if dropped > 0 {
			r.Logger.InfoContext(ctx, "old partitions dropped", slog.String("table", string(table)), slog.Int("partitions", dropped))
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("drop old partitions of %s: %w", table, err))
		}
	}
	return errors.Join(failed...)
}

// RemoveBlobs removes the files that no task needs any more: first nobody may
// read one, then its bytes go, then that is written down. A crash in between
// leaves a file that the next round removes.
func (r *Reconciler) RemoveBlobs(ctx context.Context) error {
	if r.Retention.Blobs <= 0 || r.RemoveBlob == nil {
		return nil
	}
	system, removed := r.DB.System("retention"), 0
	for {
		expired, err := system.ExpireBlobs(ctx, r.Retention.Blobs, blobBatch)
		if err != nil {
			return fmt.Errorf("expire files: %w", err)
		}
		due, err := system.ExpiredBlobs(ctx, blobBatch)
		if err != nil {
			return fmt.Errorf("find expired files: %w", err)
		}
		for _, b := range due {
			if err := r.RemoveBlob(ctx, b.Workspace, b.ID); err != nil {
				return fmt.Errorf("remove a file: %w", err)
			}
		}
		if err := system.BlobsRemoved(ctx, due); err != nil {
			return fmt.Errorf("write down which files are removed: %w", err)
		}
		removed += len(due)
		if expired < blobBatch && len(due) < blobBatch {
			break
		}
	}
	if removed > 0 {
		r.Logger.InfoContext(ctx, "old files removed", slog.Int("files", removed))
	}
	return nil
}

package reconcile_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/blob"
	"github.com/genericcorp/corp/postgres/pgtest"
	"github.com/genericcorp/corp/reconcile"
)

const longKept = 90 * 24 * time.Hour

func TestEachTableIsKeptForItsOwnTimeAndZeroIsForEver(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	if _, err := env.DB.System("test").EnsurePartitions(t.Context(), time.Now().AddDate(0, -14, 0), 14); err != nil {
		t.Fatal(err)
	}
	months := func() map[string]int {
		found := map[string]int{}
		for _, table := range []string{"entries", "events", "calls"} {
			found[table] = pgtest.Value[int](t, env, `SELECT count(*) FROM pg_inherits WHERE inhparent = $1::text::regclass`, table)
		}
		return found
	}
	before := months()
	r, _ := newReconciler(env)
	once(t, r.DropPartitions)
	once(t, r.RemoveBlobs)
	if now := months(); !maps.Equal(now, before) {
		t.Errorf("without a time %v became %v", before, now)
	}
	r, log := newReconciler(env, func(c *reconcile.Config) {
		c.Retention = reconcile.Retention{Events: longKept, Calls: 400 * 24 * time.Hour}
	})
	once(t, r.DropPartitions)
	now := months()
	if now["entries"] != before["entries"] || before["events"]-now["events"] < 10 || before["calls"]-now["calls"] > 3 {
		t.Errorf("%v became %v", before, now)
	}
	if !strings.Contains(log.String(), "table=events") || strings.Contains(log.String(), "table=entries") {
		t.Errorf("the log:\n%s", log)
	}
}

func TestAFileIsUnreadableBeforeItIsRemovedAndACrashLeavesNothing(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ws := env.Workspace(t)
	store, err := blob.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	ids := make([]corp.BlobID, 250)
	for i := range ids {
		ids[i] = corp.NewID[corp.BlobID]()
		if _, _, err := store.Put(t.Context(), ws, ids[i], strings.NewReader("bytes"), 10); err != nil {
			t.Fatal(err)
		}
		if _, err := env.DB.In(ws).CreateBlob(t.Context(), "test", corp.Blob{ID: ids[i], Kind: corp.BlobSource, Size: 5}); err != nil {
			t.Fatal(err)
		}
	}
	env.Exec(t, `UPDATE blobs SET created_at = now() - interval '91 days'`)
	broken := errors.New("the disk is away")
	removed, failAt := map[corp.BlobID]int{}, 120
	r, _ := newReconciler(env, func(c *reconcile.Config) {
		c.Retention.Blobs = longKept
		c.RemoveBlob = func(ctx context.Context, ws corp.WorkspaceID, id corp.BlobID) error {
			if _, err := env.DB.In(ws).Blob(ctx, id); corp.KindOf(err) != corp.KindNotFound {
				t.Errorf("it is removed while it can be read: %v", err)
			}
			if len(removed) == failAt {
				return broken
			}
			removed[id]++
			return store.Delete(ctx, ws, id)
		}
	})
	if err := r.RemoveBlobs(t.Context()); !errors.Is(err, broken) {
		t.Fatalf("the round that failed: %v", err)
	}
	failAt = -1
	once(t, r.RemoveBlobs)
	if len(removed) != len(ids) || slices.Max(slices.Collect(maps.Values(removed))) > 2 {
		t.Errorf("%d of %d files were removed", len(removed), len(ids))
	}
	for _, id := range ids {
		if _, err := store.Get(t.Context(), ws, id); corp.KindOf(err) != corp.KindNotFound {
			t.Errorf("the bytes are there: %v", err)
		}
	}
	if n := pgtest.Value[int](t, env, `SELECT count(*) FROM blobs WHERE removed_at IS NULL`); n != 0 {
		t.Errorf("of %d it is not written down", n)
	}
	before := len(removed)
	once(t, r.RemoveBlobs)
	if len(removed) != before {
		t.Error("files were removed again")
	}
}

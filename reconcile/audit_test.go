package reconcile_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/audit"
	"github.com/genericcorp/corp/postgres/pgtest"
	"github.com/genericcorp/corp/postgres/trail"
	"github.com/genericcorp/corp/reconcile"
)

func TestTwoServersSealManyLogsAndAnchorEachCheckpoint(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	logs, signer := trail.New(env.DB.Door()), audit.NewSigner(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	const spaces, events = 30, 4
	var mu sync.Mutex
	var anchored []audit.Checkpoint
	broken := errors.New("the disk is full")
	full := false
	sealing := func(c *reconcile.Config) {
		c.Signer = signer
		c.Anchor = func(p audit.Checkpoint) error {
			mu.Lock()
			defer mu.Unlock()
			if full {
				return broken
			}
			anchored = append(anchored, p)
			return nil
		}
	}
	one, log1 := newReconciler(env, sealing)
	two, log2 := newReconciler(env, sealing)
	var all []corp.WorkspaceID
	for range spaces {
		all = append(all, env.Workspace(t))
	}
	for range events {
		for _, ws := range all {
			if err := logs.Of(ws).Write(t.Context(), corp.AuditEvent{Actor: "a", Operation: "o"}); err != nil {
				t.Fatal(err)
			}
		}
		var both sync.WaitGroup
		for _, r := range []*reconcile.Reconciler{one, two} {
			both.Go(func() { once(t, r.SealAudit) })
		}
		both.Wait()
	}
	pgtest.Eventually(t, 30*time.Second, "all to be sealed", func(context.Context) bool {
		once(t, one.SealAudit)
		return pgtest.Value[int](t, env, `SELECT count(*)::int FROM audit_links`) == spaces*events
	})
	for _, ws := range all {
		var out bytes.Buffer
		if err := logs.Of(ws).Export(t.Context(), &out, signer.Public()); err != nil {
			t.Fatal(err)
		}
		report, err := audit.Verify(&out, audit.Expect{Checkpoints: anchored, WorkspaceID: &ws})
		if err != nil || report.Rows != events {
			t.Errorf("%+v %v", report, err)
		}
	}
	if n := pgtest.Value[int](t, env, `SELECT count(*)::int FROM audit_checkpoints`); n != len(anchored) || n != strings.Count(log1.String()+log2.String(), "audit log sealed") {
		t.Errorf("%d checkpoints, %d anchored, in the log:\n%s", n, len(anchored), log1)
	}
	mu.Lock()
	full = true
	mu.Unlock()
	if err := logs.Of(all[0]).Write(t.Context(), corp.AuditEvent{Actor: "a", Operation: "o"}); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, 30*time.Second, "the anchor's trouble to be told", func(ctx context.Context) bool { return errors.Is(one.SealAudit(ctx), broken) })
}

func TestTheAuditLogIsKeptForItsTime(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	if _, err := env.DB.System("test").EnsurePartitions(t.Context(), time.Now().AddDate(0, -16, 0), 16); err != nil {
		t.Fatal(err)
	}
	months := func(table string) int {
		return pgtest.Value[int](t, env, fmt.Sprintf(`SELECT count(*)::int FROM pg_inherits WHERE inhparent = '%s'::regclass`, table))
	}
	before := months("audit_events")
	r, _ := newReconciler(env, func(c *reconcile.Config) { c.Retention.Audit = 400 * 24 * time.Hour })
	once(t, r.DropPartitions)
	if now := months("audit_events"); now >= before || now < 13 || now != months("audit_personal") {
		t.Errorf("%d months became %d, and of personal data %d", before, now, months("audit_personal"))
	}
}

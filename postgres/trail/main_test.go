package trail_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/audit"
	"github.com/genericcorp/corp/postgres/door"
	"github.com/genericcorp/corp/postgres/pgtest"
	"github.com/genericcorp/corp/postgres/trail"
)

var signer = audit.NewSigner(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{5}, ed25519.SeedSize)))

// logs is the audit logs of a database.
type logs struct {
	*pgtest.Env
	trail.DB
}

// fresh is a database of its own: what is sealed is counted for all workspaces.
func fresh(tb testing.TB) logs {
	tb.Helper()
	env := pgtest.Database(tb)
	return logs{env, trail.New(env.DB.Door())}
}

func someEvent(target string) corp.AuditEvent {
	return corp.AuditEvent{
		Actor: "user_1", Via: "key_1", Operation: "createAgent", Action: corp.AgentWrite, Target: target, RequestID: "req_1",
		Personal: &corp.AuditPersonal{Address: "192.0.2.7", UserAgent: "test/1", Email: "a@example.com"},
	}
}

// write has a transaction of the workspace write an event for each target.
func (l logs) write(tb testing.TB, ws corp.WorkspaceID, targets ...string) {
	tb.Helper()
	for _, target := range targets {
		ok(tb, l.Of(ws).Write(tb.Context(), someEvent(target)))
	}
}

func ok(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// events lists a log, oldest first.
func (l logs) events(tb testing.TB, ws corp.WorkspaceID) (targets []string) {
	tb.Helper()
	found, err := l.Of(ws).Events(tb.Context(), trail.Filter{}, corp.Page{Limit: corp.MaxPage})
	ok(tb, err)
	for i := range found.Items {
		targets = append(targets, found.Items[len(found.Items)-1-i].Target)
	}
	return targets
}

// round is one round of a sealer; it says how many logs were left to another one.
func (l logs) round(ctx context.Context) (points []audit.Checkpoint, left int, err error) {
	b, err := l.Backlog(ctx)
	if err != nil {
		return nil, 0, err
	}
	for _, u := range b.Logs {
		made, mine, err := l.Seal(ctx, b, u, signer)
		if err != nil {
			return points, left, err
		}
		points = append(points, made...)
		if !mine {
			left++
		}
	}
	if left > 0 {
		return points, left, nil
	}
	return points, 0, l.Sealed(ctx, b)
}

// seal seals all that there is, each log's in one go.
func (l logs) seal(tb testing.TB) (points []audit.Checkpoint) {
	tb.Helper()
	// A transaction of another test's database holds the numbers back as well: what
	// it holds back of a log would be sealed apart from the rest.
	pgtest.Eventually(tb, 30*time.Second, "the transactions that hold events back to end", func(context.Context) bool {
		return pgtest.Value[int](tb, l.Env, `SELECT count(*)::int FROM audit_events e, pg_current_snapshot() now
			WHERE e.xid >= pg_snapshot_xmin(now) AND e.xid < pg_snapshot_xmax(now)`) == 0
	})
	failed := 0
	pgtest.Eventually(tb, 30*time.Second, "everything to be sealed", func(ctx context.Context) bool {
		made, _, err := l.round(ctx)
		if err != nil { // the pool may hold connections that were killed
			if failed++; failed > 20 {
				tb.Fatal(err)
			}
		}
		points = append(points, made...)
		return l.unsealed(tb) == 0
	})
	return points
}

func (l logs) unsealed(tb testing.TB) int {
	tb.Helper()
	return pgtest.Value[int](tb, l.Env, `SELECT count(*)::int FROM audit_events e WHERE NOT EXISTS (SELECT FROM audit_links l WHERE l.workspace_id = e.workspace_id AND l.event_id = e.id)`)
}

// verify exports a log and checks it.
func (l logs) verify(tb testing.TB, ws corp.WorkspaceID, kept ...audit.Checkpoint) (audit.Report, *audit.TamperError) {
	tb.Helper()
	var out bytes.Buffer
	ok(tb, l.Of(ws).Export(tb.Context(), &out, signer.Public()))
	report, err := audit.Verify(&out, audit.Expect{Keys: []ed25519.PublicKey{signer.Public()}, Checkpoints: kept, WorkspaceID: &ws})
	bad, tampered := errors.AsType[*audit.TamperError](err)
	if err != nil && !tampered {
		tb.Fatal(err)
	}
	return report, bad
}

func as(tb testing.TB, url string) *pgx.Conn {
	tb.Helper()
	conn, err := pgx.Connect(tb.Context(), url)
	ok(tb, err)
	tb.Cleanup(func() { _ = conn.Close(context.WithoutCancel(tb.Context())) })
	return conn
}

func pending(ctx context.Context, target string) (context.Context, *door.Pending) {
	p := door.NewPending(someEvent(target))
	return door.WithAudit(ctx, p), p
}

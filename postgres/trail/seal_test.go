package trail_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/audit"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/door"
	"github.com/genericcorp/corp/postgres/pgtest"
)

func idem(key string) postgres.Idempotency { return postgres.Idempotency{Key: key} }

func TestASealedLogIsVerified(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	one, two := l.Workspace(t), l.Workspace(t)
	l.write(t, one, "a", "b")
	l.write(t, two, "x")
	l.write(t, corp.WorkspaceID{}, "i")
	points := l.seal(t)
	if len(points) != 3 {
		t.Errorf("%d checkpoints of three logs", len(points))
	}
	l.write(t, one, "c")
	points = append(points, l.seal(t)...)
	for ws, rows := range map[corp.WorkspaceID]int64{one: 3, two: 1, {}: 1} {
		report, bad := l.verify(t, ws, points...)
		if bad != nil || report.Rows != rows || report.Erased != 0 {
			t.Errorf("%s: %+v %v", ws, report, bad)
		}
	}
	newest, err := l.Of(one).Newest(t.Context())
	if err != nil || newest.Seq != 3 || newest.Hash != points[3].Hash {
		t.Errorf("%+v %v", newest, err)
	}
	if b, err := l.Backlog(t.Context()); err != nil || len(b.Logs) != 0 {
		t.Errorf("%+v %v", b, err)
	}
	if points := l.seal(t); len(points) > 0 {
		t.Errorf("nothing was new, and %d checkpoints were made", len(points))
	}
	if _, err := l.Of(l.Workspace(t)).Newest(t.Context()); corp.KindOf(err) != corp.KindNotFound {
		t.Errorf("the checkpoint of an empty log: %v", err)
	}
}

// Whoever commits late must not find the numbers around it taken.
func TestAnEventIsSealedOnlyWhenNoneCanComeBeforeIt(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	ws := l.Workspace(t)
	slow := as(t, l.AppURL)
	tx, err := slow.Begin(t.Context())
	ok(t, err)
	_, err = tx.Exec(t.Context(), `SELECT set_config('app.workspace_id', $1, true)`, ws.UUID())
	ok(t, err)
	_, err = tx.Exec(t.Context(), `SELECT write_audit(true, $1, 'a', '', 'o', 'x', 'slow', 'done', '', NULL, '', '', '', '', '', '')`, corp.NewID[corp.AuditID]())
	ok(t, err)
	l.write(t, ws, "quick")
	if points, _, err := l.round(t.Context()); err != nil || len(points) > 0 {
		t.Fatalf("sealed beside an open transaction: %v %v", points, err)
	}
	if b, err := l.Backlog(t.Context()); err != nil || b.Delayed <= 0 {
		t.Errorf("the delay is not seen: %+v %v", b, err)
	}
	ok(t, tx.Commit(t.Context()))
	l.seal(t)
	order := pgtest.Value[string](t, l.Env, `SELECT string_agg(e.target, ' ' ORDER BY l.seq) FROM audit_links l JOIN audit_events e ON e.id = l.event_id`)
	if _, bad := l.verify(t, ws); bad != nil || order != "slow quick" {
		t.Errorf("%q %v", order, bad)
	}
}

func TestManyWritersAndSealersMakeOneChain(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	const writers, each, sealers = 8, 25, 4
	var spaces []corp.WorkspaceID
	for range 3 {
		spaces = append(spaces, l.Workspace(t))
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var points []audit.Checkpoint
	var mu sync.Mutex
	var writing, sealing sync.WaitGroup
	for s := range sealers {
		sealing.Go(func() {
			for ctx.Err() == nil {
				made, _, err := l.round(context.WithoutCancel(ctx))
				if err != nil {
					t.Errorf("sealer %d: %v", s, err)
					return
				}
				mu.Lock()
				points = append(points, made...)
				mu.Unlock()
			}
		})
	}
	for w := range writers {
		writing.Go(func() {
			for i := range each {
				if err := l.Of(spaces[(w+i)%len(spaces)]).Write(t.Context(), someEvent(fmt.Sprintf("%d-%d", w, i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writing.Wait()
	stop()
	sealing.Wait()
	points = append(points, l.seal(t)...)
	rows := int64(0)
	for _, ws := range spaces {
		report, bad := l.verify(t, ws, points...)
		if bad != nil {
			t.Error(bad)
		}
		rows += report.Rows
	}
	if rows != writers*each {
		t.Errorf("%d rows are sealed of %d", rows, writers*each)
	}
}

func TestASealerThatDiesLeavesTheRestToTheNext(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	ws := l.Workspace(t)
	for i := range 20 {
		p := door.NewPending(someEvent(fmt.Sprint(i)))
		pgtest.Eventually(t, 20*time.Second, "the event to be written", func(ctx context.Context) bool { // the pool may hold a connection that was killed
			return l.Of(ws).WritePending(ctx, p) == nil
		})
		ctx, die := context.WithCancel(t.Context())
		died := make(chan struct{})
		go func() {
			defer close(died)
			_, _, _ = l.round(ctx)
		}()
		if i%2 == 0 {
			l.KillConnections(t)
		}
		die()
		<-died
	}
	l.seal(t)
	if report, bad := l.verify(t, ws); bad != nil || report.Rows != 20 {
		t.Errorf("%+v %v", report, bad)
	}
}

func TestMoreEventsThanABatchAreSealedInOneRound(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	ws := l.Workspace(t)
	l.Exec(t, `INSERT INTO audit_events (workspace_id, id, actor, via, operation, action, target, result, request_id, personal_hash)
		SELECT $1::uuid, gen_random_uuid(), 'a', '', 'o', 'x', 't', 'done', '', '' FROM generate_series(1, 2500)`, ws.UUID())
	points := l.seal(t)
	if len(points) != 3 || points[2].Seq != 2500 {
		t.Errorf("%d checkpoints", len(points))
	}
	if report, bad := l.verify(t, ws, points...); bad != nil || report.Rows != 2500 || report.Checkpoints != 3 {
		t.Errorf("%+v %v", report, bad)
	}
}

// On the rows themselves, by somebody whom no trigger stops.
// Attack case 44. Control: an untouched log is verified.
func TestWhatIsDoneToTheRowsIsNamed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sql  string // $ws stands for the workspace
		want audit.Fault
		seq  int64
	}{
		"a byte":           {`UPDATE audit_events e SET target = 'x' || substr(target, 2) FROM audit_links l WHERE l.event_id = e.id AND l.workspace_id = $ws AND l.seq = 4`, audit.FaultChanged, 4},
		"the time":         {`UPDATE audit_events e SET actor = 'user_9' FROM audit_links l WHERE l.event_id = e.id AND l.workspace_id = $ws AND l.seq = 1`, audit.FaultChanged, 1},
		"an event":         {`DELETE FROM audit_events e USING audit_links l WHERE l.event_id = e.id AND l.workspace_id = $ws AND l.seq = 4`, audit.FaultMissing, 4},
		"a link":           {`DELETE FROM audit_links WHERE workspace_id = $ws AND seq = 4`, audit.FaultMissing, 4},
		"both":             {`DELETE FROM audit_events e USING audit_links l WHERE l.event_id = e.id AND l.workspace_id = $ws AND l.seq = 4; DELETE FROM audit_links WHERE workspace_id = $ws AND seq = 4`, audit.FaultMissing, 4},
		"and closing up":   {`DELETE FROM audit_links WHERE workspace_id = $ws AND seq = 4; UPDATE audit_links SET seq = 4 WHERE workspace_id = $ws AND seq = 5; UPDATE audit_links SET seq = 5 WHERE workspace_id = $ws AND seq = 6`, audit.FaultChanged, 4},
		"the tail":         {`DELETE FROM audit_links WHERE workspace_id = $ws AND seq > 5`, audit.FaultMissing, 6},
		"tail and point":   {`DELETE FROM audit_links WHERE workspace_id = $ws AND seq > 3; DELETE FROM audit_checkpoints WHERE workspace_id = $ws AND seq > 3`, audit.FaultCut, 4},
		"everything":       {`DELETE FROM audit_links WHERE workspace_id = $ws; DELETE FROM audit_checkpoints WHERE workspace_id = $ws`, audit.FaultCut, 1},
		"the order":        {`UPDATE audit_links SET seq = seq + 100 WHERE workspace_id = $ws AND seq IN (2, 3); UPDATE audit_links SET seq = 105 - seq WHERE workspace_id = $ws AND seq > 100`, audit.FaultChanged, 2},
		"a checkpoint":     {`UPDATE audit_checkpoints SET at = at + interval '1 second' WHERE workspace_id = $ws AND seq = 3`, audit.FaultCheckpoint, 3},
		"a personal datum": {`UPDATE audit_personal p SET address = '192.0.2.8' FROM audit_links l WHERE l.event_id = p.event_id AND l.workspace_id = $ws AND l.seq = 5`, audit.FaultPersonal, 5},
		"nothing":          {`SELECT 1`, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := fresh(t)
			ws := l.Workspace(t)
			l.write(t, ws, "a", "b", "c")
			l.seal(t)
			l.write(t, ws, "d", "e", "f")
			points := l.seal(t)
			if _, bad := l.verify(t, ws, points...); bad != nil {
				t.Fatal(bad)
			}
			l.Exec(t, `SET session_replication_role = replica; `+strings.ReplaceAll(c.sql, "$ws", `'`+ws.UUID()+`'`))
			_, bad := l.verify(t, ws, points...)
			switch {
			case c.want == "" && bad != nil:
				t.Errorf("%s: %v", name, bad)
			case c.want != "" && (bad == nil || bad.Fault != c.want || bad.Seq != c.seq):
				t.Errorf("%s: %v, want %s of row %d", name, bad, c.want, c.seq)
			}
		})
	}
}

func TestErasingLeavesTheChainWhole(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	ws := l.Workspace(t)
	l.write(t, ws, "a", "b")
	other := someEvent("c")
	other.Actor = "user_2"
	ok(t, l.Of(ws).Write(t.Context(), other))
	l.write(t, corp.WorkspaceID{}, "i")
	points := l.seal(t)
	l.write(t, ws, "not sealed yet")
	n, err := l.Erase(t.Context(), "user_1")
	if err != nil || n != 4 {
		t.Fatalf("%d erased: %v", n, err)
	}
	if left := pgtest.Value[int](t, l.Env, `SELECT count(*)::int FROM audit_personal`); left != 1 {
		t.Errorf("the personal data of %d events is left", left)
	}
	points = append(points, l.seal(t)...)
	if report, bad := l.verify(t, ws, points...); bad != nil || report.Rows != 4 || report.Erased != 3 {
		t.Errorf("%+v %v", report, bad)
	}
	for _, nobody := range []corp.Actor{"", corp.ActorSystem} {
		if _, err := l.Erase(t.Context(), nobody); corp.KindOf(err) != corp.KindInvalid {
			t.Errorf("%q: %v", nobody, err)
		}
	}
}

func TestALogWhoseOldMonthsWereDroppedBeginsAtACheckpoint(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	ws, system := l.Workspace(t), l.Env.DB.System("test")
	old := time.Now().UTC().AddDate(-1, -3, 0)
	_, err := system.EnsurePartitions(t.Context(), old, 1)
	ok(t, err)
	for i := range 5 {
		l.Exec(t, `INSERT INTO audit_events (workspace_id, at, id, actor, via, operation, action, target, result, request_id, personal_hash)
			VALUES ($1::uuid, $2, gen_random_uuid(), 'a', '', 'o', 'x', 't', 'done', '', '')`, ws.UUID(), old.Add(time.Duration(i)*time.Second))
		if i == 2 {
			l.seal(t)
		}
	}
	l.write(t, ws, "new") // sealed together with two of the old
	l.seal(t)
	l.write(t, ws, "newer")
	points := l.seal(t)
	if report, bad := l.verify(t, ws, points...); bad != nil || report.Rows != 7 || report.After != 0 {
		t.Fatalf("%+v %v", report, bad)
	}
	dropped, err := system.DropPartitions(t.Context(), postgres.KeptAudit, 400*24*time.Hour)
	if err != nil || dropped == 0 {
		t.Fatal(dropped, err)
	}
	l.seal(t)
	if report, bad := l.verify(t, ws, points...); bad != nil || report.After != 6 || report.Rows != 1 || report.Last != 7 {
		t.Errorf("%+v %v", report, bad)
	}
	if got := l.events(t, corp.WorkspaceID{}); len(got) != dropped || got[0] != old.Format("2006-01") {
		t.Errorf("the installation's log says %v", got)
	}
	_, err = as(t, l.SystemURL).Exec(t.Context(), `SELECT drop_partition('audit_events', (now() - interval '80 days')::date)`)
	if err == nil || !strings.Contains(err.Error(), "not a month that may be dropped") {
		t.Errorf("a month that ended less than 90 days ago: %v", err)
	}
}

// A dump that is restored elsewhere brings numbers of transactions from there.
func TestALogThatMovedToAnotherClusterIsSealedOn(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	ws := l.Workspace(t)
	l.write(t, ws, "a")
	points := l.seal(t)
	l.Exec(t, `UPDATE audit_sealed SET cluster = 'there', xid = '900000000'`)
	l.Exec(t, `INSERT INTO audit_events (workspace_id, xid, id, actor, via, operation, action, target, result, request_id, personal_hash)
		VALUES ($1::uuid, '899999999', gen_random_uuid(), 'a', '', 'o', 'x', 'not sealed there', 'done', '', '')`, ws.UUID())
	l.write(t, ws, "written here")
	points = append(points, l.seal(t)...)
	l.write(t, ws, "and later")
	points = append(points, l.seal(t)...)
	if report, bad := l.verify(t, ws, points...); bad != nil || report.Rows != 4 {
		t.Errorf("%+v %v", report, bad)
	}
	if cluster := pgtest.Value[string](t, l.Env, `SELECT cluster FROM audit_sealed`); cluster == "there" {
		t.Error("the cluster is not known yet")
	}
}

package postgres_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// gapless checks that a workspace's events are numbered from 1 without a hole and
// in the order of time.
func gapless(t *testing.T, db postgres.WorkspaceDB) int64 {
	t.Helper()
	events := must(db.Events(t.Context(), 0, 1_000_000))(t)
	for i, e := range events {
		if e.Seq != int64(i+1) {
			t.Fatalf("event %d has number %d", i+1, e.Seq)
		}
		if i > 0 && e.At.Before(events[i-1].At) {
			t.Fatalf("event %d is older than the one before", e.Seq)
		}
	}
	if last := must(db.LastEvent(t.Context()))(t); last != int64(len(events)) {
		t.Fatalf("the head is at %d, there are %d", last, len(events))
	}
	return int64(len(events))
}

func TestEventsHaveNoGapsUnderManyWriters(t *testing.T) {
	t.Parallel()
	_, _, db := door(t)
	ctx, stop := context.WithCancel(t.Context())
	// A reader that resumes after the last one it saw must never miss one.
	var seen []int64
	read := make(chan struct{})
	go func() {
		defer close(read)
		for last := int64(0); ; {
			over := ctx.Err() != nil
			events, err := db.Events(context.WithoutCancel(ctx), last, 7)
			if err != nil {
				t.Error(err)
				return
			}
			for _, e := range events {
				seen = append(seen, e.Seq)
				last = e.Seq
			}
			if len(events) == 0 && over {
				return
			}
		}
	}()
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			spec := corp.TaskSpec{Prompt: "p", RepositoryURL: "git://x"}
			if i%5 == 0 {
				spec.Agent = "nobody" // is rolled back
			}
			task, _, err := db.SubmitTask(t.Context(), actor, spec, postgres.Idempotency{})
			if err == nil {
				_, err = db.CancelTask(t.Context(), actor, task.ID)
			}
			if (err != nil) != (i%5 == 0) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	stop()
	<-read
	n := gapless(t, db)
	if n != 1+40*4 {
		t.Errorf("%d events", n)
	}
	for i, seq := range seen {
		if seq != int64(i+1) {
			t.Fatalf("the reader saw number %d as its %d.", seq, i+1)
		}
	}
	if int64(len(seen)) != n {
		t.Errorf("the reader saw %d of %d", len(seen), n)
	}
}

func TestEveryChangeIsAnEvent(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ws := env.Workspace(t)
	db, ctx := env.DB.In(ws), t.Context()
	furnish(t, env, ws)
	agent := must(db.Agent(ctx, "default"))(t)
	must(db.UpdateAgent(ctx, actor, agent.ID, agent.AgentSpec))(t)
	must(db.UpdateWorkspace(ctx, actor, corp.WorkspaceUpdate{Name: new("x")}))(t)
	provider := must(db.Providers(ctx, corp.Page{}))(t).Items[0]
	must(db.UpdateProvider(ctx, actor, provider.ID, provider.ProviderSpec, nil))(t)
	must(db.ArchiveProvider(ctx, actor, provider.ID))(t)
	must(db.ArchiveRepository(ctx, actor, must(db.Repositories(ctx, corp.Page{}))(t).Items[0].ID))(t)
	must(db.RevokeAPIKey(ctx, actor, corp.UserID{}, must(db.APIKeys(ctx, corp.UserID{}, corp.Page{}))(t).Items[0].ID))(t)
	must(db.ArchiveAgent(ctx, actor, agent.ID))(t)
	kinds := eventKinds(t, db)
	for want := range strings.FieldsSeq(`task.queued run.queued run.running entries.added call.finished run.succeeded task.succeeded agent.created agent.updated agent.archived
		provider.created provider.updated provider.archived repository.created repository.archived apikey.created apikey.revoked runner.registered workspace.updated`) {
		if !slices.Contains(kinds, want) {
			t.Errorf("no %s in %v", want, kinds)
		}
	}
	gapless(t, db)
}

func TestAListenerHearsOfChangesAndIsToldWhenItMayHaveMissedSome(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ws := env.Workspace(t)
	ctx, stop := context.WithCancel(t.Context())
	heard := make(chan postgres.Notice, 1000)
	ended := make(chan error, 1)
	go func() { ended <- env.DB.Listen(ctx, func(n postgres.Notice) { heard <- n }) }()
	next := func(kind string) postgres.Notice {
		t.Helper()
		limit := time.After(30 * time.Second)
		for {
			select {
			case n := <-heard:
				if n.Kind == kind {
					return n
				}
			case <-limit:
				t.Fatalf("no %s", kind)
			}
		}
	}
	next(postgres.NoticeResync)
	env.Submit(t, ws, corp.TaskSpec{})
	if n := next(postgres.NoticeQueue); n.Workspace != ws {
		t.Errorf("%+v", n)
	}
	if n := next(postgres.NoticeEvent); n.Workspace != ws || n.Seq != must(env.DB.In(ws).LastEvent(ctx))(t) {
		t.Errorf("%+v", n)
	}
	env.KillConnections(t)
	next(postgres.NoticeResync)
	for _, payload := range []string{"", " ", "x", "x e", "x :", "x e" + ws.UUID(), "x e" + ws.UUID() + ":x", "x q" + ws.UUID() + ":1", "x r:", "x z" + ws.UUID(), strings.Repeat("9 e", 2000)} {
		env.Exec(t, `SELECT pg_notify('corp_hint', $1)`, payload)
	}
	env.Submit(t, ws, corp.TaskSpec{})
	if n := next(postgres.NoticeEvent); n.Workspace != ws {
		t.Errorf("%+v", n)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestListenRefusesAConnectionStringThatIsNone(t *testing.T) {
	t.Parallel()
	env := pgtest.New(t)
	db, err := postgres.Open(t.Context(), postgres.Config{AppURL: env.AppURL, SystemURL: env.SystemURL, ListenURL: "postgres://[hunter2"})
	ok(t, err)
	defer db.Close()
	err = db.Listen(t.Context(), func(postgres.Notice) {})
	wantKind(t, err, corp.KindInvalid)
	if strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
}

// The pools get over every kill of their connections: at worst one call says that
// the database is not there.
func TestThePoolsOutliveTheirConnections(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ws := env.Workspace(t)
	for range 5 {
		env.KillConnections(t)
		pgtest.Eventually(t, 30*time.Second, "both doors answer again", func(ctx context.Context) bool {
			_, err := env.DB.In(ws).Workspace(ctx)
			_, err2 := env.DB.System("test").Queue(ctx)
			for _, err := range []error{err, err2} {
				if err != nil && corp.KindOf(err) != corp.KindUnavailable {
					t.Fatal(err)
				}
			}
			return err == nil && err2 == nil && env.DB.Ping(ctx) == nil
		})
	}
}

// Heartbeats are the most frequent writes there are: they must not touch an
// index, else the table and its indexes grow with every one.
func TestAHeartbeatTouchesNoIndex(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ws := env.Workspace(t)
	lease := env.Running(t, ws, env.Submit(t, ws, corp.TaskSpec{}).RunID)
	updates := func(column string) int64 {
		return pgtest.Value[int64](t, env, `SELECT `+column+` FROM pg_stat_user_tables WHERE relname = 'runs'`)
	}
	const beats = 50
	proofs := []postgres.LeaseProof{{RunID: lease.RunID, Epoch: lease.Epoch, SecretHash: lease.SecretHash}}
	for range beats {
		if v := must(env.DB.System("test").BeatLeases(t.Context(), lease.RunnerID, proofs, time.Minute))(t); v[0].Say != corp.VerdictOK {
			t.Fatal(v)
		}
	}
	env.DB.Close() // a connection that ends reports what it counted
	pgtest.Eventually(t, 30*time.Second, "all updates are counted", func(context.Context) bool { return updates("n_tup_upd") >= beats })
	if cold := updates("n_tup_upd") - updates("n_tup_hot_upd"); cold > 5 {
		t.Errorf("%d of %d updates wrote to an index", cold, updates("n_tup_upd"))
	}
}

// A forgotten transaction keeps every version of a workspace's head; numbering events
// reads a few pages all the same, through either role.
func TestNumberingEventsReadsNoMoreForOldVersions(t *testing.T) {
	t.Parallel()
	env, ws, _ := door(t)
	forgotten := must(connect(t, env.SuperURL).BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead}))(t)
	defer func() { _ = forgotten.Rollback(context.Background()) }()
	must(forgotten.Exec(t.Context(), `SELECT count(*) FROM plans`))(t)
	for name, url := range map[string]string{"application": env.AppURL, "system": env.SystemURL} {
		conn := connect(t, url)
		must(conn.Exec(t.Context(), `SELECT set_config('app.workspace_id', $1::uuid::text, false)`, ws))(t)
		must(conn.Exec(t.Context(), `DO $$ BEGIN FOR i IN 1..3000 LOOP PERFORM number_events(current_setting('app.workspace_id')::uuid, 1); END LOOP; END $$`))(t)
		must(connect(t, env.SuperURL).Exec(t.Context(), `ANALYZE event_heads`))(t) // which must not talk the planner into another way
		must(conn.Exec(t.Context(), `SELECT number_events($1, 1)`, ws))(t)         // planned anew, which reads the catalogue
		var plan []struct {
			Plan struct {
				Hit  int `json:"Shared Hit Blocks"`
				Read int `json:"Shared Read Blocks"`
			}
		}
		if err := conn.QueryRow(t.Context(), `EXPLAIN (ANALYZE, BUFFERS, FORMAT json) SELECT number_events(current_setting('app.workspace_id')::uuid, 1)`).Scan(&plan); err != nil {
			t.Fatal(err)
		}
		if read := plan[0].Plan.Hit + plan[0].Plan.Read; read > 20 {
			t.Errorf("%s: %d pages were read for one number", name, read)
		}
	}
}

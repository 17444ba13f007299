package postgres_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// ear keeps what a listener hears.
type ear struct {
	mu    sync.Mutex
	heard []postgres.Notice
}

func (e *ear) notice(n postgres.Notice) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.heard = append(e.heard, n)
}

// about returns what was heard of one kind and workspace.
func (e *ear) about(kind string, ws corp.WorkspaceID) (found []postgres.Notice) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, n := range e.heard {
		if n.Kind == kind && n.Workspace == ws {
			found = append(found, n)
		}
	}
	return found
}

// listen opens another process's pools, if asked, and listens until the test ends.
func listen(t *testing.T, env *pgtest.Env, other bool) (*postgres.DB, *ear) {
	t.Helper()
	db, e := env.DB, &ear{}
	if other {
		var err error
		db, err = postgres.Open(t.Context(), postgres.Config{AppURL: env.AppURL, SystemURL: env.SystemURL})
		ok(t, err)
		t.Cleanup(db.Close)
	}
	ctx, stop := context.WithCancel(t.Context())
	var listening sync.WaitGroup
	listening.Go(func() { _ = db.Listen(ctx, e.notice) })
	t.Cleanup(func() { stop(); listening.Wait() })
	eventually(t, "the first connection", func() bool { return len(e.about(postgres.NoticeResync, corp.WorkspaceID{})) > 0 })
	return db, e
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	pgtest.Eventually(t, 20*time.Second, what, func(context.Context) bool { return done() })
}

func TestACommitIsHeardInItsProcessOnceWithTheRowAndElsewhereAsAHint(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ws := env.Workspace(t)
	here, mine := listen(t, env, false)
	there, theirs := listen(t, env, true)
	task := env.Submit(t, ws, corp.TaskSpec{Priority: 3, Labels: []string{"gpu"}})
	said := mine.about(postgres.NoticeQueue, ws)
	row := must(here.System("test").QueueOf(t.Context(), []corp.WorkspaceID{ws}))(t)[0]
	if len(said) != 1 || said[0].Run != task.RunID || said[0].Queued == nil {
		t.Fatalf("before SubmitTask returned its process heard %+v", said)
	}
	if diff := cmp.Diff(row, *said[0].Queued); diff != "" {
		t.Errorf("what was said is not what stands in the row:\n%s", diff)
	}
	eventually(t, "the other process to hear it", func() bool {
		return len(theirs.about(postgres.NoticeQueue, ws)) == 1 && len(theirs.about(postgres.NoticeEvent, ws)) == 1
	})
	if n := theirs.about(postgres.NoticeQueue, ws)[0]; n.Run != task.RunID || n.Queued != nil {
		t.Errorf("the other process heard %+v", n)
	}
	// What comes back over the network after this was said after the first words came back.
	_, _, err := there.In(ws).SubmitTask(t.Context(), actor, corp.TaskSpec{Prompt: "x", RepositoryURL: "https://example.com/x.git"}, postgres.Idempotency{})
	ok(t, err)
	last := must(here.In(ws).LastEvent(t.Context()))(t)
	heardLast := func(n postgres.Notice) bool { return n.Seq == last }
	eventually(t, "the answer", func() bool { return slices.ContainsFunc(mine.about(postgres.NoticeEvent, ws), heardLast) })
	if said := mine.about(postgres.NoticeEvent, ws); len(said) != 2 {
		t.Errorf("a process heard its own words again: %+v", said)
	}
}

func TestWhatIsRolledBackSaysNothingAndADoubtfulCommitSaysThatSomethingMayBeSo(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ws := env.Workspace(t)
	db, mine := listen(t, env, false)
	refused := errors.New("no")
	n := postgres.Notice{Kind: postgres.NoticeQueue, Workspace: ws, Run: corp.NewID[corp.RunID](), Queued: &postgres.QueuedRun{}}
	if err := postgres.SayInTransaction(t.Context(), db.In(ws), n, func(pgx.Tx) error { return refused }); !errors.Is(err, refused) {
		t.Fatal(err)
	}
	if said := mine.about(postgres.NoticeQueue, ws); len(said) != 0 {
		t.Errorf("a rolled back transaction said %+v", said)
	}
	err := postgres.SayInTransaction(t.Context(), db.In(ws), n, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), `SELECT 1`); err != nil {
			return err
		}
		return tx.Conn().Close(t.Context())
	})
	wantKind(t, err, corp.KindUnavailable)
	n.Queued = nil
	said := slices.Compact(mine.about(postgres.NoticeQueue, ws)) // once for each try
	if diff := cmp.Diff([]postgres.Notice{n}, said); diff != "" {
		t.Errorf("a commit whose answer was lost said something else:\n%s", diff)
	}
}

func TestTheEndOfARunItsReturnAndLimitsAreSaid(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ws := env.Workspace(t)
	db, mine := listen(t, env, false)
	run := env.Submit(t, ws, corp.TaskSpec{}).RunID
	lease := env.Running(t, ws, run)
	ok(t, db.In(ws).ReleaseRun(t.Context(), run, lease.Epoch, "drain"))
	lease = env.Running(t, ws, run)
	must(db.In(ws).FinishRun(t.Context(), run, lease.Epoch, corp.Outcome{State: corp.RunSucceeded, Reason: corp.ReasonCompleted}))(t)
	must(db.In(ws).UpdateWorkspace(t.Context(), actor, corp.WorkspaceUpdate{Concurrency: new(2)}))(t)
	said := mine.about(postgres.NoticeQueue, ws)
	if len(said) != 3 || said[1].Queued == nil || said[1].Queued.Epoch != 1 || !said[2].Ended {
		t.Errorf("heard %+v", said)
	}
	if len(mine.about(postgres.NoticeLimits, ws)) != 1 {
		t.Error("the changed limit was not said")
	}
}

// While the database cannot be reached, what is to be said is kept, in bounds.
func TestHintsOutliveTheirConnection(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ws := env.Workspace(t)
	there, theirs := listen(t, env, true)
	env.Submit(t, ws, corp.TaskSpec{})
	eventually(t, "the first hint", func() bool { return len(theirs.about(postgres.NoticeQueue, ws)) == 1 })
	env.KillConnections(t)
	eventually(t, "listening again", func() bool { return len(theirs.about(postgres.NoticeResync, corp.WorkspaceID{})) == 2 })
	eventually(t, "a hint over a new connection", func() bool {
		_, _, err := env.DB.In(ws).SubmitTask(t.Context(), actor, corp.TaskSpec{Prompt: "x", RepositoryURL: "https://example.com/x.git"}, postgres.Idempotency{})
		return err == nil && len(theirs.about(postgres.NoticeQueue, ws)) > 1
	})
	_ = there
}

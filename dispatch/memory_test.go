package dispatch_test

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/feed"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
)

var source = "https://example.com/x.git"

// elsewhere is another server's pools on the same database.
func (w *world) elsewhere(t *testing.T) *postgres.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{AppURL: w.AppURL, SystemURL: w.SystemURL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

// listening gives the dispatcher what is said on its server and on others.
func (w *world) listening(t *testing.T) {
	t.Helper()
	hub := feed.New(w.DB, slog.New(slog.DiscardHandler))
	heard := make(chan struct{})
	once := sync.OnceFunc(func() { close(heard) })
	hub.OnQueue(func(n postgres.Notice) {
		w.d.Wake(n)
		once() // the resync of the first connection
	})
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = hub.Run(ctx) })
	t.Cleanup(func() { stop(); running.Wait() })
	select {
	case <-heard:
	case <-time.After(long):
		t.Fatal("nothing was heard")
	}
}

func submit(t *testing.T, db *postgres.DB, ws corp.WorkspaceID, spec corp.TaskSpec) corp.Task {
	t.Helper()
	spec.Prompt = "x"
	if spec.RepositoryID == nil {
		spec.RepositoryURL = source
	}
	task, _, err := db.In(ws).SubmitTask(t.Context(), corp.ActorSystem, spec, postgres.Idempotency{})
	if err != nil {
		t.Fatal(err)
	}
	return task
}

// batchOf submits many tasks at once, and returns their ids in the order of the specs.
func batchOf(t *testing.T, db *postgres.DB, ws corp.WorkspaceID, n int, spec func(i int) corp.TaskSpec) (ids []corp.TaskID) {
	t.Helper()
	var b corp.BatchSpec
	for i := range n {
		one := spec(i)
		one.Prompt, one.RepositoryURL = "x", source
		b.Tasks = append(b.Tasks, corp.BatchTask{TaskSpec: one})
	}
	made, _, err := db.In(ws).SubmitBatch(t.Context(), corp.ActorSystem, b, postgres.Idempotency{})
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range made.Tasks {
		ids = append(ids, item.TaskID)
	}
	return ids
}

// Nothing here is found by looking: the sweeps come once an hour.
func TestHintsAloneAreEnoughFromThisServerAndFromAnother(t *testing.T) {
	t.Parallel()
	w := &world{Env: pgtest.Database(t), ring: newRing(t)}
	slow := times()
	slow.Sweep = time.Hour
	w.d, _ = w.dispatcher(t, slow)
	waitFor(t, "the lead", w.d.Leading)
	w.listening(t)
	other := w.elsewhere(t)
	r, seq := poolRunner(), int64(0)
	next := func(what string, want corp.Task) corp.Offer {
		t.Helper()
		seq++
		got := w.poll(t, w.d, r, seq, 1, long)
		if len(got) != 1 || got[0].RunID != want.RunID {
			t.Fatalf("%s: offered %v, want %v", what, ids(got), want.RunID)
		}
		return got[0]
	}
	for name, db := range map[string]*postgres.DB{"here": w.DB, "elsewhere": other} {
		made, err := db.System("test").CreateWorkspace(t.Context(), corp.ActorSystem, "ws-"+name, name, "unlimited")
		if err != nil {
			t.Fatal(err)
		}
		ws := made.ID
		if _, err := db.In(ws).CreateAgent(t.Context(), corp.ActorSystem, corp.AgentSpec{Name: "default", Model: pgtest.Model}); err != nil {
			t.Fatal(err)
		}
		held := next(name+": in a new workspace", submit(t, db, ws, corp.TaskSpec{}))
		next(name+": delayed", submit(t, db, ws, corp.TaskSpec{DelaySeconds: 1}))
		if err := db.In(ws).ReleaseRun(t.Context(), held.RunID, held.Epoch, "drain"); err != nil {
			t.Fatal(err)
		}
		held = next(name+": given back", corp.Task{RunID: held.RunID})
		two := 2
		if _, err := db.In(ws).UpdateWorkspace(t.Context(), corp.ActorSystem, corp.WorkspaceUpdate{Concurrency: &two}); err != nil {
			t.Fatal(err)
		}
		blocked := submit(t, db, ws, corp.TaskSpec{})
		waitFor(t, "the new limit", func() bool {
			why, err := w.d.Wait(t.Context(), ws, blocked.ID)
			return err == nil && why.Cause == corp.WaitWorkspaceLimit
		})
		seq++
		if got := w.poll(t, w.d, r, seq, 1, 100*time.Millisecond); len(got) != 0 {
			t.Fatalf("%s: over the new limit", name)
		}
		finish(t, &world{Env: &pgtest.Env{DB: db}}, ws, held)
		next(name+": after a slot was freed", blocked)
		many := batchOf(t, db, ws, 40, func(int) corp.TaskSpec { return corp.TaskSpec{} }) // too many to be named one by one
		zero := 0
		if _, err := db.In(ws).UpdateWorkspace(t.Context(), corp.ActorSystem, corp.WorkspaceUpdate{Concurrency: &zero}); err != nil {
			t.Fatal(err)
		}
		for got := 0; got < len(many); {
			seq++
			offers := w.poll(t, w.d, r, seq, 100, long)
			if got += len(offers); len(offers) == 0 {
				t.Fatalf("%s: %d of a batch were offered", name, got)
			}
		}
	}
}

// Every hint is lost here: nobody listens.
func TestWhatNoHintToldIsFoundWithinASweep(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ws := w.Workspace(t)
	r, seq := poolRunner(), int64(0)
	next := func(what string) corp.Offer {
		t.Helper()
		begun := time.Now()
		for {
			seq++
			if got := w.poll(t, w.d, r, seq, 1, time.Second); len(got) == 1 {
				return got[0]
			}
			if time.Since(begun) > long {
				t.Fatal("not found: " + what)
			}
		}
	}
	submit(t, w.DB, ws, corp.TaskSpec{})
	held := next("a new run")
	delayed := submit(t, w.DB, ws, corp.TaskSpec{DelaySeconds: 1})
	if got := next("a delayed run"); got.RunID != delayed.RunID {
		t.Errorf("offered %v", got.RunID)
	}
	if early := pgtest.Value[bool](t, w.Env, `SELECT leased_at < not_before FROM runs WHERE id = $1`, delayed.RunID); early {
		t.Error("it was offered before its time")
	}
	if err := w.DB.In(ws).ReleaseRun(t.Context(), held.RunID, held.Epoch, "drain"); err != nil {
		t.Fatal(err)
	}
	if got := next("a run that was given back"); got.RunID != held.RunID || got.Epoch != 2 {
		t.Errorf("offered %v", got.Lease)
	}
	narrow, one := w.Workspace(t), 1
	if _, err := w.DB.In(narrow).UpdateWorkspace(t.Context(), corp.ActorSystem, corp.WorkspaceUpdate{Concurrency: &one}); err != nil {
		t.Fatal(err)
	}
	submit(t, w.DB, narrow, corp.TaskSpec{})
	second := submit(t, w.DB, narrow, corp.TaskSpec{})
	finish(t, w, narrow, next("the first of two"))
	if got := next("the second, after a slot was freed"); got.RunID != second.RunID {
		t.Errorf("offered %v", got.RunID)
	}
}

// age makes what is queued so old that nobody looks for it among what was queued
// lately, and begins to lead only then.
func (w *world) age(t *testing.T) {
	t.Helper()
	w.Exec(t, `UPDATE runs SET created_at = created_at - interval '1 hour'`)
	w.d, _ = w.dispatcher(t, times())
	waitFor(t, "the lead", w.d.Leading)
}

func TestALongQueueIsOfferedWholeAndInOrderAlthoughOnlyItsHeadIsKnown(t *testing.T) {
	t.Parallel()
	w := &world{Env: pgtest.Database(t), ring: newRing(t)}
	ws := w.Workspace(t)
	const n = 1300 // more than two readings
	tasks := batchOf(t, w.DB, ws, n, func(i int) corp.TaskSpec { return corp.TaskSpec{Priority: i % 3} })
	rank := map[corp.TaskID]int{}
	for i, id := range tasks {
		rank[id] = (2-i%3)*n + i
	}
	w.age(t)
	r := poolRunner()
	var got []int
	for seq := int64(1); len(got) < n; seq++ {
		offers := w.poll(t, w.d, r, seq, 150, long)
		if len(offers) == 0 {
			t.Fatalf("%d of %d were offered", len(got), n)
		}
		for _, o := range offers {
			got = append(got, rank[o.TaskID])
		}
	}
	if len(slices.Compact(slices.Sorted(slices.Values(got)))) != n {
		t.Error("some were offered twice")
	}
	// All of a batch have the same age, so only the priorities are in order.
	for i := 1; i < n; i++ {
		if got[i]/n < got[i-1]/n {
			t.Fatalf("a higher priority came after a lower one, at %d", i)
		}
	}
}

func TestARunBehindManyThatNobodyCanCarryOutIsOfferedAllTheSame(t *testing.T) {
	t.Parallel()
	w := &world{Env: pgtest.Database(t), ring: newRing(t)}
	ws := w.Workspace(t)
	batchOf(t, w.DB, ws, 700, func(int) corp.TaskSpec { return corp.TaskSpec{Labels: []string{"gpu"}, Priority: 5} })
	plain := submit(t, w.DB, ws, corp.TaskSpec{})
	w.age(t)
	if got := w.poll(t, w.d, poolRunner(), 1, 3, long); len(got) != 1 || got[0].RunID != plain.RunID {
		t.Errorf("offered %v", ids(got))
	}
}

func TestANewLeaderServesEveryWorkspaceOfALargeInstallation(t *testing.T) {
	t.Parallel()
	w := &world{Env: pgtest.Database(t), ring: newRing(t)}
	const workspaces, each = 230, 3 // more than two pages
	want := map[corp.TaskID]bool{}
	for range workspaces {
		ws := w.Workspace(t)
		for _, id := range batchOf(t, w.DB, ws, each, func(i int) corp.TaskSpec { return corp.TaskSpec{DelaySeconds: int64(i / 2)} }) {
			want[id] = true
		}
	}
	w.Exec(t, `UPDATE runs SET not_before = clock_timestamp() - interval '1 minute' WHERE not_before IS NOT NULL`) // long due
	w.d, _ = w.dispatcher(t, times())
	r := poolRunner()
	waitFor(t, "the lead", w.d.Leading)
	for seq := int64(1); len(want) > 0; seq++ {
		offers := w.poll(t, w.d, r, seq, 200, long)
		if len(offers) == 0 {
			t.Fatalf("%d were not offered", len(want))
		}
		for _, o := range offers {
			if !want[o.TaskID] {
				t.Fatalf("%v was offered twice", o.TaskID)
			}
			delete(want, o.TaskID)
		}
	}
}

func TestAnIdleLeaderHardlyAsksTheDatabase(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ws := w.Workspace(t)
	one := 1
	if _, err := w.DB.In(ws).UpdateWorkspace(t.Context(), corp.ActorSystem, corp.WorkspaceUpdate{Concurrency: &one}); err != nil {
		t.Fatal(err)
	}
	w.d.Wake(postgres.Notice{Kind: postgres.NoticeLimits, Workspace: ws})
	for range 5 {
		submit(t, w.DB, ws, corp.TaskSpec{})
	}
	if got := w.poll(t, w.d, poolRunner(), 1, 1, long); len(got) != 1 {
		t.Fatal("nothing was offered")
	}
	const commits = `SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()`
	before := pgtest.Value[int64](t, w.Env, commits)
	for i := range 4 { // runs that cannot be offered, and runners that wait
		go func() { _, _ = w.d.Poll(t.Context(), poolRunner(), corp.Poll{Seq: 1, Free: 1, WaitMS: int64(900 + i)}) }()
	}
	if got := w.poll(t, w.d, poolRunner(), 1, 1, time.Second); len(got) != 0 {
		t.Fatal("a run was offered over the limit")
	}
	// Three readings each sweep of 50 ms, and the renewals.
	if n := pgtest.Value[int64](t, w.Env, commits) - before; n > 150 {
		t.Errorf("%d transactions in a second without work", n)
	}
}

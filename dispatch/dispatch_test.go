package dispatch_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/dispatch"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
	"github.com/genericcorp/corp/seal"
)

// times are such that no busy machine loses the lead or an offer. The tests that
// are about losing them take shorter ones.
func times() dispatch.Times {
	return dispatch.Times{
		PollWait: long, Ack: long, Heartbeat: time.Second, TTL: long, Margin: time.Second,
		LeaderTTL: 30 * time.Second, Sweep: 50 * time.Millisecond, StopGrace: time.Second,
	}
}

// long is how long a poll waits for what must come, however busy the machine is.
const long = time.Minute

// world is a database of its own (there is one leader per database) with a
// dispatcher that leads it.
type world struct {
	*pgtest.Env
	ring *seal.Ring
	d    *dispatch.Dispatcher
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{Env: pgtest.Database(t), ring: newRing(t)}
	w.d, _ = w.dispatcher(t, times())
	waitFor(t, "the lead", w.d.Leading)
	return w
}

func newRing(tb testing.TB) *seal.Ring {
	tb.Helper()
	ring, err := seal.New([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		tb.Fatal(err)
	}
	return ring
}

// dispatcher starts another dispatcher; stop ends it and waits.
func (w *world) dispatcher(t *testing.T, times dispatch.Times) (d *dispatch.Dispatcher, stop func()) {
	t.Helper()
	d = dispatch.New(w.DB, w.ring, corp.NewID[corp.ServerID](), "http://127.0.0.1:1", times, slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return d, stop
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	pgtest.Eventually(t, long, what, func(context.Context) bool { return done() })
}

func poolRunner(labels ...string) dispatch.Runner {
	return dispatch.Runner{ID: corp.NewID[corp.RunnerID](), Name: "pool", Labels: labels, Runtimes: []string{corp.RuntimeBuiltin}}
}

func (w *world) poll(t *testing.T, d *dispatch.Dispatcher, r dispatch.Runner, seq int64, free int, wait time.Duration) []corp.Offer {
	t.Helper()
	answer, err := d.Poll(t.Context(), r, corp.Poll{Seq: seq, Free: free, WaitMS: wait.Milliseconds()})
	if err != nil {
		t.Fatalf("Poll: %v", err)
	}
	return answer.Offers
}

func ids(offers []corp.Offer) (runs []corp.RunID) {
	for _, o := range offers {
		runs = append(runs, o.RunID)
	}
	slices.SortFunc(runs, func(a, b corp.RunID) int { return slices.Compare(a[:], b[:]) })
	return runs
}

func TestAnOfferCarriesAllThatARunnerNeedsAndSecretsThatTheDatabaseKnowsByTheirHash(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ws := w.Workspace(t)
	task := w.Submit(t, ws, corp.TaskSpec{Prompt: "do it", RepositoryURL: "https://example.com/x.git", TimeoutSeconds: 77})
	offers := w.poll(t, w.d, poolRunner(), 1, 3, long)
	if len(offers) != 1 {
		t.Fatalf("%d offers, want 1", len(offers))
	}
	o := offers[0]
	if o.RunID != task.RunID || o.TaskID != task.ID || o.Epoch != 1 || o.Attempt != 1 || o.TimeoutMS != 77_000 || o.Spec.Prompt != "do it" || o.Agent.Name != "default" || o.Repository.URL != "https://example.com/x.git" {
		t.Errorf("offer is %+v", o)
	}
	lease, err := w.DB.Auth().Lease(t.Context(), o.RunID, w.ring.Hash(o.Secret))
	if err != nil || lease.Workspace != ws || lease.Epoch != 1 || lease.State != corp.RunLeased {
		t.Errorf("the secret proves %+v, %v", lease, err)
	}
	run, err := w.DB.Auth().Run(t.Context(), w.ring.Hash(o.RunKey))
	if err != nil || run.RunID != o.RunID {
		t.Errorf("the run key is that of %+v, %v", run, err)
	}
}

func TestAPollThatWaitsGetsARunAsSoonAsThereIsOneEvenWithoutANotice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ws := w.Workspace(t)
	got := make(chan []corp.Offer, 1)
	go func() { got <- w.poll(t, w.d, poolRunner(), 1, 1, long) }()
	task := w.Submit(t, ws, corp.TaskSpec{Prompt: "later", RepositoryURL: "https://example.com/x.git"})
	select {
	case offers := <-got:
		if diff := cmp.Diff([]corp.RunID{task.RunID}, ids(offers)); diff != "" {
			t.Error(diff)
		}
	case <-time.After(long):
		t.Fatal("the sweep did not find the run")
	}
}

func TestAPollWithoutWorkEndsAtItsTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if offers := w.poll(t, w.d, poolRunner(), 1, 1, 50*time.Millisecond); len(offers) != 0 {
		t.Errorf("offers %v", offers)
	}
}

func TestTheSameSeqGetsTheSameAnswerAndAnOlderOneNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ws, r := w.Workspace(t), poolRunner()
	for range 3 {
		w.Submit(t, ws, corp.TaskSpec{Prompt: "x", RepositoryURL: "https://example.com/x.git"})
	}
	first := w.poll(t, w.d, r, 7, 2, long)
	again := w.poll(t, w.d, r, 7, 2, long)
	if diff := cmp.Diff(first, again); diff != "" || len(first) == 0 {
		t.Errorf("the repeated poll was answered differently:\n%s", diff)
	}
	if older := w.poll(t, w.d, r, 6, 2, 5*time.Second); len(older) != 0 {
		t.Errorf("an older poll got %v", ids(older))
	}
	next := w.poll(t, w.d, r, 8, 3, long)
	for _, o := range next {
		if slices.Contains(ids(first), o.RunID) {
			t.Error("the next poll got a run that was given out before")
		}
	}
	// An answer outlives its leases, their runs do not come back in it.
	if err := w.DB.In(ws).ReleaseRun(t.Context(), next[0].RunID, next[0].Epoch, "test"); err != nil {
		t.Fatal(err)
	}
	if stale := w.poll(t, w.d, r, 8, 3, 5*time.Second); slices.Contains(ids(stale), next[0].RunID) {
		t.Error("a run that was given back came again under its old lease")
	}
}

func TestANewerPollOfARunnerEndsTheOlder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := poolRunner()
	older := make(chan []corp.Offer, 1)
	go func() { older <- w.poll(t, w.d, r, 1, 1, long) }()
	waitFor(t, "the older poll to end", func() bool {
		go func() { _, _ = w.d.Poll(t.Context(), r, corp.Poll{Seq: 2, Free: 1, WaitMS: 10}) }()
		select {
		case offers := <-older:
			if len(offers) != 0 {
				t.Errorf("the older poll got %v", ids(offers))
			}
			return true
		default:
			return false
		}
	})
	task := w.Submit(t, w.Workspace(t), corp.TaskSpec{Prompt: "x", RepositoryURL: "https://example.com/x.git"})
	if got := w.poll(t, w.d, r, 3, 1, long); len(got) != 1 || got[0].RunID != task.RunID {
		t.Errorf("the newest poll got %v", ids(got))
	}
}

func TestAPollThatHasGoneGetsNoRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ws := w.Workspace(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := w.d.Poll(ctx, poolRunner(), corp.Poll{Seq: 1, Free: 1, WaitMS: 10_000})
		done <- err
	}()
	cancel()
	if err := <-done; err == nil {
		t.Error("a cancelled poll returned no error")
	}
	task := w.Submit(t, ws, corp.TaskSpec{Prompt: "x", RepositoryURL: "https://example.com/x.git"})
	if got := w.poll(t, w.d, poolRunner(), 1, 1, long); len(got) != 1 || got[0].RunID != task.RunID || got[0].Epoch != 1 {
		t.Errorf("another runner got %v", got)
	}
}

func TestAWorkspaceNeverHasMoreRunsLeasedThanItsLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ws := w.Workspace(t)
	if _, err := w.DB.In(ws).UpdateWorkspace(t.Context(), corp.ActorSystem, corp.WorkspaceUpdate{Concurrency: new(2)}); err != nil {
		t.Fatal(err)
	}
	w.d.Wake(postgres.Notice{Kind: postgres.NoticeLimits, Workspace: ws}) // as the database's hint does
	for range 6 {
		w.Submit(t, ws, corp.TaskSpec{Prompt: "x", RepositoryURL: "https://example.com/x.git"})
	}
	r := poolRunner()
	held := map[corp.RunID]corp.Offer{}
	seq := int64(0)
	take := func(want int, wait time.Duration) {
		t.Helper()
		for len(held) < want {
			seq++
			for _, o := range w.poll(t, w.d, r, seq, 10, wait) {
				held[o.RunID] = o
			}
		}
	}
	take(2, long)
	seq++
	if more := w.poll(t, w.d, r, seq, 10, 300*time.Millisecond); len(more) != 0 {
		t.Fatalf("%d more runs were leased over the limit of 2", len(more))
	}
	for _, hint := range []bool{true, false, true} { // without the hint the sweep finds the slot
		for run, o := range held {
			finish(t, w, ws, o)
			if hint {
				w.d.Finished(ws, run)
			}
			delete(held, run)
			break
		}
		take(2, long)
		if n := pgtest.Value[int64](t, w.Env, `SELECT count(*) FROM runs WHERE state IN ('leased', 'running', 'waiting')`); n != 2 {
			t.Fatalf("%d runs are leased, the limit is 2", n)
		}
	}
}

func finish(t *testing.T, w *world, ws corp.WorkspaceID, o corp.Offer) {
	t.Helper()
	db := w.DB.In(ws)
	if err := db.AckRun(t.Context(), o.RunID, o.Epoch); err != nil {
		t.Fatal(err)
	}
	if _, err := db.FinishRun(t.Context(), o.RunID, o.Epoch, corp.Outcome{State: corp.RunSucceeded, Reason: corp.ReasonCompleted}); err != nil {
		t.Fatal(err)
	}
}

func TestOnlyOneServerLeadsAndAnotherTakesOverWhenItLeaves(t *testing.T) {
	t.Parallel()
	w := &world{Env: pgtest.Database(t), ring: newRing(t)}
	short := times()
	short.LeaderTTL = 2 * time.Second
	first, stop := w.dispatcher(t, times())
	waitFor(t, "the lead", first.Leading)
	second, _ := w.dispatcher(t, short) // looks often
	ws := w.Workspace(t)
	task := w.Submit(t, ws, corp.TaskSpec{Prompt: "x", RepositoryURL: "https://example.com/x.git"})
	if _, err := second.Poll(t.Context(), poolRunner(), corp.Poll{Seq: 1, Free: 1}); corp.KindOf(err) != corp.KindUnavailable {
		t.Errorf("a server that does not lead answered a poll with %v", err)
	}
	waiting := make(chan error, 1)
	go func() {
		_, err := first.Poll(t.Context(), poolRunner("none"), corp.Poll{Seq: 1, Free: 0, WaitMS: 10_000})
		waiting <- err
	}()
	stop()
	if err := <-waiting; corp.KindOf(err) != corp.KindUnavailable {
		t.Errorf("a waiting poll ended with %v when the lead was given up", err)
	}
	waitFor(t, "the takeover", second.Leading)
	if got := w.poll(t, second, poolRunner(), 1, 1, long); len(got) != 1 || got[0].RunID != task.RunID {
		t.Errorf("the new leader gave %v", ids(got))
	}
}

func TestALeaderWhoseTermIsOverLeasesNothingAndStepsDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ws := w.Workspace(t)
	// Somebody else has taken over while this one believed that it leads.
	other := corp.NewID[corp.ServerID]()
	w.Exec(t, `UPDATE leaders SET term = term + 1, holder = $1, expires_at = clock_timestamp() + interval '1 hour'`, other)
	w.Submit(t, ws, corp.TaskSpec{Prompt: "x", RepositoryURL: "https://example.com/x.git"})
	answer, err := w.d.Poll(t.Context(), poolRunner(), corp.Poll{Seq: 1, Free: 1, WaitMS: 10_000})
	if corp.KindOf(err) != corp.KindUnavailable {
		t.Errorf("the poll was answered with %v, %v", answer, err)
	}
	if n := pgtest.Value[int64](t, w.Env, `SELECT count(*) FROM runs WHERE state <> 'queued'`); n != 0 {
		t.Errorf("%d runs were leased under an old term", n)
	}
	if w.d.Leading() {
		t.Error("it still believes that it leads")
	}
}

func TestRunsGoOnlyToRunnersThatFit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	one, two := w.Workspace(t), w.Workspace(t)
	gpu := w.Submit(t, one, corp.TaskSpec{Prompt: "x", RepositoryURL: "https://example.com/x.git", Labels: []string{"gpu"}})
	plain := w.Submit(t, two, corp.TaskSpec{Prompt: "x", RepositoryURL: "https://example.com/x.git"})
	own := poolRunner("gpu")
	own.Workspace = two
	if got := w.poll(t, w.d, own, 1, 5, long); len(got) != 1 || got[0].RunID != plain.RunID {
		t.Errorf("workspace two's runner got %v", ids(got))
	}
	if got := w.poll(t, w.d, poolRunner(), 1, 5, 300*time.Millisecond); len(got) != 0 {
		t.Errorf("a runner without the label got %v", ids(got))
	}
	if got := w.poll(t, w.d, poolRunner("gpu", "x"), 1, 5, long); len(got) != 1 || got[0].RunID != gpu.RunID {
		t.Errorf("a runner with the label got %v", ids(got))
	}
}

func TestARunThatWaitsForItsTimeIsNotOfferedBeforeAndThenIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	task := w.Submit(t, w.Workspace(t), corp.TaskSpec{Prompt: "x", RepositoryURL: "https://example.com/x.git"})
	w.Exec(t, `UPDATE runs SET not_before = clock_timestamp() + interval '700 milliseconds' WHERE id = $1`, task.RunID)
	w.d.Wake(postgres.Notice{Kind: postgres.NoticeResync})
	r := poolRunner()
	for seq := int64(1); ; seq++ {
		got := w.poll(t, w.d, r, seq, 1, long)
		early := pgtest.Value[bool](t, w.Env, `SELECT clock_timestamp() < not_before FROM runs WHERE id = $1`, task.RunID)
		if len(got) == 1 {
			if early {
				t.Error("the run was offered before its time")
			}
			return
		}
		if seq > 10 {
			t.Fatal("the run was never offered")
		}
	}
}

func TestManyRunnersTogetherGetEveryRunOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const runners, tasks, workspaces = 20, 150, 5
	var spaces []corp.WorkspaceID
	for range workspaces {
		spaces = append(spaces, w.Workspace(t))
	}
	var mu sync.Mutex
	seen := map[corp.RunID]int{}
	ctx, enough := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range runners {
		all.Go(func() {
			r := poolRunner()
			for seq := int64(1); ; seq++ {
				answer, err := w.d.Poll(ctx, r, corp.Poll{Seq: seq, Free: 2, WaitMS: 5_000})
				if err != nil {
					return
				}
				mu.Lock()
				for _, o := range answer.Offers {
					seen[o.RunID]++
				}
				if len(seen) == tasks {
					enough()
				}
				mu.Unlock()
			}
		})
	}
	for i := range tasks {
		w.Submit(t, spaces[i%workspaces], corp.TaskSpec{Prompt: "x", RepositoryURL: "https://example.com/x.git"})
		w.d.Wake(postgres.Notice{Kind: postgres.NoticeResync})
	}
	stop := time.AfterFunc(2*long, enough)
	defer stop.Stop()
	all.Wait()
	for run, n := range seen {
		if n != 1 {
			t.Errorf("%v was offered %d times", run, n)
		}
	}
	if len(seen) != tasks {
		t.Errorf("%d runs were offered, want %d", len(seen), tasks)
	}
}

// Attack case 41. Control: in its own place it is opened for the runner.
func TestTheRepositorysCredentialIsOpenedForTheRunnerOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ws := w.Workspace(t)
	want := corp.GitCredential{Username: "u", Password: "p"}
	plain, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	good, bad := corp.NewID[corp.RepositoryID](), corp.NewID[corp.RepositoryID]()
	for id, sealed := range map[corp.RepositoryID][]byte{
		good: w.ring.Seal(plain, ws.String(), "repository", good.String()),
		bad:  w.ring.Seal(plain, ws.String(), "repository", good.String()), // another object's
	} {
		spec := corp.RepositorySpec{Name: "r" + id.String()[8:30], URL: "https://example.com/x.git"}
		if _, err := w.DB.In(ws).CreateRepository(t.Context(), corp.ActorSystem, id, spec, sealed); err != nil {
			t.Fatal(err)
		}
	}
	w.Submit(t, ws, corp.TaskSpec{Prompt: "x", RepositoryID: &good})
	got := w.poll(t, w.d, poolRunner(), 1, 1, long)
	if len(got) != 1 || got[0].Credential == nil || *got[0].Credential != want {
		t.Fatalf("offers %+v", got)
	}
	task := w.Submit(t, ws, corp.TaskSpec{Prompt: "x", RepositoryID: &bad, MaxAttempts: 1})
	var run corp.Run
	waitFor(t, "the end of a run whose credential cannot be opened", func() bool {
		if got := w.poll(t, w.d, poolRunner(), 1, 1, 200*time.Millisecond); len(got) != 0 {
			t.Fatalf("it was offered: %+v", got)
		}
		run, err = w.DB.In(ws).Run(t.Context(), task.RunID)
		return err != nil || run.State.Final()
	})
	if err != nil || run.State != corp.RunFailed || run.Reason != corp.ReasonRepository || run.Detail == "" {
		t.Errorf("the run is %+v, %v", run, err)
	}
}

func TestItGoesOnWhenTheDatabaseDropsItsConnections(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ws := w.Workspace(t)
	var seen []corp.RunID
	r := poolRunner()
	seq := int64(0)
	for range 5 {
		task := w.Submit(t, ws, corp.TaskSpec{Prompt: "x", RepositoryURL: "https://example.com/x.git"})
		w.KillConnections(t)
		waitFor(t, "the offer", func() bool {
			seq++
			answer, err := w.d.Poll(t.Context(), r, corp.Poll{Seq: seq, Free: 5, WaitMS: 1000})
			if err == nil {
				seen = append(seen, ids(answer.Offers)...)
			}
			return slices.Contains(seen, task.RunID) || leasedTo(t, w, task.RunID, r.ID)
		})
	}
}

// leasedTo says whether the run was leased although its offer could not be read
// in the moment the connection broke: then it returns by not being acknowledged.
func leasedTo(t *testing.T, w *world, run corp.RunID, runner corp.RunnerID) bool {
	t.Helper()
	return pgtest.Value[bool](t, w.Env, `SELECT state = 'leased' AND runner_id = $2 FROM runs WHERE id = $1`, run, runner)
}

package postgres_test

import (
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
)

var succeeded = corp.Outcome{State: corp.RunSucceeded, Reason: corp.ReasonCompleted, Detail: "Done."}

func failed(reason corp.Reason) corp.Outcome {
	return corp.Outcome{State: corp.RunFailed, Reason: reason, Detail: "It went wrong."}
}

func TestAnOfferHoldsAllThatItsRunnerNeeds(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	ctx := t.Context()
	repo := must(db.CreateRepository(ctx, actor, corp.NewID[corp.RepositoryID](), corp.RepositorySpec{Name: "w", URL: "https://git.example.com/w.git", DefaultBase: "main"}, []byte("sealed")))(t)
	task := env.Submit(t, ws, corp.TaskSpec{RepositoryID: &repo.ID, Check: "make test", TimeoutSeconds: 90})
	_, _, err := db.OfferFor(ctx, task.RunID, 1)
	wantKind(t, err, corp.KindLeaseLost)
	lease := env.Claim(t, ws, task.RunID)
	offer, sealed, err := db.OfferFor(ctx, task.RunID, lease.Epoch)
	ok(t, err)
	run := must(db.Run(ctx, task.RunID))(t)
	want := corp.Offer{
		Lease: corp.Lease{RunID: run.ID, Epoch: 1}, TaskID: task.ID, Attempt: 1, TraceID: run.TraceID, Spec: task.TaskSpec,
		Agent: must(db.Agent(ctx, "default"))(t), Repository: repo.RepositorySpec, TimeoutMS: 90_000,
	}
	if diff := cmp.Diff(want, offer); diff != "" || string(sealed) != "sealed" {
		t.Errorf("%s credential %q", diff, sealed)
	}
	byURL := env.Submit(t, ws, corp.TaskSpec{RepositoryURL: "git://x/y"})
	lease = env.Claim(t, ws, byURL.RunID)
	offer, sealed, err = db.OfferFor(ctx, byURL.RunID, lease.Epoch)
	if err != nil || sealed != nil || offer.Repository != (corp.RepositorySpec{URL: "git://x/y"}) {
		t.Errorf("%+v %q %v", offer.Repository, sealed, err)
	}
	_, _, err = db.OfferFor(ctx, byURL.RunID, lease.Epoch+1)
	wantKind(t, err, corp.KindLeaseLost)
	_, _, err = db.OfferFor(ctx, corp.NewID[corp.RunID](), 1)
	wantKind(t, err, corp.KindNotFound)
}

// Whoever comes with another epoch changes nothing, whatever they try.
func TestEveryWriteUnderAnotherEpochIsRefused(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	ctx := t.Context()
	task := env.Submit(t, ws, corp.TaskSpec{})
	old := env.Running(t, ws, task.RunID)
	ok(t, db.ReleaseRun(ctx, task.RunID, old.Epoch, "draining"))
	now := env.Running(t, ws, task.RunID)
	if now.Epoch != old.Epoch+1 {
		t.Fatalf("epoch %d after %d", now.Epoch, old.Epoch)
	}
	before := must(db.Run(ctx, task.RunID))(t)
	for _, epoch := range []int64{0, old.Epoch, now.Epoch + 1, -1} {
		wantKind(t, db.AckRun(ctx, task.RunID, epoch), corp.KindLeaseLost)
		wantKind(t, db.ReleaseRun(ctx, task.RunID, epoch, ""), corp.KindLeaseLost)
		_, err := db.FinishRun(ctx, task.RunID, epoch, succeeded)
		wantKind(t, err, corp.KindLeaseLost)
		_, err = db.AppendEntries(ctx, task.RunID, epoch, []corp.Entry{{Kind: corp.EntryNote}})
		wantKind(t, err, corp.KindLeaseLost)
		ok(t, db.RequeueRun(ctx, task.RunID, epoch))
		ok(t, db.LoseRun(ctx, task.RunID, epoch))
		ok(t, db.ExpireRun(ctx, task.RunID, epoch))
	}
	_, err := env.DB.Auth().Lease(ctx, task.RunID, old.SecretHash)
	wantKind(t, err, corp.KindLeaseLost)
	_, err = env.DB.Auth().Run(ctx, old.RunKeyHash)
	wantKind(t, err, corp.KindUnauthenticated)
	if diff := cmp.Diff(before, must(db.Run(ctx, task.RunID))(t)); diff != "" {
		t.Error(diff)
	}
}

func TestAReleasedOrUnansweredRunGoesBackWithoutUsingAnAttempt(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	ctx := t.Context()
	task := env.Submit(t, ws, corp.TaskSpec{MaxAttempts: 1})
	for n := range 3 {
		lease := env.Claim(t, ws, task.RunID)
		ok(t, db.RequeueRun(ctx, task.RunID, lease.Epoch))
		if run := must(db.Run(ctx, task.RunID))(t); run.State != corp.RunLeased {
			t.Fatalf("an offer that has time was taken back: %+v", run)
		}
		env.Exec(t, `UPDATE runs SET lease_expires_at = now() - interval '1 second' WHERE id = $1`, task.RunID)
		ok(t, db.RequeueRun(ctx, task.RunID, lease.Epoch))
		wantKind(t, db.AckRun(ctx, task.RunID, lease.Epoch), corp.KindLeaseLost)
		lease = env.Running(t, ws, task.RunID)
		ok(t, db.ReleaseRun(ctx, task.RunID, lease.Epoch, "The runner drains."))
		ok(t, db.ReleaseRun(ctx, task.RunID, lease.Epoch, "The runner drains."))
		run, got := must(db.Run(ctx, task.RunID))(t), must(db.Task(ctx, task.ID))(t)
		if run.State != corp.RunQueued || run.Reason != corp.ReasonReleased || run.Epoch != int64(2*n+2) || run.StartedAt != nil || !run.RunnerID.IsZero() {
			t.Errorf("%+v", run)
		}
		if got.State != corp.TaskQueued || got.Attempts != 1 || got.RunID != task.RunID {
			t.Errorf("%+v", got)
		}
		_, err := env.DB.Auth().Run(ctx, lease.RunKeyHash)
		wantKind(t, err, corp.KindUnauthenticated)
		if !pgtest.Value[bool](t, env, `SELECT run_key_hash IS NULL FROM runs WHERE id = $1`, task.RunID) {
			t.Error("the run key outlives its lease")
		}
	}
}

func TestAnAcknowledgementMayBeRepeated(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	task := env.Submit(t, ws, corp.TaskSpec{})
	lease := env.Running(t, ws, task.RunID)
	before := must(db.Run(t.Context(), task.RunID))(t)
	ok(t, db.AckRun(t.Context(), task.RunID, lease.Epoch))
	if diff := cmp.Diff(before, must(db.Run(t.Context(), task.RunID))(t)); diff != "" || before.StartedAt == nil {
		t.Error(diff)
	}
}

func TestAFinishIsFinalAndMayBeRepeated(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	ctx := t.Context()
	blob := must(db.CreateBlob(ctx, actor, corp.Blob{ID: corp.NewID[corp.BlobID](), Kind: corp.BlobResult}))(t)
	task := env.Submit(t, ws, corp.TaskSpec{})
	lease := env.Running(t, ws, task.RunID)
	o := corp.Outcome{
		State: corp.RunSucceeded, Reason: corp.ReasonCompleted, Detail: "All tests pass.", Branch: corp.BranchOf(task.ID), Commit: strings.Repeat("c", 40), ResultID: &blob.ID, PatchID: &blob.ID,
		Diffstat: &corp.Diffstat{Files: 1, Insertions: 2, Paths: []corp.PathStat{{Path: "a.go", Insertions: 2}}},
		Check:    &corp.CheckResult{Command: "make", Passed: true, Output: "zero \x00 and \xff bytes", Seconds: 1.5}, Pushed: true, Sandbox: "bubblewrap",
	}
	run := must(db.FinishRun(ctx, task.RunID, lease.Epoch, o))(t)
	wantCheck := *o.Check
	wantCheck.Output = "zero  and \uFFFD bytes"
	if diff := cmp.Diff(corp.Outcome{
		State: run.State, Reason: run.Reason, Detail: run.Detail, Branch: run.Branch, Commit: run.Commit, Diffstat: run.Diffstat, Check: run.Check,
		ResultID: run.ResultID, PatchID: run.PatchID, Pushed: run.Pushed, Sandbox: run.Sandbox,
	}, func() corp.Outcome { o.Check = &wantCheck; return o }()); diff != "" {
		t.Error(diff)
	}
	if got := must(db.Task(ctx, task.ID))(t); got.State != corp.TaskSucceeded || got.Detail != "All tests pass." || got.FinishedAt == nil {
		t.Errorf("%+v", got)
	}
	if diff := cmp.Diff(run, must(db.FinishRun(ctx, task.RunID, lease.Epoch, o))(t)); diff != "" {
		t.Error(diff)
	}
	if !pgtest.Value[bool](t, env, `SELECT run_key_hash IS NULL FROM runs WHERE id = $1`, task.RunID) {
		t.Error("the run key outlives its run")
	}
	_, err := db.FinishRun(ctx, task.RunID, lease.Epoch, failed(corp.ReasonInternal))
	wantKind(t, err, corp.KindLeaseLost)
	who := must(env.DB.Auth().Lease(ctx, task.RunID, lease.SecretHash))(t) // so that the repetition gets through
	if who.State != corp.RunSucceeded || who.Workspace != ws {
		t.Errorf("%+v", who)
	}
	_, err = env.DB.Auth().Run(ctx, lease.RunKeyHash)
	wantKind(t, err, corp.KindUnauthenticated)
	wantKind(t, db.AckRun(ctx, task.RunID, lease.Epoch), corp.KindLeaseLost)
	_, err = db.AppendEntries(ctx, task.RunID, lease.Epoch, []corp.Entry{{Kind: corp.EntryNote}})
	wantKind(t, err, corp.KindLeaseLost)
	for _, bad := range []corp.Outcome{{State: corp.RunLost}, {State: corp.RunQueued}, {}, {State: corp.RunFailed, Reason: "bad luck"}} {
		_, err := db.FinishRun(ctx, task.RunID, lease.Epoch, bad)
		wantKind(t, err, corp.KindInvalid)
	}
}

func TestAFinishThatNamesAnotherWorkspacesFileIsRefused(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	theirs := must(env.DB.In(env.Workspace(t)).CreateBlob(t.Context(), actor, corp.Blob{ID: corp.NewID[corp.BlobID](), Kind: corp.BlobResult}))(t)
	lease := env.Running(t, ws, env.Submit(t, ws, corp.TaskSpec{}).RunID)
	o := succeeded
	o.ResultID = &theirs.ID
	_, err := db.FinishRun(t.Context(), lease.RunID, lease.Epoch, o)
	wantKind(t, err, corp.KindNotFound)
}

func TestWhatATaskBecomesOfItsRunsEnd(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	ctx := t.Context()
	for name, c := range map[string]struct {
		attempts int
		stop     corp.Reason
		outcome  corp.Outcome
		run      corp.RunState
		state    corp.TaskState
		reason   corp.Reason
	}{
		"success":                     {3, "", succeeded, corp.RunSucceeded, corp.TaskSucceeded, corp.ReasonCompleted},
		"a failed check":              {3, "", failed(corp.ReasonCheckFailed), corp.RunFailed, corp.TaskFailed, corp.ReasonCheckFailed},
		"worth another try":           {3, "", failed(corp.ReasonProviderDown), corp.RunFailed, corp.TaskQueued, corp.ReasonRetry},
		"the last try":                {1, "", failed(corp.ReasonProviderDown), corp.RunFailed, corp.TaskDead, corp.ReasonAttempts},
		"its runner cancelled it":     {3, "", corp.Outcome{State: corp.RunCancelled, Reason: corp.ReasonCancelled}, corp.RunCancelled, corp.TaskCancelled, corp.ReasonCancelled},
		"stopped for money, finished": {3, corp.ReasonBudget, succeeded, corp.RunFailed, corp.TaskFailed, corp.ReasonBudget},
		"stopped for time, crashed":   {3, corp.ReasonTimeout, failed(corp.ReasonAgentFailed), corp.RunFailed, corp.TaskFailed, corp.ReasonTimeout},
		"cancelled, crashed":          {3, corp.ReasonCancelled, failed(corp.ReasonAgentFailed), corp.RunCancelled, corp.TaskCancelled, corp.ReasonCancelled},
	} {
		task := env.Submit(t, ws, corp.TaskSpec{MaxAttempts: c.attempts})
		lease := env.Running(t, ws, task.RunID)
		if c.stop != "" {
			ok(t, db.StopRun(ctx, task.RunID, c.stop, "Stop it."))
			ok(t, db.StopRun(ctx, task.RunID, corp.ReasonInternal, "Too late.")) // the first reason stands
		}
		run := must(db.FinishRun(ctx, task.RunID, lease.Epoch, c.outcome))(t)
		got := must(db.Task(ctx, task.ID))(t)
		if run.State != c.run || got.State != c.state || got.Reason != c.reason {
			t.Errorf("%s: run %s, task %s (%s: %s)", name, run.State, got.State, got.Reason, got.Detail)
		}
		if got.State == corp.TaskDead && !strings.HasPrefix(got.Detail, "The only attempt is used up: ") {
			t.Errorf("%s: %s", name, got.Detail)
		}
		if again := must(db.FinishRun(ctx, task.RunID, lease.Epoch, c.outcome))(t); !cmp.Equal(run, again) {
			t.Errorf("%s, repeated: %s", name, cmp.Diff(run, again))
		}
		if got.State == corp.TaskQueued {
			next := must(db.Run(ctx, got.RunID))(t)
			if next.Attempt != 2 || got.Attempts != 2 || next.ID == task.RunID || next.TraceID == run.TraceID {
				t.Errorf("%s: %+v", name, next)
			}
		}
	}
	wantKind(t, db.StopRun(ctx, corp.NewID[corp.RunID](), corp.ReasonBudget, ""), corp.KindNotFound)
}

func TestAReleaseOfARunThatWasToldToStopEndsIt(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	task := env.Submit(t, ws, corp.TaskSpec{})
	lease := env.Running(t, ws, task.RunID)
	must(db.CancelTask(t.Context(), actor, task.ID))(t)
	ok(t, db.ReleaseRun(t.Context(), task.RunID, lease.Epoch, "draining"))
	ok(t, db.ReleaseRun(t.Context(), task.RunID, lease.Epoch, "draining"))
	if got := must(db.Task(t.Context(), task.ID))(t); got.State != corp.TaskCancelled {
		t.Errorf("%+v", got)
	}
}

func TestALostRunIsFollowedByAnotherUntilTheAttemptsAreUsedUp(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	ctx := t.Context()
	task := env.Submit(t, ws, corp.TaskSpec{MaxAttempts: 2})
	lease := env.Running(t, ws, task.RunID)
	ok(t, db.LoseRun(ctx, task.RunID, lease.Epoch))
	if run := must(db.Run(ctx, task.RunID))(t); run.State != corp.RunRunning {
		t.Fatalf("a live lease was lost: %+v", run)
	}
	expire := func(run corp.RunID) {
		env.Exec(t, `UPDATE runs SET lease_expires_at = now() - interval '1 second' WHERE id = $1`, run)
	}
	expire(task.RunID)
	ok(t, db.LoseRun(ctx, task.RunID, lease.Epoch))
	ok(t, db.LoseRun(ctx, task.RunID, lease.Epoch))
	_, err := db.FinishRun(ctx, task.RunID, lease.Epoch, succeeded)
	wantKind(t, err, corp.KindLeaseLost)
	next := must(db.Task(ctx, task.ID))(t)
	if next.State != corp.TaskQueued || next.Reason != corp.ReasonRetry || next.Attempts != 2 {
		t.Fatalf("%+v", next)
	}
	lease = env.Running(t, ws, next.RunID)
	expire(next.RunID)
	ok(t, db.LoseRun(ctx, next.RunID, lease.Epoch))
	if dead := must(db.Task(ctx, task.ID))(t); dead.State != corp.TaskDead || dead.Reason != corp.ReasonAttempts {
		t.Errorf("%+v", dead)
	}
	if run := must(db.Run(ctx, next.RunID))(t); run.State != corp.RunLost || run.Reason != corp.ReasonRunnerLost {
		t.Errorf("%+v", run)
	}
}

func TestALostRunThatWasToldToStopIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	for reason, state := range map[corp.Reason]corp.TaskState{corp.ReasonCancelled: corp.TaskCancelled, corp.ReasonBudget: corp.TaskFailed, corp.ReasonTimeout: corp.TaskFailed} {
		task := env.Submit(t, ws, corp.TaskSpec{})
		lease := env.Running(t, ws, task.RunID)
		ok(t, db.StopRun(t.Context(), task.RunID, reason, "Stop."))
		env.Exec(t, `UPDATE runs SET lease_expires_at = now() - interval '1 second' WHERE id = $1`, task.RunID)
		ok(t, db.LoseRun(t.Context(), task.RunID, lease.Epoch))
		if got := must(db.Task(t.Context(), task.ID))(t); got.State != state || got.Reason != reason {
			t.Errorf("%s: %+v", reason, got)
		}
	}
}

func TestTheNextAttemptWaitsWithinTheBackoff(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	task := env.Submit(t, ws, corp.TaskSpec{MaxAttempts: 20})
	run := task.RunID
	for n := 1; n <= 12; n++ {
		lease := env.Running(t, ws, run)
		must(db.FinishRun(t.Context(), run, lease.Epoch, failed(corp.ReasonProviderDown)))(t)
		run = must(db.Task(t.Context(), task.ID))(t).RunID
		ceiling := min(corp.RetryCap, corp.RetryBase<<(n-1))
		var delay time.Duration
		if next := must(db.Run(t.Context(), run))(t); next.NotBefore != nil {
			delay = next.NotBefore.Sub(next.CreatedAt)
		}
		if delay < 0 || delay > ceiling+time.Second {
			t.Errorf("after attempt %d it waits %s, at most %s", n, delay, ceiling)
		}
	}
}

// Of a cancel and a finish at the same moment exactly one decides, and everybody
// sees the same.
func TestACancelAndAFinishHaveOneWinner(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	won := map[corp.TaskState]int{}
	for range 100 {
		task := env.Submit(t, ws, corp.TaskSpec{})
		lease := env.Running(t, ws, task.RunID)
		var both sync.WaitGroup
		var ended corp.Run
		first := rand.IntN(2) == 0
		finish := func() {
			var err error
			if ended, err = db.FinishRun(t.Context(), task.RunID, lease.Epoch, succeeded); err != nil {
				t.Error(err)
			}
		}
		cancel := func() {
			if _, err := db.CancelTask(t.Context(), actor, task.ID); err != nil {
				t.Error(err)
			}
		}
		if first {
			both.Go(finish)
			both.Go(cancel)
		} else {
			both.Go(cancel)
			both.Go(finish)
		}
		both.Wait()
		got, run := must(db.Task(t.Context(), task.ID))(t), must(db.Run(t.Context(), task.RunID))(t)
		won[got.State]++
		agree := got.State == corp.TaskSucceeded && run.State == corp.RunSucceeded || got.State == corp.TaskCancelled && run.State == corp.RunCancelled
		if !agree || ended.State != run.State {
			t.Fatalf("task %s, run %s, the runner was told %s", got.State, run.State, ended.State)
		}
		finals := pgtest.Value[int](t, env, `SELECT count(*) FROM events WHERE workspace_id = $1 AND task_id = $2 AND kind IN ('task.succeeded', 'task.cancelled')`, ws, task.ID)
		if finals != 1 {
			t.Fatalf("%d final events", finals)
		}
	}
	t.Log(won)
}

func TestTimeIsUsedUpByTheDatabasesClockWithoutTheWaiting(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ws := env.Workspace(t)
	db, system, ctx := env.DB.In(ws), env.DB.System("test"), t.Context()
	task := env.Submit(t, ws, corp.TaskSpec{TimeoutSeconds: 60})
	lease := env.Running(t, ws, task.RunID)
	overdue := func(grace time.Duration) bool {
		refs := must(system.OverdueRuns(ctx, grace))(t)
		return len(refs) == 1 && refs[0] == postgres.RunRef{Workspace: ws, RunID: task.RunID, Epoch: lease.Epoch}
	}
	shift := func(set string) { env.Exec(t, `UPDATE runs SET `+set+` WHERE id = $1`, task.RunID) }
	shift(`started_at = now() - interval '59 seconds'`)
	if overdue(0) {
		t.Error("overdue before its time")
	}
	shift(`started_at = now() - interval '80 seconds', waited_ms = 30000`)
	if overdue(0) {
		t.Error("waiting counts")
	}
	shift(`waited_ms = 0, waiting_since = now() - interval '30 seconds'`)
	if overdue(0) {
		t.Error("waiting that goes on counts")
	}
	ok(t, db.ExpireRun(ctx, task.RunID, lease.Epoch))
	shift(`waiting_since = NULL`)
	if !overdue(15*time.Second) || overdue(25*time.Second) {
		t.Error("20 s over its time it must be overdue after 15 s of grace and not after 25")
	}
	verdicts := must(system.BeatLeases(ctx, lease.RunnerID, []postgres.LeaseProof{{RunID: task.RunID, Epoch: lease.Epoch, SecretHash: lease.SecretHash}}, time.Minute))(t)
	if len(verdicts) != 1 || verdicts[0].Say != corp.VerdictStop || verdicts[0].Reason != corp.ReasonTimeout || verdicts[0].Detail == "" {
		t.Errorf("%+v", verdicts)
	}
	if pgtest.Value[bool](t, env, `SELECT stop_at IS NULL FROM runs WHERE id = $1`, task.RunID) {
		t.Error("it is not written down when it was told to stop")
	}
	ok(t, db.ExpireRun(ctx, task.RunID, lease.Epoch))
	if run, got := must(db.Run(ctx, task.RunID))(t), must(db.Task(ctx, task.ID))(t); run.State != corp.RunFailed || run.Reason != corp.ReasonTimeout || got.State != corp.TaskFailed {
		t.Errorf("%+v %+v", run, got)
	}
	other := env.Submit(t, ws, corp.TaskSpec{})
	lease = env.Running(t, ws, other.RunID)
	must(db.CancelTask(ctx, actor, other.ID))(t)
	if refs := must(system.OverdueRuns(ctx, 0))(t); len(refs) != 0 {
		t.Errorf("a runner has no time to hear of the cancel: %v", refs)
	}
	env.Exec(t, `UPDATE runs SET stop_at = now() - interval '2 minutes' WHERE id = $1`, other.RunID)
	if refs := must(system.OverdueRuns(ctx, 30*time.Second))(t); len(refs) != 1 {
		t.Errorf("a runner that ignores the cancel: %v", refs)
	}
	ok(t, db.ExpireRun(ctx, other.RunID, lease.Epoch))
	if got := must(db.Task(ctx, other.ID))(t); got.State != corp.TaskCancelled {
		t.Errorf("%+v", got)
	}
}

// A run's key is good while its run goes on in a workspace that is in use: also when
// somebody forgot to take it from the row.
// Attack case 47. Control: of a run that is leased, goes on or waits it is good.
func TestTheKeyOfARunThatDoesNotGoOnIsNobodys(t *testing.T) {
	t.Parallel()
	env, ws, _ := door(t)
	lease := env.Running(t, ws, env.Submit(t, ws, corp.TaskSpec{}).RunID)
	for state, good := range map[corp.RunState]bool{
		corp.RunLeased: true, corp.RunRunning: true, corp.RunWaiting: true,
		corp.RunQueued: false, corp.RunSucceeded: false, corp.RunFailed: false, corp.RunCancelled: false, corp.RunLost: false,
	} {
		env.Exec(t, `UPDATE runs SET state = $2, run_key_hash = $3 WHERE workspace_id = $1`, ws, state, lease.RunKeyHash)
		if _, err := env.DB.Auth().Run(t.Context(), lease.RunKeyHash); (err == nil) != good || !good && corp.KindOf(err) != corp.KindUnauthenticated {
			t.Errorf("of a run that is %s: %v", state, err)
		}
	}
	env.Exec(t, `UPDATE runs SET state = 'running' WHERE workspace_id = $1`, ws)
	env.Exec(t, `UPDATE workspaces SET archived_at = now() WHERE workspace_id = $1`, ws)
	_, err := env.DB.Auth().Run(t.Context(), lease.RunKeyHash)
	wantKind(t, err, corp.KindUnauthenticated)
}

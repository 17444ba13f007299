package postgres_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// overdue shifts a task's deadline into the past.
func overdue(t *testing.T, env *pgtest.Env, id corp.TaskID) {
	t.Helper()
	env.Exec(t, `UPDATE tasks SET deadline_at = clock_timestamp() - interval '1 millisecond' WHERE id = $1`, id)
}

func isOverdue(t *testing.T, env *pgtest.Env, id corp.TaskID) bool {
	t.Helper()
	return slices.ContainsFunc(must(env.DB.System("test").OverdueTasks(t.Context()))(t), func(r postgres.TaskRef) bool { return r.TaskID == id })
}

func TestTheTimesOfATaskAreCheckedAndKept(t *testing.T) {
	t.Parallel()
	_, _, db := door(t)
	at := func(d time.Duration) *time.Time { return new(time.Now().Add(d).UTC().Truncate(time.Microsecond)) }
	for name, c := range map[string]struct {
		spec  corp.TaskSpec
		field string // empty: it is fine
		start time.Duration
		end   time.Duration
	}{
		"none":                       {spec: corp.TaskSpec{}},
		"a start":                    {spec: corp.TaskSpec{NotBefore: at(time.Hour)}, start: time.Hour},
		"a start that is over":       {spec: corp.TaskSpec{NotBefore: at(-time.Hour)}, start: -time.Hour},
		"a delay":                    {spec: corp.TaskSpec{DelaySeconds: 60}, start: time.Minute},
		"a deadline":                 {spec: corp.TaskSpec{DeadlineAt: at(time.Hour)}, end: time.Hour},
		"a deadline in so long":      {spec: corp.TaskSpec{DeadlineSeconds: 60}, end: time.Minute},
		"a delay and a deadline":     {spec: corp.TaskSpec{DelaySeconds: 60, DeadlineAt: at(time.Hour)}, start: time.Minute, end: time.Hour},
		"an old start, a deadline":   {spec: corp.TaskSpec{NotBefore: at(-time.Hour), DeadlineSeconds: 60}, start: -time.Hour, end: time.Minute},
		"two starts":                 {spec: corp.TaskSpec{NotBefore: at(time.Hour), DelaySeconds: 60}, field: "delay_seconds"},
		"two deadlines":              {spec: corp.TaskSpec{DeadlineAt: at(time.Hour), DeadlineSeconds: 60}, field: "deadline_seconds"},
		"a start in two years":       {spec: corp.TaskSpec{NotBefore: at(2 * 365 * 24 * time.Hour)}, field: "not_before"},
		"a delay of two years":       {spec: corp.TaskSpec{DelaySeconds: 2 * 365 * 24 * 3600}, field: "delay_seconds"},
		"a negative delay":           {spec: corp.TaskSpec{DelaySeconds: -1}, field: "delay_seconds"},
		"a deadline in two years":    {spec: corp.TaskSpec{DeadlineAt: at(2 * 365 * 24 * time.Hour)}, field: "deadline_at"},
		"a deadline that is over":    {spec: corp.TaskSpec{DeadlineAt: at(-time.Second)}, field: "deadline_at"},
		"a negative deadline":        {spec: corp.TaskSpec{DeadlineSeconds: -1}, field: "deadline_seconds"},
		"a deadline at the start":    {spec: corp.TaskSpec{DelaySeconds: 60, DeadlineSeconds: 60}, field: "deadline_seconds"},
		"a deadline before it":       {spec: corp.TaskSpec{NotBefore: at(2 * time.Hour), DeadlineAt: at(time.Hour)}, field: "deadline_at"},
		"a deadline before a delay":  {spec: corp.TaskSpec{DelaySeconds: 7200, DeadlineAt: at(time.Hour)}, field: "deadline_at"},
		"a pause beyond its cap":     {spec: corp.TaskSpec{Retry: &corp.RetryPolicy{BaseMS: 2000, CapMS: 1999}}, field: "retry.cap_ms"},
		"a pause beyond the default": {spec: corp.TaskSpec{Retry: &corp.RetryPolicy{BaseMS: 300_001}}, field: "retry.cap_ms"},
		"a negative pause":           {spec: corp.TaskSpec{Retry: &corp.RetryPolicy{BaseMS: -1}}, field: "retry.base_ms"},
		"a pause of days":            {spec: corp.TaskSpec{Retry: &corp.RetryPolicy{CapMS: 86_400_001}}, field: "retry.cap_ms"},
	} {
		c.spec.Prompt, c.spec.RepositoryURL = "p", "git://x"
		task, _, err := db.SubmitTask(t.Context(), actor, c.spec, postgres.Idempotency{})
		if c.field != "" {
			if e, _ := errors.AsType[*corp.Error](err); e == nil || e.Kind != corp.KindInvalid || e.Field != c.field || e.Hint == "" || !strings.HasSuffix(e.Message, ".") {
				t.Errorf("%s: %#v", name, err)
			}
			continue
		}
		ok(t, err)
		if task.DelaySeconds != 0 || task.DeadlineSeconds != 0 {
			t.Errorf("%s: %+v", name, task)
		}
		near(t, name+": start", task.NotBefore, task.CreatedAt, c.start)
		near(t, name+": deadline", task.DeadlineAt, task.CreatedAt, c.end)
		run := must(db.Run(t.Context(), task.RunID))(t)
		near(t, name+": the run's start", run.NotBefore, task.CreatedAt, max(c.start, 0))
	}
}

func near(t *testing.T, what string, got *time.Time, from time.Time, want time.Duration) {
	t.Helper()
	if (got == nil) != (want == 0) || got != nil && (got.Sub(from)-want).Abs() > time.Minute/2 {
		t.Errorf("%s: %v, want %v after %v", what, got, want, from)
	}
}

func TestADelayedTaskIsNotClaimedBeforeItsTimeAndIsAtIt(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ws := env.Workspace(t)
	db := env.DB.In(ws)
	server, term := leader(t, env)
	task := env.Submit(t, ws, corp.TaskSpec{DelaySeconds: 3600})
	claim := func() int {
		return len(must(env.DB.System("test").ClaimRuns(t.Context(), server, term, []postgres.Claim{claimOf(postgres.QueuedRun{Workspace: ws, RunID: task.RunID})}))(t))
	}
	if claim() != 0 {
		t.Error("it was claimed an hour early")
	}
	env.Exec(t, `UPDATE tasks SET deadline_at = clock_timestamp() WHERE id = $1`, task.ID)
	env.Exec(t, `UPDATE runs SET not_before = NULL WHERE id = $1`, task.RunID)
	if claim() != 0 {
		t.Error("it was claimed after its deadline")
	}
	env.Exec(t, `UPDATE tasks SET deadline_at = NULL WHERE id = $1`, task.ID)
	env.Exec(t, `UPDATE runs SET not_before = clock_timestamp() + interval '150 milliseconds' WHERE id = $1`, task.RunID)
	due := *must(db.Run(t.Context(), task.RunID))(t).NotBefore
	pgtest.Eventually(t, time.Minute, "the claim", func(context.Context) bool {
		began := pgtest.Value[time.Time](t, env, `SELECT clock_timestamp()`)
		if claim() == 1 {
			return true
		}
		if !began.Before(due) {
			t.Fatalf("due at %s, it could not be claimed at %s", due, began)
		}
		return false
	})
	if run := must(db.Run(t.Context(), task.RunID))(t); run.LeasedAt.Before(due) {
		t.Errorf("due at %s, leased at %s", due, run.LeasedAt)
	}
}

func TestADeadlineFailsWhatHasNotStarted(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	ctx := t.Context()
	queued := env.Submit(t, ws, corp.TaskSpec{DeadlineSeconds: 60})
	blocked := env.Submit(t, ws, corp.TaskSpec{DeadlineSeconds: 60, After: []corp.Dependency{{TaskID: queued.ID, OnFailure: corp.OnFailureContinue}}})
	if blocked.State != corp.TaskBlocked {
		t.Fatalf("%+v", blocked)
	}
	for _, task := range []corp.Task{blocked, queued} {
		ok(t, db.MissDeadline(ctx, task.ID))
		if now := must(db.Task(ctx, task.ID))(t); now.State != task.State || isOverdue(t, env, task.ID) {
			t.Fatalf("a minute too early it is %s", now.State)
		}
		overdue(t, env, task.ID)
		if !isOverdue(t, env, task.ID) {
			t.Fatal("it is not found")
		}
		for range 2 {
			ok(t, db.MissDeadline(ctx, task.ID))
		}
		now := must(db.Task(ctx, task.ID))(t)
		if now.State != corp.TaskFailed || now.Reason != corp.ReasonDeadline || now.FinishedAt == nil || !strings.Contains(now.Detail, "deadline") {
			t.Errorf("%+v", now)
		}
		if isOverdue(t, env, task.ID) {
			t.Error("it is found again")
		}
		_, err := db.RetryTask(ctx, actor, task.ID)
		wantKind(t, err, corp.KindConflict)
	}
	if run := must(db.Run(ctx, queued.RunID))(t); run.State != corp.RunCancelled || run.Reason != corp.ReasonDeadline {
		t.Errorf("%+v", run)
	}
}

func TestADeadlineStopsARunThroughItsHeartbeatAndEndsOneThatDoesNotListen(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	ctx, system := t.Context(), env.DB.System("test")
	ends := map[string]func(l pgtest.Lease){
		"its runner stops it": func(l pgtest.Lease) {
			must(db.FinishRun(ctx, l.RunID, l.Epoch, corp.Outcome{State: corp.RunCancelled, Reason: corp.ReasonCancelled}))(t)
		},
		"its runner was done meanwhile": func(l pgtest.Lease) { must(db.FinishRun(ctx, l.RunID, l.Epoch, succeeded))(t) },
		"its runner fails":              func(l pgtest.Lease) { must(db.FinishRun(ctx, l.RunID, l.Epoch, failed(corp.ReasonAgentFailed)))(t) },
		"its runner gives it back":      func(l pgtest.Lease) { ok(t, db.ReleaseRun(ctx, l.RunID, l.Epoch, "")) },
		"its runner falls silent": func(l pgtest.Lease) {
			env.Exec(t, `UPDATE runs SET lease_expires_at = clock_timestamp() - interval '1 hour' WHERE id = $1`, l.RunID)
			ok(t, db.LoseRun(ctx, l.RunID, l.Epoch))
		},
		"its runner does not listen": func(l pgtest.Lease) {
			env.Exec(t, `UPDATE runs SET stop_at = clock_timestamp() - interval '1 hour' WHERE id = $1`, l.RunID)
			due := must(system.OverdueRuns(ctx, time.Second))(t)
			if !slices.ContainsFunc(due, func(r postgres.RunRef) bool { return r.RunID == l.RunID }) {
				t.Error("the run is not found")
			}
			ok(t, db.ExpireRun(ctx, l.RunID, l.Epoch))
		},
	}
	for name, end := range ends {
		task := env.Submit(t, ws, corp.TaskSpec{DeadlineSeconds: 60})
		l := env.Running(t, ws, task.RunID)
		overdue(t, env, task.ID)
		ok(t, db.MissDeadline(ctx, task.ID))
		if now := must(db.Task(ctx, task.ID))(t); now.State != corp.TaskRunning || isOverdue(t, env, task.ID) {
			t.Errorf("%s: %+v", name, now)
		}
		verdicts := must(system.BeatLeases(ctx, l.RunnerID, []postgres.LeaseProof{{RunID: l.RunID, Epoch: l.Epoch, SecretHash: l.SecretHash}}, time.Minute))(t)
		if v := verdicts[0]; v.Say != corp.VerdictStop || v.Reason != corp.ReasonDeadline || !strings.Contains(v.Detail, "deadline") {
			t.Errorf("%s: %+v", name, v)
		}
		end(l)
		if now := must(db.Task(ctx, task.ID))(t); now.State != corp.TaskFailed || now.Reason != corp.ReasonDeadline || now.Attempts != 1 {
			t.Errorf("%s: %+v", name, now)
		}
	}
}

func TestAnAttemptThatWouldComeAfterTheDeadlineIsNotMade(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	task := env.Submit(t, ws, corp.TaskSpec{DeadlineSeconds: 3600, Retry: &corp.RetryPolicy{BaseMS: 86_400_000, CapMS: 86_400_000}})
	l := env.Running(t, ws, task.RunID)
	env.Exec(t, `UPDATE tasks SET deadline_at = clock_timestamp() + interval '1 millisecond' WHERE id = $1`, task.ID)
	must(db.FinishRun(t.Context(), l.RunID, l.Epoch, failed(corp.ReasonAgentFailed)))(t)
	now := must(db.Task(t.Context(), task.ID))(t)
	if now.State != corp.TaskFailed || now.Reason != corp.ReasonDeadline || now.RunID != task.RunID || !strings.Contains(now.Detail, "It went wrong.") {
		t.Errorf("%+v", now)
	}
	later := env.Submit(t, ws, corp.TaskSpec{DeadlineSeconds: 3600, Retry: &corp.RetryPolicy{BaseMS: 1, CapMS: 1}})
	l = env.Running(t, ws, later.RunID)
	must(db.FinishRun(t.Context(), l.RunID, l.Epoch, failed(corp.ReasonAgentFailed)))(t)
	if now := must(db.Task(t.Context(), later.ID))(t); now.State != corp.TaskQueued || now.Attempts != 2 {
		t.Errorf("%+v", now)
	}
}

func TestARetryWaitsByItsTasksOwnPolicy(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	policy := &corp.RetryPolicy{BaseMS: 3_600_000, CapMS: 7_200_000}
	for range 10 {
		task := env.Submit(t, ws, corp.TaskSpec{MaxAttempts: 3, Retry: policy})
		if diff := cmp.Diff(policy, task.Retry); diff != "" {
			t.Fatal(diff)
		}
		for attempt, ceiling := range []time.Duration{time.Hour, 2 * time.Hour} {
			env.Exec(t, `UPDATE runs SET not_before = NULL WHERE task_id = $1`, task.ID)
			l := env.Running(t, ws, must(db.Task(t.Context(), task.ID))(t).RunID)
			must(db.FinishRun(t.Context(), l.RunID, l.Epoch, failed(corp.ReasonAgentFailed)))(t)
			next := must(db.Run(t.Context(), must(db.Task(t.Context(), task.ID))(t).RunID))(t)
			if next.NotBefore != nil && next.NotBefore.Sub(next.CreatedAt) > ceiling+time.Second {
				t.Errorf("attempt %d comes after %v", attempt+2, next.NotBefore.Sub(next.CreatedAt))
			}
		}
	}
}

// A finish and a deadline at the same moment have one winner, whose story task
// and run tell alike.
func TestAFinishAndADeadlineHaveOneWinner(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	won := map[corp.Reason]int{}
	for range 40 {
		task := env.Submit(t, ws, corp.TaskSpec{DeadlineSeconds: 60})
		l := env.Running(t, ws, task.RunID)
		overdue(t, env, task.ID)
		var both sync.WaitGroup
		both.Go(func() { ok(t, db.MissDeadline(t.Context(), task.ID)) })
		both.Go(func() { _, err := db.FinishRun(t.Context(), l.RunID, l.Epoch, succeeded); ok(t, err) })
		both.Wait()
		now, run := must(db.Task(t.Context(), task.ID))(t), must(db.Run(t.Context(), task.RunID))(t)
		won[now.Reason]++
		switch {
		case now.State == corp.TaskSucceeded && run.State == corp.RunSucceeded:
		case now.State == corp.TaskFailed && run.State == corp.RunFailed && now.Reason == corp.ReasonDeadline && run.Reason == corp.ReasonDeadline:
		default:
			t.Errorf("task %s (%s), run %s (%s)", now.State, now.Reason, run.State, run.Reason)
		}
	}
	t.Log(won)
}

package postgres_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// run carries out a queued task to the given end.
func carryOut(tb testing.TB, env *pgtest.Env, ws corp.WorkspaceID, task corp.TaskID, o corp.Outcome) {
	tb.Helper()
	db := env.DB.In(ws)
	lease := env.Running(tb, ws, must(db.Task(tb.Context(), task))(tb).RunID)
	must(db.FinishRun(tb.Context(), lease.RunID, lease.Epoch, o))(tb)
}

func wantTask(tb testing.TB, db postgres.WorkspaceDB, id corp.TaskID, state corp.TaskState, reason corp.Reason) corp.Task {
	tb.Helper()
	task := must(db.Task(tb.Context(), id))(tb)
	if task.State != state || task.Reason != reason {
		tb.Errorf("task %s is %s (%s: %s), want %s (%s)", task.Prompt, task.State, task.Reason, task.Detail, state, reason)
	}
	return task
}

// every runs a query that returns the number of rows that break a rule.
func never(tb testing.TB, env *pgtest.Env, what, sql string, args ...any) {
	tb.Helper()
	if n := pgtest.Value[int](tb, env, sql, args...); n != 0 {
		tb.Errorf("%d times: %s", n, what)
	}
}

// sound checks what must hold of a workspace's tasks at every commit.
func sound(tb testing.TB, env *pgtest.Env, ws corp.WorkspaceID) {
	tb.Helper()
	never(tb, env, "a task is blocked although nothing that it follows is open", `
		SELECT count(*) FROM tasks t WHERE workspace_id = $1 AND state = 'blocked' AND NOT EXISTS (
			SELECT FROM task_dependencies d JOIN tasks p ON p.workspace_id = d.workspace_id AND p.id = d.depends_on
			WHERE d.workspace_id = t.workspace_id AND d.task_id = t.id AND p.state IN ('queued', 'running', 'blocked'))`, ws)
	never(tb, env, "a task is blocked by one that failed", `
		SELECT count(*) FROM task_dependencies d JOIN tasks t ON t.workspace_id = d.workspace_id AND t.id = d.task_id
			JOIN tasks p ON p.workspace_id = d.workspace_id AND p.id = d.depends_on
		WHERE d.workspace_id = $1 AND t.state = 'blocked' AND d.on_failure = 'cancel' AND p.state IN ('failed', 'dead', 'cancelled')`, ws)
	never(tb, env, "a task and its runs do not agree", `
		SELECT count(*) FROM tasks t LEFT JOIN LATERAL (
			SELECT count(*) FILTER (WHERE state = 'queued') AS queued, count(*) FILTER (WHERE state IN ('leased', 'running', 'waiting')) AS held, count(*) AS n,
				count(*) FILTER (WHERE r.id = t.run_id) AS latest
			FROM runs r WHERE r.workspace_id = t.workspace_id AND r.task_id = t.id) r ON true
		WHERE workspace_id = $1 AND (r.n <> t.attempts OR (r.latest = 1) <> (t.run_id IS NOT NULL)
			OR (t.state = 'queued') <> (r.queued = 1) OR (t.state = 'running') <> (r.held = 1) OR r.queued + r.held > 1
			OR (t.finished_at IS NOT NULL) <> (t.state IN ('succeeded', 'failed', 'cancelled', 'dead')))`, ws)
}

func TestWhatATaskBecomesOfTheEndOfTheOneThatItFollows(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	for name, end := range map[string]corp.Outcome{
		"succeeds":     succeeded,
		"fails":        failed(corp.ReasonCheckFailed),
		"dies":         failed(corp.ReasonAgentFailed),
		"is cancelled": {State: corp.RunCancelled, Reason: corp.ReasonCancelled},
	} {
		first := part("first")
		first.MaxAttempts = 1
		goesOn := part("goes on")
		goesOn.After = []corp.Dependency{{Ref: "first", OnFailure: corp.OnFailureContinue}}
		both := part("both", "stops")
		both.After = append(both.After, corp.Dependency{Ref: "goes on", OnFailure: corp.OnFailureContinue})
		b := submitBatch(t, db, first, part("stops", "first"), part("next", "stops"), goesOn, both).Tasks
		carryOut(t, env, ws, b[0].TaskID, end)
		queued := wantTask(t, db, b[3].TaskID, corp.TaskQueued, corp.ReasonNone)
		if queued.Attempts != 1 || queued.RunID.IsZero() {
			t.Errorf("%s: %+v", name, queued)
		}
		if end.State == corp.RunSucceeded {
			wantTask(t, db, b[1].TaskID, corp.TaskQueued, corp.ReasonNone)
			wantTask(t, db, b[2].TaskID, corp.TaskBlocked, corp.ReasonDependency)
			wantTask(t, db, b[4].TaskID, corp.TaskBlocked, corp.ReasonDependency)
		} else {
			stopped := wantTask(t, db, b[1].TaskID, corp.TaskCancelled, corp.ReasonDependencyFailed)
			if !strings.Contains(stopped.Detail, b[0].TaskID.String()) || stopped.FinishedAt == nil || !stopped.RunID.IsZero() {
				t.Errorf("%s: %+v", name, stopped)
			}
			wantTask(t, db, b[2].TaskID, corp.TaskCancelled, corp.ReasonDependencyFailed)
			wantTask(t, db, b[4].TaskID, corp.TaskCancelled, corp.ReasonDependencyFailed)
		}
		sound(t, env, ws)
	}
	gapless(t, db)
}

func TestATaskMayFollowOneThatHasEnded(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	good, bad := env.Submit(t, ws, corp.TaskSpec{}), env.Submit(t, ws, corp.TaskSpec{})
	carryOut(t, env, ws, good.ID, succeeded)
	must(db.CancelTask(t.Context(), actor, bad.ID))(t)
	submit := func(after ...corp.Dependency) corp.TaskID { return env.Submit(t, ws, corp.TaskSpec{After: after}).ID }
	wantTask(t, db, submit(corp.Dependency{TaskID: good.ID}), corp.TaskQueued, corp.ReasonNone)
	wantTask(t, db, submit(corp.Dependency{TaskID: bad.ID, OnFailure: corp.OnFailureContinue}), corp.TaskQueued, corp.ReasonNone)
	stopped := wantTask(t, db, submit(corp.Dependency{TaskID: good.ID}, corp.Dependency{TaskID: bad.ID}), corp.TaskCancelled, corp.ReasonDependencyFailed)
	if stopped.FinishedAt == nil || stopped.Attempts != 0 {
		t.Errorf("%+v", stopped)
	}
	sound(t, env, ws)
}

func TestAChainOfThousandsFallsWithItsFirst(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	chain := []corp.BatchTask{part("0")}
	for i := 1; i < 3000; i++ {
		chain = append(chain, part(fmt.Sprint(i), fmt.Sprint(i-1)))
	}
	b := submitBatch(t, db, chain...)
	begun := time.Now()
	carryOut(t, env, ws, b.Tasks[0].TaskID, failed(corp.ReasonCheckFailed))
	t.Logf("a chain of %d fell in %s", len(chain), time.Since(begun))
	status := must(db.Batch(t.Context(), b.ID))(t)
	if status.States[corp.TaskCancelled] != len(chain)-1 || status.States[corp.TaskFailed] != 1 || status.Open != 0 || status.Total != len(chain) {
		t.Errorf("%+v", status)
	}
	last := wantTask(t, db, b.Tasks[2999].TaskID, corp.TaskCancelled, corp.ReasonDependencyFailed)
	if !strings.Contains(last.Detail, b.Tasks[2998].TaskID.String()) {
		t.Error(last.Detail)
	}
	gapless(t, db)
}

func TestThousandsThatFollowOneAreQueuedWithItsEnd(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	fan := []corp.BatchTask{part("first")}
	for i := 1; i < corp.MaxBatch; i++ {
		fan = append(fan, part("", "first"))
	}
	b := submitBatch(t, db, fan...)
	begun := time.Now()
	carryOut(t, env, ws, b.Tasks[0].TaskID, succeeded)
	t.Logf("%d were queued in %s", len(fan)-1, time.Since(begun))
	if status := must(db.Batch(t.Context(), b.ID))(t); status.States[corp.TaskQueued] != len(fan)-1 {
		t.Errorf("%+v", status)
	}
	sound(t, env, ws)
	gapless(t, db)
}

// Invariant 16: the last two tasks that another one follows end at the same
// moment, in two transactions.
func TestATaskIsQueuedExactlyOnceWhoeverEndsLast(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	const rounds, width = 20, 4
	for range rounds {
		var tasks []corp.BatchTask
		var names []string
		for i := range width {
			names = append(names, fmt.Sprint(i))
			tasks = append(tasks, part(names[i]))
		}
		b := submitBatch(t, db, append(tasks, part("last", names...), part("too", names...))...).Tasks
		leases := make([]pgtest.Lease, width)
		for i := range width {
			leases[i] = env.Running(t, ws, must(db.Task(t.Context(), b[i].TaskID))(t).RunID)
		}
		together(t, width, func(i int) error {
			_, err := db.FinishRun(t.Context(), leases[i].RunID, leases[i].Epoch, succeeded)
			return err
		})
		wantTask(t, db, b[width].TaskID, corp.TaskQueued, corp.ReasonNone)
		wantTask(t, db, b[width+1].TaskID, corp.TaskQueued, corp.ReasonNone)
	}
	sound(t, env, ws)
	never(t, env, "a task was queued twice", `
		SELECT count(*) FROM (SELECT FROM events WHERE workspace_id = $1 AND kind = 'task.queued' GROUP BY task_id HAVING count(*) > 1) x`, ws)
}

// together does n things at the same moment.
func together(tb testing.TB, n int, do func(i int) error) {
	tb.Helper()
	begin := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			<-begin
			if err := do(i); err != nil {
				tb.Error(err)
			}
		})
	}
	close(begin)
	all.Wait()
}

func TestATaskSubmittedWhileTheOneThatItFollowsEndsIsNeverForgotten(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	for round := range 20 {
		first := env.Submit(t, ws, corp.TaskSpec{})
		lease := env.Running(t, ws, first.RunID)
		outcome, want := succeeded, corp.TaskQueued
		if round%2 == 1 {
			outcome, want = failed(corp.ReasonCheckFailed), corp.TaskCancelled
		}
		ids := make([]corp.TaskID, 6)
		together(t, len(ids), func(i int) error {
			if i == 0 {
				_, err := db.FinishRun(t.Context(), lease.RunID, lease.Epoch, outcome)
				return err
			}
			task, _, err := db.SubmitTask(t.Context(), actor, corp.TaskSpec{Prompt: "p", RepositoryURL: someURL, After: []corp.Dependency{{TaskID: first.ID}}}, postgres.Idempotency{})
			ids[i] = task.ID
			return err
		})
		for _, id := range ids[1:] {
			if task := must(db.Task(t.Context(), id))(t); task.State != want {
				t.Errorf("%s (%s), want %s", task.State, task.Reason, want)
			}
		}
	}
	sound(t, env, ws)
}

package reconcile_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
	"github.com/genericcorp/corp/reconcile"
	"github.com/genericcorp/corp/stage"
)

func newReconciler(env *pgtest.Env, edit ...func(*reconcile.Config)) (*reconcile.Reconciler, *stage.Log) {
	log := &stage.Log{}
	c := reconcile.Config{
		DB: env.DB, Server: corp.Server{ID: corp.NewID[corp.ServerID](), Address: "http://127.0.0.1:7400", Gateway: "http://127.0.0.1:7401"}, Logger: slog.New(slog.NewTextHandler(log, nil)),
		Sweep: 20 * time.Millisecond, TTL: time.Millisecond, Margin: time.Second, Grace: time.Second, Alive: 20 * time.Millisecond, Dead: time.Hour,
	}
	for _, e := range edit {
		e(&c)
	}
	return reconcile.New(c), log
}

func once(t *testing.T, round func(context.Context) error) {
	t.Helper()
	if err := round(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func runOf(t *testing.T, env *pgtest.Env, ws corp.WorkspaceID, id corp.RunID) corp.Run {
	t.Helper()
	run, err := env.DB.In(ws).Run(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func taskOf(t *testing.T, env *pgtest.Env, ws corp.WorkspaceID, id corp.TaskID) corp.Task {
	t.Helper()
	task, err := env.DB.In(ws).Task(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return task
}

func TestAnOfferThatNobodyTakesUpReturnsAndUsesNoAttempt(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	r, _ := newReconciler(env)
	ws := env.Workspace(t)
	old, fresh := env.Submit(t, ws, corp.TaskSpec{}), env.Submit(t, ws, corp.TaskSpec{})
	env.Claim(t, ws, old.RunID)
	env.Claim(t, ws, fresh.RunID)
	env.Exec(t, `UPDATE runs SET lease_expires_at = clock_timestamp() + CASE id WHEN $1 THEN interval '-1 second' ELSE '1 hour' END`, old.RunID)
	once(t, r.RequeueOffers)
	if run := runOf(t, env, ws, old.RunID); run.State != corp.RunQueued || run.Attempt != 1 || run.Reason != corp.ReasonNotAcknowledged {
		t.Errorf("the expired offer is %s, attempt %d, %s", run.State, run.Attempt, run.Reason)
	}
	if run := runOf(t, env, ws, fresh.RunID); run.State != corp.RunLeased {
		t.Errorf("the other offer is %s", run.State)
	}
	if task := taskOf(t, env, ws, old.ID); task.State != corp.TaskQueued || task.Attempts != 1 {
		t.Errorf("its task is %s after %d attempts", task.State, task.Attempts)
	}
}

func TestARunWhoseRunnerFellSilentIsLostAndTriedAgainUntilItsAttemptsAreUsedUp(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	r, _ := newReconciler(env, func(c *reconcile.Config) { c.Margin = time.Hour })
	ws := env.Workspace(t)
	task := env.Submit(t, ws, corp.TaskSpec{MaxAttempts: 2})
	silent := func(age string) corp.RunID {
		id := taskOf(t, env, ws, task.ID).RunID
		env.Exec(t, `UPDATE runs SET not_before = NULL WHERE id = $1`, id)
		env.Running(t, ws, id)
		env.Exec(t, `UPDATE runs SET lease_expires_at = clock_timestamp() - $2::interval WHERE id = $1`, id, age)
		once(t, r.LoseRuns)
		return id
	}
	first := silent("59 minutes")
	if run := runOf(t, env, ws, first); run.State != corp.RunRunning {
		t.Fatalf("the run was given up within the margin: %s", run.State)
	}
	env.Exec(t, `UPDATE runs SET lease_expires_at = clock_timestamp() - interval '61 minutes' WHERE id = $1`, first)
	once(t, r.LoseRuns)
	if run := runOf(t, env, ws, first); run.State != corp.RunLost || run.Reason != corp.ReasonRunnerLost {
		t.Errorf("the first run is %s, %s", run.State, run.Reason)
	}
	if now := taskOf(t, env, ws, task.ID); now.State != corp.TaskQueued || now.RunID == first {
		t.Fatalf("the task is %s with run %v", now.State, now.RunID)
	}
	silent("2 hours")
	if now := taskOf(t, env, ws, task.ID); now.State != corp.TaskDead || now.Reason != corp.ReasonAttempts {
		t.Errorf("the task is %s, %s", now.State, now.Reason)
	}
}

func TestARunThatUsedUpItsTimeAndIsNotEndedByItsRunnerIsEnded(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	r, _ := newReconciler(env, func(c *reconcile.Config) { c.Grace = time.Hour })
	ws := env.Workspace(t)
	task := env.Submit(t, ws, corp.TaskSpec{TimeoutSeconds: 60})
	env.Running(t, ws, task.RunID)
	env.Exec(t, `UPDATE runs SET lease_expires_at = clock_timestamp() + interval '1 hour', started_at = clock_timestamp() - interval '60 minutes' WHERE id = $1`, task.RunID)
	once(t, r.ExpireRuns)
	if run := runOf(t, env, ws, task.RunID); run.State != corp.RunRunning {
		t.Fatalf("the run was ended within the grace time: %s", run.State)
	}
	env.Exec(t, `UPDATE runs SET started_at = clock_timestamp() - interval '62 minutes' WHERE id = $1`, task.RunID)
	once(t, r.ExpireRuns)
	if run := runOf(t, env, ws, task.RunID); run.State != corp.RunFailed || run.Reason != corp.ReasonTimeout {
		t.Errorf("the run is %s, %s", run.State, run.Reason)
	}
}

func TestTwoServersThatReconcileTogetherRepairEachRunOnce(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ws := env.Workspace(t)
	var tasks []corp.Task
	for range 10 {
		task := env.Submit(t, ws, corp.TaskSpec{})
		env.Running(t, ws, task.RunID)
		tasks = append(tasks, task)
	}
	env.Exec(t, `UPDATE runs SET lease_expires_at = clock_timestamp() - interval '1 hour'`)
	var both sync.WaitGroup
	for range 4 {
		r, log := newReconciler(env)
		both.Go(func() {
			if err := r.LoseRuns(context.WithoutCancel(t.Context())); err != nil || strings.Contains(log.String(), "level=ERROR") {
				t.Errorf("%v\n%s", err, log)
			}
		})
	}
	both.Wait()
	for _, task := range tasks {
		if now := taskOf(t, env, ws, task.ID); now.Attempts != 2 || now.State != corp.TaskQueued {
			t.Errorf("the task is %s with %d attempts, want queued with 2", now.State, now.Attempts)
		}
	}
}

func TestWhatADeadServerHeldCountsAsSpentAndALivingOnesDoesNot(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	r, _ := newReconciler(env)
	ws := env.Workspace(t)
	limit := corp.Nanodollars(1_000_000_000)
	task := env.Submit(t, ws, corp.TaskSpec{Budget: &limit})
	env.Running(t, ws, task.RunID)
	dead, alive := corp.NewID[corp.ServerID](), corp.NewID[corp.ServerID]()
	system := env.DB.System("test")
	for _, server := range []corp.ServerID{dead, alive} {
		if err := system.RegisterServer(t.Context(), corp.Server{ID: server, Address: "x"}); err != nil {
			t.Fatal(err)
		}
		if _, err := env.DB.In(ws).GrantAllowance(t.Context(), server, task.ID, 1, 1000); err != nil {
			t.Fatal(err)
		}
	}
	env.Exec(t, `UPDATE servers SET seen_at = clock_timestamp() - interval '2 hours' WHERE id = $1`, dead)
	once(t, r.CloseAllowances) // one round only suspects: the machine may have slept
	if spent := pgtest.Value[int64](t, env, `SELECT spent_nanodollars FROM budgets WHERE task_id = $1`, task.ID); spent != 0 {
		t.Errorf("%d was spent on a suspicion", spent)
	}
	for range 2 { // the second time changes nothing
		once(t, r.CloseAllowances)
		spent := pgtest.Value[int64](t, env, `SELECT spent_nanodollars FROM budgets WHERE task_id = $1`, task.ID)
		granted := pgtest.Value[int64](t, env, `SELECT granted_nanodollars FROM budgets WHERE task_id = $1`, task.ID)
		if spent != 1000 || granted != 1000 {
			t.Errorf("spent %d, granted %d; want 1000 and 1000", spent, granted)
		}
		calls, err := env.DB.In(ws).Calls(t.Context(), postgres.CallFilter{Task: task.ID}, corp.Page{Limit: 10})
		if err != nil || len(calls.Items) != 1 {
			t.Fatalf("%d calls, %v", len(calls.Items), err)
		}
		if c := calls.Items[0]; !c.Estimated || c.Outcome != corp.CallUnsettled || c.Cost != 1000 || c.RunID != task.RunID {
			t.Errorf("the call is %+v", c)
		}
	}
}

func TestAServerNeverSettlesItself(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	r, _ := newReconciler(env)
	ws := env.Workspace(t)
	limit := corp.Dollar
	task := env.Submit(t, ws, corp.TaskSpec{Budget: &limit})
	if err := env.DB.System("test").RegisterServer(t.Context(), r.Server); err != nil {
		t.Fatal(err)
	}
	if _, err := env.DB.In(ws).GrantAllowance(t.Context(), r.Server.ID, task.ID, 1, 1000); err != nil {
		t.Fatal(err)
	}
	env.Exec(t, `UPDATE servers SET seen_at = clock_timestamp() - interval '2 hours'`)
	for range 3 {
		once(t, r.CloseAllowances)
	}
	if spent := pgtest.Value[int64](t, env, `SELECT spent_nanodollars FROM budgets WHERE task_id = $1`, task.ID); spent != 0 {
		t.Errorf("the server booked %d of its own money as lost", spent)
	}
}

// A laptop that slept for two days: its own housekeeping may wake up first.
func TestAServerThatSleptForDaysIsRegisteredAgain(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	r, _ := newReconciler(env)
	system := env.DB.System("test")
	if err := system.RegisterServer(t.Context(), r.Server); err != nil {
		t.Fatal(err)
	}
	env.Exec(t, `UPDATE servers SET seen_at = clock_timestamp() - interval '2 days'`)
	once(t, r.DropServers)
	once(t, r.TouchServer)
	once(t, r.TouchServer)
	if gateways, err := system.Gateways(t.Context()); err != nil || len(gateways) != 1 || gateways[0] != r.Server.Gateway {
		t.Errorf("runners find the gateways %q, %v", gateways, err)
	}
}

func TestHousekeepingMakesPartitionsAndForgetsOldKeys(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	r, _ := newReconciler(env)
	ws := env.Workspace(t)
	for _, key := range []string{"old", "new"} {
		spec := corp.TaskSpec{Prompt: "x", RepositoryURL: "https://example.com/x.git"}
		if _, _, err := env.DB.In(ws).SubmitTask(t.Context(), corp.ActorSystem, spec, postgres.Idempotency{Key: key, RequestHash: []byte(key)}); err != nil {
			t.Fatal(err)
		}
	}
	env.Exec(t, `UPDATE idempotency_keys SET created_at = clock_timestamp() - interval '25 hours' WHERE key = 'old'`)
	once(t, r.DropKeys)
	if n := pgtest.Value[int](t, env, `SELECT count(*)::int FROM idempotency_keys`); n != 1 {
		t.Errorf("%d keys are left, want 1", n)
	}
	const ahead = `SELECT count(*)::int FROM pg_class WHERE relname = 'calls_' || to_char(now() + interval '3 months', 'YYYYMM')`
	env.Exec(t, `DO $$ BEGIN EXECUTE format('DROP TABLE IF EXISTS calls_%s', to_char(now() + interval '3 months', 'YYYYMM')); END $$`)
	once(t, r.MakePartitions)
	once(t, r.MakePartitions)
	if n := pgtest.Value[int](t, env, ahead); n != 1 {
		t.Error("there is no partition three months ahead")
	}
}

func TestTheLoopsRunRepairAndEndWithTheirContext(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	r, log := newReconciler(env)
	if err := env.DB.System("test").RegisterServer(t.Context(), r.Server); err != nil {
		t.Fatal(err)
	}
	ws := env.Workspace(t)
	task := env.Submit(t, ws, corp.TaskSpec{})
	env.Running(t, ws, task.RunID)
	env.Exec(t, `UPDATE runs SET lease_expires_at = clock_timestamp() - interval '1 hour'`)
	env.Exec(t, `UPDATE servers SET seen_at = clock_timestamp() - interval '1 hour'`)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	pgtest.Eventually(t, 20*time.Second, "the run to be lost and the server to be seen", func(context.Context) bool {
		return runOf(t, env, ws, task.RunID).State == corp.RunLost &&
			pgtest.Value[bool](t, env, `SELECT seen_at > clock_timestamp() - interval '1 minute' FROM servers`)
	})
	env.KillConnections(t) // a round that fails is repeated
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v\n%s", err, log)
	}
}

func TestAfterAStartTheRunnersGetATTLToMakeThemselvesHeard(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	r, _ := newReconciler(env, func(c *reconcile.Config) { c.TTL = time.Hour })
	ws := env.Workspace(t)
	lost, offer := env.Submit(t, ws, corp.TaskSpec{}), env.Submit(t, ws, corp.TaskSpec{})
	env.Running(t, ws, lost.RunID)
	env.Claim(t, ws, offer.RunID)
	env.Exec(t, `UPDATE runs SET lease_expires_at = clock_timestamp() - interval '1 hour'`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	pgtest.Eventually(t, 20*time.Second, "the offer to return", func(context.Context) bool {
		return runOf(t, env, ws, offer.RunID).State == corp.RunQueued
	})
	if run := runOf(t, env, ws, lost.RunID); run.State != corp.RunRunning {
		t.Errorf("the run is %s right after the start", run.State)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

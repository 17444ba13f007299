package reconcile_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/pgtest"
	"github.com/genericcorp/corp/reconcile"
)

// quadrennial makes a schedule that is due when a test says so: no time of its own
// comes meanwhile.
func quadrennial(t *testing.T, env *pgtest.Env, ws corp.WorkspaceID, name string) corp.ScheduleID {
	t.Helper()
	made, err := env.DB.In(ws).CreateSchedule(t.Context(), corp.ActorSystem, corp.ScheduleSpec{
		Name: name, Cron: "0 0 29 2 *", Task: corp.TaskSpec{Prompt: "p", RepositoryURL: "https://git.example.com/w.git"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return made.ID
}

// makeDue makes every schedule due for one time of its own, which comes before
// all that are still to come.
func makeDue(t *testing.T, env *pgtest.Env, n int) {
	t.Helper()
	env.Exec(t, `UPDATE schedules SET next_at = date_trunc('minute', clock_timestamp()) - interval '1 day' + $1::bigint * interval '1 minute'`, n)
}

func tasksOf(t *testing.T, env *pgtest.Env, id corp.ScheduleID) int {
	t.Helper()
	return pgtest.Value[int](t, env, `SELECT count(*)::int FROM tasks WHERE schedule_id = $1`, id)
}

func TestTwoServersFireEachDueTimeOfEachScheduleOnce(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	const schedules, times = 20, 50
	var ids []corp.ScheduleID
	for i := range schedules {
		ids = append(ids, quadrennial(t, env, env.Workspace(t), fmt.Sprintf("s-%d", i)))
	}
	one, log1 := newReconciler(env)
	two, log2 := newReconciler(env)
	for n := range times {
		makeDue(t, env, n)
		var both sync.WaitGroup
		for _, round := range []func(context.Context) error{one.FireSchedules, two.FireSchedules} {
			both.Go(func() {
				if err := round(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
	}
	for _, id := range ids {
		if n := tasksOf(t, env, id); n != times {
			t.Errorf("%d tasks of %d times", n, times)
		}
	}
	if said := log1.String() + log2.String(); strings.Contains(said, "level=ERROR") || strings.Count(said, "a schedule fired") != schedules*times {
		t.Errorf("%d firings are in the logs", strings.Count(said, "a schedule fired"))
	}
}

func TestASchedulePoisonedOrRefusedHurtsOnlyItself(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ws := env.Workspace(t)
	good, poisoned, refused := quadrennial(t, env, ws, "good"), quadrennial(t, env, ws, "poisoned"), quadrennial(t, env, ws, "refused")
	env.Exec(t, `UPDATE schedules SET spec = '[]' WHERE id = $1`, poisoned)
	env.Exec(t, `UPDATE schedules SET spec = '{"prompt": "p", "repository_url": "git://x", "agent": "gone"}' WHERE id = $1`, refused)
	r, log := newReconciler(env)
	for n := range 3 {
		makeDue(t, env, n)
		env.Exec(t, `UPDATE schedules SET next_at = next_at - interval '1 hour' WHERE id <> $1`, good) // the bad ones come first
		once(t, r.FireSchedules)
		once(t, r.FireSchedules)
	}
	if n := tasksOf(t, env, good); n != 3 {
		t.Errorf("the good one made %d tasks of 3 times", n)
	}
	if n := tasksOf(t, env, poisoned) + tasksOf(t, env, refused); n != 0 {
		t.Errorf("the bad ones made %d tasks", n)
	}
	said := log.String()
	if strings.Count(said, "a schedule could not be fired") != 3 || strings.Count(said, "a schedule's task was refused") != 3 {
		t.Error(said)
	}
}

func TestDeadlinesEndWhatIsQueuedAndStopWhatRuns(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	r, log := newReconciler(env)
	ws := env.Workspace(t)
	queued, running, later := env.Submit(t, ws, corp.TaskSpec{DeadlineSeconds: 60}), env.Submit(t, ws, corp.TaskSpec{DeadlineSeconds: 60}), env.Submit(t, ws, corp.TaskSpec{DeadlineSeconds: 60})
	env.Running(t, ws, running.RunID)
	once(t, r.MissDeadlines)
	if now := taskOf(t, env, ws, queued.ID); now.State != corp.TaskQueued {
		t.Fatalf("%+v", now)
	}
	env.Exec(t, `UPDATE tasks SET deadline_at = clock_timestamp() WHERE id <> $1`, later.ID)
	once(t, r.MissDeadlines)
	if now := taskOf(t, env, ws, queued.ID); now.State != corp.TaskFailed || now.Reason != corp.ReasonDeadline {
		t.Errorf("%+v", now)
	}
	once(t, r.ExpireRuns)
	if now := taskOf(t, env, ws, running.ID); now.State != corp.TaskRunning {
		t.Errorf("it is ended before its runner could: %+v", now)
	}
	env.Exec(t, `UPDATE runs SET stop_at = clock_timestamp() - interval '2 minutes' WHERE id = $1`, running.RunID)
	once(t, r.ExpireRuns)
	if now := taskOf(t, env, ws, running.ID); now.State != corp.TaskFailed || now.Reason != corp.ReasonDeadline {
		t.Errorf("%+v", now)
	}
	once(t, r.MissDeadlines)
	if now := taskOf(t, env, ws, later.ID); now.State != corp.TaskQueued {
		t.Errorf("%+v", now)
	}
	if n := strings.Count(log.String(), "a task missed its deadline"); n != 2 {
		t.Errorf("%d deadlines are in the log: %s", n, log)
	}
}

// Invariants 10 and 11 for the clock's own part: a deadline and a schedule come
// within a second, with the loops at the times of production.
func TestTheLoopsComeWithinASecondOfTheTime(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ws := env.Workspace(t)
	task := env.Submit(t, ws, corp.TaskSpec{DeadlineSeconds: 60})
	schedule := quadrennial(t, env, ws, "s")
	r, _ := newReconciler(env, func(c *reconcile.Config) { c.Sweep = 0 })
	ctx, cancel := context.WithCancel(t.Context())
	done, worst := make(chan error, 1), make(chan time.Duration, 1)
	go func() { done <- r.Run(ctx) }()
	go func() { worst <- lateness(ctx, t, env) }()
	due := pgtest.Value[time.Time](t, env, `UPDATE tasks SET deadline_at = clock_timestamp() + interval '300 milliseconds' WHERE id = $1 RETURNING deadline_at`, task.ID)
	env.Exec(t, `UPDATE schedules SET next_at = $2 WHERE id = $1`, schedule, due)
	pgtest.Eventually(t, 20*time.Second, "the deadline and the schedule", func(context.Context) bool {
		return taskOf(t, env, ws, task.ID).State == corp.TaskFailed && tasksOf(t, env, schedule) == 1
	})
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	bound := time.Second + 500*time.Millisecond + <-worst
	missed := *taskOf(t, env, ws, task.ID).FinishedAt
	fired := pgtest.Value[time.Time](t, env, `SELECT created_at FROM tasks WHERE schedule_id = $1`, schedule)
	for what, at := range map[string]time.Time{"the deadline": missed, "the schedule": fired} {
		if late := at.Sub(due); late < 0 || late > bound {
			t.Errorf("%s came %v late, at most %v", what, late, bound)
		}
	}
}

// lateness is how late a timer that asks the database one thing is at worst, as
// long as ctx lasts: what this machine adds to every time just now.
func lateness(ctx context.Context, t *testing.T, env *pgtest.Env) (worst time.Duration) {
	t.Helper()
	const every = 20 * time.Millisecond
	for ctx.Err() == nil {
		began := time.Now()
		<-time.After(every)
		_ = pgtest.Value[int](t, env, `SELECT 1`)
		worst = max(worst, time.Since(began)-every)
	}
	return worst
}

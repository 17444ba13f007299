package postgres_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
)

func onPlan(tb testing.TB, plan string) (*pgtest.Env, corp.WorkspaceID, postgres.WorkspaceDB) {
	tb.Helper()
	env, ws, db := door(tb)
	env.Exec(tb, `UPDATE workspaces SET plan = $2 WHERE workspace_id = $1`, ws, plan)
	return env, ws, db
}

func TestThePlansAreThoseThatWerePromised(t *testing.T) {
	t.Parallel()
	env := pgtest.New(t)
	got := map[string]corp.Plan{}
	for _, p := range must(env.DB.System("test").Plans(t.Context()))(t) {
		got[p.Name] = p
	}
	want := map[string]corp.Plan{}
	for _, p := range []corp.Plan{
		{Name: "free", Weight: 1, Concurrency: 1, Agents: 3, Users: 2, TasksPerDay: 50, RequestsPerHour: 100, RequestBurst: 20, AgentMinutesPerMonth: 1000, Streams: 2, MessagesPerSecond: 5},
		{Name: "starter", Weight: 3, Priority: 1, Concurrency: 3, Agents: 10, Users: 5, TasksPerDay: 500, RequestsPerHour: 1000, RequestBurst: 50, AgentMinutesPerMonth: 10000, Streams: 10, MessagesPerSecond: 20},
		{Name: "growth", Weight: 3, Priority: 1, Concurrency: 5, Agents: 25, Users: 20, TasksPerDay: 2000, RequestsPerHour: 5000, RequestBurst: 100, AgentMinutesPerMonth: 50000, Streams: 25, MessagesPerSecond: 35},
		{Name: "pro", Weight: 6, Priority: 2, Concurrency: 10, Agents: 50, RequestsPerHour: 10000, RequestBurst: 200, AgentMinutesPerMonth: 100000, Streams: 50, MessagesPerSecond: 50},
		{Name: "enterprise", Weight: 12, Priority: 2},
		{Name: "unlimited", Weight: 6},
	} {
		want[p.Name] = p
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// allAtOnce does something many times at once and returns how often it was done;
// what was not done must be refused with the code.
func allAtOnce(t *testing.T, times int, code string, do func(i int) error) int64 {
	t.Helper()
	var done atomic.Int64
	var wg sync.WaitGroup
	for i := range times {
		wg.Go(func() {
			err := do(i)
			if err == nil {
				done.Add(1)
				return
			}
			if e, ok := errors.AsType[*corp.Error](err); !ok || e.Kind != corp.KindLimit || e.Code != code || e.Hint == "" {
				t.Errorf("attempt %d: %v, want the limit %s with a hint", i, err, code)
			}
		})
	}
	wg.Wait()
	return done.Load()
}

func TestAWorkspaceHasExactlyTheAgentsOfItsPlan(t *testing.T) {
	t.Parallel()
	for plan, most := range map[string]int64{"free": 3, "starter": 10} {
		_, _, db := onPlan(t, plan)
		made := allAtOnce(t, 16, "agents", func(i int) error {
			_, err := db.CreateAgent(t.Context(), actor, corp.AgentSpec{Name: fmt.Sprintf("a%d", i), Model: "m"})
			return err
		})
		if made != most-1 { // one is there from the beginning
			t.Errorf("%s: %d agents were added, want %d", plan, made, most-1)
		}
		first := must(db.Agent(t.Context(), "default"))(t)
		must(db.ArchiveAgent(t.Context(), actor, first.ID))(t)
		must(db.CreateAgent(t.Context(), actor, corp.AgentSpec{Name: "in-its-place", Model: "m"}))(t)
		_, err := db.CreateAgent(t.Context(), actor, corp.AgentSpec{Name: "one-more", Model: "m"})
		wantKind(t, err, corp.KindLimit)
	}
	_, _, db := onPlan(t, "unlimited")
	for i := range 60 {
		must(db.CreateAgent(t.Context(), actor, corp.AgentSpec{Name: fmt.Sprintf("a%d", i), Model: "m"}))(t)
	}
}

func TestAPlansTasksOfADayAreCountedExactlyHoweverTheyComeIn(t *testing.T) {
	t.Parallel()
	env, ws, db := onPlan(t, "free")
	_, _, other := onPlan(t, "free")
	ctx, spec := t.Context(), corp.TaskSpec{Prompt: "Do.", RepositoryURL: "https://example.com/x.git"}
	schedule := must(db.CreateSchedule(ctx, actor, corp.ScheduleSpec{Name: "s", Cron: "0 0 1 1 *", Task: spec}))(t)
	// By itself, in batches of three and by a schedule; the last two pass no queue of this process together.
	var tasks atomic.Int64
	allAtOnce(t, 90, "tasks_per_day", func(i int) error {
		n := int64(1)
		var err error
		switch i % 3 {
		case 0:
			_, _, err = db.SubmitTask(ctx, actor, spec, postgres.Idempotency{})
		case 1:
			n = 3
			_, _, err = db.SubmitBatch(ctx, actor, corp.BatchSpec{Tasks: []corp.BatchTask{{TaskSpec: spec}, {TaskSpec: spec}, {TaskSpec: spec}}}, postgres.Idempotency{})
		default:
			_, _, err = db.TriggerSchedule(ctx, actor, schedule.ID, postgres.Idempotency{})
		}
		if err == nil {
			tasks.Add(n)
		}
		return err
	})
	if n := pgtest.Value[int64](t, env, `SELECT count(*) FROM tasks WHERE workspace_id = $1`, ws); n != 50 || tasks.Load() != 50 {
		t.Errorf("%d tasks were admitted and %d are there, want 50", tasks.Load(), n)
	}
	must2(t)(other.SubmitTask(ctx, actor, spec, postgres.Idempotency{})) // another workspace has its own

	// What is only tried, and what is repeated, is not counted.
	must(db.CreateSchedule(ctx, actor, corp.ScheduleSpec{Name: "other", Cron: "0 0 1 1 *", Task: spec}))(t)
	env.Exec(t, `UPDATE tasks SET created_at = created_at - interval '24 hours' WHERE id = (SELECT id FROM tasks WHERE workspace_id = $1 LIMIT 1)`, ws)
	idem := postgres.Idempotency{Key: "once", RequestHash: secretHash()}
	made := must2(t)(db.SubmitTask(ctx, actor, spec, idem))
	if again := must2(t)(db.SubmitTask(ctx, actor, spec, idem)); again.ID != made.ID {
		t.Errorf("a repeated submission made %s beside %s", again.ID, made.ID)
	}
	_, _, err := db.SubmitTask(ctx, actor, spec, postgres.Idempotency{})
	wantCode(t, err, "tasks_per_day")
	env.Exec(t, `UPDATE workspaces SET plan = 'pro' WHERE workspace_id = $1`, ws)
	must2(t)(db.SubmitTask(ctx, actor, spec, postgres.Idempotency{}))
}

func must2(t *testing.T) func(corp.Task, bool, error) corp.Task {
	t.Helper()
	return func(task corp.Task, _ bool, err error) corp.Task {
		t.Helper()
		return must(task, err)(t)
	}
}

func TestAScheduleThatFindsTheDayUsedUpSaysSoAndComesAgain(t *testing.T) {
	t.Parallel()
	env, ws, db := onPlan(t, "free")
	spec := corp.TaskSpec{Prompt: "Do.", RepositoryURL: "https://example.com/x.git"}
	s := must(db.CreateSchedule(t.Context(), actor, corp.ScheduleSpec{Name: "s", Cron: "* * * * *", Task: spec}))(t)
	batch := corp.BatchSpec{}
	for range 50 {
		batch.Tasks = append(batch.Tasks, corp.BatchTask{TaskSpec: spec})
	}
	if _, _, err := db.SubmitBatch(t.Context(), actor, batch, postgres.Idempotency{}); err != nil {
		t.Fatal(err)
	}
	env.Exec(t, `UPDATE schedules SET next_at = date_trunc('second', now()) WHERE workspace_id = $1`, ws)
	s = must(db.Schedule(t.Context(), s.ID.String()))(t)
	_, err := db.FireSchedule(t.Context(), s.ID, *s.NextAt)
	wantCode(t, err, "tasks_per_day")
	after := must(db.Schedule(t.Context(), s.ID.String()))(t)
	if !after.NextAt.After(*s.NextAt) || !strings.Contains(after.LastError, "50 tasks") {
		t.Errorf("next %v after %v, last error %q", after.NextAt, s.NextAt, after.LastError)
	}
}

func TestAWorkspaceHasAtMostAThousandSchedules(t *testing.T) {
	t.Parallel()
	env, ws, db := onPlan(t, "unlimited")
	spec := corp.ScheduleSpec{Name: "s", Cron: "0 0 1 1 *", Task: corp.TaskSpec{Prompt: "Do.", RepositoryURL: "https://example.com/x.git"}}
	first := must(db.CreateSchedule(t.Context(), actor, spec))(t)
	env.Exec(t, `
		INSERT INTO schedules (workspace_id, id, name, cron, time_zone, missed, spec, paused, created_by)
		SELECT workspace_id, gen_random_uuid(), name || n, cron, time_zone, missed, spec, true, created_by FROM schedules, generate_series(1, $2::int) n WHERE id = $1`,
		first.ID, corp.MaxSchedules-4)
	made := allAtOnce(t, 8, "schedules", func(i int) error {
		spec := spec
		spec.Name = fmt.Sprintf("more%d", i)
		_, err := db.CreateSchedule(t.Context(), actor, spec)
		return err
	})
	if n := pgtest.Value[int](t, env, `SELECT count(*) FROM schedules WHERE workspace_id = $1`, ws); made != 3 || n != corp.MaxSchedules {
		t.Errorf("%d were added, %d are there", made, n)
	}
}

func TestWhatAWorkspaceHoldsIsShownBesideItsPlan(t *testing.T) {
	t.Parallel()
	env, ws, db := onPlan(t, "free")
	env.Submit(t, ws, corp.TaskSpec{})
	task := env.Submit(t, ws, corp.TaskSpec{})
	env.Running(t, ws, task.RunID)
	plan, held, err := db.Held(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(postgres.Held{Agents: 1, Tasks: 2, Running: 1}, held); diff != "" || plan.Name != "free" || plan.Agents != 3 {
		t.Errorf("%+v\n%s", plan, diff)
	}
}

package postgres_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// minutely is a schedule that comes every minute.
func minutely(t *testing.T, db postgres.WorkspaceDB, missed string) corp.Schedule {
	t.Helper()
	spec := nightly("minutely-" + strings.ToLower(corp.NewSecret("")[:8]))
	spec.Cron, spec.TimeZone, spec.Missed = "* * * * *", "UTC", missed
	return must(db.CreateSchedule(t.Context(), actor, spec))(t)
}

// makeDue shifts a schedule back so that it was due so long ago, on a minute.
func makeDue(t *testing.T, env *pgtest.Env, id corp.ScheduleID, ago time.Duration) time.Time {
	t.Helper()
	return pgtest.Value[time.Time](t, env, `
		UPDATE schedules SET next_at = date_trunc('minute', clock_timestamp() - $2::bigint * interval '1 millisecond') WHERE id = $1 RETURNING next_at`, id, ago.Milliseconds())
}

func tasksOf(t *testing.T, db postgres.WorkspaceDB, id corp.ScheduleID) []corp.Task {
	t.Helper()
	return must(db.Tasks(t.Context(), corp.TaskFilter{Schedule: id}, corp.Page{Limit: corp.MaxPage}))(t).Items
}

// lastFiring is the newest event about a schedule.
func lastFiring(t *testing.T, db postgres.WorkspaceDB) (kind string, event corp.Event, data map[string]any) {
	t.Helper()
	for _, e := range must(db.Events(t.Context(), 0, 10_000))(t) {
		if strings.HasPrefix(e.Kind, "schedule.") {
			event, data = e, nil
			ok(t, json.Unmarshal(e.Data, &data))
		}
	}
	return event.Kind, event, data
}

func TestADueTimeMakesOneTaskAndMovesTheScheduleOn(t *testing.T) {
	t.Parallel()
	env, _, db := door(t)
	ctx := t.Context()
	s := minutely(t, db, corp.MissedRunOnce)
	if id := must(db.FireSchedule(ctx, s.ID, *s.NextAt))(t); !id.IsZero() {
		t.Error("it fired before its time")
	}
	agent := must(db.Agent(ctx, "default"))(t)
	must(db.UpdateAgent(ctx, actor, agent.ID, agent.AgentSpec))(t)
	due := makeDue(t, env, s.ID, 0)
	if id := must(db.FireSchedule(ctx, s.ID, due.Add(-time.Minute)))(t); !id.IsZero() {
		t.Error("it fired for another time than its own")
	}
	id := must(db.FireSchedule(ctx, s.ID, due))(t)
	task := must(db.Task(ctx, id))(t)
	if task.ScheduleID == nil || *task.ScheduleID != s.ID || task.CreatedBy != corp.Actor(s.ID.String()) || task.AgentVersion != 2 || task.State != corp.TaskQueued {
		t.Errorf("%+v", task)
	}
	if task.DeadlineAt == nil || task.DeadlineAt.Sub(task.CreatedAt).Round(time.Minute) != time.Hour || task.Prompt != s.Task.Prompt || task.Check != "make" {
		t.Errorf("%+v", task)
	}
	now := must(db.Schedule(ctx, s.Name))(t)
	if now.LastTaskID == nil || *now.LastTaskID != id || !now.LastAt.Equal(due) || !now.NextAt.After(due) || !comesNext(t, now) {
		t.Errorf("%+v", now)
	}
	if kind, event, data := lastFiring(t, db); kind != "schedule.fired" || event.TaskID != id || data["id"] != s.ID.String() || data["due"] == nil {
		t.Error(kind, event, data)
	}
	if again := must(db.FireSchedule(ctx, s.ID, due))(t); !again.IsZero() {
		t.Error("the same time made two tasks")
	}
	if tasks := tasksOf(t, db, s.ID); len(tasks) != 1 {
		t.Errorf("%d tasks", len(tasks))
	}
}

func TestOnlySchedulesThatAreDueAndMayFireAreFound(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	due, future, paused, archived := minutely(t, db, ""), minutely(t, db, ""), minutely(t, db, ""), minutely(t, db, "")
	at := makeDue(t, env, due.ID, time.Hour)
	makeDue(t, env, paused.ID, time.Hour)
	makeDue(t, env, archived.ID, time.Hour)
	env.Exec(t, `UPDATE schedules SET paused = true WHERE id = $1`, paused.ID)
	env.Exec(t, `UPDATE schedules SET archived_at = now() WHERE id = $1`, archived.ID)
	found := map[corp.ScheduleID]postgres.ScheduleRef{}
	look := func() {
		clear(found)
		for _, ref := range must(env.DB.System("test").DueSchedules(t.Context()))(t) {
			found[ref.ScheduleID] = ref
		}
	}
	look()
	if ref := found[due.ID]; ref.Workspace != ws || !ref.Due.Equal(at) {
		t.Errorf("%+v", ref)
	}
	for _, s := range []corp.Schedule{future, paused, archived} {
		if _, there := found[s.ID]; there {
			t.Errorf("%+v is found", s)
		}
		if id := must(db.FireSchedule(t.Context(), s.ID, at))(t); !id.IsZero() {
			t.Errorf("%+v fired", s)
		}
	}
	env.Exec(t, `UPDATE workspaces SET archived_at = now() WHERE workspace_id = $1`, ws)
	if look(); len(found) > 0 && found[due.ID].Workspace == ws {
		t.Error("an archived workspace's schedule is found")
	}
}

func TestTimesThatPassedWhileNobodyServedMakeOneTaskOrNone(t *testing.T) {
	t.Parallel()
	env, _, db := door(t)
	for _, c := range []struct {
		name, cron, missed string
		ago                time.Duration
		tasks              int
		event              string
	}{
		{"many missed, run once", "* * * * *", corp.MissedRunOnce, 72 * time.Hour, 1, "schedule.fired"},
		{"one missed, run once", "@monthly", corp.MissedRunOnce, time.Hour, 1, "schedule.fired"},
		{"one missed, skip", "@monthly", corp.MissedSkip, time.Hour, 0, "schedule.skipped"},
		{"on time, skip", "@monthly", corp.MissedSkip, 0, 1, "schedule.fired"},
		{"many missed and the last on time, skip", "* * * * *", corp.MissedSkip, 72 * time.Hour, 1, "schedule.fired"},
	} {
		s := minutely(t, db, c.missed)
		must(db.UpdateSchedule(t.Context(), actor, s.ID, corp.ScheduleUpdate{Cron: &c.cron}))(t)
		due := makeDue(t, env, s.ID, c.ago)
		if c.ago == 0 {
			due = pgtest.Value[time.Time](t, env, `UPDATE schedules SET next_at = clock_timestamp() - interval '1 second' WHERE id = $1 RETURNING next_at`, s.ID)
		}
		id := must(db.FireSchedule(t.Context(), s.ID, due))(t)
		now := must(db.Schedule(t.Context(), s.Name))(t)
		if n := len(tasksOf(t, db, s.ID)); n != c.tasks || id.IsZero() != (c.tasks == 0) {
			t.Errorf("%s: %d tasks, %s", c.name, n, id)
		}
		if now.NextAt == nil || !now.NextAt.After(time.Now().Add(-time.Minute)) || now.LastError != "" {
			t.Errorf("%s: %+v", c.name, now)
		}
		if kind, _, _ := lastFiring(t, db); kind != c.event {
			t.Errorf("%s: %s", c.name, kind)
		}
	}
}

func TestAScheduleThatCannotSubmitSaysSoAndTriesAgainAtItsNextTime(t *testing.T) {
	t.Parallel()
	env, _, db := door(t)
	ctx := t.Context()
	agent := must(db.CreateAgent(ctx, actor, corp.AgentSpec{Name: "short-lived", Model: pgtest.Model}))(t)
	s := minutely(t, db, "")
	must(db.UpdateSchedule(ctx, actor, s.ID, corp.ScheduleUpdate{Task: &corp.TaskSpec{Prompt: "p", RepositoryURL: "git://x", Agent: agent.Name}}))(t)
	must(db.ArchiveAgent(ctx, actor, agent.ID))(t)
	due := makeDue(t, env, s.ID, time.Minute)
	_, err := db.FireSchedule(ctx, s.ID, due)
	wantKind(t, err, corp.KindNotFound)
	now := must(db.Schedule(ctx, s.Name))(t)
	if now.LastError != "task.agent: There is no such agent." || !now.LastAt.Equal(due) || now.LastTaskID != nil || !comesNext(t, now) {
		t.Errorf("%+v", now)
	}
	if kind, _, data := lastFiring(t, db); kind != "schedule.failed" || data["detail"] != now.LastError {
		t.Error(kind, data)
	}
	if id := must(db.FireSchedule(ctx, s.ID, due))(t); !id.IsZero() {
		t.Error("the failed time was tried again")
	}
	must(db.CreateAgent(ctx, actor, corp.AgentSpec{Name: "short-lived", Model: pgtest.Model}))(t)
	if id := must(db.FireSchedule(ctx, s.ID, makeDue(t, env, s.ID, 0)))(t); id.IsZero() {
		t.Error("its next time made no task")
	}
	if now := must(db.Schedule(ctx, s.Name))(t); now.LastError != "" || now.LastTaskID == nil {
		t.Errorf("%+v", now)
	}
}

// A row that this build cannot understand stops itself and nothing else.
func TestAPoisonedScheduleStopsOnlyItself(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	ctx := t.Context()
	for name, poison := range map[string]string{
		"a zone that is gone":       `UPDATE schedules SET time_zone = 'Mars/Olympus' WHERE id = $1`,
		"an expression of tomorrow": `UPDATE schedules SET cron = 'every full moon' WHERE id = $1`,
		"a spec that is none":       `UPDATE schedules SET spec = '{}' WHERE id = $1`,
		"a spec that is no object":  `UPDATE schedules SET spec = '[1]' WHERE id = $1`,
		"a spec with foreign types": `UPDATE schedules SET spec = '{"prompt": 7}' WHERE id = $1`,
	} {
		s := minutely(t, db, "")
		env.Exec(t, poison, s.ID)
		due := makeDue(t, env, s.ID, time.Hour)
		if id, err := db.FireSchedule(ctx, s.ID, due); err == nil || !id.IsZero() {
			t.Errorf("%s: %s, %v", name, id, err)
		}
		next := pgtest.Value[*time.Time](t, env, `SELECT next_at FROM schedules WHERE id = $1`, s.ID)
		if next != nil && !next.After(due) {
			t.Errorf("%s: it is due again at %v", name, next)
		}
		if said := pgtest.Value[string](t, env, `SELECT last_error FROM schedules WHERE id = $1`, s.ID); said == "" {
			t.Errorf("%s: nothing is said", name)
		}
	}
	if n := pgtest.Value[int](t, env, `SELECT count(*)::int FROM tasks WHERE workspace_id = $1`, ws); n != 0 {
		t.Errorf("%d tasks", n)
	}
}

// Each due time makes one task, however many fire it and whatever becomes of
// their connections.
func TestFiringIsExactlyOncePerDueTimeWhateverBreaks(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	db := env.DB.In(env.Workspace(t))
	const schedules, times, servers = 6, 20, 4
	all := make([]corp.Schedule, schedules)
	for i := range all {
		all[i] = minutely(t, db, corp.MissedRunOnce)
		must(db.UpdateSchedule(t.Context(), actor, all[i].ID, corp.ScheduleUpdate{Cron: new("0 0 29 2 *")}))(t) // no time but ours
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var refused atomic.Int64
	for range servers {
		wg.Go(func() {
			for ctx.Err() == nil {
				due, _ := env.DB.System("test").DueSchedules(ctx)
				for _, ref := range due {
					if _, err := env.DB.In(ref.Workspace).FireSchedule(ctx, ref.ScheduleID, ref.Due); err != nil {
						refused.Add(1)
					}
				}
			}
		})
	}
	for i := range times {
		env.Exec(t, `UPDATE schedules SET next_at = date_trunc('minute', clock_timestamp()) - interval '1 hour' + $1::bigint * interval '1 second'`, i)
		if i%5 == 2 {
			env.KillConnections(t)
		}
		pgtest.Eventually(t, time.Minute, "all to fire", func(context.Context) bool {
			return pgtest.Value[int](t, env, `SELECT count(*)::int FROM schedules WHERE next_at > clock_timestamp()`) == schedules
		})
	}
	stop()
	wg.Wait()
	for _, s := range all {
		if n := pgtest.Value[int](t, env, `SELECT count(*)::int FROM tasks WHERE schedule_id = $1`, s.ID); n != times {
			t.Errorf("%d tasks of %d times", n, times)
		}
	}
	if n := pgtest.Value[int](t, env, `SELECT count(*)::int FROM events WHERE kind = 'schedule.failed'`); n != 0 {
		t.Errorf("%d times were written down as failed", n)
	}
	t.Logf("%d connections were lost under a firing", refused.Load())
}

func TestATriggeredScheduleSubmitsItsTaskNowAndKeepsItsTimes(t *testing.T) {
	t.Parallel()
	env, _, db := door(t)
	ctx := t.Context()
	s := minutely(t, db, "")
	must(db.UpdateSchedule(ctx, actor, s.ID, corp.ScheduleUpdate{Paused: new(true)}))(t)
	before := must(db.Schedule(ctx, s.Name))(t)
	key := postgres.Idempotency{Key: "k", RequestHash: []byte("h")}
	task, replayed, err := db.TriggerSchedule(ctx, actor, s.ID, key)
	if err != nil || replayed || *task.ScheduleID != s.ID || task.CreatedBy != actor {
		t.Fatalf("%+v, %v, %v", task, replayed, err)
	}
	if again, replayed, err := db.TriggerSchedule(ctx, actor, s.ID, key); err != nil || !replayed || again.ID != task.ID {
		t.Errorf("%+v, %v, %v", again, replayed, err)
	}
	if other, _, err := db.TriggerSchedule(ctx, actor, s.ID, postgres.Idempotency{}); err != nil || other.ID == task.ID {
		t.Errorf("%+v, %v", other, err)
	}
	after := must(db.Schedule(ctx, s.Name))(t)
	if after.LastAt != nil || after.NextAt != before.NextAt || !after.Paused {
		t.Errorf("%+v", after)
	}
	if kind, event, data := lastFiring(t, db); kind != "schedule.fired" || event.TaskID.IsZero() || data["by"] != string(actor) || data["due"] != nil {
		t.Error(kind, event, data)
	}
	if tasks := tasksOf(t, db, s.ID); len(tasks) != 2 {
		t.Errorf("%d tasks", len(tasks))
	}
	env.Exec(t, `UPDATE agents SET archived_at = now() WHERE id = $1`, task.AgentID)
	_, _, err = db.TriggerSchedule(ctx, actor, s.ID, postgres.Idempotency{})
	wantKind(t, err, corp.KindNotFound)
}

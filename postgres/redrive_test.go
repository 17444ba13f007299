package postgres_test

import (
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// die uses up a task's attempts.
func die(tb testing.TB, env *pgtest.Env, ws corp.WorkspaceID, task corp.TaskID) corp.Task {
	tb.Helper()
	for {
		env.Exec(tb, `UPDATE runs SET not_before = NULL WHERE task_id = $1 AND state = 'queued'`, task)
		carryOut(tb, env, ws, task, failed(corp.ReasonProviderDown))
		if got := must(env.DB.In(ws).Task(tb.Context(), task))(tb); got.State != corp.TaskQueued {
			return got
		}
	}
}

func TestARedrivenTaskHasAllItsAttemptsAnewAndKeepsWhatCameOfTheOthers(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	task := env.Submit(t, ws, corp.TaskSpec{MaxAttempts: 2})
	_, err := db.RedriveTask(t.Context(), actor, task.ID)
	wantKind(t, err, corp.KindConflict)
	if dead := die(t, env, ws, task.ID); dead.State != corp.TaskDead || dead.Attempts != 2 {
		t.Fatalf("%+v", dead)
	}
	again := must(db.RedriveTask(t.Context(), actor, task.ID))(t)
	if again.State != corp.TaskQueued || again.Redrives != 1 || again.Attempts != 3 || again.FinishedAt != nil || again.Reason != corp.ReasonRetry {
		t.Errorf("%+v", again)
	}
	if dead := die(t, env, ws, task.ID); dead.State != corp.TaskDead || dead.Attempts != 4 || dead.Redrives != 1 {
		t.Errorf("%+v", dead)
	}
	must(db.RetryTask(t.Context(), actor, task.ID))(t) // exactly one more
	if dead := die(t, env, ws, task.ID); dead.State != corp.TaskDead || dead.Attempts != 5 {
		t.Errorf("%+v", dead)
	}
	runs := must(db.Runs(t.Context(), task.ID, corp.Page{}))(t).Items
	for i, r := range runs {
		if r.Attempt != 5-i || r.Reason != corp.ReasonProviderDown || r.State != corp.RunFailed {
			t.Errorf("%+v", r)
		}
	}
	_, err = db.RedriveTask(t.Context(), actor, corp.NewID[corp.TaskID]())
	wantKind(t, err, corp.KindNotFound)
	kinds := eventKinds(t, db)
	n := 0
	for _, k := range kinds {
		if k == "task.redriven" {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d redrives in %v", n, kinds)
	}
	sound(t, env, ws)
}

func TestWhatAFilterMatchesIsRedrivenAndNothingElse(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	must(db.CreateAgent(t.Context(), actor, corp.AgentSpec{Name: "yuki", Model: "a/b"}))(t)
	yuki := must(db.Agent(t.Context(), "yuki"))(t)
	mine := env.Submit(t, ws, corp.TaskSpec{Agent: "yuki", MaxAttempts: 1})
	b := submitBatch(t, db, part("a"), part("b"), part("c"))
	die(t, env, ws, mine.ID)
	for _, item := range b.Tasks {
		carryOut(t, env, ws, item.TaskID, failed(corp.ReasonCheckFailed))
	}
	cancelled := env.Submit(t, ws, corp.TaskSpec{})
	must(db.CancelTask(t.Context(), actor, cancelled.ID))(t)
	late := env.Submit(t, ws, corp.TaskSpec{MaxAttempts: 1, DeadlineSeconds: 3600})
	die(t, env, ws, late.ID)
	env.Exec(t, `UPDATE tasks SET deadline_at = now() WHERE id = $1`, late.ID)
	count := func(f postgres.RedriveFilter) corp.Redriven {
		if f.Limit == 0 {
			f.Limit = 100
		}
		f.DryRun = true
		return must(db.RedriveTasks(t.Context(), actor, f))(t)
	}
	past := time.Now().Add(-time.Hour)
	for name, c := range map[string]struct {
		filter postgres.RedriveFilter
		want   int
		more   bool
	}{
		"the dead":               {postgres.RedriveFilter{State: corp.TaskDead}, 1, false},
		"the failed":             {postgres.RedriveFilter{State: corp.TaskFailed}, 3, false},
		"two of them":            {postgres.RedriveFilter{State: corp.TaskFailed, Limit: 2}, 2, true},
		"an agent's":             {postgres.RedriveFilter{State: corp.TaskDead, Agent: yuki.ID}, 1, false},
		"nobody's":               {postgres.RedriveFilter{State: corp.TaskFailed, Agent: yuki.ID}, 0, false},
		"a batch's":              {postgres.RedriveFilter{State: corp.TaskFailed, Batch: b.ID}, 3, false},
		"by the task's reason":   {postgres.RedriveFilter{State: corp.TaskDead, Reason: corp.ReasonAttempts}, 1, false},
		"by the run's reason":    {postgres.RedriveFilter{State: corp.TaskDead, Reason: corp.ReasonProviderDown}, 1, false},
		"by another reason":      {postgres.RedriveFilter{State: corp.TaskDead, Reason: corp.ReasonTimeout}, 0, false},
		"made an hour ago":       {postgres.RedriveFilter{State: corp.TaskFailed, CreatedBefore: &past}, 0, false},
		"ended an hour ago":      {postgres.RedriveFilter{State: corp.TaskFailed, EndedBefore: &past}, 0, false},
		"of a missing schedule":  {postgres.RedriveFilter{State: corp.TaskFailed, Schedule: corp.NewID[corp.ScheduleID]()}, 0, false},
		"of a batch that is not": {postgres.RedriveFilter{State: corp.TaskFailed, Batch: corp.NewID[corp.BatchID]()}, 0, false},
	} {
		if got := count(c.filter); got.Redriven != c.want || got.More != c.more || got.At.IsZero() {
			t.Errorf("%s: %+v, want %d, more %v", name, got, c.want, c.more)
		}
	}
	_, err := db.RedriveTasks(t.Context(), actor, postgres.RedriveFilter{State: corp.TaskSucceeded, Limit: 1})
	wantKind(t, err, corp.KindInvalid)
	if got := must(db.RedriveTasks(t.Context(), actor, postgres.RedriveFilter{State: corp.TaskFailed, Limit: 2}))(t); got.Redriven != 2 || !got.More {
		t.Errorf("%+v", got)
	}
	wantTask(t, db, b.Tasks[0].TaskID, corp.TaskQueued, corp.ReasonRetry)
	wantTask(t, db, b.Tasks[2].TaskID, corp.TaskFailed, corp.ReasonCheckFailed)
	wantTask(t, db, cancelled.ID, corp.TaskCancelled, corp.ReasonCancelled)
	sound(t, env, ws)
	gapless(t, db)
}

func TestATaskThatIsTriedAgainWaitsForThoseThatItFollows(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	b := submitBatch(t, db, part("first"), part("second", "first"), part("third", "second")).Tasks
	first, second, third := b[0].TaskID, b[1].TaskID, b[2].TaskID
	carryOut(t, env, ws, first, failed(corp.ReasonCheckFailed))
	wantTask(t, db, third, corp.TaskCancelled, corp.ReasonDependencyFailed)
	_, err := db.RetryTask(t.Context(), actor, second)
	wantKind(t, err, corp.KindConflict)
	must(db.RetryTask(t.Context(), actor, first))(t)
	wantTask(t, db, second, corp.TaskCancelled, corp.ReasonDependencyFailed) // nothing comes back by itself
	must(db.RetryTask(t.Context(), actor, second))(t)
	must(db.RetryTask(t.Context(), actor, third))(t)
	wantTask(t, db, second, corp.TaskBlocked, corp.ReasonDependency)
	sound(t, env, ws)
	for i, id := range []corp.TaskID{first, second, third} {
		want := 1 // no run was used up while it was blocked
		if i == 0 {
			want = 2
		}
		if task := must(db.Task(t.Context(), id))(t); task.State != corp.TaskQueued || task.Attempts != want {
			t.Errorf("%+v", task)
		}
		carryOut(t, env, ws, id, succeeded)
	}
	sound(t, env, ws)
}

func TestTasksThatAreRedrivenTogetherWaitForEachOther(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	second := part("second")
	second.After = []corp.Dependency{{Ref: "first", OnFailure: corp.OnFailureContinue}}
	b := submitBatch(t, db, part("first"), second).Tasks
	carryOut(t, env, ws, b[0].TaskID, failed(corp.ReasonCheckFailed))
	carryOut(t, env, ws, b[1].TaskID, failed(corp.ReasonCheckFailed))
	if got := must(db.RedriveTasks(t.Context(), actor, postgres.RedriveFilter{State: corp.TaskFailed, Limit: 10}))(t); got.Redriven != 2 {
		t.Errorf("%+v", got)
	}
	wantTask(t, db, b[0].TaskID, corp.TaskQueued, corp.ReasonRetry)
	wantTask(t, db, b[1].TaskID, corp.TaskBlocked, corp.ReasonDependency)
	carryOut(t, env, ws, b[0].TaskID, failed(corp.ReasonCheckFailed))
	wantTask(t, db, b[1].TaskID, corp.TaskQueued, corp.ReasonNone)
	sound(t, env, ws)
}

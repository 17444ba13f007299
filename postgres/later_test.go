package postgres_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// What is carried out later is looked up then, in its own workspace: a schedule whose
// row names another workspace's things makes no task of them, though nobody asks
// again who wrote it.
// Attack case 36. Control: with things of its own the same schedule makes its task, at its next time.
func TestAScheduleThatNamesAnotherWorkspacesThingsMakesNoTask(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	v := newVictim(t, env)
	ws := env.Workspace(t)
	db, ctx := env.DB.In(ws), t.Context()
	agent := must(db.CreateAgent(ctx, actor, corp.AgentSpec{Name: "mine", Model: "a/b"}))(t)
	repository := must(db.CreateRepository(ctx, actor, corp.NewID[corp.RepositoryID](), corp.RepositorySpec{Name: "mine", URL: "git://mine"}, nil))(t)
	before := fingerprint(t, env, v.ws)
	own := corp.TaskSpec{Prompt: "p", Agent: agent.ID.String(), RepositoryID: &repository.ID}
	s := must(db.CreateSchedule(ctx, actor, corp.ScheduleSpec{Name: "s", Cron: "* * * * *", Task: own}))(t)
	for name, change := range map[string]func(*corp.TaskSpec){
		"nothing":    func(*corp.TaskSpec) {},
		"agent":      func(spec *corp.TaskSpec) { spec.Agent = v.task.AgentID.String() },
		"repository": func(spec *corp.TaskSpec) { spec.RepositoryID = &v.repository },
		"file": func(spec *corp.TaskSpec) {
			spec.RepositoryID, spec.SourceID, spec.BaseCommit = nil, &v.blob, strings.Repeat("a", 40)
		},
		"parent":     func(spec *corp.TaskSpec) { spec.ParentID = &v.task.ID },
		"dependency": func(spec *corp.TaskSpec) { spec.After = []corp.Dependency{{TaskID: v.task.ID}} },
	} {
		spec := own
		change(&spec)
		if name != "nothing" { // the front door refuses it at once
			_, err := db.CreateSchedule(ctx, actor, corp.ScheduleSpec{Name: "x" + name, Cron: "* * * * *", Task: spec})
			if kind := corp.KindOf(err); kind != corp.KindNotFound && kind != corp.KindInvalid {
				t.Errorf("%s: a schedule of it is made: %v", name, err)
			}
		}
		stored, err := json.Marshal(spec)
		ok(t, err)
		env.Exec(t, `UPDATE schedules SET spec = $3::jsonb WHERE workspace_id = $1 AND id = $2`, ws, s.ID, string(stored))
		tasks := pgtest.Value[int](t, env, `SELECT count(*)::int FROM tasks WHERE workspace_id = $1`, ws)
		id, err := db.FireSchedule(ctx, s.ID, makeDue(t, env, s.ID, time.Minute))
		made := pgtest.Value[int](t, env, `SELECT count(*)::int FROM tasks WHERE workspace_id = $1`, ws) - tasks
		if fine := name == "nothing"; (err == nil) != fine || id.IsZero() == fine || (made == 1) != fine {
			t.Errorf("%s: %d tasks, %s, %v", name, made, id, err)
		}
	}
	if _, err := db.FireSchedule(ctx, v.schedule, v.due); corp.KindOf(err) != "" {
		t.Errorf("another workspace's schedule: %v", err)
	}
	if _, _, err := db.TriggerSchedule(ctx, actor, v.schedule, postgres.Idempotency{}); corp.KindOf(err) != corp.KindNotFound {
		t.Errorf("another workspace's schedule, triggered: %v", err)
	}
	if after := fingerprint(t, env, v.ws); after != before {
		t.Errorf("the other workspace was changed\n%s\n%s", before, after)
	}
}

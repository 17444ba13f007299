package postgres_test

import (
	"slices"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
)

func runsOf(queue []postgres.QueuedRun) (ids []corp.RunID) {
	for _, q := range queue {
		ids = append(ids, q.RunID)
	}
	return ids
}

func TestAWorkspacesQueueIsItsShareWhatIsInHandAndTheHeadOfWhatWaits(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ctx, system := t.Context(), env.DB.System("test")
	made := must(system.CreateWorkspace(ctx, actor, "acme", "Acme", "pro"))(t)
	ws := made.ID
	db := env.DB.In(ws)
	agent := must(db.CreateAgent(ctx, actor, corp.AgentSpec{Name: "default", Model: pgtest.Model}))(t)
	repository := must(db.CreateRepository(ctx, actor, corp.NewID[corp.RepositoryID](), corp.RepositorySpec{Name: "r", URL: "git://x"}, nil))(t)
	must(db.LimitAgent(ctx, actor, agent.ID, 3))(t)
	must(db.LimitRepository(ctx, actor, repository.ID, 2))(t)
	low, held, high := env.Submit(t, ws, corp.TaskSpec{}), env.Submit(t, ws, corp.TaskSpec{RepositoryID: &repository.ID}), env.Submit(t, ws, corp.TaskSpec{Priority: 7})
	env.Submit(t, ws, corp.TaskSpec{DelaySeconds: 60})
	env.Claim(t, ws, held.RunID)
	q := must(system.WorkspaceQueuesOf(ctx, []corp.WorkspaceID{ws}, 10))(t)[0]
	if q.Plan != "pro" || q.PlanWeight != 6 || q.Weight != 1 || q.Concurrency != 10 || q.Agents[agent.ID] != 3 || q.Repositories[repository.ID] != 2 {
		t.Errorf("%+v", q)
	}
	if len(q.Leased) != 1 || q.Leased[0].RunID != held.RunID || q.Leased[0].RepositoryID != repository.ID || q.Leased[0].AgentID != agent.ID || q.Leased[0].Epoch != 1 {
		t.Errorf("%+v", q.Leased)
	}
	if !slices.Equal(runsOf(q.Head), []corp.RunID{high.RunID, low.RunID}) || !q.Whole {
		t.Errorf("%+v", q.Head)
	}
	if q := must(system.WorkspaceQueuesOf(ctx, []corp.WorkspaceID{ws}, 1))(t)[0]; len(q.Head) != 1 || q.Whole {
		t.Errorf("%+v", q)
	}
	other := env.Workspace(t)
	var all []corp.WorkspaceID
	for after := (corp.WorkspaceID{}); ; {
		page := must(system.WorkspaceQueues(ctx, after, 1, 1))(t)
		if len(page) == 0 {
			break
		}
		after = page[0].Workspace
		all = append(all, after)
	}
	if !slices.Equal(all, []corp.WorkspaceID{ws, other}) {
		t.Errorf("page by page: %v", all)
	}
}

func TestAQueueIsReadOnFromAnyPlace(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ws, empty := env.Workspace(t), env.Workspace(t)
	for i := range 9 {
		env.Submit(t, ws, corp.TaskSpec{Priority: i % 3})
	}
	ctx, system := t.Context(), env.DB.System("test")
	whole := must(system.WorkspaceQueuesOf(ctx, []corp.WorkspaceID{ws}, 100))(t)[0].Head
	for i := range whole {
		from := postgres.Place{Workspace: ws, Priority: whole[i].Priority, CreatedAt: whole[i].CreatedAt, RunID: whole[i].RunID}
		got := must(system.QueueAfter(ctx, []postgres.Place{from, {Workspace: empty}, {Workspace: ws}}, 4))(t)
		if want := runsOf(whole[i+1 : min(i+5, len(whole))]); !slices.Equal(runsOf(got[0]), want) {
			t.Errorf("after %d: %v, want %v", i, runsOf(got[0]), want)
		}
		if len(got[1]) != 0 || !slices.Equal(runsOf(got[2]), runsOf(whole[:4])) {
			t.Errorf("of others: %v", got[1:])
		}
	}
}

func TestWhereARunStandsWhatWasQueuedLatelyAndWhatIsSoonDue(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ws := env.Workspace(t)
	ctx, system := t.Context(), env.DB.System("test")
	queued, old, leased, done := env.Submit(t, ws, corp.TaskSpec{}), env.Submit(t, ws, corp.TaskSpec{}), env.Submit(t, ws, corp.TaskSpec{}), env.Submit(t, ws, corp.TaskSpec{})
	soon, later := env.Submit(t, ws, corp.TaskSpec{DelaySeconds: 20}), env.Submit(t, ws, corp.TaskSpec{DelaySeconds: 2000})
	env.Exec(t, `UPDATE runs SET created_at = created_at - interval '1 hour' WHERE id = $1`, old.RunID)
	env.Claim(t, ws, leased.RunID)
	must(env.DB.In(ws).CancelTask(ctx, actor, done.ID))(t)
	refs := []postgres.RunRef{{Workspace: ws, RunID: done.RunID}, {Workspace: ws, RunID: leased.RunID}, {Workspace: ws, RunID: soon.RunID}, {Workspace: ws, RunID: corp.NewID[corp.RunID]()}}
	now := must(system.RunsNow(ctx, refs))(t)
	if now[0].Queued != nil || now[0].Leased != nil || now[1].Leased == nil || now[1].Leased.Epoch != 1 || now[2].Queued == nil || *now[2].Queued.DueInMS < 15_000 || now[3].Queued != nil || now[3].Leased != nil {
		t.Errorf("%+v", now)
	}
	if got := runsOf(must(system.Lately(ctx, time.Minute, 10))(t)); !slices.Equal(got, []corp.RunID{queued.RunID}) {
		t.Errorf("lately %v", got)
	}
	if got := runsOf(must(system.Soon(ctx, time.Minute, 10))(t)); !slices.Equal(got, []corp.RunID{soon.RunID}) {
		t.Errorf("soon %v", got)
	}
	if made := must(system.Ready(ctx, time.Minute, 10))(t); len(made) != 0 {
		t.Errorf("ready before its time: %v", made)
	}
	env.Exec(t, `UPDATE runs SET not_before = now() - interval '5 minutes' WHERE id = $1`, later.RunID)
	if made := must(system.Ready(ctx, time.Minute, 10))(t); !slices.Equal(made, []corp.WorkspaceID{ws}) {
		t.Errorf("ready in %v", made)
	}
	if q := must(system.WorkspaceQueuesOf(ctx, []corp.WorkspaceID{ws}, 10))(t)[0]; !slices.Contains(runsOf(q.Head), later.RunID) {
		t.Error("a run that was long due is no ordinary one")
	}
	counts := must(system.Counts(ctx))(t)
	if q := counts.Queue["unlimited"]; q.Depth != 3 || q.Oldest < 3000 || counts.Runs[corp.RunQueued] != 4 {
		t.Errorf("%+v", counts)
	}
}

func TestOffersAreReadEachInItsOwnWorkspace(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	one, two := env.Workspace(t), env.Workspace(t)
	a, b := env.Submit(t, one, corp.TaskSpec{Prompt: "one"}), env.Submit(t, two, corp.TaskSpec{Prompt: "two"})
	env.Claim(t, one, a.RunID)
	env.Claim(t, two, b.RunID)
	found := must(env.DB.System("test").Offers(t.Context(), []postgres.RunRef{
		{Workspace: one, RunID: a.RunID, Epoch: 1}, {Workspace: two, RunID: b.RunID, Epoch: 1}, {Workspace: one, RunID: b.RunID, Epoch: 1}, {Workspace: two, RunID: a.RunID, Epoch: 2},
	}))(t)
	if len(found) != 2 || found[a.RunID].Spec.Prompt != "one" || found[b.RunID].Spec.Prompt != "two" {
		t.Errorf("%+v", found)
	}
}

func TestRunnersThatMayPlaceARunAreThoseHeardOfLatelyThatTakeNewOnes(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ws, other := env.Workspace(t), env.Workspace(t)
	ctx, system := t.Context(), env.DB.System("test")
	spec := func(name string) corp.Registration {
		return corp.Registration{Protocols: []int{corp.ProtocolVersion}, Name: name, Instance: "instance-" + name, Slots: 2, Labels: []string{name}, Runtimes: []string{"builtin"}, Sandbox: "none", Version: "x"}
	}
	must(env.DB.In(ws).RegisterRunner(ctx, actor, spec("own")))(t)
	must(env.DB.In(other).RegisterRunner(ctx, actor, spec("foreign")))(t)
	must(system.RegisterPoolRunner(ctx, actor, spec("pool")))(t)
	silent := must(system.RegisterPoolRunner(ctx, actor, spec("silent")))(t)
	leaving := must(system.RegisterPoolRunner(ctx, actor, spec("leaving")))(t)
	ok(t, system.TouchRunner(ctx, leaving.ID, corp.WorkspaceID{}, 0, true))
	env.Exec(t, `UPDATE pool_runners SET seen_at = now() - interval '1 hour' WHERE id = $1`, silent.ID)
	var labels []string
	for _, r := range must(system.PlacingRunners(ctx, ws))(t) {
		labels = append(labels, r.Labels...)
		if r.WorkspaceID.IsZero() != (r.Labels[0] == "pool") {
			t.Errorf("%+v", r)
		}
	}
	if slices.Sort(labels); !slices.Equal(labels, []string{"own", "pool"}) {
		t.Error(labels)
	}
}

package postgres_test

import (
	"strings"
	"testing"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// under submits a task beneath another one.
func under(tb testing.TB, env *pgtest.Env, ws corp.WorkspaceID, parent corp.TaskID) corp.TaskID {
	tb.Helper()
	return env.Submit(tb, ws, corp.TaskSpec{ParentID: &parent}).ID
}

func TestCancellingATaskCancelsAllBeneathItAndWhatFollowsThat(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	root := env.Submit(t, ws, corp.TaskSpec{})
	env.Running(t, ws, root.RunID)
	queued, running, ended := under(t, env, ws, root.ID), under(t, env, ws, root.ID), under(t, env, ws, root.ID)
	beneathEnded, beneathRunning := under(t, env, ws, ended), under(t, env, ws, running)
	lease := env.Running(t, ws, must(db.Task(t.Context(), running))(t).RunID)
	carryOut(t, env, ws, ended, succeeded)
	blocked := env.Submit(t, ws, corp.TaskSpec{ParentID: &queued, After: []corp.Dependency{{TaskID: running}}}).ID
	follower := env.Submit(t, ws, corp.TaskSpec{After: []corp.Dependency{{TaskID: queued}}}).ID
	patient := env.Submit(t, ws, corp.TaskSpec{After: []corp.Dependency{{TaskID: running}, {TaskID: queued, OnFailure: corp.OnFailureContinue}}}).ID
	beside := env.Submit(t, ws, corp.TaskSpec{}).ID

	got := must(db.CancelTask(t.Context(), actor, root.ID))(t)
	if got.State != corp.TaskRunning || got.CancelAt == nil {
		t.Errorf("%+v", got)
	}
	for _, id := range []corp.TaskID{queued, blocked, beneathEnded, beneathRunning} {
		task := wantTask(t, db, id, corp.TaskCancelled, corp.ReasonCancelled)
		if !strings.Contains(task.Detail, "together with task") || task.CancelAt == nil {
			t.Errorf("%+v", task)
		}
	}
	wantTask(t, db, follower, corp.TaskCancelled, corp.ReasonDependencyFailed)
	wantTask(t, db, patient, corp.TaskBlocked, corp.ReasonDependency)
	wantTask(t, db, beside, corp.TaskQueued, corp.ReasonNone)
	wantTask(t, db, ended, corp.TaskSucceeded, corp.ReasonCompleted)
	if told := wantTask(t, db, running, corp.TaskRunning, corp.ReasonNone); told.CancelAt == nil {
		t.Error("a running task beneath is not told to stop")
	}
	must(db.FinishRun(t.Context(), lease.RunID, lease.Epoch, succeeded))(t)
	wantTask(t, db, running, corp.TaskCancelled, corp.ReasonCancelled)
	wantTask(t, db, patient, corp.TaskCancelled, corp.ReasonDependencyFailed)
	sound(t, env, ws)
	before := must(db.LastEvent(t.Context()))(t)
	must(db.CancelTask(t.Context(), actor, queued))(t)
	if after := must(db.LastEvent(t.Context()))(t); after != before {
		t.Error("cancelling what has ended is an event")
	}
	gapless(t, db)
}

// A run that ends cancelled by itself takes what is beneath its task along.
func TestATaskThatIsCancelledByItsRunnerTakesItsTreeAlong(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	root := env.Submit(t, ws, corp.TaskSpec{})
	part := under(t, env, ws, under(t, env, ws, root.ID))
	carryOut(t, env, ws, root.ID, corp.Outcome{State: corp.RunCancelled, Reason: corp.ReasonCancelled})
	wantTask(t, db, part, corp.TaskCancelled, corp.ReasonCancelled)
	failing := env.Submit(t, ws, corp.TaskSpec{})
	survivor := under(t, env, ws, failing.ID)
	carryOut(t, env, ws, failing.ID, failed(corp.ReasonCheckFailed))
	wantTask(t, db, survivor, corp.TaskQueued, corp.ReasonNone)
}

func TestAParentThatCanHaveNoPartsIsRefused(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	submit := func(parent corp.TaskID) error {
		_, _, err := db.SubmitTask(t.Context(), actor, corp.TaskSpec{Prompt: "p", RepositoryURL: someURL, ParentID: &parent}, postgres.Idempotency{})
		if err != nil && fieldOf(err) != "parent_id" {
			t.Errorf("the field is %q", fieldOf(err))
		}
		return err
	}
	done, stopping := env.Submit(t, ws, corp.TaskSpec{}), env.Submit(t, ws, corp.TaskSpec{})
	carryOut(t, env, ws, done.ID, succeeded)
	wantKind(t, submit(done.ID), corp.KindConflict)
	env.Running(t, ws, stopping.RunID)
	must(db.CancelTask(t.Context(), actor, stopping.ID))(t)
	wantKind(t, submit(stopping.ID), corp.KindConflict)
	wantKind(t, submit(corp.NewID[corp.TaskID]()), corp.KindNotFound)
	wantKind(t, submit(env.Submit(t, env.Workspace(t), corp.TaskSpec{}).ID), corp.KindNotFound)
	deep := env.Submit(t, ws, corp.TaskSpec{}).ID
	for range corp.MaxDepth - 1 {
		deep = under(t, env, ws, deep)
	}
	wantKind(t, submit(deep), corp.KindConflict)
}

func TestATreeIsShownWithEachParentBeforeItsParts(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	root := env.Submit(t, ws, corp.TaskSpec{Prompt: strings.Repeat("é", 300)}).ID
	a, b := under(t, env, ws, root), under(t, env, ws, root)
	aa, ba := under(t, env, ws, a), under(t, env, ws, b)
	tree := must(db.Tree(t.Context(), root, 100))(t)
	want := []struct {
		id    corp.TaskID
		depth int
	}{{root, 1}, {a, 2}, {aa, 3}, {b, 2}, {ba, 3}}
	if len(tree.Nodes) != len(want) || tree.More {
		t.Fatalf("%+v", tree)
	}
	for i, w := range want {
		if n := tree.Nodes[i]; n.TaskID != w.id || n.Depth != w.depth || n.State != corp.TaskQueued || n.Agent != "default" {
			t.Errorf("%d: %+v", i, n)
		}
	}
	if n := len([]rune(tree.Nodes[0].Prompt)); n != 200 {
		t.Errorf("%d characters of the prompt", n)
	}
	if some := must(db.Tree(t.Context(), root, 3))(t); len(some.Nodes) != 3 || !some.More {
		t.Errorf("%+v", some)
	}
	if parts := must(db.Tasks(t.Context(), corp.TaskFilter{Parent: root}, corp.Page{}))(t); len(parts.Items) != 2 {
		t.Errorf("%+v", parts)
	}
}

// However a submission falls into the cancelling of a tree, nothing beneath stays open.
func TestNothingSubmittedBeneathATreeThatIsCancelledStaysOpen(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	for range 15 {
		root := env.Submit(t, ws, corp.TaskSpec{}).ID
		middle := under(t, env, ws, root)
		leaf := under(t, env, ws, middle)
		together(t, 8, func(i int) error {
			if i == 0 {
				_, err := db.CancelTask(t.Context(), actor, root)
				return err
			}
			parent := []corp.TaskID{root, middle, leaf}[i%3]
			for range 3 { // a chain downwards
				task, _, err := db.SubmitTask(t.Context(), actor, corp.TaskSpec{Prompt: "p", RepositoryURL: someURL, ParentID: &parent}, postgres.Idempotency{})
				if corp.KindOf(err) == corp.KindConflict {
					return nil
				}
				if err != nil {
					return err
				}
				parent = task.ID
			}
			return nil
		})
		for _, n := range must(db.Tree(t.Context(), root, 1000))(t).Nodes {
			if n.State != corp.TaskCancelled {
				t.Errorf("%+v", n)
			}
		}
	}
	sound(t, env, ws)
}

func TestABatchIsCancelledTogether(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	b := submitBatch(t, db, part("a"), part("b", "a"), part("c"), part("d"))
	carryOut(t, env, ws, b.Tasks[2].TaskID, succeeded)
	lease := env.Running(t, ws, must(db.Task(t.Context(), b.Tasks[3].TaskID))(t).RunID)
	beneath := under(t, env, ws, b.Tasks[3].TaskID)
	status := must(db.CancelBatch(t.Context(), actor, b.ID))(t)
	if status.Open != 1 || status.States[corp.TaskCancelled] != 2 || status.States[corp.TaskSucceeded] != 1 || status.CreatedBy != actor {
		t.Errorf("%+v", status)
	}
	wantTask(t, db, beneath, corp.TaskCancelled, corp.ReasonCancelled)
	wantTask(t, db, b.Tasks[1].TaskID, corp.TaskCancelled, corp.ReasonCancelled)
	must(db.FinishRun(t.Context(), lease.RunID, lease.Epoch, failed(corp.ReasonAgentFailed)))(t)
	if status := must(db.Batch(t.Context(), b.ID))(t); status.Open != 0 || status.States[corp.TaskCancelled] != 3 {
		t.Errorf("%+v", status)
	}
	_, err := db.CancelBatch(t.Context(), actor, corp.NewID[corp.BatchID]())
	wantKind(t, err, corp.KindNotFound)
	sound(t, env, ws)
}

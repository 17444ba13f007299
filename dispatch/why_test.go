package dispatch_test

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/dispatch"
	"github.com/genericcorp/corp/postgres"
)

func TestWhyATaskWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ws, ctx := w.Workspace(t), t.Context()
	db := w.DB.In(ws)
	why := func(what string, task corp.Task, want corp.WaitCause) corp.Wait {
		t.Helper()
		var got corp.Wait
		waitFor(t, fmt.Sprintf("%s: the cause %s", what, want), func() bool {
			var err error
			got, err = w.d.Wait(ctx, ws, task.ID)
			return err == nil && got.Cause == want
		})
		if got.Detail == "" || got.TaskID != task.ID {
			t.Errorf("%s: %+v", what, got)
		}
		return got
	}
	first := submit(t, w.DB, ws, corp.TaskSpec{Labels: []string{"gpu"}})
	why("no runner has ever been heard of", first, corp.WaitNoRunner)
	registration := corp.Registration{Protocols: []int{corp.ProtocolVersion}, Name: "r", Instance: "instance", Slots: 4, Labels: []string{"gpu"}, Runtimes: []string{corp.RuntimeBuiltin}, Sandbox: "none", Version: "x"}
	registered, err := w.DB.System("test").RegisterPoolRunner(ctx, corp.ActorSystem, registration)
	if err != nil {
		t.Fatal(err)
	}
	why("its runner has nothing free", first, corp.WaitRunnersBusy)
	if err := w.DB.System("test").TouchRunner(ctx, registered.ID, corp.WorkspaceID{}, 4, false); err != nil {
		t.Fatal(err)
	}
	second := submit(t, w.DB, ws, corp.TaskSpec{Labels: []string{"gpu"}})
	if got := why("a runner is free", second, corp.WaitTurn); got.Position != 2 || got.AboutMS == nil {
		t.Errorf("%+v", got)
	}
	later := submit(t, w.DB, ws, corp.TaskSpec{DelaySeconds: 3600})
	if got := why("delayed", later, corp.WaitTime); got.Until == nil || *got.AboutMS < 3_590_000 {
		t.Errorf("%+v", got)
	}
	after := submit(t, w.DB, ws, corp.TaskSpec{After: []corp.Dependency{{TaskID: first.ID}}})
	why("after another", after, corp.WaitDependency)
	if _, err := db.LimitAgent(ctx, corp.ActorSystem, first.AgentID, 1); err != nil {
		t.Fatal(err)
	}
	if got := w.poll(t, w.d, poolRunner("gpu"), 1, 1, long); len(got) != 1 || got[0].RunID != first.RunID {
		t.Fatalf("offered %v", ids(got))
	}
	if got, err := w.d.Wait(ctx, ws, first.ID); err != nil || got.Cause != corp.WaitNothing || got.State != corp.TaskRunning {
		t.Errorf("%+v %v", got, err)
	}
	w.d.Wake(postgres.Notice{Kind: postgres.NoticeLimits, Workspace: ws})
	if got := why("its agent is at its limit", second, corp.WaitAgentLimit); got.Limit != 1 || got.InUse != 1 {
		t.Errorf("%+v", got)
	}
	one := 1
	if _, err := db.UpdateWorkspace(ctx, corp.ActorSystem, corp.WorkspaceUpdate{Concurrency: &one}); err != nil {
		t.Fatal(err)
	}
	w.d.Wake(postgres.Notice{Kind: postgres.NoticeLimits, Workspace: ws})
	why("the workspace is at its limit", second, corp.WaitWorkspaceLimit)
	if _, err := w.d.Wait(ctx, w.Workspace(t), first.ID); corp.KindOf(err) != corp.KindNotFound {
		t.Errorf("another workspace's task: %v", err)
	}
	follower := dispatch.New(w.DB, w.ring, corp.NewID[corp.ServerID](), "", times(), slog.New(slog.DiscardHandler))
	if _, err := follower.Wait(ctx, ws, second.ID); corp.KindOf(err) != corp.KindUnavailable {
		t.Errorf("a follower answered %v", err)
	}
	if got, err := follower.Wait(ctx, ws, later.ID); err != nil || got.Cause != corp.WaitTime {
		t.Errorf("a follower knows what only the rows say: %+v %v", got, err)
	}
}

// A runner says at its next heartbeat only that it is full.
func TestAWaitKnowsThatARunnerIsFullBeforeItSaysSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ws, ctx := w.Workspace(t), t.Context()
	registration := corp.Registration{Protocols: []int{corp.ProtocolVersion}, Name: "r", Instance: "instance", Slots: 1, Runtimes: []string{corp.RuntimeBuiltin}, Sandbox: "none", Version: "x"}
	registered, err := w.DB.System("test").RegisterPoolRunner(ctx, corp.ActorSystem, registration)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.DB.System("test").TouchRunner(ctx, registered.ID, corp.WorkspaceID{}, 1, false); err != nil {
		t.Fatal(err)
	}
	runner := poolRunner()
	runner.ID = registered.ID
	first, second := submit(t, w.DB, ws, corp.TaskSpec{}), submit(t, w.DB, ws, corp.TaskSpec{})
	if got := w.poll(t, w.d, runner, 1, 1, long); len(got) != 1 || got[0].RunID != first.RunID {
		t.Fatalf("offered %v", ids(got))
	}
	if got, err := w.d.Wait(ctx, ws, second.ID); err != nil || got.Cause != corp.WaitRunnersBusy {
		t.Errorf("%+v %v", got, err)
	}
}

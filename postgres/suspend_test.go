package postgres_test

import (
	"testing"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
)

// Control: before it was suspended and once it is resumed, all of it is handed out.
func TestOfASuspendedWorkspaceNothingIsHandedOut(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	ctx, system := t.Context(), env.DB.System("test")
	busy := env.Running(t, ws, env.Submit(t, ws, corp.TaskSpec{}).RunID)
	env.Submit(t, ws, corp.TaskSpec{})
	due := minutely(t, db, corp.MissedRunOnce)
	makeDue(t, env, due.ID, 0)
	slug := must(db.Workspace(ctx))(t).Slug
	check := func(suspended bool) {
		t.Helper()
		want := 1
		if suspended {
			want = 0
		}
		if n := len(must(system.WorkspaceQueuesOf(ctx, []corp.WorkspaceID{ws}, 10))(t)); n != want {
			t.Errorf("suspended %t: %d queues", suspended, n)
		}
		for _, q := range must(system.WorkspaceQueues(ctx, corp.WorkspaceID{}, 1000, 1))(t) {
			if suspended && q.Workspace == ws {
				t.Error("its queue is read with the others'")
			}
		}
		n := 0
		for _, s := range must(system.DueSchedules(ctx))(t) {
			if s.Workspace == ws {
				n++
			}
		}
		if n != want {
			t.Errorf("suspended %t: %d schedules are due", suspended, n)
		}
		run, err := env.DB.Auth().Run(ctx, busy.RunKeyHash)
		if suspended != (corp.KindOf(err) == corp.KindForbidden) || suspended != (run == postgres.RunIdentity{}) {
			t.Errorf("suspended %t: the run's key: %+v, %v", suspended, run, err)
		}
	}
	check(false)
	first := must(system.Suspend(ctx, slug, true))(t)
	again := must(system.Suspend(ctx, ws.String(), true))(t)
	if first.SuspendedAt == nil || !first.SuspendedAt.Equal(*again.SuspendedAt) || first.ID != ws || first.ArchivedAt != nil {
		t.Errorf("%+v, and again %+v", first, again)
	}
	check(true)
	for range 2 {
		if back := must(system.Suspend(ctx, slug, false))(t); back.SuspendedAt != nil {
			t.Errorf("resumed: %+v", back)
		}
	}
	check(false)
	if _, err := system.Suspend(ctx, "nobody-s", true); corp.KindOf(err) != corp.KindNotFound {
		t.Errorf("a workspace that is not there: %v", err)
	}
	// What the owner may do to the row does not reach it.
	for _, statement := range []string{`UPDATE workspaces SET suspended_at = NULL`, `UPDATE workspaces SET suspended_at = now()`} {
		app := connect(t, env.AppURL)
		if _, err := app.Exec(ctx, statement); err == nil {
			t.Errorf("the application's role may: %s", statement)
		}
	}
}

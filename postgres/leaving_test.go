package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/people"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// contents is how many rows each table has of a workspace, and a sum of them.
func contents(t *testing.T, super *pgx.Conn, ws corp.WorkspaceID) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, table := range tenantTables(t, super) {
		var rows string
		ok(t, super.QueryRow(t.Context(), `SELECT count(*) || ' ' || coalesce(md5(string_agg(x::text, '|' ORDER BY x::text)), '') FROM `+table+` x WHERE workspace_id = $1`, ws).Scan(&rows))
		found[table] = rows
	}
	return found
}

// purge does what a server's loop does, so many rows at a time.
func purge(ctx context.Context, system people.System, ws corp.WorkspaceID, atOnce int) (gone bool, err error) {
	for {
		removed, due, err := system.PurgeWorkspace(ctx, ws, atOnce)
		if err != nil || !due {
			return false, err
		}
		if removed == 0 {
			return system.BuryWorkspace(ctx, ws)
		}
	}
}

// T2: nothing of a deleted workspace stays but its audit log, and nothing of its
// neighbour goes.
// Attack case 65. Control: the neighbour keeps every row, and before its time nothing is removed.
func TestADeletedWorkspaceLeavesNothingBehindInAnyTable(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	super, system := connect(t, env.SuperURL), people.New(env.DB.Door()).System("test")
	doomed, neighbour := env.Workspace(t), env.Workspace(t)
	furnish(t, env, doomed)
	furnish(t, env, neighbour)
	parent := env.Submit(t, doomed, corp.TaskSpec{}) // each beneath the other
	for range 5 {
		parent = env.Submit(t, doomed, corp.TaskSpec{ParentID: &parent.ID})
	}
	before := contents(t, super, neighbour)
	for table, rows := range contents(t, super, doomed) {
		if strings.HasPrefix(rows, "0 ") {
			t.Fatalf("%s is empty: let furnish put a row there, else this proves nothing", table)
		}
	}
	for _, notDue := range []string{`NULL`, `now() + interval '1 hour'`} {
		env.Exec(t, `UPDATE workspaces SET archived_at = now(), delete_after = `+notDue+` WHERE workspace_id = $1`, doomed)
		if gone, err := purge(t.Context(), system, doomed, 100); err != nil || gone {
			t.Fatalf("purged before its time (%s): %t, %v", notDue, gone, err)
		}
		if gone, err := system.BuryWorkspace(t.Context(), doomed); err != nil || gone {
			t.Fatalf("buried before its time (%s): %t, %v", notDue, gone, err)
		}
	}
	env.Exec(t, `UPDATE workspaces SET delete_after = now() WHERE workspace_id = $1`, doomed)
	if gone, err := system.BuryWorkspace(t.Context(), doomed); err == nil || gone {
		t.Errorf("buried with what is in it: %t, %v", gone, err)
	}
	audit := contents(t, super, doomed)
	if gone, err := purge(t.Context(), system, doomed, 2); err != nil || !gone {
		t.Fatalf("%t, %v", gone, err)
	}
	for table, rows := range contents(t, super, doomed) {
		if strings.HasPrefix(table, "audit") {
			if rows != audit[table] {
				t.Errorf("%s was changed: %s, then %s", table, audit[table], rows)
			}
		} else if rows != "0 " {
			t.Errorf("%s has still %s", table, rows)
		}
	}
	for table, rows := range contents(t, super, neighbour) {
		if rows != before[table] {
			t.Errorf("the neighbour's %s was changed: %s, then %s", table, before[table], rows)
		}
	}
	told := pgtest.Value[int](t, env, `SELECT count(*) FROM audit_events WHERE operation = 'purgeWorkspace' AND target = $1 AND workspace_id = '00000000-0000-0000-0000-000000000000'`, doomed.String())
	if told != 1 {
		t.Errorf("the installation's log tells of it %d times", told)
	}
}

func TestAWorkspaceWithARunUnderWayIsNotPurgedYet(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	system, ws := people.New(env.DB.Door()).System("test"), env.Workspace(t)
	task := env.Submit(t, ws, corp.TaskSpec{})
	lease := env.Running(t, ws, task.RunID)
	env.Exec(t, `UPDATE workspaces SET archived_at = now(), delete_after = now() WHERE workspace_id = $1`, ws)
	if gone, err := purge(t.Context(), system, ws, 100); err != nil || gone {
		t.Fatalf("%t, %v", gone, err)
	}
	if n := pgtest.Value[int](t, env, `SELECT count(*) FROM agents WHERE workspace_id = $1`, ws); n == 0 {
		t.Error("rows are gone all the same")
	}
	must(env.DB.In(ws).FinishRun(t.Context(), task.RunID, lease.Epoch, corp.Outcome{State: corp.RunFailed, Reason: corp.ReasonAgentFailed}))(t)
	if gone, err := purge(t.Context(), system, ws, 100); err != nil || !gone {
		t.Errorf("after the run: %t, %v", gone, err)
	}
}

// Two servers purge at once, and a third is broken off as soon as one is done. The third
// may have removed the last row and not have heard of it: the log says how often that was.
func TestPurgingAtOnceAndBrokenOffRemovesEverythingOnce(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	system := people.New(env.DB.Door()).System("test")
	ws := env.Workspace(t)
	furnish(t, env, ws)
	env.Exec(t, `UPDATE workspaces SET archived_at = now(), delete_after = now() WHERE workspace_id = $1`, ws)
	broken, stop := context.WithCancel(t.Context())
	defer stop()
	type end struct {
		gone bool
		err  error
	}
	ends := make(chan end, 3)
	for i, ctx := range []context.Context{t.Context(), t.Context(), broken} {
		go func() {
			gone, err := purge(ctx, system, ws, 1)
			if i == 0 {
				stop()
			}
			ends <- end{gone, err}
		}()
	}
	heard := 0
	for range 3 {
		e := <-ends
		if e.err != nil && !errors.Is(e.err, context.Canceled) {
			t.Error(e.err)
		}
		if e.gone {
			heard++
		}
	}
	left := pgtest.Value[int](t, env, `SELECT count(*) FROM workspaces WHERE workspace_id = $1`, ws)
	told := pgtest.Value[int](t, env, `SELECT count(*) FROM audit_events WHERE operation = 'purgeWorkspace' AND target = $1`, ws.String())
	if left != 0 || told != 1 || heard > 1 {
		t.Errorf("%d workspaces are left; it was removed %d times by the log, and %d of those who did it heard so", left, told, heard)
	}
}

// Attack case 64. Control: 90 days after the deletion the name is free.
func TestTheNameOfADeletedWorkspaceIsNobodysForAWhile(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	system, names := people.New(env.DB.Door()).System("test"), env.DB.System("test")
	create := func() (corp.Workspace, error) {
		return names.CreateWorkspace(t.Context(), actor, "acme", "Acme", "free")
	}
	for i := range 2 { // the second time with the first one's row still there
		made := must(create())(t)
		_, err := create()
		wantKind(t, err, corp.KindConflict)
		env.Exec(t, `UPDATE workspaces SET archived_at = now(), delete_after = now() WHERE workspace_id = $1`, made.ID)
		_, err = create()
		wantKind(t, err, corp.KindConflict)
		if gone, err := purge(t.Context(), system, made.ID, 100); err != nil || !gone {
			t.Fatalf("%t, %v", gone, err)
		}
		_, err = create()
		wantKind(t, err, corp.KindConflict)
		must(names.CreateWorkspace(t.Context(), actor, fmt.Sprintf("acme-%d", i), "Another", "free"))(t)
		env.Exec(t, `UPDATE former_slugs SET since = now() - interval '91 days'`)
	}
	must(create())(t)
	other := must(names.CreateWorkspace(t.Context(), actor, "other", "Other", "free"))(t)
	env.Exec(t, `UPDATE workspaces SET archived_at = now(), delete_after = now() WHERE workspace_id = $1`, other.ID)
	if gone, err := purge(t.Context(), system, other.ID, 100); err != nil || !gone {
		t.Fatalf("%t, %v", gone, err)
	}
	if left := pgtest.Value[[]string](t, env, `SELECT array_agg(slug) FROM former_slugs`); len(left) != 1 || left[0] != "other" {
		t.Errorf("names are kept beyond their time: %v", left)
	}
}

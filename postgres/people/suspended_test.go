package people_test

import (
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/people"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// The operator's suspension and the owner's deletion are two things: resuming restores
// nothing, restoring resumes nothing, and what is suspended is not purged meanwhile.
func TestSuspendingAndDeletingUndoNothingOfEachOther(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	s, operator, ctx := people.New(env.DB.Door()), env.DB.System("test"), t.Context()
	ws, ada := env.Workspace(t), join(t, s)
	member(t, s, ws, ada, corp.RoleOwner)
	was := must(s.In(ws).DeleteWorkspace(ctx, "x", ada.id, time.Hour))(t)
	must(operator.Suspend(ctx, ws.String(), true))(t)
	if back := must(operator.Suspend(ctx, ws.String(), false))(t); back.ArchivedAt == nil || back.SuspendedAt != nil {
		t.Errorf("resumed: %+v", back)
	}
	if got := pgtest.Value[time.Time](t, env, `SELECT delete_after FROM workspaces WHERE workspace_id = $1`, ws); !got.Equal(was.At) {
		t.Errorf("it is deleted at %s, and no more at %s", got, was.At)
	}
	must(operator.Suspend(ctx, ws.String(), true))(t)
	ok(t, s.Of(ada.id).Restore(ctx, ws))
	if got := must(env.DB.In(ws).Workspace(ctx))(t); got.SuspendedAt == nil || got.ArchivedAt != nil {
		t.Errorf("restored: %+v", got)
	}
	// Deleted while it is suspended, and due: it waits.
	must(s.In(ws).DeleteWorkspace(ctx, "x", ada.id, time.Hour))(t)
	env.Exec(t, `UPDATE workspaces SET delete_after = now() WHERE workspace_id = $1`, ws)
	system := s.System("test")
	if due := must(system.Doomed(ctx, 10))(t); len(due) != 0 {
		t.Errorf("due although it is suspended: %v", due)
	}
	if n, due, err := system.PurgeWorkspace(ctx, ws, 100); n != 0 || due || err != nil {
		t.Errorf("purged although it is suspended: %d, %t, %v", n, due, err)
	}
	must(operator.Suspend(ctx, ws.String(), false))(t)
	if due := must(system.Doomed(ctx, 10))(t); len(due) != 1 {
		t.Errorf("resumed: %v", due)
	}
	if _, due, err := system.PurgeWorkspace(ctx, ws, 100); !due || err != nil {
		t.Errorf("resumed, and not purged: %t, %v", due, err)
	}
}

// Who is in a suspended workspace sees that it is, and cannot work in it; where they
// are elsewhere, too, they work there.
func TestNobodyWorksInASuspendedWorkspace(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	s, operator, ctx := people.New(env.DB.Door()), env.DB.System("test"), t.Context()
	ada := join(t, s)
	one, other := env.Workspace(t), env.Workspace(t)
	member(t, s, one, ada, corp.RoleOwner)
	secret := hash()
	must(s.In(one).Invite(ctx, "system", join(t, s).email, corp.RoleViewer, secret, time.Hour))(t)
	must(operator.Suspend(ctx, one.String(), true))(t)

	in := cli(hash())
	must(s.Of(ada.id).SignIn(ctx, people.Proof{Password: "argon:1"}, in))(t)
	if who := must(s.BySession(ctx, in.ID))(t); !who.Suspended || who.Workspace != one || who.May(corp.WorkspaceRead) {
		t.Errorf("signed in to the only workspace, which is suspended: %+v", who)
	}
	if _, there, err := s.Invitation(ctx, secret); there || err != nil {
		t.Errorf("its invitation: %t, %v", there, err)
	}
	member(t, s, other, ada, corp.RoleViewer)
	in = cli(hash())
	must(s.Of(ada.id).SignIn(ctx, people.Proof{Password: "argon:1"}, in))(t)
	if who := must(s.BySession(ctx, in.ID))(t); who.Suspended || who.Workspace != other {
		t.Errorf("signed in to two workspaces: %+v", who)
	}
	wantKind(t, s.Of(ada.id).WorkIn(ctx, in.ID, one), corp.KindForbidden, corp.CodeSuspended)
	wantKind(t, s.Of(ada.id).WorkIn(ctx, in.ID, env.Workspace(t)), corp.KindNotFound, "")
	mine := must(s.Of(ada.id).Workspaces(ctx))(t)
	if len(mine) != 2 || mine[0].SuspendedAt != nil || mine[1].SuspendedAt == nil {
		t.Errorf("%+v", mine)
	}
	must(operator.Suspend(ctx, one.String(), false))(t)
	ok(t, s.Of(ada.id).WorkIn(ctx, in.ID, one))
	if _, there, err := s.Invitation(ctx, secret); !there || err != nil {
		t.Errorf("resumed: its invitation: %t, %v", there, err)
	}
}

// Who belongs to a suspended workspace, and what stands in it, may be evidence: it stays as it
// is, whatever was decided before. Control: resumed, it goes.
func TestNothingOfASuspendedWorkspaceGoes(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	s, operator, ctx := people.New(env.DB.Door()), env.DB.System("test"), t.Context()
	ws, ada, grace := env.Workspace(t), join(t, s), join(t, s)
	w := s.In(ws)
	member(t, s, ws, ada, corp.RoleOwner)
	member(t, s, ws, grace, corp.RoleMember)
	must(operator.Suspend(ctx, ws.String(), true))(t)
	_, err := w.SetRole(ctx, "x", corp.RoleOwner, grace.id, corp.RoleAdmin)
	wantKind(t, err, corp.KindForbidden, corp.CodeSuspended)
	wantKind(t, w.HandOver(ctx, "x", ada.id, grace.id), corp.KindForbidden, corp.CodeSuspended)
	wantKind(t, w.RemoveMember(ctx, "x", corp.RoleOwner, grace.id), corp.KindForbidden, corp.CodeSuspended)

	must(s.Of(grace.id).AskDeletion(ctx, time.Hour))(t)
	must(w.DeleteWorkspace(ctx, "x", ada.id, time.Hour))(t)
	env.Exec(t, `UPDATE users SET delete_after = now() WHERE user_id = $1`, grace.id)
	env.Exec(t, `UPDATE workspaces SET delete_after = now() WHERE workspace_id = $1`, ws)
	rows := func() int {
		return pgtest.Value[int](t, env, `SELECT (SELECT count(*) FROM workspaces WHERE workspace_id = $1) + (SELECT count(*) FROM members WHERE workspace_id = $1) + (SELECT count(*) FROM agents WHERE workspace_id = $1)`, ws)
	}
	purge := func() {
		t.Helper()
		for range 40 { // as who has found it due a moment before it was suspended
			if n := pgtest.Value[*int64](t, env, `SELECT purge_workspace($1, 1000)`, ws); n == nil || *n == 0 {
				break
			}
		}
		must(s.System("test").BuryWorkspace(ctx, ws))(t)
	}
	before := rows()
	if gone := must(s.System("test").PurgePerson(ctx, grace.id))(t); gone || len(must(s.System("test").Leaving(ctx, 10))(t)) > 0 {
		t.Error("a member of a suspended workspace is due")
	}
	if purge(); rows() != before {
		t.Errorf("%d rows of %d are left of a suspended workspace", rows(), before)
	}
	must(operator.Suspend(ctx, ws.String(), false))(t)
	if gone := must(s.System("test").PurgePerson(ctx, grace.id))(t); !gone {
		t.Error("resumed, they are not due")
	}
	if purge(); rows() != 0 {
		t.Errorf("resumed, %d rows are left", rows())
	}
}

// Whoever is about to be forgotten while their workspace is being suspended is not.
func TestWhoIsInAWorkspaceThatIsBeingSuspendedStays(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	s, ws := people.New(env.DB.Door()), env.Workspace(t)
	who := join(t, s)
	member(t, s, ws, who, corp.RoleMember)
	env.Exec(t, `UPDATE users SET delete_after = now() WHERE user_id = $1`, who.id)
	release, done := hold(t, env, `UPDATE workspaces SET suspended_at = now() WHERE workspace_id = $1`, ws), make(chan bool)
	go func() {
		gone, err := s.System("test").PurgePerson(t.Context(), who.id)
		if err != nil {
			t.Error(err)
		}
		done <- gone
	}()
	waiting(t, env, 1)
	release()
	if <-done {
		t.Error("they are gone")
	}
}

// Whoever has left a workspace before it was suspended, or was only invited, is part of
// what it holds.
func TestWhoWasInASuspendedWorkspaceIsNotForgottenMeanwhile(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	s := people.New(env.DB.Door())
	for name, touch := range map[string]func(t *testing.T, ws corp.WorkspaceID, who someone){
		"a key of theirs": func(t *testing.T, ws corp.WorkspaceID, who someone) {
			t.Helper()
			env.Exec(t, `INSERT INTO api_keys (workspace_id, id, user_id, name, role, prefix, hash, created_by) VALUES ($1, $2, $3, 'a', 'member', 'p', $4, 'test')`, ws, corp.NewID[corp.APIKeyID](), who.id, hash())
		},
		"an invitation to them": func(t *testing.T, ws corp.WorkspaceID, who someone) {
			t.Helper()
			must(s.In(ws).Invite(t.Context(), "system", who.email, corp.RoleViewer, hash(), time.Hour))(t)
		},
	} {
		ws, who := env.Workspace(t), join(t, s)
		touch(t, ws, who)
		env.Exec(t, `UPDATE users SET delete_after = now() WHERE user_id = $1`, who.id)
		must(env.DB.System("test").Suspend(t.Context(), ws.String(), true))(t)
		if gone := must(s.System("test").PurgePerson(t.Context(), who.id))(t); gone || len(must(s.System("test").Leaving(t.Context(), 10))(t)) > 0 {
			t.Errorf("%s: they are due", name)
		}
		must(env.DB.System("test").Suspend(t.Context(), ws.String(), false))(t)
		if gone := must(s.System("test").PurgePerson(t.Context(), who.id))(t); !gone {
			t.Errorf("%s: resumed, they are not due", name)
		}
	}
}

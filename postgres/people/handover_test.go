package people_test

import (
	"sync"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/people"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// ruled are those who own a workspace and are not about to leave.
func ruled(t *testing.T, ws corp.WorkspaceID) int {
	t.Helper()
	return pgtest.Value[int](t, pgtest.New(t), `SELECT count(*) FROM members m JOIN users u USING (user_id) WHERE workspace_id = $1 AND role = 'owner' AND u.delete_after IS NULL`, ws)
}

// Fifty times an owner hands over while the heir, or somebody else, does something that
// crosses it: somebody who stays owns it in the end.
// Attack case 60. Control: one of the two is done.
func TestAHandOverThatIsCrossedLeavesAnOwner(t *testing.T) {
	t.Parallel()
	for name, cross := range map[string]func(t *testing.T, s *people.Store, w people.Workspace, owner, heir, other someone) error{
		"the heir deletes the account": func(t *testing.T, s *people.Store, _ people.Workspace, _, heir, _ someone) error {
			t.Helper()
			_, err := s.Of(heir.id).AskDeletion(t.Context(), time.Hour)
			return err
		},
		"the heir leaves": func(t *testing.T, _ *people.Store, w people.Workspace, _, heir, _ someone) error {
			t.Helper()
			return w.RemoveMember(t.Context(), "x", corp.RoleOwner, heir.id)
		},
		"the owner deletes the account": func(t *testing.T, s *people.Store, _ people.Workspace, owner, _, _ someone) error {
			t.Helper()
			_, err := s.Of(owner.id).AskDeletion(t.Context(), time.Hour)
			return err
		},
		"it is handed over to another": func(t *testing.T, _ *people.Store, w people.Workspace, owner, _, other someone) error {
			t.Helper()
			return w.HandOver(t.Context(), "x", owner.id, other.id)
		},
		"the heir hands it on": func(t *testing.T, _ *people.Store, w people.Workspace, _, heir, other someone) error {
			t.Helper()
			return w.HandOver(t.Context(), "x", heir.id, other.id)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := store(t)
			for range 50 {
				ws, owner, heir, other := pgtest.Workspace(t), join(t, s), join(t, s), join(t, s)
				member(t, s, ws, owner, corp.RoleOwner)
				member(t, s, ws, heir, corp.RoleMember)
				member(t, s, ws, other, corp.RoleViewer)
				var both sync.WaitGroup
				var given, crossed error
				both.Go(func() { given = s.In(ws).HandOver(t.Context(), "x", owner.id, heir.id) })
				both.Go(func() { crossed = cross(t, s, s.In(ws), owner, heir, other) })
				both.Wait()
				if n := ruled(t, ws); n != 1 {
					t.Fatalf("%d own it: %v and %v", n, given, crossed)
				}
				if given != nil && crossed != nil {
					t.Fatalf("neither was done: %v and %v", given, crossed)
				}
			}
		})
	}
}

// Nobody but a member who stays is handed a workspace, and only who owns it gives it.
func TestAWorkspaceIsHandedOverToAMemberWhoStays(t *testing.T) {
	t.Parallel()
	s, ctx, ws := store(t), t.Context(), pgtest.Workspace(t)
	w, owner, heir, stranger := s.In(ws), join(t, s), join(t, s), join(t, s)
	member(t, s, ws, owner, corp.RoleOwner)
	member(t, s, ws, heir, corp.RoleViewer)
	refused := func(from, to corp.UserID, kind corp.Kind, code string) {
		t.Helper()
		wantKind(t, w.HandOver(ctx, "x", from, to), kind, code)
		if n := ruled(t, ws); n != 1 {
			t.Fatalf("%d own it", n)
		}
	}
	refused(owner.id, owner.id, corp.KindInvalid, "")
	refused(owner.id, stranger.id, corp.KindNotFound, "")
	refused(owner.id, corp.NewID[corp.UserID](), corp.KindNotFound, "")
	refused(heir.id, owner.id, corp.KindForbidden, "")
	refused(stranger.id, heir.id, corp.KindNotFound, "")
	ok(t, s.System("test").Disable(ctx, heir.id, true))
	refused(owner.id, heir.id, corp.KindConflict, "heir_leaves")
	ok(t, s.System("test").Disable(ctx, heir.id, false))
	must(s.Of(heir.id).AskDeletion(ctx, time.Hour))(t)
	refused(owner.id, heir.id, corp.KindConflict, "heir_leaves")
	second := join(t, s)
	member(t, s, ws, second, corp.RoleOwner)
	wantKind(t, w.HandOver(ctx, "x", owner.id, heir.id), corp.KindConflict, "heir_leaves") // whoever else owns it
	ok(t, w.RemoveMember(ctx, "x", corp.RoleOwner, second.id))
	must(s.Of(heir.id).SignIn(ctx, people.Proof{Password: "argon:1"}, cli(hash())))(t)
	ok(t, w.HandOver(ctx, "x", owner.id, heir.id))
	refused(owner.id, heir.id, corp.KindForbidden, "")
	if _, err := w.DeleteWorkspace(ctx, "x", owner.id, time.Hour); corp.KindOf(err) != corp.KindForbidden {
		t.Errorf("who gave it away deletes it: %v", err)
	}
}

// Fifty times a workspace is deleted by its owner and handed over at once: who owns it
// then can restore it, and who does not cannot.
func TestWhoWasGivenADeletedWorkspaceRestoresIt(t *testing.T) {
	t.Parallel()
	s, ctx := store(t), t.Context()
	for range 50 {
		ws, owner, heir := pgtest.Workspace(t), join(t, s), join(t, s)
		w := s.In(ws)
		member(t, s, ws, owner, corp.RoleOwner)
		member(t, s, ws, heir, corp.RoleViewer)
		var both sync.WaitGroup
		var given, deleted error
		both.Go(func() { given = w.HandOver(ctx, "x", owner.id, heir.id) })
		both.Go(func() { _, deleted = w.DeleteWorkspace(ctx, "x", owner.id, time.Hour) })
		both.Wait()
		ok(t, given)
		if deleted != nil {
			wantKind(t, deleted, corp.KindForbidden, "")
			continue
		}
		wantKind(t, s.Of(owner.id).Restore(ctx, ws), corp.KindNotFound, "")
		ok(t, s.Of(heir.id).Restore(ctx, ws))
	}
}

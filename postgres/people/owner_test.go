package people_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/people"
	"github.com/genericcorp/corp/postgres/pgtest"
)

func TestAWorkspaceAlwaysHasAnOwner(t *testing.T) {
	t.Parallel()
	s, ctx := store(t), t.Context()
	for range 10 {
		ws := pgtest.Workspace(t)
		w := s.In(ws)
		ada, bob := join(t, s), join(t, s)
		member(t, s, ws, ada, corp.RoleOwner)
		member(t, s, ws, bob, corp.RoleOwner)
		errs := make([]error, 2)
		var all sync.WaitGroup
		all.Go(func() { errs[0] = w.RemoveMember(ctx, "x", corp.RoleOwner, ada.id) })
		all.Go(func() { _, errs[1] = w.SetRole(ctx, "x", corp.RoleOwner, bob.id, corp.RoleViewer) })
		all.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Fatalf("%v, %v", errs[0], errs[1])
		}
		wantKind(t, errors.Join(errs...), corp.KindConflict, "last_owner")
	}
	ws, ada := pgtest.Workspace(t), join(t, s)
	member(t, s, ws, ada, corp.RoleOwner)
	_, err := s.In(ws).SetRole(ctx, "x", corp.RoleOwner, ada.id, corp.RoleViewer)
	wantKind(t, err, corp.KindConflict, "last_owner")
	wantKind(t, s.In(ws).RemoveMember(ctx, "x", corp.RoleOwner, ada.id), corp.KindConflict, "last_owner")
}

// Fifty owners are taken out, demoted and leave, all at once, by each other: somebody
// is still the owner.
// Attack case 60. Control: all the others were taken out.
func TestOfFiftyOwnersWhoGoAtOnceOneStays(t *testing.T) {
	t.Parallel()
	s, ctx := store(t), t.Context()
	ws := pgtest.Workspace(t)
	w := s.In(ws)
	owners := make([]someone, 50)
	for i := range owners {
		owners[i] = join(t, s)
		member(t, s, ws, owners[i], corp.RoleOwner)
	}
	var all sync.WaitGroup
	errs := make([]error, len(owners))
	for i, who := range owners {
		all.Go(func() {
			switch i % 2 {
			case 0:
				errs[i] = w.RemoveMember(ctx, "x", corp.RoleOwner, who.id)
			default:
				_, errs[i] = w.SetRole(ctx, "x", corp.RoleOwner, who.id, corp.RoleViewer)
			}
		})
	}
	all.Wait()
	refused := 0
	for _, err := range errs {
		if err != nil {
			refused++
			wantKind(t, err, corp.KindConflict, "last_owner")
		}
	}
	left := 0
	for _, m := range must(w.Members(ctx, corp.Page{Limit: corp.MaxPage}))(t).Items {
		if m.Role == corp.RoleOwner {
			left++
		}
	}
	if left != 1 || refused != 1 {
		t.Errorf("%d owners are left, %d were refused, want one each", left, refused)
	}
}

// Who may give a role no more has not given it in advance either.
// Attack case 60. Control: while the giver may, the same invitation is accepted.
func TestAnInvitationEndsWithTheRightToGiveIt(t *testing.T) {
	t.Parallel()
	s, ctx := store(t), t.Context()
	for name, c := range map[string]struct {
		end  func(t *testing.T, w people.Workspace, ws corp.WorkspaceID, giver corp.UserID, key corp.APIKeyID)
		by   string
		role corp.Role
		ok   bool
	}{
		"nothing happened":  {by: "giver", role: corp.RoleOwner, ok: true},
		"nothing, by a key": {by: "key", role: corp.RoleAdmin, ok: true},
		"removed": {func(t *testing.T, w people.Workspace, _ corp.WorkspaceID, g corp.UserID, _ corp.APIKeyID) {
			t.Helper()
			ok(t, w.RemoveMember(ctx, "x", corp.RoleOwner, g))
		}, "giver", corp.RoleViewer, false},
		"demoted": {func(t *testing.T, w people.Workspace, _ corp.WorkspaceID, g corp.UserID, _ corp.APIKeyID) {
			t.Helper()
			must(w.SetRole(ctx, "x", corp.RoleOwner, g, corp.RoleAdmin))(t)
		}, "giver", corp.RoleOwner, false},
		"demoted, to that much": {func(t *testing.T, w people.Workspace, _ corp.WorkspaceID, g corp.UserID, _ corp.APIKeyID) {
			t.Helper()
			must(w.SetRole(ctx, "x", corp.RoleOwner, g, corp.RoleAdmin))(t)
		}, "giver", corp.RoleAdmin, true},
		"the key was revoked": {func(t *testing.T, _ people.Workspace, ws corp.WorkspaceID, _ corp.UserID, k corp.APIKeyID) {
			t.Helper()
			_, err := pgtest.DB(t).In(ws).RevokeAPIKey(ctx, "x", corp.UserID{}, k)
			ok(t, err)
		}, "key", corp.RoleAdmin, false},
		"nothing, by the giver's key": {by: "giver's key", role: corp.RoleAdmin, ok: true},
		"the giver's key was revoked": {func(t *testing.T, _ people.Workspace, ws corp.WorkspaceID, _ corp.UserID, k corp.APIKeyID) {
			t.Helper()
			_, err := pgtest.DB(t).In(ws).RevokeAPIKey(ctx, "x", corp.UserID{}, k)
			ok(t, err)
		}, "giver's key", corp.RoleAdmin, false},
		"the giver is removed, and the key good": {func(t *testing.T, w people.Workspace, _ corp.WorkspaceID, g corp.UserID, _ corp.APIKeyID) {
			t.Helper()
			ok(t, w.RemoveMember(ctx, "x", corp.RoleOwner, g))
		}, "giver's key", corp.RoleViewer, false},
		"kept out": {func(t *testing.T, _ people.Workspace, _ corp.WorkspaceID, g corp.UserID, _ corp.APIKeyID) {
			t.Helper()
			ok(t, s.System("test").Disable(ctx, g, true))
		}, "giver", corp.RoleOwner, false},
		"leaving": {func(t *testing.T, _ people.Workspace, _ corp.WorkspaceID, g corp.UserID, _ corp.APIKeyID) {
			t.Helper()
			must(s.Of(g).AskDeletion(ctx, time.Hour))(t)
		}, "giver", corp.RoleOwner, false},
		"the session was taken away": {func(t *testing.T, _ people.Workspace, _ corp.WorkspaceID, g corp.UserID, _ corp.APIKeyID) {
			t.Helper()
			must(s.System("test").SignOut(ctx, g))(t)
		}, "giver's session", corp.RoleAdmin, false},
		"nothing, by the giver's session": {by: "giver's session", role: corp.RoleAdmin, ok: true},
		"the key has expired": {func(t *testing.T, _ people.Workspace, _ corp.WorkspaceID, _ corp.UserID, k corp.APIKeyID) {
			t.Helper()
			pgtest.New(t).Exec(t, `UPDATE api_keys SET expires_at = now() WHERE id = $1`, k.UUID())
		}, "key", corp.RoleAdmin, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ws := pgtest.Workspace(t)
			w, giver, guest, owner := s.In(ws), join(t, s), join(t, s), join(t, s)
			member(t, s, ws, owner, corp.RoleOwner)
			member(t, s, ws, giver, corp.RoleOwner)
			key := must(pgtest.DB(t).In(ws).CreateAPIKey(ctx, "x", corp.APIKey{Name: "k", Role: corp.RoleAdmin}, hash()))(t).ID
			by := corp.Actor(giver.id.String())
			switch c.by {
			case "key":
				by = corp.Actor(key.String())
			case "giver's key":
				w = w.For(corp.Actor(key.String()), nil)
			case "giver's session":
				w = w.For(corp.Actor(giver.session.String()), nil)
			}
			for _, known := range []bool{true, false} { // somebody with an account, and somebody new
				email := guest.email
				if !known {
					email = unique("new-") + "@example.com"
				}
				secret := hash()
				must(w.Invite(ctx, by, email, c.role, secret, time.Hour))(t)
				if c.end != nil && known {
					c.end(t, w, ws, giver.id, key)
				}
				var err error
				if known {
					_, err = s.Of(guest.id).Accept(ctx, secret)
				} else {
					err = s.Of(corp.NewID[corp.UserID]()).Join(ctx, people.NewUser{Invitation: secret, Name: "New", PasswordHash: "x"}, cli(hash()))
				}
				if (err == nil) != c.ok {
					t.Errorf("an account there already: %t: %v", known, err)
				}
				if !c.ok {
					wantKind(t, err, corp.KindNotFound, "link")
				}
			}
		})
	}
}

// What somebody came with may be a while old: what they may do is what they may now.
// Attack case 60. Control: with the role that they have they do it.
func TestWhoWasDemotedDoesNotRaiseThemselvesWithTheRoleFromBefore(t *testing.T) {
	t.Parallel()
	s, ctx, ws := store(t), t.Context(), pgtest.Workspace(t)
	w, boss, evil, other := s.In(ws), join(t, s), join(t, s), join(t, s)
	member(t, s, ws, boss, corp.RoleOwner)
	member(t, s, ws, evil, corp.RoleOwner)
	member(t, s, ws, other, corp.RoleMember)
	as := func(who someone) corp.Actor { return corp.Actor(who.id.String()) }
	must(w.SetRole(ctx, as(evil), corp.RoleOwner, other.id, corp.RoleAdmin))(t)
	must(w.SetRole(ctx, as(boss), corp.RoleOwner, evil.id, corp.RoleViewer))(t)
	_, err := w.SetRole(ctx, as(evil), corp.RoleOwner, evil.id, corp.RoleOwner)
	wantKind(t, err, corp.KindForbidden, "")
	wantKind(t, w.RemoveMember(ctx, as(evil), corp.RoleOwner, other.id), corp.KindForbidden, "")
	ok(t, w.RemoveMember(ctx, as(evil), corp.RoleViewer, evil.id))
	_, err = w.SetRole(ctx, as(evil), corp.RoleOwner, other.id, corp.RoleOwner)
	wantKind(t, err, corp.KindForbidden, "")
}

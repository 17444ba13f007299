package people_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/people"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// onPlan is a workspace of a plan with one member, its owner.
func onPlan(t *testing.T, plan string) (*people.Store, corp.WorkspaceID, someone) {
	t.Helper()
	s, ws := store(t), pgtest.Workspace(t)
	owner := join(t, s)
	member(t, s, ws, owner, corp.RoleOwner)
	rename(t, ws, plan)
	return s, ws, owner
}

func rename(t *testing.T, ws corp.WorkspaceID, plan string) {
	t.Helper()
	pgtest.New(t).Exec(t, `UPDATE workspaces SET plan = $2 WHERE workspace_id = $1`, ws, plan)
}

func members(t *testing.T, s *people.Store, ws corp.WorkspaceID) int {
	t.Helper()
	return len(must(s.In(ws).Members(t.Context(), corp.Page{Limit: corp.MaxPage}))(t).Items)
}

// once does something of everybody at once, and returns the errors.
func once(n int, do func(i int) error) []error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = do(i) })
	}
	all.Wait()
	return errs
}

// L1: invitations are counted with the members, however many are sent at once.
func TestAsManyAreInvitedAsThePlanHasPlacesFor(t *testing.T) {
	t.Parallel()
	s, ws, _ := onPlan(t, "starter")
	w, ctx := s.In(ws), t.Context()
	errs := once(50, func(i int) error {
		_, err := w.Invite(ctx, "system", fmt.Sprintf("guest-%d@example.com", i), corp.RoleMember, hash(), time.Hour)
		return err
	})
	sent := 0
	for _, err := range errs {
		if err == nil {
			sent++
			continue
		}
		wantKind(t, err, corp.KindLimit, "users")
		if !strings.Contains(err.Error(), "plan starter has 5 users") {
			t.Errorf("the limit is not named: %v", err)
		}
	}
	if sent != 4 {
		t.Errorf("%d were invited beside the owner, of 5 places", sent)
	}
	_, held, err := pgtest.DB(t).In(ws).Held(ctx)
	ok(t, err)
	if held.Users != 5 {
		t.Errorf("%d users are held", held.Users)
	}
	open := must(w.Invitations(ctx, corp.Page{Limit: 10}))(t).Items
	must(w.Invite(ctx, "system", open[0].Email, corp.RoleViewer, hash(), time.Hour))(t) // again: it takes the place that it has
	must(w.RevokeInvitation(ctx, "system", open[1].ID))(t)
	must(w.Invite(ctx, "system", "one-more@example.com", corp.RoleMember, hash(), time.Hour))(t)
	_, err = w.Invite(ctx, "system", "too-many@example.com", corp.RoleMember, hash(), time.Hour)
	wantKind(t, err, corp.KindLimit, "users")
	pgtest.New(t).Exec(t, `UPDATE invitations SET expires_at = now() WHERE workspace_id = $1 AND email = 'one-more@example.com'`, ws)
	must(w.Invite(ctx, "system", "in-its-place@example.com", corp.RoleMember, hash(), time.Hour))(t)
}

// Fifty times two accept at once, with an account and without, where one place is left.
func TestTheLastPlaceIsTakenOnce(t *testing.T) {
	t.Parallel()
	for range 50 {
		s, ws, _ := onPlan(t, "unlimited")
		w, ctx, known := s.In(ws), t.Context(), join(t, s)
		secrets := [][]byte{hash(), hash()}
		must(w.Invite(ctx, "system", known.email, corp.RoleMember, secrets[0], time.Hour))(t)
		must(w.Invite(ctx, "system", unique("new-")+"@example.com", corp.RoleMember, secrets[1], time.Hour))(t)
		rename(t, ws, "free") // which has two
		newcomer := corp.NewID[corp.UserID]()
		accept := func(i int) error {
			if i == 0 {
				_, err := s.Of(known.id).Accept(ctx, secrets[0])
				return err
			}
			return s.Of(newcomer).Join(ctx, people.NewUser{Invitation: secrets[1], Name: "New", PasswordHash: "x"}, cli(hash()))
		}
		errs := once(2, accept)
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Fatalf("%v and %v", errs[0], errs[1])
		}
		late := 0
		if errs[1] != nil {
			late = 1
		}
		wantKind(t, errs[late], corp.KindLimit, "users")
		if n := members(t, s, ws); n != 2 {
			t.Fatalf("%d members of 2", n)
		}
		rename(t, ws, "starter") // the invitation is still good, and nothing of the account was made
		ok(t, accept(late))
		if n := members(t, s, ws); n != 3 {
			t.Fatalf("%d members after there was room", n)
		}
	}
}

// A plan that became smaller puts nobody out, and who is in needs no other place.
func TestASmallerPlanPutsNobodyOut(t *testing.T) {
	t.Parallel()
	s, ws, _ := onPlan(t, "unlimited")
	w, ctx := s.In(ws), t.Context()
	bob, carol := join(t, s), join(t, s)
	member(t, s, ws, bob, corp.RoleMember)
	member(t, s, ws, carol, corp.RoleMember)
	secret := hash()
	must(w.Invite(ctx, "system", unique("old-")+"@example.com", corp.RoleAdmin, secret, time.Hour))(t)
	pgtest.New(t).Exec(t, `UPDATE invitations SET email = $2 WHERE workspace_id = $1 AND email LIKE 'old-%'`, ws, bob.email)
	rename(t, ws, "free")
	if n := members(t, s, ws); n != 3 {
		t.Errorf("%d members are left of 3", n)
	}
	if in := must(s.Of(bob.id).Accept(ctx, secret))(t); in.Role != corp.RoleMember {
		t.Errorf("who was in became %s", in.Role)
	}
	_, err := w.Invite(ctx, "system", "x@example.com", corp.RoleViewer, hash(), time.Hour)
	wantKind(t, err, corp.KindLimit, "users")
	ok(t, w.RemoveMember(ctx, "x", corp.RoleOwner, carol.id))
	_, err = w.Invite(ctx, "system", "x@example.com", corp.RoleViewer, hash(), time.Hour)
	wantKind(t, err, corp.KindLimit, "users") // two of two
	ok(t, w.RemoveMember(ctx, "x", corp.RoleOwner, bob.id))
	must(w.Invite(ctx, "system", "x@example.com", corp.RoleViewer, hash(), time.Hour))(t)
}

// A workspace that is about to be deleted takes nobody in, also not who had the
// invitation in hand when it was.
func TestNobodyJoinsAWorkspaceThatIsBeingDeleted(t *testing.T) {
	t.Parallel()
	for range 20 {
		s, ws, _ := onPlan(t, "free")
		guest, secret := join(t, s), hash()
		must(s.In(ws).Invite(t.Context(), "system", guest.email, corp.RoleMember, secret, time.Hour))(t)
		var accepted error
		var both sync.WaitGroup
		both.Go(func() { _, accepted = s.Of(guest.id).Accept(t.Context(), secret) })
		both.Go(func() {
			pgtest.New(t).Exec(t, `UPDATE workspaces SET archived_at = clock_timestamp(), delete_after = now() + interval '1 hour' WHERE workspace_id = $1`, ws)
		})
		both.Wait()
		if accepted != nil {
			wantKind(t, accepted, corp.KindNotFound, "link")
		}
		_, err := s.Of(guest.id).Accept(t.Context(), secret)
		wantKind(t, err, corp.KindNotFound, "link")
		_, err = s.In(ws).Invite(t.Context(), "system", "x@example.com", corp.RoleViewer, hash(), time.Hour)
		wantKind(t, err, corp.KindNotFound, "")
	}
}

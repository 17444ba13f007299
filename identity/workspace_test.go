package identity_test

import (
	"strings"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/identity"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// colleagues are an owner and a member of a workspace.
func (w *world) colleagues(t *testing.T) (ws corp.Workspace, owner, member someone) {
	t.Helper()
	owner, member = w.join(t, corp.SessionCLI), w.join(t, corp.SessionCLI)
	ws, err := pgtest.DB(t).System("test").FoundWorkspace(t.Context(), owner.in.User, "t-"+strings.ToLower(owner.email[4:20]), "Ours", "unlimited")
	ok(t, err)
	invite := corp.NewSecret(corp.KeyPrefixLink)
	_, err = w.people.In(ws.ID).Invite(t.Context(), owner.who.Actor, member.email, corp.RoleMember, w.ring.Hash(invite), time.Hour)
	ok(t, err)
	_, err = w.Accept(t.Context(), member.who, invite)
	ok(t, err)
	return ws, owner, member
}

func TestAWorkspaceIsHandedOverByItsOwnerWithAFreshProof(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ws, owner, member := w.colleagues(t)
	stranger := w.join(t, corp.SessionCLI)
	over := func(by someone, again identity.Again, to corp.UserID) error {
		return w.HandOver(t.Context(), by.who, again, ws.ID, to, by.from)
	}
	want(t, over(stranger, identity.Again{}, stranger.in.User), corp.KindNotFound, "")
	want(t, over(member, identity.Again{}, member.in.User), corp.KindForbidden, "")
	want(t, over(owner, identity.Again{}, owner.in.User), corp.KindInvalid, "")
	want(t, over(owner, identity.Again{}, stranger.in.User), corp.KindNotFound, "")
	key := owner
	key.who.Session = corp.SessionID{}
	want(t, over(key, identity.Again{}, member.in.User), corp.KindForbidden, "session_needed")
	stale(t, owner.in.Session)
	want(t, over(owner, identity.Again{}, member.in.User), corp.KindForbidden, "step_up")
	want(t, over(owner, identity.Again{Password: another}, member.in.User), corp.KindForbidden, identity.CodeWrong)
	w.clock.Advance(time.Minute)
	pgtest.New(t).Exec(t, `UPDATE users SET delete_after = now() + interval '1 day' WHERE user_id = $1`, member.in.User)
	want(t, over(owner, identity.Again{Password: good}, member.in.User), corp.KindConflict, "heir_leaves")
	pgtest.New(t).Exec(t, `UPDATE users SET delete_after = NULL WHERE user_id = $1`, member.in.User)
	ok(t, over(owner, identity.Again{Password: good}, member.in.User))
	l, _ := w.letterTo(t, member.email)
	if !strings.Contains(l.text, "you own it now") {
		t.Errorf("%s", l.text)
	}
	want(t, over(owner, identity.Again{Password: good}, member.in.User), corp.KindForbidden, "")
	ok(t, over(member, identity.Again{}, owner.in.User))
}

func TestAWorkspaceIsDeletedByItsOwnerAndRestored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ws, owner, member := w.colleagues(t)
	gone := func(by someone, again identity.Again) error {
		_, err := w.DeleteWorkspace(t.Context(), by.who, again, ws.ID, by.from)
		return err
	}
	want(t, gone(w.join(t, corp.SessionCLI), identity.Again{}), corp.KindNotFound, "")
	want(t, gone(member, identity.Again{}), corp.KindForbidden, "")
	stale(t, owner.in.Session)
	want(t, gone(owner, identity.Again{}), corp.KindForbidden, "step_up")
	ok(t, gone(owner, identity.Again{Password: good}))
	l, _ := w.letterTo(t, owner.email)
	if !strings.Contains(l.text, "its owners can restore it") {
		t.Errorf("%s", l.text)
	}
	sent, at := w.letters(owner.email), pgtest.Value[time.Time](t, pgtest.New(t), `SELECT delete_after FROM workspaces WHERE workspace_id = $1`, ws.ID)
	again, err := w.DeleteWorkspace(t.Context(), owner.who, identity.Again{Password: good}, ws.ID, owner.from)
	if err != nil || !again.Equal(at) || w.letters(owner.email) != sent {
		t.Errorf("deleted twice: %v and %v, %v, %d letters more", at, again, err, w.letters(owner.email)-sent)
	}
	if events := pgtest.Value[int](t, pgtest.New(t), `SELECT count(*) FROM events WHERE workspace_id = $1 AND kind = 'workspace.deleted'`, ws.ID); events != 1 {
		t.Errorf("%d events say that it was deleted", events)
	}
	if who, err := w.people.BySession(t.Context(), member.in.Session); err != nil || !who.Workspace.IsZero() {
		t.Errorf("a member works there still: %+v, %v", who, err)
	}
	want(t, w.Restore(t.Context(), member.who, ws.ID), corp.KindNotFound, "")
	ok(t, w.Restore(t.Context(), owner.who, ws.ID))
	ok(t, gone(owner, identity.Again{Password: good}))
}

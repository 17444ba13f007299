package portal_test

import (
	"strings"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// invite asks an address into a new workspace, and returns the page of its link.
func (w *town) invite(t *testing.T, email string) (ws corp.WorkspaceID, token string) {
	t.Helper()
	ws, token = pgtest.Workspace(t), corp.NewSecret(corp.KeyPrefixLink)
	_, err := w.People.In(ws).Invite(t.Context(), corp.ActorSystem, email, corp.RoleMember, w.Ring.Hash(token), time.Hour)
	ok(t, err)
	return ws, token
}

func TestWhoHasAnAccountAcceptsSwitchesAndLeaves(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	b, email := w.join(t, "Ada")
	first, token := w.invite(t, email)
	stranger, other := w.browser(t), unique("eve")
	stranger.open("/invitation?token="+token).shows(200, "/invitation", "Sign in to accept")
	eve, _ := w.join(t, "Eve")
	eve.post("/invitation", "token", token).shows(404, "/invitation")
	b.open("/invitation?token="+token).shows(200, "/invitation", "Accept")
	b.post("/invitation", "token", token).shows(200, "/account", "You are a member", "Leave ")
	b.post("/invitation", "token", token).shows(404, "/invitation", "used before")
	second, token := w.invite(t, email)
	b.post("/invitation", "token", token).shows(200, "/account")
	b.post("/account/workspace", "workspace", second.String()).shows(200, "/account", "another workspace now")
	b.post("/account/workspace/leave", "workspace", first.String()).shows(200, "/account", "You have left")
	b.post("/account/workspace", "workspace", first.String()).shows(404, "/account/workspace", "There is no such workspace")
	_, token = w.invite(t, other)
	b.open("/invitation?token="+token).shows(200, "/invitation", "Make the account and accept", "You are signed in as")
}

// An owner deletes a workspace on the page with their password, and restores it there;
// nobody else is offered either, or can.
func TestAnOwnerDeletesAWorkspaceAndRestoresIt(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	ada, email := w.join(t, "Ada")
	bob, other := w.join(t, "Bob")
	ws, token := w.invite(t, other)
	bob.post("/invitation", "token", token).shows(200, "/account", "Leave ")
	token = corp.NewSecret(corp.KeyPrefixLink)
	_, err := w.People.In(ws).Invite(t.Context(), corp.ActorSystem, email, corp.RoleOwner, w.Ring.Hash(token), time.Hour)
	ok(t, err)
	ada.post("/invitation", "token", token).shows(200, "/account", "Delete ")
	env := pgtest.New(t)
	there := func() bool {
		return pgtest.Value[bool](t, env, `SELECT archived_at IS NULL AND delete_after IS NULL FROM workspaces WHERE workspace_id = $1`, ws)
	}

	if strings.Contains(bob.open("/account").page, "/account/workspace/delete") {
		t.Error("a member is offered to delete it")
	}
	bob.post("/account/workspace/delete", "workspace", ws.String(), "password", good).shows(403, "/account/workspace/delete", "owners")
	bob.post("/account/workspace/delete", "workspace", pgtest.Workspace(t).String(), "password", good).shows(404, "/account/workspace/delete", "There is no such workspace")
	bob.post("/account/workspace/delete", "workspace", "what").shows(422, "/account/workspace/delete")
	env.Exec(t, `UPDATE sessions SET auth_at = now() - interval '11 minutes' WHERE user_id = (SELECT user_id FROM users WHERE email = $1)`, email)
	ada.post("/account/workspace/delete", "workspace", ws.String()).shows(403, "/account/workspace/delete", "once more")
	if !there() {
		t.Fatal("refused, and deleted all the same")
	}
	ada.post("/account/workspace/delete", "workspace", ws.String(), "password", good).shows(200, "/account", "out of use", "is deleted on", "Restore ")
	if there() || strings.Contains(ada.page, good) {
		t.Error("it is still in use, or the page has the password")
	}
	if strings.Contains(bob.open("/account").page, "/account/workspace/restore") {
		t.Error("a member is offered to restore it")
	}
	bob.post("/account/workspace/restore", "workspace", ws.String()).shows(404, "/account/workspace/restore")
	ada.post("/account/workspace/restore", "workspace", ws.String()).shows(200, "/account", "in use again", "Delete ")
	ada.post("/account/workspace/restore", "workspace", ws.String()).shows(404, "/account/workspace/restore")
	ada.post("/account/workspace/delete", "workspace", ws.String(), "password", another).shows(403, "/account/workspace/delete", "is not right")
	if !there() {
		t.Error("it is not in use again")
	}
}

func TestASignInThatWasRefusedAndOneThatWasNotAreInTheAuditLog(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	b, email := w.join(t, "Ada")
	b.post("/sign-out").shows(200, "/sign-in")
	b.post("/sign-in", "email", email, "password", good).shows(200, "/account")
	b.post("/account/name", "name", "Ada L").shows(200, "/account")
	w.browser(t).post("/sign-in", "email", email, "password", another).shows(401, "/sign-in")
	me, _, err := w.People.ByEmail(t.Context(), email)
	ok(t, err)
	env := pgtest.New(t)
	for _, operation := range []string{"verifyEmail", "signOut", "signIn", "renameMe"} {
		if n := pgtest.Value[int](t, env, `SELECT count(*) FROM audit_events WHERE operation = $1 AND actor = $2 AND result = 'done'`, operation, me.ID.String()); n != 1 {
			t.Errorf("%s by %s is in the log %d times", operation, me.ID, n)
		}
	}
	if n := pgtest.Value[int](t, env, `SELECT count(*) FROM audit_events e JOIN audit_personal p ON p.event_id = e.id WHERE e.operation = 'signIn' AND e.result = 'denied' AND p.email = $1`, email); n != 1 {
		t.Errorf("the refused sign-in is in the log %d times", n)
	}
}

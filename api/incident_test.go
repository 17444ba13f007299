package api

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/identity"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// workspaceSample names a workspace that nobody else uses.
func workspaceSample(t *testing.T, o *office, _ string) []sample {
	t.Helper()
	return one(sample{path: map[string]string{"workspace": o.env.Workspace(t).String()}})
}

// personSample names a person who is in this office alone.
func personSample(t *testing.T, o *office, _ string) []sample {
	t.Helper()
	return one(sample{body: map[string]string{"person": o.member(t, corp.RoleViewer).String()}})
}

// slugOf is the short name of an office's workspace.
func (o *office) slugOf(t *testing.T) string {
	t.Helper()
	return must[corp.Workspace](t)(o.env.DB.In(o.ws).Workspace(t.Context())).Slug
}

// audited is how often the installation's log says that an operation was done to a target.
func (h *house) audited(t *testing.T, operation, target string) int {
	t.Helper()
	return pgtest.Value[int](t, h.env, `SELECT count(*) FROM audit_events WHERE workspace_id = '00000000-0000-0000-0000-000000000000' AND operation = $1 AND target = $2 AND result = 'done'`, operation, target)
}

// Suspended at one server, a workspace is out of use at the other: its keys, runners
// and sessions are told why, its streams close, and its people see to their account
// all the same.
// Control: before it, and once it is resumed, all of them may.
func TestASuspendedWorkspaceIsOutOfUseAtEveryServer(t *testing.T) {
	t.Parallel()
	one, other := two(t)
	operator := one.with(one.operator)
	owner, elsewhere := other.person(t, corp.RoleOwner), one.office(t) // a token is its issuer's: here each server has an address of its own
	ended := follow(t, other, one.keys[corp.RoleAdmin])
	good := func(h *office, key, route string) int { return h.do(t, key, http.MethodGet, route, nil, "").status }
	for _, key := range []string{one.keys[corp.RoleViewer], one.service(), owner.access} {
		if got := good(other, key, "/v1/tasks"); got != http.StatusOK {
			t.Fatalf("the control: %d", got)
		}
	}
	suspended := must[corp.Workspace](t)(operator.SuspendWorkspace(t.Context(), one.slugOf(t)))
	if suspended.SuspendedAt == nil || one.audited(t, "suspendWorkspace", one.ws.String()) != 1 {
		t.Errorf("%+v", suspended)
	}
	for name, key := range map[string]string{"a viewer's key": one.keys[corp.RoleViewer], "a service key": one.service(), "an owner's session": owner.access} {
		pgtest.Eventually(t, within, name+" to be refused at the other server", func(context.Context) bool {
			got := other.do(t, key, http.MethodGet, "/v1/tasks", nil, "")
			return got.status == http.StatusForbidden && got.problem(t).Code == corp.CodeSuspended
		})
	}
	if got := other.do(t, one.keys[corp.RoleRunner], http.MethodPost, "/v1/runner/register", nil, "{}"); got.status != http.StatusForbidden || got.problem(t).Code != corp.CodeSuspended {
		t.Errorf("its runner: %d %s", got.status, got.body)
	}
	if got := good(other, one.keys[corp.RoleViewer], "/v1/whoami"); got != http.StatusForbidden {
		t.Errorf("a key asks who it is: %d", got)
	}
	select {
	case err := <-ended:
		if codeOf(err) != corp.CodeSuspended {
			t.Errorf("the stream ended with %v", err)
		}
	case <-time.After(within):
		t.Error("the stream goes on")
	}
	me := must[client.Me](t)(other.with(owner.access).Me(t.Context()))
	if len(me.Workspaces) != 1 || me.Workspaces[0].SuspendedAt == nil {
		t.Errorf("the owner's account: %+v", me.Workspaces)
	}
	if _, err := other.with(owner.access).WorkIn(t.Context(), one.ws); codeOf(err) != corp.CodeSuspended {
		t.Errorf("the owner works in it: %v", err)
	}
	if got := good(other, elsewhere.keys[corp.RoleViewer], "/v1/tasks"); got != http.StatusOK {
		t.Errorf("another workspace: %d", got)
	}
	must[corp.Workspace](t)(operator.ResumeWorkspace(t.Context(), one.ws.String()))
	for name, key := range map[string]string{"a key": one.keys[corp.RoleViewer], "a session": owner.access} {
		pgtest.Eventually(t, within, name+" to be good again at the other server", func(context.Context) bool {
			return good(other, key, "/v1/tasks") == http.StatusOK
		})
	}
	if one.audited(t, "resumeWorkspace", one.ws.String()) != 1 {
		t.Error("resuming is not in the installation's log")
	}
}

// Kept out at one server, somebody is out at the other: sessions, their own keys,
// streams, and signing in. Let in again, their keys are good and their sessions over.
// Control: before it they may, and a service key that they made goes on.
func TestWhoIsKeptOutIsOutAtEveryServer(t *testing.T) {
	t.Parallel()
	one, other := two(t)
	operator := one.with(one.operator)
	ada := other.person(t, corp.RoleAdmin)
	key := one.make(t, corp.APIKey{Role: corp.RoleAdmin, UserID: ada.id})
	service := one.service()
	ended := follow(t, other, key)
	status := func(key string) int { return other.do(t, key, http.MethodGet, "/v1/tasks", nil, "").status }
	for _, key := range []string{key, ada.access, service} {
		if got := status(key); got != http.StatusOK {
			t.Fatalf("the control: %d", got)
		}
	}
	for range 2 {
		if p := must[corp.Person](t)(operator.DisablePerson(t.Context(), " "+strings.ToUpper(ada.email))); p.ID != ada.id || p.DisabledAt == nil {
			t.Errorf("%+v", p)
		}
	}
	for name, key := range map[string]string{"a key": key, "a session": ada.access} {
		pgtest.Eventually(t, within, name+" to be refused at the other server", func(context.Context) bool { return status(key) == http.StatusUnauthorized })
	}
	select {
	case err := <-ended:
		if corp.KindOf(err) != corp.KindUnauthenticated {
			t.Errorf("the stream ended with %v", err)
		}
	case <-time.After(within):
		t.Error("the stream goes on")
	}
	login := func() reply {
		return other.do(t, "", http.MethodPost, "/v1/auth/login", nil, asJSON(t, loginRequest{Email: ada.email, Password: goodPassword}))
	}
	if got := login(); got.status != http.StatusUnauthorized {
		t.Errorf("signs in: %d %s", got.status, got.body)
	}
	if _, err := other.api.Identity.Refresh(t.Context(), ada.refresh); corp.KindOf(err) != corp.KindUnauthenticated {
		t.Errorf("refreshes: %v", err)
	}
	if got := status(service); got != http.StatusOK {
		t.Errorf("a service key: %d", got)
	}
	must[corp.Person](t)(operator.EnablePerson(t.Context(), ada.id.String()))
	pgtest.Eventually(t, within, "the key to be good again", func(context.Context) bool { return status(key) == http.StatusOK })
	if got := status(ada.access); got != http.StatusUnauthorized {
		t.Errorf("the session that ended: %d", got)
	}
	if got := login(); got.status != http.StatusOK {
		t.Errorf("signs in again: %d %s", got.status, got.body)
	}
	if n, back := one.audited(t, "disablePerson", ada.id.String()), one.audited(t, "enablePerson", ada.id.String()); n != 2 || back != 1 {
		t.Errorf("the log has %d and %d events", n, back)
	}
	if pgtest.Value[bool](t, one.env, `SELECT EXISTS (SELECT FROM audit_events WHERE target ILIKE '%@%' OR changes::text ILIKE '%@example.com%')`) {
		t.Error("an address stands in the audit log")
	}
	if _, err := operator.DisablePerson(t.Context(), "nobody@example.com"); corp.KindOf(err) != corp.KindNotFound {
		t.Errorf("nobody: %v", err)
	}
}

// Signed out at one server, one person or everybody is out at the other, and may come
// back. Control: another person's session goes on until everybody's ends; keys do.
func TestPeopleAreSignedOutAtEveryServer(t *testing.T) {
	t.Parallel()
	one, other := two(t)
	operator := one.with(one.operator)
	ada, bob := other.person(t, corp.RoleAdmin), other.person(t, corp.RoleViewer)
	ended := follow(t, other, ada.access)
	status := func(key string) int { return other.do(t, key, http.MethodGet, "/v1/tasks", nil, "").status }
	if a, b := status(ada.access), status(bob.access); a != http.StatusOK || b != http.StatusOK {
		t.Fatalf("the control: %d, %d", a, b)
	}
	if out := must[corp.SignedOut](t)(operator.SignOutPerson(t.Context(), ada.email)); out.Sessions != 1 {
		t.Errorf("%+v", out)
	}
	pgtest.Eventually(t, within, "the session to end at the other server", func(context.Context) bool { return status(ada.access) == http.StatusUnauthorized })
	select {
	case err := <-ended:
		if corp.KindOf(err) != corp.KindUnauthenticated {
			t.Errorf("the stream ended with %v", err)
		}
	case <-time.After(within):
		t.Error("the stream goes on")
	}
	if got := status(bob.access); got != http.StatusOK {
		t.Errorf("somebody else's session: %d", got)
	}
	_, again, _ := other.session(t, ada.id)
	if got := status(again); got != http.StatusOK {
		t.Errorf("signed in again: %d", got)
	}
	if out := must[corp.SignedOut](t)(operator.SignOutEverybody(t.Context())); out.Sessions != 2 {
		t.Errorf("%+v", out)
	}
	for _, key := range []string{again, bob.access} {
		pgtest.Eventually(t, within, "all sessions to end at the other server", func(context.Context) bool { return status(key) == http.StatusUnauthorized })
	}
	if got := status(one.keys[corp.RoleViewer]); got != http.StatusOK {
		t.Errorf("a key: %d", got)
	}
	if out := must[corp.SignedOut](t)(operator.SignOutEverybody(t.Context())); out.Sessions != 0 {
		t.Errorf("once more: %+v", out)
	}
	if n := one.audited(t, "signOutPeople", "everybody") + one.audited(t, "signOutPeople", ada.id.String()); n != 3 {
		t.Errorf("the log has %d events", n)
	}
	for _, body := range []string{`{}`, `{"everybody":true,"person":"` + ada.email + `"}`} {
		if got := one.do(t, one.operator, http.MethodPost, "/v1/installation/people/sign-out", nil, body); got.status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d %s", body, got.status, got.body)
		}
	}
}

// Once the keys are others, tokens of the old ones are nobody's at every server, gently
// only when their time is over. Sessions go on with new tokens.
func TestTokensOfOldSigningKeysAreRefusedAtEveryServer(t *testing.T) {
	t.Parallel()
	one, other := two(t)
	keeping, stop := context.WithCancel(t.Context())
	var kept sync.WaitGroup
	kept.Go(func() { other.api.Identity.KeepKeys(keeping) })
	t.Cleanup(func() { stop(); kept.Wait() })
	operator := one.with(one.operator)
	ada := other.person(t, corp.RoleAdmin)
	status := func(key string) int { return other.do(t, key, http.MethodGet, "/v1/tasks", nil, "").status }
	published := func(h *office) string { return h.do(t, "", http.MethodGet, "/.well-known/jwks.json", nil, "").body }
	before := published(other)

	if err := operator.RotateSigningKeys(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, within, "the new key at the other server", func(context.Context) bool { return published(other) == published(one) && published(other) != before })
	if got := status(ada.access); got != http.StatusOK {
		t.Errorf("gently, and the token of the old key is refused: %d", got)
	}
	fresh := must[identity.Refreshed](t)(other.api.Identity.Refresh(t.Context(), ada.refresh))
	if err := operator.RotateSigningKeys(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{ada.access, fresh.Access} {
		pgtest.Eventually(t, within, "old tokens to be refused at the other server", func(context.Context) bool { return status(token) == http.StatusUnauthorized })
	}
	fresh = must[identity.Refreshed](t)(other.api.Identity.Refresh(t.Context(), fresh.Refresh))
	if got := status(fresh.Access); got != http.StatusOK {
		t.Errorf("a new token: %d", got)
	}
	if n := one.audited(t, "rotateSigningKeys", "signing keys"); n != 2 {
		t.Errorf("the log has %d events", n)
	}
}

// A key of any workspace ends at every server, by its id, by what is shown of it or by
// itself; the operator's other keys do, and the one in use only if that is said.
// Control: keys that look otherwise go on.
func TestTheOperatorRevokesAnyKeyAtEveryServer(t *testing.T) {
	t.Parallel()
	one, other := two(t)
	operator := one.with(one.operator)
	status := func(key string) int { return other.do(t, key, http.MethodGet, "/v1/whoami", nil, "").status }
	revoke := func(name string) corp.RevokedKeys {
		t.Helper()
		return must[corp.RevokedKeys](t)(operator.RevokeAnyKey(t.Context(), name, false))
	}
	refused := func(what, key string) {
		t.Helper()
		pgtest.Eventually(t, within, what+" to be refused at the other server", func(context.Context) bool { return status(key) == http.StatusUnauthorized })
	}
	byID, id := one.key(t, corp.RoleAdmin)
	shown, itself, runner := one.make(t, corp.APIKey{Role: corp.RoleOwner}), one.service(), one.keys[corp.RoleRunner]
	for _, key := range []string{byID, shown, itself, runner} {
		if got := status(key); got != http.StatusOK {
			t.Fatalf("the control: %d", got)
		}
	}
	ended := follow(t, other, shown)
	first := revoke(id.String())
	if len(first.Keys) != 1 || first.Keys[0].WorkspaceID != one.ws || first.Keys[0].ID != corp.Actor(id.String()) || first.Keys[0].UserID.IsZero() {
		t.Errorf("%+v", first)
	}
	if again := revoke(id.String()); len(again.Keys) != 1 || !again.Keys[0].RevokedAt.Equal(first.Keys[0].RevokedAt) {
		t.Errorf("again: %+v", again)
	}
	refused("a key by its id", byID)
	revoke(strings.ReplaceAll(corp.ShownSecret(shown), "…", "..."))
	refused("a key by what is shown", shown)
	select {
	case err := <-ended:
		if corp.KindOf(err) != corp.KindUnauthenticated {
			t.Errorf("the stream ended with %v", err)
		}
	case <-time.After(within):
		t.Error("the stream goes on")
	}
	revoke(itself)
	refused("a key by itself", itself)
	if got := status(runner); got != http.StatusOK {
		t.Errorf("another key: %d", got)
	}
	for _, name := range []string{corp.ShownSecret(one.operator), one.operator} {
		if _, err := operator.RevokeAnyKey(t.Context(), name, false); codeOf(err) != "key_in_use" {
			t.Errorf("the key in use: %v", err)
		}
	}
	if _, err := operator.RevokeAnyKey(t.Context(), "gc_live_%…%", false); corp.KindOf(err) != corp.KindNotFound {
		t.Errorf("no key: %v", err)
	}
	pgtest.Eventually(t, within, "the key that the other server has", func(context.Context) bool { return status(other.operator) == http.StatusOK })
	gone := must[corp.RevokedKeys](t)(operator.RevokeOperatorKeys(t.Context(), corp.RoleOperator, "", false))
	if len(gone.Keys) != 1 {
		t.Errorf("%+v", gone)
	}
	refused("the operator's other key", other.operator)
	if got := status(one.pool); got != http.StatusOK {
		t.Errorf("a pool runner's key: %d", got)
	}
	must[corp.RevokedKeys](t)(operator.RevokeOperatorKeys(t.Context(), corp.RoleRunner, "", false))
	refused("a pool runner's key", one.pool)
	must[corp.RevokedKeys](t)(operator.RevokeAnyKey(t.Context(), one.operator, true))
	refused("the operator's key that was meant", one.operator)
	if n := one.audited(t, "revokeAnyKey", id.String()); n != 2 {
		t.Errorf("the log has %d events", n)
	}
	if pgtest.Value[bool](t, one.env, `SELECT EXISTS (SELECT FROM audit_events WHERE concat(target, changes::text) LIKE '%' || $1 || '%')`, itself) {
		t.Error("a key stands in the audit log")
	}
}

package api

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/limit"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// within is how soon a right that was taken is gone everywhere, by the acceptance of
// the product; it is two seconds without any hint.
const within = 5 * time.Second

// A2, A3, T2: what is taken at one server is gone at the other, and open streams
// close, whatever it was: a key, a role, a membership, an account.
// Attack cases 15 and 20. Control: the stream was open and the key good before.
func TestARightThatIsTakenIsGoneAtEveryServer(t *testing.T) {
	t.Parallel()
	one, other := two(t)
	for name, take := range map[string]func(t *testing.T, key corp.APIKeyID, user corp.UserID) error{
		"the key is revoked": func(t *testing.T, key corp.APIKeyID, _ corp.UserID) error {
			t.Helper()
			_, err := one.owner().RevokeAPIKey(t.Context(), key)
			return err
		},
		"the key is rotated": func(t *testing.T, key corp.APIKeyID, user corp.UserID) error {
			t.Helper()
			_, err := one.env.DB.In(one.ws).RotateAPIKey(t.Context(), "test", user, key, 0, nil, "gc_live_…", one.ring.Hash(unique("next")))
			return err
		},
		"the member is removed": func(t *testing.T, _ corp.APIKeyID, user corp.UserID) error {
			t.Helper()
			return one.owner().RemoveMember(t.Context(), user)
		},
		"the account is disabled": func(t *testing.T, _ corp.APIKeyID, user corp.UserID) error {
			t.Helper()
			return one.api.People.System("test").Disable(t.Context(), user, true)
		},
		"the account is being deleted": func(t *testing.T, _ corp.APIKeyID, user corp.UserID) error {
			t.Helper()
			_, err := one.api.People.Of(user).AskDeletion(t.Context(), time.Hour)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			key, id := one.key(t, corp.RoleAdmin)
			who, err := one.env.DB.Auth().Key(t.Context(), one.ring.Hash(key))
			if err != nil {
				t.Fatal(err)
			}
			ended := follow(t, other, key)
			if err := take(t, id, who.User); err != nil {
				t.Fatal(err)
			}
			pgtest.Eventually(t, within, "the right to be gone at the other server", func(context.Context) bool {
				return other.do(t, key, http.MethodGet, "/v1/workspace", nil, "").status == http.StatusUnauthorized
			})
			select {
			case err := <-ended:
				if corp.KindOf(err) != corp.KindUnauthenticated {
					t.Errorf("the stream ended with %v", err)
				}
			case <-time.After(within):
				t.Error("the stream goes on")
			}
		})
	}
}

// A browser's session that moves to another workspace takes no open stream of the old
// one along, and its stream does not go on with the new one's.
// Attack case 15. Control: the stream told of a task before.
func TestAStreamEndsWhenItsSessionMovesOn(t *testing.T) {
	t.Parallel()
	o := shared(t).office(t)
	p := o.person(t, corp.RoleViewer)
	in := o.do(t, "", http.MethodPost, "/v1/auth/login", nil, asJSON(t, loginRequest{Email: p.email, Password: goodPassword, Session: corp.SessionBrowser}))
	cookie, _, _ := strings.Cut(in.header.Get("Set-Cookie"), ";")
	session := made[signedInBody](t, in).SessionID
	mine := o.api.People.Of(p.id)
	if err := mine.WorkIn(t.Context(), session, o.ws); err != nil {
		t.Fatal(err)
	}
	lines := o.raw(t, "", "/v1/stream", map[string]string{"Cookie": cookie})
	o.waitLine(t, lines, ": connected")
	before := o.submit(t).ID.String()
	for data := ""; !strings.Contains(data, before); {
		data = o.waitLine(t, lines, "data: ")
	}
	if err := mine.WorkIn(t.Context(), session, o.joined(t, p, corp.RoleViewer)); err != nil {
		t.Fatal(err)
	}
	ended := make(chan string, 1)
	go func() {
		told := ""
		for lines.Scan() {
			told += lines.Text() + "\n"
		}
		ended <- told
	}()
	select {
	case told := <-ended:
		if !strings.Contains(told, "no longer belongs") {
			t.Errorf("it ended with %q", told)
		}
	case <-time.After(within):
		t.Error("the stream goes on")
	}
}

// follow opens a stream and returns, once it is open, what it ends with.
func follow(t *testing.T, o *office, key string) <-chan error {
	t.Helper()
	began, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		first := true
		for _, err := range o.with(key).Stream(t.Context(), client.StreamQuery{After: "e:0"}) {
			if first {
				close(began)
				first = false
			}
			if err != nil {
				ended <- err
				return
			}
		}
		ended <- nil
	}()
	o.submit(t)
	<-began
	return ended
}

// A demoted member's key does less from then on, at every server.
// Attack case 13. Control: what a viewer may goes on, and a promotion brings it back.
func TestADemotedMembersKeyIsDemoted(t *testing.T) {
	t.Parallel()
	one, other := two(t)
	key, _ := one.key(t, corp.RoleAdmin)
	who, err := one.env.DB.Auth().Key(t.Context(), one.ring.Hash(key))
	if err != nil {
		t.Fatal(err)
	}
	if got := other.do(t, key, http.MethodGet, "/v1/invitations", nil, ""); got.status != http.StatusOK {
		t.Fatalf("%d %s", got.status, got.body)
	}
	must[corp.Member](t)(one.owner().UpdateMember(t.Context(), who.User, corp.RoleViewer))
	pgtest.Eventually(t, within, "the demotion at the other server", func(context.Context) bool {
		return other.do(t, key, http.MethodGet, "/v1/invitations", nil, "").status == http.StatusForbidden
	})
	if got := other.do(t, key, http.MethodGet, "/v1/tasks", nil, ""); got.status != http.StatusOK {
		t.Errorf("what a viewer may: %d %s", got.status, got.body)
	}
	must[corp.Member](t)(one.owner().UpdateMember(t.Context(), who.User, corp.RoleOwner))
	pgtest.Eventually(t, within, "the promotion at the other server", func(context.Context) bool {
		return other.do(t, key, http.MethodGet, "/v1/invitations", nil, "").status == http.StatusOK
	})
	if me := must[client.Whoami](t)(other.with(key).Whoami(t.Context())); me.Role != corp.RoleAdmin {
		t.Errorf("an admin's key of an owner has the role %s", me.Role)
	}
}

// Nobody takes over somebody else by a key of theirs, and scopes only narrow.
// Attack cases 12 and 13. Control: within its scopes and from its addresses the key works.
func TestAKeyNeverGrows(t *testing.T) {
	t.Parallel()
	o := shared(t).office(t)
	_, of := o.key(t, corp.RoleMember)
	if got := o.do(t, o.keys[corp.RoleOwner], http.MethodPost, "/v1/keys/"+of.String()+"/rotate", nil, "{}"); got.status != http.StatusForbidden {
		t.Errorf("an owner rotates somebody else's key: %d %s", got.status, got.body)
	}
	narrow := made[newAPIKey](t, o.do(t, o.keys[corp.RoleAdmin], http.MethodPost, "/v1/keys", nil, asJSON(t, apiKeyRequest{Name: "narrow", Role: corp.RoleAdmin, Scopes: []corp.Action{corp.TaskRead, corp.APIKeyOwn}})))
	if got := o.do(t, narrow.Key, http.MethodGet, "/v1/tasks", nil, ""); got.status != http.StatusOK {
		t.Errorf("within its scopes: %d %s", got.status, got.body)
	}
	if got := o.do(t, narrow.Key, http.MethodGet, "/v1/agents", nil, ""); got.status != http.StatusForbidden {
		t.Errorf("outside its scopes: %d %s", got.status, got.body)
	}
	if got := o.do(t, narrow.Key, http.MethodPost, "/v1/keys", nil, asJSON(t, apiKeyRequest{Name: "wide", Role: corp.RoleViewer, Scopes: []corp.Action{corp.AgentRead}})); got.status != http.StatusForbidden {
		t.Errorf("a narrow key makes a wider one: %d %s", got.status, got.body)
	}
	child := made[newAPIKey](t, o.do(t, narrow.Key, http.MethodPost, "/v1/keys", nil, asJSON(t, apiKeyRequest{Name: "child", Role: corp.RoleMember})))
	if got := o.do(t, child.Key, http.MethodGet, "/v1/agents", nil, ""); got.status != http.StatusForbidden {
		t.Errorf("a key of a narrow key does more than it: %d %s", got.status, got.body)
	}
	for _, bad := range []apiKeyRequest{
		{Name: "x", Role: corp.RoleViewer, Scopes: []corp.Action{corp.TaskWrite}},
		{Name: "x", Role: corp.RoleViewer, Scopes: []corp.Action{"nothing"}},
		{Name: "x", Role: corp.RoleViewer, Addresses: []string{"here"}},
	} {
		if got := o.do(t, o.keys[corp.RoleOwner], http.MethodPost, "/v1/keys", nil, asJSON(t, bad)); got.status != http.StatusUnprocessableEntity {
			t.Errorf("%+v: %d %s", bad, got.status, got.body)
		}
	}
	elsewhere := made[newAPIKey](t, o.do(t, o.keys[corp.RoleOwner], http.MethodPost, "/v1/keys", nil, asJSON(t, apiKeyRequest{Name: "elsewhere", Role: corp.RoleOwner, Addresses: []string{"203.0.113.7"}})))
	if got := o.do(t, elsewhere.Key, http.MethodGet, "/v1/tasks", nil, ""); got.status != http.StatusForbidden || got.problem(t).Code != "address" {
		t.Errorf("from where it must not be: %d %s", got.status, got.body)
	}
	here := made[newAPIKey](t, o.do(t, o.keys[corp.RoleOwner], http.MethodPost, "/v1/keys", nil, asJSON(t, apiKeyRequest{Name: "here", Role: corp.RoleOwner, Addresses: []string{"127.0.0.0/8", "::1"}})))
	if got := o.do(t, here.Key, http.MethodGet, "/v1/tasks", nil, ""); got.status != http.StatusOK {
		t.Errorf("from where it may be: %d %s", got.status, got.body)
	}
	if got := o.do(t, corp.NewSecret(corp.KeyPrefixTest), http.MethodGet, "/v1/tasks", nil, ""); got.status != http.StatusUnauthorized || got.problem(t).Code != "other_environment" {
		t.Errorf("a key of a trial: %d %s", got.status, got.body)
	}
}

// What makes keys cannot be used to get around how a key was narrowed: neither by
// having a wider one rotated, nor by a runner's, nor by one for other networks.
func TestANarrowedKeyHandsOutNothingThatItHasNot(t *testing.T) {
	t.Parallel()
	o := shared(t).office(t)
	key := func(as string, ask apiKeyRequest) newAPIKey {
		t.Helper()
		return made[newAPIKey](t, o.do(t, as, http.MethodPost, "/v1/keys", nil, asJSON(t, ask)))
	}
	ours := o.person(t, corp.RoleAdmin).access
	wide := key(ours, apiKeyRequest{Name: "wide", Role: corp.RoleAdmin})
	service := key(ours, apiKeyRequest{Name: "service", Role: corp.RoleAdmin, Service: true})
	narrow := key(ours, apiKeyRequest{Name: "narrow", Role: corp.RoleAdmin, Scopes: []corp.Action{corp.APIKeyOwn, corp.APIKeyWrite, corp.TaskRead}})
	for name, k := range map[string]newAPIKey{"one's own": wide, "the workspace's": service} {
		if got := o.do(t, narrow.Key, http.MethodPost, "/v1/keys/"+k.APIKey.ID.String()+"/rotate", nil, "{}"); got.status != http.StatusForbidden {
			t.Errorf("a narrow key rotates %s wide one: %d %s", name, got.status, got.body)
		}
	}
	if got := o.do(t, narrow.Key, http.MethodPost, "/v1/keys", nil, asJSON(t, apiKeyRequest{Name: "runner", Role: corp.RoleRunner})); got.status != http.StatusForbidden {
		t.Errorf("a narrow key makes a runner's: %d %s", got.status, got.body)
	}
	if got := o.do(t, narrow.Key, http.MethodPost, "/v1/keys/"+narrow.APIKey.ID.String()+"/rotate", nil, "{}"); got.status != http.StatusCreated {
		t.Errorf("a narrow key rotates itself: %d %s", got.status, got.body)
	}

	maker := key(ours, apiKeyRequest{Name: "maker", Role: corp.RoleAdmin, Scopes: []corp.Action{corp.APIKeyOwn}})
	if got := o.do(t, maker.Key, http.MethodPost, "/v1/keys", nil, asJSON(t, apiKeyRequest{Name: "x", Role: corp.RoleViewer})); got.status != http.StatusForbidden {
		t.Errorf("a key of a role that shares nothing with its maker's scopes: %d %s", got.status, got.body)
	}

	here := key(ours, apiKeyRequest{Name: "here", Role: corp.RoleAdmin, Addresses: []string{"127.0.0.0/8", "::1"}})
	child := key(here.Key, apiKeyRequest{Name: "child", Role: corp.RoleAdmin})
	if !slices.Equal(child.APIKey.Addresses, here.APIKey.Addresses) {
		t.Errorf("a key for some networks makes one for %v", child.APIKey.Addresses)
	}
	key(here.Key, apiKeyRequest{Name: "part", Role: corp.RoleAdmin, Addresses: []string{"127.0.0.1"}})
	for _, elsewhere := range []string{"0.0.0.0/0", "203.0.113.7", "127.0.0.0/7"} {
		if got := o.do(t, here.Key, http.MethodPost, "/v1/keys", nil, asJSON(t, apiKeyRequest{Name: "x", Role: corp.RoleAdmin, Addresses: []string{elsewhere}})); got.status != http.StatusForbidden {
			t.Errorf("a key for some networks makes one for %s: %d %s", elsewhere, got.status, got.body)
		}
	}
	if got := o.do(t, here.Key, http.MethodPost, "/v1/keys/"+key(ours, apiKeyRequest{Name: "wide", Role: corp.RoleAdmin}).APIKey.ID.String()+"/rotate", nil, "{}"); got.status != http.StatusForbidden {
		t.Errorf("a key for some networks rotates one for all: %d %s", got.status, got.body)
	}
}

// A key that was stolen ends when its time is over, whatever it made or rotated. Control:
// who has signed in makes and rotates keys that do not end.
func TestWhatAKeyMakesNeverOutlivesIt(t *testing.T) {
	t.Parallel()
	o := shared(t).office(t)
	ours := o.person(t, corp.RoleAdmin).access
	ask := func(as, path string, body any) reply { return o.do(t, as, http.MethodPost, path, nil, asJSON(t, body)) }
	key := func(as string, like apiKeyRequest) newAPIKey {
		t.Helper()
		like.Name, like.Role = "key", cmp.Or(like.Role, corp.RoleAdmin)
		return made[newAPIKey](t, ask(as, "/v1/keys", like))
	}
	rotate := func(k newAPIKey) string { return "/v1/keys/" + k.APIKey.ID.String() + "/rotate" }
	at := func(d time.Duration) *time.Time { return new(time.Now().Add(d).Truncate(time.Second)) }
	for name, service := range map[string]bool{"one's own": false, "the workspace's": true} {
		brief := key(ours, apiKeyRequest{ExpiresAt: at(time.Hour), Service: service})
		ends := brief.APIKey.ExpiresAt
		for what, got := range map[string]newAPIKey{
			"no wish":         key(brief.Key, apiKeyRequest{}),
			"a runner's":      key(brief.Key, apiKeyRequest{Role: corp.RoleRunner}),
			"its own end":     key(brief.Key, apiKeyRequest{ExpiresAt: ends}),
			"another rotated": made[newAPIKey](t, ask(brief.Key, rotate(key(ours, apiKeyRequest{Service: true})), map[string]int{})),
			"itself rotated":  made[newAPIKey](t, ask(brief.Key, rotate(brief), map[string]int{"overlap_seconds": 600})),
		} {
			if got.APIKey.ExpiresAt == nil || got.APIKey.ExpiresAt.After(*ends) {
				t.Errorf("%s, %s: ends at %v, and what made it at %v", name, what, got.APIKey.ExpiresAt, ends)
			}
		}
		if got := ask(brief.Key, "/v1/keys", apiKeyRequest{Name: "x", Role: corp.RoleViewer, ExpiresAt: at(2 * time.Hour)}); got.status != http.StatusForbidden || got.problem(t).Field != "expires_at" {
			t.Errorf("%s, a wish for longer: %d %s", name, got.status, got.body)
		}
		if got := key(brief.Key, apiKeyRequest{ExpiresAt: at(time.Minute)}); !got.APIKey.ExpiresAt.Before(*ends) {
			t.Errorf("%s, a wish for less: %v", name, got.APIKey.ExpiresAt)
		}
	}

	brief := key(ours, apiKeyRequest{ExpiresAt: at(time.Hour)})
	again := made[newAPIKey](t, ask(ours, rotate(brief), map[string]int{}))
	if !again.APIKey.ExpiresAt.After(*brief.APIKey.ExpiresAt) {
		t.Errorf("rotated by a person it ends at %v", again.APIKey.ExpiresAt)
	}
	if got := made[newAPIKey](t, ask(key(ours, apiKeyRequest{}).Key, rotate(key(ours, apiKeyRequest{})), map[string]int{})); got.APIKey.ExpiresAt != nil {
		t.Errorf("of keys that do not end one ends at %v", got.APIKey.ExpiresAt)
	}
}

// Nor by having somebody else do it: an invited owner could do all that the key may not.
func TestANarrowedKeyGivesNobodyARoleThatManagesPeople(t *testing.T) {
	t.Parallel()
	o := shared(t).office(t)
	narrow, wide := o.narrowed(corp.MemberWrite), o.keys[corp.RoleOwner]
	colleague := o.member(t, corp.RoleViewer)
	for role, want := range map[corp.Role]int{corp.RoleMember: http.StatusCreated, corp.RoleAdmin: http.StatusForbidden, corp.RoleOwner: http.StatusForbidden} {
		invite := func(key string) int {
			return o.do(t, key, http.MethodPost, "/v1/invitations", nil, asJSON(t, invitationRequest{Email: unique("ada") + "@example.com", Role: role})).status
		}
		if got := invite(narrow); got != want {
			t.Errorf("it invites a %s: %d", role, got)
		}
		if got := invite(wide); got != http.StatusCreated {
			t.Errorf("a whole key invites a %s: %d", role, got)
		}
		if want == http.StatusForbidden {
			if got := o.do(t, narrow, http.MethodPatch, "/v1/members/"+colleague.String(), nil, `{"role":"`+string(role)+`"}`); got.status != want {
				t.Errorf("it makes a viewer %s: %d", role, got.status)
			}
		}
	}
}

// Who could not have invited somebody as what they are invited does not take it back, by
// revoking it or by inviting them anew. Control: who could does, and an event says so.
func TestAnInvitationIsTakenBackByWhoCouldHaveMadeIt(t *testing.T) {
	t.Parallel()
	o := shared(t).office(t)
	owner := o.keys[corp.RoleOwner]
	invite := func(as, email string, role corp.Role) reply {
		t.Helper()
		return o.do(t, as, http.MethodPost, "/v1/invitations", nil, asJSON(t, invitationRequest{Email: email, Role: role}))
	}
	for name, c := range map[string]struct {
		key string
		of  corp.Role
	}{
		"an admin, of an owner":        {o.keys[corp.RoleAdmin], corp.RoleOwner},
		"a narrowed key, of an admin":  {o.narrowed(corp.MemberWrite), corp.RoleAdmin},
		"the workspace's, of an owner": {o.service(), corp.RoleOwner},
	} {
		email := unique("heir") + "@example.com"
		open := made[corp.Invitation](t, invite(owner, email, c.of))
		path := "/v1/invitations/" + open.ID.String()
		if got := invite(c.key, email, corp.RoleViewer); got.status != http.StatusForbidden {
			t.Errorf("%s, replaced: %d %s", name, got.status, got.body)
		}
		if got := o.do(t, c.key, http.MethodDelete, path, nil, ""); got.status != http.StatusForbidden {
			t.Errorf("%s, revoked: %d %s", name, got.status, got.body)
		}
		left := must[corp.List[corp.Invitation]](t)(o.owner().Invitations(t.Context(), corp.Page{}))
		if !slices.ContainsFunc(left.Items, func(i corp.Invitation) bool { return i.ID == open.ID && i.Role == c.of }) {
			t.Errorf("%s: it is gone", name)
		}
		next := made[corp.Invitation](t, invite(owner, email, corp.RoleViewer))
		var revoked []string
		for _, e := range must[[]corp.Event](t)(o.owner().Events(t.Context(), 0, 0)) {
			if e.Kind == "invitation.revoked" {
				revoked = append(revoked, string(e.Data))
			}
		}
		if !slices.ContainsFunc(revoked, func(data string) bool { return strings.Contains(data, open.ID.String()) }) {
			t.Errorf("%s: nothing says that it was replaced: %v", name, revoked)
		}
		if got := o.do(t, c.key, http.MethodDelete, "/v1/invitations/"+next.ID.String(), nil, ""); got.status != http.StatusOK {
			t.Errorf("%s, of a viewer: %d %s", name, got.status, got.body)
		}
	}
}

// Whom no letter reaches, and who could not sign in, is not invited: and nothing is left of it.
func TestOnlyAddressesThatCanSignInAreInvited(t *testing.T) {
	t.Parallel()
	o := shared(t).office(t)
	for _, bad := range []string{"übel@example.com", "ada@exämple.com", "ada@[127.0.0.1]", "Ada <ada@example.com>", "ada@example.com\r\nBcc: eve@example.com", "ada"} {
		if got := o.do(t, o.keys[corp.RoleOwner], http.MethodPost, "/v1/invitations", nil, asJSON(t, invitationRequest{Email: bad, Role: corp.RoleViewer})); got.status != http.StatusUnprocessableEntity || got.problem(t).Field != "email" {
			t.Errorf("%q: %d %s", bad, got.status, got.body)
		}
	}
	if left := must[corp.List[corp.Invitation]](t)(o.owner().Invitations(t.Context(), corp.Page{})); len(left.Items) != 0 {
		t.Errorf("%+v", left.Items)
	}
}

// Five workspaces are no five times as many mails to one address.
func TestInvitationsToOneAddressAreCountedOverAllWorkspaces(t *testing.T) {
	t.Parallel()
	h := shared(t)
	flows := *h.api.Identity
	flows.Limits = limit.NewMemory(func() time.Time { return time.Unix(0, 0) }, 100)
	still := &API{Config: h.api.Config}
	still.Identity = &flows
	email, sent := "victim-"+strings.ToLower(rand.Text())+"@example.com", 0
	for range 5 {
		o := h.office(t)
		who := corp.Identity{Workspace: o.ws, Actor: "x", Role: corp.RoleOwner}
		for range 4 {
			_, err := still.createInvitation(t.Context(), who, &createInvitationInput{Body: invitationRequest{Email: email, Role: corp.RoleViewer}})
			if err == nil {
				sent++
				continue
			}
			e, is := errors.AsType[*corp.Error](err)
			if again, told := errors.AsType[*overrun](err); !is || e.Kind != corp.KindLimit || e.Field != "email" || !told || again.retry != 20*time.Minute && again.retry != 5*time.Minute {
				t.Errorf("%v", err)
			}
		}
	}
	if sent != 9 { // three a workspace, until it is too many in all
		t.Errorf("%d mails to one address", sent)
	}
}

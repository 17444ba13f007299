package identity_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/identity"
)

func TestALinkMakesTheAccountAndIsSpent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	email := unique("ada")
	ok(t, w.Register(t.Context(), "  "+strings.ToUpper(email), "Ada", from(t)))
	if _, err := w.login(t, email, good, ""); err == nil {
		t.Fatal("there is an account before the link was opened")
	}
	l, link := w.letterTo(t, email)
	if !strings.Contains(l.text, "https://corp.example.com/verify?token="+link) {
		t.Errorf("the letter says %s", l.text)
	}
	for _, weak := range []string{"", "short", "password1", email} {
		_, err := w.Verify(t.Context(), identity.Newcomer{Token: link, Password: weak}, from(t))
		want(t, err, corp.KindInvalid, "")
	}
	in, err := w.Verify(t.Context(), identity.Newcomer{Token: link, Password: good}, from(t))
	ok(t, err)
	claims, err := w.Tokens().Verify(in.Access)
	if err != nil || claims.User != in.User || claims.Session != in.Session {
		t.Errorf("%+v, %v", claims, err)
	}
	_, err = w.Verify(t.Context(), identity.Newcomer{Token: link, Password: good}, from(t))
	want(t, err, corp.KindNotFound, "link")
	_, err = w.login(t, strings.ToUpper(email), good, "")
	ok(t, err)
	me, err := w.Me(t.Context(), corp.Identity{User: in.User})
	if err != nil || me.User.Name != "Ada" || me.User.Email != email || !me.User.Password || len(me.Workspaces) != 0 {
		t.Errorf("%+v, %v", me, err)
	}
}

func TestOfManyWhoOpenALinkAtOnceOneMakesTheAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	email := unique("ada")
	ok(t, w.Register(t.Context(), email, "Ada", from(t)))
	_, one := w.letterTo(t, email)
	ok(t, w.Register(t.Context(), email, "Ada", from(t)))
	_, two := w.letterTo(t, email)
	var made atomic.Int64
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			_, err := w.Verify(t.Context(), identity.Newcomer{Token: []string{one, two}[i%2], Password: good}, from(t))
			switch {
			case err == nil:
				made.Add(1)
			case corp.KindOf(err) != corp.KindNotFound && corp.KindOf(err) != corp.KindConflict:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made.Load() != 1 {
		t.Errorf("%d accounts", made.Load())
	}
}

// Attack cases 7 and 10. Control: each link does what it is for, in TestALinkMakesTheAccountAndIsSpent.
func TestALinkIsGoodForItsPurposeOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	email := unique("ada")
	ok(t, w.Register(t.Context(), email, "Ada", from(t)))
	_, verify := w.letterTo(t, email)
	s := w.join(t, corp.SessionCLI)
	ok(t, w.Reset(t.Context(), s.email, from(t)))
	_, reset := w.letterTo(t, s.email)
	fresh := unique("grace")
	ok(t, w.ChangeEmail(t.Context(), s.who, identity.Again{}, fresh, from(t)))
	_, change := w.letterTo(t, fresh)
	for _, token := range []string{verify, change} {
		want(t, only(w.ConfirmReset(t.Context(), token, another, false, from(t))), corp.KindNotFound, "link")
	}
	for _, token := range []string{reset, "", "gc_link_x", corp.NewSecret(corp.KeyPrefixLink), corp.NewSecret(corp.KeyPrefixRefresh), s.in.Refresh, s.in.Access} {
		_, err := w.Verify(t.Context(), identity.Newcomer{Token: token, Password: good, Name: "Eve"}, from(t))
		want(t, err, corp.KindNotFound, "link")
		_, err = w.AcceptAsNew(t.Context(), identity.Newcomer{Token: token, Password: good, Name: "Eve"}, from(t))
		want(t, err, corp.KindNotFound, "link")
		want(t, w.ConfirmEmail(t.Context(), s.who, token, from(t)), corp.KindNotFound, "link")
	}
}

func TestWhatIsNoAddressOrNameIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, bad := range []string{
		"", "ada", "@example.com", "ada@", "ada@ex ample.com", "Ada <ada@example.com>", "ada@example.com, eve@example.com", "ada@example.com\r\nBcc: eve@example.com",
		"ada@[127.0.0.1]", "ädä@example.com", "ada@exämple.com", "ada\x00@example.com", strings.Repeat("a", 250) + "@example.com", `"ada lovelace"@example.com`,
	} {
		want(t, w.Register(t.Context(), bad, "Ada", from(t)), corp.KindInvalid, "")
		want(t, w.Reset(t.Context(), bad, from(t)), corp.KindInvalid, "")
		_, err := w.login(t, bad, good, "")
		want(t, err, corp.KindInvalid, "")
	}
	for _, bad := range []string{"", "   ", strings.Repeat("a", 81), "Ada\nhttps://evil.example", "Ada\x1b[31m"} {
		want(t, w.Register(t.Context(), unique("ada"), bad, from(t)), corp.KindInvalid, "")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.mail) != 0 {
		t.Errorf("%d letters were sent", len(w.mail))
	}
}

// Nobody's mailbox is flooded, and who asks too often holds back their own letters and not
// those that the address's owner asks for.
func TestAnAddressIsNotFloodedWithLetters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	email, here := unique("ada"), from(t)
	for range 50 {
		ok(t, w.Register(t.Context(), email, "Ada", here))
		ok(t, w.Reset(t.Context(), email, here))
	}
	if n := w.letters(email); n != 3 {
		t.Errorf("%d letters that one network asked for", n)
	}
	ok(t, w.Reset(t.Context(), email, from(t)))
	if n := w.letters(email); n != 4 {
		t.Errorf("%d letters with the owner's", n)
	}
	for range 50 {
		ok(t, w.Reset(t.Context(), email, from(t)))
	}
	if n := w.letters(email); n != 12 {
		t.Errorf("%d letters that everybody asked for", n)
	}
	w.clock.Advance(10 * time.Minute)
	for range 50 {
		ok(t, w.Reset(t.Context(), email, here))
		ok(t, w.Reset(t.Context(), email, from(t)))
	}
	if n := w.letters(email); n != 17 {
		t.Errorf("%d letters ten minutes later", n)
	}
}

func TestAnInvitationMakesTheAccountAndTheMember(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ws, email := workspace(t, w), unique("bob")
	link := corp.NewSecret(corp.KeyPrefixLink)
	_, err := w.people.In(ws).Invite(t.Context(), "system", email, corp.RoleAdmin, w.ring.Hash(link), 1e12)
	ok(t, err)
	in, err := w.AcceptAsNew(t.Context(), identity.Newcomer{Token: link, Name: "Bob", Password: good, Kind: corp.SessionCLI}, from(t))
	ok(t, err)
	who, err := w.people.BySession(t.Context(), in.Session)
	if err != nil || who.Workspace != ws || who.Role != corp.RoleAdmin {
		t.Errorf("%+v, %v", who.Identity, err)
	}
	if c, err := w.Tokens().Verify(in.Access); err != nil || c.Workspace != ws {
		t.Errorf("the token is for %s, %v", c.Workspace, err)
	}
	_, err = w.AcceptAsNew(t.Context(), identity.Newcomer{Token: link, Name: "Bob", Password: good}, from(t))
	want(t, err, corp.KindNotFound, "link")
}

// Attack case 7. Control: whom it is for accepts it and works there.
func TestAnInvitationIsForItsAddressOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ws, bob, eve := workspace(t, w), w.join(t, corp.SessionCLI), w.join(t, corp.SessionCLI)
	link := corp.NewSecret(corp.KeyPrefixLink)
	_, err := w.people.In(ws).Invite(t.Context(), "system", bob.email, corp.RoleMember, w.ring.Hash(link), 1e12)
	ok(t, err)
	_, err = w.Accept(t.Context(), eve.who, link)
	want(t, err, corp.KindNotFound, "link")
	m, err := w.Accept(t.Context(), bob.who, link)
	if err != nil || m.WorkspaceID != ws || m.Role != corp.RoleMember {
		t.Errorf("%+v, %v", m, err)
	}
	if _, _, err := w.WorkIn(t.Context(), eve.who, ws); corp.KindOf(err) != corp.KindNotFound {
		t.Errorf("a stranger works there: %v", err)
	}
	access, _, err := w.WorkIn(t.Context(), bob.who, ws)
	ok(t, err)
	if c, err := w.Tokens().Verify(access); err != nil || c.Workspace != ws {
		t.Errorf("%+v, %v", c, err)
	}
	ok(t, w.Leave(t.Context(), bob.who, ws))
	want(t, w.Leave(t.Context(), bob.who, ws), corp.KindNotFound, "")
	want(t, w.Leave(t.Context(), eve.who, ws), corp.KindNotFound, "")
	if who, err := w.people.BySession(t.Context(), bob.in.Session); err != nil || who.Role != "" {
		t.Errorf("after leaving: %+v, %v", who.Identity, err)
	}
}

func TestWhereSignUpIsClosedOnlyTheInvitedMakeAccounts(t *testing.T) {
	t.Parallel()
	open := newWorld(t)
	w := newWorld(t, func(c *identity.Config) { c.SignUp = false })
	known, stranger := open.join(t, corp.SessionCLI).email, unique("bob")
	for _, email := range []string{known, stranger} {
		want(t, w.Register(t.Context(), email, "Bob", from(t)), corp.KindForbidden, "sign_up_closed")
		if n := w.letters(email); n != 0 {
			t.Errorf("%d letters to %s", n, email)
		}
		ok(t, w.Reset(t.Context(), email, from(t)))
		if n := w.letters(email); n != 1 {
			t.Errorf("%d letters to %s", n, email)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.mail {
		if l.to == stranger && strings.Contains(l.text, corp.KeyPrefixLink) {
			t.Errorf("a stranger got a link: %s", l.text)
		}
	}
}

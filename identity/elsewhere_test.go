package identity_test

import (
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"testing"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/identity"
	"github.com/genericcorp/corp/identity/oidc"
	"github.com/genericcorp/corp/identity/oidc/oidctest"
)

const callback = "https://corp.example.com/v1/auth/elsewhere/callback"

// newElsewhere is a world with an issuer of our own, trusted with addresses and not.
func newElsewhere(t *testing.T) (*world, *oidctest.Issuer) {
	t.Helper()
	issuer := oidctest.New()
	server := httptest.NewServer(issuer)
	t.Cleanup(server.Close)
	issuer.Address = server.URL
	return newWorld(t, func(c *identity.Config) {
		var err error
		c.Elsewhere, err = oidc.New(server.Client(), c.Ring, callback, c.Now, []oidc.Config{
			{Name: "trusted", Issuer: server.URL, ClientID: oidctest.ClientID, ClientSecret: oidctest.ClientSecret, TrustEmail: true},
			{Name: "other", Issuer: server.URL, ClientID: oidctest.ClientID, ClientSecret: oidctest.ClientSecret},
		})
		ok(t, err)
	}), issuer
}

// visit goes through the issuer as a browser does.
func (w *world) visit(t *testing.T, who corp.Identity, name string) (identity.SignedIn, bool, error) {
	t.Helper()
	address, cookie, err := w.BeginElsewhere(t.Context(), who, name)
	ok(t, err)
	return w.comeBack(t, address, cookie)
}

// comeBack is what follows when a browser was sent to the issuer.
func (w *world) comeBack(t *testing.T, address, cookie string) (identity.SignedIn, bool, error) {
	t.Helper()
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	ok(t, err)
	res, err := client.Do(req)
	ok(t, err)
	_ = res.Body.Close()
	back, err := res.Location()
	ok(t, err)
	q := back.Query()
	return w.FinishElsewhere(t.Context(), cookie, oidc.Answer{Name: path.Base(back.Path), State: q.Get("state"), Code: q.Get("code"), Issuer: q.Get("iss")}, from(t))
}

func person(email string, verified bool) map[string]any {
	return map[string]any{"sub": rand.Text(), "email": email, "email_verified": verified, "name": "Ada"}
}

func TestATrustedIssuerMakesAnAccountAndSignsInByItsSubject(t *testing.T) {
	t.Parallel()
	w, issuer := newElsewhere(t)
	ada := person(unique("ada"), true)
	issuer.Become(ada)
	first, _, err := w.visit(t, corp.Identity{}, "trusted")
	ok(t, err)
	ada["email"] = unique("moved") // there; here nothing changes
	issuer.Become(ada)
	again, _, err := w.visit(t, corp.Identity{}, "trusted")
	if err != nil || again.User != first.User || again.Cookie == "" || again.Cookie == first.Cookie {
		t.Errorf("%+v, %v", again, err)
	}
	me, err := w.Me(t.Context(), corp.Identity{User: first.User})
	if err != nil || me.User.Password || len(me.Elsewhere) != 1 {
		t.Errorf("%+v, %v", me, err)
	}
	who := corp.Identity{User: again.User, Session: again.Session}
	err = w.UnlinkElsewhere(t.Context(), who, identity.Again{}, me.Elsewhere[0].Issuer, me.Elsewhere[0].Subject, from(t))
	want(t, err, corp.KindConflict, "")
	if in, err := w.login(t, me.User.Email, "", ""); err == nil {
		t.Errorf("an account without a password takes none: %+v", in)
	}
}

func TestOnlyATrustedIssuersVerifiedAddressJoinsAnAccount(t *testing.T) {
	t.Parallel()
	w, issuer := newElsewhere(t)
	victim, careful := w.join(t, corp.SessionCLI), w.join(t, corp.SessionCLI)
	w.protect(t, careful)
	for name, c := range map[string]struct {
		issuer string
		person map[string]any
		code   string
	}{
		"not verified":            {"trusted", person(victim.email, false), "email_unverified"},
		"not trusted":             {"other", person(victim.email, true), "link_first"},
		"a second factor":         {"trusted", person(careful.email, true), "link_first"},
		"not trusted, no account": {"other", person(unique("new"), true), "link_first"},
		"no address":              {"trusted", map[string]any{"sub": rand.Text()}, "email_unverified"},
		"an address in two lines": {"trusted", person("eve@example.com\r\nBcc: x@example.com", true), "email_unverified"},
	} {
		issuer.Become(c.person)
		in, _, err := w.visit(t, corp.Identity{}, c.issuer)
		if in != (identity.SignedIn{}) {
			t.Errorf("%s: signed in as %s", name, in.User)
		}
		want(t, err, corp.KindForbidden, c.code)
	}
	issuer.Become(person(victim.email, true))
	in, _, err := w.visit(t, corp.Identity{}, "trusted")
	if err != nil || in.User != victim.in.User {
		t.Errorf("the control: %+v, %v", in, err)
	}
}

func TestWhoIsSignedInLinksAndUnlinks(t *testing.T) {
	t.Parallel()
	w, issuer := newElsewhere(t)
	s, eve := w.join(t, corp.SessionBrowser), w.join(t, corp.SessionBrowser)
	mine := person(unique("private"), false)
	issuer.Become(mine)
	_, linked, err := w.visit(t, s.who, "other")
	if err != nil || !linked {
		t.Fatalf("%v, %v", linked, err)
	}
	in, linked, err := w.visit(t, corp.Identity{}, "other")
	if err != nil || linked || in.User != s.in.User {
		t.Errorf("%+v, %v, %v", in, linked, err)
	}
	_, _, err = w.visit(t, eve.who, "other") // what signs somebody else in
	want(t, err, corp.KindConflict, "")
	stale(t, s.in.Session)
	_, _, err = w.BeginElsewhere(t.Context(), s.who, "other")
	want(t, err, corp.KindForbidden, "step_up")
	ok(t, w.UnlinkElsewhere(t.Context(), s.who, identity.Again{Password: good}, issuer.Address, mine["sub"].(string), s.from))
	_, _, err = w.visit(t, corp.Identity{}, "other")
	want(t, err, corp.KindForbidden, "")
	_, _, err = w.BeginElsewhere(t.Context(), corp.Identity{}, "nowhere")
	want(t, err, corp.KindNotFound, "")
}

// Whoever had the mailbox or the account for a while may have linked an account of their
// own, and a person who sets a new password by mail means to be alone. Control: until then it
// signs in, with a password that is changed as well, and after it can be linked again.
func TestAResetUnlinksEveryAccountElsewhere(t *testing.T) {
	t.Parallel()
	w, issuer := newElsewhere(t)
	s := w.join(t, corp.SessionBrowser)
	issuer.Become(person(unique("eve"), false))
	_, _, err := w.visit(t, s.who, "other")
	ok(t, err)
	now, err := w.ChangePassword(t.Context(), s.who, identity.Again{}, another, false, s.from)
	ok(t, err)
	s.who.Session = now.Session
	in, _, err := w.visit(t, corp.Identity{}, "other")
	if err != nil || in.User != s.in.User {
		t.Fatalf("%+v, %v", in, err)
	}
	address, cookie, err := w.BeginElsewhere(t.Context(), s.who, "other")
	ok(t, err)

	ok(t, w.Reset(t.Context(), s.email, from(t)))
	_, link := w.letterTo(t, s.email)
	ok(t, only(w.ConfirmReset(t.Context(), link, good, false, from(t))))
	if l, _ := w.letterTo(t, s.email); !strings.Contains(l.text, strings.TrimPrefix(issuer.Address, "http://")) || !strings.Contains(l.text, "unlinked") {
		t.Errorf("the person was told: %s", l.text)
	}
	_, _, err = w.visit(t, corp.Identity{}, "other")
	want(t, err, corp.KindForbidden, "")
	_, _, err = w.comeBack(t, address, cookie) // what was begun before
	want(t, err, corp.KindUnauthenticated, "")

	again, err := w.SignIn(t.Context(), identity.Login{Email: s.email, Password: good, Kind: corp.SessionBrowser}, from(t))
	ok(t, err)
	_, linked, err := w.visit(t, corp.Identity{User: again.User, Session: again.Session}, "other")
	if err != nil || !linked {
		t.Errorf("linked again: %v, %v", linked, err)
	}
}

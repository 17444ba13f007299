package oidc_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/identity/oidc"
	"github.com/genericcorp/corp/identity/oidc/oidctest"
	"github.com/genericcorp/corp/seal"
)

const redirect = "https://corp.example.com/v1/auth/oidc/callback"

type world struct {
	*oidc.Party
	issuer *oidctest.Issuer
	server *httptest.Server

	mu  sync.Mutex
	now time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{issuer: oidctest.New(), now: time.Now()}
	w.server = httptest.NewServer(w.issuer)
	t.Cleanup(w.server.Close)
	w.issuer.Address = w.server.URL
	w.issuer.Become(map[string]any{"sub": "ada-1", "email": "Ada@Example.com", "email_verified": true, "name": "Ada"})
	w.Party = w.party(t, strings.Repeat("k", seal.SecretSize))
	return w
}

func (w *world) party(t *testing.T, secret string) *oidc.Party {
	t.Helper()
	ring, err := seal.New([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	p, err := oidc.New(w.server.Client(), ring, redirect, w.clock, []oidc.Config{
		{Name: "ours", Issuer: w.server.URL, ClientID: oidctest.ClientID, ClientSecret: oidctest.ClientSecret, TrustEmail: true},
		{Name: "away", Issuer: "http://127.0.0.1:1", ClientID: "x"},
		{Name: "wrong-secret", Issuer: w.server.URL, ClientID: oidctest.ClientID, ClientSecret: "guessed"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// visit is the browser: it goes where it is sent and brings back the answer.
func (w *world) visit(t *testing.T, address string) oidc.Answer {
	t.Helper()
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, _ := io.ReadAll(res.Body)
	back, err := res.Location()
	if err != nil {
		t.Fatalf("%s: %s", res.Status, text)
	}
	if !strings.HasPrefix(back.String(), redirect+"/") {
		t.Fatalf("sent back to %s", back)
	}
	q := back.Query()
	return oidc.Answer{Name: path.Base(back.Path), State: q.Get("state"), Code: q.Get("code"), Issuer: q.Get("iss")}
}

func (w *world) begin(t *testing.T, name string) (oidc.Answer, string) {
	t.Helper()
	address, cookie, err := w.Begin(t.Context(), name, corp.UserID{}, corp.SessionID{})
	if err != nil {
		t.Fatal(err)
	}
	return w.visit(t, address), cookie
}

func TestAPersonIsWhoTheIssuerSays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	user, session := corp.NewID[corp.UserID](), corp.NewID[corp.SessionID]()
	address, cookie, err := w.Begin(t.Context(), "ours", user, session)
	if err != nil {
		t.Fatal(err)
	}
	got, attempt, err := w.Finish(t.Context(), cookie, w.visit(t, address))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(oidc.Person{Issuer: w.server.URL, Subject: "ada-1", Email: "ada@example.com", Name: "Ada", TrustEmail: true}, got); diff != "" {
		t.Error(diff)
	}
	if attempt.User != user || attempt.Session != session {
		t.Errorf("the attempt was of %s in %s", attempt.User, attempt.Session)
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{oidctest.ClientSecret, attempt.Verifier} {
		if strings.Contains(u.String(), secret) || strings.Contains(cookie, secret) {
			t.Error("a secret travels through the browser in clear")
		}
	}
}

func TestAnAddressCountsOnlyWhenItIsVerified(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		verified any
		want     string
	}{
		"true": {true, "eve@example.com"}, "text": {"true", "eve@example.com"}, "false": {false, ""}, "text false": {"false", ""}, "missing": {nil, ""},
		"one": {1, ""}, "null": {"null", ""}, "a list": {[]any{true}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			person := map[string]any{"sub": "eve-1", "email": "eve@example.com", "email_verified": c.verified}
			if c.verified == nil {
				delete(person, "email_verified")
			}
			w.issuer.Become(person)
			answer, cookie := w.begin(t, "ours")
			got, _, err := w.Finish(t.Context(), cookie, answer)
			if err != nil || got.Email != c.want || got.Subject != "eve-1" {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

// What an id token leaves out the issuer is asked for, and believed of that person only.
func TestAnIssuerThatTellsOfSomebodyElseIsNotBelieved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issuer.Become(map[string]any{"sub": "eve-1"})
	for subject, want := range map[string]string{"eve-1": "ada@example.com", "ada-1": "", "": ""} {
		w.issuer.Tell(map[string]any{"sub": subject, "email": "ada@example.com", "email_verified": true})
		answer, cookie := w.begin(t, "ours")
		got, _, err := w.Finish(t.Context(), cookie, answer)
		if good := want != ""; got.Email != want || good != (err == nil) || !good && corp.KindOf(err) != corp.KindUnauthenticated {
			t.Errorf("told of %q: %+v, %v", subject, got, err)
		}
	}
}

// Attack cases 7 and 19. Control: what began in this browser ends in it, once.
func TestWhatDidNotBeginInThisBrowserDoesNotEndInIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	answer, cookie := w.begin(t, "ours")
	theirs, otherCookie := w.begin(t, "ours")
	elsewhere := w.party(t, strings.Repeat("o", seal.SecretSize))
	_, foreign, err := elsewhere.Begin(t.Context(), "ours", corp.UserID{}, corp.SessionID{})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		cookie string
		answer oidc.Answer
	}{
		"no cookie":               {"", answer},
		"a cookie of chance":      {"AAAA", answer},
		"another's cookie":        {otherCookie, answer},
		"another's answer":        {cookie, theirs},
		"another's code":          {cookie, oidc.Answer{Name: "ours", State: answer.State, Code: theirs.Code, Issuer: answer.Issuer}},
		"another installation's":  {foreign, answer},
		"no state":                {cookie, oidc.Answer{Name: "ours", Code: answer.Code}},
		"another issuer's answer": {cookie, oidc.Answer{Name: "ours", State: answer.State, Code: answer.Code, Issuer: "https://evil.example"}},
		"a no":                    {cookie, oidc.Answer{Name: "ours", State: answer.State, Error: "access_denied"}},
		"no code":                 {cookie, oidc.Answer{Name: "ours", State: answer.State}},
		"a code that never was":   {cookie, oidc.Answer{Name: "ours", State: answer.State, Code: "guessed"}},
		"a changed cookie":        {cookie[:40] + "A" + cookie[41:], oidc.Answer{Name: "ours", State: answer.State, Code: "x"}},
	} {
		if who, _, err := w.Finish(t.Context(), c.cookie, c.answer); corp.KindOf(err) != corp.KindUnauthenticated || who != (oidc.Person{}) {
			t.Errorf("%s: %+v, %v", name, who, err)
		}
	}
	if _, _, err := w.Finish(t.Context(), cookie, answer); err != nil {
		t.Errorf("the control: %v", err)
	}
	if _, _, err := w.Finish(t.Context(), cookie, answer); corp.KindOf(err) != corp.KindUnauthenticated {
		t.Errorf("twice: %v", err)
	}
	answer, cookie = w.begin(t, "ours")
	w.mu.Lock()
	w.now = w.now.Add(oidc.AttemptLife + time.Second)
	w.mu.Unlock()
	if _, _, err := w.Finish(t.Context(), cookie, answer); corp.KindOf(err) != corp.KindUnauthenticated {
		t.Errorf("too late: %v", err)
	}
}

func TestALyingTokenIsRefused(t *testing.T) {
	t.Parallel()
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	public := x509.MarshalPKCS1PublicKey(w.issuer.PublicKey())
	set := func(name string, value any) func(jwt.MapClaims) (jwt.SigningMethod, any) {
		return func(c jwt.MapClaims) (jwt.SigningMethod, any) {
			if c[name] = value; value == nil {
				delete(c, name)
			}
			return nil, nil
		}
	}
	for name, lie := range map[string]func(jwt.MapClaims) (jwt.SigningMethod, any){
		"unsigned": func(jwt.MapClaims) (jwt.SigningMethod, any) {
			return jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType
		},
		"the client's secret": func(jwt.MapClaims) (jwt.SigningMethod, any) {
			return jwt.SigningMethodHS256, []byte(oidctest.ClientSecret)
		},
		"the public key":          func(jwt.MapClaims) (jwt.SigningMethod, any) { return jwt.SigningMethodHS256, public },
		"another key":             func(jwt.MapClaims) (jwt.SigningMethod, any) { return jwt.SigningMethodRS256, other },
		"another issuer":          set("iss", "https://evil.example"),
		"another audience":        set("aud", "somebody-else"),
		"a second audience":       set("aud", []string{oidctest.ClientID, "somebody-else"}),
		"another party":           set("azp", "somebody-else"),
		"expired":                 set("exp", time.Now().Add(-time.Hour).Unix()),
		"no expiry":               set("exp", nil),
		"another nonce":           set("nonce", "x"),
		"no nonce":                set("nonce", nil),
		"no subject":              set("sub", nil),
		"a subject of a kilobyte": set("sub", strings.Repeat("x", 1024)),
	} {
		w.issuer.Lie(lie)
		answer, cookie := w.begin(t, "ours")
		if who, _, err := w.Finish(t.Context(), cookie, answer); corp.KindOf(err) != corp.KindUnauthenticated || who != (oidc.Person{}) {
			t.Errorf("%s: %+v, %v", name, who, err)
		}
	}
	w.issuer.Lie(nil)
	answer, cookie := w.begin(t, "ours")
	if _, _, err := w.Finish(t.Context(), cookie, answer); err != nil {
		t.Errorf("the control: %v", err)
	}
	answer, cookie = w.begin(t, "wrong-secret")
	if _, _, err := w.Finish(t.Context(), cookie, answer); corp.KindOf(err) != corp.KindUnauthenticated {
		t.Errorf("a wrong client secret: %v", err)
	}
}

func TestAnIssuerThatIsAwayIsSaidToBe(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, _, err := w.Begin(t.Context(), "away", corp.UserID{}, corp.SessionID{}); corp.KindOf(err) != corp.KindUnavailable {
		t.Errorf("away: %v", err)
	}
	if _, _, err := w.Begin(t.Context(), "no-such", corp.UserID{}, corp.SessionID{}); corp.KindOf(err) != corp.KindNotFound {
		t.Errorf("unknown: %v", err)
	}
}

func TestAConfigurationThatCannotWorkIsRefused(t *testing.T) {
	t.Parallel()
	ring, err := seal.New([]byte(strings.Repeat("k", seal.SecretSize)))
	if err != nil {
		t.Fatal(err)
	}
	good := oidc.Config{Name: "ours", Issuer: "https://accounts.example.com", ClientID: "x"}
	for name, change := range map[string]func(*oidc.Config){
		"name": func(c *oidc.Config) { c.Name = "Not A Name" }, "issuer": func(c *oidc.Config) { c.Issuer = "accounts.example.com" }, "scheme": func(c *oidc.Config) { c.Issuer = "file:///etc" },
		"query": func(c *oidc.Config) { c.Issuer += "?x=1" }, "client": func(c *oidc.Config) { c.ClientID = "" }, "twice": func(*oidc.Config) {},
	} {
		bad := good
		change(&bad)
		list := []oidc.Config{bad}
		if name == "twice" {
			list = append(list, good)
		}
		if _, err := oidc.New(http.DefaultClient, ring, redirect, time.Now, list); corp.KindOf(err) != corp.KindInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if p, err := oidc.New(http.DefaultClient, ring, redirect, time.Now, []oidc.Config{good}); err != nil || len(p.Names()) != 1 {
		t.Errorf("the control: %v", err)
	}
}

package portal_test

import (
	"bufio"
	"encoding/base32"
	"fmt"
	"html"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/identity"
	"github.com/genericcorp/corp/identity/otp"
	"github.com/genericcorp/corp/postgres/pgtest"
)

func TestSomebodySignsUpInAndOut(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	b, email := w.browser(t), unique("grace")
	b.open("/").shows(200, "/sign-in", "Sign up", "Forgotten password", "Sign in with acme")
	b.post("/sign-up", "email", "nobody", "name", "Grace").shows(422, "/sign-up", `value="nobody"`, `value="Grace"`, `aria-invalid="true"`, "Error: ")
	b.post("/sign-up", "email", email, "name", "Grace").shows(200, "/sign-up", "on its way")
	address, token := w.link(t, email)
	for range 3 { // a program that looks at mails opens links
		b.open(address).shows(200, "/verify", email, `value="Grace"`)
	}
	b.post("/verify", "token", token, "name", "Grace Hopper", "password", "short").shows(422, "/verify", "A password has at least", `value="Grace Hopper"`)
	b.post("/verify", "token", token, "name", "Grace Hopper", "password", good).shows(200, "/account", "Grace Hopper", email, "Browser (this one)")
	b.open(address).shows(404, "/verify", "This link was used before")
	b.post("/sign-out").shows(200, "/sign-in", "You are signed out")
	b.open("/account").shows(200, "/sign-in")
	b.post("/sign-in", "email", email, "password", good, "next", "https://evil.example/").shows(200, "/account", email)
	b.post("/sign-out").shows(200, "/sign-in")
	b.post("/sign-in", "email", email, "password", another, "next", "/account").shows(401, "/sign-in", "is not right", `value="`+email+`"`)
	if strings.Contains(b.page, another) {
		t.Error("a page shows what was typed as a password")
	}
	b.post("/sign-in", "email", email, "password", good).shows(429, "/sign-in", "too many attempts")
	if b.header.Get("Retry-After") == "" {
		t.Error("nobody says when to come again")
	}
	if logged := w.log.String(); strings.Contains(logged, token) || strings.Contains(logged, good) {
		t.Error("the log has a secret")
	}
}

func TestAKnownAndAnUnknownAddressGetTheSamePage(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	_, known := w.join(t, "Ada")
	unknown := unique("x")
	for _, path := range []string{"/sign-up", "/reset"} {
		b := w.browser(t)
		one := strings.ReplaceAll(b.post(path, "email", known, "name", "Ada").shows(200, path).page, known, "A")
		two := strings.ReplaceAll(b.post(path, "email", unknown, "name", "Ada").shows(200, path).page, unknown, "A")
		if one != two {
			t.Errorf("%s differs:\n%s\n%s", path, one, two)
		}
	}
}

func TestAForgottenPasswordIsSetAnewWithAMail(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	b, email := w.join(t, "Ada")
	fresh := w.browser(t)
	fresh.post("/reset", "email", email).shows(200, "/reset", "on its way")
	address, token := w.link(t, email)
	fresh.open(address).shows(200, "/reset", email)
	fresh.post("/reset/confirm", "token", token, "password", "password1").shows(422, "/reset/confirm", "first that anybody tries")
	fresh.post("/reset/confirm", "token", token, "password", another).shows(200, "/sign-in", "Your new password is set")
	fresh.post("/reset/confirm", "token", token, "password", good).shows(404, "/reset/confirm", "used before")
	b.isSignedOut()
	fresh.post("/sign-in", "email", email, "password", another).shows(200, "/account")
}

func TestASecondFactorIsSwitchedOnAskedForAndSwitchedOff(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	b, email := w.join(t, "Ada")
	b.post("/account/factor").shows(200, "/account/factor", "<svg", "otpauth://")
	text := b.hidden("secret")
	b.post("/account/factor/confirm", "code", "000000", "secret", text, "url", "otpauth://x").shows(422, "/account/factor/confirm", text)
	secret, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(text)
	ok(t, err)
	b.post("/account/factor/confirm", "code", otp.Code(secret, otp.Step(time.Now()))).shows(200, "/account/factor/confirm", "Your recovery codes")
	recovery, _, _ := strings.Cut(strings.Split(b.page, "<li>")[1], "</li>")

	other := w.browser(t)
	other.post("/sign-in", "email", email, "password", good, "next", "/account").shows(401, "/sign-in", "One-time code", "One more step")
	if strings.Contains(other.page, good) {
		t.Error("the page has the password in the clear")
	}
	kept := other.hidden("half")
	other.post("/sign-in", "half", kept[:len(kept)-4]+"AAAA", "code", recovery).shows(422, "/sign-in", "took too long")
	w.late.Store(int64(6 * time.Minute))
	other.post("/sign-in", "half", kept, "code", recovery).shows(422, "/sign-in", "took too long")
	w.late.Store(0)
	other.post("/sign-in", "half", kept, "code", recovery, "next", "/device").shows(200, "/device")
	other.post("/sign-out").shows(200, "/sign-in")
	other.post("/sign-in", "half", kept, "code", recovery).shows(401, "/sign-in", "is not right") // used up
	b.post("/account/factor/codes").shows(200, "/account/factor/codes", "Your recovery codes")
	b.post("/account/factor/off").shows(200, "/account", "The second factor is off")
}

func TestWhatIsWorthStealingASessionForNeedsAProofAndEndsOtherSessions(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	b, email := w.join(t, "Ada")
	other := w.browser(t)
	other.post("/sign-in", "email", email, "password", good).shows(200, "/account")
	b.post("/account/password", "password", another, "new", another).shows(403, "/account/password", "is not right")
	b.open("/account").shows(200, "/account", email)
}

func TestAPersonChangesNamePasswordAddressAndLeaves(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	b, email := w.join(t, "Ada")
	b.post("/account/name", "name", "<script>alert(1)</script>").shows(200, "/account", "&lt;script&gt;")
	if strings.Contains(b.page, "<script") {
		t.Error("a name is a script")
	}
	b.post("/account/name", "name", " ").shows(422, "/account/name", "A name has 1 to 80")
	other := w.browser(t)
	other.post("/sign-in", "email", email, "password", good).shows(200, "/account")
	b.post("/account/password", "new", "short").shows(422, "/account/password", `id="password-new-error"`)
	b.post("/account/password", "new", another).shows(200, "/account", "Your password is changed")
	other.isSignedOut()
	fresh := unique("new")
	b.post("/account/email", "email", fresh).shows(200, "/account", "on its way")
	address, token := w.link(t, fresh)
	w.browser(t).open(address).shows(200, "/sign-in")
	b.open(address).shows(200, "/email", fresh)
	b.post("/email", "token", token).shows(200, "/account", fresh)
	b.post("/account/delete").shows(200, "/sign-in", "going to be deleted")
	b.post("/sign-in", "email", fresh, "password", another).shows(200, "/account", "not going to be deleted")
}

func TestACommandLineIsLetInByWhoSeesItsCode(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	b, email := w.join(t, "Ada")
	from := identity.Caller{UserAgent: "corp/<b>1</b>"}
	d, err := w.BeginDevice(t.Context(), from)
	ok(t, err)
	nobody := w.browser(t)
	nobody.open("/device?code="+d.Code).shows(200, "/sign-in")
	if got := nobody.hidden("next"); got != "/device?code="+d.Code {
		t.Errorf("signing in leads to %q", got)
	}
	b.open("/device").shows(200, "/device", "As the command line shows it")
	b.open("/device?code=BBBB-BBBB").shows(404, "/device", "no command line with this code")
	b.open("/device?code="+d.Code).shows(200, "/device", email, "corp/&lt;b&gt;1&lt;/b&gt;")
	nobody.post("/device", "code", d.Code, "answer", "yes").shows(200, "/sign-in")
	b.post("/device", "code", d.Code, "answer", "yes").shows(200, "/device", "is signed in")
	if _, err := w.TakeDevice(t.Context(), d.Secret, from); err != nil {
		t.Errorf("it was let in: %v", err)
	}
	b.post("/device", "code", d.Code, "answer", "yes").shows(404, "/device", "no command line with this code")
	turned, err := w.BeginDevice(t.Context(), from)
	ok(t, err)
	b.post("/device", "code", turned.Code, "answer", "no").shows(200, "/device", "turned away")

	late, err := w.BeginDevice(t.Context(), from)
	ok(t, err)
	pgtest.New(t).Exec(t, `UPDATE sessions SET auth_at = now() - interval '1 hour' WHERE user_id = (SELECT user_id FROM users WHERE email = $1)`, email)
	if b.open("/device?code=" + late.Code); strings.Contains(b.page, "Your password") {
		t.Error("a password is asked for before it is known to be needed")
	}
	var places [2]corp.WorkspaceID
	for i := range places {
		places[i] = pgtest.Workspace(t)
		pgtest.New(t).Exec(t, `INSERT INTO members (workspace_id, user_id, role, created_by) SELECT $1, user_id, 'member', 'test' FROM users WHERE email = $2`, places[i], email)
	}
	for _, chosen := range places {
		b.post("/device", "code", late.Code, "answer", "yes", "workspace", chosen.String()).shows(403, "/device", "once more", "Your password", late.Code, chosen.String()+`" selected`)
	}
	b.post("/device", "code", late.Code, "answer", "yes", "password", good).shows(200, "/device", "is signed in")
}

func TestAnAccountElsewhereSignsIn(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	b := w.browser(t)
	b.site = "cross-site"
	b.open("/sign-in/elsewhere/acme").shows(200, "/sign-in")
	b.site = "same-origin"
	b.open("/sign-in/elsewhere/acme").shows(200, "/account", "Somebody New")
	b.post("/sign-out").shows(200, "/sign-in")
	b.open("/sign-in/elsewhere/back/acme?state=x&code=y").shows(b.status, "/sign-in/elsewhere/back/acme")
	if b.status < 400 {
		t.Errorf("what did not begin here ends here: %d", b.status)
	}
	b.open("/sign-in/elsewhere/nobody").shows(404, "/sign-in/elsewhere/nobody", "There is no such issuer")
}

// Attack case 56. Control: the account's page is shown, unchanged.
func TestNoPageOfAnotherSiteSendsOurForms(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	b, _ := w.join(t, "Ada")
	for _, site := range []string{"cross-site", "same-site"} {
		b.site = site
		for _, path := range []string{"/account/delete", "/sign-out", "/account/name", "/device", "/sign-in", "/sign-up"} {
			if b.post(path, "name", "Eve"); b.status != http.StatusForbidden {
				t.Errorf("%s from %s: %d", path, site, b.status)
			}
		}
	}
	b.site = ""
	if b.post("/account/name", "name", "Eve"); b.status != http.StatusForbidden {
		t.Errorf("with a cookie and from nowhere: %d", b.status)
	}
	b.site, b.form = "same-origin", "text/plain" // what a page may send without being asked
	b.post("/sign-out").shows(422, "/sign-out", "did not arrive whole")
	b.open("/account").shows(200, "/account", `value="Ada"`)
}

func TestEveryPageIsClosedToScriptsFramesAndCaches(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	b, email := w.join(t, "Ada")
	for _, path := range []string{"/account", "/device", "/sign-up", "/reset", "/verify?token=gc_link_x", "/invitation?token=x", "/portal.css", "/email?token=x"} {
		b.open(path)
		h := b.header
		if csp := h.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "script-src") || !strings.Contains(csp, "frame-ancestors 'none'") || !strings.Contains(csp, "form-action 'self'") {
			t.Errorf("%s: %s", path, csp)
		}
		if h.Get("Referrer-Policy") != "no-referrer" || !strings.Contains(h.Get("Cache-Control"), "no-store") || h.Get("X-Frame-Options") != "DENY" {
			t.Errorf("%s: %v", path, h)
		}
		if strings.Contains(b.page, "<script") || strings.Contains(b.page, " style=") || strings.Contains(b.page, " on") && strings.Contains(b.page, "onclick") {
			t.Errorf("%s has what the policy forbids", path)
		}
	}
	site, err := url.Parse(w.url)
	ok(t, err)
	if len(b.http.Jar.Cookies(site)) != 2 { // the session, and the note of who signed in
		t.Errorf("cookies: %v", b.http.Jar.Cookies(site))
	}
	b.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	b.post("/sign-in", "email", email, "password", good)
	for _, set := range b.header.Values("Set-Cookie") {
		if !strings.Contains(set, "; HttpOnly") || !strings.Contains(set, "; SameSite=Lax") {
			t.Errorf("the cookie: %q", set)
		}
	}
}

func TestSigningInLeadsOnlyToPagesOfOurs(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	b := w.browser(t)
	for _, next := range []string{"//evil.example", "https://evil.example/account", `/\evil.example`, "/account\r\nSet-Cookie: x=y", "javascript:alert(1)", "/v1/keys", "///evil.example/account"} {
		b.open("/sign-in?" + url.Values{"next": {next}}.Encode())
		if got := b.hidden("next"); got != "/account" {
			t.Errorf("%q leads to %q", next, got)
		}
	}
}

// What people call themselves and their workspaces is text on every page.
// Attack case 55. Control: an ordinary name is shown as it is.
func TestNoNameIsAPageOfItsOwn(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	for _, name := range []string{"Ada Lovelace", `<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' autofocus onfocus='alert(1)`, `javascript:alert(1)`, `{{.Secret}}`, `</title><script>`, `![x](https://evil.example/x.png)`, `<style>@import 'https://evil.example'</style>`} {
		b, email := w.join(t, name)
		b.open("/account").shows(200, "/account", email)
		page := b.page
		if shown := html.EscapeString(name); !strings.Contains(page, shown) && !strings.Contains(page, strings.ReplaceAll(shown, "&#34;", "&quot;")) {
			t.Errorf("%q is not shown", name)
		}
		for _, bad := range []string{"<script", "<img", "onerror=alert(1)>", "' autofocus onfocus='", "<style", "</title><"} {
			if strings.Contains(name, bad) && strings.Contains(page, bad) {
				t.Errorf("%q is on the page as it is", name)
			}
		}
		if strings.Contains(page, "href=\"javascript:") || strings.Contains(page, "src=\"https://evil") {
			t.Errorf("%q leads somewhere", name)
		}
	}
}

// Being signed in is no way around the limits of what strangers may do, and nobody
// takes all of what everybody signs in with.
// Attack case 59. Control: somebody of another network signs in.
func TestWhoIsSignedInCountsLikeAStranger(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	b, email := w.join(t, "Ada")
	other, theirs := w.join(t, "Grace")
	w.stand()
	b.from, other.from = "203.0.113.9", "198.51.100.7"
	sent := 0
	for range 200 {
		if b.post("/reset", "email", unique("stranger")); b.status < 400 {
			sent++
		}
	}
	if sent > 60 {
		t.Errorf("%d mails to strangers", sent)
	}
	for range 300 {
		b.post("/sign-in", "email", email, "password", good)
	}
	if b.status != http.StatusTooManyRequests {
		t.Errorf("the last of many sign-ins: %d", b.status)
	}
	if other.post("/sign-in", "email", theirs, "password", good); other.status >= 400 {
		t.Errorf("somebody else of another network: %d", other.status)
	}
}

// Attack case 58. Control: a stranger with the right password is paused.
func TestABrowserThatSignedInBeforeIsNotKeptOut(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	b, email := w.join(t, "Ada")
	w.stand()
	b.from = "192.0.2.77"
	b.post("/sign-out").shows(200, "/sign-in")
	stranger := w.browser(t)
	for i := range 30 {
		stranger.from = fmt.Sprintf("203.0.%d.9", i)
		stranger.post("/sign-in", "email", email, "password", another)
	}
	stranger.from = "198.51.100.4"
	stranger.post("/sign-in", "email", email, "password", good).shows(429, "/sign-in", "too many attempts")
	b.post("/sign-in", "email", email, "password", good).shows(200, "/account")
}

// Who sends a form is asked again when it has arrived: it may have taken its time.
func TestWhoIsSignedOutWhileTheirFormIsOnItsWayChangesNothing(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	b, email := w.join(t, "Ada")
	other := w.browser(t)
	other.post("/sign-in", "email", email, "password", good).shows(200, "/account")
	site, err := url.Parse(w.url)
	ok(t, err)
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", site.Host)
	ok(t, err)
	t.Cleanup(func() { _ = c.Close() })
	form := "name=Mallory"
	_, err = fmt.Fprintf(c, "POST /account/name HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nSec-Fetch-Site: same-origin\r\nContent-Length: %d\r\nExpect: 100-continue\r\n", site.Host, len(form))
	ok(t, err)
	for _, cookie := range b.http.Jar.Cookies(site) {
		_, err = fmt.Fprintf(c, "Cookie: %s\r\n", cookie)
		ok(t, err)
	}
	_, err = fmt.Fprint(c, "\r\n")
	ok(t, err)
	in := bufio.NewReader(c)
	line, err := in.ReadString('\n') // the form is asked for: who sends it was let in
	if err != nil || !strings.Contains(line, " 100 ") {
		t.Fatalf("%q, %v", line, err)
	}
	_, err = in.ReadString('\n')
	ok(t, err)
	b.post("/sign-out")
	_, err = fmt.Fprint(c, form)
	ok(t, err)
	res, err := http.ReadResponse(in, nil)
	ok(t, err)
	defer func() { _ = res.Body.Close() }()
	if to := res.Header.Get("Location"); !strings.HasPrefix(to, "/sign-in") {
		t.Errorf("%s, to %q", res.Status, to)
	}
	if other.open("/account").shows(200, "/account"); strings.Contains(other.page, "Mallory") {
		t.Error("the form was carried out")
	}
}

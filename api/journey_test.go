package api

import (
	"net/http"
	"strings"
	"testing"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// A browser gets nothing but a cookie that no script reads, and loses it.
// Attack case 56. Control: our own page signs out with the same cookie.
func TestABrowserSignsInAndOutWithACookie(t *testing.T) {
	t.Parallel()
	o := shared(t).office(t)
	p := o.person(t, corp.RoleViewer)
	in := o.do(t, "", "POST", "/v1/auth/login", nil, asJSON(t, loginRequest{Email: p.email, Password: goodPassword, Session: corp.SessionBrowser}))
	set := in.header.Get("Set-Cookie")
	for _, want := range []string{"corp_session=gc_session_", "HttpOnly", "SameSite=Lax", "Path=/"} {
		if !strings.Contains(set, want) {
			t.Errorf("no %s in %q", want, set)
		}
	}
	if strings.Contains(in.body, "gc_session_") || strings.Contains(in.body, "access") || strings.Contains(in.body, "refresh") {
		t.Errorf("more than a cookie: %s", in.body)
	}
	cookie, _, _ := strings.Cut(set, ";")
	if got := o.do(t, "", "GET", "/v1/me", map[string]string{"Cookie": cookie}, ""); got.status != http.StatusOK || !strings.Contains(got.body, p.email) {
		t.Errorf("with the cookie: %d %s", got.status, got.body)
	}
	// Another site's page may not use it.
	if got := o.do(t, "", "POST", "/v1/auth/logout", map[string]string{"Cookie": cookie, "Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}, ""); got.status != http.StatusForbidden {
		t.Errorf("from another site: %d %s", got.status, got.body)
	}
	if got := o.do(t, "", "POST", "/v1/auth/logout", map[string]string{"Cookie": cookie, "Origin": o.url, "Sec-Fetch-Site": "same-origin"}, ""); got.status != http.StatusNoContent || !strings.Contains(got.header.Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("out: %d %v", got.status, got.header)
	}
	if got := o.do(t, "", "GET", "/v1/me", map[string]string{"Cookie": cookie}, ""); got.status != http.StatusUnauthorized {
		t.Errorf("after that: %d %s", got.status, got.body)
	}
	if name := CookieName(true); !strings.HasPrefix(name, "__Host-") {
		t.Errorf("over TLS it is called %s", name)
	}
}

// Known and unknown addresses get the same bytes.
// Attack case 57. Control: with the right password the known one signs in.
func TestAnswersDoNotTellWhoHasAnAccount(t *testing.T) {
	t.Parallel()
	o := shared(t).office(t)
	p := o.person(t, corp.RoleViewer)
	for _, target := range []string{"register", "reset", "login"} {
		ask := func(email string) string {
			bodies := map[string]string{"register": asJSON(t, registerRequest{email, "Ada"}), "reset": asJSON(t, emailRequest{email}), "login": asJSON(t, loginRequest{Email: email, Password: otherPassword})}
			got := o.do(t, "", "POST", "/v1/auth/"+target, nil, bodies[target])
			return http.StatusText(got.status) + withoutRequestID(got.body)
		}
		if known, unknown := ask(p.email), ask(unique("nobody")+"@example.com"); known != unknown {
			t.Errorf("%s: a known address gets %q, an unknown one %q", target, known, unknown)
		}
	}
	if got := o.do(t, "", "POST", "/v1/auth/login", nil, asJSON(t, loginRequest{Email: p.email, Password: goodPassword})); got.status != http.StatusOK {
		t.Errorf("positive control: %d %s", got.status, got.body)
	}
}

// Over the wire: the second use of a refresh credential is in the log.
// Attack case 17. Control: its first use succeeds.
func TestAReusedRefreshCredentialIsAudited(t *testing.T) {
	t.Parallel()
	o := shared(t).office(t)
	p := o.person(t, corp.RoleViewer)
	c := o.with("")
	must[client.SignedIn](t)(c.Refresh(t.Context(), p.refresh))
	o.env.Exec(t, `UPDATE refresh_tokens SET used_at = used_at - interval '1 minute' WHERE session_id = $1 AND used_at IS NOT NULL`, p.session)
	if _, err := c.Refresh(t.Context(), p.refresh); corp.KindOf(err) != corp.KindUnauthenticated {
		t.Fatalf("used twice: %v", err)
	}
	if n := pgtest.Value[int](t, o.env, `SELECT count(*)::int FROM audit_events WHERE operation = 'refreshSession' AND result = 'denied' AND actor = $1`, p.id.String()); n != 1 {
		t.Errorf("%d events", n)
	}
}

package api

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/pgtest"
)

func prefixesOf(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestTheClientsAddressIsNotTheClientsToTell(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		peer      string
		forwarded []string
		want      string
	}{
		{"203.0.113.7:1", nil, "203.0.113.7"},
		{"203.0.113.7:1", []string{"198.51.100.1"}, "203.0.113.7"}, // not a proxy of ours: not believed
		{"10.0.0.1:1", nil, "10.0.0.1"},
		{"10.0.0.1:1", []string{"198.51.100.1"}, "198.51.100.1"},
		{"10.0.0.1:1", []string{"6.6.6.6, 198.51.100.1"}, "198.51.100.1"}, // what the client wrote stands on the left
		{"10.0.0.1:1", []string{"6.6.6.6", "198.51.100.1"}, "198.51.100.1"},
		{"10.0.0.1:1", []string{"6.6.6.6, 198.51.100.1, 10.0.0.2"}, "198.51.100.1"}, // two proxies
		{"10.0.0.1:1", []string{"198.51.100.1:4711"}, "198.51.100.1"},
		{"10.0.0.1:1", []string{"[2001:db8::7]:4711"}, "2001:db8::7"},
		{"10.0.0.1:1", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		{"10.0.0.1:1", []string{"6.6.6.6, nonsense"}, "10.0.0.1"},
		{"10.0.0.1:1", []string{"6.6.6.6, nonsense, 10.0.0.2"}, "10.0.0.2"},
		{"10.0.0.1:1", []string{""}, "10.0.0.1"},
		{"10.0.0.1:1", []string{strings.Repeat("10.0.0.3,", 5000) + "10.0.0.2"}, "10.0.0.3"},
		{"[::ffff:10.0.0.1]:1", []string{"198.51.100.1"}, "198.51.100.1"},
		{"[fe80::1%eth0]:1", nil, "fe80::1"},
		{"@", []string{"6.6.6.6"}, "invalid IP"},
	} {
		e := must[*edge](t)(newEdge(Edge{Proxies: prefixesOf("10.0.0.0/8")}))
		r := &http.Request{RemoteAddr: c.peer, Header: http.Header{"X-Forwarded-For": c.forwarded, "X-Real-Ip": {"6.6.6.6"}, "Forwarded": {"for=6.6.6.6"}}}
		if got := e.client(r).String(); got != c.want {
			t.Errorf("from %s with %.60q: %s, want %s", c.peer, c.forwarded, got, c.want)
		}
	}
}

// Attack case 5. Control: listed names are answered.
func TestOnlyListedHostNamesAreAnswered(t *testing.T) {
	t.Parallel()
	laptop := must[*edge](t)(newEdge(Edge{Hosts: []string{"box", "corp.lan"}}))
	installed := must[*edge](t)(newEdge(Edge{Public: &url.URL{Scheme: "https", Host: "Corp.example.com:8443"}, Domain: "example.com", Hosts: []string{"10.0.0.1"}}))
	for host, want := range map[string][2]bool{ // on a laptop, on an installation
		"localhost:7400": {true, true}, "127.0.0.1:7400": {true, true}, "[::1]:7400": {true, true}, "[::1]": {true, true}, "LOCALHOST.": {true, true},
		"192.168.1.4:7400": {true, false}, "8.8.8.8": {true, false}, "10.0.0.1:7400": {true, true},
		"box": {true, false}, "BOX:7400": {true, false}, "corp.lan.": {true, false}, "x.corp.lan": {false, false},
		"corp.example.com": {false, true}, "corp.example.com:1": {false, true}, "acme.app.example.com": {false, true},
		"evil.com": {false, false}, "corp.example.com.evil.com": {false, false}, "a.b.app.example.com": {false, false}, ".app.example.com": {false, false}, "app.example.com": {false, false},
		"": {false, false}, "corp.example.com@evil.com": {false, false}, "evil.com#corp.example.com": {false, false}, "localhost:evil.com": {false, false}, "127.1": {false, false},
	} {
		for i, e := range []*edge{laptop, installed} {
			if _, got := e.named(host); got != want[i] {
				t.Errorf("%q (installed %d): answered %t, want %t", host, i, got, want[i])
			}
		}
	}
	if slug, _ := installed.named("ACME-tools.app.example.com:443"); slug != "acme-tools" {
		t.Errorf("the slug is %q", slug)
	}
}

// atEdge is a house behind a public address.
func atEdge(t *testing.T) *house {
	t.Helper()
	return houseOn(t, pgtest.New(t), t.TempDir(), func(a *API) {
		a.edge = must[*edge](t)(newEdge(Edge{Public: &url.URL{Scheme: "https", Host: "corp.example.com"}, Domain: "example.com", Origins: []string{"https://tools.example.org"}}))
	})
}

// ask sends a request under a host name.
func (h *house) ask(t *testing.T, key, method, host, target string, header map[string]string, body string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, h.url+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(b)}
}

// Attack case 5. Control: under its own name the workspace answers.
func TestAnotherWorkspacesHostNameAnswersLikeOneThatIsNotThere(t *testing.T) {
	t.Parallel()
	h := atEdge(t)
	mine, victim := h.office(t), h.office(t)
	slug := func(o *office) string { return must[corp.Workspace](t)(o.owner().Workspace(t.Context())).Slug }
	key := mine.keys[corp.RoleOwner]
	task := victim.submit(t)
	if got := h.ask(t, key, "GET", slug(mine)+".app.example.com", "/v1/workspace", nil, ""); got.status != 200 || !strings.Contains(got.body, slug(mine)) {
		t.Fatalf("under its own name: %d %s", got.status, got.body)
	}
	fixed := map[string]string{"X-Request-ID": "request-12345"}
	for _, target := range []string{"/v1/workspace", "/v1/tasks", "/v1/tasks/" + task.ID.String(), "/v1/whoami", "/v1/workspaces"} {
		foreign := h.ask(t, key, "GET", slug(victim)+".app.example.com", target, fixed, "")
		missing := h.ask(t, key, "GET", "no-such-workspace.app.example.com", target, fixed, "")
		if foreign.status != 404 || foreign.body != missing.body || missing.status != 404 {
			t.Errorf("%s: %d %s, of one that is not there %d %s", target, foreign.status, foreign.body, missing.status, missing.body)
		}
	}
	for name, value := range map[string]string{
		"X-Forwarded-Host": slug(victim) + ".app.example.com", "X-Host": slug(victim) + ".app.example.com", "X-Workspace-ID": victim.ws.String(), "X-Tenant": slug(victim), "X-Original-Host": slug(victim) + ".app.example.com",
	} {
		got := h.ask(t, key, "GET", "corp.example.com", "/v1/workspace", map[string]string{name: value}, "")
		if got.status != 200 || !strings.Contains(got.body, mine.ws.String()) || strings.Contains(got.body, victim.ws.String()) {
			t.Errorf("with %s: %d %s", name, got.status, got.body)
		}
	}
	pgtest.Eventually(t, 30*time.Second, "the house to be ready", func(context.Context) bool {
		return h.ask(t, key, "GET", "corp.example.com", "/ready", nil, "").status == 200
	})
	for target, want := range map[string]int{"/v1/workspace": 421, "/health": 200, "/ready": 200, "/metrics": 421, "/openapi.json": 421} {
		if got := h.ask(t, key, "GET", "evil.example.org", target, nil, ""); got.status != want {
			t.Errorf("%s under another name: %d, want %d: %s", target, got.status, want, got.body)
		}
	}
}

// People sign in under the installation's own name, and choose the workspace then.
func TestPagesAreUnderTheInstallationsNameOnly(t *testing.T) {
	t.Parallel()
	page := Page{Serve: func(context.Context, Visit) (Reply, error) { return func(http.ResponseWriter) {}, nil }}
	for slug, want := range map[string]bool{"": true, "acme": false} {
		v := Visit{Request: httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/account", nil)}
		reply, err := new(API).visit(httptest.NewRecorder(), &exchange{slug: slug}, page, &v)
		if (reply != nil) != want || !want && corp.KindOf(err) != corp.KindNotFound {
			t.Errorf("under %q it is there: %t, %v", slug, reply != nil, err)
		}
	}
}

func TestEveryAnswerSaysThatItIsNoPage(t *testing.T) {
	t.Parallel()
	h := atEdge(t)
	o := h.office(t)
	for _, c := range []struct {
		method, host, target, key string
		status                    int
	}{
		{"GET", "corp.example.com", "/v1/tasks", o.keys[corp.RoleOwner], 200},
		{"GET", "corp.example.com", "/v1/tasks", "", 401},
		{"GET", "corp.example.com", "/nothing", "", 404},
		{"GET", "evil.example.org", "/", "", 421},
		{"PATCH", "corp.example.com", "/v1/tasks", "", 405},
		{"GET", "corp.example.com", "/openapi.json", "", 200},
		{"GET", "corp.example.com", "/health", "", 200},
	} {
		got := h.ask(t, c.key, c.method, c.host, c.target, nil, "")
		if got.status != c.status {
			t.Errorf("%+v: %d %s", c, got.status, got.body)
		}
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin", "Strict-Transport-Security": "max-age=63072000", "Cache-Control": "private, no-store",
			"Access-Control-Allow-Origin": "", "Server": "", "X-Powered-By": "",
		} {
			if value := got.header.Get(name); value != want {
				t.Errorf("%s %s: %s is %q, want %q", c.host, c.target, name, value, want)
			}
		}
		if vary := got.header.Get("Vary"); !strings.Contains(vary, "Authorization") || !strings.Contains(vary, "Cookie") || !strings.Contains(vary, "Host") || !strings.Contains(vary, "Origin") {
			t.Errorf("Vary is %q", vary)
		}
	}
	if got := shared(t).ask(t, "", "GET", "localhost", "/health", nil, ""); got.header.Get("Strict-Transport-Security") != "" {
		t.Error("a laptop promises https")
	}
}

func TestOnlyListedOriginsMayRead(t *testing.T) {
	t.Parallel()
	h := atEdge(t)
	key := h.office(t).keys[corp.RoleOwner]
	for origin, listed := range map[string]bool{
		"https://tools.example.org": true, "https://evil.example.org": false, "http://tools.example.org": false, "https://tools.example.org:444": false,
		"https://tools.example.org.evil.com": false, "null": false, "*": false, "https://TOOLS.example.org": false,
	} {
		got := h.ask(t, key, "GET", "corp.example.com", "/v1/tasks", map[string]string{"Origin": origin}, "")
		allowed, credentials := got.header.Get("Access-Control-Allow-Origin"), got.header.Get("Access-Control-Allow-Credentials")
		if (allowed == origin) != listed || (credentials == "true") != listed || allowed == "*" {
			t.Errorf("%s may read: %q, with credentials: %q, want %t", origin, allowed, credentials, listed)
		}
		asked := map[string]string{"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
		pre := h.ask(t, "", "OPTIONS", "corp.example.com", "/v1/tasks", asked, "")
		if (pre.status == 204) != listed || (pre.header.Get("Access-Control-Allow-Methods") != "") != listed {
			t.Errorf("the preflight of %s: %d %v", origin, pre.status, pre.header)
		}
	}
	for _, bad := range []string{"*", "https://x/y", "example.com", "null"} {
		if _, err := newEdge(Edge{Origins: []string{bad}}); err == nil {
			t.Errorf("%q is taken for an origin", bad)
		}
	}
}

// Attack case 56. Control: our own pages, listed sites and programs are let in.
func TestAPageOfAnotherSiteMakesNoRequest(t *testing.T) {
	t.Parallel()
	reached := 0
	e := must[*edge](t)(newEdge(Edge{Public: &url.URL{Scheme: "https", Host: "corp.example.com"}, Origins: []string{"https://tools.example.org"}}))
	cookie := sessionCookie + "=x"
	for _, c := range []struct {
		name, method string
		header       map[string]string
		want         bool
	}{
		{"our own page", "POST", map[string]string{"Cookie": cookie, "Sec-Fetch-Site": "same-origin", "Origin": "https://corp.example.com"}, true},
		{"our own page in an older browser", "POST", map[string]string{"Cookie": cookie, "Origin": "https://corp.example.com"}, true},
		{"typed by the user", "POST", map[string]string{"Cookie": cookie, "Sec-Fetch-Site": "none"}, true},
		{"a listed site", "POST", map[string]string{"Cookie": cookie, "Sec-Fetch-Site": "cross-site", "Origin": "https://tools.example.org"}, true},
		{"a program with a key", "POST", map[string]string{"Authorization": "Bearer x"}, true},
		{"a program without a key", "POST", nil, true},
		{"reading from another site", "GET", map[string]string{"Cookie": cookie, "Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example.org"}, true},
		{"another site", "POST", map[string]string{"Cookie": cookie, "Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example.org"}, false},
		{"another site, no cookie: it would sign somebody in", "POST", map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example.org"}, false},
		{"a sister site", "DELETE", map[string]string{"Cookie": cookie, "Sec-Fetch-Site": "same-site", "Origin": "https://x.example.com"}, false},
		{"an older browser", "PUT", map[string]string{"Cookie": cookie, "Origin": "https://evil.example.org"}, false},
		{"a sandboxed frame", "POST", map[string]string{"Cookie": cookie, "Origin": "null"}, false},
		{"a browser that says nothing", "PATCH", map[string]string{"Cookie": cookie}, false},
		{"the same over http", "PATCH", map[string]string{"Cookie": plainSessionCookie + "=x"}, false},
		{"a false same-origin", "POST", map[string]string{"Cookie": cookie, "Origin": "https://corp.example.com.evil.com"}, false},
	} {
		r := httptest.NewRequestWithContext(t.Context(), c.method, "https://corp.example.com/v1/tasks", strings.NewReader("{}"))
		for name, value := range c.header {
			r.Header.Set(name, value)
		}
		w := httptest.NewRecorder()
		if answered := e.admit(w, r, &exchange{}); answered == c.want || answered && w.Code != http.StatusForbidden {
			t.Errorf("%s: let in %t (%d), want %t", c.name, !answered, w.Code, c.want)
		} else if !answered {
			reached++
		}
	}
	if reached != 7 {
		t.Errorf("%d were let in", reached)
	}
}

// Attack cases 54 and 56. Control: the same body as JSON is accepted.
func TestABodyIsWhatItSaysItIs(t *testing.T) {
	t.Parallel()
	o := shared(t).office(t)
	key := o.keys[corp.RoleOwner]
	task := `{"prompt":"x","repository_url":"` + someURL + `"}`
	for media, want := range map[string]int{
		"application/json": 201, "application/json; charset=utf-8": 201,
		"text/plain": 415, "application/x-www-form-urlencoded": 415, "multipart/form-data; boundary=x": 415, "": 415, "application/jsonp": 415, "text/json": 415, "application/json, text/plain": 415, "text/plain; application/json": 415,
	} {
		if got := o.ask(t, key, "POST", "localhost", "/v1/tasks", map[string]string{"Content-Type": media}, task); got.status != want {
			t.Errorf("%q: %d, want %d: %s", media, got.status, want, got.body)
		}
	}
	for _, packed := range []string{"gzip", "br", "deflate", "GZIP", "identity, gzip"} {
		header := map[string]string{"Content-Type": "application/json", "Content-Encoding": packed}
		if got := o.ask(t, key, "POST", "localhost", "/v1/tasks", header, task); got.status != 415 {
			t.Errorf("packed with %s: %d %s", packed, got.status, got.body)
		}
	}
	nested := func(n int) string { return `{"prompt":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}` }
	for name, body := range map[string]string{
		"twice": `{"prompt":"x","prompt":"y"}`, "other case": `{"Prompt":"x","repository_url":"` + someURL + `"}`, "BOM": "\xef\xbb\xbf" + task, "NUL": `{"prompt":"a\u0000b"}`, "raw NUL": "{\"prompt\":\"a\x00b\"}",
		"not UTF-8": "{\"prompt\":\"\xff\"}", "deep": nested(200), "very deep": nested(400_000), "huge number": `{"prompt":"x","budget_nanodollars":1e999}`, "long number": `{"prompt":"x","max_attempts":` + strings.Repeat("9", 500_000) + `}`,
		"fraction": `{"prompt":"x","max_attempts":1.5}`, "second value": task + task, "comment": `{"prompt":"x"/**/}`, "NaN": `{"prompt":"x","max_attempts":NaN}`, "unknown": `{"prompt":"x","workspace_id":"ws_x"}`,
	} {
		got := o.ask(t, key, "POST", "localhost", "/v1/tasks", map[string]string{"Content-Type": "application/json"}, body)
		if got.status != 422 && got.status != 400 || got.problem(t).Hint == "" {
			t.Errorf("%s: %d %.200s", name, got.status, got.body)
		}
	}
	if got := o.ask(t, key, "POST", "localhost", "/v1/tasks", map[string]string{"Content-Type": "application/json"}, `{"prompt":"`+strings.Repeat("x", maxBody)+`"}`); got.status != 413 {
		t.Errorf("too long: %d %.200s", got.status, got.body)
	}
}

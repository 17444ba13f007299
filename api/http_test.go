package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/postgres/pgtest"
	"github.com/genericcorp/corp/stage"
)

var noFilter client.TaskQuery

func TestWhatIsNoRouteIsAProblemToo(t *testing.T) {
	t.Parallel()
	o := shared(t).office(t)
	for _, c := range []struct {
		route  string
		status int
		code   string
		allow  string
	}{
		{"GET /", 404, "no_such_route", ""},
		{"GET /v1/nothing", 404, "no_such_route", ""},
		{"POST /v1/", 404, "no_such_route", ""},
		{"DELETE /v1/tasks", 405, "method", "GET, POST"},
		{"TRACE /v1/tasks", 405, "method", "GET, POST"},
		{"OPTIONS /v1/tasks", 405, "method", "GET, POST"},
		{"PUT /v1/workspace", 405, "method", "GET, PATCH"},
		{"GET /docs", 404, "no_such_route", ""},
		{"GET /schemas/Task.json", 404, "no_such_route", ""},
		{"GET /debug/pprof/", 404, "no_such_route", ""},
		{"GET /v1/tasks/../workspaces", 307, "", ""},
	} {
		method, target, _ := strings.Cut(c.route, " ")
		got := o.do(t, o.keys[corp.RoleOwner], method, target, nil, "")
		if got.status != c.status || got.header.Get("Allow") != c.allow {
			t.Errorf("%s: %d, Allow %q: %s", c.route, got.status, got.header.Get("Allow"), got.body)
			continue
		}
		if c.code != "" {
			if p := got.problem(t); p.Code != c.code || got.header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s: %+v", c.route, p)
			}
		}
	}
}

// Attack case 14. Control: the same key in its header is accepted.
func TestAKeyInAnAddressIsRefused(t *testing.T) {
	t.Parallel()
	o := shared(t).office(t)
	p := o.person(t, corp.RoleViewer)
	key := o.keys[corp.RoleViewer]
	for _, name := range []string{"key", "access_token", "api_key", "token", "authorization", "cursor", "x"} {
		for what, secret := range map[string]string{"a key": key, "a refresh credential": p.refresh, "a link": corp.NewSecret(corp.KeyPrefixLink)} {
			for _, header := range []string{"", o.keys[corp.RoleOwner]} {
				got := o.do(t, header, "GET", "/v1/tasks?"+name+"="+secret, nil, "")
				if got.status != 401 || got.problem(t).Code != "key_in_url" || strings.Contains(got.body, secret) {
					t.Errorf("%s as %s: %d %s", what, name, got.status, got.body)
				}
			}
		}
	}
	for _, target := range []string{"/v1/tasks?access_token=" + p.access, "/v1/tasks/" + key, "/v1/tasks?key=Bearer%20" + key} { // nothing that is in an address signs anybody in
		if got := o.do(t, "", "GET", target, nil, ""); got.status != 401 {
			t.Errorf("%.40s: %d %s", target, got.status, got.body)
		}
	}
	if text := o.log.String(); strings.Contains(text, key) || strings.Contains(text, p.refresh) || strings.Contains(text, p.access) {
		t.Error("the log holds what was in the address")
	}
	for _, secret := range []string{key, p.access} {
		if got := o.do(t, secret, "GET", "/v1/tasks", nil, ""); got.status != 200 {
			t.Errorf("positive control: %d %s", got.status, got.body)
		}
	}
}

// Attack case 55. Control: the stored bytes are sent.
func TestAnswersAreNeitherCachedNorSniffed(t *testing.T) {
	t.Parallel()
	o := shared(t).office(t)
	blob := o.source(t)
	for _, target := range []string{"/v1/tasks", "/v1/nothing", "/health", "/openapi.json", "/v1/blobs/" + blob.String()} {
		h := o.do(t, o.keys[corp.RoleOwner], "GET", target, nil, "").header
		if h.Get("Cache-Control") != "private, no-store" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("X-Request-Id") == "" {
			t.Errorf("%s: %v", target, h)
		}
	}
	h := o.do(t, o.keys[corp.RoleOwner], "GET", "/v1/blobs/"+blob.String(), nil, "").header
	if !strings.HasPrefix(h.Get("Content-Disposition"), "attachment") || !strings.Contains(h.Get("Content-Security-Policy"), "sandbox") || h.Get("Content-Length") != "8" {
		t.Errorf("stored bytes are sent as %v", h)
	}
}

func TestHealthReadyAndMetrics(t *testing.T) {
	t.Parallel()
	h := shared(t)
	o := h.office(t)
	if got := h.do(t, "", "GET", "/health", nil, ""); got.status != 200 || !strings.Contains(got.body, `"ok":true`) {
		t.Errorf("health: %d %s", got.status, got.body)
	}
	ready := must[client.Readiness](t)(h.with("").Ready(t.Context()))
	if !ready.Ready || len(ready.Parts) != 3 {
		t.Errorf("ready: %+v", ready)
	}
	o.submit(t)
	got := h.do(t, "", "GET", "/metrics", nil, "") // from this machine
	for _, name := range []string{"corp_http_requests_total{", "corp_http_request_seconds_bucket{", `corp_runs{state="queued"}`, "corp_runners_online", "corp_runner_slots", "corp_queue_depth_per_slot", `corp_queue_depth{plan="`, `corp_queue_oldest_seconds{plan="`, "corp_streams"} {
		if !strings.Contains(got.body, name) {
			t.Errorf("no %s in the metrics", name)
		}
	}
	if strings.Contains(got.body, "/v1/tasks/task_") {
		t.Error("a path with an id is a label")
	}
	proxied := map[string]string{"X-Forwarded-For": "203.0.113.9"}
	for key, status := range map[string]int{"": 401, o.keys[corp.RoleOwner]: 403, h.pool: 403, h.operator: 200} {
		if got := h.do(t, key, "GET", "/metrics", proxied, ""); got.status != status {
			t.Errorf("metrics through a proxy with %.8s: %d, want %d", key, got.status, status)
		}
	}
	for _, target := range []string{"/openapi.json", "/openapi.yaml"} {
		if got := h.do(t, "", "GET", target, nil, ""); got.status != 200 || !strings.Contains(got.body, "3.1.0") {
			t.Errorf("%s: %d", target, got.status)
		}
	}
}

// What is logged says who did what and how long it took, and never a secret.
func TestTheLogTellsWhoDidWhatAndNoSecret(t *testing.T) {
	t.Parallel()
	o := shared(t).office(t)
	name := corp.NewSecret("find-me-")[:24]
	o.do(t, o.keys[corp.RoleOwner], "GET", "/v1/tasks?limit=1", map[string]string{"X-Request-ID": name}, "")
	offer := o.running(t)
	o.do(t, o.keys[corp.RoleOwner], "GET", "/v1/tasks?x="+o.keys[corp.RoleOwner], nil, "")
	pgtest.Eventually(t, 10*time.Second, "the line", func(context.Context) bool { return strings.Contains(o.log.String(), name) })
	text := o.log.String()
	for line := range strings.Lines(text) {
		if !strings.Contains(line, name) {
			continue
		}
		var l map[string]any
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		if l["msg"] != "request" || l["route"] != "GET /v1/tasks" || l["method"] != "GET" || l["status"] != 200.0 || l["workspace_id"] != o.ws.String() || !strings.HasPrefix(fmt.Sprint(l["actor"]), "user_") || !strings.HasPrefix(fmt.Sprint(l["via"]), "key_") || l["ms"] == nil {
			t.Errorf("%s", line)
		}
	}
	for _, secret := range []string{o.keys[corp.RoleOwner], o.keys[corp.RoleRunner], o.operator, o.pool, offer.Secret, offer.RunKey} {
		if strings.Contains(text, secret) {
			t.Errorf("the log holds %.12s…", secret)
		}
	}
}

func TestAFileAnnouncedTooLargeIsRefusedBeforeItIsSent(t *testing.T) {
	t.Parallel()
	o := shared(t).office(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(o.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := fmt.Fprintf(conn, "POST /v1/blobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n", o.keys[corp.RoleMember], int64(3<<30)); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if resp.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(string(b), "too_large") {
		t.Errorf("a body of 3 GiB is announced: %d %s", resp.StatusCode, b)
	}
}

// When the database drops its connections, whoever repeats a request that may be
// repeated never notices.
func TestDroppedConnectionsOfTheDatabaseAreSurvived(t *testing.T) {
	t.Parallel()
	o := ownHouse(t).office(t)
	task := o.submit(t)
	for range 5 {
		o.env.KillConnections(t)
		// The client repeats what is safe to repeat.
		if got := must[corp.Task](t)(o.owner().Task(t.Context(), task.ID)); got.ID != task.ID {
			t.Error("another task")
		}
	}
}

// A fault in one request is that request's alone: it gets a problem, or a cut
// connection when its answer had begun, and the log gets the cause.
func TestAPanicEndsOneRequestOnly(t *testing.T) {
	t.Parallel()
	numbers, err := newMetrics(nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	log := &stage.Log{}
	a := &API{Config: Config{Logger: slog.New(slog.NewJSONHandler(log, nil))}, metrics: numbers, edge: must[*edge](t)(newEdge(Edge{}))}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /before", func(http.ResponseWriter, *http.Request) { panic("the-cause-1") })
	mux.HandleFunc("GET /within", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("x", 1<<16))
		panic("the-cause-2")
	})
	mux.HandleFunc("GET /fine", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "fine") })
	h := &house{url: newLocalServer(t, a.exchanges(mux))}
	if got := h.do(t, "", "GET", "/before", nil, ""); got.status != 500 || got.problem(t).Kind != corp.KindInternal || strings.Contains(got.body, "the-cause") {
		t.Errorf("%d %s", got.status, got.body)
	}
	resp, err := http.Get(h.url + "/within")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Error("a broken answer looks whole")
	}
	if got := h.do(t, "", "GET", "/fine", nil, ""); got.body != "fine" {
		t.Errorf("%d %s", got.status, got.body)
	}
	for _, cause := range []string{"the-cause-1", "the-cause-2"} {
		pgtest.Eventually(t, 10*time.Second, cause, func(context.Context) bool { return strings.Contains(log.String(), cause) })
	}
	if strings.Count(log.String(), `"level":"ERROR"`) != 2 || !strings.Contains(log.String(), "http_test.go") {
		t.Errorf("the log: %s", log.String())
	}
}

// Whoever is refused hears so, and holds no connection with a body that never comes.
// Attack case 54. Control: each is answered at once.
func TestAnAnswerDoesNotWaitForABodyThatNobodyReads(t *testing.T) {
	t.Parallel()
	h := ownHouse(t, func(a *API) { a.rest = 100 * time.Millisecond })
	for _, c := range []struct {
		method, path string
		announced    int64
		status       int
	}{
		{http.MethodPost, "/v1/tasks", 1000, http.StatusUnauthorized},
		{http.MethodPost, "/v1/tasks", -1, http.StatusUnauthorized},
		{http.MethodPost, "/v1/tasks", 1 << 30, http.StatusUnauthorized},
		{http.MethodPost, "/nowhere", 1000, http.StatusNotFound},
		{http.MethodGet, "/health", 1000, http.StatusOK},
	} {
		t.Run(fmt.Sprint(c.method, c.path, c.announced), func(t *testing.T) {
			t.Parallel()
			from, to := io.Pipe()
			defer func() { _ = to.Close() }()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, c.method, h.url+c.path, from)
			if err != nil {
				t.Fatal(err)
			}
			req.ContentLength = c.announced
			resp, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != c.status {
				t.Errorf("%d, want %d", resp.StatusCode, c.status)
			}
		})
	}
}

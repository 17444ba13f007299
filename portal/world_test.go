package portal_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/api"
	"github.com/genericcorp/corp/blob"
	"github.com/genericcorp/corp/dispatch"
	"github.com/genericcorp/corp/feed"
	"github.com/genericcorp/corp/identity"
	"github.com/genericcorp/corp/identity/oidc"
	"github.com/genericcorp/corp/identity/oidc/oidctest"
	"github.com/genericcorp/corp/identity/password"
	"github.com/genericcorp/corp/limit"
	"github.com/genericcorp/corp/portal"
	"github.com/genericcorp/corp/postgres/people"
	"github.com/genericcorp/corp/postgres/pgtest"
	"github.com/genericcorp/corp/seal"
)

const (
	good    = "tulip-anvil-marsh"
	another = "copper-window-seven"
)

// town is a server with the pages, and a mailbox for everybody.
type town struct {
	*identity.Flows
	url    string
	server *httptest.Server
	issuer *oidctest.Issuer
	log    bytes.Buffer
	late   atomic.Int64 // by how much its clock is ahead
	still  atomic.Pointer[time.Time]

	mu   sync.Mutex
	mail map[string]string // the newest, by address
}

// Send puts a letter into the mailbox.
func (w *town) Send(_ context.Context, to, _, text string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mail[to] = text
	return nil
}

// Write takes the log.
func (w *town) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(b)
}

// now is what limits and pauses go by.
func (w *town) now() time.Time {
	if at := w.still.Load(); at != nil {
		return *at
	}
	return time.Now()
}

// stand stops that clock, so that a slow machine gets no more than a quick one.
func (w *town) stand() {
	at := time.Now()
	w.still.Store(&at)
}

func newTown(t *testing.T) *town {
	t.Helper()
	ring, err := seal.New([]byte(strings.Repeat("k", seal.SecretSize)))
	ok(t, err)
	env := pgtest.New(t)
	blobs, err := blob.Open(t.TempDir())
	ok(t, err)
	t.Cleanup(func() { _ = blobs.Close() })
	w := &town{mail: map[string]string{}, issuer: oidctest.New()}
	logger := slog.New(slog.NewJSONHandler(w, nil))
	var handler http.Handler
	w.server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { handler.ServeHTTP(rw, r) }))
	t.Cleanup(w.server.Close)
	w.url = w.server.URL
	issuer := httptest.NewServer(w.issuer)
	t.Cleanup(issuer.Close)
	w.issuer.Address = issuer.URL
	party, err := oidc.New(issuer.Client(), ring, w.url+portal.BackPath, time.Now, []oidc.Config{{Name: "acme", Issuer: issuer.URL, ClientID: oidctest.ClientID, ClientSecret: oidctest.ClientSecret, TrustEmail: true}})
	ok(t, err)
	limits := limit.NewMemory(w.now, 10_000)
	w.Flows, err = identity.New(identity.Config{
		People: people.New(env.DB.Door()), Ring: ring, Hasher: password.New(password.Cost{Memory: 64, Passes: 1, Lanes: 1}), Backoff: limits, Limits: limits,
		Mailer: w, Elsewhere: party, PublicURL: w.url, SignUp: true, Now: func() time.Time { return time.Now().Add(time.Duration(w.late.Load())) }, Logger: logger,
	})
	ok(t, err)
	ok(t, w.LoadKeys(t.Context()))
	pages, err := portal.New(w.Flows, false)
	ok(t, err)
	server, hub := corp.NewID[corp.ServerID](), feed.New(env.DB, logger)
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		_ = hub.Run(t.Context()) // it ends with the test
	}()
	t.Cleanup(func() { <-listening })
	a, err := api.New(api.Config{
		DB: env.DB, People: w.People, Identity: w.Flows, Server: server, Hub: hub, Dispatcher: dispatch.New(env.DB, ring, server, w.url, dispatch.DefaultTimes(), logger),
		Blobs: blobs, Ring: ring, GatewayURL: func() string { return "http://gateway.invalid" }, Times: dispatch.DefaultTimes(), Version: "test", Logger: logger,
		Registerer: prometheus.NewRegistry(), SendInvitation: func(context.Context, api.Letter) error { return nil }, Pages: pages.Pages(),
		Limits: limits, Edge: api.Edge{Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}},
	})
	ok(t, err)
	handler = a.Handler()
	return w
}

func unique(name string) string { return strings.ToLower(name + "-" + rand.Text() + "@example.com") }

var linkOf = regexp.MustCompile(`http\S+\?token=(gc_link_[0-9A-Za-z]+)`)

// link returns the address in the newest letter to somebody, and its secret.
func (w *town) link(t *testing.T, to string) (address, token string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	found := linkOf.FindStringSubmatch(w.mail[to])
	if found == nil {
		t.Fatalf("no link in the letter to %s: %q", to, w.mail[to])
	}
	return strings.TrimPrefix(found[0], w.url), found[1]
}

// browser is somebody's, with their cookies.
type browser struct {
	t    *testing.T
	town *town
	http *http.Client
	site string // Sec-Fetch-Site of its forms
	form string // their Content-Type
	from string // its address, where it is not this machine's
	// Of the page that it shows.
	status int
	header http.Header
	at     *url.URL
	page   string
}

func (w *town) browser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	ok(t, err)
	return &browser{t: t, town: w, http: &http.Client{Jar: jar}, site: "same-origin", form: "application/x-www-form-urlencoded"}
}

func (b *browser) send(method, path string, form url.Values) *browser {
	b.t.Helper()
	if !strings.HasPrefix(path, "http") {
		path = b.town.url + path
	}
	req, err := http.NewRequestWithContext(b.t.Context(), method, path, strings.NewReader(form.Encode()))
	ok(b.t, err)
	if method == http.MethodPost {
		req.Header.Set("Content-Type", b.form)
	}
	req.Header.Set("Sec-Fetch-Site", b.site)
	req.Header.Set("User-Agent", "test browser")
	if b.from != "" {
		req.Header.Set("X-Forwarded-For", b.from)
	}
	resp, err := b.http.Do(req)
	ok(b.t, err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	ok(b.t, err)
	b.status, b.header, b.at, b.page = resp.StatusCode, resp.Header, resp.Request.URL, string(text)
	return b
}

func (b *browser) open(path string) *browser {
	b.t.Helper()
	return b.send(http.MethodGet, path, nil)
}

// post sends a form: names and values in turn.
func (b *browser) post(path string, pairs ...string) *browser {
	b.t.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	return b.send(http.MethodPost, path, form)
}

// shows fails unless the page at this path is shown with this status, and has all
// texts.
func (b *browser) shows(status int, path string, texts ...string) *browser {
	b.t.Helper()
	if b.status != status || b.at.Path != path {
		b.t.Fatalf("%d at %s, want %d at %s\n%s", b.status, b.at, status, path, b.page)
	}
	for _, text := range texts {
		if !strings.Contains(b.page, text) {
			b.t.Errorf("%s does not say %q\n%s", path, text, b.page)
		}
	}
	return b
}

// isSignedOut waits until the server has heard that a session has ended: what it knows
// of one is two seconds old at most.
func (b *browser) isSignedOut() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for b.open("/account").at.Path != "/sign-in" {
		select {
		case <-ctx.Done():
			b.t.Fatal("still signed in")
		case <-tick.C:
		}
	}
}

// hidden returns the value of a field.
func (b *browser) hidden(name string) string {
	b.t.Helper()
	found := regexp.MustCompile(`name="` + name + `" value="([^"]*)"`).FindStringSubmatch(b.page)
	if found == nil {
		b.t.Fatalf("no field %s\n%s", name, b.page)
	}
	return found[1]
}

// join signs somebody up, and in.
func (w *town) join(t *testing.T, name string) (*browser, string) {
	t.Helper()
	b, email := w.browser(t), unique("ada")
	b.post("/sign-up", "email", email, "name", name).shows(200, "/sign-up", "on its way")
	_, token := w.link(t, email)
	b.post("/verify", "token", token, "name", name, "password", good).shows(200, "/account", email)
	return b, email
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/blob"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/dispatch"
	"github.com/genericcorp/corp/feed"
	"github.com/genericcorp/corp/postgres/pgtest"
	"github.com/genericcorp/corp/seal"
)

// house is one server as it runs in production, but for its times: the database,
// the leader, the feed and the API behind a listener. The tests of a process
// share it, because one database has one leader; each takes an office in it.
type house struct {
	env    *pgtest.Env
	ring   *seal.Ring
	api    *API
	server *httptest.Server
	url    string
	log    *journal
	parts  sync.WaitGroup
	closes func() // ends it before its test

	operator, pool string // keys
	finished       sync.Map
}

var (
	openHouse sync.Once
	theHouse  *house
	blobDir   string
)

func TestMain(m *testing.M) {
	code := m.Run()
	if blobDir != "" {
		_ = os.RemoveAll(blobDir)
	}
	os.Exit(code)
}

func shared(t *testing.T) *house {
	t.Helper()
	openHouse.Do(func() {
		var err error
		if blobDir, err = os.MkdirTemp("", "corp-api-test-"); err != nil { //nolint:usetesting // it outlives this test
			t.Fatal(err)
		}
		// It lives as long as the process, like the database.
		theHouse = build(context.Background(), t, pgtest.New(t), blobDir)
	})
	if theHouse == nil {
		t.Fatal("the house could not be built; see the first test that needed it")
	}
	return theHouse
}

func testTimes() dispatch.Times {
	times := dispatch.DefaultTimes()
	times.PollWait, times.Sweep, times.LeaderTTL = 5*time.Second, 50*time.Millisecond, 3*time.Second
	return times
}

// ownHouse is a house on a database of its own, for what others would feel.
func ownHouse(t *testing.T, adjust ...func(*API)) *house {
	t.Helper()
	return houseOn(t, pgtest.Database(t), t.TempDir(), adjust...)
}

// houseOn is a house beside others on one database, with the blobs in one folder.
func houseOn(t *testing.T, env *pgtest.Env, dir string, adjust ...func(*API)) *house {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	h := build(ctx, t, env, dir, adjust...)
	h.closes = sync.OnceFunc(func() {
		h.server.CloseClientConnections()
		h.server.Close()
		cancel()
		h.parts.Wait()
	})
	t.Cleanup(h.closes)
	return h
}

func build(ctx context.Context, tb testing.TB, env *pgtest.Env, dir string, adjust ...func(*API)) *house {
	tb.Helper()
	h := &house{env: env, log: &journal{}}
	logger := slog.New(slog.NewJSONHandler(h.log, nil))
	var err error
	if h.ring, err = seal.New(bytes.Repeat([]byte{7}, seal.SecretSize)); err != nil {
		tb.Fatal(err)
	}
	blobs, err := blob.Open(dir)
	if err != nil {
		tb.Fatal(err)
	}
	registry, hub := prometheus.NewRegistry(), feed.New(h.env.DB, logger)
	h.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.api.Handler().ServeHTTP(w, r) }))
	h.url = h.server.URL
	server := corp.NewID[corp.ServerID]()
	leader := dispatch.New(h.env.DB, h.ring, server, h.url, testTimes(), logger)
	hub.OnQueue(leader.Wake)
	h.api, err = New(Config{
		DB: h.env.DB, Server: server, Hub: hub, Dispatcher: leader, Blobs: blobs, Ring: h.ring, GatewayURL: func() string { return "http://gateway.invalid" },
		Times: testTimes(), Version: "test", Logger: logger, Registerer: registry, Gatherer: registry,
		OnFinish: func(_ corp.WorkspaceID, run corp.RunID) { h.finished.Store(run, true) },
	})
	if err != nil {
		tb.Fatal(err)
	}
	for _, a := range adjust {
		a(h.api)
	}
	h.parts.Go(func() { _ = hub.Run(ctx) })
	h.parts.Go(func() { _ = leader.Run(ctx) })
	h.operator = h.installationKey(tb, corp.RoleOperator, corp.KeyPrefixOp)
	h.pool = h.installationKey(tb, corp.RoleRunner, corp.KeyPrefixRunner)
	pgtest.Eventually(tb, 20*time.Second, "a leader", func(ctx context.Context) bool {
		address, _, err := h.env.DB.System("test").Leader(ctx)
		return err == nil && address != "" && (address != h.url || leader.Leading())
	})
	return h
}

func (h *house) installationKey(tb testing.TB, role corp.Role, prefix string) string {
	tb.Helper()
	secret := corp.NewSecret(prefix)
	err := h.env.DB.System("test").CreateOperatorKey(tb.Context(), corp.NewID[corp.OperatorID](), string(role), role, corp.ShownSecret(secret), h.ring.Hash(secret))
	if err != nil {
		tb.Fatal(err)
	}
	return secret
}

// journal keeps what was logged.
type journal struct {
	mu    sync.Mutex
	lines bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.lines.Write(b)
}

func (j *journal) text() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.lines.String()
}

// office is a workspace with a key of each role.
type office struct {
	*house
	ws   corp.WorkspaceID
	keys map[corp.Role]string
}

func (h *house) office(tb testing.TB) *office {
	tb.Helper()
	o := &office{house: h, ws: h.env.Workspace(tb), keys: map[corp.Role]string{}}
	for _, role := range []corp.Role{corp.RoleViewer, corp.RoleMember, corp.RoleAdmin, corp.RoleOwner, corp.RoleRunner} {
		o.keys[role], _ = o.key(tb, role)
	}
	return o
}

// key makes another key.
func (o *office) key(tb testing.TB, role corp.Role) (string, corp.APIKeyID) {
	tb.Helper()
	prefix := corp.KeyPrefixLive
	if role == corp.RoleRunner {
		prefix = corp.KeyPrefixRunner
	}
	secret := corp.NewSecret(prefix)
	key, err := o.env.DB.In(o.ws).CreateAPIKey(tb.Context(), corp.ActorSystem, newKey(corp.ActorSystem, string(role), role, secret, nil), o.ring.Hash(secret))
	if err != nil {
		tb.Fatal(err)
	}
	return secret, key.ID
}

func (o *office) as(role corp.Role) *client.Client { return o.with(o.keys[role]) }

func (h *house) with(key string) *client.Client {
	return client.New(h.url, key, client.Options{Patience: 10 * time.Second})
}

func (o *office) owner() *client.Client { return o.as(corp.RoleOwner) }

func (o *office) runner() *client.Client { return o.as(corp.RoleRunner) }

// reply is an answer as it came over the wire.
type reply struct {
	status int
	header http.Header
	body   string
}

func (r reply) problem(t *testing.T) problem {
	t.Helper()
	var p problem
	if err := json.Unmarshal([]byte(r.body), &p); err != nil {
		t.Fatalf("not a problem: %d %s", r.status, r.body)
	}
	return p
}

// do sends a request as it is.
func (h *house) do(t *testing.T, key, method, target string, header map[string]string, body string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, h.url+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
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

// must unwraps what cannot fail in the test.
func must[T any](t *testing.T) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

const someURL = "https://example.com/team/project.git"

func (o *office) submit(t *testing.T) corp.Task {
	t.Helper()
	return must[corp.Task](t)(o.owner().SubmitTask(t.Context(), corp.TaskSpec{Prompt: "Fix it.", RepositoryURL: someURL}, ""))
}

// register makes a runner with a key, and returns its id.
func (o *office) register(t *testing.T, key string) corp.RunnerID {
	t.Helper()
	got, err := o.with(key).Register(t.Context(), corp.Registration{Protocols: []int{1}, Name: "test", Instance: corp.NewSecret("i_")[:20], Slots: 100, Runtimes: []string{corp.RuntimeBuiltin}, Sandbox: "none", Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return got.RunnerID
}

// leased submits a task, unless one is given, and leases its run to a runner of the workspace.
func (o *office) leased(t *testing.T, tasks ...corp.Task) corp.Offer {
	t.Helper()
	if len(tasks) == 0 {
		tasks = []corp.Task{o.submit(t)}
	}
	runner := o.register(t, o.keys[corp.RoleRunner])
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for seq := int64(1); ; seq++ {
		got, err := o.runner().Poll(ctx, runner, corp.Poll{Seq: seq, Free: 1, WaitMS: 5000})
		if err != nil {
			t.Fatalf("no offer: %v", err)
		}
		for _, offer := range got.Offers {
			if offer.TaskID == tasks[0].ID {
				return offer
			}
		}
	}
}

// running is leased and acknowledged.
func (o *office) running(t *testing.T, tasks ...corp.Task) corp.Offer {
	t.Helper()
	offer := o.leased(t, tasks...)
	if err := o.runner().Ack(t.Context(), offer.Lease); err != nil {
		t.Fatal(err)
	}
	return offer
}

const somePatch = "diff --git a/x b/x\n"

// done runs a task to its end, with a patch and a result.
func (o *office) done(t *testing.T) corp.Run {
	t.Helper()
	offer := o.running(t)
	patch := must[corp.Blob](t)(o.runner().UploadResult(t.Context(), offer.Lease, corp.BlobPatch, strings.NewReader(somePatch)))
	result := must[corp.Blob](t)(o.runner().UploadResult(t.Context(), offer.Lease, corp.BlobResult, strings.NewReader("bundle")))
	return must[corp.Run](t)(o.runner().Finish(t.Context(), corp.Finish{Lease: offer.Lease, Outcome: corp.Outcome{
		State: corp.RunSucceeded, Reason: corp.ReasonCompleted, Branch: "corp/x", PatchID: &patch.ID, ResultID: &result.ID,
	}}))
}

// newLocalServer serves a handler for the time of the test.
func newLocalServer(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL
}

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
	"github.com/genericcorp/corp/outbound"
	"github.com/genericcorp/corp/postgres/people"
	"github.com/genericcorp/corp/postgres/pgtest"
	"github.com/genericcorp/corp/seal"
	"github.com/genericcorp/corp/stage"
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
	log    *stage.Log
	parts  sync.WaitGroup
	closes func() // ends it before its test

	operator, pool string // keys
	finished       sync.Map
	letters        sync.Map // by address
	mail           sync.Map // the newest text, by address
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
	h := &house{env: env, log: &stage.Log{}}
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
	flows := h.flows(tb, logger)
	h.api, err = New(Config{
		Identity: flows,
		DB:       h.env.DB, People: people.New(h.env.DB.Door()), Server: server, Hub: hub, Dispatcher: leader, Blobs: blobs, Ring: h.ring, GatewayURL: func() string { return "http://gateway.invalid" },
		Times: testTimes(), Version: "test", Logger: logger, Outbound: outbound.Policy{AllowPrivate: true}, Registerer: registry, Gatherer: registry,
		SendInvitation: func(_ context.Context, l Letter) error {
			h.letters.Store(l.Invitation.Email, l)
			return nil
		},
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

// office is a workspace with a member of each role, who has a key, and a runner's key.
type office struct {
	*house
	ws   corp.WorkspaceID
	keys map[corp.Role]string
	tb   testing.TB
	came sync.Once
	here signedUp
	once sync.Once
	busy corp.Offer
}

func (h *house) office(tb testing.TB) *office {
	tb.Helper()
	o := &office{house: h, ws: h.env.Workspace(tb), keys: map[corp.Role]string{}, tb: tb}
	for _, role := range []corp.Role{corp.RoleViewer, corp.RoleMember, corp.RoleAdmin, corp.RoleOwner, corp.RoleRunner} {
		o.keys[role], _ = o.key(tb, role)
	}
	return o
}

// working is the offer of a run that is going on; always the same.
func (o *office) working() corp.Offer {
	o.once.Do(func() { o.busy = o.running(o.tb) })
	return o.busy
}

// service makes a key that is the workspace's own.
func (o *office) service() string {
	return o.make(o.tb, corp.APIKey{Role: corp.RoleAdmin})
}

// narrowed makes an owner's key that may do one thing.
func (o *office) narrowed(to corp.Action) string {
	return o.make(o.tb, corp.APIKey{Role: corp.RoleOwner, Scopes: []corp.Action{to}, UserID: o.member(o.tb, corp.RoleOwner)})
}

func (o *office) make(tb testing.TB, like corp.APIKey) string {
	tb.Helper()
	secret := corp.NewSecret(corp.KeyPrefixLive)
	wanted := newKey(corp.ActorSystem, "made", like.Role, secret, nil)
	wanted.UserID, wanted.Scopes = like.UserID, like.Scopes
	if _, err := o.env.DB.In(o.ws).CreateAPIKey(tb.Context(), corp.ActorSystem, wanted, o.ring.Hash(secret)); err != nil {
		tb.Fatal(err)
	}
	return secret
}

// key makes another key.
func (o *office) key(tb testing.TB, role corp.Role) (string, corp.APIKeyID) {
	tb.Helper()
	prefix := corp.KeyPrefixLive
	if role == corp.RoleRunner {
		prefix = corp.KeyPrefixRunner
	}
	secret := corp.NewSecret(prefix)
	wanted := newKey(corp.ActorSystem, string(role), role, secret, nil)
	if role != corp.RoleRunner {
		wanted.UserID = o.member(tb, role)
	}
	key, err := o.env.DB.In(o.ws).CreateAPIKey(tb.Context(), corp.ActorSystem, wanted, o.ring.Hash(secret))
	if err != nil {
		tb.Fatal(err)
	}
	return secret, key.ID
}

// keyOf makes another key of whoever holds one: a viewer's, where that is nobody.
func (o *office) keyOf(tb testing.TB, holder string) corp.APIKeyID {
	tb.Helper()
	who, err := o.env.DB.Auth().Key(tb.Context(), o.ring.Hash(holder))
	if claims, signedIn := o.api.Tokens.Verify(holder); signedIn == nil {
		who, err = corp.Identity{User: claims.User, Actor: corp.Actor(claims.User.String()), Workspace: claims.Workspace}, nil
	}
	if err != nil || who.User.IsZero() && !who.Role.AtMost(corp.RoleOwner) {
		_, id := o.key(tb, corp.RoleViewer)
		return id
	}
	secret := corp.NewSecret(corp.KeyPrefixLive)
	wanted := newKey(who.Actor, "another", corp.RoleViewer, secret, nil)
	wanted.UserID = who.User
	key, err := o.env.DB.In(who.Workspace).CreateAPIKey(tb.Context(), who.Actor, wanted, o.ring.Hash(secret))
	if err != nil {
		tb.Fatal(err)
	}
	return key.ID
}

// member makes another person and puts them into the workspace.
func (o *office) member(tb testing.TB, role corp.Role) corp.UserID {
	tb.Helper()
	id := corp.NewID[corp.UserID]()
	o.env.Exec(tb, `INSERT INTO users (user_id, email, name) VALUES ($1, $1::uuid || '@example.com', 'somebody')`, id)
	o.env.Exec(tb, `INSERT INTO members (workspace_id, user_id, role, created_by) VALUES ($1, $2, $3, 'test')`, o.ws, id, role)
	return id
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
func must[T any](tb testing.TB) func(T, error) T {
	tb.Helper()
	return func(v T, err error) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}

const someURL = "https://example.com/team/project.git"

func (o *office) submit(tb testing.TB) corp.Task {
	tb.Helper()
	return must[corp.Task](tb)(o.owner().SubmitTask(tb.Context(), corp.TaskSpec{Prompt: "Fix it.", RepositoryURL: someURL}, ""))
}

// register makes a runner with a key, and returns its id.
func (o *office) register(tb testing.TB, key string) corp.RunnerID {
	tb.Helper()
	got, err := o.with(key).Register(tb.Context(), corp.Registration{Protocols: []int{1}, Name: "test", Instance: corp.NewSecret("i_")[:20], Slots: 100, Runtimes: []string{corp.RuntimeBuiltin}, Sandbox: "none", Version: "test"})
	if err != nil {
		tb.Fatal(err)
	}
	return got.RunnerID
}

// leased submits a task, unless one is given, and leases its run to a runner of the workspace.
func (o *office) leased(tb testing.TB, tasks ...corp.Task) corp.Offer {
	tb.Helper()
	if len(tasks) == 0 {
		tasks = []corp.Task{o.submit(tb)}
	}
	runner := o.register(tb, o.keys[corp.RoleRunner])
	ctx, cancel := context.WithTimeout(tb.Context(), 30*time.Second)
	defer cancel()
	for seq := int64(1); ; seq++ {
		got, err := o.runner().Poll(ctx, runner, corp.Poll{Seq: seq, Free: 1, WaitMS: 5000})
		if err != nil {
			tb.Fatalf("no offer: %v", err)
		}
		for _, offer := range got.Offers {
			if offer.TaskID == tasks[0].ID {
				return offer
			}
		}
	}
}

// running is leased and acknowledged.
func (o *office) running(tb testing.TB, tasks ...corp.Task) corp.Offer {
	tb.Helper()
	offer := o.leased(tb, tasks...)
	if err := o.runner().Ack(tb.Context(), offer.Lease); err != nil {
		tb.Fatal(err)
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

package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/gateway"
	"github.com/genericcorp/corp/gateway/pricebook"
	"github.com/genericcorp/corp/outbound"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
	"github.com/genericcorp/corp/seal"
	"github.com/genericcorp/corp/vendorsim"
)

// world is a gateway between a vendor and a database, both real, with one
// workspace that has a provider named sim.
type world struct {
	t       testing.TB
	env     *pgtest.Env
	ws      corp.WorkspaceID
	ring    *seal.Ring
	config  gateway.Config
	gateway *gateway.Gateway
	url     string // of the gateway's listener
	vendor  string // of the vendor's
	stop    func() // ends the gateway the orderly way, once
}

const vendorKey = "sk-vendor-key"

// quick are times that tests need not wait for.
func quick() gateway.Times {
	return gateway.Times{
		Identity: 50 * time.Millisecond, Provider: 50 * time.Millisecond, Budget: 50 * time.Millisecond, Silence: 5 * time.Second,
		Wait: 5 * time.Second, Retry: 20 * time.Millisecond, Idle: 300 * time.Millisecond, Flush: 5 * time.Millisecond, Sweep: 20 * time.Millisecond,
		UpstreamIdle: 10 * time.Second, ClientStall: 5 * time.Second, Drain: 5 * time.Second, Shutdown: 10 * time.Second,
	}
}

// patience is how long a test waits for what must come, on a machine however
// busy. It proves nothing about how soon that is.
const patience = time.Minute

// unhurried gives what ends before its time the time that a busy machine takes.
func unhurried(c *gateway.Config) { c.Times.Drain, c.Times.Wait = patience, patience }

var secret = bytes.Repeat([]byte{7}, seal.SecretSize)

// seeded are the databases that have the price book, by name.
var seeded sync.Map

func seedPrices(tb testing.TB, env *pgtest.Env) {
	tb.Helper()
	once, _ := seeded.LoadOrStore(env.Name, sync.OnceValue(func() error {
		rows, err := pricebook.Prices()
		if err != nil {
			return err
		}
		_, err = env.DB.System("test").SeedPrices(context.Background(), rows)
		return err
	}))
	if err := once.(func() error)(); err != nil {
		tb.Fatal(err)
	}
}

func newWorld(tb testing.TB, vendor http.Handler, change ...func(*gateway.Config)) *world {
	tb.Helper()
	return newWorldIn(tb, pgtest.New(tb), vendor, change...)
}

// newWorldIn makes a world in a database of its own.
func newWorldIn(tb testing.TB, env *pgtest.Env, vendor http.Handler, change ...func(*gateway.Config)) *world {
	tb.Helper()
	seedPrices(tb, env)
	ring, err := seal.New(secret)
	if err != nil {
		tb.Fatal(err)
	}
	upstream := httptest.NewServer(vendor)
	tb.Cleanup(upstream.Close)
	w := &world{t: tb, env: env, ws: env.Workspace(tb), ring: ring, vendor: upstream.URL}
	w.provider("sim", upstream.URL)
	w.config = gateway.Config{
		DB: env.DB, Ring: ring, Server: corp.NewID[corp.ServerID](), JournalPath: filepath.Join(tb.TempDir(), "journal"), Times: quick(),
		Outbound: outbound.Policy{AllowPrivate: true}, // the vendor is on this machine
	}
	for _, c := range change {
		c(&w.config)
	}
	w.start()
	return w
}

// provider makes a vendor account whose key is vendorKey.
func (w *world) provider(name, url string) corp.Provider {
	w.t.Helper()
	id := corp.NewID[corp.ProviderID]()
	p, err := w.env.DB.In(w.ws).CreateProvider(w.t.Context(), corp.ActorSystem, id,
		corp.ProviderSpec{Name: name, Dialect: corp.DialectAnthropic, BaseURL: url, Vendor: "anthropic"},
		w.ring.Seal([]byte(vendorKey), w.ws.String(), "provider", id.String()))
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (w *world) start() {
	w.t.Helper()
	g, err := gateway.New(w.config)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := g.Recover(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	server := httptest.NewServer(g)
	w.gateway, w.url = g, server.URL
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("the gateway stopped with: %v", err)
		}
		server.Close()
	})
	w.t.Cleanup(func() { w.stop() })
}

// agent is a run with its key.
type agent struct {
	*world
	lease pgtest.Lease
	task  corp.Task
	key   string
}

// run submits a task with a budget (0 means none) and leases its run.
func (w *world) run(budget corp.Nanodollars) *agent {
	w.t.Helper()
	var spec corp.TaskSpec
	if budget > 0 {
		spec.Budget = &budget
	}
	task := w.env.Submit(w.t, w.ws, spec)
	a := &agent{world: w, task: task, lease: w.env.Running(w.t, w.ws, task.RunID), key: corp.NewSecret(corp.KeyPrefixRun)}
	if n := w.env.Exec(w.t, `UPDATE runs SET run_key_hash = $2 WHERE id = $1`, task.RunID, w.ring.Hash(a.key)); n != 1 {
		w.t.Fatalf("%d runs got the key", n)
	}
	return a
}

// reply is an answer as the agent sees it.
type reply struct {
	status int
	header http.Header
	body   []byte
	err    error // why reading it ended
}

// request makes a call of the agent's.
func (a *agent) request(ctx context.Context, body string) *http.Request {
	a.t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url+"/v1/messages?beta=true", strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	r.Header.Set("X-Api-Key", a.key)
	r.Header.Set("Anthropic-Version", "2023-06-01")
	r.Header.Set("Content-Type", "application/json")
	return r
}

func (a *agent) do(r *http.Request) reply {
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return reply{err: err}
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return reply{response.StatusCode, response.Header, body, err}
}

func (a *agent) call(body string) reply { return a.do(a.request(a.t.Context(), body)) }

// message is a request body.
func message(model, prompt string, maxTokens string, stream bool) string {
	s := "false"
	if stream {
		s = "true"
	}
	return `{"model":"` + model + `","max_tokens":` + maxTokens + `,"stream":` + s + `,"messages":[{"role":"user","content":"` + prompt + `"}]}`
}

// calls waits until n calls of the run are recorded and returns them, oldest first.
func (a *agent) calls(n int) []corp.Call {
	a.t.Helper()
	var found []corp.Call
	pgtest.Eventually(a.t, patience, "the calls are in the ledger", func(ctx context.Context) bool {
		list, err := a.env.DB.In(a.ws).Calls(ctx, postgres.CallFilter{Run: a.task.RunID}, corp.Page{Limit: 500})
		if err != nil && !errors.Is(err, context.Canceled) {
			a.t.Error(err)
		}
		found = list.Items
		return len(found) >= n
	})
	if len(found) > n {
		a.t.Fatalf("%d calls recorded, want %d", len(found), n)
	}
	for i, j := 0, len(found)-1; i < j; i, j = i+1, j-1 {
		found[i], found[j] = found[j], found[i]
	}
	return found
}

func (a *agent) only() corp.Call {
	a.t.Helper()
	return a.calls(1)[0]
}

// budgets returns the task's and the workspace's budget.
func (a *agent) budgets() (task, workspace corp.Budget) {
	a.t.Helper()
	var list []corp.Budget
	pgtest.Eventually(a.t, patience, "the database answers", func(ctx context.Context) bool {
		var err error
		list, err = a.env.DB.In(a.ws).Budgets(ctx, a.task.ID)
		if err != nil && corp.KindOf(err) != corp.KindUnavailable { // a test may have killed its connections
			a.t.Error(err)
		}
		return err == nil
	})
	for _, b := range list {
		if b.TaskID.IsZero() {
			workspace = b
		} else {
			task = b
		}
	}
	return task, workspace
}

// settled waits until nothing of the task's budget is granted any more.
func (a *agent) settled() (task, workspace corp.Budget) {
	a.t.Helper()
	pgtest.Eventually(a.t, patience, "allowances are given back", func(context.Context) bool {
		task, workspace = a.budgets()
		return task.Granted == 0 && workspace.Granted == 0
	})
	return task, workspace
}

func (w *world) limitWorkspace(limit corp.Nanodollars) {
	w.t.Helper()
	if _, err := w.env.DB.In(w.ws).UpdateWorkspace(w.t.Context(), corp.ActorSystem, corp.WorkspaceUpdate{Budget: &limit}); err != nil {
		w.t.Fatal(err)
	}
}

// simulated starts the simulated vendor with the rules of a scenario.
func simulated(t *testing.T, rules string) *vendorsim.Server {
	t.Helper()
	s, err := vendorsim.Load(strings.NewReader("name: test\nrules:\n" + rules))
	if err != nil {
		t.Fatal(err)
	}
	return vendorsim.New(vendorsim.Options{Keys: []string{vendorKey}}, s)
}

func TestMain(m *testing.M) {
	if path := os.Getenv("CORP_TEST_GATEWAY"); path != "" {
		os.Exit(child(path))
	}
	os.Exit(m.Run())
}

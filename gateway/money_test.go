package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/gateway"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// greedy is a vendor that bills as much as a request allows, at random, and
// keeps its own books. It never bills more tokens than the request has bytes, as
// no vendor does, nor more than max_tokens.
type greedy struct {
	mu     sync.Mutex
	billed corp.Nanodollars
	calls  int
	slow   time.Duration
	cuts   bool // breaks off now and then

	hold  chan struct{} // after so many calls it stops in the middle of answers until this is closed
	after int
}

func (g *greedy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var asked struct {
		MaxTokens int64 `json:"max_tokens"`
		Stream    bool  `json:"stream"`
	}
	if err := json.Unmarshal(body, &asked); err != nil || asked.MaxTokens < 1 {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	left := int64(len(body))
	var u corp.Usage
	for _, part := range []*int64{&u.CacheWriteLong, &u.CacheRead, &u.CacheWriteShort, &u.FreshInput} {
		*part = rand.Int64N(left + 1)
		left -= *part
	}
	u.Output = asked.MaxTokens - rand.Int64N(asked.MaxTokens/2+1)
	g.mu.Lock()
	g.billed += sonnet(u)
	g.calls++
	held := g.hold != nil && g.calls > g.after
	g.mu.Unlock()
	if g.slow > 0 {
		timer := time.NewTimer(time.Duration(rand.Int64N(int64(g.slow))))
		defer timer.Stop()
		<-timer.C
	}
	cut := g.cuts && rand.IntN(5) == 0
	usage := fmt.Sprintf(`"input_tokens":%d,"cache_read_input_tokens":%d,"cache_creation_input_tokens":%d,"cache_creation":{"ephemeral_5m_input_tokens":%d,"ephemeral_1h_input_tokens":%d}`,
		u.FreshInput, u.CacheRead, u.CacheWriteShort+u.CacheWriteLong, u.CacheWriteShort, u.CacheWriteLong)
	if !asked.Stream {
		if held {
			<-g.hold
		}
		if cut {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"model":"claude-sonnet-4-5","usage":{%s,"output_tokens":%d}}`, usage, u.Output)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = fmt.Fprintf(w, "data: {\"type\":\"message_start\",\"message\":{\"model\":\"claude-sonnet-4-5\",\"usage\":{%s,\"output_tokens\":1}}}\n\n", usage)
	_ = http.NewResponseController(w).Flush()
	if held {
		<-g.hold
	}
	if cut {
		panic(http.ErrAbortHandler)
	}
	_, _ = fmt.Fprintf(w, "data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":%d}}\n\ndata: {\"type\":\"message_stop\"}\n\n", u.Output)
}

func (g *greedy) books() (corp.Nanodollars, int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.billed, g.calls
}

// hammer makes random calls from many clients, some of which hang up, until no
// call has been let through for each of them. It returns how many were.
func hammer(tb testing.TB, agents []*agent, clients, tries int, kills bool) (through int64) {
	tb.Helper()
	var passed atomic.Int64
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			a := agents[i%len(agents)]
			for range tries {
				ctx, cancel := context.WithCancel(tb.Context())
				if kills && rand.IntN(4) == 0 {
					timer := time.AfterFunc(time.Duration(rand.Int64N(int64(20*time.Millisecond))), cancel)
					defer timer.Stop()
				}
				body := message("sim/claude-sonnet-4-5", strings.Repeat("x", rand.IntN(3000)), fmt.Sprint(1+rand.IntN(4000)), rand.IntN(2) == 0)
				got := a.do(a.request(ctx, body))
				cancel()
				switch got.status {
				case http.StatusOK:
					passed.Add(1)
				case http.StatusPaymentRequired, http.StatusForbidden:
					return
				}
			}
		})
	}
	wg.Wait()
	return passed.Load()
}

// watchLimit looks at the workspace's money all the while and fails the test if
// what is spent and what is granted together ever pass the limit.
func (w *world) watchLimit(tb testing.TB) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			over := pgtest.Value[int64](tb, w.env, `SELECT count(*) FROM budgets WHERE workspace_id = $1 AND spent_nanodollars + granted_nanodollars > limit_nanodollars`, w.ws)
			if over > 0 {
				tb.Error("a budget is over its limit")
				return
			}
		}
	}()
	return func() { cancel(); <-done }
}

func (w *world) sum() corp.Nanodollars {
	return corp.Nanodollars(pgtest.Value[int64](w.t, w.env, `SELECT coalesce(sum(cost_nanodollars), 0)::bigint FROM calls WHERE workspace_id = $1`, w.ws))
}

// Whatever fifty clients do, neither the vendor nor the ledger ever passes the
// limit by a nanodollar, and the ledger never says less than the vendor.
func TestHardLimitIsNeverPassed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		task, workspace corp.Nanodollars
		agents          int
		kills, cuts     bool
	}{
		"one task":                      {task: 700_000_001, agents: 1},
		"one workspace, many tasks":     {workspace: 900_000_007, agents: 10},
		"both, the task's first":        {task: 300_000_000, workspace: 2 * corp.Dollar, agents: 5},
		"both, the workspace's first":   {task: corp.Dollar, workspace: 800_000_000, agents: 5},
		"clients and vendors break off": {task: corp.Dollar, workspace: 3 * corp.Dollar, agents: 5, kills: true, cuts: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			vendor := &greedy{slow: 10 * time.Millisecond, cuts: c.cuts}
			w := newWorld(t, vendor, func(c *gateway.Config) { c.Times.Wait = 500 * time.Millisecond })
			if c.workspace > 0 {
				w.limitWorkspace(c.workspace)
			}
			agents := make([]*agent, c.agents)
			for i := range agents {
				agents[i] = w.run(c.task)
			}
			unwatch := w.watchLimit(t)
			through := hammer(t, agents, 50, 40, c.kills)
			unwatch()
			for _, a := range agents {
				a.settled()
			}
			billed, served := vendor.books()
			sum := w.sum()
			limit := c.workspace
			if all := c.task * corp.Nanodollars(c.agents); limit == 0 || c.task > 0 && all < limit {
				limit = all
			}
			if billed > limit || sum > limit || sum < billed {
				t.Errorf("limit %v: the vendor billed %v, the ledger says %v", limit, billed, sum)
			}
			if !c.kills && (sum != billed || through != int64(served)) {
				t.Errorf("nothing broke off: the vendor billed %v for %d calls, the ledger says %v for %d", billed, served, sum, through)
			}
			if through == 0 || (!c.kills && sum < limit/2) {
				t.Errorf("only %v of %v was used, in %d calls", sum, limit, through)
			}
			spent := pgtest.Value[int64](t, w.env, `SELECT spent_nanodollars FROM budgets WHERE workspace_id = $1 AND task_id IS NULL`, w.ws)
			if corp.Nanodollars(spent) != sum {
				t.Errorf("the budget says %v, the calls %v", corp.Nanodollars(spent), sum)
			}
		})
	}
}

func TestOutputCapSinksToWhatBothBudgetsAfford(t *testing.T) {
	t.Parallel()
	vendor := &recording{answer: plainAnswer}
	w := newWorld(t, vendor)
	w.limitWorkspace(50_000_000)
	a := w.run(40_000_000)
	body := `{"model":"sim/claude-sonnet-4-5","x":[1, 2],"max_tokens": 64000,"messages":[{"role":"user","content":"hi"}]}`
	if got := a.call(body); got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	_, sent := vendor.last(t)
	var asked struct {
		MaxTokens int64 `json:"max_tokens"`
	}
	if err := json.Unmarshal(sent, &asked); err != nil {
		t.Fatal(err)
	}
	// The prompt's bound is its bytes and 64 more at the dearest price, $6 a million.
	most := (40_000_000 - int64(len(body)+64)*sonnetLong) / sonnetOut
	if asked.MaxTokens > most || asked.MaxTokens < most-1 {
		t.Errorf("the cap is %d, the task's budget affords %d", asked.MaxTokens, most)
	}
	want := strings.Replace(strings.Replace(body, "sim/", "", 1), "64000", fmt.Sprint(asked.MaxTokens), 1)
	if string(sent) != want {
		t.Errorf("got  %s\nwant %s", sent, want)
	}
	if c := a.only(); strings.Join(c.Edits, ",") != "credential,model,output_cap" || c.Reserved > 40_000_000 {
		t.Errorf("%+v", c)
	}
}

func TestCapNeverSinksBelowItsFloor(t *testing.T) {
	t.Parallel()
	vendor := &recording{answer: plainAnswer}
	w := newWorld(t, vendor)
	enough := w.run(17_000_000) // 1,024 tokens of answer and a prompt of 150 bytes
	if got := enough.call(message("sim/claude-sonnet-4-5", "hi", "5000", false)); got.status != 200 {
		t.Errorf("%d %s", got.status, got.body)
	}
	short := w.run(14_000_000)
	got := short.call(message("sim/claude-sonnet-4-5", "hi", "5000", false))
	if got.status != 402 || !strings.Contains(string(got.body), "billing_error") || !strings.Contains(string(got.body), "$0.014") || got.header.Get("X-Should-Retry") != "false" {
		t.Errorf("%d %s", got.status, got.body)
	}
	if c := short.only(); c.Outcome != corp.CallRefused || c.Status != 402 {
		t.Errorf("%+v", c)
	}
	run, err := w.env.DB.Auth().Run(t.Context(), w.ring.Hash(short.key))
	if err != nil || run.StopReason != corp.ReasonBudget {
		t.Errorf("%+v, %v", run, err)
	}
	if got := short.call(message("sim/claude-sonnet-4-5", "hi", "5", false)); got.status != 402 {
		t.Errorf("a run out of money called on: %d", got.status)
	}
	small := w.run(14_000_000)
	if got := small.call(message("sim/claude-sonnet-4-5", "hi", "500", false)); got.status != 200 {
		t.Errorf("fewer tokens than the floor, as asked: %d %s", got.status, got.body)
	}
	thinking := w.run(40_000_000)
	body := `{"model":"sim/claude-sonnet-4-5","max_tokens":20000,"thinking":{"type":"enabled","budget_tokens":4000},"messages":[]}`
	if got := thinking.call(body); got.status != 402 {
		t.Errorf("the cap sank below the thinking budget: %d %s", got.status, got.body)
	}
	nothing := w.run(1)
	if got := nothing.call(message("sim/claude-sonnet-4-5", "hi", "1", false)); got.status != 402 {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestMissingCapIsPutInUnderALimit(t *testing.T) {
	t.Parallel()
	vendor := &recording{answer: plainAnswer}
	w := newWorld(t, vendor)
	body := `{"model":"sim/claude-sonnet-4-5","messages":[]}`
	w.run(corp.Dollar).call(body)
	if _, sent := vendor.last(t); string(sent) != `{"max_tokens":64000,"model":"claude-sonnet-4-5","messages":[]}` && !strings.HasPrefix(string(sent), `{"max_tokens":6`) {
		t.Errorf("%s", sent)
	}
	w.run(0).call(body)
	if _, sent := vendor.last(t); string(sent) != `{"model":"claude-sonnet-4-5","messages":[]}` {
		t.Errorf("%s", sent)
	}
}

// A call that does not fit now, but will when those under way end, waits.
func TestCallWaitsForReservationsInFlight(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	var served atomic.Int64
	vendor := &recording{answer: func(w http.ResponseWriter, r *http.Request) {
		if served.Add(1) == 1 {
			<-release
		}
		plainAnswer(w, r)
	}}
	w := newWorld(t, vendor, unhurried)
	a := w.run(40_000_000)
	first, second := make(chan reply, 1), make(chan reply, 1)
	go func() { first <- a.call(message("sim/claude-sonnet-4-5", "hi", "2400", false)) }()
	pgtest.Eventually(t, patience, "the first call is under way", func(context.Context) bool { return served.Load() == 1 })
	go func() { second <- a.call(message("sim/claude-sonnet-4-5", "hi", "2400", false)) }()
	pgtest.Eventually(t, patience, "the second call is with the gateway", func(context.Context) bool { return w.gateway.UnderWay(a.task.RunID) == 2 })
	select {
	case got := <-second:
		t.Fatalf("it did not wait: %d %s", got.status, got.body)
	case <-time.After(100 * time.Millisecond):
	}
	close(release)
	if got := <-first; got.status != 200 {
		t.Errorf("%d", got.status)
	}
	if got := <-second; got.status != 200 {
		t.Errorf("%d %s", got.status, got.body)
	}
	a.calls(2)
}

func TestWaitingEndsInARefusal(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	vendor := &recording{answer: func(w http.ResponseWriter, r *http.Request) { <-release; plainAnswer(w, r) }}
	w := newWorld(t, vendor, func(c *gateway.Config) { c.Times.Wait = 100 * time.Millisecond })
	a := w.run(40_000_000)
	first := make(chan reply, 1)
	go func() { first <- a.call(message("sim/claude-sonnet-4-5", "hi", "2400", false)) }()
	pgtest.Eventually(t, patience, "the first call is under way", func(context.Context) bool {
		vendor.mu.Lock()
		defer vendor.mu.Unlock()
		return len(vendor.got) == 1
	})
	if got := a.call(message("sim/claude-sonnet-4-5", "hi", "2400", false)); got.status != 402 {
		t.Errorf("%d %s", got.status, got.body)
	}
	close(release)
	<-first
}

func TestLimitThatIsSetLaterHolds(t *testing.T) {
	t.Parallel()
	vendor := &recording{answer: plainAnswer}
	w := newWorld(t, vendor)
	a := w.run(0)
	body := message("sim/claude-sonnet-4-5", "hi", "100", false)
	if got := a.call(body); got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	a.only()
	w.limitWorkspace(1000)
	pgtest.Eventually(t, patience, "the new limit is known", func(context.Context) bool { return a.call(body).status == 402 })
	b := w.run(0)
	w.limitWorkspace(corp.Dollar)
	pgtest.Eventually(t, patience, "the raised limit is known", func(context.Context) bool { return b.call(body).status == 200 })
	b.settled()
}

func TestLoweredLimitTakesBackWhatIsNotUsed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, &recording{answer: plainAnswer}, func(c *gateway.Config) { c.Times.Idle = time.Hour })
	w.limitWorkspace(10 * corp.Dollar)
	a := w.run(0)
	body := message("sim/claude-sonnet-4-5", "hi", "100", false)
	a.call(body)
	if _, ws := a.budgets(); ws.Granted == 0 {
		t.Fatal("nothing was granted")
	}
	w.limitWorkspace(5 * corp.Dollar)
	pgtest.Eventually(t, patience, "what was free is given back", func(context.Context) bool {
		a.call(body)
		_, ws := a.budgets()
		return ws.Granted < 10*1_000_000
	})
}

// What one server holds idle in one budget must not starve a call whose other
// budget is short.
func TestSurplusIsGivenBackBeforeACallIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, &recording{answer: plainAnswer}, func(c *gateway.Config) { c.Times.Idle = time.Hour })
	w.limitWorkspace(100_000_000)
	body := message("sim/claude-sonnet-4-5", "hi", "1000", false)
	for range 4 { // each takes a part of the workspace's budget and spends little of it
		if got := w.run(0).call(body); got.status != 200 {
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
	a := w.run(corp.Dollar)
	if got := a.call(message("sim/claude-sonnet-4-5", "hi", "6000", false)); got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if c := a.only(); strings.Contains(strings.Join(c.Edits, ","), "output_cap") {
		t.Errorf("the cap was lowered although the money was there: %+v", c)
	}
}

func TestTwoServersShareABudget(t *testing.T) {
	t.Parallel()
	vendor := &greedy{slow: 5 * time.Millisecond}
	one := newWorld(t, vendor, func(c *gateway.Config) { c.Times.Wait = 500 * time.Millisecond })
	limit := corp.Dollar
	a := one.run(limit)
	config := one.config
	config.Server, config.JournalPath = corp.NewID[corp.ServerID](), t.TempDir()+"/journal"
	two := *one
	two.config = config
	two.start()
	b := *a
	b.world = &two
	unwatch := one.watchLimit(t)
	hammer(t, []*agent{a, &b}, 20, 40, false)
	unwatch()
	a.settled()
	billed, _ := vendor.books()
	if sum := one.sum(); sum != billed || sum > limit || sum < limit/2 {
		t.Errorf("billed %v, ledger %v, limit %v", billed, sum, limit)
	}
}

func TestLostDatabaseLosesNoMoney(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	vendor := &greedy{slow: 5 * time.Millisecond}
	w := newWorldIn(t, env, vendor, func(c *gateway.Config) { c.Times.Wait = 300 * time.Millisecond })
	limit := corp.Dollar
	a := w.run(limit)
	stop := make(chan struct{})
	var killers sync.WaitGroup
	killers.Go(func() {
		tick := time.NewTicker(30 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				env.KillConnections(t)
			}
		}
	})
	hammer(t, []*agent{a}, 20, 30, true)
	close(stop)
	killers.Wait()
	task, _ := a.settled()
	billed, _ := vendor.books()
	if sum := w.sum(); sum > limit || sum < billed || task.Spent != sum {
		t.Errorf("billed %v, ledger %v, spent %v, limit %v", billed, sum, task.Spent, limit)
	}
}

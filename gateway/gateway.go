// Package gateway is the way to the model vendors: it lets an agent's call
// through with the vendor's key in place of the run's, counts what the answer
// says was used, and makes sure that no call begins which a hard limit could not
// pay for.
//
// Bytes pass untouched both ways but for four edits, each recorded on the call:
// the credential, the provider's prefix of a model's name, an output cap lowered
// to what the budget affords, and (for a dialect that needs it) asking for the
// usage. It never decodes a body and writes it anew, never repeats a call, never
// follows a redirect, and never shows a vendor's key to anybody.
package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/gateway/pricebook"
	"github.com/genericcorp/corp/limit"
	"github.com/genericcorp/corp/outbound"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/seal"
)

// Config is what a gateway is made of. DB, Ring, Server and JournalPath are required.
type Config struct {
	DB          *postgres.DB
	Ring        *seal.Ring
	Server      corp.ServerID       // of this process: allowances are its own
	JournalPath string              // a file in this server's data folder, which must stay from start to start
	Env         func(string) string // holds the keys of the installation's providers; nil holds none
	Transport   http.RoundTripper   // to the installation's vendors, wherever the operator says; nil is one with TLS verified and no proxy
	Outbound    outbound.Policy     // where the vendors of a workspace's own may be; the zero policy is closed
	Times       Times               // what is zero is taken from DefaultTimes
	Logger      *slog.Logger        // nil is silent
	Registerer  prometheus.Registerer
}

// Gateway is the handler of the gateway's own listener and what works behind
// it. Make it with New, then call Recover, then Run beside the listener.
type Gateway struct {
	Config
	guarded   http.RoundTripper // to the vendors that workspaces named
	directory *directory
	purse     *purse
	ledger    *ledger
	metrics   *metrics
	refused   *limit.Memory // how many refusals of each run were recorded
	book      atomic.Pointer[pricebook.Book]
	again     rereading
	journal   atomic.Pointer[journal]
	lock      *lock
	wakeSweep chan struct{}

	mu       sync.Mutex
	calls    map[corp.RunID]int   // under way, by run
	bodies   map[corp.RunID]int64 // bytes of their requests
	open     int                  // of all runs
	left     chan struct{}        // closed when a call has ended
	stopping bool
	idle     chan struct{}               // closed when stopping and nothing is open
	cuts     map[corp.CallID]func(error) // ends each call under way
	cut      bool                        // they had their time
}

var errStopped = errors.New("the gateway stopped")

// New makes a gateway. It does no input or output.
func New(c Config) (*Gateway, error) {
	if c.DB == nil || c.Ring == nil || c.Server.IsZero() || c.JournalPath == "" {
		return nil, errors.New("a gateway needs a database, a ring, a server id and a path for its journal")
	}
	c.Times = c.Times.or(DefaultTimes())
	if c.Env == nil {
		c.Env = func(string) string { return "" }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Transport == nil {
		c.Transport = newTransport()
	}
	g := &Gateway{
		Config: c, guarded: outbound.NewTransport(c.Outbound), directory: newDirectory(c.DB, c.Ring, c.Env, c.Times),
		purse: newPurse(c.DB, c.Server, c.Times), calls: map[corp.RunID]int{}, bodies: map[corp.RunID]int64{}, cuts: map[corp.CallID]func(error){}, left: make(chan struct{}),
		idle: make(chan struct{}), wakeSweep: make(chan struct{}, 1),
	}
	g.ledger = newLedger(c.DB, c.Times, c.Logger, g.recorded)
	g.metrics, g.refused = newMetrics(g), limit.NewMemory(nil, 10_000)
	if c.Registerer != nil {
		if err := c.Registerer.Register(g.metrics); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// newTransport keeps connections to vendors open and changes nothing in what
// passes: no compression, no proxy, no redirect, TLS verified.
func newTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		DialContext: dialer.DialContext, ForceAttemptHTTP2: true, DisableCompression: true,
		MaxIdleConns: 4096, MaxIdleConnsPerHost: 1024, IdleConnTimeout: 60 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second, WriteBufferSize: 64 << 10, ReadBufferSize: 32 << 10,
	}
}

// way returns what calls to a vendor account go through: the operator's own may be
// anywhere, a workspace's only where the policy allows.
func (g *Gateway) way(to route) http.RoundTripper {
	if to.Installation {
		return g.Transport
	}
	return g.guarded
}

// recorded is called by the ledger for calls that have reached the database.
func (g *Gateway) recorded(batch []settled) {
	ids := make([]corp.CallID, 0, len(batch))
	for i := range batch {
		if batch[i].reservation != nil {
			g.purse.recorded(batch[i].reservation)
		}
		if batch[i].journaled {
			ids = append(ids, batch[i].record.ID)
		}
	}
	if err := g.journal.Load().forget(ids...); err != nil {
		g.Logger.Error("journal not made smaller", "error", err)
	}
}

// enter lets a call begin, unless the gateway stops, the run has too many under
// way or the database has not taken the last ones.
func (g *Gateway) enter(ws corp.WorkspaceID, run corp.RunID) *refusal {
	if g.ledger.full(ws) {
		return unavailable("Finished calls are waiting for the database, so no new ones begin.")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.stopping:
		return unavailable("This server is stopping.")
	case g.calls[run] >= maxOpenPerRun:
		return &refusal{status: http.StatusTooManyRequests, message: "This run has too many model calls under way at the same time.", retryAfter: 1}
	}
	g.calls[run]++
	g.open++
	return nil
}

func (g *Gateway) exit(run corp.RunID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open--
	if g.calls[run]--; g.calls[run] == 0 {
		delete(g.calls, run)
		delete(g.bodies, run)
	}
	close(g.left)
	g.left = make(chan struct{})
	if g.stopping && g.open == 0 {
		g.closeIdle()
	}
}

// hold makes room for a request's body of so many bytes, if the run may have more
// in memory; a negative number gives room back.
func (g *Gateway) hold(run corp.RunID, n int64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if n > 0 && g.bodies[run]+n > maxHeldPerRun {
		return false
	}
	g.bodies[run] += n
	return true
}

// endable lets stopCalls end a call when its time is up. It returns how to take
// that back.
func (g *Gateway) endable(id corp.CallID, end func(error)) (done func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cuts[id] = end
	if g.cut {
		end(errStopped)
	}
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.cuts, id)
	}
}

// endCalls ends all calls under way, and those that are about to be.
func (g *Gateway) endCalls() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cut = true
	for _, end := range g.cuts {
		end(errStopped)
	}
}

// closeIdle says that nothing is open any more. The gateway is locked.
func (g *Gateway) closeIdle() {
	select {
	case <-g.idle:
	default:
		close(g.idle)
	}
}

// Forget tells the gateway that a run has ended: its key works no more, and what
// its task has not used of its allowance goes back.
func (g *Gateway) Forget(run corp.RunID) {
	task := g.directory.forget(run)
	if task.IsZero() {
		return
	}
	g.purse.forget(task)
	select {
	case g.wakeSweep <- struct{}{}:
	default:
	}
}

// Flush waits until no call of the run is under way and all of them are in the
// database, so that its sums are whole before somebody reads them. The caller
// sets a deadline: a call whose agent was killed is read on for its count.
func (g *Gateway) Flush(ctx context.Context, run corp.RunID) error {
	for {
		g.mu.Lock()
		left, open := g.left, g.calls[run]
		g.mu.Unlock()
		if open == 0 {
			return g.ledger.settle(ctx, run)
		}
		select {
		case <-left:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Package api is the HTTP surface: the operations people, programs and runners
// use, who may do what, the errors they get, and the live stream.
//
// One table (operations.go) lists every operation with the action it needs; an
// operation without one does not start. The workspace comes from the credential
// and from nowhere else in a request. Handlers return errors: one function turns
// them into problems (problem.go), and one place logs (exchange.go).
//
// It speaks no SQL, makes no decision about runs or money, and shows no secret a
// second time. What goes beyond one workspace stands in operator.go alone.
package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/blob"
	"github.com/genericcorp/corp/dispatch"
	"github.com/genericcorp/corp/feed"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/seal"
)

// Config is what an API is built from. Everything is needed but Registerer,
// Gatherer, BeforeFinish and OnFinish.
type Config struct {
	DB         *postgres.DB
	Server     corp.ServerID // of this process, for the others' logs
	Hub        *feed.Hub
	Dispatcher *dispatch.Dispatcher
	Blobs      *blob.Store
	Ring       *seal.Ring
	GatewayURL func() string  // where agents' model calls go, as runners reach it
	Times      dispatch.Times // told to runners at registration
	Version    string         // of this build
	Logger     *slog.Logger
	Registerer prometheus.Registerer // takes the API's own metrics
	Gatherer   prometheus.Gatherer   // what /metrics shows
	// BeforeFinish is called before a runner's end of a run is written down: the
	// ledger may have calls of the run that its sums do not hold yet. It returns
	// after two seconds at most.
	BeforeFinish func(ctx context.Context, run corp.RunID)
	// OnFinish is called after a runner has ended a run.
	OnFinish func(ws corp.WorkspaceID, run corp.RunID)
}

// API answers HTTP requests. It is safe for concurrent use.
type API struct {
	Config
	auth     *authenticator
	touches  *touches
	runners  *runnerBook
	proofs   *proofBook
	leaders  *leaderBook
	peers    http.RoundTripper // to the other servers
	leaving  leaving
	streams  *streamCount
	metrics  *metrics
	ready    *readiness
	ping     time.Duration // between two signs of life of a stream
	stall    time.Duration // how long a stream's reader may take nothing
	rest     time.Duration // how long an answer waits for what is left of its request
	handler  http.Handler
	document *huma.OpenAPI
	// The document as it is served.
	documentJSON, documentYAML []byte
}

// pingEvery keeps proxies from closing a stream that has no news.
const pingEvery = 15 * time.Second

// New builds the API. It returns an error when a part is missing; an operation
// that names no action is a mistake in this package and panics.
func New(c Config) (*API, error) {
	if c.DB == nil || c.Hub == nil || c.Dispatcher == nil || c.Blobs == nil || c.Ring == nil || c.Logger == nil || c.GatewayURL == nil {
		return nil, errors.New("build the api: a part is missing in its configuration")
	}
	a := &API{Config: c, touches: newTouches(), runners: newRunnerBook(), proofs: newProofBook(), streams: newStreamCount(), ping: pingEvery, stall: frameStall, rest: bodyPatience}
	a.leaving.done = make(chan struct{})
	a.leaders, a.peers = &leaderBook{read: a.whoLeads}, newPeers(a.Times.PollWait)
	a.auth = newAuthenticator(a.lookUpKey)
	a.ready = newReadiness(a.checkParts)
	var err error
	if a.metrics, err = newMetrics(c.Registerer, a.counts, a.streams.total); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	a.document = a.register(humago.NewAdapter(mux, ""))
	if err := a.serveDocument(mux); err != nil {
		return nil, err
	}
	mux.HandleFunc("GET /metrics", a.serveMetrics)
	mux.HandleFunc("/", a.unknownRoute(mux))
	a.handler = a.exchanges(mux)
	return a, nil
}

// Handler returns what the server's listener serves.
func (a *API) Handler() http.Handler { return a.handler }

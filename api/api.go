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
	"crypto/ed25519"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/audit"
	"github.com/genericcorp/corp/blob"
	"github.com/genericcorp/corp/dispatch"
	"github.com/genericcorp/corp/feed"
	"github.com/genericcorp/corp/identity"
	"github.com/genericcorp/corp/identity/token"
	"github.com/genericcorp/corp/limit"
	"github.com/genericcorp/corp/outbound"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/people"
	"github.com/genericcorp/corp/seal"
)

// Config is what an API is built from. Everything is needed but Identity, Edge, Outbound,
// Limits, Registerer, Gatherer, SendInvitation, BeforeFinish, OnFinish and Pages.
type Config struct {
	DB         *postgres.DB
	People     *people.Store
	Identity   *identity.Flows // signs people in; nil signs nobody in
	Tokens     *token.Tokens   // verifies access tokens; nil takes those of Identity
	Cookie     string          // name of a browser session's; empty is CookieName's, where people sign in
	KeyPrefix  string          // of API keys: corp.KeyPrefixLive, when empty, or corp.KeyPrefixTest
	Server     corp.ServerID   // of this process, for the others' logs
	Hub        *feed.Hub
	Dispatcher *dispatch.Dispatcher
	Blobs      *blob.Store
	Ring       *seal.Ring
	GatewayURL func() string   // where agents' model calls go, as runners reach it
	Edge       Edge            // where requests come in; the zero one is a laptop's
	Times      dispatch.Times  // told to runners at registration
	Outbound   outbound.Policy // where vendors and repositories may be; the zero policy is closed
	Version    string          // of this build
	Logger     *slog.Logger
	Registerer prometheus.Registerer // takes the API's own metrics
	Gatherer   prometheus.Gatherer   // what /metrics shows
	Limits     limit.Store           // counts requests; nil counts in this process
	// SendInvitation puts a letter on its way. It does not wait until it is there. Nil
	// invites nobody.
	SendInvitation func(ctx context.Context, l Letter) error
	// BeforeFinish is called before a runner's end of a run is written down: the
	// ledger may have calls of the run that its sums do not hold yet. It returns
	// after two seconds at most.
	BeforeFinish func(ctx context.Context, run corp.RunID)
	// OnFinish is called after a runner has ended a run.
	OnFinish func(ws corp.WorkspaceID, run corp.RunID)
	Pages    Pages // for people, in a browser; the zero one has none
}

// API answers HTTP requests. It is safe for concurrent use.
type API struct {
	Config
	edge     *edge
	auth     *authenticator
	limits   *limiter
	touches  *touches
	runners  *runnerBook
	proofs   *proofBook
	leaders  *leaderBook
	peers    http.RoundTripper // to the other servers
	leaving  leaving
	streams  *streamCount
	metrics  *metrics
	ready    *readiness
	denials  *denials
	auditKey ed25519.PublicKey // what verifies the audit log's checkpoints
	ping     time.Duration     // between two signs of life of a stream
	stall    time.Duration     // how long a stream's reader may take nothing
	rest     time.Duration     // how long an answer waits for what is left of its request
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
	if c.DB == nil || c.People == nil || c.Hub == nil || c.Dispatcher == nil || c.Blobs == nil || c.Ring == nil || c.Logger == nil || c.GatewayURL == nil {
		return nil, errors.New("build the api: a part is missing in its configuration")
	}
	if c.Identity != nil && c.Tokens == nil {
		c.Tokens = c.Identity.Tokens()
	}
	if c.Identity != nil && c.Cookie == "" {
		c.Cookie = CookieName(c.Edge.Public != nil && c.Edge.Public.Scheme == "https")
	}
	a := &API{Config: c, touches: newTouches(), runners: newRunnerBook(), proofs: newProofBook(), streams: newStreamCount(), ping: pingEvery, stall: frameStall, rest: bodyPatience}
	a.leaving.done = make(chan struct{})
	a.leaders, a.peers = &leaderBook{read: a.whoLeads}, newPeers(a.Times.PollWait)
	a.auth = newAuthenticator(a.lookUpIdentity)
	a.Hub.OnAccess(a.auth.changed)
	if a.Identity != nil {
		a.Hub.OnAccess(func(n postgres.Notice) {
			if n.Kind == postgres.NoticeResync {
				a.Identity.KeysChanged()
			}
		})
	}
	a.ready = newReadiness(a.checkParts)
	a.denials = newDenials()
	key, err := c.Ring.SigningKey(audit.KeyLabel)
	if err != nil {
		return nil, err
	}
	a.auditKey = audit.NewSigner(key).Public()
	if a.edge, err = newEdge(c.Edge); err != nil {
		return nil, err
	}
	if a.metrics, err = newMetrics(c.Registerer, a.counts, a.streams.total); err != nil {
		return nil, err
	}
	if a.limits, err = newLimiter(c.Limits, c.Registerer, a.plans); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	a.document = a.register(humago.NewAdapter(mux, ""))
	if err := a.serveDocument(mux); err != nil {
		return nil, err
	}
	mux.HandleFunc("GET /metrics", a.serveMetrics)
	a.servePages(mux)
	mux.HandleFunc("/", a.unknownRoute(mux))
	a.handler = a.exchanges(mux)
	return a, nil
}

// Handler returns what the server's listener serves.
func (a *API) Handler() http.Handler { return a.handler }

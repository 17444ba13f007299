package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/api"
	"github.com/genericcorp/corp/audit"
	"github.com/genericcorp/corp/blob"
	"github.com/genericcorp/corp/cmd/corp/child"
	"github.com/genericcorp/corp/dispatch"
	"github.com/genericcorp/corp/feed"
	"github.com/genericcorp/corp/gateway"
	"github.com/genericcorp/corp/identity"
	"github.com/genericcorp/corp/portal"
	"github.com/genericcorp/corp/reconcile"
	"github.com/genericcorp/corp/seal"
)

// server is the parts of "corp up", connected.
type server struct {
	env     *environment
	config  *config
	log     *slog.Logger
	id      corp.ServerID
	ring    *seal.Ring
	db      *database
	hub     *feed.Hub
	leader  *dispatch.Dispatcher
	gateway *gateway.Gateway
	loops   *reconcile.Reconciler
	flows   *identity.Flows
	api     *api.API
	blobs   *blob.Store
	limits  *counts
	local   local
	fresh   bool // this is the installation's first start

	apiListener, gatewayListener net.Listener
}

func newServer(ctx context.Context, o *options, c *config, log *slog.Logger) (_ *server, err error) {
	s := &server{env: o.env, config: c, log: log, id: corp.NewID[corp.ServerID]()}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if err = s.listen(ctx); err != nil {
		return nil, err
	}
	if s.ring, err = seal.Load(c.secretFile()); err != nil {
		return nil, err
	}
	if s.blobs, err = blob.Open(c.blobs()); err != nil {
		return nil, err
	}
	if s.db, err = openDatabase(ctx, c, log); err != nil {
		return nil, err
	}
	if s.limits, err = openCounts(ctx, c.RedisURL, log); err != nil {
		return nil, err
	}
	if err = s.buildIdentity(); err != nil {
		return nil, err
	}
	if err = s.connect(); err != nil {
		return nil, err
	}
	if err = s.gateway.Hold(); err != nil { // before anything is written into the folder of another
		return nil, err
	}
	if err = s.join(ctx); err != nil {
		return nil, err
	}
	if err = s.flows.LoadKeys(ctx); err != nil { // with the secret that all servers have
		return nil, err
	}
	return s, s.furnish(ctx)
}

// listen takes both addresses before anything else, so that a second server on
// the same machine fails at once and changes nothing.
func (s *server) listen(ctx context.Context) (err error) {
	open := func(field, address string) (net.Listener, error) {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
		if err != nil {
			return nil, &corp.Error{Kind: corp.KindInvalid, Field: field, Message: "The server cannot listen on " + address + ".", Hint: "Is one running already? Name another address with --" + field + ", or stop the other program.", Err: err}
		}
		return l, nil
	}
	if s.apiListener, err = open("listen", s.config.Listen); err != nil {
		return err
	}
	s.gatewayListener, err = open("gateway-listen", s.config.GatewayListen)
	return err
}

// connect builds the parts that need the database, and ties them together.
func (s *server) connect() (err error) {
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	times := s.config.times()
	s.hub = feed.New(s.db.DB, s.log)
	s.leader = dispatch.New(s.db.DB, s.ring, s.id, s.advertised(), times, s.log)
	s.hub.OnQueue(s.leader.Wake)
	if err = s.leader.Register(metrics); err != nil {
		return fmt.Errorf("register the leader's metrics: %w", err)
	}
	s.gateway, err = gateway.New(gateway.Config{
		DB: s.db.DB, Ring: s.ring, Server: s.id, JournalPath: s.config.path("gateway.journal"),
		Env: s.env.Getenv, Logger: s.log, Registerer: metrics, Outbound: s.config.Edge.outbound,
	})
	if err != nil {
		return fmt.Errorf("build the gateway: %w", err)
	}
	key, err := s.ring.SigningKey(audit.KeyLabel)
	if err != nil {
		return err
	}
	s.loops = reconcile.New(reconcile.Config{
		DB: s.db.DB, Server: s.row(), Logger: s.log, TTL: times.TTL, Margin: times.Margin,
		Retention: s.config.retention(), RemoveBlob: s.blobs.Delete, RemoveFiles: s.blobs.DeleteAll, People: s.flows.People, Signer: audit.NewSigner(key), Anchor: s.config.anchor(),
	})
	pages, err := portal.New(s.flows, strings.HasPrefix(s.publicURL(), "https://"))
	if err != nil {
		return err
	}
	s.api, err = api.New(api.Config{
		Pages: pages.Pages(),
		DB:    s.db.DB, People: s.flows.People, Identity: s.flows, KeyPrefix: s.config.People.keyPrefix(), SendInvitation: s.sendInvitation, Server: s.id, Hub: s.hub, Dispatcher: s.leader, Blobs: s.blobs, Ring: s.ring,
		GatewayURL: s.gatewayURL, Times: times, Outbound: s.config.Edge.outbound, Edge: s.edge(),
		Version: version, Logger: s.log, Registerer: metrics, Gatherer: metrics, Limits: s.limits.counter,
		BeforeFinish: s.settleRun,
		OnFinish:     func(_ corp.WorkspaceID, run corp.RunID) { s.gateway.Forget(run) },
	})
	return err
}

// settleRun gets a run's last calls into the ledger before its end is written
// down, so that its sums hold them. A slow vendor does not hold up the end: its
// call is added when it is done.
func (s *server) settleRun(ctx context.Context, run corp.RunID) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := s.gateway.Flush(ctx, run); err != nil {
		s.log.InfoContext(ctx, "a run ended before its last call was settled", "run_id", run, "error", err)
	}
}

func (c *config) times() dispatch.Times {
	t := dispatch.DefaultTimes()
	t.PollWait, t.Ack, t.Heartbeat, t.TTL, t.Margin, t.LeaderTTL = c.PollWait, c.AckWithin, c.Heartbeat, c.LeaseTTL, c.LeaseMargin, c.LeaderTTL
	return t
}

func (s *server) url() string { return "http://" + reachable(s.apiListener.Addr()) }

func (s *server) gatewayURL() string {
	if s.config.GatewayURL != "" {
		return s.config.GatewayURL
	}
	return "http://" + reachable(s.gatewayListener.Addr())
}

// reachable turns an address that means "all of this machine's" into one that
// can be called.
func reachable(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return a.String()
}

// idleRunner is how long a stop waits for a runner that has nothing in hand, before
// the lead is given back: it asks once more for what may be on its way to it.
const idleRunner = 300 * time.Millisecond

// callGrace is how long a stop waits for the model calls that are under way.
const callGrace = 20 * time.Second

// run serves until ctx ends, then stops in the order that loses nothing: an idle
// runner ends, the lead is given back, everybody is sent to another server, a busy runner ends while
// the API still answers it, the API and the gateway while the database still takes
// their last rows.
func (s *server) run(ctx context.Context) error {
	live, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	if err := s.gateway.Recover(live); err != nil {
		return fmt.Errorf("reckon with the last gateway's journal: %w", err)
	}
	parts, live := errgroup.WithContext(live)
	start := func(name string, run func(context.Context) error) {
		parts.Go(func() error {
			if err := run(live); err != nil && !errors.Is(err, context.Canceled) {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	start("feed", s.hub.Run)
	leading, resign := context.WithCancel(live)
	resigned := make(chan struct{})
	start("dispatch", func(context.Context) error {
		defer close(resigned)
		return s.leader.Run(leading)
	})
	start("reconcile", s.loops.Run)
	start("signing keys", func(ctx context.Context) error {
		s.flows.KeepKeys(ctx)
		return nil
	})
	start("mail", s.config.postman(s.db, s.ring, s.log).Run)
	start("api", func(ctx context.Context) error {
		return serve(ctx, context.WithoutCancel(ctx), s.apiListener, s.api.Handler(), 15*time.Second)
	})
	// Model calls that are under way are paid for: they are answered to their end,
	// and the ledger outlives them.
	open, settle := context.WithCancel(context.WithoutCancel(live))
	defer settle()
	start("gateway", func(context.Context) error { return s.gateway.Run(open) })
	start("gateway listener", func(ctx context.Context) error {
		defer settle()
		return serve(ctx, open, s.gatewayListener, s.gateway, callGrace)
	})

	beside, err := s.startRunner(live)
	if err == nil {
		s.announce()
		select {
		case <-ctx.Done():
		case <-live.Done():
		}
		s.log.InfoContext(ctx, "stopping")
		if !beside.Leave(idleRunner) && live.Err() == nil {
			s.announceWait()
		}
	}
	resign() // before anybody is sent away: who waits gets what was leased to it in the last moment
	<-resigned
	s.api.Leave()
	if err == nil {
		s.drain(live, beside)
	}
	stop()
	slow := time.AfterFunc(time.Second, s.announceCalls)
	defer slow.Stop()
	return errors.Join(err, parts.Wait(), s.leave())
}

// drain lets the runner end, and the load balancers see that this server leaves.
func (s *server) drain(live context.Context, beside *child.Process) {
	var both sync.WaitGroup
	both.Go(func() { beside.Stop(20 * time.Second) })
	delay := time.NewTimer(s.config.DrainDelay)
	defer delay.Stop()
	select {
	case <-delay.C:
	case <-live.Done():
	}
	both.Wait()
}

// serve answers on l until ctx ends, and gives requests under way its patience;
// what is left then is cut. Requests live in base, which may outlast ctx.
func serve(ctx, base context.Context, l net.Listener, h http.Handler, patience time.Duration) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10, BaseContext: func(net.Listener) context.Context { return base }}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if err := srv.Shutdown(limit); err != nil {
		return srv.Close()
	}
	return nil
}

func (s *server) close() {
	for _, l := range []net.Listener{s.apiListener, s.gatewayListener} {
		if l != nil {
			_ = l.Close() // already closed when it was served
		}
	}
	if s.blobs != nil {
		_ = s.blobs.Close() // nothing is buffered in it
	}
	if s.limits != nil {
		s.limits.close()
	}
	if s.db != nil {
		s.db.close(s.log)
	}
}

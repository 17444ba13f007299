package api

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/dispatch"
	"github.com/genericcorp/corp/postgres"
)

type registerInput struct{ Body corp.Registration }

// RunnerHeader names the runner that speaks.
type RunnerHeader struct {
	Runner corp.RunnerID `header:"Corp-Runner" required:"true" doc:"The runner_id from the registration."`
}

type pollInput struct {
	RunnerHeader
	Body corp.Poll
}

type beatInput struct {
	RunnerHeader
	Body corp.Beat
}

func (a *API) listRunners(ctx context.Context, who corp.Identity, in *PageInput) (*body[corp.List[corp.Runner]], error) {
	list, err := a.DB.In(who.Workspace).Runners(ctx, in.page())
	for i := range list.Items {
		if list.Items[i].Labels == nil {
			list.Items[i].Labels = []string{}
		}
	}
	return answerList(list, err)
}

// registerRunner agrees on the newest version that both sides speak and writes
// the runner down.
func (a *API) registerRunner(ctx context.Context, who corp.Identity, in *registerInput) (*body[corp.Registered], error) {
	r := in.Body
	if !slices.Contains(r.Protocols, corp.ProtocolVersion) {
		return nil, &corp.Error{Kind: corp.KindInvalid, Code: "protocol", Field: "protocols", Message: "This server speaks version " + itoa(corp.ProtocolVersion) + " of the runner protocol, and this runner does not.", Hint: "Use a runner of the server's version, " + a.Version + "."}
	}
	for i, label := range append(slices.Clone(r.Labels), r.Runtimes...) {
		if label == "" || len(label) > maxLabel || !plainText(label) {
			return nil, corp.Invalid("labels["+itoa(i)+"]", "That is not a label or runtime.", "Use 1 to "+itoa(maxLabel)+" characters.")
		}
	}
	runner, err := a.enlist(ctx, who, r)
	if err != nil {
		return nil, err
	}
	a.runners.put(runner.ID, booked{
		owner:  who.Actor,
		runner: dispatch.Runner{ID: runner.ID, Workspace: who.Workspace, Name: r.Name, Labels: r.Labels, Runtimes: r.Runtimes},
	})
	gateways := a.gateways(ctx)
	return &body[corp.Registered]{corp.Registered{
		RunnerID: runner.ID, Protocol: corp.ProtocolVersion, GatewayURL: gateways[0], GatewayURLs: gateways, AllowPrivate: a.Outbound.List(),
		PollWaitMS: ms(a.Times.PollWait), AckMS: ms(a.Times.Ack), HeartbeatMS: ms(a.Times.Heartbeat), TTLMS: ms(a.Times.TTL), MarginMS: ms(a.Times.Margin),
	}}, nil
}

func (a *API) poll(ctx context.Context, who corp.Identity, in *pollInput) (*body[led[corp.PollAnswer]], error) {
	runner, err := a.ownRunner(ctx, who, in.Runner)
	if err != nil {
		return nil, err
	}
	if a.stopping() && in.Body.Free > 0 { // with none free it only asks for what was leased to it
		return nil, stopping()
	}
	req := ledRequest{method: http.MethodPost, path: "/v1/runner/poll", runner: in.Runner, body: in.Body}
	return lead(ctx, a, req, func(ctx context.Context) (corp.PollAnswer, error) {
		if a.Dispatcher.Leading() {
			if err := a.seen(ctx, who, in.Runner, in.Body.Free, false); err != nil {
				return corp.PollAnswer{}, err
			}
		}
		got, err := a.Dispatcher.Poll(ctx, runner, in.Body)
		if got.Offers == nil {
			got.Offers = []corp.Offer{}
		}
		if err == nil && len(got.Offers) > 0 {
			err = a.mayStill(ctx, corp.RunnerLease)
		}
		return got, err
	})
}

// mayStill asks the database again, after a wait, whether the request's credential may: a
// runner whose key was revoked meanwhile gets no prompt and no run's key, also where the
// notice of that comes after the work. What was leased to it comes back like all that
// nobody takes up.
func (a *API) mayStill(ctx context.Context, action corp.Action) error {
	who, _, err := a.identifyBy(ctx, exchangeOf(ctx).presented, a.auth.lookUp)
	if err != nil {
		return err
	}
	return allowed(who, action)
}

// ownRunner returns the runner that speaks, wherever it registered. Another
// credential's is not found, like one that never was.
func (a *API) ownRunner(ctx context.Context, who corp.Identity, id corp.RunnerID) (dispatch.Runner, error) {
	if r, ok := a.runners.get(id); ok {
		if r.owner != who.Actor || r.runner.Workspace != who.Workspace {
			return dispatch.Runner{}, unknownRunner()
		}
		return r.runner, nil
	}
	var known postgres.KnownRunner
	var err error
	if who.Workspace.IsZero() {
		known, err = a.ownPoolRunner(ctx, who, id)
	} else {
		known, err = a.DB.In(who.Workspace).OwnRunner(ctx, who.Actor, id)
	}
	if corp.KindOf(err) == corp.KindNotFound {
		err = unknownRunner()
	}
	if err != nil {
		return dispatch.Runner{}, err
	}
	r := dispatch.Runner{ID: known.ID, Workspace: who.Workspace, Name: known.Name, Labels: known.Labels, Runtimes: known.Runtimes}
	a.runners.put(id, booked{owner: who.Actor, runner: r})
	return r, nil
}

func unknownRunner() error {
	return &corp.Error{Kind: corp.KindNotFound, Code: "unknown_runner", Message: "There is no such runner of this key.", Hint: "Register again."}
}

func (a *API) beat(ctx context.Context, who corp.Identity, in *beatInput) (*body[corp.BeatAnswer], error) {
	if _, err := a.ownRunner(ctx, who, in.Runner); err != nil {
		return nil, err
	}
	if err := a.seen(ctx, who, in.Runner, in.Body.Free, in.Body.Draining); err != nil {
		return nil, err
	}
	proofs := make([]postgres.LeaseProof, 0, len(in.Body.Leases))
	for _, l := range in.Body.Leases {
		proofs = append(proofs, postgres.LeaseProof{RunID: l.RunID, Epoch: l.Epoch, SecretHash: a.Ring.Hash(l.Secret)})
	}
	verdicts, err := a.renew(ctx, in.Runner, proofs)
	if err != nil {
		return nil, err
	}
	for i := range verdicts {
		if verdicts[i].Say == corp.VerdictStop && verdicts[i].GraceMS == 0 {
			verdicts[i].GraceMS = ms(a.Times.StopGrace)
		}
	}
	if verdicts == nil {
		verdicts = []corp.Verdict{}
	}
	return &body[corp.BeatAnswer]{corp.BeatAnswer{Verdicts: verdicts}}, nil
}

// maxBooked bounds the memory that runners can take.
const maxBooked = 10_000

// runnerBook remembers runners whose credential was looked up. What a
// registration wrote down never changes, so what it remembers stays true.
type runnerBook struct {
	mu    sync.Mutex
	known map[corp.RunnerID]booked
}

// booked is a runner and the credential that it registered with.
type booked struct {
	owner  corp.Actor
	runner dispatch.Runner
	used   time.Time

	touched  time.Time // when the database was told that it lives
	draining bool      // and that it takes nothing new
}

// touchRunnerEvery is how exact it is when a runner was last heard of.
const touchRunnerEvery = 2 * time.Second

// noted says whether the database was told lately what there is to tell.
func (b *runnerBook) noted(id corp.RunnerID, draining bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	r, ok := b.known[id]
	return ok && r.draining == draining && time.Since(r.touched) < touchRunnerEvery
}

func (b *runnerBook) note(id corp.RunnerID, draining bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r, ok := b.known[id]; ok {
		r.touched, r.draining = time.Now(), draining
		b.known[id] = r
	}
}

func newRunnerBook() *runnerBook { return &runnerBook{known: map[corp.RunnerID]booked{}} }

func (b *runnerBook) put(id corp.RunnerID, r booked) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.known) >= maxBooked {
		oldest, at := corp.RunnerID{}, time.Now()
		for other, known := range b.known {
			if known.used.Before(at) {
				oldest, at = other, known.used
			}
		}
		delete(b.known, oldest)
	}
	r.used = time.Now()
	b.known[id] = r
}

func (b *runnerBook) get(id corp.RunnerID) (booked, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r, ok := b.known[id]
	if ok {
		r.used = time.Now()
		b.known[id] = r
	}
	return r, ok
}

func ms(d time.Duration) int64 { return d.Milliseconds() }

func itoa(n int) string { return strconv.Itoa(n) }

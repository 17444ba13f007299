package api

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/limit"
)

// The limits that are nobody's plan.
var (
	// An address, before anything is looked up: generous, because many people may
	// share one, and the same for those who have no key.
	perAddress = limit.Policy{Name: "address", Quota: 360_000, Window: time.Hour, Burst: 2000}
	// Runners, and the servers that pass on what they ask, are few addresses.
	perRunnerAddress = limit.Policy{Name: "runner-address", Quota: 7_200_000, Window: time.Hour, Burst: 20_000}
	// Credentials that are refused cost a look-up each.
	perRefused = limit.Policy{Name: "refused-credentials", Quota: 36_000, Window: time.Hour, Burst: 200}
	perSignIn  = limit.Policy{Name: "sign-in", Quota: 1200, Window: time.Hour, Burst: 60, FailClosed: true}
	// A person who is in no workspace has no plan.
	perPerson = limit.Policy{Name: "user", Quota: 3600, Window: time.Hour, Burst: 120}
	perMint   = limit.Policy{Name: "make-keys", Quota: 600, Window: time.Hour, Burst: 100, FailClosed: true}
	perRunner = limit.Policy{Name: "runner", Quota: 3_600_000, Window: time.Hour, Burst: 5000}
)

// runnerPath is before the path of every operation of the runner protocol, and of
// no other: a test sees to it.
const runnerPath = "/v1/runner/"

// maxLimitKeys bounds what this process remembers of limits: about 50 MB.
const maxLimitKeys = 200_000

// plansTTL is how old what is known of the plans may be.
const plansTTL = time.Minute

// starters are the operations that put runs into the queue.
var starters = []string{"submitTask", "submitBatch", "triggerSchedule", "retryTask", "redriveTask", "redriveTasks"}

// limiter asks the limits of requests.
type limiter struct {
	store limit.Store
	asked *prometheus.CounterVec

	readPlans func(ctx context.Context) ([]corp.Plan, error)
	mu        sync.Mutex
	plans     map[string]corp.Plan
	until     time.Time // when somebody is to read them again
}

func newLimiter(store limit.Store, to prometheus.Registerer, readPlans func(context.Context) ([]corp.Plan, error)) (*limiter, error) {
	if store == nil {
		store = limit.NewMemory(nil, maxLimitKeys)
	}
	l := &limiter{store: store, readPlans: readPlans, asked: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "corp_limit_requests_total", Help: "Requests that a limit was asked for, by policy and outcome; a request may ask several.",
	}, []string{"policy", "outcome"})}
	if to == nil {
		return l, nil
	}
	local := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "corp_limit_fallback", Help: "1 while limits are counted by this server alone because the store that it shares with others does not answer."}, func() float64 {
		if f, ok := l.store.(interface{ Down() bool }); ok && f.Down() {
			return 1
		}
		return 0
	})
	if err := to.Register(l.asked); err != nil {
		return nil, err
	}
	return l, to.Register(local)
}

// take asks all limits at once. The error of a refused request says which refused
// it; what stands in states may be told either way.
func (l *limiter) take(ctx context.Context, asks []limit.Ask) ([]limit.State, error) {
	states, err := l.store.Take(ctx, asks)
	if err != nil {
		return nil, err
	}
	for _, s := range states {
		outcome := "admitted"
		if s.Denied {
			outcome = "denied"
		}
		l.asked.WithLabelValues(s.Policy.Name, outcome).Inc()
	}
	if worst, denied := limit.Denied(states); denied {
		return states, rateLimited(worst, states)
	}
	return states, nil
}

// plan returns what a plan contains. Nobody waits while one request reads the
// plans again, and those known go on when they cannot be read.
func (l *limiter) plan(ctx context.Context, name string) (corp.Plan, error) {
	now := time.Now()
	l.mu.Lock()
	plan, known := l.plans[name]
	fresh := now.Before(l.until)
	if known && !fresh {
		l.until = now.Add(plansTTL)
	}
	l.mu.Unlock()
	if known && fresh {
		return plan, nil
	}
	list, err := l.readPlans(ctx)
	if err != nil {
		if known {
			err = nil
		}
		return plan, err
	}
	plans := make(map[string]corp.Plan, len(list))
	for _, p := range list {
		plans[p.Name] = p
	}
	l.mu.Lock()
	l.plans, l.until = plans, now.Add(plansTTL)
	l.mu.Unlock()
	return plans[name], nil
}

// limitAddress asks the limits of an address, before anything is looked up. The
// machine itself has none: behind a proxy on it whose callers' addresses are not
// known, everybody would share one. Health has none either, so that no flood
// through a load balancer looks like a dead server.
func (a *API) limitAddress(r *http.Request, x *exchange) error {
	if x.address.IsLoopback() || !x.address.IsValid() || r.URL.Path == "/health" || r.URL.Path == "/ready" {
		return nil
	}
	policy := perAddress
	if strings.HasPrefix(r.URL.Path, runnerPath) {
		policy = perRunnerAddress
	}
	states, err := a.limits.take(r.Context(), []limit.Ask{
		{Key: limit.AddressKey(x.address, policy.Name), Policy: policy, Cost: 1},
		{Key: limit.AddressKey(x.address, perRefused.Name), Policy: perRefused},
	})
	if err != nil || states[1].Remaining > 0 || a.recognises(x.presented) {
		return err
	}
	states[1].Denied, states[1].RetryAfter = true, perRefused.Window/time.Duration(perRefused.Quota)
	return rateLimited(states[1], states[1:])
}

// recognises says whether a credential was found to be good lately. Those of an
// address from which many bad ones come are let through: they are somebody else's.
func (a *API) recognises(c presented) bool {
	hash, err := a.credential(c)
	if err != nil {
		return false
	}
	a.auth.mu.Lock()
	defer a.auth.mu.Unlock()
	v, ok := a.auth.known[hash]
	return ok && v.err == nil
}

// refusedCredential counts a credential that was refused against its address.
func (a *API) refusedCredential(ctx context.Context, x *exchange) {
	if x.address.IsLoopback() || !x.address.IsValid() {
		return
	}
	// What it says does not matter: the next request asks.
	_, _ = a.limits.store.Take(ctx, []limit.Ask{{Key: limit.AddressKey(x.address, perRefused.Name), Policy: perRefused, Cost: 1}})
}

// limitRequest asks the limits of whoever makes the request, in one question: all
// are taken or none.
func (a *API) limitRequest(hctx huma.Context, x *exchange) error {
	op := hctx.Operation()
	action, _ := op.Metadata["action"].(corp.Action)
	asks, err := a.limitsOf(hctx.Context(), x, action, op)
	if err != nil || len(asks) == 0 {
		return err
	}
	states, err := a.limits.take(hctx.Context(), asks)
	for name, value := range a.limitHeaders(states) {
		hctx.SetHeader(name, value)
	}
	return err
}

func (a *API) limitsOf(ctx context.Context, x *exchange, action corp.Action, op *huma.Operation) ([]limit.Ask, error) {
	who := x.who
	switch {
	case action == public:
		if !audits(*op) || x.address.IsLoopback() || !x.address.IsValid() {
			return nil, nil
		}
		return []limit.Ask{{Key: limit.AddressKey(x.address, perSignIn.Name), Policy: perSignIn, Cost: 1}}, nil
	case who.Workspace.IsZero():
		if who.User.IsZero() {
			return nil, nil // the operator, and runners of the pool
		}
		return []limit.Ask{{Key: "{" + who.User.String() + "}:user", Policy: perPerson, Cost: 1}}, nil
	case action == corp.RunnerLease:
		if who.Plan == planUnlimited {
			return nil, nil
		}
		return []limit.Ask{{Key: limit.WorkspaceKey(who.Workspace, "runner", x.credentialName()), Policy: perRunner, Cost: 1}}, nil
	}
	plan, err := a.limits.plan(ctx, who.Plan)
	if err != nil {
		return nil, err
	}
	class, cost := classOf(op)
	asks := planAsks(plan, who, x.credentialName(), class, cost)
	if op.Method == http.MethodPost && (action == corp.APIKeyWrite || action == corp.APIKeyOwn) {
		asks = append(asks, limit.Ask{Key: limit.WorkspaceKey(who.Workspace, perMint.Name, ""), Policy: perMint, Cost: 1})
	}
	return asks, nil
}

// planUnlimited is the plan of a laptop: nothing of it is asked.
const planUnlimited = "unlimited"

// credentialName tells the credential of a request from others of its workspace.
func (x *exchange) credentialName() string { return string(cmp.Or(x.who.Via, x.who.Actor)) }

// The classes of requests, and what they cost.
const (
	classRead   = "read"
	classWrite  = "write"
	classSubmit = "submit"
)

func classOf(op *huma.Operation) (class string, cost int64) {
	switch {
	case op.Method == http.MethodGet:
		return classRead, 1
	case slices.Contains(starters, op.OperationID):
		return classSubmit, 10
	default:
		return classWrite, 2
	}
}

// requestsOf is a plan's limit on the requests of a workspace.
func requestsOf(plan corp.Plan) limit.Policy {
	return limit.Policy{Name: "workspace", Quota: plan.RequestsPerHour, Window: time.Hour, Burst: plan.RequestBurst}
}

// planAsks are the limits of a plan. One person, one key and one kind of request
// may each use the whole rate, and three quarters of what there is at once: so none
// of them takes everything from the others.
func planAsks(plan corp.Plan, who corp.Identity, credential, class string, cost int64) []limit.Ask {
	if plan.RequestsPerHour == 0 {
		return nil
	}
	whole := requestsOf(plan)
	part := func(name string) limit.Policy {
		p := whole
		p.Name, p.Burst = name, whole.Burst-whole.Burst/4
		return p
	}
	asks := []limit.Ask{
		{Key: limit.WorkspaceKey(who.Workspace, "requests", ""), Policy: whole, Cost: cost},
		{Key: limit.WorkspaceKey(who.Workspace, "class", class), Policy: part(class), Cost: cost},
		{Key: limit.WorkspaceKey(who.Workspace, "credential", credential), Policy: part("credential"), Cost: cost},
	}
	if !who.User.IsZero() {
		asks = append(asks, limit.Ask{Key: limit.WorkspaceKey(who.Workspace, "user", who.User.String()), Policy: part("user"), Cost: cost})
	}
	return asks
}

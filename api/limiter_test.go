package api

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/limit"
	"github.com/genericcorp/corp/limit/redistest"
	"github.com/genericcorp/corp/postgres/pgtest"
	"github.com/genericcorp/corp/stage"
)

func newStopped() *stage.Clock { return stage.NewClock(time.Date(2032, 1, 2, 3, 4, 5, 0, time.UTC)) }

func withStore(s limit.Store) func(*API) { return func(a *API) { a.limits.store = s } }

// limited is a house that counts by a stopped clock.
func limited(t *testing.T) (*house, *stage.Clock) {
	t.Helper()
	c := newStopped()
	return ownHouse(t, withStore(limit.NewMemory(c.Now, 10_000))), c
}

// officeOn is an office on a plan.
func (h *house) officeOn(t *testing.T, plan string) *office {
	t.Helper()
	o := h.office(t)
	h.env.Exec(t, `UPDATE workspaces SET plan = $2 WHERE workspace_id = $1`, o.ws, plan)
	return o
}

func (o *office) read(t *testing.T, role corp.Role) reply {
	t.Helper()
	return o.do(t, o.keys[role], http.MethodGet, "/v1/workspace", nil, "")
}

func (o *office) rename(t *testing.T) reply {
	t.Helper()
	return o.do(t, o.keys[corp.RoleOwner], http.MethodPatch, "/v1/workspace", nil, `{"name":"x"}`)
}

// What a plan admits in an hour, to the request: one kind of request has the rate
// and three quarters of the burst, all kinds together have the rate and the burst.
// Attack case 59. Control: exactly the plan's number is admitted.
func TestEachPlanAdmitsExactlyWhatItSays(t *testing.T) {
	t.Parallel()
	plans, err := pgtest.New(t).DB.System("test").Plans(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, plan := range plans {
		c := newStopped()
		who := corp.Identity{Workspace: corp.NewID[corp.WorkspaceID](), User: corp.NewID[corp.UserID]()}
		if plan.RequestsPerHour == 0 {
			if asks := planAsks(plan, who, "k", classRead, 1); asks != nil {
				t.Errorf("%s: %v", plan.Name, asks)
			}
			continue
		}
		count := func(classes ...string) (n int64) {
			store, step := limit.NewMemory(c.Now, 100), time.Hour/time.Duration(plan.RequestsPerHour)
			for past := time.Duration(0); past <= time.Hour; past += step {
				for i := 0; i < len(classes); {
					who := who
					if len(classes) > 1 {
						who.User = corp.NewID[corp.UserID]() // everybody
					}
					states, err := store.Take(t.Context(), planAsks(plan, who, classes[i]+who.User.String(), classes[i], 1))
					if err != nil {
						t.Fatal(err)
					}
					if _, denied := limit.Denied(states); denied {
						i++
					} else {
						n++
					}
				}
				c.Advance(step)
			}
			return n
		}
		if got, want := count(classRead), plan.RequestsPerHour+plan.RequestBurst-plan.RequestBurst/4; got != want {
			t.Errorf("%s: one person read %d times in an hour, want %d", plan.Name, got, want)
		}
		if plan.RequestsPerHour > 1000 {
			continue // the same arithmetic, and long
		}
		if got, want := count(classRead, classWrite), plan.RequestsPerHour+plan.RequestBurst; got != want {
			t.Errorf("%s: all together had %d in an hour, want %d", plan.Name, got, want)
		}
	}
}

// Attack case 59. Control: each user gets exactly their own.
func TestTenUsersInTenWorkspacesEachGetExactlyTheirOwn(t *testing.T) {
	t.Parallel()
	h, c := limited(t)
	plans := map[string]int64{"free": 15, "starter": 38, "growth": 75, "pro": 150}
	names := []string{"free", "starter", "growth", "pro"}
	var wg sync.WaitGroup
	var checks []func()
	for i := range 10 {
		plan := names[i%len(names)]
		o := h.officeOn(t, plan)
		var ok, late atomic.Int64
		for range 4 {
			wg.Go(func() {
				for range plans[plan]/4 + 10 {
					switch r := o.read(t, corp.RoleMember); r.status {
					case http.StatusOK:
						ok.Add(1)
					case http.StatusTooManyRequests:
						late.Add(1)
					default:
						t.Errorf("%d %s", r.status, r.body)
					}
				}
			})
		}
		checks = append(checks, func() {
			if ok.Load() != plans[plan] || late.Load() == 0 {
				t.Errorf("user %d on %s: %d admitted, %d refused, want %d", i, plan, ok.Load(), late.Load(), plans[plan])
			}
		})
	}
	wg.Wait()
	for _, check := range checks {
		check()
	}
	// What one kind of request and one key left, others have; and no more than the whole.
	o := h.officeOn(t, "free")
	for i := range 15 {
		if r := o.read(t, corp.RoleViewer); r.status != http.StatusOK {
			t.Fatalf("read %d: %d", i, r.status)
		}
	}
	for i, want := range []int{200, 200, 429} { // 15 + 2 + 2 of 20
		if r := o.rename(t); r.status != want {
			t.Fatalf("write %d: %d, want %d", i, r.status, want)
		}
	}
	c.Advance(36 * time.Second)
	if r := o.rename(t); r.status != http.StatusOK {
		t.Fatalf("after an interval: %d", r.status)
	}
}

// Attack case 59. Control: who waits as told is admitted.
func TestAnAnswerSaysWhatTheLimitsAreAndARefusalWhenToComeAgain(t *testing.T) {
	t.Parallel()
	h, c := limited(t)
	o, other := h.officeOn(t, "free"), h.officeOn(t, "free")
	first := o.read(t, corp.RoleMember)
	policies := strings.Split(first.header.Get("RateLimit-Policy"), ", ")
	if len(policies) != 4 || !strings.HasPrefix(policies[0], `"workspace";q=100;w=3600;pk=:`) || !strings.HasSuffix(policies[0], ":") {
		t.Errorf("%q", policies)
	}
	now := first.header.Get("RateLimit")
	if !strings.HasPrefix(now, `"read";r=14;t=36;pk=:`) {
		t.Errorf("%q", now)
	}
	partition := func(h string) string { _, pk, _ := strings.Cut(h, "pk="); return pk }
	if theirs := other.read(t, corp.RoleMember).header.Get("RateLimit"); partition(theirs) == partition(now) || strings.Contains(now, o.ws.String()) {
		t.Errorf("partitions %q and %q", theirs, now)
	}
	for range 14 {
		o.read(t, corp.RoleMember)
	}
	late := o.read(t, corp.RoleMember)
	p := late.problem(t)
	if late.status != 429 || late.header.Get("Retry-After") != "36" || !strings.HasPrefix(late.header.Get("RateLimit"), `"read";r=0;t=540;`) {
		t.Errorf("%d %v", late.status, late.header)
	}
	want := problem{Type: quotaExceeded, Title: "Too Many Requests", Status: 429, Kind: corp.KindLimit, Code: codeRateLimited, Violated: []string{"read", "credential", "user"}, Detail: p.Detail, Hint: p.Hint, RequestID: p.RequestID}
	if diff := cmp.Diff(want, p, cmp.AllowUnexported(problem{})); diff != "" || p.Detail == "" || !strings.Contains(p.Hint, "36 seconds") {
		t.Errorf("%s\n%s", late.body, diff)
	}
	c.Advance(36*time.Second - time.Microsecond)
	if r := o.read(t, corp.RoleMember); r.status != 429 || r.header.Get("Retry-After") != "1" {
		t.Errorf("a moment too early: %d %v", r.status, r.header)
	}
	c.Advance(time.Microsecond)
	if r := o.read(t, corp.RoleMember); r.status != 200 {
		t.Errorf("in time: %d", r.status)
	}
	// A number of things is another kind of limit, and nobody is told to wait.
	for i, want := range []int{201, 201, 402} {
		r := other.do(t, other.keys[corp.RoleOwner], http.MethodPost, "/v1/agents", nil, fmt.Sprintf(`{"name":"a%d","model":"anthropic/m"}`, i))
		if r.status != want {
			t.Fatalf("agent %d: %d %s", i, r.status, r.body)
		}
		if want == 402 && (r.problem(t).Code != "agents" || r.problem(t).Type != "about:blank" || r.header.Get("Retry-After") != "") {
			t.Errorf("%s %v", r.body, r.header)
		}
	}
}

func TestRunnersTheOperatorAndTheUnlimitedAreNotCountedByAnyPlan(t *testing.T) {
	t.Parallel()
	h, _ := limited(t)
	o, free := h.office(t), h.officeOn(t, "free")
	for range 100 {
		if r := o.read(t, corp.RoleViewer); r.status != 200 || r.header.Get("RateLimit") != "" || r.header.Get("RateLimit-Policy") != "" {
			t.Fatalf("%d %v", r.status, r.header)
		}
		if r := h.do(t, h.operator, http.MethodGet, "/v1/servers", nil, ""); r.status != 200 {
			t.Fatalf("the operator: %d", r.status)
		}
	}
	for free.read(t, corp.RoleViewer).status == 200 {
	}
	runner := free.register(t, free.keys[corp.RoleRunner])
	for range 100 {
		if _, err := free.runner().Beat(t.Context(), runner, corp.Beat{}); err != nil {
			t.Fatal(err)
		}
	}
	if r := free.read(t, corp.RoleViewer); r.status != 429 {
		t.Errorf("a runner's beats gave its workspace requests: %d", r.status)
	}
}

func TestEveryOperationOfRunnersAndNoOtherIsUnderTheirPath(t *testing.T) {
	t.Parallel()
	for _, op := range operations {
		_, path, _ := strings.Cut(op.route, " ")
		if strings.HasPrefix(path, runnerPath) != (op.action == corp.RunnerLease) {
			t.Errorf("%s: %s does %s", op.id, path, op.action)
		}
	}
	for _, id := range starters {
		if !slices.ContainsFunc(operations, func(op operation) bool { return op.id == id && !strings.HasPrefix(op.route, "GET") }) {
			t.Errorf("there is no operation %s", id)
		}
	}
}

// from sends a request past the network, from an address.
func (h *house) from(t *testing.T, address, key, path string) reply {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	req.RemoteAddr, req.Host = address, "localhost"
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	rec := httptest.NewRecorder()
	h.api.Handler().ServeHTTP(rec, req)
	return reply{rec.Code, rec.Header(), rec.Body.String()}
}

// Attack case 59. Control: a neighbouring network is admitted.
func TestAnAddressIsLimitedBeforeAnythingIsLookedUp(t *testing.T) {
	t.Parallel()
	h, c := limited(t)
	o := h.office(t)
	admitted := 0
	for i := range 2100 {
		address := fmt.Sprintf("[2001:db8:0:7:%x::%x]:1234", i, i) // one customer's /64
		r := h.from(t, address, "", "/v1/workspace")
		if r.status == http.StatusUnauthorized {
			admitted++
		} else if p := r.problem(t); r.status != 429 || !slices.Equal(p.Violated, []string{"address"}) || r.header.Get("Retry-After") != "1" {
			t.Fatalf("%d %s", r.status, r.body)
		}
	}
	if admitted != 2000 {
		t.Errorf("%d were admitted, want 2000", admitted)
	}
	key := o.keys[corp.RoleViewer]
	for address, want := range map[string]int{"[2001:db8:0:7::1]:1": 429, "[2001:db8:0:8::1]:1": 200, "127.0.0.1:1": 200, "[::1]:1": 200} {
		if r := h.from(t, address, key, "/v1/workspace"); r.status != want {
			t.Errorf("%s: %d, want %d", address, r.status, want)
		}
	}
	for _, path := range []string{"/health", "/ready"} {
		if r := h.from(t, "[2001:db8:0:7::1]:1", "", path); r.status == 429 {
			t.Errorf("%s: %d", path, r.status)
		}
	}
	if r := h.from(t, "[2001:db8:0:7::1]:1", "", "/nowhere"); r.status != 429 {
		t.Errorf("an unknown path: %d", r.status)
	}
	c.Advance(10 * time.Millisecond)
	if r := h.from(t, "[2001:db8:0:7::1]:1", key, "/v1/workspace"); r.status != 200 {
		t.Errorf("after an interval: %d", r.status)
	}
}

// Attack case 59. Control: a key that was good a moment ago goes on, and so does the neighbour.
func TestInventedKeysCostAFewLookUpsAndLockOutNobodyElse(t *testing.T) {
	t.Parallel()
	h, c := limited(t)
	o := h.office(t)
	var lookUps atomic.Int64 // of keys that are none
	ask := h.api.auth.lookUp
	h.api.auth.lookUp = func(ctx context.Context, hash string) (corp.Identity, error) {
		who, err := ask(ctx, hash)
		if err != nil {
			lookUps.Add(1)
		}
		return who, err
	}
	h.api.auth.now = c.Now // a slow machine's moment is no longer than a quick one's
	const address = "192.0.2.7:1000"
	for i := range 300 {
		want := http.StatusUnauthorized
		if i == 190 { // late, when whatever the office's making had to be told has been
			if r := h.from(t, address, o.keys[corp.RoleViewer], "/v1/workspace"); r.status != 200 {
				t.Fatal(r.status)
			}
		}
		if i >= 200 {
			want = http.StatusTooManyRequests
		}
		if r := h.from(t, address, corp.NewSecret(corp.KeyPrefixLive), "/v1/workspace"); r.status != want {
			t.Fatalf("key %d: %d %s", i, r.status, r.body)
		}
	}
	if lookUps.Load() != 200 {
		t.Errorf("%d look-ups, want 200", lookUps.Load())
	}
	if r := h.from(t, address, o.keys[corp.RoleViewer], "/v1/workspace"); r.status != 200 {
		t.Errorf("a key that was good a moment ago, from the same address: %d", r.status)
	}
	if r := h.from(t, "192.0.2.8:1000", corp.NewSecret(corp.KeyPrefixLive), "/v1/workspace"); r.status != 401 {
		t.Errorf("the neighbour: %d", r.status)
	}
	c.Advance(100 * time.Millisecond)
	if r := h.from(t, address, corp.NewSecret(corp.KeyPrefixLive), "/v1/workspace"); r.status != 401 {
		t.Errorf("after an interval: %d", r.status)
	}
}

func sharedStore(t *testing.T, url string, c *stage.Clock) *limit.Redis {
	t.Helper()
	r, err := limit.NewRedis(url, limit.WithClock(c.Now), limit.WithTimeout(10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// Attack case 59. Control: exactly the quota is admitted.
func TestTwoServersThatShareRedisAdmitTheQuotaTogetherAndOthersEachTheirOwn(t *testing.T) {
	t.Parallel()
	env, dir, redis, c := pgtest.Database(t), t.TempDir(), redistest.Start(t), newStopped()
	for name, of := range map[string]struct {
		store func() limit.Store
		want  int64
	}{
		"one redis": {func() limit.Store {
			return limit.WithFallback(sharedStore(t, redis.URL(), c), limit.NewMemory(c.Now, 100), slog.New(slog.DiscardHandler))
		}, 15},
		"none": {func() limit.Store { return limit.NewMemory(c.Now, 100) }, 30},
	} {
		first, second := houseOn(t, env, dir, withStore(of.store())), houseOn(t, env, dir, withStore(of.store()))
		one := first.officeOn(t, "free")
		var ok atomic.Int64
		var wg sync.WaitGroup
		for _, o := range []*office{one, one.at(second)} {
			for range 3 {
				wg.Go(func() {
					for range 15 {
						if o.read(t, corp.RoleViewer).status == 200 {
							ok.Add(1)
						}
					}
				})
			}
		}
		wg.Wait()
		if ok.Load() != of.want {
			t.Errorf("two servers with %s admitted %d, want %d", name, ok.Load(), of.want)
		}
		first.closes()
		second.closes()
	}
}

// Attack case 59. Control: reading goes on, and keys are made again once the counter is back.
func TestWithoutRedisRequestsAreServedAndNoKeysAreMade(t *testing.T) {
	t.Parallel()
	redis, c := redistest.Start(t), newStopped()
	store := limit.WithFallback(sharedStore(t, redis.URL(), c), limit.NewMemory(c.Now, 1000), slog.New(slog.DiscardHandler))
	h := ownHouse(t)
	h.api.limits.store = store
	o := h.office(t)
	makeKey := func() reply {
		return o.do(t, o.keys[corp.RoleOwner], http.MethodPost, "/v1/keys", nil, `{"name":"k","role":"viewer"}`)
	}
	if r := makeKey(); r.status != 201 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	redis.Stop()
	if r := makeKey(); r.status != 503 || r.problem(t).Code != "limits_unavailable" {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := o.read(t, corp.RoleViewer); r.status != 200 {
		t.Errorf("%d %s", r.status, r.body)
	}
	metrics := h.do(t, "", http.MethodGet, "/metrics", nil, "").body
	for _, want := range []string{"corp_limit_fallback 1", `corp_limit_requests_total{outcome="admitted",policy="make-keys"} 1`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics do not say %s", want)
		}
	}
	redis.Restart()
	pgtest.Eventually(t, 20*time.Second, "keys are made again", func(context.Context) bool { return makeKey().status == 201 })
}

func TestLimitsShowWhatIsLeftAndLookingBurnsNothing(t *testing.T) {
	t.Parallel()
	h, _ := limited(t)
	o := h.officeOn(t, "free")
	o.submit(t) // ten units
	var got corp.Limits
	for range 3 {
		got = must[corp.Limits](t)(o.as(corp.RoleViewer).Limits(t.Context()))
	}
	left := func(n int64) *int64 { return &n }
	want := []corp.Limit{
		{Name: "requests", Limit: 100, Left: left(7), Every: "hour"},
		{Name: "tasks", Limit: 50, Left: left(49), Every: "day"},
		{Name: "concurrency", Limit: 1, Left: left(1)},
		{Name: "agents", Limit: 3, Left: left(2)},
		{Name: "schedules", Limit: 1000, Left: left(1000)},
		{Name: "streams", Limit: 2, Left: left(2)},
		{Name: "users", Limit: 2, Left: left(0)}, // a member of each role was put in,
		{Name: "agent_minutes", Limit: 1000, Every: "month"},
	}
	if diff := cmp.Diff(want, got.Limits); diff != "" || got.Plan.Name != "free" {
		t.Errorf("%+v\n%s", got.Plan, diff)
	}
}

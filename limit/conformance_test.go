package limit_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/limit"
	"github.com/genericcorp/corp/limit/redistest"
	"github.com/genericcorp/corp/stage"
)

func newClock() *stage.Clock { return stage.NewClock(time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)) }

// counts is what every implementation is.
type counts interface {
	limit.Store
	limit.Backoff
}

var implementations = []struct {
	name string
	make func(t *testing.T, c *stage.Clock) counts
}{
	{"memory", func(_ *testing.T, c *stage.Clock) counts { return limit.NewMemory(c.Now, 1000) }},
	{"redis", func(t *testing.T, c *stage.Clock) counts {
		t.Helper()
		return newRedis(t, redistest.Start(t).URL(), limit.WithClock(c.Now), limit.WithTimeout(10*time.Second))
	}},
	{"redis cluster", func(t *testing.T, c *stage.Clock) counts {
		t.Helper()
		return newRedis(t, clusterURL(t), limit.WithClock(c.Now), limit.WithTimeout(10*time.Second))
	}},
	{"fallback", func(t *testing.T, c *stage.Clock) counts {
		t.Helper()
		r := newRedis(t, redistest.Start(t).URL(), limit.WithClock(c.Now), limit.WithTimeout(10*time.Second))
		return limit.WithFallback(r, limit.NewMemory(c.Now, 1000), discard)
	}},
}

func newRedis(tb testing.TB, url string, options ...limit.Option) *limit.Redis {
	tb.Helper()
	r, err := limit.NewRedis(url, options...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = r.Close() })
	return r
}

// clusterURL starts a cluster of one server, which refuses keys that do not lie together.
func clusterURL(t *testing.T) string {
	t.Helper()
	s := redistest.Start(t, "--cluster-enabled", "yes")
	if answer, err := s.Command("CLUSTER", "ADDSLOTSRANGE", "0", "16383"); err != nil || answer != "+OK" {
		t.Fatal(answer, err)
	}
	within(t, func() bool {
		answer, err := s.Command("GET", "x")
		return err == nil && !strings.HasPrefix(answer, "-")
	})
	return strings.TrimSuffix(s.URL(), "/0") + "?addr=" + s.Address()
}

// within waits until something is so.
func within(tb testing.TB, so func() bool) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-ctx.Done():
			tb.Fatal("it does not become so")
		case <-tick.C:
		}
	}
}

// conformance is what all implementations must do.
var conformance = []struct {
	name string
	run  func(t *testing.T, s counts, c *stage.Clock)
}{
	{"after a rest there is the burst and no more", burstIsAll},
	{"a plan's hour admits exactly quota and burst", exactHour},
	{"what one limit refuses burns nothing of the others", refusalBurnsNothing},
	{"waiting as told is enough, and a microsecond less is not", waitingIsEnough},
	{"looking takes nothing", looking},
	{"a smaller policy under the same key locks nobody out for longer than its burst", changedPolicy},
	{"many at once get exactly what there is", manyAtOnce},
	{"what can never be admitted is an error", impossible},
	{"a quota of zero is no limit", unlimited},
	{"workspaces do not share", workspacesApart},
	{"pauses double up to a minute and end with a success", pausesDouble},
	{"an hour after the last failure all is forgotten", pausesForgotten},
	{"a limit and a pause of one key have nothing to do with each other", kindsApart},
}

// Attack case 59. Control: what is within the limit is admitted.
func TestEveryStoreCountsAlike(t *testing.T) {
	t.Parallel()
	for _, impl := range implementations {
		t.Run(impl.name, func(t *testing.T) {
			t.Parallel()
			c := newClock()
			s := impl.make(t, c)
			for _, p := range conformance {
				t.Run(p.name, func(t *testing.T) { p.run(t, s, c) })
			}
		})
	}
}

var keys atomic.Int64

func newKey() string { return fmt.Sprintf("{k%d}:it", keys.Add(1)) }

func take(tb testing.TB, s limit.Store, asks ...limit.Ask) []limit.State {
	tb.Helper()
	states, err := s.Take(tb.Context(), asks)
	if err != nil {
		tb.Fatal(err)
	}
	if len(states) != len(asks) {
		tb.Fatalf("%d states for %d asks", len(states), len(asks))
	}
	return states
}

func admitted(tb testing.TB, s limit.Store, asks ...limit.Ask) bool {
	tb.Helper()
	_, denied := limit.Denied(take(tb, s, asks...))
	return !denied
}

func policy(quota, burst int64) limit.Policy {
	return limit.Policy{Name: "it", Quota: quota, Window: time.Hour, Burst: burst}
}

func burstIsAll(t *testing.T, s counts, _ *stage.Clock) {
	t.Helper()
	ask := limit.Ask{Key: newKey(), Policy: policy(100, 20), Cost: 1}
	for i := range int64(20) {
		got := take(t, s, ask)[0]
		want := limit.State{Policy: ask.Policy, Key: ask.Key, Remaining: 19 - i, ResetAfter: time.Duration(i+1) * 36 * time.Second}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	}
	got := take(t, s, ask)[0]
	want := limit.State{Policy: ask.Policy, Key: ask.Key, Denied: true, RetryAfter: 36 * time.Second, ResetAfter: 720 * time.Second}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
}

// exactHour takes whatever there is, every tenth of an interval for an hour, both ends included.
func exactHour(t *testing.T, s counts, c *stage.Clock) {
	t.Helper()
	for _, p := range []limit.Policy{policy(100, 20), policy(60, 1), policy(7, 3), {Name: "minute", Quota: 50, Window: time.Minute, Burst: 9}} {
		ask, n := limit.Ask{Key: newKey(), Policy: p, Cost: 1}, int64(0)
		step := p.Window / time.Duration(p.Quota) / 10
		for past := time.Duration(0); past <= p.Window; past += step {
			for admitted(t, s, ask) {
				n++
			}
			c.Advance(step)
		}
		want := p.Quota + p.Burst
		if (p.Window % time.Duration(p.Quota)) != 0 {
			want-- // the last one comes with the rounding, after the end
		}
		if n != want {
			t.Errorf("%d in %s and %d at once: %d were admitted, want %d", p.Quota, p.Window, p.Burst, n, want)
		}
	}
}

func refusalBurnsNothing(t *testing.T, s counts, c *stage.Clock) {
	t.Helper()
	tag := newKey()
	small := limit.Ask{Key: tag + "small", Policy: policy(60, 2), Cost: 1}
	large := limit.Ask{Key: tag + "large", Policy: policy(600, 10), Cost: 3}
	last := limit.Ask{Key: tag + "last", Policy: policy(60, 5), Cost: 1}
	for range 2 {
		if !admitted(t, s, large, small, last) {
			t.Fatal("refused while there is enough")
		}
	}
	for range 50 {
		states := take(t, s, large, small, last)
		if states[0].Denied || !states[1].Denied || states[2].Denied || states[0].RetryAfter != 0 {
			t.Fatalf("not just the small one refuses: %+v", states)
		}
		if states[0].Remaining != 4 || states[1].Remaining != 0 || states[2].Remaining != 3 {
			t.Fatalf("a refusal took something: %+v", states)
		}
	}
	c.Advance(time.Minute)
	if !admitted(t, s, large, small, last) || admitted(t, s, small) {
		t.Fatal("after the interval there is not exactly one")
	}
}

func waitingIsEnough(t *testing.T, s counts, c *stage.Clock) {
	t.Helper()
	ask := limit.Ask{Key: newKey(), Policy: policy(7, 20), Cost: 10} // an interval that is no whole number
	for range 2 {
		take(t, s, ask)
	}
	state := take(t, s, ask)[0]
	if !state.Denied || state.RetryAfter <= 0 {
		t.Fatalf("not refused: %+v", state)
	}
	c.Advance(state.RetryAfter - time.Microsecond)
	if admitted(t, s, ask) {
		t.Fatal("admitted too early")
	}
	c.Advance(time.Microsecond)
	if !admitted(t, s, ask) {
		t.Fatal("refused when its time had come")
	}
	state = take(t, s, limit.Ask{Key: ask.Key, Policy: ask.Policy})[0]
	c.Advance(state.ResetAfter)
	if state = take(t, s, limit.Ask{Key: ask.Key, Policy: ask.Policy})[0]; state.Remaining != 20 || state.ResetAfter != 0 {
		t.Fatalf("not all is there again: %+v", state)
	}
}

func looking(t *testing.T, s counts, _ *stage.Clock) {
	t.Helper()
	ask := limit.Ask{Key: newKey(), Policy: policy(100, 1)}
	for range 10 {
		if state := take(t, s, ask)[0]; state.Denied || state.Remaining != 1 {
			t.Fatalf("%+v", state)
		}
	}
	ask.Cost = 1
	take(t, s, ask)
	ask.Cost = 0
	if state := take(t, s, ask)[0]; state.Denied || state.Remaining != 0 {
		t.Fatalf("looking is refused, or sees what is not there: %+v", state)
	}
}

func changedPolicy(t *testing.T, s counts, c *stage.Clock) {
	t.Helper()
	key := newKey()
	take(t, s, limit.Ask{Key: key, Policy: policy(10, 10), Cost: 10}) // an hour ahead
	faster := limit.Ask{Key: key, Policy: policy(3600, 30), Cost: 1}
	state := take(t, s, faster)[0]
	if !state.Denied || state.RetryAfter != time.Second {
		t.Fatalf("%+v", state)
	}
	c.Advance(time.Second)
	if !admitted(t, s, faster) {
		t.Fatal("refused at the new rate")
	}
}

func manyAtOnce(t *testing.T, s counts, _ *stage.Clock) {
	t.Helper()
	tag := newKey()
	var n atomic.Int64
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for range 25 {
				asks := []limit.Ask{{Key: tag + "all", Policy: policy(100, 90), Cost: 1}, {Key: fmt.Sprint(tag, i%2), Policy: policy(100, 40), Cost: 1}}
				if i%4 > 1 { // in another order
					asks[0], asks[1] = asks[1], asks[0]
				}
				states, err := s.Take(t.Context(), asks)
				if err != nil {
					t.Error(err)
					return
				}
				if _, denied := limit.Denied(states); !denied {
					n.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n.Load() != 80 {
		t.Fatalf("%d were admitted, want 80", n.Load())
	}
}

func impossible(t *testing.T, s counts, _ *stage.Clock) {
	t.Helper()
	key := newKey()
	for name, asks := range map[string][]limit.Ask{
		"more than the burst": {{Key: key, Policy: policy(100, 5), Cost: 6}},
		"a negative cost":     {{Key: key, Policy: policy(100, 5), Cost: -1}},
		"no key":              {{Policy: policy(100, 5), Cost: 1}},
		"no burst":            {{Key: key, Policy: policy(100, 0), Cost: 0}},
		"a negative quota":    {{Key: key, Policy: policy(-1, 5), Cost: 1}},
		"no window":           {{Key: key, Policy: limit.Policy{Quota: 1, Burst: 1}, Cost: 1}},
		"beyond counting":     {{Key: key, Policy: policy(1<<60, 5), Cost: 1}},
		"an endless burst":    {{Key: key, Policy: policy(1, 1<<60), Cost: 1}},
		"a key twice":         {{Key: key, Policy: policy(100, 5), Cost: 1}, {Key: key, Policy: policy(100, 5), Cost: 1}},
	} {
		if states, err := s.Take(t.Context(), asks); err == nil || corp.KindOf(err) == corp.KindUnavailable {
			t.Errorf("%s: %+v, %v", name, states, err)
		}
	}
	if state := take(t, s, limit.Ask{Key: key, Policy: policy(100, 5)})[0]; state.Remaining != 5 {
		t.Errorf("an error took something: %+v", state)
	}
	if got := take(t, s); len(got) != 0 {
		t.Errorf("nothing asked, and %v answered", got)
	}
}

func unlimited(t *testing.T, s counts, _ *stage.Clock) {
	t.Helper()
	tag := newKey()
	free, bound := limit.Ask{Key: tag + "free", Cost: 1_000_000}, limit.Ask{Key: tag + "bound", Policy: policy(100, 1), Cost: 1}
	if !admitted(t, s, free, bound, free) || admitted(t, s, free, bound) || !admitted(t, s, free) {
		t.Fatal("a quota of zero limits, or lifts another's limit")
	}
}

func workspacesApart(t *testing.T, s counts, _ *stage.Clock) {
	t.Helper()
	a, b := corp.NewID[corp.WorkspaceID](), corp.NewID[corp.WorkspaceID]()
	asks := func(ws corp.WorkspaceID) []limit.Ask {
		return []limit.Ask{
			{Key: limit.WorkspaceKey(ws, "workspace", ""), Policy: policy(100, 1), Cost: 1},
			{Key: limit.WorkspaceKey(ws, "user", "user_1"), Policy: policy(100, 1), Cost: 1},
		}
	}
	if !admitted(t, s, asks(a)...) || admitted(t, s, asks(a)...) || !admitted(t, s, asks(b)...) {
		t.Fatal("one workspace's requests are another's")
	}
}

func wait(tb testing.TB, s limit.Backoff, key string) time.Duration {
	tb.Helper()
	d, err := s.Wait(tb.Context(), key)
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

func pausesDouble(t *testing.T, s counts, c *stage.Clock) {
	t.Helper()
	key, other := newKey(), newKey()
	for i, want := range []int{1, 2, 4, 8, 16, 32, 60, 60, 60} {
		if err := s.Fail(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		if got := wait(t, s, key); got != time.Duration(want)*time.Second {
			t.Fatalf("after %d failures: %s, want %d s", i+1, got, want)
		}
		c.Advance(time.Duration(want)*time.Second - time.Microsecond)
		if got := wait(t, s, key); got != time.Microsecond {
			t.Fatalf("a microsecond before the end: %s", got)
		}
		c.Advance(time.Microsecond)
		if got := wait(t, s, key); got != 0 {
			t.Fatalf("at its end: %s", got)
		}
	}
	if got := wait(t, s, other); got != 0 {
		t.Fatalf("another key waits %s", got)
	}
	for range 2 {
		if err := s.Clear(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Fail(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if got := wait(t, s, key); got != time.Second {
		t.Fatalf("the first failure after a success: %s", got)
	}
}

func pausesForgotten(t *testing.T, s counts, c *stage.Clock) {
	t.Helper()
	key := newKey()
	for range 5 {
		if err := s.Fail(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	c.Advance(time.Hour)
	if err := s.Fail(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if got := wait(t, s, key); got != time.Second {
		t.Fatalf("after an hour: %s", got)
	}
}

func kindsApart(t *testing.T, s counts, _ *stage.Clock) {
	t.Helper()
	const key = "{2001:db8::/64}:sign-in"
	p := limit.Policy{Name: "sign-in", Quota: 60, Window: time.Hour, Burst: 2}
	take := func() limit.State {
		t.Helper()
		states, err := s.Take(t.Context(), []limit.Ask{{Key: key, Policy: p, Cost: 1}})
		if err != nil {
			t.Fatal(err)
		}
		return states[0]
	}
	take()
	if wait, err := s.Wait(t.Context(), key); wait != 0 || err != nil {
		t.Errorf("what was taken is a pause: %v, %v", wait, err)
	}
	for range 5 {
		if err := s.Fail(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	if got := take(); got.Denied {
		t.Errorf("failures were taken from the limit: %+v", got)
	}
	if err := s.Clear(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if got := take(); !got.Denied {
		t.Errorf("a success gave back what was taken: %+v", got)
	}
}

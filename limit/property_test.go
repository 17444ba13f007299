package limit_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/genericcorp/corp/limit"
)

type grant struct {
	at   time.Duration
	cost int64
}

// Whatever the policy, the costs and the pauses: no window has more than quota +
// burst, however it is laid; and whoever waits as told is admitted.
// Attack case 59. Control: who waits as told is admitted.
func TestNoWindowHasMoreThanQuotaAndBurst(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := newClock()
		s := limit.NewMemory(c.Now, 10)
		p := limit.Policy{
			Name: "it", Quota: rapid.Int64Range(1, 500).Draw(t, "quota"), Burst: rapid.Int64Range(1, 60).Draw(t, "burst"),
			Window: time.Duration(rapid.Int64Range(1, 3_600_000).Draw(t, "window in ms")) * time.Millisecond,
		}
		var past time.Duration
		var got []grant
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			cost := rapid.Int64Range(1, p.Burst).Draw(t, "cost")
			states, err := s.Take(t.Context(), []limit.Ask{{Key: "k", Policy: p, Cost: cost}})
			if err != nil {
				t.Fatal(err)
			}
			if !states[0].Denied {
				got = append(got, grant{past, cost})
				if states[0].Remaining < 0 || states[0].Remaining > p.Burst-cost {
					t.Fatalf("%d remain of %d after %d", states[0].Remaining, p.Burst, cost)
				}
			}
			pause := time.Duration(rapid.Int64Range(0, 2*p.Window.Microseconds()/p.Quota).Draw(t, "pause in µs")) * time.Microsecond
			if states[0].Denied && rapid.Bool().Draw(t, "waits as told") {
				pause = states[0].RetryAfter
			}
			c.Advance(pause)
			past += pause
			if states[0].Denied && pause >= states[0].RetryAfter {
				if again, _ := s.Take(t.Context(), []limit.Ask{{Key: "k", Policy: p, Cost: cost}}); again[0].Denied {
					t.Fatalf("waited %s as told, and was refused", pause)
				}
				got = append(got, grant{past, cost})
			}
		}
		for i := range got {
			sum := int64(0)
			for _, g := range got[i:] {
				if g.at-got[i].at <= p.Window {
					sum += g.cost
				}
			}
			if sum > p.Quota+p.Burst {
				t.Fatalf("%d units in %s from %s, at most %d + %d", sum, p.Window, got[i].at, p.Quota, p.Burst)
			}
		}
	})
}

// Several limits together admit what each would, and take from all or from none.
// Attack case 59. Control: what every limit admits by itself is admitted together.
func TestLimitsTakenTogetherAreTakenAllOrNone(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := newClock()
		together, alone := limit.NewMemory(c.Now, 100), limit.NewMemory(c.Now, 100)
		asks := make([]limit.Ask, rapid.IntRange(1, 5).Draw(t, "limits"))
		for i := range asks {
			burst := rapid.Int64Range(1, 10).Draw(t, "burst")
			asks[i] = limit.Ask{Key: fmt.Sprint(i), Policy: policy(rapid.Int64Range(1, 5000).Draw(t, "quota"), burst), Cost: rapid.Int64Range(0, burst).Draw(t, "cost")}
		}
		for range 60 {
			all := true
			for _, a := range asks { // the model: look at each by itself
				look := a
				look.Cost = 0
				states, _ := alone.Take(t.Context(), []limit.Ask{look})
				all = all && states[0].Remaining >= a.Cost
			}
			states, err := together.Take(t.Context(), asks)
			if err != nil {
				t.Fatal(err)
			}
			if _, denied := limit.Denied(states); denied == all {
				t.Fatalf("denied %v, each by itself %v", denied, all)
			}
			if all {
				for _, a := range asks {
					_, _ = alone.Take(t.Context(), []limit.Ask{a})
				}
			}
			c.Advance(time.Duration(rapid.Int64Range(0, 60_000_000).Draw(t, "pause in µs")) * time.Microsecond)
		}
	})
}

func TestInventedKeysTakeNoMemoryAndForgetNobodyWhoIsThere(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := limit.NewMemory(c.Now, 1000)
	mine := limit.Ask{Key: "mine", Policy: policy(1, 3), Cost: 1}
	n := 0
	for i := range 50_000 {
		if i%200 == 0 && admitted(t, s, mine) {
			n++
		}
		take(t, s, limit.Ask{Key: fmt.Sprint("invented", i), Policy: policy(100, 20), Cost: 1})
		if err := s.Fail(t.Context(), fmt.Sprint("account", i)); err != nil {
			t.Fatal(err)
		}
	}
	if s.Len() > 1000 {
		t.Errorf("%d keys are known, at most 1000", s.Len())
	}
	if n != 3 {
		t.Errorf("a limit in use admitted %d, want 3", n)
	}
}

func TestAddressesCountByWhatOneCustomerHas(t *testing.T) {
	t.Parallel()
	key := func(a string) string { return limit.AddressKey(netip.MustParseAddr(a), "x") }
	same := [][2]string{{"2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"}, {"192.0.2.1", "::ffff:192.0.2.1"}, {"fe80::1%eth0", "fe80::2"}}
	for _, p := range same {
		if key(p[0]) != key(p[1]) {
			t.Errorf("%s and %s count apart", p[0], p[1])
		}
	}
	for _, p := range [][2]string{{"2001:db8:1:2::1", "2001:db8:1:3::1"}, {"192.0.2.1", "192.0.2.2"}} {
		if key(p[0]) == key(p[1]) {
			t.Errorf("%s and %s count together", p[0], p[1])
		}
	}
	if limit.NetworkKey(netip.MustParseAddr("192.0.2.1"), "x") != limit.NetworkKey(netip.MustParseAddr("192.0.2.254"), "x") {
		t.Error("neighbours do not count as a network")
	}
	if key := limit.AddressKey(netip.Addr{}, "x"); key != "{nowhere}:x" {
		t.Error(key)
	}
}

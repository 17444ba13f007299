// Package limit says how often somebody may do something: a rate limiter by the
// generic cell rate algorithm, and the growing pause after failures.
//
// A request asks several limits at once, all or none: what one of them refuses
// burns nothing of the others. The counts stand in this process (Memory) or are
// shared by several servers (Redis); Fallback lives on the first while the second
// is down, and refuses what was asked to be refused then.
//
// It knows no HTTP, no plan and no role. It never counts money, tasks or anything
// else that must be exact after a crash: that is the database's.
package limit

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Policy is how much of something there may be: Quota units in each Window, and
// Burst more at once after a rest. In no window of that length are there more than
// Quota + Burst. A Quota of 0 is no limit.
type Policy struct {
	Name   string
	Quota  int64
	Window time.Duration
	Burst  int64
	// FailClosed refuses while the shared counts cannot be reached, instead of
	// counting in this process alone.
	FailClosed bool
}

// Ask is a request for Cost units of what Key has under Policy. A Cost of 0 looks
// and takes nothing.
type Ask struct {
	Key    string
	Policy Policy
	Cost   int64
}

// State is what one limit answers. Under a policy without a limit it says nothing.
type State struct {
	Policy     Policy
	Key        string
	Remaining  int64         // units there are now
	ResetAfter time.Duration // until all of the burst is there again
	RetryAfter time.Duration // until the same would be admitted; 0 unless Denied
	Denied     bool          // by this limit
}

// Store counts. It is safe for concurrent use.
type Store interface {
	// Take takes what is asked of every limit, or of none when one refuses. The
	// states are in the order of the asks, which must name different keys. The
	// error is an unavailable one when the counts cannot be reached.
	Take(ctx context.Context, asks []Ask) ([]State, error)
}

// Backoff is the growing pause after failures: 1, 2, 4 … at most 60 seconds after
// the last one, forgotten after a success or an hour. It is never a lock for good.
type Backoff interface {
	// Wait returns how long nothing may be tried under this key; 0 is now.
	Wait(ctx context.Context, key string) (time.Duration, error)
	// Fail notes a failure.
	Fail(ctx context.Context, key string) error
	// Clear notes a success.
	Clear(ctx context.Context, key string) error
}

// Denied returns the state of the limit to wait for longest, and whether any refused.
func Denied(states []State) (worst State, denied bool) {
	for _, s := range states {
		if s.Denied && (!denied || s.RetryAfter > worst.RetryAfter) {
			worst, denied = s, true
		}
	}
	return worst, denied
}

// Check says what is wrong with a policy.
func (p Policy) Check() error {
	switch {
	case p.Quota == 0:
		return nil
	case p.Quota < 0 || p.Burst < 1 || p.Window <= 0:
		return fmt.Errorf("limit %s: %d in %s and %d at once is no limit", p.Name, p.Quota, p.Window, p.Burst)
	case p.Window > maxWindow || p.Window.Microseconds() < p.Quota:
		return fmt.Errorf("limit %s: %d in %s is beyond what can be counted", p.Name, p.Quota, p.Window)
	case p.Burst > maxWindow.Microseconds()/p.interval():
		return fmt.Errorf("limit %s: the burst of %d takes more than %s to come back", p.Name, p.Burst, maxWindow)
	}
	return nil
}

// maxWindow keeps sums of times exact in the numbers of Redis's scripts.
const maxWindow = 31 * 24 * time.Hour

// counted checks the asks and returns those that have a limit.
func counted(asks []Ask) ([]Ask, error) {
	live := make([]Ask, 0, len(asks))
	for _, a := range asks {
		if err := a.Policy.Check(); err != nil {
			return nil, err
		}
		if a.Policy.Quota == 0 {
			continue
		}
		if a.Key == "" || a.Cost < 0 || a.Cost > a.Policy.Burst {
			return nil, fmt.Errorf("limit %s: %d units of a burst of %d can never be admitted", a.Policy.Name, a.Cost, a.Policy.Burst)
		}
		for _, other := range live {
			if other.Key == a.Key {
				return nil, errors.New("take from limits: the same key twice")
			}
		}
		live = append(live, a)
	}
	return live, nil
}

// answer puts the states of the limits that were counted among those that were not.
func answer(asks []Ask, ahead func(i int) int64) []State {
	states := make([]State, len(asks))
	denied, i := false, 0
	for n, a := range asks {
		states[n] = State{Policy: a.Policy, Key: a.Key}
		if a.Policy.Quota != 0 {
			states[n].Denied = a.over(ahead(i)) > 0
			denied = denied || states[n].Denied
			i++
		}
	}
	i = 0
	for n, a := range asks {
		if a.Policy.Quota != 0 {
			states[n].fill(a, ahead(i), denied)
			i++
		}
	}
	return states
}

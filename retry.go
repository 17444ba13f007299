package corp

import (
	"math"
	"time"
)

// The default retry policy of a task.
const (
	DefaultMaxAttempts = 3
	RetryBase          = 2 * time.Second
	RetryCap           = 5 * time.Minute
)

// RetryDelay returns how long to wait before the attempt that follows failed
// attempt number n (from 1): full jitter, uniform in [0, min(limit, base·2^(n-1))],
// as in "Exponential Backoff And Jitter" (Amazon, 2015). uniform returns a
// number in [0, n).
func RetryDelay(n int, base, limit time.Duration, uniform func(n int64) int64) time.Duration {
	ceiling := min(base, limit)
	for i := 1; i < n && 0 < ceiling && ceiling < limit; i++ {
		if ceiling > limit/2 { // its double may not fit
			ceiling = limit
		} else {
			ceiling *= 2
		}
	}
	if ceiling <= 0 {
		return 0
	}
	return time.Duration(uniform(min(int64(ceiling), math.MaxInt64-1) + 1))
}

// Complete returns the policy with the defaults for what is left out.
func (p RetryPolicy) Complete() RetryPolicy {
	if p.BaseMS == 0 {
		p.BaseMS = RetryBase.Milliseconds()
	}
	if p.CapMS == 0 {
		p.CapMS = RetryCap.Milliseconds()
	}
	return p
}

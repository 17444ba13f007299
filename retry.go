package corp

import "time"

// The default retry policy of a task.
const (
	DefaultMaxAttempts = 3
	RetryBase          = 2 * time.Second
	RetryCap           = 5 * time.Minute
)

// RetryDelay returns how long to wait before the attempt that follows failed
// attempt number n (from 1): full jitter, uniform in [0, min(cap, base·2^(n-1))],
// as in "Exponential Backoff And Jitter" (Amazon, 2015). uniform returns a
// number in [0, n).
func RetryDelay(n int, base, limit time.Duration, uniform func(n int64) int64) time.Duration {
	ceiling := limit
	if shift := max(n-1, 0); shift < 20 {
		ceiling = min(limit, base<<shift)
	}
	if ceiling <= 0 {
		return 0
	}
	return time.Duration(uniform(int64(ceiling) + 1))
}

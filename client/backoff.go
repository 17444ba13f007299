package client

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/genericcorp/corp"
)

// The waits between attempts grow with full jitter between these.
const (
	backoffBase = 100 * time.Millisecond
	backoffCap  = 5 * time.Second
)

// backoff waits between attempts until its patience is used up.
type backoff struct {
	until   time.Time
	attempt int
}

func newBackoff(patience time.Duration) *backoff {
	return &backoff{until: time.Now().Add(patience)}
}

// next waits and says whether another attempt is due.
func (b *backoff) next(ctx context.Context) bool {
	left := time.Until(b.until)
	if left <= 0 {
		return false
	}
	b.attempt++
	wait := corp.RetryDelay(b.attempt, backoffBase, backoffCap, rand.Int64N)
	return pause(ctx, min(left, max(wait, time.Millisecond)))
}

// sleep waits as long as it was told, if the patience is enough for that.
func (b *backoff) sleep(ctx context.Context, wait time.Duration) bool {
	return wait < time.Until(b.until) && pause(ctx, wait)
}

// pause waits and says whether nobody gave up meanwhile.
func pause(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

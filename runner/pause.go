package runner

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/genericcorp/corp"
)

// The waits between attempts to reach the server.
const (
	pauseBase = 100 * time.Millisecond
	pauseCap  = 3 * time.Second
)

// pause waits between attempts, longer each time, with full jitter so that a
// hundred runners do not return in step.
type pause struct{ n int }

// wait says whether the context still lives after it.
func (p *pause) wait(ctx context.Context) bool {
	p.n++
	d := corp.RetryDelay(p.n, pauseBase, pauseCap, rand.Int64N)
	timer := time.NewTimer(max(d, 5*time.Millisecond))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (p *pause) reset() { p.n = 0 }

// passing says whether the same request may succeed later without anybody
// doing anything: the server is away, or it failed.
func passing(err error) bool {
	switch corp.KindOf(err) {
	case corp.KindUnavailable, corp.KindInternal, corp.KindLimit:
		return true
	default:
		return false
	}
}

package limit

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/genericcorp/corp"
)

// Shared is a store that may be out of reach, such as *Redis.
type Shared interface {
	Store
	Backoff
	Ping(ctx context.Context) error
}

// Fallback counts in the shared store, and in the process while that is down: then
// each server admits by itself what all of them together should. Whatever fails
// closed, back-off included, gets an unavailable error instead.
//
// Only what is under way when the store goes down waits for it, once. From then on
// nobody asks it but a ping, beside the requests, until that is answered.
type Fallback struct {
	shared Shared
	local  *Memory
	logger *slog.Logger
	retry  time.Duration

	down    atomic.Bool
	probing atomic.Bool
	next    atomic.Int64 // when to probe, in nanoseconds since start
	start   time.Time
}

var (
	_ Store   = (*Fallback)(nil)
	_ Backoff = (*Fallback)(nil)
)

// probeEvery is the pause between two pings of a store that is down.
const probeEvery = time.Second

// WithFallback lives on local while shared is down.
func WithFallback(shared Shared, local *Memory, logger *slog.Logger) *Fallback {
	return &Fallback{shared: shared, local: local, logger: logger, retry: probeEvery, start: time.Now()}
}

// Down says whether the shared store is out of reach now.
func (f *Fallback) Down() bool { return f.down.Load() }

// Take asks the shared store, or the local one in its place.
func (f *Fallback) Take(ctx context.Context, asks []Ask) ([]State, error) {
	if f.up(ctx) {
		states, err := f.shared.Take(ctx, asks)
		if corp.KindOf(err) != corp.KindUnavailable {
			return states, err
		}
		f.fell(ctx, err)
	}
	for _, a := range asks {
		if a.Policy.FailClosed && a.Policy.Quota != 0 {
			return nil, closed()
		}
	}
	return f.local.Take(ctx, asks)
}

// Wait asks the shared store.
func (f *Fallback) Wait(ctx context.Context, key string) (d time.Duration, err error) {
	err = f.strict(ctx, func() error {
		d, err = f.shared.Wait(ctx, key)
		return err
	})
	return d, err
}

// Fail notes a failure in the shared store.
func (f *Fallback) Fail(ctx context.Context, key string) error {
	return f.strict(ctx, func() error { return f.shared.Fail(ctx, key) })
}

// Clear notes a success in the shared store.
func (f *Fallback) Clear(ctx context.Context, key string) error {
	return f.strict(ctx, func() error { return f.shared.Clear(ctx, key) })
}

func (f *Fallback) strict(ctx context.Context, do func() error) error {
	if !f.up(ctx) {
		return closed()
	}
	err := do()
	if corp.KindOf(err) == corp.KindUnavailable {
		f.fell(ctx, err)
	}
	return err
}

func closed() error {
	return &corp.Error{
		Kind: corp.KindUnavailable, Code: "limits_unavailable",
		Message: "This is not possible while the store of the limits does not answer.", Hint: "Try again in a moment; the operator sees it in the server's log.",
	}
}

// up says whether the shared store is to be asked. While it is down, now and then
// somebody's question begins a ping, and nobody waits for it.
func (f *Fallback) up(ctx context.Context) bool {
	if !f.down.Load() {
		return true
	}
	if f.since() >= f.next.Load() && f.probing.CompareAndSwap(false, true) {
		go f.probe(context.WithoutCancel(ctx))
	}
	return false
}

func (f *Fallback) since() int64 { return int64(time.Since(f.start)) }

func (f *Fallback) fell(ctx context.Context, err error) {
	f.next.Store(f.since() + int64(f.retry))
	if f.down.CompareAndSwap(false, true) {
		f.logger.WarnContext(ctx, "limits are counted by this server alone", "error", err)
	}
}

// probe outlives the request that began it, by the ping's timeout at most.
func (f *Fallback) probe(ctx context.Context) {
	defer f.probing.Store(false)
	if err := f.shared.Ping(ctx); err != nil {
		f.next.Store(f.since() + int64(f.retry))
		return
	}
	if f.down.CompareAndSwap(true, false) {
		f.logger.InfoContext(ctx, "limits are shared again")
	}
}

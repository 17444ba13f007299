//go:build engine || soak

package engine

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// hops is how many times the way of a task from its submission to its offer asks
// the database: the commit, the claim, and reading the offer.
const hops = 3

// machine measures what this machine adds to a latency: how long it keeps a
// goroutine that wants to run from running, and how long the shortest of commits
// takes, hops times. That is not the product's.
type machine struct {
	mu     sync.Mutex
	run    time.Duration
	commit time.Duration
	end    context.CancelFunc
	done   sync.WaitGroup
}

// measure begins to measure until the test ends.
func (s *site) measure() *machine {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	m := &machine{end: cancel}
	m.done.Go(func() { m.ticks(ctx) })
	m.done.Go(func() { m.commits(ctx, s.oracle.pool) })
	s.t.Cleanup(m.stop)
	return m
}

func (m *machine) stop() {
	m.end()
	m.done.Wait()
}

// window begins a new window, and returns how long the machine held things up
// in the last one.
func (m *machine) window() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	worst := m.run + hops*m.commit
	m.run, m.commit = 0, 0
	return worst
}

func (m *machine) ticks(ctx context.Context) {
	const every = 2 * time.Millisecond
	tick := time.NewTicker(every)
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			now := time.Now()
			m.mu.Lock()
			m.run = max(m.run, now.Sub(last)-every)
			m.mu.Unlock()
			last = now
		}
	}
}

func (m *machine) commits(ctx context.Context, pool *pgxpool.Pool) {
	for pauseFor(ctx, 5*time.Millisecond) {
		began := time.Now()
		_, err := pool.Exec(ctx, `SELECT pg_logical_emit_message(true, 'engine', 'x')`)
		if took := time.Since(began); err == nil {
			m.mu.Lock()
			m.commit = max(m.commit, took)
			m.mu.Unlock()
		}
	}
}

// quiet is what to add to a bound where the machine is not measured in detail:
// processes that start and stop take their time on a busy machine.
const quiet = 500 * time.Millisecond

// slowness measures how long this machine keeps goroutines waiting, until it is
// asked, with what is added in any case.
func slowness(t testing.TB) func() time.Duration {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	m := &machine{end: cancel}
	m.done.Go(func() { m.ticks(ctx) })
	t.Cleanup(m.stop)
	return func() time.Duration {
		m.mu.Lock()
		defer m.mu.Unlock()
		return quiet + m.run
	}
}

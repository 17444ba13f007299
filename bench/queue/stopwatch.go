package main

import (
	"context"
	"sync"
	"time"
)

// every is the pace of the latency measurement: an open loop, far below what any
// of the engines can do.
const every = 25 * time.Millisecond

// stopwatch times tasks from their submission to their start.
type stopwatch struct {
	mu        sync.Mutex
	submitted []time.Time
	begun     []time.Time
	left      int
	done      chan struct{}
}

func newStopwatch(n int) *stopwatch {
	return &stopwatch{submitted: make([]time.Time, n), begun: make([]time.Time, n), left: n, done: make(chan struct{})}
}

// submit calls do for each task at its time, whatever became of those before.
func (s *stopwatch) submit(ctx context.Context, do func(i int) error) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	failed := make(chan error, len(s.submitted))
	for i := range s.submitted {
		select {
		case <-tick.C:
		case err := <-failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
		s.mu.Lock()
		s.submitted[i] = time.Now()
		s.mu.Unlock()
		go func() {
			if err := do(i); err != nil {
				failed <- err
			}
		}()
	}
	select {
	case <-s.done:
		return nil
	case err := <-failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// started says that a worker has the task in its hands.
func (s *stopwatch) started(i int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.begun[i].IsZero() {
		return
	}
	s.begun[i] = time.Now()
	if s.left--; s.left == 0 {
		close(s.done)
	}
}

func (s *stopwatch) waits() []time.Duration {
	all := make([]time.Duration, len(s.begun))
	for i := range all {
		all[i] = s.begun[i].Sub(s.submitted[i])
	}
	return all
}

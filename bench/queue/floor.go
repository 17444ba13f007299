package main

import (
	"context"
	"time"
)

// floor is no queue: it is what the HTTP requests of one task of ours cost when
// they do nothing, with the same client and server. No work on the rest of a
// task's way gets it below this.
type floor struct{ ours }

func (f *floor) name() string { return "(three empty requests to corp)" }

func (f *floor) drain(ctx context.Context, n int) (submit, work time.Duration, err error) {
	begun := time.Now()
	err = parallel(16, n, func() error { return f.ask(ctx) })
	return time.Since(begun), time.Since(begun), err
}

func (f *floor) ask(ctx context.Context) error {
	for range 3 {
		if _, err := f.Customer.Ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (f *floor) trickle(ctx context.Context, n int) ([]time.Duration, error) {
	s := newStopwatch(n)
	err := s.submit(ctx, func(i int) error {
		_, err := f.Customer.Ready(ctx)
		s.started(i)
		return err
	})
	return s.waits(), err
}

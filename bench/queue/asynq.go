package main

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
)

// hibiken is Asynq on Redis.
type hibiken struct{ redis }

func (h *hibiken) name() string { return "Asynq on Redis (" + h.appendfsync + ")" }

type quiet struct{}

// Debug and the rest make a logger that says nothing.
func (quiet) Debug(...any) {}

// Info says nothing.
func (quiet) Info(...any) {}

// Warn says nothing.
func (quiet) Warn(...any) {}

// Error says nothing.
func (quiet) Error(...any) {}

// Fatal says nothing.
func (quiet) Fatal(...any) {}

func (h *hibiken) serve(do func(n int)) (stop func(), err error) {
	server := asynq.NewServer(asynq.RedisClientOpt{Addr: h.address()}, asynq.Config{Concurrency: 64, Logger: quiet{}, TaskCheckInterval: 200 * time.Millisecond})
	err = server.Start(asynq.HandlerFunc(func(_ context.Context, t *asynq.Task) error {
		var n int
		if err := json.Unmarshal(t.Payload(), &n); err != nil {
			return err
		}
		do(n)
		return nil
	}))
	return server.Shutdown, err
}

func (h *hibiken) submitTo(ctx context.Context, c *asynq.Client, n int) error {
	body, err := json.Marshal(n)
	if err != nil {
		return err
	}
	_, err = c.EnqueueContext(ctx, asynq.NewTask("bench", body))
	return err
}

func (h *hibiken) drain(ctx context.Context, n int) (submit, work time.Duration, err error) {
	c := asynq.NewClient(asynq.RedisClientOpt{Addr: h.address(), PoolSize: 40})
	defer func() { _ = c.Close() }()
	begun := time.Now()
	if err := parallel(16, n, func() error { return h.submitTo(ctx, c, 0) }); err != nil {
		return 0, 0, err
	}
	submit, begun = time.Since(begun), time.Now()
	var left atomic.Int64
	left.Store(int64(n))
	done := make(chan struct{})
	stop, err := h.serve(func(int) {
		if left.Add(-1) == 0 {
			close(done)
		}
	})
	if err != nil {
		return 0, 0, err
	}
	defer stop()
	select {
	case <-done:
		return submit, time.Since(begun), nil
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
}

func (h *hibiken) trickle(ctx context.Context, n int) ([]time.Duration, error) {
	c := asynq.NewClient(asynq.RedisClientOpt{Addr: h.address()})
	defer func() { _ = c.Close() }()
	s := newStopwatch(n)
	stop, err := h.serve(s.started)
	if err != nil {
		return nil, err
	}
	defer stop()
	err = s.submit(ctx, func(i int) error { return h.submitTo(ctx, c, i) })
	return s.waits(), err
}

package main

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	riverqueue "github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// river is River with the settings of its own published benchmark.
type river struct {
	database
	worker *riverWorker
}

type job struct {
	N int `json:"n"`
}

// Kind names the job.
func (job) Kind() string { return "bench" }

type riverWorker struct {
	riverqueue.WorkerDefaults[job]
	do atomic.Pointer[func(n int)]
}

// Work calls what is measured.
func (w *riverWorker) Work(_ context.Context, j *riverqueue.Job[job]) error {
	(*w.do.Load())(j.Args.N)
	return nil
}

func (*river) name() string { return "River" }

func (r *river) start(ctx context.Context, dir string) error {
	if err := r.database.start(ctx, dir); err != nil {
		return err
	}
	migrator, err := rivermigrate.New(riverpgxv5.New(r.pool), nil)
	if err != nil {
		return err
	}
	r.worker = &riverWorker{}
	_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return err
}

func (r *river) client(do func(n int)) (*riverqueue.Client[pgx.Tx], error) {
	r.worker.do.Store(&do)
	workers := riverqueue.NewWorkers()
	riverqueue.AddWorker(workers, r.worker)
	return riverqueue.NewClient(riverpgxv5.New(r.pool), &riverqueue.Config{
		FetchCooldown: 2 * time.Millisecond, FetchPollInterval: 20 * time.Millisecond, Workers: workers,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Queues: map[string]riverqueue.QueueConfig{riverqueue.QueueDefault: {MaxWorkers: 500}},
	})
}

func (r *river) drain(ctx context.Context, n int) (submit, work time.Duration, err error) {
	var left atomic.Int64
	left.Store(int64(n))
	done := make(chan struct{})
	c, err := r.client(func(int) {
		if left.Add(-1) == 0 {
			close(done)
		}
	})
	if err != nil {
		return 0, 0, err
	}
	begun := time.Now()
	for sent := 0; sent < n; sent += 1000 {
		params := make([]riverqueue.InsertManyParams, min(1000, n-sent))
		for i := range params {
			params[i].Args = job{sent + i}
		}
		if _, err := c.InsertMany(ctx, params); err != nil {
			return 0, 0, err
		}
	}
	submit, begun = time.Since(begun), time.Now()
	if err := c.Start(ctx); err != nil {
		return 0, 0, err
	}
	select {
	case <-done:
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
	work = time.Since(begun)
	return submit, work, c.Stop(ctx) // completes what it has in hand: part of the price
}

func (r *river) trickle(ctx context.Context, n int) ([]time.Duration, error) {
	s := newStopwatch(n)
	c, err := r.client(s.started)
	if err != nil {
		return nil, err
	}
	if err := c.Start(ctx); err != nil {
		return nil, err
	}
	err = s.submit(ctx, func(i int) error {
		_, err := c.Insert(ctx, job{i}, nil)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.waits(), c.Stop(ctx)
}

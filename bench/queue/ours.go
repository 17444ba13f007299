package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/bench/site"
)

// ours is "corp up" as a user starts it, spoken to over HTTP with API keys: a
// client that submits, and runners that poll, acknowledge and finish. All that a
// task costs is in it: row-level security, events, leases, limits and fairness.
type ours struct {
	program string
	batch   bool // submit by batches of 500

	*site.Site
}

// slots is how many runs one simulated runner holds.
const slots = 64

func (o *ours) name() string {
	if o.batch {
		return "corp, batches of 500"
	}
	return "corp"
}

func (o *ours) start(ctx context.Context, dir string) (err error) {
	o.Site, err = site.Start(ctx, o.program, filepath.Join(dir, "data"))
	return err
}

func (o *ours) pids() []int { return []int{o.Pid()} }

func (o *ours) stop() { o.Stop() }

func spec() corp.TaskSpec {
	return corp.TaskSpec{Prompt: "Do nothing.", RepositoryURL: "https://git.example.com/nothing.git"}
}

func (o *ours) submit(ctx context.Context, n int) error {
	if !o.batch {
		return parallel(16, n, func() error { _, err := o.Customer.SubmitTask(ctx, spec(), ""); return err })
	}
	const size = 500
	var left atomic.Int64
	left.Store(int64(n))
	return parallel(2, (n+size-1)/size, func() error {
		tasks := make([]corp.BatchTask, min(size, max(1, left.Add(-size)+size)))
		for i := range tasks {
			tasks[i].TaskSpec = spec()
		}
		_, err := o.Customer.SubmitBatch(ctx, corp.BatchSpec{Tasks: tasks}, "")
		return err
	})
}

func (o *ours) drain(ctx context.Context, n int) (submit, work time.Duration, err error) {
	begun := time.Now()
	if err := o.submit(ctx, n); err != nil {
		return 0, 0, err
	}
	submit, begun = time.Since(begun), time.Now()
	var left atomic.Int64
	left.Store(int64(n))
	err = o.work(ctx, 2, func(corp.Offer) {}, func() bool { return left.Add(-1) == 0 })
	return submit, time.Since(begun), err
}

func (o *ours) trickle(ctx context.Context, n int) ([]time.Duration, error) {
	s := newStopwatch(n)
	var left atomic.Int64
	left.Store(int64(n))
	worked := make(chan error, 1)
	go func() {
		worked <- o.work(ctx, 1, func(offer corp.Offer) {
			var i int
			_, _ = fmt.Sscan(strings.TrimPrefix(offer.Spec.Prompt, "Do nothing, number "), &i)
			s.started(i)
		}, func() bool { return left.Add(-1) == 0 })
	}()
	err := s.submit(ctx, func(i int) error {
		task := spec()
		task.Prompt = fmt.Sprint("Do nothing, number ", i)
		_, err := o.Customer.SubmitTask(ctx, task, "")
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.waits(), <-worked
}

// work carries out what is offered to so many runners until done says that it
// was the last.
func (o *ours) work(ctx context.Context, runners int, seen func(corp.Offer), done func() bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, runners)
	var all sync.WaitGroup
	for range runners {
		all.Go(func() {
			w := &worker{o: o, seen: seen, last: func() {
				if done() {
					cancel()
				}
			}}
			if err := w.run(ctx); err != nil && ctx.Err() == nil {
				failed <- err
				cancel()
			}
		})
	}
	all.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// worker is one simulated runner.
type worker struct {
	o    *ours
	id   corp.RunnerID
	seen func(corp.Offer)
	last func()
}

func (w *worker) run(ctx context.Context) error {
	id, err := w.o.Register(ctx, slots)
	if err != nil {
		return err
	}
	w.id = id
	free := make(chan struct{}, slots)
	for range slots {
		free <- struct{}{}
	}
	failed := make(chan error, 1)
	var all sync.WaitGroup
	defer all.Wait()
	for seq := int64(1); ; seq++ {
		<-free // a poll without a free slot asks for nothing
		free <- struct{}{}
		answer, err := w.o.Runner.Poll(ctx, w.id, corp.Poll{Seq: seq, Free: len(free), WaitMS: 5000})
		if err != nil {
			return err
		}
		for _, offer := range answer.Offers {
			<-free
			w.seen(offer)
			all.Go(func() {
				if err := w.carryOut(ctx, offer); err != nil {
					select {
					case failed <- err:
					default:
					}
				}
				free <- struct{}{}
			})
		}
		select {
		case err := <-failed:
			return err
		default:
		}
	}
}

func (w *worker) carryOut(ctx context.Context, offer corp.Offer) error {
	if err := w.o.Runner.Ack(ctx, offer.Lease); err != nil {
		return err
	}
	_, err := w.o.Runner.Finish(ctx, corp.Finish{Lease: offer.Lease, Outcome: corp.Outcome{State: corp.RunSucceeded, Reason: corp.ReasonCompleted, Detail: "Nothing was to be done."}})
	if err == nil {
		w.last()
	}
	return err
}

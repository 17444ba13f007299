package feed_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/feed"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// The real thing: a transaction's notification wakes the reader of its workspace,
// also after the listening connection was cut, and the cut itself wakes everybody.
func TestACommitWakesItsReaderThroughTheDatabase(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	hub := feed.New(env.DB, slog.New(slog.DiscardHandler))
	hub.PollEvery(time.Hour) // on a busy machine the slow poll would come in between
	queued := make(chan struct{}, 1)
	hub.OnQueue(func(postgres.Notice) {
		select {
		case queued <- struct{}{}:
		default:
		}
	})
	ws, other := env.Workspace(t), env.Workspace(t)
	wake, done := hub.Subscribe(ws)
	defer done()
	quiet, doneQuiet := hub.Subscribe(other)
	defer doneQuiet()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := hub.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("the hub ended with %v", err)
		}
	})
	defer running.Wait()
	defer cancel()
	wait := func(what string, c <-chan struct{}) {
		t.Helper()
		select {
		case <-c:
		case <-time.After(time.Minute):
			t.Fatalf("not woken: %s", what)
		}
	}
	wait("the first connection", quiet)
	for round := range 3 {
		drain(wake, quiet, queued)
		env.Submit(t, ws, corp.TaskSpec{})
		wait("a task was submitted", wake)
		wait("a run was queued", queued)
		select {
		case <-quiet:
			t.Error("the other workspace's reader was woken")
		default:
		}
		if round < 2 {
			env.KillConnections(t)
			wait("the connection was made again", quiet)
		}
	}
}

func drain(channels ...<-chan struct{}) {
	for _, c := range channels {
		select {
		case <-c:
		default:
		}
	}
}

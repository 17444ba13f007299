package reconcile

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// A connection whose other end has vanished is silent for many minutes. No run is
// lost, fired or settled by a loop that waits for it.
func TestARoundThatHearsNothingIsGivenUpAndBegunAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{Logger: slog.New(slog.DiscardHandler)})
		ctx, stop := context.WithCancel(t.Context())
		rounds := make(chan time.Time, 10)
		go r.repeat(ctx, loop{name: "deaf", every: time.Second, runOnce: func(ctx context.Context) error {
			rounds <- time.Now()
			<-ctx.Done()
			return ctx.Err()
		}})
		if first, second := <-rounds, <-rounds; second.Sub(first) > 2*time.Minute {
			t.Errorf("begun anew after %v", second.Sub(first))
		}
		stop()
		synctest.Wait()
	})
}

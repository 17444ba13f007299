package gateway

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func always(error) bool { return true }

func TestKnownAsksOnceForManyAtOnce(t *testing.T) {
	t.Parallel()
	k := newKnown[string, int](time.Hour, time.Hour)
	var asked atomic.Int64
	start := make(chan struct{})
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			v, err := k.get(t.Context(), "a", "a", always, func(context.Context) (int, error) {
				asked.Add(1)
				<-start
				return 7, nil
			})
			if v != 7 || err != nil {
				t.Errorf("%d, %v", v, err)
			}
		})
	}
	close(start)
	wg.Wait()
	if asked.Load() != 1 {
		t.Errorf("asked %d times", asked.Load())
	}
}

func TestKnownIsBoundedHoweverManyKeysAreGuessed(t *testing.T) {
	t.Parallel()
	k := newKnown[string, int](time.Hour, time.Hour)
	wrong := errors.New("no such key")
	for i := range 3 * maxKnown {
		key := strconv.Itoa(i)
		if _, err := k.get(t.Context(), key, key, always, func(context.Context) (int, error) { return 0, wrong }); !errors.Is(err, wrong) {
			t.Fatal(err)
		}
	}
	if n := len(k.items); n > maxKnown {
		t.Errorf("%d answers are remembered", n)
	}
}

func TestKnownForgetsAccidentsAndOldAnswers(t *testing.T) {
	t.Parallel()
	k := newKnown[string, int](0, time.Hour)
	var asked int
	ask := func(context.Context) (int, error) { asked++; return asked, nil }
	for range 3 {
		if _, err := k.get(t.Context(), "old", "old", always, ask); err != nil {
			t.Fatal(err)
		}
	}
	if asked != 3 {
		t.Errorf("asked %d times, want each time", asked)
	}
	asked = 0
	broken := func(context.Context) (int, error) { asked++; return 0, errors.New("the database is away") }
	for range 3 {
		if _, err := k.get(t.Context(), "x", "x", func(error) bool { return false }, broken); err == nil {
			t.Fatal("no error")
		}
	}
	if asked != 3 {
		t.Errorf("an accident was remembered: asked %d times", asked)
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	if _, err := k.get(gone, "y", "y", always, func(ctx context.Context) (int, error) { return 1, ctx.Err() }); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

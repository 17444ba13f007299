package stage_test

import (
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/genericcorp/corp/stage"
)

func TestANameMeansWhatTheTestSaysNext(t *testing.T) {
	t.Parallel()
	resolver := stage.Resolver(t, "192.0.2.1", "192.0.2.2")
	for _, want := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.2"} {
		got, err := resolver.LookupNetIP(t.Context(), "ip4", "any.example.com.")
		if err != nil || !slices.Equal(got, []netip.Addr{netip.MustParseAddr(want)}) {
			t.Errorf("it means %v, %v, want %s", got, err, want)
		}
	}
}

func TestTheClockStandsUntilItIsMoved(t *testing.T) {
	t.Parallel()
	at := time.Date(2030, 1, 2, 3, 4, 5, 6000, time.UTC)
	clock := stage.NewClock(at)
	if got := clock.Now(); !got.Equal(at) {
		t.Errorf("it shows %s", got)
	}
	clock.Advance(time.Hour)
	if got := clock.Now(); !got.Equal(at.Add(time.Hour)) {
		t.Errorf("after an hour it shows %s", got)
	}
}

func TestALogIsReadWhileItIsWritten(t *testing.T) {
	t.Parallel()
	var log stage.Log
	var writers sync.WaitGroup
	for range 10 {
		writers.Go(func() {
			_, _ = log.Write([]byte("line\n"))
			_ = log.String()
		})
	}
	writers.Wait()
	if got := len(log.String()); got != 50 {
		t.Errorf("%d bytes", got)
	}
}

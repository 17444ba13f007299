package corp

import (
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// ceilingOf is min(limit, base·2^(n-1)) in numbers that do not overflow.
func ceilingOf(n int, base, limit time.Duration) time.Duration {
	ceiling := new(big.Int).Lsh(big.NewInt(int64(base)), uint(max(n-1, 0)))
	if ceiling.Cmp(big.NewInt(int64(limit))) > 0 {
		return limit
	}
	return time.Duration(ceiling.Int64())
}

func TestRetryDelayReachesItsBoundsAndNeverPassesThemAtAnyAttempt(t *testing.T) {
	t.Parallel()
	largest, smallest := func(n int64) int64 { return n - 1 }, func(int64) int64 { return 0 }
	policies := [][2]time.Duration{
		{RetryBase, RetryCap},
		{time.Second, time.Hour},
		{time.Millisecond, 24 * time.Hour},
		{24 * time.Hour, 24 * time.Hour},
		{3, 1000},
		{1, math.MaxInt64},
		{math.MaxInt64/2 + 1, math.MaxInt64},
		{time.Hour, time.Minute},
		{0, time.Minute},
		{time.Minute, 0},
	}
	for _, p := range policies {
		for n := -1; n <= 1000; n++ {
			want := ceilingOf(n, p[0], p[1])
			if want == math.MaxInt64 {
				want-- // the number above it is none
			}
			if got := RetryDelay(n, p[0], p[1], largest); got != want {
				t.Fatalf("attempt %d of %v waits at most %v, want %v", n, p, got, want)
			}
			if got := RetryDelay(n, p[0], p[1], smallest); got != 0 {
				t.Fatalf("attempt %d of %v waits at least %v: full jitter begins at 0", n, p, got)
			}
		}
	}
}

// The Kolmogorov-Smirnov distance of the delays from an even spread stays below
// its critical value for 1 in 1,000.
func TestRetryDelaysAreSpreadEvenly(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	const samples = 20_000
	for _, n := range []int{1, 3, 7, 8, 9, 1000} {
		delays := make([]float64, samples)
		for i := range delays {
			delays[i] = float64(RetryDelay(n, RetryBase, RetryCap, random.Int64N)) / float64(ceilingOf(n, RetryBase, RetryCap))
		}
		slices.Sort(delays)
		distance := 0.0
		for i, d := range delays {
			distance = max(distance, d-float64(i)/samples, float64(i+1)/samples-d)
		}
		if critical := 1.95 / math.Sqrt(samples); distance > critical {
			t.Errorf("attempt %d: the distance is %.4f, more than %.4f", n, distance, critical)
		}
	}
}

func TestAnEmptyPolicyIsTheDefaultOne(t *testing.T) {
	t.Parallel()
	if got := (RetryPolicy{}).Complete(); got.BaseMS != 2000 || got.CapMS != 300_000 {
		t.Errorf("%+v", got)
	}
	if got := (RetryPolicy{BaseMS: 5}).Complete(); got.BaseMS != 5 || got.CapMS != 300_000 {
		t.Errorf("%+v", got)
	}
}

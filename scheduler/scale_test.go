//go:build engine

package scheduler_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/scheduler"
)

// crowd is so many workspaces with so many runs, of which the first owns half.
// The classes are the plans' own.
func crowd(workspaces, runs int) (*scheduler.Scheduler, []scheduler.Share) {
	s := scheduler.New()
	shares := make([]scheduler.Share, workspaces)
	for i := range shares {
		plan := []struct {
			name   string
			weight int
		}{{"free", 1}, {"starter", 3}, {"pro", 6}, {"enterprise", 12}}[i%4]
		shares[i] = scheduler.Share{Class: plan.name, ClassWeight: plan.weight, Weight: 1 + i/4%3}
		s.SetShare(workspaceID(i), shares[i])
	}
	for n := range runs {
		s.Add(crowded(n, workspaces))
	}
	return s, shares
}

func crowded(n, workspaces int) scheduler.Item {
	if n%2 == 0 {
		return item(n, 0, priority(n%7))
	}
	return item(n, n/2%workspaces)
}

func TestTenThousandWorkspacesWithAMillionRunsShareByWeight(t *testing.T) {
	t.Parallel()
	const workspaces, runs, slots, turns = 10_000, 1_000_000, 500, 60_000
	s, shares := crowd(workspaces, runs)
	now, rng := at(2_000_000), rand.New(rand.NewPCG(1, 2))
	got := map[string]float64{}
	byWeight := map[string][4]float64{}
	var inHand [slots]corp.RunID
	for n := range turns {
		now = now.Add(60 * time.Second / slots)
		s.Finish(inHand[n%slots], now) // each takes a minute
		it, ok := s.Pick(anyone(), now)
		if !ok {
			t.Fatalf("nothing to pick at turn %d", n)
		}
		s.Start(held(it, now))
		inHand[n%slots] = it.Run
		share := shares[int(it.Workspace[14])<<8|int(it.Workspace[15])]
		got[share.Class]++
		w := byWeight[share.Class]
		w[share.Weight]++
		byWeight[share.Class] = w
		if n%100 == 0 {
			s.Add(item(runs+n, rng.IntN(workspaces)))
		}
	}
	classes := []string{"free", "starter", "pro", "enterprise"}
	counts := make([]float64, len(classes))
	for i, c := range classes {
		counts[i] = got[c]
	}
	checkShares(t, counts, func(i int) float64 { return []float64{1, 3, 6, 12}[i] / 22 }, 1)
	// 60,000 turns are 33,000 for enterprise's 2,500 workspaces: enough to tell weights of 1, 2 and 3 apart.
	w := byWeight["enterprise"]
	checkShares(t, w[1:], func(i int) float64 { return float64(i+1) / 6 }, 840)
}

func BenchmarkTurn(b *testing.B) {
	for _, size := range []struct{ workspaces, runs int }{{100, 10_000}, {1000, 100_000}, {10_000, 1_000_000}} {
		b.Run(fmt.Sprintf("workspaces=%d/runs=%d", size.workspaces, size.runs), func(b *testing.B) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			s, _ := crowd(size.workspaces, size.runs)
			runtime.GC()
			runtime.ReadMemStats(&after)
			now, n := at(2_000_000), size.runs
			for b.Loop() {
				it, _ := s.Pick(anyone("linux"), now)
				s.Start(held(it, now))
				now = now.Add(time.Second)
				s.Finish(it.Run, now)
				s.Add(crowded(n, size.workspaces))
				n++
			}
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(size.runs), "bytes/run")
		})
	}
}

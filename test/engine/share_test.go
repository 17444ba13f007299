//go:build engine

package engine

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/genericcorp/corp"
)

// turns waits for the next so many turns, and returns whose they were. It must be
// asked while one slot serves.
func (s *site) turns(n int) (order []corp.WorkspaceID) {
	s.t.Helper()
	return s.turnsFrom(value[time.Time](s.oracle, `SELECT clock_timestamp()`), n)
}

// turnsFrom is turns from a time on.
func (s *site) turnsFrom(began time.Time, n int) (order []corp.WorkspaceID) {
	s.t.Helper()
	until(s.t, 4*patience, fmt.Sprintf("%d turns", n), func() bool {
		return value[int](s.oracle, `SELECT count(*)::int FROM runs WHERE leased_at >= $1`, began) >= n
	})
	type one struct{ ID corp.WorkspaceID }
	for _, v := range ask[one](s.oracle, `SELECT workspace_id FROM runs WHERE leased_at >= $1 ORDER BY leased_at LIMIT $2`, began, n) {
		order = append(order, v.ID)
	}
	return order
}

// Invariants 6 and 7: whoever owns most of the queue gets no more than its share
// of the turns, and nobody waits longer than the bound.
func TestTurnsGoByWeightWhoeverOwnsTheQueue(t *testing.T) {
	t.Parallel()
	s := newSite(t, plan{servers: 2, noAudit: true})
	share := hold(t, 6, "1,000 turns; one of 21 tenants owns 200k of 220k queued", "weight's share within 1 turn + 5 %")
	starve := hold(t, 7, "between two turns of one tenant", "others of its plan <= 1 + sum ceil(wj/wi)")
	weights := map[corp.WorkspaceID]int{}
	for weight := 1; weight <= 4; weight++ {
		for _, id := range s.seedTenants(5, "pro", weight) {
			weights[id] = weight
			s.seedTasks(1000, "ms=1", id)
		}
	}
	owner := s.seedTenants(1, "pro", 1)[0]
	weights[owner] = 1
	s.seedTasks(200_000, "ms=1", owner)
	s.oracle.execWithin(seeding, `ANALYZE`)
	s.readAnew()
	s.crew("one-at-a-time", s.poolKey, 1, newDiary())
	s.turns(420) // until it is known how long everybody's runs take
	order := s.turns(1000)
	s.checkShares(share, weights, order)
	s.checkGaps(starve, weights, order)

	flood := hold(t, 7, "a flood of 600 free workspaces beside one plan", "the plan keeps 6/7 of the turns, within 5 % + 1")
	many := s.seedTenants(600, "free", 1)
	s.seedTasks(3, "ms=1", many...)
	s.readAnew()
	var first *time.Time // of the flood's turns: from then on it has had its due
	until(t, patience, "the flood to arrive", func() bool {
		first = value[*time.Time](s.oracle, `SELECT min(leased_at) FROM runs WHERE workspace_id = ANY($1)`, many)
		return first != nil
	})
	got := 0
	for _, id := range s.turnsFrom(*first, 300) {
		if weights[id] > 0 {
			got++
		}
	}
	want := 300.0 * 6 / 7
	flood.must(math.Abs(float64(got)-want) <= 0.05*want+1, "the plan got %d of 300 turns, want about %.0f", got, want)
	flood.saw("%d of 300 turns, share %.0f", got, want)
}

// checkShares holds the turns that everybody got against the weights.
func (s *site) checkShares(r *row, weights map[corp.WorkspaceID]int, order []corp.WorkspaceID) {
	s.t.Helper()
	sum, got := 0, map[corp.WorkspaceID]int{}
	for _, w := range weights {
		sum += w
	}
	for _, id := range order {
		got[id]++
	}
	worst := 0.0
	for id, w := range weights {
		want := float64(len(order)*w) / float64(sum)
		off := math.Abs(float64(got[id]) - want)
		worst = max(worst, off)
		r.must(off <= 1+0.05*want, "a tenant of weight %d got %d turns of %d, its share is %.1f", w, got[id], len(order), want)
	}
	r.saw("%.1f turns off", worst)
}

// checkGaps holds how many others came between two turns of one tenant.
func (s *site) checkGaps(r *row, weights map[corp.WorkspaceID]int, order []corp.WorkspaceID) {
	s.t.Helper()
	last, worst := map[corp.WorkspaceID]int{}, 0.0
	for i, id := range order {
		if before, ok := last[id]; ok {
			bound := 1
			for other, w := range weights {
				if other != id {
					bound += int(math.Ceil(float64(w) / float64(weights[id])))
				}
			}
			gap := i - before - 1
			worst = max(worst, float64(gap)/float64(bound))
			r.must(gap <= bound, "a tenant of weight %d waited %d turns, at most %d", weights[id], gap, bound)
		}
		last[id] = i
	}
	r.saw("%.0f %% of the bound", 100*worst)
}

// Invariant 6: what is shared is time, not turns: long runs get fewer of them.
func TestLongAndShortRunsShareSlotSeconds(t *testing.T) {
	t.Parallel()
	s := newSite(t, plan{servers: 2, noAudit: true})
	r := hold(t, 6, "slot-seconds of a tenant of 1.2 s runs beside one of 3.6 s", "equal within 5 % + one run each")
	short, long := s.seedTenants(1, "pro", 1)[0], s.seedTenants(1, "pro", 1)[0]
	s.seedTasks(400, "ms=1200", short)
	s.seedTasks(400, "ms=3600", long)
	s.readAnew()
	s.crew("eight", s.poolKey, 8, newDiary())
	window(t, 12*time.Second) // until the averages are known
	const over = 40 * time.Second
	began := value[time.Time](s.oracle, `SELECT clock_timestamp()`)
	window(t, over)
	seconds := func(id corp.WorkspaceID) float64 {
		return value[float64](s.oracle, `
			SELECT sum(extract(epoch FROM least(coalesce(finished_at, clock_timestamp()), $2::timestamptz + $3::bigint * interval '1 millisecond') - greatest(leased_at, $2)))::float8
			FROM runs WHERE workspace_id = $1 AND leased_at IS NOT NULL AND coalesce(finished_at, clock_timestamp()) > $2
				AND leased_at < $2::timestamptz + $3::bigint * interval '1 millisecond'`, id, began, over.Milliseconds())
	}
	a, b := seconds(short), seconds(long)
	half := (a + b) / 2
	r.must(math.Abs(a-half) <= 0.05*half+3.6, "short runs had %.1f slot-seconds, long ones %.1f", a, b)
	r.saw("%.1f and %.1f s", a, b)
}

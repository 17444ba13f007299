//go:build engine

package engine

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/genericcorp/corp"
)

// limited are tenants of the limits 1, 3, 5 and 10.
func (s *site) limited() (all []*tenant, limits []int) {
	for _, plan := range []string{"free", "starter", "growth", "pro"} {
		all = append(all, s.tenant(plan))
	}
	return all, []int{1, 3, 5, 10}
}

// Invariants 3 and 4: at no commit is more leased than may be, whoever believes
// to lead, and every slot comes back.
func TestLimitsHoldAtEveryCommitWithTwoLeadersAndLostNotices(t *testing.T) {
	t.Parallel()
	s := newSite(t, plan{servers: 2})
	tenants, limits := s.limited()
	r := hold(t, 3, "leased <= limit at every commit; stopped leader, delays, deafness", "0 over")
	slots := hold(t, 4, "every workspace reaches exactly its limit afterwards", "limit, not one less or more")
	pace := work("ms=60")
	for i := range 3 {
		s.crew(fmt.Sprintf("crew%d", i), s.poolKey, 10, newDiary())
	}
	stop := s.oracle.watch(200 * time.Millisecond)
	for round, disturb := range []func(){
		func() { s.stopLeader(tenants) },
		func() { s.delayCommits(2 * time.Second) },
		func() { s.deafen(2 * time.Second) },
		func() { s.lowerAndRaise(tenants[3], 4) },
	} {
		var ids []corp.TaskID
		for _, w := range tenants {
			ids = append(ids, w.submitMany(25, pace)...)
		}
		disturb()
		s.awaitFinal(patience, ids...)
		t.Logf("round %d: %d tasks done", round, len(ids))
	}
	r.look(stop())
	s.checkAdmissions(r)
	r.saw("0 over")
	for i, w := range tenants {
		s.reaches(w, limits[i])
		slots.look(1)
	}
	slots.saw("%v reached", limits)
}

// stopLeader stops the leading process for longer than its term lasts, while
// more work comes, and lets it go on beside the next one.
func (s *site) stopLeader(tenants []*tenant) {
	s.t.Helper()
	leader, follower := s.leader()
	leader.signal(syscall.SIGSTOP)
	leader.gate.close(true) // callers would wait for it for long
	until(s.t, patience, "the other server to lead", func() bool {
		return value[bool](s.oracle, `SELECT count(*) > 0 FROM leaders WHERE expires_at > clock_timestamp() AND address LIKE '%' || $1`, follower.listen)
	})
	for _, w := range tenants {
		w.submitMany(5, work("ms=40"))
	}
	leader.gate.close(false)
	leader.signal(syscall.SIGCONT)
	window(s.t, time.Second)
}

// delayCommits holds the traffic of both servers up again and again, each for
// itself, so that what is begun first is not committed first.
func (s *site) delayCommits(within time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	var both sync.WaitGroup
	for i, v := range s.servers {
		both.Go(func() {
			for pauseFor(ctx, time.Duration(20+10*i)*time.Millisecond) {
				v.cable.pinch(true)
				pauseFor(ctx, time.Duration(60+25*i)*time.Millisecond)
				v.cable.pinch(false)
			}
		})
	}
	both.Wait()
}

// deafen has every notice of the database be lost for a while.
func (s *site) deafen(d time.Duration) {
	for _, v := range s.servers {
		v.ear.deaf.Store(true)
	}
	window(s.t, d)
	for _, v := range s.servers {
		v.ear.deaf.Store(false)
		v.ear.drop() // what was listening is made again
	}
}

// lowerAndRaise changes a limit while work is under way: what runs goes on, and
// nothing more than the new one is begun.
func (s *site) lowerAndRaise(w *tenant, limit int) {
	s.t.Helper()
	for _, n := range []int{limit, 1, limit + 2} {
		w.limit(n)
		window(s.t, 2*limitLag)
	}
	w.limit(0)
}

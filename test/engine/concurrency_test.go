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
	"github.com/genericcorp/corp/postgres"
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

// Invariant 3: a leader whose term is over leases nothing, and a new term begins
// only when every claim of the one before has been committed.
func TestAClaimIsFencedByTheTerm(t *testing.T) {
	t.Parallel()
	s := newSite(t, plan{noServers: true})
	r := hold(t, 3, "a claim of a term that is over; a takeover during a claim", "0 leased; takeover after the commit")
	s.seedTasks(4, "ms=1", s.seedTenants(1, "unlimited", 1)...)
	open := func() (postgres.SystemDB, corp.ServerID) {
		db, err := postgres.Open(t.Context(), postgres.Config{AppURL: s.pg.AppURL(), SystemURL: s.pg.SystemURL(), MaxConns: 4})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(db.Close)
		return db.System("suite"), corp.NewID[corp.ServerID]()
	}
	old, oldID := open()
	next, nextID := open()
	term, ok, err := old.TakeLeadership(t.Context(), oldID, "old", 2*time.Second)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	queue := s.queue()
	tx, err := s.oracle.pool.Begin(t.Context()) // the claim will wait for this row, and hold its fence meanwhile
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `SELECT FROM event_heads WHERE workspace_id = $1 FOR UPDATE`, queue[0].Workspace); err != nil {
		t.Fatal(err)
	}
	claimed := make(chan time.Time, 1)
	go func() {
		runs, err := old.ClaimRuns(context.Background(), oldID, term, queue[:1])
		if err != nil || len(runs) != 1 {
			t.Errorf("a claim in time: %v, %v", runs, err)
		}
		claimed <- time.Now()
	}()
	taken := make(chan time.Time, 1)
	var taking sync.WaitGroup
	taking.Go(func() {
		for pauseFor(t.Context(), 20*time.Millisecond) {
			if _, ok, err := next.TakeLeadership(t.Context(), nextID, "new", time.Minute); ok && err == nil {
				taken <- time.Now()
				return
			}
		}
	})
	window(t, 3*time.Second) // the old term is over; its claim is not
	r.must(len(taken) == 0, "a new term began while a claim of the old one was under way")
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	taking.Wait()
	r.must((<-taken).After((<-claimed).Add(-100*time.Millisecond)), "the new term began before the old claim was committed")
	late, err := old.ClaimRuns(t.Context(), oldID, term, queue[1:])
	r.must(err == nil && len(late) == 0, "a claim of a term that is over: %v, %v", late, err)
	r.saw("0 leased")
}

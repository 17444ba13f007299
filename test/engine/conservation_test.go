//go:build engine

package engine

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/genericcorp/corp"
)

// Invariant 1: whatever dies at whatever point of a task's way, every task that
// was accepted ends, once.
func TestNothingIsLostWhereverAServerDies(t *testing.T) {
	t.Parallel()
	s := newSite(t, plan{servers: 2})
	w := s.tenant("unlimited")
	r := hold(t, 1, "each step of a task's way x {before, after} x {kill -9, cut, backends}", "accepted = final, 0 lost, 0 doubled")
	s.crew("one", s.poolKey, 3, newDiary())
	s.crew("two", s.poolKey, 3, newDiary())
	s.revive()
	stop := s.oracle.watch(100 * time.Millisecond)
	faults := map[string]func(v *server) fault{
		"kill before": func(v *server) fault { return fault{before: func() { v.signal(syscall.SIGKILL) }} },
		"kill after":  func(v *server) fault { return fault{after: func() { v.signal(syscall.SIGKILL) }, lose: true} },
		"cut before":  func(*server) fault { return fault{refuse: true} },
		"cut after":   func(*server) fault { return fault{lose: true} },
		"backends":    func(*server) fault { return fault{before: func() { s.killBackends() }} },
	}
	lasting := map[string]int{ // ms; a beat is to come meanwhile
		"/v1/tasks": 150, "/poll": 150, "/ack": 150, "/entries": 150, "/finish": 150, "/cancel": 150, "/beat": int(2 * heartbeat.Milliseconds()),
	}
	accepted := 0
	for path := range lasting {
		for name, make := range faults {
			for _, v := range s.servers {
				f := make(v)
				f.path = path
				v.gate.strike(f)
			}
			ids := w.submitMany(4, work("ms=%d&entries=2", lasting[path]))
			s.quickRetry(ids...)
			w.cancel(ids[3])
			s.awaitFinal(patience, ids...)
			for _, id := range ids[:3] {
				r.must(s.state(id) == corp.TaskSucceeded, "%s at %s: task %s is %s", name, path, id, s.state(id))
			}
			accepted += len(ids)
			s.struck(name + " at " + path)
		}
	}
	r.look(stop())
	s.checkConserved(r, accepted)
	s.checkCompletions(r)
}

// struck ends the faults at all gates, and fails the test when none ever struck:
// then nothing was proved.
func (s *site) struck(what string) {
	s.t.Helper()
	hits := 0
	for _, v := range s.servers {
		hits += v.gate.clear()
	}
	if hits == 0 {
		s.t.Errorf("%s: the fault never struck", what)
	}
}

// Invariants 1, 2 and 4: under random kills of everything, at once.
func TestNothingIsLostUnderRandomKills(t *testing.T) {
	t.Parallel()
	s := newSite(t, plan{servers: 2})
	tenants, limits := s.limited()
	r := hold(t, 1, "random kill -9 of servers, runners, PostgreSQL, backends", "accepted = final, 0 lost, 0 doubled")
	slots := hold(t, 4, "no slot leaked by random kills", "limit, not one less or more")
	s.crew("steady", s.poolKey, 6, newDiary())
	hands := []*hand{s.hand("mortal1", s.poolKey, 4), s.hand("mortal2", s.poolKey, 4)}
	s.revive()
	stop := s.oracle.watch(100 * time.Millisecond)
	var accepted atomic.Int64
	var submitting sync.WaitGroup
	for _, w := range tenants {
		submitting.Go(func() {
			for i := range 60 {
				w.submit(work("ms=%d&entries=1&end=failed&reason=agent_failed&until=%d", 30+i%7*20, i%5/4))
				accepted.Add(1)
			}
		})
	}
	for i, blow := range []func(){
		func() { leader, _ := s.leader(); leader.signal(syscall.SIGKILL) },
		func() { hands[0].kill(); hands[0] = s.hand("mortal3", s.poolKey, 4) },
		func() { s.killBackends() },
		func() { _, follower := s.leader(); follower.signal(syscall.SIGKILL) },
		func() { s.killPostgres() },
		func() { s.servers[0].signal(syscall.SIGKILL); s.servers[1].signal(syscall.SIGKILL) },
		func() { hands[1].signal(syscall.SIGSTOP) },
		func() { s.killBackends(); s.killPostgres() },
		func() { hands[1].signal(syscall.SIGCONT) },
	} {
		window(t, time.Duration(700+150*i)*time.Millisecond)
		blow()
	}
	submitting.Wait()
	until(t, patience, "all tasks to be final", func() bool { return s.oracle.balance().Open == 0 })
	r.look(stop())
	s.checkConserved(r, int(accepted.Load()))
	s.checkCompletions(r)
	s.checkAdmissions(r)
	n, broken := s.oracle.eventsGapless()
	r.must(n > 0 && len(broken) == 0, "events with gaps: %v", broken)
	for i, w := range tenants {
		s.reaches(w, limits[i])
		slots.look(1)
	}
	slots.saw("%v reached", fmt.Sprint(limits))
}

//go:build engine

package engine

import (
	"fmt"
	"testing"
	"time"
)

// offerBound is invariant 5's.
const offerBound = 250 * time.Millisecond

// Invariant 5: a free slot and a task that may run are together at once. It runs
// alone: it is about milliseconds.
func TestAFreeSlotTakesATaskAtOnce(t *testing.T) {
	s := newSite(t, plan{servers: 2, noAudit: true})
	w, one := s.tenant("unlimited"), s.tenant("free")
	d := newDiary()
	s.crew("eager", s.poolKey, 8, d)
	leader, follower := s.leader()
	window(t, time.Second)

	r := hold(t, 5, "submitted -> offered, at leader and follower", fmt.Sprintf("%v + the machine's stall", offerBound))
	for _, at := range []*server{leader, follower} {
		c := w.clients[s.index(at)]
		machine := stall(t)
		for range 30 {
			task, err := c.SubmitTask(t.Context(), work("ms=1"), "")
			answered := time.Now()
			if err != nil {
				t.Fatal(err)
			}
			offer := d.await(t, task.ID, "offer")
			r.took(max(0, offer.At.Sub(answered)), offerBound+machine(), "submitted at "+at.name+" to offered")
			machine = stall(t)
		}
		machine()
	}
	next := hold(t, 5, "slot freed -> next task of a full workspace offered", fmt.Sprintf("%v + the machine's stall", offerBound))
	for range 3 {
		ids := one.submitMany(6, work("ms=30"))
		machine := stall(t)
		for i, id := range ids {
			offer := d.await(t, id, "offer")
			if i > 0 {
				before := d.await(t, ids[i-1], "finished")
				next.took(max(0, offer.At.Sub(before.At)), offerBound+machine(), "finished to next offered")
				machine = stall(t)
			}
		}
		machine()
		s.awaitFinal(patience, ids...)
	}
	s.missNotices(w, d)
}

// missNotices measures the same while no notice arrives: the sweep finds work.
func (s *site) missNotices(w *tenant, d *diary) {
	t := s.t.(*testing.T)
	r := hold(t, 5, "the same with every notice lost", fmt.Sprintf("%v + the machine's stall", sweep+offerBound))
	for _, v := range s.servers {
		v.ear.deaf.Store(true)
	}
	_, follower := s.leader()
	for range 5 {
		machine := stall(t)
		task, err := w.clients[s.index(follower)].SubmitTask(t.Context(), work("ms=1"), "")
		answered := time.Now()
		if err != nil {
			t.Fatal(err)
		}
		offer := d.await(t, task.ID, "offer")
		r.took(max(0, offer.At.Sub(answered)), sweep+offerBound+machine(), "submitted to offered, deaf")
	}
}

func (s *site) index(of *server) int {
	for i, v := range s.servers {
		if v == of {
			return i
		}
	}
	s.t.Fatal("no such server")
	return 0
}

// Invariant 5: a connection for notices that went deaf is noticed and made anew,
// also when the first attempts meet silence.
func TestNoticesComeBackAfterTheirConnectionWentDeaf(t *testing.T) {
	t.Parallel()
	s := newSite(t, plan{servers: 1, noAudit: true})
	const bound = 75 * time.Second // 30 s of silence, a question, and its pauses
	r := hold(t, 5, "notices are back after a deaf connection", bound.String())
	v := s.servers[0]
	v.ear.deaf.Store(true)
	window(t, 37*time.Second) // longer than it takes to ask, so that it is asked in vain
	v.ear.deaf.Store(false)
	began := time.Now()
	until(t, bound, "the server to listen again", func() bool {
		return value[int](s.oracle, `SELECT count(*)::int FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND state = 'idle' AND backend_start > now() - interval '60 seconds' AND usename = 'corp_app'`) > 0
	})
	r.took(time.Since(began), bound, "from hearing again to listening")
}

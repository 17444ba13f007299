//go:build engine

package engine

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// offerBound is invariant 5's.
const offerBound = 250 * time.Millisecond

// latencies are those of one kind, each beside what the machine added.
type latencies struct {
	row   *row
	bound time.Duration
	all   []time.Duration
}

func (l *latencies) add(took, machine time.Duration, what string) {
	l.row.t.Helper()
	took = max(0, took)
	l.all = append(l.all, took)
	l.row.took(took, l.bound+machine, what)
	slices.Sort(l.all)
	l.row.saw("p50 %v, worst %v", l.all[len(l.all)/2].Round(time.Millisecond), l.all[len(l.all)-1].Round(time.Millisecond))
}

// end holds the median against the bound without regard to the machine.
func (l *latencies) end() {
	l.row.t.Helper()
	if median := l.all[len(l.all)/2]; median > l.bound {
		l.row.t.Errorf("the median is %v, at most %v", median, l.bound)
	}
}

// Invariant 5: a free slot and a task that may run are together at once. It runs
// alone: it is about milliseconds.
func TestAFreeSlotTakesATaskAtOnce(t *testing.T) {
	s := newSite(t, plan{servers: 2, noAudit: true})
	w, one := s.tenant("unlimited"), s.tenant("free")
	d := newDiary()
	s.crew("eager", s.poolKey, 8, d)
	leader, follower := s.leader()
	window(t, time.Second)
	m := s.measure()

	l := &latencies{row: hold(t, 5, "submitted -> offered, at leader and follower", offerBound.String()+" + the machine's own"), bound: offerBound}
	for _, at := range []*server{leader, follower} {
		for range 30 {
			m.window()
			answered, offered := s.submitTo(w, at, d)
			l.add(offered.Sub(answered), m.window(), "submitted at "+at.name+" to offered")
		}
	}
	l.end()
	next := &latencies{row: hold(t, 5, "slot freed -> next task of a full workspace offered", offerBound.String()+" + the machine's own"), bound: offerBound}
	for range 3 {
		m.window()
		ids := one.submitMany(6, work("ms=30"))
		for i, id := range ids {
			offer := d.await(t, id, "offer")
			if i > 0 {
				before := d.await(t, ids[i-1], "finished")
				next.add(offer.At.Sub(before.At), m.window(), "finished to next offered")
			}
		}
		s.awaitFinal(patience, ids...)
	}
	next.end()
	deaf := &latencies{row: hold(t, 5, "the same with every notice lost", fmt.Sprintf("%v + the machine's own", sweep+offerBound)), bound: sweep + offerBound}
	for _, v := range s.servers {
		v.ear.deaf.Store(true)
	}
	for range 6 {
		window(t, 400*time.Millisecond) // the end of the last one makes the leader look, too
		m.window()
		answered, offered := s.submitTo(w, follower, d)
		deaf.add(offered.Sub(answered), m.window(), "submitted to offered, deaf")
	}
	deaf.end()
}

// submitTo submits at one server, and returns when it answered and when a runner
// had the task.
func (s *site) submitTo(w *tenant, at *server, d *diary) (answered, offered time.Time) {
	s.t.Helper()
	task, err := w.clients[s.index(at)].SubmitTask(s.t.Context(), work("ms=1"), "")
	answered = time.Now()
	if err != nil {
		s.t.Fatal(err)
	}
	return answered, d.await(s.t, task.ID, "offer").At
}

func (s *site) index(of *server) int {
	i := slices.Index(s.servers, of)
	if i < 0 {
		s.t.Fatal("no such server")
	}
	return i
}

// Invariant 5: a connection for notices that went deaf is noticed and made anew,
// also when the first attempts meet silence.
func TestNoticesComeBackAfterTheirConnectionWentDeaf(t *testing.T) {
	t.Parallel()
	s := newSite(t, plan{servers: 1, noAudit: true})
	const bound = 15 * time.Second // an attempt that is under way, and the longest pause
	r := hold(t, 5, "notices are back after a deaf connection", bound.String())
	v := s.servers[0]
	v.ear.deaf.Store(true)
	window(t, 37*time.Second) // longer than it takes to ask, so that it is asked in vain
	v.ear.deaf.Store(false)
	began := time.Now()
	until(t, bound, "the server to listen again", func() bool {
		return value[int](s.oracle, `SELECT count(*)::int FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND state = 'idle' AND backend_start > $1 AND usename = 'corp_app'`, began) > 0
	})
	r.took(time.Since(began), bound, "from hearing again to listening")
}

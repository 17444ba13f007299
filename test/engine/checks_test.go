//go:build engine || soak

package engine

import (
	"sync"
	"time"
)

// revive starts servers again that a fault killed, until the test ends, as an
// operating system would.
func (s *site) revive() {
	ended := make(chan struct{})
	var keeping sync.WaitGroup
	for _, v := range s.servers {
		keeping.Go(func() {
			for {
				_, gone := v.process()
				select {
				case <-ended:
					return
				case <-gone:
				}
				if !pauseFor(s.t.Context(), 200*time.Millisecond) {
					return
				}
				select {
				case <-ended:
					return
				default:
					v.launch()
				}
			}
		})
	}
	s.t.Cleanup(func() {
		close(ended)
		keeping.Wait()
	})
}

// checkConserved holds that there are exactly the tasks that were accepted, all final.
func (s *site) checkConserved(r *row, accepted int) {
	s.t.Helper()
	b := s.oracle.balance()
	r.must(b.wrong() == "" && b.Tasks == accepted && b.Open == 0, "accepted %d, the database has %+v", accepted, b)
	r.saw("%d accepted, %d final", accepted, b.Final)
}

// checkCompletions holds that every task that ended did so once.
func (s *site) checkCompletions(r *row) {
	s.t.Helper()
	n, broken := s.oracle.completions()
	r.look(n)
	for _, b := range broken {
		s.t.Errorf("a task ended more than once: %s", b)
	}
}

// checkAdmissions holds every claim against the limits.
func (s *site) checkAdmissions(r *row) {
	s.t.Helper()
	n, broken := s.oracle.admissions()
	r.look(n)
	for _, b := range broken[:min(len(broken), 10)] {
		s.t.Errorf("a run was leased that must not be: %s", b)
	}
}

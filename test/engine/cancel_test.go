//go:build engine

package engine

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/genericcorp/corp"
)

// Invariant 12: a queued task that was cancelled never starts, and is final at once.
func TestACancelledQueuedTaskNeverStarts(t *testing.T) {
	t.Parallel()
	s := newSite(t, plan{servers: 2})
	w := s.tenant("unlimited")
	r := hold(t, 12, "queued: cancelled within 1 s, never starts after the answer", "1s, 0 started")
	for round := range 4 {
		ids := w.submitMany(25, work("ms=20"))
		m := slowness(t)
		var taking sync.WaitGroup
		d := newDiary()
		var stop func()
		taking.Go(func() { stop = s.crew(fmt.Sprintf("taker%d", round), s.poolKey, 4, d) })
		answers := map[corp.TaskID]time.Time{}
		for i := len(ids) - 1; i >= 0; i-- { // the takers begin at the other end: somewhere they meet
			asked := time.Now()
			state := w.cancel(ids[i]).State
			r.must(state != corp.TaskQueued, "task %s is queued after it was cancelled", ids[i])
			if state == corp.TaskCancelled {
				answers[ids[i]] = time.Now()
				r.took(time.Since(asked), time.Second+m(), "cancelling a queued task")
			}
		}
		s.awaitFinal(patience, ids...)
		taking.Wait()
		stop()
		for id, answered := range answers {
			for _, tr := range s.oracle.history(id) {
				started := tr.Kind == "run" && (tr.Became == "leased" || tr.Became == "running") && tr.At.After(answered)
				r.must(!started, "task %s was cancelled, and its run became %s %v later", id, tr.Became, tr.At.Sub(answered))
			}
		}
	}
	s.checkAdmissions(r)
	s.checkCompletions(r)
}

// Invariant 12: the runner of a task that was cancelled hears of it with its next
// beat, also when no notice ever arrives.
func TestARunningTasksRunnerHearsOfTheCancelInTime(t *testing.T) {
	t.Parallel()
	s := newSite(t, plan{servers: 2})
	w := s.tenant("unlimited")
	for _, v := range s.servers {
		v.ear.deaf.Store(true)
	}
	bound := heartbeat + time.Second
	r := hold(t, 12, "running: told within a heartbeat + 1 s, all notices lost", bound.String()+" (+ machine)")
	d := newDiary()
	s.crew("busy", s.poolKey, 12, d)
	ids := w.submitMany(12, work("ms=600000"))
	s.awaitRunning(ids...)
	m := slowness(t)
	for _, id := range ids {
		w.cancel(id)
		answered := time.Now()
		stop := d.await(t, id, "stop")
		r.took(stop.At.Sub(answered), bound+m(), "cancelled to told")
	}
	s.awaitFinal(patience, ids...)
	for _, id := range ids {
		r.must(s.state(id) == corp.TaskCancelled, "task %s is %s", id, s.state(id))
	}
}

// Invariant 12: a cancel and a finish that meet have one winner, whom both believe.
func TestACancelAndAFinishThatMeetHaveOneWinner(t *testing.T) {
	t.Parallel()
	s := newSite(t, plan{servers: 2})
	w := s.tenant("unlimited")
	r := hold(t, 12, "cancel and finish at the same moment: one winner", "1 final state, never 2")
	d := newDiary()
	s.crew("racer", s.poolKey, 10, d)
	won := map[corp.TaskState]int{}
	for range 8 {
		const delay = 120 * time.Millisecond
		ids := w.submitMany(8, work("ms=%d", delay.Milliseconds()))
		var all sync.WaitGroup
		for i, id := range ids {
			all.Go(func() {
				acked := d.await(t, id, "acked")
				window(t, time.Until(acked.At.Add(delay+time.Duration(i-4)*4*time.Millisecond)))
				w.cancel(id)
			})
		}
		all.Wait()
		s.awaitFinal(patience, ids...)
		for _, id := range ids {
			finished, _ := d.of(id, "finished")
			state := s.state(id)
			won[state]++
			agree := finished.State == corp.RunSucceeded && state == corp.TaskSucceeded || finished.State == corp.RunCancelled && state == corp.TaskCancelled || finished.State == "" && state == corp.TaskCancelled
			r.must(agree, "task %s is %s, its runner was told %q", id, state, finished.State)
		}
	}
	s.checkCompletions(r)
	r.saw("won by %v", won)
	if len(won) < 2 {
		t.Errorf("the cancel and the finish never met: %v", won)
	}
}

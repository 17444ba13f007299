//go:build engine

package engine

import (
	"crypto/rand"
	"sync"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

// Invariant 14: one key, one task, however many ask at once and wherever.
func TestOneIdempotencyKeyMakesOneTask(t *testing.T) {
	t.Parallel()
	s := newSite(t, plan{servers: 2})
	w := s.tenant("unlimited")
	r := hold(t, 14, "64 concurrent submits of one key at two servers", "1 task a key")
	for range 4 {
		key, ids := rand.Text(), make([]corp.TaskID, 64)
		var all sync.WaitGroup
		for i := range ids {
			all.Go(func() {
				task, err := tryFor(t.Context(), w.clients[i%2:i%2+1], patience, func(c *client.Client) (corp.Task, error) {
					return c.SubmitTask(t.Context(), work("ms=1"), key)
				})
				if err != nil {
					t.Error(err)
				}
				ids[i] = task.ID
			})
		}
		all.Wait()
		for _, id := range ids {
			r.must(id == ids[0] && !id.IsZero(), "the same key made %s and %s", ids[0], id)
		}
		_, err := w.clients[0].SubmitTask(t.Context(), work("ms=2"), key)
		r.must(corp.KindOf(err) == corp.KindConflict, "another task under the same key: %v", err)
	}
	r.must(s.oracle.balance().Tasks == 4, "%d tasks, want 4", s.oracle.balance().Tasks)
	r.saw("1 a key")
}

// Invariant 14: an answer that is lost on its way costs no attempt and doubles
// nothing, whichever it is.
func TestALostAnswerUsesNoAttemptAndDoublesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, plan{servers: 2})
	w := s.tenant("unlimited")
	r := hold(t, 14, "lost answers of submit, poll, ack, entries, beat, finish, cancel", "1 attempt, 1 task, 1 end")
	d := newDiary()
	s.crew("unlucky", s.poolKey, 4, d)
	accepted := 0
	for _, path := range []string{"/v1/tasks", "/poll", "/ack", "/entries", "/beat", "/finish"} {
		for _, lost := range []int{1, 3} {
			for _, v := range s.servers {
				v.gate.strike(fault{path: path, times: lost, lose: true})
			}
			ids := w.submitMany(3, work("ms=700&entries=3"))
			accepted += len(ids)
			s.awaitFinal(patience, ids...)
			s.struck("lost answers of " + path)
			for _, id := range ids {
				task := w.task(id)
				entries := value[int](s.oracle, `SELECT count(*)::int FROM entries WHERE run_id = $1`, task.RunID)
				r.must(task.State == corp.TaskSucceeded && task.Attempts == 1 && entries == 3, "%d lost answers of %s: task %s is %s after %d attempts with %d entries",
					lost, path, id, task.State, task.Attempts, entries)
			}
		}
	}
	b := s.oracle.balance()
	r.must(b.Tasks == accepted, "%d accepted, %d tasks", accepted, b.Tasks)
	s.checkCompletions(r)
	r.saw("1 attempt each")
}

// Invariant 14: an offer that nobody took up goes back without using an attempt.
func TestAnOfferNobodyTakesUpUsesNoAttempt(t *testing.T) {
	t.Parallel()
	s := newSite(t, plan{servers: 2})
	w := s.tenant("unlimited")
	bound := ackWithin + sweep + offerBound
	r := hold(t, 14, "offer not acknowledged: back in the queue, no attempt used", bound.String()+" (+ machine), attempt 1")
	d := newDiary()
	s.crew("shy", s.poolKey, 8, d)
	m := slowness(t)
	ids := w.submitMany(6, work("ms=10&noack=1"))
	s.awaitFinal(patience, ids...)
	for _, id := range ids {
		first, last := d.await(t, id, "offer"), d.await(t, id, "acked")
		r.took(last.At.Sub(first.At), bound+m()+500*time.Millisecond, "offered in vain to offered again")
		task := w.task(id)
		r.must(task.State == corp.TaskSucceeded && task.Attempts == 1 && last.Epoch == 2, "task %s is %s after %d attempts, epoch %d", id, task.State, task.Attempts, last.Epoch)
	}
}

//go:build engine

package engine

import (
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

// Invariant 17: a step is saved once, whoever saves it how often, and the next
// attempt goes on after the last that was.
func TestAStepIsSavedOnceAndTheNextAttemptGoesOnAfterIt(t *testing.T) {
	t.Parallel()
	s := newSite(t, plan{servers: 2})
	w := s.tenant("unlimited")
	r := hold(t, 17, "steps: first write wins, stale refused, next attempt has all", "1 output a key, none lost")
	d := newDiary()
	stop := s.crew("first", s.poolKey, 1, d)
	id := w.submit(work("ms=600000")).ID
	s.quickRetry(id)
	first := d.await(t, id, "acked").Lease
	clients := []*client.Client{client.New(s.servers[0].url(), s.poolKey, client.Options{}), client.New(s.servers[1].url(), s.poolKey, client.Options{})}
	journal, err := clients[0].Steps(t.Context(), first)
	if err != nil || len(journal.Steps) != 0 {
		t.Fatalf("a new task's journal: %+v, %v", journal, err)
	}
	const keys = 40
	var all sync.WaitGroup
	for writer := range 6 { // each has another output for the same keys
		all.Go(func() {
			for n := range keys {
				_ = clients[writer%2].SaveSteps(t.Context(), s.steps(first, n, writer))
			}
		})
	}
	all.Wait()
	saved := s.journal(clients[0], first)
	r.must(len(saved) == keys, "%d of %d steps", len(saved), keys)
	stop() // its runner is gone
	d2 := newDiary()
	s.crew("second", s.poolKey, 1, d2)
	second := d2.await(t, id, "acked").Lease
	err = clients[0].SaveSteps(t.Context(), s.steps(first, keys, 9))
	r.must(corp.KindOf(err) == corp.KindLeaseLost, "a stale step: %v", err)
	after := s.journal(clients[1], second)
	r.must(len(after) == len(saved), "the next attempt has %d of %d steps", len(after), len(saved))
	for key, output := range saved {
		r.must(after[key] == output, "step %s was %s and is %s", key, output, after[key])
	}
	err = clients[1].SaveSteps(t.Context(), s.steps(second, 0, 7))
	r.must(err == nil, "an earlier step again: %v", err)
	r.must(s.journal(clients[0], second)["00000"] == saved["00000"], "a step was overwritten")
	r.saw("%d steps, 1 output each", keys)
	w.cancel(id)
	s.awaitFinal(patience, id)
}

// steps is a batch of one step.
func (s *site) steps(lease corp.Lease, n, writer int) corp.StepBatch {
	return corp.StepBatch{Lease: lease, Journal: 1, Steps: []corp.Step{{Key: fmt.Sprintf("%05d", n), Output: json.RawMessage(strconv.Itoa(writer))}}}
}

func (s *site) journal(c *client.Client, lease corp.Lease) map[string]string {
	s.t.Helper()
	journal, err := c.Steps(s.t.Context(), lease)
	if err != nil || journal.More {
		s.t.Fatalf("the journal: %v, more %v", err, journal.More)
	}
	found := map[string]string{}
	for _, step := range journal.Steps {
		found[step.Key] = string(step.Output)
	}
	return found
}

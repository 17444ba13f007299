//go:build engine

package engine

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

// Invariant 15: used-up attempts make a task dead, with what went wrong in each;
// a redrive gives them all anew and forgets nothing.
func TestDeadTasksKeepTheirErrorsAndAreRedriven(t *testing.T) {
	t.Parallel()
	s := newSite(t, plan{servers: 2})
	w := s.tenant("unlimited")
	r := hold(t, 15, "exhausted => dead, every attempt's error kept; redrive anew, once", "all errors, one redrive")
	s.crew("failing", s.poolKey, 10, newDiary())
	const attempts, each = 3, 10
	spec := work("ms=1&end=failed&reason=agent_failed&until=%d", attempts)
	spec.Retry = &corp.RetryPolicy{BaseMS: 1, CapMS: 1}
	spec.MaxAttempts = attempts
	ids := w.submitMany(each, spec)
	s.awaitFinal(patience, ids...)
	for _, id := range ids {
		r.must(s.state(id) == corp.TaskDead, "task %s is %s", id, s.state(id))
		s.checkErrors(r, w, id, attempts)
	}
	var all sync.WaitGroup
	for _, id := range ids { // eight at once: one of them redrives
		for i := range 8 {
			all.Go(func() { _, _ = w.clients[i%2].RedriveTask(t.Context(), id) })
		}
	}
	all.Wait()
	s.awaitFinal(patience, ids...)
	for _, id := range ids {
		task := w.task(id)
		r.must(task.State == corp.TaskSucceeded && task.Redrives == 1 && task.Attempts == attempts+1, "task %s is %s after %d redrives and %d attempts", id, task.State, task.Redrives, task.Attempts)
		s.checkErrors(r, w, id, attempts)
	}
	r.saw("%d tasks, all errors", each)
}

// checkErrors holds that the first so many runs of a task are there with what
// went wrong.
func (s *site) checkErrors(r *row, w *tenant, id corp.TaskID, attempts int) {
	s.t.Helper()
	runs := persist(w, func(c *client.Client) (corp.List[corp.Run], error) {
		return c.Runs(s.t.Context(), id, corp.Page{Limit: corp.MaxPage})
	})
	errors := 0
	for _, run := range runs.Items {
		if run.State == corp.RunFailed && run.Detail == fmt.Sprintf("Attempt %d went wrong.", run.Attempt) && run.Attempt <= attempts {
			errors++
		}
	}
	r.must(errors == attempts, "task %s has %d of %d errors", id, errors, attempts)
}

// Invariant 16: in any graph no task starts before those that it follows have
// ended, whatever dies; what fails ends or spares its followers as they asked.
func TestNoTaskStartsBeforeWhatItFollowsWhateverDies(t *testing.T) {
	t.Parallel()
	s := newSite(t, plan{servers: 2})
	w := s.tenant("unlimited")
	r := hold(t, 16, "random graphs under kills: parents first, failure policy, no circle", "0 early, 0 wrong ends")
	s.revive()
	for i := range 2 {
		s.crew(fmt.Sprintf("graph%d", i), s.poolKey, 8, newDiary())
	}
	random := seeded(t)
	for round := range 4 {
		const size = 80
		spec := randomGraph(random, size)
		key := rand16()
		batch := persist(w, func(c *client.Client) (corp.Batch, error) { return c.SubmitBatch(t.Context(), spec, key) })
		switch round {
		case 1:
			leader, _ := s.leader()
			leader.signal(syscall.SIGKILL)
		case 2:
			s.killPostgres()
		case 3:
			s.killBackends()
		}
		ids := make([]corp.TaskID, size)
		for i, item := range batch.Tasks {
			ids[i] = item.TaskID
		}
		s.awaitFinal(2*patience, ids...)
		for i, want := range graphEnds(spec) {
			r.must(s.state(ids[i]) == want, "round %d: task %d is %s, want %s", round, i, s.state(ids[i]), want)
		}
	}
	s.checkAdmissions(r)
	s.checkCompletions(r)
	_, err := w.clients[0].SubmitBatch(t.Context(), corp.BatchSpec{Tasks: []corp.BatchTask{
		{Ref: "a", TaskSpec: following(work("ms=1"), "b")}, {Ref: "b", TaskSpec: following(work("ms=1"), "a")},
	}}, "")
	r.must(corp.KindOf(err) == corp.KindInvalid, "a circle: %v", err)
	r.saw("0 early, 0 wrong")
}

// Invariant 13: a batch is there whole or not at all, whenever a server or the
// database dies under it, and however often it is sent.
func TestABatchIsThereWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	s := newSite(t, plan{servers: 2})
	w := s.tenant("unlimited")
	r := hold(t, 13, "batches of 300 under kill -9, killed backends, lost answers", "0 or 300 tasks, never twice")
	s.revive()
	const size = 300
	for i, blow := range []fault{
		{before: func() { go s.afterAMoment(func() { s.killBackends() }) }},
		{before: func() { go s.afterAMoment(func() { s.servers[0].signal(syscall.SIGKILL) }) }},
		{after: func() { s.servers[0].signal(syscall.SIGKILL) }, lose: true},
		{lose: true},
		{before: func() { go s.afterAMoment(s.killPostgres) }},
		{refuse: true},
	} {
		spec := corp.BatchSpec{}
		for n := range size {
			spec.Tasks = append(spec.Tasks, corp.BatchTask{TaskSpec: work("ms=1&round=%d&n=%d", i, n)})
		}
		blow.path = "/v1/batches"
		s.servers[0].gate.strike(blow)
		key := rand16()
		first, err := w.clients[0].SubmitBatch(t.Context(), spec, key)
		count := func() int {
			return value[int](s.oracle, `SELECT count(*)::int FROM tasks WHERE prompt LIKE $1`, fmt.Sprintf("ms=1&round=%d&%%", i))
		}
		n := count()
		r.must(n == size || n == 0 && err != nil, "round %d: %d tasks, %v", i, n, err)
		again := persist(w, func(c *client.Client) (corp.Batch, error) { return c.SubmitBatch(t.Context(), spec, key) })
		r.must(count() == size && (err != nil || first.ID == again.ID), "round %d: %d tasks after it was sent again", i, count())
		s.struck(fmt.Sprint("round ", i))
	}
	bad := corp.BatchSpec{Tasks: []corp.BatchTask{{TaskSpec: work("ms=1&bad")}, {TaskSpec: corp.TaskSpec{Prompt: "ms=1&bad", Agent: "nobody", RepositoryURL: nowhere}}}}
	_, err := w.clients[1].SubmitBatch(t.Context(), bad, "")
	left := value[int](s.oracle, `SELECT count(*)::int FROM tasks WHERE prompt = 'ms=1&bad'`)
	r.must(err != nil && left == 0, "a batch with a bad task left %d: %v", left, err)
	r.saw("0 halves")
}

// afterAMoment does something while what was just begun is under way.
func (s *site) afterAMoment(do func()) {
	pauseFor(s.t.Context(), 15*time.Millisecond)
	do()
}

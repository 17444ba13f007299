//go:build engine

package engine

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/genericcorp/corp"
)

// Invariant 9: the pause before another attempt is drawn evenly from its range,
// and no number of attempts makes it leave that.
func TestThePauseBeforeAnotherAttemptIsEvenAndBounded(t *testing.T) {
	t.Parallel()
	s := newSite(t, plan{servers: 2})
	w := s.tenant("unlimited")
	r := hold(t, 9, "pause after failed run n in [0, min(cap, base 2^(n-1))], even", "in range; Kolmogorov-Smirnov p > 0.001")
	const base, limit, each = 400 * time.Millisecond, 700 * time.Millisecond, 60
	d := newDiary()
	s.crew("failing", s.poolKey, 20, d)
	spec := work("ms=1&end=failed&reason=agent_failed")
	spec.Retry = &corp.RetryPolicy{BaseMS: base.Milliseconds(), CapMS: limit.Milliseconds()}
	ids := w.submitMany(each, spec)
	s.awaitFinal(patience, ids...)
	var parts []float64
	for _, id := range ids {
		for _, tr := range s.oracle.history(id) {
			if tr.Kind != "run" || tr.Was != nil || *tr.Attempt == 1 {
				continue
			}
			ceiling := min(limit, base<<(*tr.Attempt-2))
			pause := time.Duration(0)
			if tr.NotBefore != nil {
				pause = tr.NotBefore.Sub(tr.At)
			}
			r.must(pause >= -quiet && pause <= ceiling, "attempt %d waits %v, at most %v", *tr.Attempt, pause, ceiling)
			parts = append(parts, float64(pause)/float64(ceiling))
		}
	}
	distance := unevenness(parts)
	r.must(len(parts) == 2*each && distance < 1.95/math.Sqrt(float64(len(parts))), "%d pauses, distance %.3f from even", len(parts), distance)
	for n := range 1000 {
		for _, u := range []func(int64) int64{func(int64) int64 { return 0 }, func(n int64) int64 { return n - 1 }} {
			got := corp.RetryDelay(n+1, corp.RetryBase, corp.RetryCap, u)
			r.must(got >= 0 && got <= corp.RetryCap, "the pause after failed run %d is %v", n+1, got)
		}
	}
	r.saw("distance %.3f of %.3f", distance, 1.95/math.Sqrt(float64(len(parts))))
}

// unevenness is the largest distance between a sample and the even distribution
// on [0, 1].
func unevenness(sample []float64) (distance float64) {
	slices.Sort(sample)
	for i, v := range sample {
		v = min(max(v, 0), 1)
		distance = max(distance, math.Abs(float64(i+1)/float64(len(sample))-v), math.Abs(float64(i)/float64(len(sample))-v))
	}
	return distance
}

// Invariant 10: a task that is to start later starts then, and never before.
func TestADelayedTaskStartsInItsSecond(t *testing.T) {
	t.Parallel()
	s := newSite(t, plan{servers: 2})
	s.checkDelays(hold(t, 10, "delayed: start in [t, t + 1 s] with capacity", "1s (+ machine), 0 early"), s.tenant("unlimited"))
}

// checkDelays submits tasks with delays and holds their starts against them.
func (s *site) checkDelays(r *row, w *tenant) {
	s.t.Helper()
	stop := s.crew("punctual", s.poolKey, 20, newDiary())
	var ids []corp.TaskID
	for i := range 16 {
		spec := work("ms=1")
		if i%2 == 0 {
			spec.DelaySeconds = int64(1 + i%3)
		} else {
			at := value[time.Time](s.oracle, `SELECT clock_timestamp() + $1::bigint * interval '1 millisecond'`, int64(1500+100*i))
			spec.NotBefore = &at
		}
		ids = append(ids, w.submit(spec).ID)
	}
	m := slowness(s.t)
	s.awaitFinal(patience, ids...)
	for _, id := range ids {
		due := value[time.Time](s.oracle, `SELECT not_before FROM tasks WHERE id = $1`, id)
		started, ok := s.oracle.firstRun(id, 1, corp.RunLeased)
		if !ok {
			s.t.Fatalf("task %s never started", id)
		}
		r.took(started.At.Sub(due), time.Second+m(), "from its time to its start")
		r.must(!started.At.Before(due), "task %s started %v early", id, due.Sub(started.At))
	}
	s.checkAdmissions(r)
	stop()
}

// Invariant 11: a run's time limit, and a task's deadline, strike in their second.
func TestTimeLimitsAndDeadlinesStrikeInTime(t *testing.T) {
	t.Parallel()
	s := newSite(t, plan{servers: 2})
	w := s.tenant("unlimited")
	bound := time.Second + heartbeat
	r := hold(t, 11, "run's time limit and task's deadline, queued and running", fmt.Sprintf("in [T, T + %v] (+ machine)", bound))
	const limit = 2 * time.Second
	d := newDiary()
	s.crew("slow", s.poolKey, 20, d)
	m := slowness(t)
	long := work("ms=600000")
	long.TimeoutSeconds = int(limit.Seconds())
	long.MaxAttempts = 1
	timed := w.submitMany(6, long)
	late := work("ms=600000")
	late.DeadlineSeconds = int64(limit.Seconds())
	working := w.submitMany(6, late)
	late.Labels = []string{"nobody-has-this"}
	queued := w.submitMany(6, late)
	s.awaitFinal(patience, slices.Concat(timed, working, queued)...)
	for _, id := range timed {
		told, acked := d.await(t, id, "stop"), d.await(t, id, "acked")
		r.took(told.At.Sub(acked.At)-limit, bound+m(), "time limit to told")
		r.must(told.At.Sub(acked.Sent) >= limit, "told %v after it began", told.At.Sub(acked.Sent))
		r.must(told.Detail == string(corp.ReasonTimeout) && w.task(id).Reason == corp.ReasonTimeout, "task %s: told %q, ended %q", id, told.Detail, w.task(id).Reason)
	}
	for _, id := range working {
		told, task := d.await(t, id, "stop"), w.task(id)
		r.took(told.At.Sub(*task.DeadlineAt), bound+m(), "deadline to told")
		r.must(!told.At.Before(*task.DeadlineAt) && task.State == corp.TaskFailed && task.Reason == corp.ReasonDeadline, "task %s is %s (%s)", id, task.State, task.Reason)
	}
	for _, id := range queued {
		task := w.task(id)
		r.took(task.FinishedAt.Sub(*task.DeadlineAt), time.Second+m(), "deadline of a queued task to its end")
		r.must(!task.FinishedAt.Before(*task.DeadlineAt) && task.State == corp.TaskFailed && task.Reason == corp.ReasonDeadline, "task %s is %s (%s)", id, task.State, task.Reason)
	}
}

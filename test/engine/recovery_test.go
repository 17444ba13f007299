//go:build engine

package engine

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"
)

// recoveryBound is invariant 22's: so long after the trouble is over, the work
// goes on as before.
const recoveryBound = 60 * time.Second

// Invariant 22: after a storm, a drought or a restart the throughput is what it
// was, by itself. It runs alone: others would take of the throughput.
func TestThroughputComesBackAfterEveryTrouble(t *testing.T) {
	s := newSite(t, plan{servers: 2, args: []string{"--postgres-connections", "8"}})
	w := s.tenant("unlimited")
	r := hold(t, 22, "back to 95 % after retry storm, exhausted pool, killed backends, restarts", recoveryBound.String())
	for i := range 2 {
		s.crew(fmt.Sprintf("worker%d", i), s.poolKey, 4, newDiary())
	}
	s.revive()
	ctx, stop := context.WithCancel(t.Context())
	var feeding sync.WaitGroup
	feeding.Go(func() { s.feed(ctx, w, 24, "ms=250") })
	window(t, 3*time.Second)
	usual := s.rate(w, 8*time.Second)
	t.Logf("usually %.1f tasks a second", usual)
	for name, trouble := range map[string]func(){
		"backends killed":             func() { s.killBackends() },
		"PostgreSQL killed":           func() { s.killPostgres() },
		"pool exhausted by a lock":    func() { s.lockRuns(5 * time.Second) },
		"idle transactions":           func() { s.idleTransactions(10, 4*time.Second) },
		"database unreachable":        func() { s.unreachable(4 * time.Second) },
		"connections half open":       func() { s.pinchAll(6 * time.Second) },
		"retry storm":                 func() { s.storm() },
		"leader killed":               func() { leader, _ := s.leader(); leader.kill(syscall.SIGKILL) },
		"both servers stopped for 4s": func() { s.stopBoth(4 * time.Second) },
	} {
		trouble()
		began := time.Now()
		for s.rate(w, 4*time.Second) < 0.95*usual {
			if time.Since(began) > recoveryBound+8*time.Second {
				break
			}
		}
		took := max(0, time.Since(began)-4*time.Second) // the window that was good began then
		r.took(took, recoveryBound, name)
		t.Logf("%s: %v", name, took.Round(100*time.Millisecond))
		if took > recoveryBound {
			break // what is down stays down
		}
	}
	stop()
	feeding.Wait()
}

// feed keeps so many tasks open, those that pause before another attempt apart.
func (s *site) feed(ctx context.Context, w *tenant, open int, orders string) {
	for ctx.Err() == nil {
		var waiting int
		err := s.oracle.pool.QueryRow(ctx, `SELECT count(*) FROM runs WHERE workspace_id = $1 AND state IN ('queued', 'leased', 'running') AND (not_before IS NULL OR not_before <= clock_timestamp())`, w.ID).Scan(&waiting)
		for i := waiting; err == nil && i < open && ctx.Err() == nil; i++ {
			_, _ = w.clients[i%2].SubmitTask(ctx, work("%s", orders), "") // what is not accepted is not counted
		}
		pauseFor(ctx, 50*time.Millisecond)
	}
}

// rate is how many tasks a second a workspace completes.
func (s *site) rate(w *tenant, over time.Duration) float64 {
	s.t.Helper()
	count := func() int {
		return value[int](s.oracle, `SELECT count(*)::int FROM tasks WHERE workspace_id = $1 AND state = 'succeeded'`, w.ID)
	}
	before, began := count(), time.Now()
	window(s.t, over)
	return float64(count()-before) / time.Since(began).Seconds()
}

// lockRuns keeps everybody from the runs: every connection of the pools ends up waiting.
func (s *site) lockRuns(d time.Duration) {
	s.t.Helper()
	tx, err := s.oracle.pool.Begin(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := tx.Exec(s.t.Context(), `LOCK TABLE runs IN ACCESS EXCLUSIVE MODE`); err != nil {
		s.t.Fatal(err)
	}
	window(s.t, d)
}

// idleTransactions holds row locks of the newest tasks and does nothing.
func (s *site) idleTransactions(n int, d time.Duration) {
	s.t.Helper()
	tx, err := s.oracle.pool.Begin(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := tx.Exec(s.t.Context(), `SELECT FROM runs WHERE state = 'queued' ORDER BY created_at LIMIT $1 FOR UPDATE`, n); err != nil {
		s.t.Fatal(err)
	}
	window(s.t, d)
}

func (s *site) unreachable(d time.Duration) {
	for _, v := range s.servers {
		v.cable.sever(true)
		v.ear.sever(true)
	}
	window(s.t, d)
	for _, v := range s.servers {
		v.cable.sever(false)
		v.ear.sever(false)
	}
}

func (s *site) pinchAll(d time.Duration) {
	for _, v := range s.servers {
		v.cable.pinch(true)
		v.ear.pinch(true)
	}
	window(s.t, d)
	for _, v := range s.servers {
		v.cable.pinch(false)
		v.ear.pinch(false)
	}
}

// storm is a hundred tasks of another workspace that fail at once and are
// tried again at once.
func (s *site) storm() {
	s.t.Helper()
	w := s.tenant("pro")
	ids := w.submitMany(1, work("ms=1&end=failed&reason=agent_failed"))
	for range 99 {
		ids = append(ids, w.submit(work("ms=1&end=failed&reason=agent_failed")).ID)
	}
	s.quickRetry(ids...)
	s.awaitFinal(2*patience, ids...)
}

func (s *site) stopBoth(d time.Duration) {
	for _, v := range s.servers {
		v.signal(syscall.SIGSTOP)
	}
	window(s.t, d)
	for _, v := range s.servers {
		v.signal(syscall.SIGCONT)
	}
}

// doubtBound is how long after a claim failed whose end its server cannot know
// the same runs are offered.
const doubtBound = 5 * time.Second

// Invariant 22: a claim whose connection broke under way may have been committed.
// The leader finds out by itself, and goes on.
func TestAClaimWhoseEndNobodyKnowsStopsNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, plan{servers: 2})
	w := s.tenant("unlimited")
	r := hold(t, 22, "a claim's connection is killed under way: claims go on", doubtBound.String()+" (+ machine)")
	for round := range 4 {
		s.leader()
		ids := w.submitMany(6, work("ms=1"))
		d := newDiary()
		stop := s.breakClaim(fmt.Sprint("late", round), d)
		m := slowness(t)
		began := time.Now()
		for _, id := range ids {
			r.took(d.await(t, id, "offer").At.Sub(began), doubtBound+m(), "from the broken claim to the offer")
		}
		s.awaitFinal(patience, ids...)
		stop()
	}
}

// breakClaim starts a runner while nobody can get at the runs, and ends the
// connection of the claim that waits for them.
func (s *site) breakClaim(name string, d *diary) (stop func()) {
	s.t.Helper()
	tx, err := s.oracle.pool.Begin(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := tx.Exec(s.t.Context(), `LOCK TABLE runs IN SHARE ROW EXCLUSIVE MODE`); err != nil {
		s.t.Fatal(err)
	}
	stop = s.crew(name, s.poolKey, 6, d)
	until(s.t, patience, "a claim to wait for the runs", func() bool {
		return value[int](s.oracle, `
			SELECT count(*) FILTER (WHERE pg_terminate_backend(pid))::int FROM pg_stat_activity
			WHERE usename = 'corp_system' AND wait_event_type = 'Lock' AND query LIKE '%lease_hash%'`) > 0
	})
	return stop
}

//go:build engine

package engine

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/genericcorp/corp"
)

// quickRetry makes the pause before another attempt next to nothing, so that
// what a test measures is the lease and not the pause.
func (s *site) quickRetry(ids ...corp.TaskID) {
	s.t.Helper()
	s.oracle.exec(`UPDATE tasks SET retry_base_ms = 1, retry_cap_ms = 1 WHERE id = ANY($1)`, ids)
}

// lossBound is how long after a runner's last good word its runs are with
// another one: its time, the margin, and a second.
const lossBound = ttl + margin + time.Second

// Invariant 8: a silent runner's runs go to another in time, and never before
// their time.
func TestLeasesEndInTimeAndNeverEarly(t *testing.T) {
	t.Parallel()
	s := newSite(t, plan{servers: 2})
	w := s.tenant("unlimited")
	late := hold(t, 8, "silent runner's runs are re-offered in time", fmt.Sprintf("last word + %v (+ machine)", lossBound))
	early := hold(t, 8, "never before TTL + margin after an accepted beat", "0 early")
	const each = 4
	silence := map[string]func() (key string, hush func()){
		"killed": func() (string, func()) { h := s.hand("killed", s.poolKey, each); return h.name, h.kill },
		"stopped": func() (string, func()) {
			h := s.hand("stopped", s.poolKey, each)
			return h.name, func() { h.signal(syscall.SIGSTOP) }
		},
	}
	for name, begin := range silence {
		_, hush := begin()
		ids := w.submitMany(each, work("ms=600000"))
		s.awaitRunning(ids...)
		s.quickRetry(ids...)
		window(t, 3*heartbeat)
		d := newDiary()
		stop := s.crew("heir-of-"+name, s.poolKey, each, d)
		machine := slowness(t)
		hush()
		hushed := time.Now()
		for _, id := range ids {
			s.checkLoss(late, early, d, id, hushed, machine)
		}
		stop()
		s.cancelAll(w)
	}
}

// awaitRunning waits until all these tasks' runs are acknowledged.
func (s *site) awaitRunning(ids ...corp.TaskID) {
	s.t.Helper()
	until(s.t, patience, fmt.Sprintf("%d runs to be at work", len(ids)), func() bool {
		return value[int](s.oracle, `SELECT count(*)::int FROM runs WHERE task_id = ANY($1) AND state = 'running'`, ids) == len(ids)
	})
}

// cancelAll ends what is left of a workspace.
func (s *site) cancelAll(w *tenant) {
	s.t.Helper()
	s.oracle.exec(`UPDATE runs SET lease_expires_at = clock_timestamp() - interval '1 hour' WHERE workspace_id = $1 AND state IN ('leased', 'running')`, w.ID)
	type one struct{ ID corp.TaskID }
	var ids []corp.TaskID
	for _, id := range ask[one](s.oracle, `SELECT id FROM tasks WHERE workspace_id = $1 AND state IN ('queued', 'running', 'blocked')`, w.ID) {
		w.cancel(id.ID)
		ids = append(ids, id.ID)
	}
	s.awaitFinal(patience, ids...)
}

// checkLoss waits for the task's second attempt to be offered, and holds when
// that was, and when the first was declared lost, against the lease.
func (s *site) checkLoss(late, early *row, d *diary, id corp.TaskID, hushed time.Time, machine func() time.Duration) {
	s.t.Helper()
	again := d.await(s.t, id, "offer")
	lost, ok := s.oracle.firstRun(id, 1, corp.RunLost)
	if !ok {
		s.t.Fatalf("task %s was offered again, but its first run is not lost", id)
	}
	// A word in the air when the runner fell silent may still be heard.
	heard := s.lastHeard(id)
	late.took(again.At.Sub(heard), lossBound+machine(), "from the last word to the next offer")
	early.must(!lost.At.Before(heard.Add(ttl+margin-5*time.Millisecond)), "task %s was lost %v after its last accepted beat", id, lost.At.Sub(heard))
	early.must(heard.Before(hushed.Add(heartbeat)), "a runner that is gone was heard %v later", heard.Sub(hushed))
}

// lastHeard is when the server last heard of a task's first run: its lease began then.
func (s *site) lastHeard(id corp.TaskID) time.Time {
	s.t.Helper()
	return value[time.Time](s.oracle, `SELECT max(until) - $2::bigint * interval '1 millisecond' FROM audit.leases WHERE task_id = $1 AND attempt = 1`, id, ttl.Milliseconds())
}

// Invariant 8: a partition, and a connection that is half open, are silence too;
// the runner itself gives up before the server takes the runs back.
func TestARunnerThatIsCutOffGivesUpBeforeItsRunsMove(t *testing.T) {
	t.Parallel()
	s := newSite(t, plan{servers: 2})
	w := s.tenant("unlimited")
	r := hold(t, 8, "partitioned runner stops itself before its runs move", "margin x 2 apart (+ machine)")
	const each = 3
	var gates []*gate
	var urls []string
	for _, v := range s.servers {
		g := newGate(t, v.listen)
		gates, urls = append(gates, g), append(urls, g.url)
	}
	own := newDiary()
	cutOff := newSim("cut-off", s.poolKey, each, urls, own.note)
	s.live(cutOff)
	least := patience
	for name, cut := range map[string]func(on bool){
		"partition": func(on bool) { eachGate(gates, func(g *gate) { g.close(on) }) },
		"half-open": func(on bool) { eachGate(gates, func(g *gate) { g.freeze(on) }) },
	} {
		ids := w.submitMany(each, work("ms=600000&case=%s", name))
		s.awaitRunning(ids...)
		s.quickRetry(ids...)
		window(t, 3*heartbeat)
		d := newDiary()
		stop := s.crew("heir-"+name, s.poolKey, each, d)
		machine := slowness(t)
		cut(true)
		for _, id := range ids {
			again, gone := d.await(t, id, "offer"), own.await(t, id, "gave_up")
			gap := again.At.Sub(gone.At)
			r.look(1)
			least = min(least, gap)
			r.saw("%v apart", least.Round(10*time.Millisecond))
			if gap < margin-machine() {
				t.Errorf("%s: the runner gave up %v before its run was offered again, want about %v", name, gap, 2*margin)
			}
		}
		cut(false)
		stop()
		s.cancelAll(w)
	}
}

func eachGate(gates []*gate, do func(*gate)) {
	for _, g := range gates {
		do(g)
	}
}

// Invariant 8: a restart of every server gives runners their time anew.
func TestARestartOfAllServersBlamesNoRunnerForTheSilence(t *testing.T) {
	t.Parallel()
	s := newSite(t, plan{servers: 2})
	w := s.tenant("unlimited")
	r := hold(t, 8, "after all servers were down: one more TTL", fmt.Sprintf("in [TTL, 2 TTL + %v] after the start", margin+time.Second))
	h := s.hand("bereft", s.poolKey, 3)
	ids := w.submitMany(3, work("ms=600000"))
	s.awaitRunning(ids...)
	s.quickRetry(ids...)
	h.kill()
	for _, v := range s.servers {
		v.kill(syscall.SIGKILL)
	}
	window(t, ttl+margin+time.Second) // every lease is over by now
	machine := slowness(t)
	began := time.Now()
	var starting sync.WaitGroup
	for _, v := range s.servers {
		starting.Go(v.launch)
	}
	starting.Wait()
	for _, v := range s.servers {
		v.ready()
	}
	up := time.Now()
	for _, id := range ids {
		until(t, patience, "the run to be lost", func() bool { _, ok := s.oracle.firstRun(id, 1, corp.RunLost); return ok })
		lost, _ := s.oracle.firstRun(id, 1, corp.RunLost)
		r.took(lost.At.Sub(up), 2*ttl+margin+time.Second+machine(), "from ready to lost")
		r.must(lost.At.Sub(began) >= ttl, "lost %v after the start", lost.At.Sub(began))
	}
}

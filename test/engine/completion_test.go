//go:build engine

package engine

import (
	"bytes"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

// zombie is a runner that comes back with a lease that is not its any more.
type zombie struct {
	site *site
	key  string
}

// try does all that a lease allows, and returns what the server let through: a
// stale lease is lease_lost for every one.
func (z zombie) try(lease corp.Lease) (accepted []string) {
	t := z.site.t
	t.Helper()
	for _, v := range z.site.servers {
		c := client.New(v.url(), z.key, client.Options{})
		check := func(what string, err error) {
			kind := corp.KindOf(err)
			if kind != corp.KindLeaseLost && kind != corp.KindNotFound && kind != corp.KindInvalid {
				accepted = append(accepted, fmt.Sprintf("%s at %s: %v", what, v.name, err))
			}
		}
		check("ack", c.Ack(t.Context(), lease))
		_, err := c.ReportEntries(t.Context(), corp.EntryBatch{Lease: lease, Entries: []corp.Entry{{Index: 0, Kind: corp.EntryMessage, Text: "late"}}})
		check("entries", err)
		check("release", c.Release(t.Context(), lease, "late"))
		for _, end := range []corp.RunState{corp.RunSucceeded, corp.RunFailed, corp.RunCancelled} {
			_, err = c.Finish(t.Context(), corp.Finish{Lease: lease, Outcome: corp.Outcome{State: end, Reason: corp.ReasonInternal, Detail: "late"}})
			check("finish "+string(end), err)
		}
		_, err = c.UploadResult(t.Context(), lease, corp.BlobPatch, bytes.NewReader([]byte("late")))
		check("upload", err)
		if body, err := c.Source(t.Context(), lease); err == nil {
			_ = body.Close()
			check("source", nil)
		} else {
			check("source", err)
		}
		for _, runner := range z.runners(c, lease.RunID) {
			answer, err := c.Beat(t.Context(), runner, corp.Beat{Leases: []corp.Lease{lease}})
			if corp.KindOf(err) == corp.KindNotFound {
				continue // not a runner of its own
			}
			if err != nil || len(answer.Verdicts) != 1 || answer.Verdicts[0].Say != corp.VerdictLost {
				accepted = append(accepted, fmt.Sprintf("beat at %s: %+v, %v", v.name, answer, err))
			}
		}
	}
	return accepted
}

// runners are those in whose names it beats: one of its own, and the one that
// has the run, or had it last.
func (z zombie) runners(c *client.Client, run corp.RunID) []corp.RunnerID {
	t := z.site.t
	t.Helper()
	reg, err := c.Register(t.Context(), (&sim{name: "zombie", slots: 1, secret: "zombie-" + z.key[len(z.key)-8:]}).registration())
	if err != nil {
		t.Fatal(err)
	}
	all := []corp.RunnerID{reg.RunnerID}
	type one struct{ ID corp.RunnerID }
	for _, holder := range ask[one](z.site.oracle, `SELECT runner_id FROM runs WHERE id = $1 AND runner_id IS NOT NULL`, run) {
		all = append(all, holder.ID)
	}
	return all
}

// rows is what there is of a task, to see that nothing of it changed. A lease
// that lives is prolonged meanwhile, which is no change.
func (s *site) rows(task corp.TaskID) string {
	s.t.Helper()
	return value[string](s.oracle, `
		SELECT (SELECT (to_jsonb(t))::text FROM tasks t WHERE t.id = $1)
			|| (SELECT string_agg((to_jsonb(r) - 'lease_expires_at')::text, E'\n' ORDER BY r.attempt) FROM runs r WHERE r.task_id = $1)
			|| (SELECT count(*) FROM entries e JOIN runs r ON r.id = e.run_id WHERE r.task_id = $1)`, task)
}

// stale is a lease that is over, and how it came to that.
type stale struct {
	how   string
	task  corp.TaskID
	lease corp.Lease
}

// Invariant 2: whoever lost a run changes nothing of it.
func TestAStaleLeaseIsRefusedEverywhereAndChangesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, plan{servers: 2})
	w := s.tenant("unlimited")
	r := hold(t, 2, "a stale lease is refused for every write, changes nothing", "0 accepted, 0 rows changed")
	z := zombie{s, s.poolKey}
	for _, old := range s.staleLeases(w) {
		before := s.rows(old.task)
		for _, accepted := range old.tryBy(z) {
			// Whoever ended a run may say so again, and is answered; it changes nothing.
			if ended := old.how == "finished" || old.how == "cancelled"; !ended || strings.HasPrefix(accepted, "entries") || strings.HasPrefix(accepted, "upload") {
				t.Errorf("%s: a stale lease was accepted: %s", old.how, accepted)
			}
		}
		r.must(s.rows(old.task) == before, "%s: rows changed:\n%s\n%s", old.how, before, s.rows(old.task))
		if !strings.HasPrefix(old.how, "another") {
			for _, epoch := range []int64{old.lease.Epoch - 1, old.lease.Epoch + 1, 99} { // the right secret under a wrong number
				forged := old.lease
				forged.Epoch = epoch
				accepted := z.try(forged)
				r.must(len(accepted) == 0, "%s, forged epoch %d: %v", old.how, epoch, accepted)
			}
		}
		r.must(s.rows(old.task) == before, "%s: rows changed by a forged epoch", old.how)
	}
	r.saw("0 accepted, 0 changed")
}

// underway is how a lease stands that is good: only under another number is it stale.
const underway = "underway"

// tryBy has the zombie try the lease itself, if it is over.
func (o stale) tryBy(z zombie) []string {
	z.site.t.Helper()
	if o.how == underway {
		return nil
	}
	return z.try(o.lease)
}

// staleLeases brings leases to their ends in every way there is; each task that
// can be is in other hands by then.
func (s *site) staleLeases(w *tenant) (all []stale) {
	s.t.Helper()
	d := newDiary()
	stop := s.crew("first", s.poolKey, 8, d)
	lost, finished, cancelled := w.submit(work("ms=600000")), w.submit(work("ms=1")), w.submit(work("ms=600000"))
	unacknowledged := w.submit(work("ms=600000&noack=1"))
	s.quickRetry(lost.ID)
	released := w.submit(work("ms=600000"))
	s.awaitRunning(lost.ID, cancelled.ID, released.ID)
	first := func(task corp.Task) corp.Lease { return d.await(s.t, task.ID, "offer").Lease }
	for how, task := range map[string]corp.Task{"lost": lost, "not acknowledged": unacknowledged, "finished": finished, "cancelled": cancelled, "released": released} {
		all = append(all, stale{how, task.ID, first(task)})
	}
	s.awaitFinal(patience, finished.ID)
	w.cancel(cancelled.ID)
	s.awaitFinal(patience, cancelled.ID)
	c := client.New(s.servers[0].url(), s.poolKey, client.Options{})
	if err := c.Release(s.t.Context(), first(released), "draining"); err != nil {
		s.t.Fatal(err)
	}
	stop() // now the rest is lost
	heirs := newDiary()
	s.crew("second", s.poolKey, 8, heirs)
	good := w.submit(work("ms=600000"))
	all = append(all, stale{underway, good.ID, heirs.await(s.t, good.ID, "acked").Lease})
	for _, task := range []corp.Task{lost, unacknowledged, released} {
		again := heirs.await(s.t, task.ID, "acked")
		mixed := again.Lease
		mixed.Secret = first(task).Secret
		all = append(all, stale{"another's secret under the new number", task.ID, mixed})
		mixed = again.Lease
		mixed.Secret = corp.NewSecret(corp.KeyPrefixLease)
		all = append(all, stale{"another secret", task.ID, mixed})
	}
	return all
}

// Invariant 2: a process that was stopped, and comes back when its work was done
// by another, ends nothing twice.
func TestAProcessThatSleptCompletesNothingTwice(t *testing.T) {
	t.Parallel()
	s := newSite(t, plan{servers: 2})
	w := s.tenant("unlimited")
	r := hold(t, 2, "one completion per task with runners that slept", "1 completion, late finish refused")
	const each = 6
	sleeper := s.hand("sleeper", s.poolKey, each)
	ids := w.submitMany(each, work("ms=1500&entries=2"))
	s.awaitRunning(ids...)
	s.quickRetry(ids...)
	sleeper.signal(syscall.SIGSTOP)
	s.crew("awake", s.poolKey, each, newDiary())
	s.awaitFinal(patience, ids...)
	before := map[corp.TaskID]string{}
	for _, id := range ids {
		before[id] = s.rows(id)
	}
	sleeper.signal(syscall.SIGCONT)
	for _, id := range ids {
		until(t, patience, "the sleeper to hear that it lost "+id.String(), func() bool {
			d := sleeper.diary()
			for _, what := range []string{"refused", "lost", "gave_up"} {
				if _, ok := d.of(id, what); ok {
					return true
				}
			}
			return false
		})
		_, ended := sleeper.diary().of(id, "finished")
		r.must(!ended, "the sleeper finished task %s, which was another's by then", id)
		r.must(s.rows(id) == before[id], "task %s changed after the sleeper woke", id)
	}
	s.checkCompletions(r)
	r.saw("1 each")
}

// Invariants 2 and 4: giving a run back twice, or with a lease of before, frees
// no slot that is not its own.
func TestAZombiesReleasesFreeNobodysSlot(t *testing.T) {
	t.Parallel()
	s := newSite(t, plan{servers: 2})
	w := s.tenant("free") // one at a time
	r := hold(t, 2, "a zombie's double release frees no slot", "1 run in hand, never 2")
	d := newDiary()
	s.crew("holder", s.poolKey, 4, d)
	ids := w.submitMany(4, work("ms=600000"))
	c := client.New(s.servers[0].url(), s.poolKey, client.Options{})
	for round := range 3 {
		until(t, patience, "one more run to be held", func() bool { return s.held(w) == 1 && len(d.all("acked")) == round+1 })
		current := d.all("acked")
		last := current[len(current)-1].Lease
		if err := c.Release(t.Context(), last, "draining"); err != nil {
			t.Fatal(err)
		}
		until(t, patience, "the next run to be taken", func() bool { return len(d.all("acked")) > round+1 })
		for _, v := range s.servers {
			again := client.New(v.url(), s.poolKey, client.Options{})
			for _, old := range d.all("acked")[:round+1] {
				err := again.Release(t.Context(), old.Lease, "again")
				r.must(corp.KindOf(err) == corp.KindLeaseLost || err == nil, "a second release: %v", err)
			}
		}
		window(t, 2*heartbeat)
		r.must(s.held(w) == 1, "%d runs in hand, the limit is 1", s.held(w))
	}
	s.checkAdmissions(r)
	r.saw("1 in hand")
	for _, id := range ids {
		w.cancel(id)
	}
	s.awaitFinal(patience, ids...)
}

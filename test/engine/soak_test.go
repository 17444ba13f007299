//go:build soak

package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

// Bounds of a soak.
const (
	defaultSoak = 15 * time.Minute
	// growthPerHour is how much a server's memory may grow in an hour by the
	// slope of its samples, beside noise that levels off.
	growthPerHour = 100 << 20 // bytes
	warmUp        = 0.25      // of the time, in which memory may grow as it likes
)

// soak is one run of random load.
type soak struct {
	*site
	t        *testing.T
	random   *rand.Rand
	mu       sync.Mutex // of random
	tenants  []*tenant
	limits   []int // 0: none
	vendor   *vendor
	accepted atomic.Int64
	length   time.Duration
	ends     time.Time
	memory   map[string][]point
}

// point is a server's memory at a time.
type point struct {
	at    time.Duration
	bytes float64
}

func (k *soak) intn(n int) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.random.IntN(n)
}

// Two servers, three runners, random load and random kills: nothing lost, nothing
// doubled at any sample, no slot leaked at the end, memory flat.
func TestSoak(t *testing.T) {
	length, err := time.ParseDuration(os.Getenv("DURATION"))
	if err != nil {
		length = defaultSoak
	}
	s := newSite(t, plan{servers: 2})
	k := &soak{site: s, t: t, random: seeded(t), length: length, ends: time.Now().Add(length), memory: map[string][]point{}}
	k.furnish()
	s.revive()
	conserved := hold(t, 1, fmt.Sprintf("soak of %v: conserved at every sample", length), "0 lost, 0 doubled")
	limits := hold(t, 3, "soak: limits at every commit", "0 over")
	slots := hold(t, 4, "soak: every workspace reaches exactly its limit", "limit")
	money := hold(t, 13, "soak: budgets at every sample; ledger and vendor's books", "vendor <= ledger")
	events := hold(t, 2, "soak: one end a task; events gapless", "0 gaps")
	stop, stopMoney := s.oracle.watch(time.Second), s.watchMoney(money)
	k.run()
	k.drain()
	conserved.look(stop())
	stopMoney()
	s.checkConserved(conserved, int(k.accepted.Load()))
	s.checkAdmissions(limits)
	limits.saw("0 over")
	s.checkCompletions(events)
	n, broken := s.oracle.eventsGapless()
	events.must(n > 0 && len(broken) == 0, "events with gaps: %v", broken)
	events.saw("0 gaps")
	k.checkMoney(money)
	k.checkMemory(hold(t, 20, "soak: memory of the servers", fmt.Sprintf("slope <= %d MiB/h", growthPerHour>>20)))
	for i, w := range k.tenants {
		if k.limits[i] > 0 {
			s.reaches(w, k.limits[i])
			slots.look(1)
		}
	}
	slots.saw("all exact")
}

// furnish makes tenants of several plans and weights, with a vendor, and three
// runners.
func (k *soak) furnish() {
	k.vendor = newVendor(k.t, talker)
	for i, plan := range []string{"free", "starter", "growth", "pro", "unlimited"} {
		w := k.tenant(plan)
		w.with(k.vendor)
		persist(w, func(c *client.Client) (corp.Workspace, error) {
			return c.UpdateWorkspace(k.t.Context(), corp.WorkspaceUpdate{Budget: new(corp.Nanodollars(100_000_000_000))})
		})
		k.oracle.exec(`UPDATE workspaces SET weight = $2 WHERE workspace_id = $1`, w.ID, 1+i%3)
		k.tenants = append(k.tenants, w)
	}
	k.limits = []int{1, 3, 5, 10, 0}
}

// run loads, kills and samples until the time is over.
func (k *soak) run() {
	ctx, cancel := context.WithDeadline(k.t.Context(), k.ends)
	defer cancel()
	var all sync.WaitGroup
	for _, w := range k.tenants {
		all.Go(func() { k.load(ctx, w) })
	}
	all.Go(func() { k.sampleMemory(ctx) })
	all.Go(func() { k.call(ctx) })
	k.havoc(ctx)
	all.Wait()
}

// load submits, cancels and redrives at random.
func (k *soak) load(ctx context.Context, w *tenant) {
	var recent []corp.TaskID
	for pauseFor(ctx, time.Duration(100+k.intn(700))*time.Millisecond) {
		if k.waiting(w) > 150 {
			continue
		}
		switch what := k.intn(20); {
		case what < 12:
			recent = append(recent, k.submitOne(w)...)
		case what < 15:
			recent = append(recent, k.submitGraph(w)...)
		case what < 18 && len(recent) > 0:
			id := recent[k.intn(len(recent))]
			_, _ = tryFor(ctx, w.clients, patience, func(c *client.Client) (corp.Task, error) { return c.CancelTask(ctx, id) })
		default:
			spec := corp.RedriveSpec{State: corp.TaskDead, Limit: 5}
			_, _ = tryFor(ctx, w.clients, patience, func(c *client.Client) (corp.Redriven, error) { return c.RedriveTasks(ctx, spec) })
		}
		recent = recent[max(0, len(recent)-50):]
	}
}

func (k *soak) waiting(w *tenant) (n int) {
	_ = k.oracle.pool.QueryRow(k.t.Context(), `SELECT count(*) FROM tasks WHERE workspace_id = $1 AND state IN ('queued', 'running', 'blocked')`, w.ID).Scan(&n)
	return n
}

// orders is a random task.
func (k *soak) orders() corp.TaskSpec {
	spec := work("ms=%d&entries=%d", 20+k.intn(500), k.intn(4))
	switch k.intn(10) {
	case 0:
		spec.Prompt += fmt.Sprintf("&end=failed&reason=agent_failed&until=%d", 1+k.intn(4))
	case 1:
		spec.Prompt += "&noack=1"
	case 2:
		spec.DelaySeconds = int64(1 + k.intn(3))
	case 3:
		spec.Prompt += "&end=failed&reason=check_failed"
	}
	spec.Priority = k.intn(3)
	spec.Retry = &corp.RetryPolicy{BaseMS: 200, CapMS: 1000}
	return spec
}

func (k *soak) submitOne(w *tenant) []corp.TaskID {
	task := w.submit(k.orders())
	k.accepted.Add(1)
	return []corp.TaskID{task.ID}
}

func (k *soak) submitGraph(w *tenant) (ids []corp.TaskID) {
	k.mu.Lock()
	spec := randomGraph(k.random, 12)
	k.mu.Unlock()
	key := rand16()
	batch := persist(w, func(c *client.Client) (corp.Batch, error) { return c.SubmitBatch(k.t.Context(), spec, key) })
	k.accepted.Add(int64(len(batch.Tasks)))
	for _, item := range batch.Tasks {
		ids = append(ids, item.TaskID)
	}
	return ids
}

// call spends money: a runner of the suite that holds runs and asks models.
func (k *soak) call(ctx context.Context) {
	d := newDiary()
	k.crew("spender", k.poolKey, 4, d)
	for seen := 0; pauseFor(ctx, 300*time.Millisecond); {
		acked := d.all("acked")
		for _, s := range acked[seen:] {
			go k.callModel(k.servers[k.intn(2)], s.Offer.RunKey)
		}
		seen = len(acked)
	}
}

// havoc kills something every few seconds; runners are replaced.
func (k *soak) havoc(ctx context.Context) {
	hands := []*hand{k.hand("mortal1", k.poolKey, 6), k.hand("mortal2", k.poolKey, 6)}
	for n := 3; pauseFor(ctx, time.Duration(4+k.intn(12))*time.Second); n++ {
		v := k.servers[k.intn(2)]
		switch k.intn(8) {
		case 0, 1:
			if time.Until(k.ends) < k.length*7/10 {
				v = k.servers[0] // the other one lives on, so that its memory can be watched
			}
			v.signal(syscall.SIGKILL)
		case 2:
			i := k.intn(2)
			hands[i].kill()
			hands[i] = k.hand(fmt.Sprint("mortal", n), k.poolKey, 6)
		case 3:
			k.killBackends()
		case 4:
			k.killPostgres()
		case 5:
			v.signal(syscall.SIGSTOP)
			pauseFor(ctx, time.Duration(1+k.intn(4))*time.Second)
			v.signal(syscall.SIGCONT)
		case 6:
			v.cable.drop()
			v.ear.drop()
		default:
			v.gate.close(true)
			pauseFor(ctx, 2*time.Second)
			v.gate.close(false)
		}
	}
}

// drain waits until nothing is open any more.
func (k *soak) drain() {
	until(k.t, 5*time.Minute, "everything to be final", func() bool { return k.oracle.balance().Open == 0 })
}

func (k *soak) sampleMemory(ctx context.Context) {
	began := time.Now()
	for pauseFor(ctx, 2*time.Second) {
		for _, v := range k.servers {
			cmd, _ := v.process()
			if bytes := resident(cmd.Process.Pid); bytes > 0 {
				key := fmt.Sprintf("%s pid %d", v.name, cmd.Process.Pid)
				k.memory[key] = append(k.memory[key], point{time.Since(began), bytes})
			}
		}
	}
}

// resident is the memory of a process in bytes, 0 when it is gone.
func resident(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	pages, err := strconv.ParseFloat(fields[1], 64)
	if err != nil {
		return 0
	}
	return pages * float64(os.Getpagesize())
}

// checkMemory fits a line through the samples of the process that lived longest.
func (k *soak) checkMemory(r *row) {
	var best string
	for key, points := range k.memory {
		if len(points) > len(k.memory[best]) {
			best = key
		}
		k.t.Logf("%s: %d samples, %.0f MiB at the end", key, len(points), points[len(points)-1].bytes/(1<<20))
	}
	points := k.memory[best]
	points = points[int(float64(len(points))*warmUp):]
	r.look(len(points))
	perHour := slope(points) * time.Hour.Seconds()
	lived := points[len(points)-1].at - points[0].at
	r.saw("%.0f MiB, %+.0f MiB/h over %v", points[len(points)-1].bytes/(1<<20), perHour/(1<<20), lived.Round(time.Second))
	grown := perHour * lived.Hours()
	if perHour > growthPerHour && grown > 16<<20 {
		k.t.Errorf("%s grows by %.0f MiB an hour (%.0f MiB in %v)", best, perHour/(1<<20), grown/(1<<20), lived)
	}
}

func alive(gone <-chan struct{}) bool {
	select {
	case <-gone:
		return false
	default:
		return true
	}
}

// slope is that of the least squares, in bytes a second.
func slope(points []point) float64 {
	var n, sx, sy, sxx, sxy float64
	for _, p := range points {
		x := p.at.Seconds()
		n, sx, sy, sxx, sxy = n+1, sx+x, sy+p.bytes, sxx+x*x, sxy+x*p.bytes
	}
	return (n*sxy - sx*sy) / (n*sxx - sx*sx)
}

// checkMoney holds ledger, budgets and the vendor's books together, and that no
// server keeps an allowance when it ends.
func (k *soak) checkMoney(r *row) {
	until(k.t, patience, "all calls to be in the ledger", func() bool {
		return value[int](k.oracle, `SELECT count(*)::int FROM calls`) >= len(k.vendor.Books().Calls)-value[int](k.oracle, `SELECT count(*)::int FROM calls WHERE outcome = 'unsettled'`)
	})
	spent := value[int64](k.oracle, `SELECT coalesce(sum(spent_nanodollars), 0)::bigint FROM budgets WHERE task_id IS NULL`)
	ledger := value[int64](k.oracle, `SELECT coalesce(sum(cost_nanodollars), 0)::bigint FROM calls`)
	billed := int64(k.vendor.billed(k.t))
	r.must(spent == ledger && billed <= ledger, "budgets %d, ledger %d, vendor %d", spent, ledger, billed)
	r.saw("ledger %v, vendor %v", corp.Nanodollars(ledger), corp.Nanodollars(billed))
	for _, v := range k.servers { // a server that ends well gives back what it holds
		v.kill(syscall.SIGTERM)
	}
	until(k.t, patience, "the allowances to be closed", func() bool {
		return value[int](k.oracle, `SELECT (SELECT count(*) FROM allowances WHERE closed_at IS NULL)::int + (SELECT count(*) FROM budgets WHERE granted_nanodollars > 0)::int`) == 0
	})
	for _, v := range k.servers {
		until(k.t, patience, v.name+" to be started again", func() bool { _, gone := v.process(); return alive(gone) })
		v.ready()
	}
}

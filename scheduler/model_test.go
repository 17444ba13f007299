package scheduler_test

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/scheduler"
)

// place is an account of the model: what was paid by weight, and given back.
type place struct{ due, refund float64 }

func (p *place) turn(clock *float64, cost float64) {
	start := max(p.due, *clock-min(p.refund, cost))
	*clock, p.due, p.refund = max(*clock, start), start+cost, 0
}

func (p *place) correct(cost float64) { p.due, p.refund = p.due+cost, max(0, p.refund-cost) }

// model is the scheduler in a few obvious lines: a list that is searched.
type model struct {
	waiting []scheduler.Item
	held    map[corp.RunID]scheduler.Held
	paid    map[corp.RunID]time.Duration
	shares  map[corp.WorkspaceID]scheduler.Share
	average map[corp.WorkspaceID]time.Duration // of those of which a run has ended
	guess   map[string]time.Duration           // by class
	learned map[string]float64                 // workspaces, by class
	places  map[corp.WorkspaceID]*place
	classes map[string]*place
	clocks  map[string]*float64 // of the classes, and "" among them
}

func newModel(classes ...string) *model {
	m := &model{
		held: map[corp.RunID]scheduler.Held{}, paid: map[corp.RunID]time.Duration{}, shares: map[corp.WorkspaceID]scheduler.Share{},
		average: map[corp.WorkspaceID]time.Duration{}, places: map[corp.WorkspaceID]*place{}, classes: map[string]*place{}, clocks: map[string]*float64{"": new(float64)}, guess: map[string]time.Duration{}, learned: map[string]float64{},
	}
	for _, c := range classes {
		m.classes[c], m.clocks[c], m.guess[c] = &place{}, new(float64), 30*time.Second
	}
	return m
}

func (m *model) inHand(of func(scheduler.Held) bool) (n int) {
	for _, h := range m.held {
		if of(h) {
			n++
		}
	}
	return n
}

func (m *model) fits(it scheduler.Item, r scheduler.Runner, now time.Time) bool {
	share := m.shares[it.Workspace]
	same := func(h scheduler.Held) bool { return h.Workspace == it.Workspace }
	full := func(limit int, of func(scheduler.Held) bool) bool { return limit > 0 && m.inHand(of) >= limit }
	switch {
	case it.NotBefore.After(now),
		full(share.Concurrency, same),
		full(share.Agents[it.Agent], func(h scheduler.Held) bool { return same(h) && h.Agent == it.Agent }),
		full(share.Repositories[it.Repository], func(h scheduler.Held) bool { return same(h) && h.Repository == it.Repository }),
		!r.Workspace.IsZero() && r.Workspace != it.Workspace,
		!slices.Contains(r.Runtimes, it.Runtime):
		return false
	}
	return !slices.ContainsFunc(it.Labels, func(l string) bool { return !slices.Contains(r.Labels, l) })
}

func (m *model) pick(r scheduler.Runner, now time.Time) (scheduler.Item, bool) {
	fit := slices.DeleteFunc(slices.Clone(m.waiting), func(it scheduler.Item) bool { return !m.fits(it, r, now) })
	if len(fit) == 0 {
		return scheduler.Item{}, false
	}
	return slices.MinFunc(fit, func(a, b scheduler.Item) int {
		x, y := m.shares[a.Workspace], m.shares[b.Workspace]
		return cmp.Or(
			cmp.Compare(m.classes[x.Class].due, m.classes[y.Class].due), cmp.Compare(x.Class, y.Class),
			cmp.Compare(m.places[a.Workspace].due, m.places[b.Workspace].due), slices.Compare(a.Workspace[:], b.Workspace[:]),
			cmp.Compare(b.Priority, a.Priority), a.CreatedAt.Compare(b.CreatedAt), slices.Compare(a.Run[:], b.Run[:]))
	}), true
}

func (m *model) start(it scheduler.Item, now time.Time) {
	share := m.shares[it.Workspace]
	cost := min(max(m.expected(it.Workspace), time.Second), time.Hour)
	m.classes[share.Class].turn(m.clocks[""], cost.Seconds()/float64(share.ClassWeight))
	m.places[it.Workspace].turn(m.clocks[share.Class], cost.Seconds()/float64(share.Weight))
	m.held[it.Run], m.paid[it.Run] = held(it, now), cost
	m.remove(it.Run)
}

func (m *model) expected(ws corp.WorkspaceID) time.Duration {
	if average, ran := m.average[ws]; ran {
		return average
	}
	return m.guess[m.shares[ws].Class]
}

func (m *model) pay(run corp.RunID, cost time.Duration) {
	h := m.held[run]
	share, more := m.shares[h.Workspace], (cost - m.paid[run]).Seconds()
	m.places[h.Workspace].correct(more / float64(share.Weight))
	m.classes[share.Class].correct(more / float64(share.ClassWeight))
	m.paid[run] = cost
}

func (m *model) finish(run corp.RunID, now time.Time) {
	h := m.held[run]
	took := now.Sub(h.Since)
	average, class := m.expected(h.Workspace), m.shares[h.Workspace].Class
	if _, ran := m.average[h.Workspace]; !ran {
		m.learned[class]++
		newest := max(0.05, 1/m.learned[class])
		m.guess[class] = time.Duration(math.Round(math.Pow(float64(m.guess[class]), 1-newest) * math.Pow(float64(min(max(took, time.Second), 30*time.Second)), newest)))
	}
	m.average[h.Workspace] = average + time.Duration(0.3*float64(min(took, time.Hour)-average))
	m.pay(run, max(took, time.Second))
	delete(m.held, run)
}

func (m *model) remove(run corp.RunID) {
	m.waiting = slices.DeleteFunc(m.waiting, func(it scheduler.Item) bool { return it.Run == run })
}

var allLabels = []string{"arm", "gpu", "linux", "big"}

func someLabels(bits uint64) (l []string) {
	for i, label := range allLabels {
		if bits>>i&1 == 1 {
			l = append(l, label)
		}
	}
	return l
}

const (
	players = 6 // workspaces
	pieces  = 60
)

var agents, repositories = []corp.AgentID{{1}, {2}, {3}}, []corp.RepositoryID{{}, {8}, {9}}

// randomShares gives each workspace a share of its own class: half of them pro.
func randomShares(rng *rand.Rand) map[corp.WorkspaceID]scheduler.Share {
	shares := map[corp.WorkspaceID]scheduler.Share{}
	for i := range players {
		share := scheduler.Share{Class: "pro", ClassWeight: 6, Weight: 1 + i, Concurrency: rng.IntN(5), Agents: map[corp.AgentID]int{}, Repositories: map[corp.RepositoryID]int{}}
		if i%2 == 1 {
			share.Class, share.ClassWeight = "free", 1
		}
		share.Agents[agents[rng.IntN(3)]] = rng.IntN(3)
		share.Repositories[repositories[1+rng.IntN(2)]] = rng.IntN(3)
		shares[workspaceID(i)] = share
	}
	return shares
}

// game plays the same random things on the scheduler and on the model.
type game struct {
	*testing.T
	rng *rand.Rand
	s   *scheduler.Scheduler
	m   *model
	now time.Time
}

func play(t *testing.T, rng *rand.Rand, steps int) {
	t.Helper()
	g := &game{t, rng, scheduler.New(), newModel("pro", "free"), at(0)}
	g.m.shares = randomShares(rng)
	for ws := range g.m.shares {
		g.m.places[ws] = &place{}
	}
	g.s.SetShares(g.m.shares)
	for range steps {
		g.step()
		g.compare()
	}
}

func (g *game) step() {
	run := runID(g.rng.IntN(pieces))
	switch g.rng.IntN(11) {
	case 0, 1, 2:
		g.add(run)
	case 3:
		g.s.Remove(run)
		g.m.remove(run)
	case 4, 5:
		g.end(run)
	case 6:
		g.m.shares = randomShares(g.rng)
		g.s.SetShares(g.m.shares)
	case 7:
		g.now = g.now.Add(time.Duration(g.rng.IntN(10)) * time.Second)
	case 8:
		// In the order in which a workspace's runs were leased, one at a time: sums of floats depend on it.
		if len(g.m.held) == 1 {
			g.s.Charge(g.now)
			for run, h := range g.m.held {
				if took := g.now.Sub(h.Since); took > g.m.paid[run] {
					g.m.pay(run, took)
				}
			}
		}
	default:
		g.pick()
	}
}

func (g *game) add(run corp.RunID) {
	it := item(0, int(run[15])%players, priority(g.rng.IntN(3)), labels(someLabels(g.rng.Uint64()&g.rng.Uint64())...))
	it.Run, it.CreatedAt, it.Agent, it.Repository = run, at(g.rng.IntN(20)), agents[g.rng.IntN(3)], repositories[g.rng.IntN(3)]
	if g.rng.IntN(4) == 0 {
		it.NotBefore = g.now.Add(time.Duration(g.rng.IntN(20)) * time.Second)
	}
	if g.s.Add(it) {
		g.m.waiting = append(g.m.waiting, it)
	}
}

func (g *game) end(run corp.RunID) {
	_, inHand := g.m.held[run]
	var done bool
	if g.rng.IntN(3) == 0 {
		done = g.s.GiveBack(run)
		if inHand {
			g.m.pay(run, 0)
			delete(g.m.held, run)
		}
	} else {
		done = g.s.Finish(run, g.now)
		if inHand {
			g.m.finish(run, g.now)
		}
	}
	if done != inHand {
		g.Fatalf("ending %v said %v", run, done)
	}
}

func (g *game) pick() {
	r := anyone(someLabels(g.rng.Uint64())...)
	if g.rng.IntN(4) == 0 {
		r.Workspace = workspaceID(g.rng.IntN(players))
	}
	got, ok := g.s.Pick(r, g.now)
	want, wanted := g.m.pick(r, g.now)
	if ok != wanted || got.Run != want.Run {
		g.Fatalf("picked %v (%v), want %v (%v)", got.Run, ok, want.Run, wanted)
	}
	if ok {
		g.s.Start(held(got, g.now))
		g.m.start(want, g.now)
	}
}

func (g *game) compare() {
	g.Helper()
	if g.s.Waiting() != len(g.m.waiting) {
		g.Fatalf("%d wait, want %d", g.s.Waiting(), len(g.m.waiting))
	}
	for i := range players {
		ws := workspaceID(i)
		if got, want := g.s.InHand(ws), g.m.inHand(func(h scheduler.Held) bool { return h.Workspace == ws }); got != want {
			g.Fatalf("workspace %d has %d in hand, want %d", i, got, want)
		}
	}
}

func TestItAlwaysPicksWhatASearchThroughTheWholeListWouldPick(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			play(t, rand.New(rand.NewPCG(seed, 1)), 600)
		})
	}
}

func FuzzItAlwaysPicksWhatASearchWouldPick(f *testing.F) {
	f.Add(uint64(1), uint64(2))
	f.Fuzz(func(t *testing.T, a, b uint64) { play(t, rand.New(rand.NewPCG(a, b)), 400) })
}

package scheduler_test

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/scheduler"
)

// tenant is a workspace with endless work.
type tenant struct {
	class               string
	classWeight, weight int
	limit               int
	takes               func(n int) time.Duration // its nth run
}

func takes(seconds int) func(int) time.Duration {
	return func(int) time.Duration { return time.Duration(seconds) * time.Second }
}

// plant is a simulated installation: so many slots, and a clock that jumps from
// one end of a run to the next.
type plant struct {
	s       *scheduler.Scheduler
	tenants []tenant
	now     time.Time
	next    int       // number of the next run
	ends    []ending  // of what is in hand, the next one first
	order   []int     // who was dispatched, in order
	runs    []int     // dispatches of each
	served  []float64 // slot-seconds of each
	first   map[int]time.Time
}

type ending struct {
	at     time.Time
	run    corp.RunID
	tenant int
	took   time.Duration
}

func newPlant(tenants ...tenant) *plant {
	p := &plant{s: scheduler.New(), now: at(0), first: map[int]time.Time{}}
	for _, who := range tenants {
		p.join(who)
	}
	return p
}

// join adds a tenant with two runs waiting, which are made up for as they go.
func (p *plant) join(who tenant) {
	i := len(p.tenants)
	p.tenants, p.runs, p.served = append(p.tenants, who), append(p.runs, 0), append(p.served, 0)
	p.s.SetShare(workspaceID(i), scheduler.Share{Class: who.class, ClassWeight: who.classWeight, Weight: who.weight, Concurrency: who.limit})
	p.submit(i)
	p.submit(i)
}

func (p *plant) submit(i int) {
	p.s.Add(item(p.next, i))
	p.next++
}

// dispatch hands out n runs over so many slots.
func (p *plant) dispatch(n, slots int) {
	for range n {
		for len(p.ends) >= slots || !p.one() {
			p.advance()
		}
	}
}

func (p *plant) one() bool {
	it, ok := p.s.Pick(anyone(), p.now)
	if !ok {
		return false
	}
	i := int(it.Workspace[14])<<8 | int(it.Workspace[15])
	p.s.Start(held(it, p.now))
	took := p.tenants[i].takes(p.runs[i])
	end := ending{p.now.Add(took), it.Run, i, took}
	at, _ := slices.BinarySearchFunc(p.ends, end, func(a, b ending) int { return a.at.Compare(b.at) })
	p.ends = slices.Insert(p.ends, at, end)
	p.order, p.runs[i] = append(p.order, i), p.runs[i]+1
	p.submit(i)
	return true
}

func (p *plant) advance() {
	end := p.ends[0]
	p.ends = p.ends[1:]
	for p.now.Add(time.Second).Before(end.at) {
		p.now = p.now.Add(time.Second)
		p.s.Charge(p.now)
	}
	p.now = end.at
	p.s.Finish(end.run, p.now)
	p.served[end.tenant] += end.took.Seconds()
}

// checkShares compares what each got with its part of the whole: within 5 % and
// slack, which is what one run of each costs.
func checkShares(t *testing.T, got []float64, part func(i int) float64, slack float64) {
	t.Helper()
	all := 0.0
	for _, n := range got {
		all += n
	}
	for i, n := range got {
		want := part(i) * all
		if math.Abs(n-want) > 0.05*want+slack {
			t.Errorf("tenant %d got %.0f of %.0f, want %.0f", i, n, all, want)
		}
	}
}

func floats(n []int) (f []float64) {
	for _, x := range n {
		f = append(f, float64(x))
	}
	return f
}

func TestWorkspacesOfAClassShareByTheirWeights(t *testing.T) {
	t.Parallel()
	for _, slots := range []int{1, 7, 100} {
		t.Run(fmt.Sprint(slots), func(t *testing.T) {
			t.Parallel()
			p := newPlant(tenant{"pro", 6, 1, 0, takes(60)}, tenant{"pro", 6, 2, 0, takes(60)}, tenant{"pro", 6, 3, 0, takes(60)}, tenant{"pro", 6, 4, 0, takes(60)})
			p.dispatch(1000, slots)
			checkShares(t, floats(p.runs), func(i int) float64 { return float64(i+1) / 10 }, 1)
		})
	}
}

func TestClassesShareByTheirWeightsHoweverManyTheyAre(t *testing.T) {
	t.Parallel()
	p := newPlant()
	for i := range 60 {
		who := tenant{"free", 1, 1, 0, takes(60)}
		if i < 5 {
			who = tenant{"pro", 6, 1, 0, takes(60)}
		} else if i < 15 {
			who = tenant{"starter", 3, 1, 0, takes(60)}
		}
		p.join(who)
	}
	p.dispatch(3000, 40)
	classes := make([]float64, 3)
	for i, n := range p.runs {
		classes[map[string]int{"pro": 0, "starter": 1, "free": 2}[p.tenants[i].class]] += float64(n)
	}
	checkShares(t, classes, func(i int) float64 { return []float64{0.6, 0.3, 0.1}[i] }, 1)
}

func TestLongRunsAndShortOnesGetTheSameSlotSeconds(t *testing.T) {
	t.Parallel()
	mixed := func(n int) time.Duration { // nine short, one long
		if n%10 == 9 {
			return 200 * time.Second
		}
		return 5 * time.Second
	}
	p := newPlant(tenant{"pro", 1, 1, 0, takes(300)}, tenant{"pro", 1, 1, 0, takes(3)}, tenant{"pro", 1, 1, 0, mixed}, tenant{"pro", 1, 2, 0, takes(40)})
	p.dispatch(8000, 30)
	checkShares(t, p.served, func(i int) float64 { return []float64{0.2, 0.2, 0.2, 0.4}[i] }, 30*300)
}

func TestNobodyWaitsLongerThanTheOthersWeightsAllow(t *testing.T) {
	t.Parallel()
	weights := []int{1, 1, 2, 5, 3, 1, 9}
	p := newPlant()
	for _, w := range weights {
		p.join(tenant{"pro", 1, w, 0, takes(30)})
	}
	p.dispatch(3000, 4)
	for i, mine := range weights {
		bound, last := 1, -1
		for j, w := range weights {
			if j != i {
				bound += (w + mine - 1) / mine
			}
		}
		for n, who := range p.order {
			if who != i {
				continue
			}
			if gap := n - last - 1; gap > bound {
				t.Errorf("tenant %d of weight %d waited for %d others, at most %d are allowed", i, mine, gap, bound)
			}
			last = n
		}
	}
}

func TestAFloodOfNewWorkspacesStarvesNobody(t *testing.T) {
	t.Parallel()
	const flood = 2000
	p := newPlant(tenant{"pro", 1, 1, 0, takes(30)}, tenant{"free", 1, 1, 0, takes(30)})
	p.dispatch(500, 10)
	for range flood {
		p.join(tenant{"free", 1, 1, 0, takes(30)})
	}
	before := slices.Clone(p.runs)
	p.dispatch(1000, 10)
	if got := p.runs[0] - before[0]; got < 480 {
		t.Errorf("the flood of another class left pro %d of 1000 turns, half were its own", got)
	}
	p.dispatch(2*flood+10, 10)
	if got := p.runs[1] - before[1]; got < 1 {
		t.Errorf("the old workspace of the flooded class got nothing in %d turns", 2*flood)
	}
	for i := 2; i < len(p.runs); i++ {
		if p.runs[i] == 0 {
			t.Fatalf("newcomer %d got nothing", i)
		}
	}
}

func TestIdleTimeIsNotSavedUp(t *testing.T) {
	t.Parallel()
	p := newPlant(tenant{"pro", 1, 1, 0, takes(10)}, tenant{"pro", 1, 1, 0, takes(10)})
	p.dispatch(2000, 1)
	p.join(tenant{"pro", 1, 1, 0, takes(10)}) // as good as one that slept all the time
	mark := len(p.order)
	p.dispatch(30, 1)
	run := 0
	for _, who := range p.order[mark:] {
		if run++; who != 2 {
			run = 0
		}
		// Its first run is thought to take longer than it does, which it gets back.
		if run > 2 {
			t.Fatalf("who had slept got %d turns in a row: %v", run, p.order[mark:])
		}
	}
}

func TestARunThatOutlastsWhatWasPaidPaysOn(t *testing.T) {
	t.Parallel()
	p := newPlant(tenant{"pro", 1, 1, 0, takes(36_000)}, tenant{"pro", 1, 1, 0, takes(25)})
	p.dispatch(1000, 20)
	// It gets some more than its half before its runs turn out to be long; without
	// paying on it would get all.
	if p.runs[0] > 15 {
		t.Errorf("%d runs of ten hours were started while half of 20 slots are ten", p.runs[0])
	}
}

func TestAWorkspaceAtItsLimitLeavesItsPartToTheOthers(t *testing.T) {
	t.Parallel()
	p := newPlant(tenant{"pro", 1, 1, 1, takes(30)}, tenant{"pro", 1, 1, 0, takes(30)}, tenant{"pro", 1, 1, 0, takes(30)})
	p.dispatch(1000, 9)
	checkShares(t, p.served, func(i int) float64 { return []float64{1.0 / 9, 4.0 / 9, 4.0 / 9}[i] }, 9*30)
}

func TestGivingBackTwiceRefundsOnce(t *testing.T) {
	t.Parallel()
	s := scheduler.New()
	s.SetShares(unlimited(2))
	for n := range 6 {
		s.Add(item(n, n%2))
	}
	it, _ := s.Pick(anyone(), at(1))
	s.Start(held(it, at(1)))
	if !s.GiveBack(it.Run) || s.GiveBack(it.Run) {
		t.Error("the first GiveBack must say true and the second false")
	}
	s.Add(it)
	// As if nothing had been: they take turns.
	if got, want := drain(s, anyone(), at(1)), []int{0, 1, 2, 3, 4, 5}; !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
}

func TestAWeightThatChangesHoldsFromThenOn(t *testing.T) {
	t.Parallel()
	p := newPlant(tenant{"pro", 1, 1, 0, takes(30)}, tenant{"pro", 1, 1, 0, takes(30)})
	p.dispatch(500, 5)
	p.s.SetShare(workspaceID(0), scheduler.Share{Class: "pro", ClassWeight: 1, Weight: 4})
	before := slices.Clone(p.runs)
	p.dispatch(1000, 5)
	checkShares(t, []float64{float64(p.runs[0] - before[0]), float64(p.runs[1] - before[1])}, func(i int) float64 { return []float64{0.8, 0.2}[i] }, 2)
}

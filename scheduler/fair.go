package scheduler

import (
	"cmp"
	"math"
	"time"

	"github.com/genericcorp/corp"
)

const (
	// firstGuess is how long the first run of a workspace is thought to take before any
	// in its plan has ended, and at most: a guess that is too low is paid second by
	// second, but one that is too high keeps the whole plan from its share until the
	// run has ended, for what another workspace did.
	firstGuess = 30 * time.Second
	// leastCost is what a run costs at least, and mostGuess what it is thought
	// to cost at most, before it has.
	leastCost = time.Second
	mostGuess = time.Hour
	// novelty is the weight of the newest run in a workspace's average, planNovelty
	// that of the newest workspace in its plan's, at least: the n-th counts 1/n at first,
	// or a plan with few slots would pay for long for a guess that is far off.
	novelty, planNovelty = 0.3, 0.05
)

// account is a place in an order of weighted shares.
type account struct {
	due    float64 // virtual time: slot-seconds paid, by weight
	refund float64 // of that, what was given back since the last turn
}

// tie is how far two accounts may be apart and count as equal, in seconds: sums of
// the same shares in another order differ by less. Without it whoever is equal
// would be in another order each time round, and could be passed over once more.
const tie = 1e-9

// compare is the order of two accounts: who has had less by weight is first.
func (a account) compare(b account) int {
	if math.Abs(a.due-b.due) < tie {
		return 0
	}
	return cmp.Compare(a.due, b.due)
}

// turn takes a turn that is thought to cost so many slot-seconds by weight, at
// the order's clock. Nobody starts from before the clock, so that idle time is
// not saved up; but what was paid for nothing is not lost.
func (a *account) turn(clock *float64, cost float64) {
	start := max(a.due, *clock-min(a.refund, cost))
	*clock = max(*clock, start)
	a.due, a.refund = start+cost, 0
}

// correct books what a turn cost more, or less, than was thought.
func (a *account) correct(cost float64) {
	a.due += cost
	a.refund = max(0, a.refund-cost)
}

// holding is a run in hand and what was paid for it.
type holding struct {
	Held
	of   *workspace
	paid time.Duration
}

// Start says that a run is in hand: it takes up a slot of its workspace, agent
// and repository, waits no more, and its workspace pays what a run of it takes
// on average. Starting it again changes nothing.
func (s *Scheduler) Start(h Held) {
	if s.held[h.Run] != nil {
		return
	}
	ws := s.workspace(h.Workspace) // before Remove, which forgets a workspace that has nothing left
	cost := ws.guess()
	ws.class.turn(&s.clock, cost.Seconds()/ws.class.weight)
	ws.turn(&ws.class.clock, cost.Seconds()/ws.weight)
	s.hold(ws, h, cost)
	s.Remove(h.Run)
}

// guess is what a run of the workspace will cost: as much as those before it, and
// before its first has ended as much as the first ones of others of its plan. A guess that is far
// off would favour the plans of which little is in hand: what they get back is
// less often more than a turn, which is all that counts against the clock.
func (ws *workspace) guess() time.Duration {
	average := ws.class.average
	if ws.ran {
		average = ws.average
	}
	return min(max(average, leastCost), mostGuess)
}

// learn takes what a run has cost into the workspace's average and, if it was its
// first, into that of its plan: one workspace counts no more there than another.
func (ws *workspace) learn(took time.Duration) {
	if !ws.ran {
		ws.ran, ws.average = true, ws.class.average
		ws.class.learn(took)
	}
	ws.average += time.Duration(novelty * float64(min(took, mostGuess)-ws.average))
}

func (c *class) learn(took time.Duration) {
	c.learned++
	c.average = blend(c.average, min(max(took, leastCost), firstGuess), max(planNovelty, 1/float64(c.learned)))
}

// blend is the geometric mean of two times of which the second has that weight: one
// that is far longer than the others does not outweigh many.
func blend(a, b time.Duration, weight float64) time.Duration {
	return time.Duration(math.Round(math.Pow(float64(a), 1-weight) * math.Pow(float64(b), weight)))
}

// hold puts a run among those in hand.
func (s *Scheduler) hold(ws *workspace, h Held, paid time.Duration) {
	taken := &holding{Held: h, of: ws, paid: paid}
	s.held[h.Run], ws.held[h.Run] = taken, taken
	for _, g := range ws.gatesOf(taken) {
		open := !g.closed()
		g.held[h.Run] = struct{}{}
		g.flipped(open)
	}
	ws.settle()
}

// gatesOf returns the gates that a run in hand has passed.
func (ws *workspace) gatesOf(h *holding) (passed []*gate) {
	if g := ws.agents[h.Agent]; g != nil {
		passed = append(passed, g)
	}
	if g := ws.repositories[h.Repository]; g != nil {
		passed = append(passed, g)
	}
	return passed
}

// flipped settles the gate's lanes if it has opened or closed.
func (g *gate) flipped(wasOpen bool) {
	if wasOpen == !g.closed() {
		return
	}
	for ln := range g.lanes {
		ln.settle()
	}
}

// Finish gives a run's slot back, settles what it really took, and says whether
// it was in hand.
func (s *Scheduler) Finish(run corp.RunID, now time.Time) bool {
	h := s.held[run]
	if h == nil {
		return false
	}
	took := h.paid // when nobody knows since when
	if !h.Since.IsZero() {
		took = max(now.Sub(h.Since), 0)
	}
	h.of.learn(took)
	s.release(h, max(took, leastCost))
	return true
}

// GiveBack takes back a run that was started in vain, as if it had not been,
// and says whether it was in hand.
func (s *Scheduler) GiveBack(run corp.RunID) bool {
	h := s.held[run]
	if h == nil {
		return false
	}
	s.release(h, 0)
	return true
}

func (s *Scheduler) release(h *holding, cost time.Duration) {
	ws := h.of
	h.pay(cost)
	delete(s.held, h.Run)
	delete(ws.held, h.Run)
	for _, g := range ws.gatesOf(h) {
		open := !g.closed()
		delete(g.held, h.Run)
		g.flipped(open)
	}
	ws.settle()
	s.forget(ws)
}

// pay books that a run costs so much instead of what was paid for it so far.
func (h *holding) pay(cost time.Duration) {
	more := (cost - h.paid).Seconds()
	h.paid = cost
	h.of.correct(more / h.of.weight)
	h.of.class.correct(more / h.of.class.weight)
}

// Charge has runs that outlast what was paid for them pay on. It is called now
// and then, once a second or so.
func (s *Scheduler) Charge(now time.Time) {
	late := map[*workspace]struct{}{}
	for _, h := range s.held {
		if took := now.Sub(h.Since); took > h.paid && !h.Since.IsZero() {
			h.pay(took)
			late[h.of] = struct{}{}
		}
	}
	for ws := range late {
		ws.settle()
	}
}

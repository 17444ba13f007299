// Package scheduler decides in memory which queued run goes to a runner next.
// It is pure and deterministic: no clock, no database, no goroutine; the caller
// says what happened and what time it is.
//
// The order is two-level start-time fair queueing in slot-seconds: the classes
// (plans) share by weight, the workspaces of a class by theirs, and within a
// workspace the highest priority goes first, then the oldest. Priority never
// takes a turn from another workspace. A workspace, agent or repository at its
// limit is passed over without holding up anybody else; a run goes only to a
// runner that has its labels and its runtime. The formulas are in
// docs/scheduling.md.
//
// What is in hand is a set of run ids, never a counter: starting or finishing a
// run twice changes nothing.
package scheduler

import (
	"slices"
	"time"

	"github.com/genericcorp/corp"
)

// Item is a run that waits.
type Item struct {
	Workspace  corp.WorkspaceID
	Run        corp.RunID
	Epoch      int64 // of its last lease; carried for the caller
	Agent      corp.AgentID
	Repository corp.RepositoryID // zero when the source is no repository of the workspace
	Priority   int               // higher goes first within the workspace
	Labels     []string
	Runtime    string
	NotBefore  time.Time // zero means now
	CreatedAt  time.Time // older goes first within a priority
}

// Held is a run that takes up a slot.
type Held struct {
	Workspace  corp.WorkspaceID
	Run        corp.RunID
	Agent      corp.AgentID
	Repository corp.RepositoryID
	Since      time.Time // when it was leased
}

// Runner is who asks for a run.
type Runner struct {
	Workspace corp.WorkspaceID // zero means it serves every workspace
	Labels    []string         // a run goes to it when all the run's labels are among these
	Runtimes  []string
	Slots     int // how many runs it can hold; for Explain
	Free      int // and how many more it can take now
}

// Scheduler holds what waits and what is in hand. It is not safe for concurrent
// use: one goroutine owns it.
type Scheduler struct {
	waiting    map[corp.RunID]*entry
	held       map[corp.RunID]*holding
	workspaces map[corp.WorkspaceID]*workspace
	classes    []*class          // by name
	shapes     map[string]*shape // the roots of the label trees, by runtime
	later      heap[*entry]      // those not due yet, the next one first
	clock      float64           // virtual time among the classes
}

// New makes an empty scheduler. A workspace whose share is not known gets
// nothing: see SetShares.
func New() *Scheduler {
	return &Scheduler{
		waiting:    map[corp.RunID]*entry{},
		held:       map[corp.RunID]*holding{},
		workspaces: map[corp.WorkspaceID]*workspace{},
		shapes:     map[string]*shape{},
		later:      heap[*entry]{less: sooner, put: place},
	}
}

// Add puts a run in the queue. It says whether the run is new: one that waits
// or is in hand already stays as it is.
func (s *Scheduler) Add(it Item) bool {
	if s.waiting[it.Run] != nil || s.held[it.Run] != nil {
		return false
	}
	it.Labels = slices.Compact(slices.Sorted(slices.Values(it.Labels)))
	ws := s.workspace(it.Workspace)
	e := newEntry(it, s.lane(ws, it))
	s.waiting[it.Run] = e
	ws.waiting++
	if it.NotBefore.IsZero() {
		s.makeDue(e)
	} else {
		e.lane.undue[e] = struct{}{}
		s.later.push(e)
	}
	return true
}

// Remove takes a run out of the queue and says whether it was there. It does
// not touch one in hand.
func (s *Scheduler) Remove(run corp.RunID) bool {
	e := s.waiting[run]
	if e == nil {
		return false
	}
	delete(s.waiting, run)
	ln, ws := e.lane, e.lane.stand.of
	if e.due {
		ln.due.remove(int(e.place))
		ln.settle()
	} else {
		s.later.remove(int(e.place))
		delete(ln.undue, e)
	}
	ws.waiting--
	if ln.due.len() == 0 && len(ln.undue) == 0 {
		s.drop(ln)
	}
	s.forget(ws)
	return true
}

// Pick returns the run that the runner should get now, and whether there is
// one. It changes nothing that counts: the caller says Start when it hands the
// run out.
func (s *Scheduler) Pick(r Runner, now time.Time) (Item, bool) {
	s.promote(now)
	fits := s.fitting(r)
	ws := s.turn(r.Workspace, fits)
	if ws == nil {
		return Item{}, false
	}
	var best *entry
	for _, sh := range fits {
		st := ws.stands[sh]
		if st == nil || st.ready.len() == 0 {
			continue
		}
		if e := st.ready.top().due.top(); best == nil || before(e, best) {
			best = e
		}
	}
	if best == nil {
		return Item{}, false
	}
	return best.item(), true
}

// turn returns the workspace whose turn it is among those shapes: the runner's
// own, or the first of the class that comes first.
func (s *Scheduler) turn(only corp.WorkspaceID, fits []*shape) *workspace {
	if !only.IsZero() {
		if ws := s.workspaces[only]; ws != nil && !ws.full() {
			return ws
		}
		return nil
	}
	var first *workspace
	for _, sh := range fits {
		for c, queue := range sh.queues {
			if queue.len() == 0 {
				continue
			}
			if ws := queue.top().of; first == nil || c != first.class && c.before(first.class) || c == first.class && ws.before(first) {
				first = ws
			}
		}
	}
	return first
}

// NextDue returns when the next run that waits for its time becomes due, and
// whether there is one.
func (s *Scheduler) NextDue() (time.Time, bool) {
	if s.later.len() == 0 {
		return time.Time{}, false
	}
	return s.later.top().item().NotBefore, true
}

// Waiting returns how many runs are in the queue, due or not.
func (s *Scheduler) Waiting() int { return len(s.waiting) }

// WaitingIn returns how many runs of a workspace are in the queue, due or not.
func (s *Scheduler) WaitingIn(id corp.WorkspaceID) int {
	if ws := s.workspaces[id]; ws != nil {
		return ws.waiting
	}
	return 0
}

// InHand returns how many runs of a workspace take up a slot.
func (s *Scheduler) InHand(id corp.WorkspaceID) int {
	if ws := s.workspaces[id]; ws != nil {
		return len(ws.held)
	}
	return 0
}

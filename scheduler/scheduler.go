// Package scheduler decides in memory which queued run goes to a runner next.
// It is pure and deterministic: no clock, no database, no goroutine; the caller
// says what happened and what time it is.
//
// The order is the simple one: the turn belongs to the workspace whose run has
// waited longest, and within its turn a workspace's highest priority goes first.
// Priority therefore never takes a turn from another workspace. A workspace at
// its limit is passed over; a run goes only to a runner that has its labels and
// its runtime.
//
// How many runs a workspace has in hand is the size of a set of run ids, never a
// counter: starting or finishing a run twice changes nothing.
package scheduler

import (
	"bytes"
	"slices"
	"time"

	"github.com/genericcorp/corp"
)

// Item is a run that waits.
type Item struct {
	Workspace corp.WorkspaceID
	Run       corp.RunID
	Epoch     int64 // of its last lease; carried for the caller
	Priority  int   // higher goes first within the workspace
	Labels    []string
	Runtime   string
	NotBefore time.Time // zero means now
	CreatedAt time.Time // what "waited longest" is measured by
}

// Runner is who asks for a run.
type Runner struct {
	Workspace corp.WorkspaceID // zero means it serves every workspace
	Labels    []string         // a run goes to it when all the run's labels are among these
	Runtimes  []string
}

// Scheduler holds what waits and what is in hand. It is not safe for concurrent
// use: one goroutine owns it.
type Scheduler struct {
	waiting    map[corp.RunID]*entry
	started    map[corp.RunID]*workspace
	workspaces map[corp.WorkspaceID]*workspace
	shapes     map[string]*shape // the roots of the label trees, by runtime
	later      heap[*entry]      // those not due yet, the next one first
}

// entry is an Item and its places in the heaps.
type entry struct {
	Item
	lane                       *lane
	due                        bool // in its lane; otherwise in later
	byAge, byPriority, inLater int
}

// workspace is what one workspace has waiting and in hand.
type workspace struct {
	id      corp.WorkspaceID
	limit   int // 0 means unlimited
	known   bool
	inHand  map[corp.RunID]struct{}
	lanes   map[*shape]*lane
	parked  map[*lane]struct{} // taken out of their shapes while the workspace is at its limit
	waiting int                // runs, due or not
}

// lane is what one workspace has waiting for one kind of runner.
type lane struct {
	of         *workspace
	shape      *shape
	byAge      heap[*entry]
	byPriority heap[*entry]
	place      int  // in its shape, -1 while parked or empty
	parked     bool // in of.parked and not in the shape
	entries    int  // due or not
}

// New makes an empty scheduler. A workspace whose limit is not known gets
// nothing: see SetLimits.
func New() *Scheduler {
	return &Scheduler{
		waiting:    map[corp.RunID]*entry{},
		started:    map[corp.RunID]*workspace{},
		workspaces: map[corp.WorkspaceID]*workspace{},
		shapes:     map[string]*shape{},
		later:      heap[*entry]{less: sooner, put: func(e *entry, i int) { e.inLater = i }},
	}
}

// Add puts a run in the queue. It says whether the run is new: one that waits
// or is in hand already stays as it is.
func (s *Scheduler) Add(it Item) bool {
	if s.waiting[it.Run] != nil || s.started[it.Run] != nil {
		return false
	}
	it.Labels = slices.Compact(slices.Sorted(slices.Values(it.Labels)))
	ws := s.workspace(it.Workspace)
	e := &entry{Item: it, lane: s.lane(ws, it.Runtime, it.Labels)}
	s.waiting[it.Run] = e
	e.lane.entries++
	ws.waiting++
	if it.NotBefore.IsZero() {
		s.makeDue(e)
	} else {
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
	ln, ws := e.lane, e.lane.of
	if e.due {
		ln.byAge.remove(e.byAge)
		ln.byPriority.remove(e.byPriority)
		s.settle(ln)
	} else {
		s.later.remove(e.inLater)
	}
	ws.waiting--
	if ln.entries--; ln.entries == 0 {
		s.drop(ln)
	}
	s.forget(ws)
	return true
}

// Start says that a run is in hand: it takes up one of its workspace's slots,
// and waits no more. Starting it again changes nothing.
func (s *Scheduler) Start(id corp.WorkspaceID, run corp.RunID) {
	if s.started[run] != nil {
		return
	}
	ws := s.workspace(id) // before Remove, which forgets a workspace that has nothing left
	ws.inHand[run] = struct{}{}
	s.started[run] = ws
	s.Remove(run)
}

// Finish gives a run's slot back and says whether it was in hand.
func (s *Scheduler) Finish(run corp.RunID) bool {
	ws := s.started[run]
	if ws == nil {
		return false
	}
	delete(s.started, run)
	delete(ws.inHand, run)
	s.unpark(ws)
	s.forget(ws)
	return true
}

// SetLimits says how many runs each workspace may have in hand, 0 for no limit.
// A workspace that is not listed gets nothing. A lowered limit stops no run.
func (s *Scheduler) SetLimits(limits map[corp.WorkspaceID]int) {
	for id := range limits {
		s.workspace(id)
	}
	for id, ws := range s.workspaces {
		ws.limit, ws.known = limits[id], false
		if _, ok := limits[id]; ok {
			ws.known = true
		}
		s.unpark(ws)
		s.forget(ws)
	}
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
		ln := ws.lanes[sh]
		if ln == nil || ln.byPriority.len() == 0 {
			continue
		}
		if e := ln.byPriority.top(); best == nil || before(e, best) {
			best = e
		}
	}
	if best == nil {
		return Item{}, false
	}
	return best.Item, true
}

// NextDue returns when the next run that waits for its time becomes due, and
// whether there is one.
func (s *Scheduler) NextDue() (time.Time, bool) {
	if s.later.len() == 0 {
		return time.Time{}, false
	}
	return s.later.top().NotBefore, true
}

// Waiting returns how many runs are in the queue, due or not.
func (s *Scheduler) Waiting() int { return len(s.waiting) }

// InHand returns how many runs of a workspace take up a slot.
func (s *Scheduler) InHand(id corp.WorkspaceID) int {
	if ws := s.workspaces[id]; ws != nil {
		return len(ws.inHand)
	}
	return 0
}

// Sync makes the scheduler's queue exactly waiting and its runs in hand exactly
// inHand. A run in both waits.
func (s *Scheduler) Sync(waiting []Item, inHand map[corp.RunID]corp.WorkspaceID) {
	keep := make(map[corp.RunID]struct{}, len(waiting))
	for _, it := range waiting {
		keep[it.Run] = struct{}{}
	}
	for run := range s.started {
		_, waits := keep[run]
		if _, held := inHand[run]; waits || !held {
			s.Finish(run)
		}
	}
	for run, e := range s.waiting {
		if _, ok := keep[run]; !ok {
			s.Remove(e.Run)
		}
	}
	for _, it := range waiting {
		if e := s.waiting[it.Run]; e != nil && e.Epoch == it.Epoch && e.NotBefore.Equal(it.NotBefore) {
			continue
		}
		s.Remove(it.Run)
		s.Add(it)
	}
	for run, ws := range inHand {
		if _, waits := keep[run]; !waits {
			s.Start(ws, run)
		}
	}
}

// older orders by age: who was made first, then by id, so that the order is total.
func older(a, b *entry) bool {
	if c := a.CreatedAt.Compare(b.CreatedAt); c != 0 {
		return c < 0
	}
	return bytes.Compare(a.Run[:], b.Run[:]) < 0
}

// before orders within a workspace.
func before(a, b *entry) bool {
	if a.Priority != b.Priority {
		return a.Priority > b.Priority
	}
	return older(a, b)
}

func sooner(a, b *entry) bool {
	if c := a.NotBefore.Compare(b.NotBefore); c != 0 {
		return c < 0
	}
	return older(a, b)
}

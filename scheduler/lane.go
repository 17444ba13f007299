package scheduler

import (
	"time"

	"github.com/genericcorp/corp"
)

func (s *Scheduler) workspace(id corp.WorkspaceID) *workspace {
	ws := s.workspaces[id]
	if ws == nil {
		ws = &workspace{id: id, inHand: map[corp.RunID]struct{}{}, lanes: map[*shape]*lane{}, parked: map[*lane]struct{}{}}
		s.workspaces[id] = ws
	}
	return ws
}

// forget drops a workspace of which nothing is known but its name.
func (s *Scheduler) forget(ws *workspace) {
	if !ws.known && ws.waiting == 0 && len(ws.inHand) == 0 {
		delete(s.workspaces, ws.id)
	}
}

func (ws *workspace) full() bool {
	return !ws.known || ws.limit > 0 && len(ws.inHand) >= ws.limit
}

// lane finds or makes the workspace's lane for runs with those sorted labels.
func (s *Scheduler) lane(ws *workspace, runtime string, labels []string) *lane {
	sh := s.shape(runtime, labels)
	ln := ws.lanes[sh]
	if ln == nil {
		ln = &lane{
			of: ws, shape: sh, place: -1,
			byAge:      heap[*entry]{less: older, put: func(e *entry, i int) { e.byAge = i }},
			byPriority: heap[*entry]{less: before, put: func(e *entry, i int) { e.byPriority = i }},
		}
		ws.lanes[sh] = ln
		sh.used++
	}
	return ln
}

// drop takes away a lane in which nothing waits.
func (s *Scheduler) drop(ln *lane) {
	delete(ln.of.lanes, ln.shape)
	delete(ln.of.parked, ln)
	ln.shape.used--
	s.prune(ln.shape)
}

// promote moves what has become due into its lane.
func (s *Scheduler) promote(now time.Time) {
	for s.later.len() > 0 && !s.later.top().NotBefore.After(now) {
		e := s.later.top()
		s.later.remove(0)
		s.makeDue(e)
	}
}

func (s *Scheduler) makeDue(e *entry) {
	e.due = true
	e.lane.byAge.push(e)
	e.lane.byPriority.push(e)
	s.settle(e.lane)
}

// settle puts a lane where it belongs in its shape after its runs have changed.
func (s *Scheduler) settle(ln *lane) {
	switch {
	case ln.parked:
	case ln.place < 0 && ln.byAge.len() > 0:
		ln.shape.lanes.push(ln)
	case ln.place >= 0 && ln.byAge.len() == 0:
		ln.shape.lanes.remove(ln.place)
	case ln.place >= 0:
		ln.shape.lanes.fix(ln.place)
	}
}

// park takes the lane of a full workspace out of the way of the others until
// the workspace has a free slot again.
func park(ln *lane) {
	ln.shape.lanes.remove(ln.place)
	ln.parked = true
	ln.of.parked[ln] = struct{}{}
}

func (s *Scheduler) unpark(ws *workspace) {
	if ws.full() {
		return
	}
	for ln := range ws.parked {
		delete(ws.parked, ln)
		ln.parked = false
		s.settle(ln)
	}
}

package scheduler

import (
	"time"

	"github.com/genericcorp/corp"
)

// lane is what one workspace has waiting for one kind of runner, with one agent
// on one repository: those that the same limits hold up.
type lane struct {
	stand      *stand
	agent      corp.AgentID
	repository corp.RepositoryID
	gates      [2]*gate // of the agent and of the repository; nil without a limit
	due        heap[*entry]
	undue      map[*entry]struct{}
	place      int // among the ready lanes of the stand; -1 when it is not ready
}

// stand is the lanes of one workspace at one shape. It is in the shape's queue
// while it has something to give and its workspace is under its limit.
type stand struct {
	of    *workspace
	shape *shape
	lanes map[pair]*lane
	ready heap[*lane] // the one with the best run first
	place int         // in the shape's queue; -1 when it is not there
}

// pair is whose limits may hold a run up, besides its workspace's.
type pair struct {
	agent      corp.AgentID
	repository corp.RepositoryID
}

// gate is the limit of one agent or one repository.
type gate struct {
	limit int
	held  map[corp.RunID]struct{}
	lanes map[*lane]struct{}
}

func (g *gate) closed() bool { return g != nil && len(g.held) >= g.limit }

// lane finds or makes the lane for an item, whose labels are sorted.
func (s *Scheduler) lane(ws *workspace, it Item) *lane {
	sh := s.shape(it.Runtime, it.Labels)
	st := ws.stands[sh]
	if st == nil {
		st = &stand{of: ws, shape: sh, place: -1, lanes: map[pair]*lane{}, ready: heap[*lane]{
			less: func(a, b *lane) bool { return before(a.due.top(), b.due.top()) },
			put:  func(ln *lane, i int) { ln.place = i },
		}}
		ws.stands[sh] = st
		sh.used++
	}
	key := pair{it.Agent, it.Repository}
	ln := st.lanes[key]
	if ln == nil {
		ln = &lane{stand: st, agent: it.Agent, repository: it.Repository, place: -1, due: heap[*entry]{less: before, put: place}, undue: map[*entry]struct{}{}}
		st.lanes[key] = ln
		ln.join()
	}
	return ln
}

// join puts the lane behind the gates of its agent and its repository.
func (ln *lane) join() {
	ws := ln.stand.of
	ln.gates = [2]*gate{ws.agents[ln.agent], ws.repositories[ln.repository]}
	for _, g := range ln.gates {
		if g != nil {
			g.lanes[ln] = struct{}{}
		}
	}
}

// drop takes away a lane in which nothing waits, and its stand with the last one.
func (s *Scheduler) drop(ln *lane) {
	for _, g := range ln.gates {
		if g != nil {
			delete(g.lanes, ln)
		}
	}
	st := ln.stand
	delete(st.lanes, pair{ln.agent, ln.repository})
	if len(st.lanes) > 0 {
		return
	}
	delete(st.of.stands, st.shape)
	st.shape.used--
	s.prune(st.shape)
}

// promote moves what has become due into its lane.
func (s *Scheduler) promote(now time.Time) {
	for limit := now.UnixMicro(); s.later.len() > 0 && s.later.top().notBefore <= limit; {
		e := s.later.top()
		s.later.remove(0)
		delete(e.lane.undue, e)
		s.makeDue(e)
	}
}

func (s *Scheduler) makeDue(e *entry) {
	e.due = true
	e.lane.due.push(e)
	e.lane.settle()
}

// settle puts a lane where it belongs after its runs or its gates have changed.
func (ln *lane) settle() {
	ready := ln.due.len() > 0 && !ln.gates[0].closed() && !ln.gates[1].closed()
	st := ln.stand
	switch {
	case ready && ln.place < 0:
		st.ready.push(ln)
	case ready:
		st.ready.fix(ln.place)
	case ln.place >= 0:
		st.ready.remove(ln.place)
	}
	st.settle()
}

// settle puts a stand where it belongs after its lanes, or its workspace's place
// or limit, have changed.
func (st *stand) settle() {
	ready := st.ready.len() > 0 && !st.of.full()
	switch queue := st.shape.queue(st.of.class); {
	case ready && st.place < 0:
		queue.push(st)
	case ready:
		queue.fix(st.place)
	case st.place >= 0:
		queue.remove(st.place)
	}
}

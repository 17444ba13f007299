package scheduler

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/genericcorp/corp"
)

// Share is what one workspace may have.
type Share struct {
	Class        string // the plan: classes share by ClassWeight, workspaces of a class by Weight
	ClassWeight  int
	Weight       int
	Concurrency  int                       // runs that may be in hand; 0 means unlimited
	Agents       map[corp.AgentID]int      // the same for each agent that has a limit
	Repositories map[corp.RepositoryID]int // and for each repository
}

// class is the workspaces of one plan.
type class struct {
	name    string
	weight  float64
	members int
	account               // its place among the classes
	clock   float64       // virtual time among its workspaces
	average time.Duration // of its workspaces' first runs
	learned int           // how many are in it
}

// workspace is what one workspace has waiting and in hand.
type workspace struct {
	id      corp.WorkspaceID
	class   *class
	weight  float64
	limit   int // 0 means unlimited
	known   bool
	barred  bool          // it gets nothing until its share is set again
	account               // its place in its class
	average time.Duration // once a run of it has ended
	ran     bool

	held         map[corp.RunID]*holding
	agents       map[corp.AgentID]*gate
	repositories map[corp.RepositoryID]*gate
	stands       map[*shape]*stand
	waiting      int // runs, due or not
}

// nobody is the class of workspaces whose share is not known; it gets nothing.
const nobody = ""

func (s *Scheduler) workspace(id corp.WorkspaceID) *workspace {
	ws := s.workspaces[id]
	if ws == nil {
		ws = &workspace{id: id, weight: 1, held: map[corp.RunID]*holding{}, stands: map[*shape]*stand{}}
		s.enter(ws, nobody, 1)
		s.workspaces[id] = ws
	}
	return ws
}

// forget drops a workspace of which nothing is known but its name.
func (s *Scheduler) forget(ws *workspace) {
	if !ws.known && ws.waiting == 0 && len(ws.held) == 0 {
		delete(s.workspaces, ws.id)
		s.leave(ws)
	}
}

func (ws *workspace) full() bool {
	return !ws.known || ws.barred || ws.limit > 0 && len(ws.held) >= ws.limit
}

// before is the order of the workspaces of one class.
func (ws *workspace) before(other *workspace) bool {
	return cmp.Or(ws.compare(other.account), bytes.Compare(ws.id[:], other.id[:])) < 0
}

func (c *class) before(other *class) bool {
	return cmp.Or(c.compare(other.account), strings.Compare(c.name, other.name)) < 0
}

// enter makes a workspace a member of a class, made when it is new.
func (s *Scheduler) enter(ws *workspace, name string, weight float64) {
	i, found := slices.BinarySearchFunc(s.classes, name, func(c *class, name string) int { return strings.Compare(c.name, name) })
	if !found {
		s.classes = slices.Insert(s.classes, i, &class{name: name, weight: 1, average: firstGuess})
	}
	ws.class = s.classes[i]
	ws.class.weight = weight
	ws.class.members++
	ws.account = account{} // whose first turn starts at the clock
}

func (s *Scheduler) leave(ws *workspace) {
	ws.class.members--
	if ws.class.members > 0 {
		return
	}
	s.classes = slices.DeleteFunc(s.classes, func(c *class) bool { return c == ws.class })
	for _, root := range s.shapes {
		root.forget(ws.class)
	}
}

// SetShares says what each workspace may have. One that is not listed gets
// nothing. A lowered limit stops no run.
func (s *Scheduler) SetShares(shares map[corp.WorkspaceID]Share) {
	for id, share := range shares {
		s.SetShare(id, share)
	}
	for id := range s.workspaces {
		if _, listed := shares[id]; !listed {
			s.Forget(id)
		}
	}
}

// Forget says that a workspace gets nothing any more. It is gone from the memory
// once it has nothing queued and nothing in hand.
func (s *Scheduler) Forget(id corp.WorkspaceID) {
	if ws := s.workspaces[id]; ws != nil && ws.known {
		ws.known = false
		ws.settle()
		s.forget(ws)
	}
}

// Bar says that a workspace gets nothing until its share is set again. What it has
// had still counts then: nobody may change a limit to begin anew.
func (s *Scheduler) Bar(id corp.WorkspaceID) {
	if ws := s.workspaces[id]; ws != nil {
		ws.barred = true
		ws.settle()
	}
}

// SetShare says what one workspace may have.
func (s *Scheduler) SetShare(id corp.WorkspaceID, share Share) {
	ws := s.workspace(id)
	if share.Class == nobody {
		share.Class = "unnamed"
	}
	if ws.class.name != share.Class {
		ws.withdraw()
		s.leave(ws)
		s.enter(ws, share.Class, 1)
	}
	ws.known, ws.barred, ws.limit = true, false, share.Concurrency
	ws.weight, ws.class.weight = float64(max(share.Weight, 1)), float64(max(share.ClassWeight, 1))
	ws.agents = gates(share.Agents, ws.held, func(h *holding) corp.AgentID { return h.Agent })
	ws.repositories = gates(share.Repositories, ws.held, func(h *holding) corp.RepositoryID { return h.Repository })
	for _, st := range ws.stands {
		for _, ln := range st.lanes {
			ln.join()
			ln.settle()
		}
	}
	ws.settle()
}

// gates makes the gates of a workspace's agents or repositories from what is in
// hand.
func gates[ID comparable](limits map[ID]int, held map[corp.RunID]*holding, of func(*holding) ID) map[ID]*gate {
	made := make(map[ID]*gate, len(limits))
	for id, limit := range limits {
		if limit > 0 {
			made[id] = &gate{limit: limit, held: map[corp.RunID]struct{}{}, lanes: map[*lane]struct{}{}}
		}
	}
	for run, h := range held {
		if g := made[of(h)]; g != nil {
			g.held[run] = struct{}{}
		}
	}
	return made
}

// settle puts a workspace's stands where they belong after its place or its
// limit has changed.
func (ws *workspace) settle() {
	for _, st := range ws.stands {
		st.settle()
	}
}

// withdraw takes a workspace's stands out of the queues of its class, which it
// is about to leave.
func (ws *workspace) withdraw() {
	for _, st := range ws.stands {
		if st.place >= 0 {
			st.shape.queue(ws.class).remove(st.place)
		}
	}
}

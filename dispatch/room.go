package dispatch

import (
	"bytes"
	"cmp"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/scheduler"
)

const (
	// firstHead is how much of each queue is read when a term begins and by the
	// sweep; nextHead is how much is read when that runs low.
	firstHead, nextHead = 32, 500
	// roomFor is how many runs of one workspace are kept although they are behind
	// what was read; mostOf is how many are kept at all.
	roomFor, mostOf = 4_000, 50_000
	// horizon is how early a run with a time to wait for is taken into the memory.
	horizon = time.Minute
)

// room is what the memory holds of one workspace, beside what the scheduler does.
// Its queue is known up to a place; what is behind is read when it runs low.
type room struct {
	plan  string
	limit int            // of runs in hand, 0 is none
	whole bool           // all of it is known
	known postgres.Place // up to here, if not whole
	low   int            // so few are left that more is to be read
	held  map[corp.RunID]int64
	timed map[corp.RunID]scheduler.Item // those with a time to wait for; they are in no head
}

// mark is what became of a run while a reading was under way. It is newer than
// what was read.
type mark struct {
	workspace corp.WorkspaceID
	epoch     int64
	item      *scheduler.Item // it waits
	held      *scheduler.Held // it is in hand
}

func (s *seat) room(ws corp.WorkspaceID) *room {
	rm := s.rooms[ws]
	if rm == nil {
		rm = &room{low: firstHead / 2, held: map[corp.RunID]int64{}}
		s.rooms[ws] = rm
	}
	return rm
}

func (s *seat) mark(run corp.RunID, m mark) {
	if s.under == nil {
		return
	}
	marks := s.under.marks[m.workspace]
	if marks == nil {
		marks = map[corp.RunID]mark{}
		s.under.marks[m.workspace] = marks
	}
	marks[run] = m
}

// note takes over what was said. What is said of one run is complete, or the run
// is read; what is said of a workspace has it read.
func (s *seat) note(n postgres.Notice) {
	switch {
	case n.Kind == postgres.NoticeResync:
		s.wanted.sweepAll()
	case n.Kind == postgres.NoticeLimits:
		s.limited(n.Workspace)
	case n.Run.IsZero():
		s.wanted.look(n.Workspace)
	case n.Queued != nil:
		s.queued(*n.Queued)
	case n.Ended:
		s.ended(n.Workspace, n.Run)
	default:
		s.wanted.run(postgres.RunRef{Workspace: n.Workspace, RunID: n.Run})
	}
}

// limited has a workspace get nothing until its new limits are read: what is
// submitted after a limit was set must not pass it.
func (s *seat) limited(ws corp.WorkspaceID) {
	s.queue.Bar(ws)
	s.wanted.look(ws)
	if s.under != nil {
		s.under.limits[ws] = struct{}{}
	}
}

// queued takes a run into the memory. What is older than what is known of it, or
// behind what is known of a long queue, is left out.
func (s *seat) queued(q postgres.QueuedRun) {
	rm := s.rooms[q.Workspace]
	if rm == nil {
		s.wanted.look(q.Workspace) // also for what it may have
		return
	}
	if epoch, held := rm.held[q.RunID]; held {
		if epoch > q.Epoch {
			return
		}
		delete(rm.held, q.RunID)
		s.queue.GiveBack(q.RunID)
	}
	it := item(q)
	s.mark(q.RunID, mark{workspace: q.Workspace, epoch: q.Epoch, item: &it})
	s.add(rm, it)
}

func (s *seat) add(rm *room, it scheduler.Item) {
	if !it.NotBefore.IsZero() {
		if rm.takesTimed(it) {
			rm.keepTimed(it)
			s.queue.Add(it)
		}
		return
	}
	place, waiting := placeOf(it), s.queue.WaitingIn(it.Workspace)
	switch {
	case waiting >= mostOf:
		rm.whole, rm.known = false, postgres.Place{} // it is found again when there is room
		return
	case waiting >= roomFor && rm.whole:
		rm.whole = false // up to here it is known: what comes behind is read when its turn is near
	case waiting >= roomFor && later(place, rm.known):
		return
	}
	if rm.whole && later(place, rm.known) {
		rm.known = place
	}
	s.queue.Add(it)
}

// takesTimed says whether a run with a time to wait for is kept: when there are
// many, only if it comes next. The others are read when they do.
func (rm *room) takesTimed(it scheduler.Item) bool {
	left := time.Until(it.NotBefore)
	return left < lately || left < horizon && len(rm.timed) < roomFor
}

func (rm *room) keepTimed(it scheduler.Item) {
	if rm.timed == nil {
		rm.timed = map[corp.RunID]scheduler.Item{}
	}
	rm.timed[it.Run] = it
}

// ended takes a run out of the memory: it is final, or in vain.
func (s *seat) ended(ws corp.WorkspaceID, run corp.RunID) {
	s.queue.Remove(run)
	s.queue.Finish(run, time.Now())
	if rm := s.rooms[ws]; rm != nil {
		delete(rm.held, run)
		delete(rm.timed, run)
	}
	s.mark(run, mark{workspace: ws})
}

// started puts a run among those in hand.
func (s *seat) started(it scheduler.Item, now time.Time) {
	held := scheduler.Held{Workspace: it.Workspace, Run: it.Run, Agent: it.Agent, Repository: it.Repository, Since: now}
	s.queue.Start(held)
	rm := s.room(it.Workspace)
	rm.held[it.Run] = it.Epoch + 1
	delete(rm.timed, it.Run)
	s.mark(it.Run, mark{workspace: it.Workspace, epoch: it.Epoch + 1, held: &held})
	s.refill(it.Workspace, rm)
}

// refill has more of a queue read when little of it is left.
func (s *seat) refill(ws corp.WorkspaceID, rm *room) {
	if !rm.whole && s.queue.WaitingIn(ws) < rm.low {
		s.wanted.more(ws)
	}
}

// inVain takes back what a claim did not lease, and has it read where it stands.
func (s *seat) inVain(it scheduler.Item) {
	s.queue.GiveBack(it.Run)
	delete(s.room(it.Workspace).held, it.Run)
	s.mark(it.Run, mark{workspace: it.Workspace})
	s.wanted.runLater(postgres.RunRef{Workspace: it.Workspace, RunID: it.Run}, time.Now().Add(s.times.Sweep/4))
}

// item turns a row into what the scheduler keeps. A time to wait for is counted
// from now, as the database's clock sees it: this server's may be wrong.
func item(run postgres.QueuedRun) scheduler.Item {
	it := scheduler.Item{
		Workspace: run.Workspace, Run: run.RunID, Epoch: run.Epoch, Agent: run.AgentID, Repository: run.RepositoryID,
		Priority: run.Priority, Labels: run.Labels, Runtime: run.Runtime, CreatedAt: run.CreatedAt,
	}
	if run.DueInMS != nil {
		it.NotBefore = time.Now().Add(time.Duration(*run.DueInMS) * time.Millisecond)
	}
	return it
}

func placeOf(it scheduler.Item) postgres.Place {
	return postgres.Place{Workspace: it.Workspace, Priority: it.Priority, CreatedAt: it.CreatedAt, RunID: it.Run}
}

// later says whether a is behind b in the order of a queue. Everything is behind
// the zero place.
func later(a, b postgres.Place) bool {
	if b.RunID.IsZero() {
		return true
	}
	return cmp.Or(cmp.Compare(b.Priority, a.Priority), a.CreatedAt.Compare(b.CreatedAt), bytes.Compare(a.RunID[:], b.RunID[:])) > 0
}

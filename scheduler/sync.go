package scheduler

import (
	"time"

	"github.com/genericcorp/corp"
)

// SyncWorkspace makes what is known of one workspace what the rows say: held is
// all that it has in hand, and waiting all that it has queued or, unless whole,
// the head of that: then what waits behind stays as it is. A run in both waits.
func (s *Scheduler) SyncWorkspace(id corp.WorkspaceID, waiting []Item, held []Held, whole bool, now time.Time) {
	waits := make(map[corp.RunID]struct{}, len(waiting))
	for _, it := range waiting {
		waits[it.Run] = struct{}{}
	}
	inHand := make(map[corp.RunID]struct{}, len(held))
	for _, h := range held {
		if _, back := waits[h.Run]; !back {
			inHand[h.Run] = struct{}{}
		}
	}
	if ws := s.workspaces[id]; ws != nil {
		s.releaseOthers(ws, waits, inHand, now)
		if whole {
			s.removeOthers(ws, waits)
		}
	}
	for _, it := range waiting {
		if e := s.waiting[it.Run]; e != nil && e.same(it) {
			continue
		}
		s.Remove(it.Run)
		s.Add(it)
	}
	for _, h := range held {
		if _, ok := inHand[h.Run]; ok {
			s.adopt(h, now)
		}
	}
}

// releaseOthers gives back the slots of what is not in hand any more. What waits
// again was not carried out; the rest has ended.
func (s *Scheduler) releaseOthers(ws *workspace, waits, inHand map[corp.RunID]struct{}, now time.Time) {
	for run := range ws.held {
		if _, still := inHand[run]; still {
			continue
		}
		if _, back := waits[run]; back {
			s.GiveBack(run)
		} else {
			s.Finish(run, now)
		}
	}
}

func (s *Scheduler) removeOthers(ws *workspace, waits map[corp.RunID]struct{}) {
	for e := range ws.entries() {
		if _, still := waits[e.run]; !still {
			s.Remove(e.run)
		}
	}
}

// RemoveBefore takes out of a workspace what waits for no time and stands before
// last in its order, but for what is to be kept: the rows were read up to there.
func (s *Scheduler) RemoveBefore(last Item, keep func(corp.RunID) bool) {
	ws := s.workspaces[last.Workspace]
	if ws == nil {
		return
	}
	end := newEntry(last, nil)
	for e := range ws.entries() {
		if e.notBefore == atOnce && before(e, end) && !keep(e.run) {
			s.Remove(e.run)
		}
	}
}

// adopt takes over a run that somebody leased before this memory began. Its
// past is nobody's debt here; it pays like one that starts now.
func (s *Scheduler) adopt(h Held, now time.Time) {
	if s.held[h.Run] != nil {
		return
	}
	s.Start(h)
	s.held[h.Run].paid += max(now.Sub(h.Since), 0)
}

// same says whether nothing that matters about a waiting run has changed.
func (e *entry) same(it Item) bool {
	have := e.item()
	return have.Epoch == it.Epoch && have.NotBefore.Equal(it.NotBefore.Truncate(time.Microsecond)) && have.Priority == it.Priority
}

package dispatch

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/scheduler"
)

const (
	// How much one reading takes: each is handed over in one go.
	runsAtATime, looksAtATime, moresAtATime, pageOf = 500, 20, 10, 100
	// circle is how long the sweep takes once round all workspaces.
	circle = 30 * time.Second
	// restShare keeps the sweep to a tenth of the time, however much there is.
	restShare = 9
	// soonEvery is how often the runs of the next minute are read, overdue is when
	// a run that had a time to wait for becomes an ordinary one, timedMost is how
	// many of them are read at a time.
	soonEvery, overdue, timedMost = 15 * time.Second, 10 * time.Second, 10_000
	// readyMost is how many become so in a second: while one workspace has more due than
	// timedMost, the others' wait behind them to be read.
	readyMost = 5000
	// lately is how far back it is looked for what a lost hint was about.
	lately, latelyMost = 5 * time.Second, 2_000
	// readWithin is how long one reading may take.
	readWithin = 30 * time.Second
)

// reading is one thing to read. do runs beside the loop and returns what the loop
// is to do with it; again has it wanted once more, after a failure.
type reading struct {
	do    func(ctx context.Context, system postgres.SystemDB) (apply func(), err error)
	again func()
}

// outcome is a reading that was done.
type outcome struct {
	reading
	apply func()
	took  time.Duration
	err   error
}

// underway is the reading under way, and what happened since it began: what it
// brings is older.
type underway struct {
	fences int
	marks  map[corp.WorkspaceID]map[corp.RunID]mark
	limits map[corp.WorkspaceID]struct{} // whose limits have changed
}

func (s *seat) newUnderway() *underway {
	return &underway{fences: s.fences, marks: map[corp.WorkspaceID]map[corp.RunID]mark{}, limits: map[corp.WorkspaceID]struct{}{}}
}

// readOn does readings, one at a time, until ctx ends.
func (s *seat) readOn(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-s.jobs:
			started := time.Now()
			limited, cancel := context.WithTimeout(ctx, readWithin)
			apply, err := r.do(limited, s.db.System("dispatch"))
			cancel()
			s.read <- outcome{r, apply, time.Since(started), err}
		}
	}
}

// handOver takes over what was read.
func (s *seat) handOver(ctx context.Context, got outcome) {
	if got.err == nil {
		got.apply()
		s.under = nil
		return
	}
	s.under = nil
	got.again()
	s.wanted.rest = time.Now().Add(s.times.Sweep)
	if ctx.Err() == nil {
		s.logger.ErrorContext(ctx, "the queue could not be read", slog.Any("error", got.err))
	}
}

// readNext begins the most urgent reading, if none is under way.
func (s *seat) readNext(now time.Time) {
	s.wanted.ripen(now)
	if s.under != nil || s.wanted.next(now, len(s.polls) > 0).After(now) {
		return
	}
	s.under = s.newUnderway()
	s.jobs <- s.mostUrgent(now)
}

func (s *seat) mostUrgent(now time.Time) reading {
	w := &s.wanted
	switch {
	case len(w.runs) > 0:
		return s.readRuns()
	case len(w.mores) > 0 && len(w.rooms(s)) > 0:
		return s.readMore()
	case len(w.looks) > 0:
		return s.readLooks(some(w.looks, looksAtATime))
	case len(s.polls) > 0 && !w.watchAt.After(now):
		return s.watch(now)
	case !w.soonAt.After(now):
		return s.readSoon(now)
	default:
		return s.readPage(now)
	}
}

func (s *seat) readRuns() reading {
	refs := make([]postgres.RunRef, 0, min(len(s.wanted.runs), runsAtATime))
	for run, ref := range s.wanted.runs {
		if len(refs) == runsAtATime {
			break
		}
		refs = append(refs, ref)
		delete(s.wanted.runs, run)
	}
	return reading{
		again: func() {
			for _, ref := range refs {
				s.wanted.run(ref)
			}
		},
		do: func(ctx context.Context, system postgres.SystemDB) (func(), error) {
			found, err := system.RunsNow(ctx, refs)
			return func() {
				for i, now := range found {
					s.standsAt(refs[i].Workspace, now)
				}
			}, err
		},
	}
}

// standsAt takes over where one run stands.
func (s *seat) standsAt(ws corp.WorkspaceID, now postgres.RunNow) {
	_, newer := s.under.marks[ws][now.RunID]
	switch {
	case now.Queued != nil:
		s.queuedThen(*now.Queued)
	case now.Leased == nil && newer: // leased between the two looks, perhaps: then it was in neither
		s.wanted.run(postgres.RunRef{Workspace: ws, RunID: now.RunID})
	case now.Leased == nil:
		s.ended(ws, now.RunID)
	default:
		if rm := s.rooms[ws]; rm == nil || rm.held[now.RunID] < now.Leased.Epoch {
			s.wanted.look(ws) // a claim whose end was not known
		}
	}
}

// queuedThen is queued for what a reading brought: unless something newer is
// known of it.
func (s *seat) queuedThen(q postgres.QueuedRun) {
	if _, newer := s.under.marks[q.Workspace][q.RunID]; !newer {
		s.queued(q)
	}
}

func (s *seat) readLooks(workspaces []corp.WorkspaceID) reading {
	return reading{
		again: func() {
			for _, ws := range workspaces {
				s.wanted.look(ws)
			}
		},
		do: func(ctx context.Context, system postgres.SystemDB) (func(), error) {
			found, err := system.WorkspaceQueuesOf(ctx, workspaces, nextHead)
			return func() {
				there := map[corp.WorkspaceID]bool{}
				for _, r := range found {
					there[r.Workspace] = true
					s.adopt(r)
				}
				for _, ws := range workspaces {
					if !there[ws] {
						s.empty(ws)
					}
				}
			}, err
		},
	}
}

func (s *seat) readMore() reading {
	workspaces := s.wanted.rooms(s)
	places := make([]postgres.Place, len(workspaces))
	for i, ws := range workspaces {
		delete(s.wanted.mores, ws)
		places[i] = s.rooms[ws].known
		places[i].Workspace = ws
	}
	return reading{
		again: func() {
			for _, ws := range workspaces {
				s.wanted.more(ws)
			}
		},
		do: func(ctx context.Context, system postgres.SystemDB) (func(), error) {
			found, err := system.QueueAfter(ctx, places, nextHead)
			return func() {
				for i, queue := range found {
					s.extend(workspaces[i], queue)
				}
			}, err
		},
	}
}

// rooms returns the next workspaces of which more is wanted and possible.
func (w *wants) rooms(s *seat) (found []corp.WorkspaceID) {
	for ws := range w.mores {
		if rm := s.rooms[ws]; rm == nil || rm.whole {
			delete(w.mores, ws)
		} else if found = append(found, ws); len(found) == moresAtATime {
			break
		}
	}
	return found
}

// extend adds what comes behind the known part of a queue.
func (s *seat) extend(ws corp.WorkspaceID, queue []postgres.QueuedRun) {
	rm := s.rooms[ws]
	if rm == nil {
		return
	}
	rm.low = nextHead / 4
	for _, q := range queue {
		s.queuedThen(q)
	}
	if n := len(queue); n > 0 {
		if last := placeOf(item(queue[n-1])); later(last, rm.known) {
			rm.known = last
		}
	}
	rm.whole = len(queue) < nextHead && s.queue.WaitingIn(ws) < mostOf
}

// watch looks for what hints would have told, while a runner waits for work: what
// was queued lately, what is about to be due, and what is in hand no more.
func (s *seat) watch(now time.Time) reading {
	s.wanted.watchAt = now.Add(s.times.Sweep)
	return reading{
		again: func() {},
		do: func(ctx context.Context, system postgres.SystemDB) (func(), error) {
			fresh, err := system.Lately(ctx, lately, latelyMost)
			due, err2 := system.Soon(ctx, lately, latelyMost)
			leased, err3 := system.Leased(ctx)
			return func() {
				for _, q := range append(fresh, due...) {
					s.queuedThen(q)
				}
				s.compare(leased)
				s.unblock()
			}, errors.Join(err, err2, err3)
		},
	}
}

// compare finds runs that are thought to be in hand and are not.
func (s *seat) compare(leased []postgres.LeasedRun) {
	still := make(map[corp.RunID]struct{}, len(leased))
	for _, l := range leased {
		still[l.RunID] = struct{}{}
	}
	for ws, rm := range s.rooms {
		for run := range rm.held {
			_, held := still[run]
			if _, newer := s.under.marks[ws][run]; !held && !newer {
				s.wanted.run(postgres.RunRef{Workspace: ws, RunID: run})
			}
		}
	}
}

// unblock has more of a queue read while a runner waits in vain: what is known of
// it may be only what nobody can carry out.
func (s *seat) unblock() {
	if len(s.polls) == 0 {
		return
	}
	for ws, rm := range s.rooms {
		if !rm.whole && (rm.limit == 0 || len(rm.held) < rm.limit) && s.queue.WaitingIn(ws) < mostOf {
			s.wanted.more(ws)
		}
	}
}

// readSoon takes in the runs whose time comes soon. Those that have been due for
// long, and are too many for the runners, become ordinary ones.
func (s *seat) readSoon(now time.Time) reading {
	s.wanted.soonAt = now.Add(soonEvery)
	return reading{
		again: func() { s.wanted.soonAt = time.Time{} },
		do: func(ctx context.Context, system postgres.SystemDB) (func(), error) {
			ready, err := system.Ready(ctx, overdue, readyMost)
			soon, err2 := system.Soon(ctx, horizon, timedMost)
			return func() {
				for _, ws := range ready {
					s.wanted.look(ws)
				}
				for _, q := range soon {
					s.queuedThen(q)
				}
				if len(ready) > 0 || len(soon) == timedMost {
					s.wanted.soonAt = time.Now().Add(s.times.Sweep)
				}
			}, errors.Join(err, err2)
		},
	}
}

// readPage takes the sweep one page further.
func (s *seat) readPage(now time.Time) reading {
	after := s.wanted.after
	s.wanted.pageAt = now.Add(circle)
	return reading{
		again: func() { s.wanted.pageAt = time.Time{} },
		do: func(ctx context.Context, system postgres.SystemDB) (func(), error) {
			started := time.Now()
			page, err := system.WorkspaceQueues(ctx, after, pageOf, firstHead)
			took := time.Since(started)
			return func() { s.turnPage(after, page, took) }, err
		},
	}
}

func (s *seat) turnPage(after corp.WorkspaceID, page []postgres.WorkspaceQueue, took time.Duration) {
	there := make(map[corp.WorkspaceID]struct{}, len(page))
	for _, r := range page {
		there[r.Workspace] = struct{}{}
		s.adopt(r)
	}
	last := corp.WorkspaceID{}
	if len(page) == pageOf {
		last = page[pageOf-1].Workspace
	}
	for ws := range s.rooms {
		if _, ok := there[ws]; !ok && bytes.Compare(ws[:], after[:]) > 0 && (last.IsZero() || bytes.Compare(ws[:], last[:]) <= 0) {
			s.wanted.look(ws) // archived, or new
		}
	}
	if s.wanted.after != after {
		return // it was begun anew meanwhile
	}
	if s.wanted.after = last; last.IsZero() {
		s.wanted.hurry = false
		s.knows.Store(true)
	}
	pages := len(s.rooms)/pageOf + 1
	s.wanted.pageAt = time.Now().Add(max(circle/time.Duration(pages), restShare*took))
}

// adopt makes the memory of one workspace what was read, but for what is newer.
func (s *seat) adopt(r postgres.WorkspaceQueue) {
	rm, marks, now := s.room(r.Workspace), s.under.marks[r.Workspace], time.Now()
	s.queue.SetShare(r.Workspace, scheduler.Share{
		Class: r.Plan, ClassWeight: r.PlanWeight, Weight: r.Weight, Concurrency: r.Concurrency, Agents: r.Agents, Repositories: r.Repositories,
	})
	rm.plan, rm.limit = r.Plan, r.Concurrency
	rm.held = map[corp.RunID]int64{}
	var waiting []scheduler.Item
	var held []scheduler.Held
	for _, q := range r.Head {
		if _, newer := marks[q.RunID]; !newer {
			delete(rm.timed, q.RunID)
			waiting = append(waiting, item(q))
		}
	}
	for _, l := range r.Leased {
		if _, newer := marks[l.RunID]; !newer {
			rm.held[l.RunID] = l.Epoch
			delete(rm.timed, l.RunID)
			since := now.Add(-time.Duration(l.AgeMS) * time.Millisecond)
			held = append(held, scheduler.Held{Workspace: l.Workspace, Run: l.RunID, Agent: l.AgentID, Repository: l.RepositoryID, Since: since})
		}
	}
	for run, m := range marks {
		switch {
		case m.held != nil:
			rm.held[run] = m.epoch
			held = append(held, *m.held)
		case m.item != nil && m.item.NotBefore.IsZero():
			waiting = append(waiting, *m.item)
		}
	}
	for _, it := range rm.timed {
		waiting = append(waiting, it)
	}
	s.dropGone(r)
	s.queue.SyncWorkspace(r.Workspace, waiting, held, r.Whole, now)
	rm.reached(r)
	if _, newer := s.under.limits[r.Workspace]; newer {
		s.queue.Bar(r.Workspace)
	}
	s.trust(r.Workspace)
}

// dropGone takes out what is not in the head that was read although its place
// would be there: it was cancelled. Else each of them would have to be claimed in
// vain before anybody's turn comes.
func (s *seat) dropGone(r postgres.WorkspaceQueue) {
	n := len(r.Head)
	if r.Whole || n == 0 {
		return // SyncWorkspace knows
	}
	there := make(map[corp.RunID]struct{}, n)
	for _, q := range r.Head {
		there[q.RunID] = struct{}{}
	}
	marks := s.under.marks[r.Workspace]
	s.queue.RemoveBefore(item(r.Head[n-1]), func(run corp.RunID) bool {
		_, read := there[run]
		_, newer := marks[run]
		return read || newer
	})
}

// trust says that what is leased in a workspace was read. It counts only if the
// reading began after the last claim of which that was not known.
func (s *seat) trust(ws corp.WorkspaceID) {
	if !s.unfenced && s.under.fences == s.fences {
		delete(s.doubtful, ws)
	}
}

// reached notes how far a queue is known after its head was read.
func (rm *room) reached(r postgres.WorkspaceQueue) {
	last := postgres.Place{}
	if n := len(r.Head); n > 0 {
		last = placeOf(item(r.Head[n-1]))
	}
	if rm.whole || r.Whole || later(last, rm.known) {
		rm.known = last
	}
	rm.whole = r.Whole
}

// empty forgets a workspace that is there no more.
func (s *seat) empty(ws corp.WorkspaceID) {
	s.queue.SyncWorkspace(ws, nil, nil, true, time.Now())
	s.queue.Forget(ws)
	delete(s.rooms, ws)
	s.trust(ws)
}

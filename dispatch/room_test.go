package dispatch

import (
	"log/slog"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/scheduler"
)

// memory is a seat without a database, while a reading is under way.
func memory() *seat {
	s := newSeat(New(nil, nil, corp.NewID[corp.ServerID](), "", DefaultTimes(), slog.New(slog.DiscardHandler)), 1)
	s.begin()
	return s
}

func (s *seat) begin() { s.under = s.newUnderway() }

func queuedRun(ws corp.WorkspaceID, age time.Duration) postgres.QueuedRun {
	return postgres.QueuedRun{Workspace: ws, RunID: corp.NewID[corp.RunID](), Runtime: corp.RuntimeBuiltin, CreatedAt: time.Now().Add(-age)}
}

func leasedAs(q postgres.QueuedRun, epoch int64) postgres.LeasedRun {
	return postgres.LeasedRun{Workspace: q.Workspace, RunID: q.RunID, Epoch: epoch}
}

func wantIn(t *testing.T, s *seat, ws corp.WorkspaceID, waiting, inHand int) {
	t.Helper()
	if w, h := s.queue.WaitingIn(ws), s.queue.InHand(ws); w != waiting || h != inHand || len(s.room(ws).held) != inHand {
		t.Errorf("%d wait and %d (%d) are in hand, want %d and %d", w, h, len(s.room(ws).held), waiting, inHand)
	}
}

// Rows that were read before something happened come after it: what happened counts.
func TestWhatHappenedDuringAReadingIsNewerThanWhatItBrings(t *testing.T) {
	t.Parallel()
	ws := corp.NewID[corp.WorkspaceID]()
	one := queuedRun(ws, time.Minute)
	asQueued := postgres.WorkspaceQueue{Workspace: ws, Plan: "free", Head: []postgres.QueuedRun{one}, Whole: true}
	asLeased := postgres.WorkspaceQueue{Workspace: ws, Plan: "free", Leased: []postgres.LeasedRun{leasedAs(one, 1)}, Whole: true}
	empty := postgres.WorkspaceQueue{Workspace: ws, Plan: "free", Whole: true}
	known := func(rows postgres.WorkspaceQueue) *seat {
		s := memory()
		s.adopt(rows)
		s.begin()
		return s
	}

	s := known(asQueued) // leased meanwhile
	s.started(item(one), time.Now())
	s.adopt(asQueued)
	wantIn(t, s, ws, 0, 1)

	s = known(asQueued) // leased and ended
	s.started(item(one), time.Now())
	s.ended(ws, one.RunID)
	s.adopt(asQueued)
	wantIn(t, s, ws, 0, 0)
	s.begin()
	s.adopt(asLeased) // a later reading knows better than anything before it
	wantIn(t, s, ws, 0, 1)

	s = known(asLeased) // ended
	s.ended(ws, one.RunID)
	s.adopt(asLeased)
	wantIn(t, s, ws, 0, 0)

	s = known(asLeased) // given back
	back := one
	back.Epoch = 1
	s.queued(back)
	s.adopt(asLeased)
	wantIn(t, s, ws, 1, 0)

	s = known(empty) // submitted
	s.queued(one)
	s.adopt(empty)
	wantIn(t, s, ws, 1, 0)

	s = known(asQueued) // claimed in vain: its row tells, later
	s.started(item(one), time.Now())
	s.inVain(item(one))
	s.adopt(asQueued)
	wantIn(t, s, ws, 0, 0)
	if len(s.wanted.later) != 1 {
		t.Error("nobody looks where it stands")
	}
}

// The leader reads what is leased and then what is queued: what it leases between
// the two is in neither, and has not ended.
func TestARunThatIsLeasedWhileItIsReadKeepsItsSlot(t *testing.T) {
	t.Parallel()
	s, ws := memory(), corp.NewID[corp.WorkspaceID]()
	one := queuedRun(ws, time.Minute)
	s.adopt(postgres.WorkspaceQueue{Workspace: ws, Plan: "free", Head: []postgres.QueuedRun{one}, Whole: true})
	s.begin()
	s.started(item(one), time.Now())
	s.standsAt(ws, postgres.RunNow{RunID: one.RunID})
	wantIn(t, s, ws, 0, 1)
	if len(s.wanted.runs) != 1 {
		t.Error("nobody looks again")
	}
	s.begin()
	s.standsAt(ws, postgres.RunNow{RunID: one.RunID}) // now it has ended
	wantIn(t, s, ws, 0, 0)
}

func TestAWorkspaceThatIsArchivedIsForgotten(t *testing.T) {
	t.Parallel()
	s, ws := memory(), corp.NewID[corp.WorkspaceID]()
	s.adopt(postgres.WorkspaceQueue{Workspace: ws, Plan: "free", Whole: true, Head: []postgres.QueuedRun{queuedRun(ws, 0)}})
	s.empty(ws)
	s.queued(queuedRun(ws, 0)) // said late
	if it, ok := s.queue.Pick(scheduler.Runner{Runtimes: []string{corp.RuntimeBuiltin}}, time.Now()); ok || len(s.rooms) != 0 {
		t.Errorf("it is remembered: %v", it)
	}
}

func TestAnOldHintChangesNothing(t *testing.T) {
	t.Parallel()
	s, ws := memory(), corp.NewID[corp.WorkspaceID]()
	s.adopt(postgres.WorkspaceQueue{Workspace: ws, Plan: "free", Whole: true})
	q := queuedRun(ws, 0)
	s.queued(q)
	s.queued(q)
	wantIn(t, s, ws, 1, 0)
	s.started(item(q), time.Now())
	s.queued(q) // of before it was leased
	wantIn(t, s, ws, 0, 1)
	s.ended(ws, q.RunID)
	s.ended(ws, q.RunID)
	wantIn(t, s, ws, 0, 0)
}

// This server's clock may be anything: the database says how long it is.
func TestARunsTimeIsCountedFromNow(t *testing.T) {
	t.Parallel()
	for _, skew := range []time.Duration{-10 * time.Minute, 0, 10 * time.Minute} {
		q := queuedRun(corp.NewID[corp.WorkspaceID](), 0)
		q.NotBefore, q.DueInMS = new(time.Now().Add(30*time.Second+skew)), new(int64(30_000))
		if left := time.Until(item(q).NotBefore); left < 29*time.Second || left > 31*time.Second {
			t.Errorf("with a clock that is off by %v it waits %v", skew, left)
		}
	}
}

func TestALongQueueTakesNoMoreMemoryThanIsMeant(t *testing.T) {
	t.Parallel()
	s, ws := memory(), corp.NewID[corp.WorkspaceID]()
	s.adopt(postgres.WorkspaceQueue{Workspace: ws, Plan: "free", Whole: true})
	for i := range roomFor + 500 {
		q := queuedRun(ws, time.Hour-time.Duration(i)*time.Millisecond)
		s.queued(q)
	}
	if n := s.queue.WaitingIn(ws); n > roomFor+1 || s.room(ws).whole {
		t.Errorf("%d runs are kept, and all are thought known: %v", n, s.room(ws).whole)
	}
	urgent := queuedRun(ws, 0)
	urgent.Priority = 9
	s.queued(urgent)
	s.queue.SetShare(ws, scheduler.Share{Class: "free", ClassWeight: 1, Weight: 1})
	if it, ok := s.queue.Pick(scheduler.Runner{Runtimes: []string{corp.RuntimeBuiltin}}, time.Now()); !ok || it.Run != urgent.RunID {
		t.Errorf("a run that goes before all others was left out: %v", it.Run)
	}
	for s.queue.WaitingIn(ws) > 0 {
		it, ok := s.queue.Pick(scheduler.Runner{Runtimes: []string{corp.RuntimeBuiltin}}, time.Now())
		if !ok {
			t.Fatal("nothing is picked")
		}
		s.started(it, time.Now())
		s.ended(ws, it.Run)
	}
	if len(s.wanted.mores) != 1 {
		t.Error("the rest of the queue is not asked for")
	}
}

// What waits for a time is in no head of a queue, so that nothing else bounds it.
func TestAStormOfDelayedTasksFillsNoMemory(t *testing.T) {
	t.Parallel()
	ws := corp.NewID[corp.WorkspaceID]()
	s := memory()
	s.adopt(postgres.WorkspaceQueue{Workspace: ws, Plan: "free", Whole: true})
	in := func(d time.Duration) {
		q := queuedRun(ws, 0)
		q.DueInMS = new(d.Milliseconds())
		s.queued(q)
	}
	for range 2 * roomFor {
		in(horizon / 2)
	}
	if n := s.queue.WaitingIn(ws); n != roomFor || len(s.room(ws).timed) != roomFor {
		t.Errorf("%d wait (%d for a time), want %d", n, len(s.room(ws).timed), roomFor)
	}
	in(lately / 2) // it is next
	if n := s.queue.WaitingIn(ws); n != roomFor+1 {
		t.Errorf("%d wait: what comes next must be known", n)
	}
}

// A limit that was set before tasks were submitted holds for them, although it
// takes a reading to know it.
func TestNothingIsOfferedByLimitsThatHaveChanged(t *testing.T) {
	t.Parallel()
	ws := corp.NewID[corp.WorkspaceID]()
	rows := postgres.WorkspaceQueue{Workspace: ws, Plan: "free", Whole: true, Head: []postgres.QueuedRun{queuedRun(ws, time.Minute)}}
	changed := postgres.Notice{Kind: postgres.NoticeLimits, Workspace: ws}
	picked := func(s *seat) bool {
		_, ok := s.queue.Pick(scheduler.Runner{Runtimes: []string{corp.RuntimeBuiltin}}, time.Now())
		return ok
	}
	s := memory()
	s.adopt(rows)
	s.under = nil
	s.note(changed)
	if picked(s) {
		t.Error("by the old limits")
	}
	s.begin()
	s.note(changed) // while they are read
	s.adopt(rows)
	if picked(s) {
		t.Error("by limits that are older than the change")
	}
	if _, wanted := s.wanted.looks[ws]; !wanted {
		t.Error("nobody reads the new ones")
	}
	s.begin()
	s.adopt(rows)
	if !picked(s) {
		t.Error("the new limits are known, and nothing is offered")
	}
	s.note(changed) // with nothing queued
	s.queued(queuedRun(ws, 0))
	if picked(s) {
		t.Error("by the old limits, for what came later")
	}
}

// Who has had more than a share while nobody else wanted any owes it: a change of a
// limit, while nothing is queued or in hand, does not settle that.
func TestAChangedLimitDoesNotWipeOutWhatAWorkspaceHasHad(t *testing.T) {
	t.Parallel()
	s, loud, quiet := memory(), corp.WorkspaceID{1}, corp.WorkspaceID{2}
	rows := func(ws corp.WorkspaceID, runs int) postgres.WorkspaceQueue {
		r := postgres.WorkspaceQueue{Workspace: ws, Plan: "free", Whole: true}
		for range runs {
			r.Head = append(r.Head, queuedRun(ws, time.Minute))
		}
		return r
	}
	pick := func() scheduler.Item {
		it, ok := s.queue.Pick(scheduler.Runner{Runtimes: []string{corp.RuntimeBuiltin}}, time.Now())
		if !ok {
			t.Fatal("nothing is offered")
		}
		return it
	}
	s.adopt(rows(quiet, 0))
	s.adopt(rows(loud, 20))
	for range 20 {
		s.started(pick(), time.Now().Add(-time.Hour))
	}
	for run := range s.rooms[loud].held {
		s.ended(loud, run)
	}
	s.under = nil
	s.note(postgres.Notice{Kind: postgres.NoticeLimits, Workspace: loud})
	s.begin()
	s.adopt(rows(loud, 20))
	s.adopt(rows(quiet, 20))
	for i := range 20 {
		it := pick()
		if it.Workspace != quiet {
			t.Fatalf("run %d goes to the workspace that has had twenty hours", i)
		}
		s.started(it, time.Now())
	}
}

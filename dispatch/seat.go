package dispatch

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/scheduler"
)

const (
	// batch is how many runs one claim statement leases at most: enough to be
	// cheap, few enough to keep the leader's row locked for a short time only.
	batch = 200
	// resyncEvery is after how long the whole memory is read again even if
	// nobody waits and nothing was heard.
	resyncEvery = 30 * time.Second
	// readShare limits reading the queue to a tenth of the time, however long it is.
	readShare = 9
	// readGap is the least time between two readings: a burst of notices is one.
	readGap = 10 * time.Millisecond
	// remember is how long an answer may be asked for again.
	remember = 5 * time.Minute
)

// seat is one term of leadership. Its memory (the fields below "owned") belongs
// to the one goroutine that runs loop; everybody else speaks to it through the
// channels, or leaves a note under mu.
type seat struct {
	*Dispatcher
	term   int64
	asks   chan *ask
	leaves chan *ask
	freed  chan struct{} // there are notes in ended
	doubt  chan struct{} // the term may be over: ask the database now
	done   chan struct{} // closed when the term is over

	mu    sync.Mutex
	ended []corp.RunID

	// owned
	queue     *scheduler.Scheduler
	polls     []*ask // that wait, the longest first
	answers   map[corp.RunnerID]answer
	stale     bool      // the database may know more
	readAfter time.Time // not before, so that a long queue is not read all the time
	readAt    time.Time
}

// answer is the last one that a runner got with runs in it.
type answer struct {
	seq    int64
	grants []grant
	at     time.Time
}

// grant is a run leased to the runner that asked, with the secrets that exist
// nowhere else: the database keeps their hashes.
type grant struct {
	workspace corp.WorkspaceID
	run       corp.RunID
	epoch     int64
	secret    string
	runKey    string
}

func newSeat(d *Dispatcher, term int64) *seat {
	return &seat{
		Dispatcher: d, term: term,
		asks: make(chan *ask), leaves: make(chan *ask),
		freed: make(chan struct{}, 1), doubt: make(chan struct{}, 1), done: make(chan struct{}),
		queue: scheduler.New(), answers: map[corp.RunnerID]answer{}, stale: true,
	}
}

func (s *seat) finished(run corp.RunID) {
	s.mu.Lock()
	s.ended = append(s.ended, run)
	s.mu.Unlock()
	signal(s.freed)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// loop serves until ctx, the term, ends.
func (s *seat) loop(ctx context.Context) {
	sweep := time.NewTicker(s.times.Sweep)
	defer sweep.Stop()
	due := time.NewTimer(0)
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case a := <-s.asks:
			s.arrive(a)
			s.gather()
		case a := <-s.leaves:
			s.leave(a)
		case <-s.freed:
		case <-s.dirty:
			s.stale = true
		case <-sweep.C:
			s.sweep()
		case <-due.C:
		}
		s.step(ctx)
		due.Reset(s.untilDue())
	}
}

// gather takes the polls that have come meanwhile, so that one statement serves
// them all.
func (s *seat) gather() {
	for range batch {
		select {
		case a := <-s.asks:
			s.arrive(a)
		default:
			return
		}
	}
}

// sweep doubts the memory while a runner waits in vain (a notice may have been
// lost, a slot freed on another server), and now and then in any case.
func (s *seat) sweep() {
	if len(s.polls) > 0 || time.Since(s.readAt) >= resyncEvery {
		s.stale = true
	}
	for runner, a := range s.answers {
		if time.Since(a.at) > remember {
			delete(s.answers, runner)
		}
	}
}

func (s *seat) step(ctx context.Context) {
	s.mu.Lock()
	ended := s.ended
	s.ended = nil
	s.mu.Unlock()
	for _, run := range ended {
		s.queue.Finish(run, time.Now())
	}
	if s.stale && !time.Now().Before(s.readAfter) {
		s.read(ctx)
	}
	s.serve(ctx)
}

// untilDue returns when there is something to do that no channel tells.
func (s *seat) untilDue() time.Duration {
	wait := resyncEvery
	if due, ok := s.queue.NextDue(); ok && len(s.polls) > 0 {
		wait = min(wait, time.Until(due))
	}
	if s.stale {
		wait = min(wait, time.Until(s.readAfter))
	}
	return max(wait, time.Millisecond)
}

// read makes the memory what the database says. What is leased is read before
// what is queued: a run that goes back to the queue in between is in both, and
// one that is leased in between does not exist, because only this goroutine
// leases.
func (s *seat) read(ctx context.Context) {
	started := time.Now()
	s.stale = false
	err := s.readRows(ctx)
	took := time.Since(started)
	s.readAt, s.readAfter = time.Now(), time.Now().Add(max(readGap, readShare*took))
	if err != nil && ctx.Err() == nil {
		s.stale = true
		s.readAfter = time.Now().Add(max(s.times.Sweep, readShare*took))
		s.logger.ErrorContext(ctx, "the queue could not be read", slog.Any("error", err))
	}
}

func (s *seat) readRows(ctx context.Context) error {
	system := s.db.System("dispatch")
	limits, err := system.Limits(ctx)
	if err != nil {
		return err
	}
	leased, err := system.Leased(ctx)
	if err != nil {
		return err
	}
	queued, err := system.Queue(ctx)
	if err != nil {
		return err
	}
	shares := make(map[corp.WorkspaceID]scheduler.Share, len(limits))
	for ws, limit := range limits {
		shares[ws] = scheduler.Share{Class: "all", ClassWeight: 1, Weight: 1, Concurrency: limit}
	}
	s.queue.SetShares(shares)
	held := map[corp.WorkspaceID][]scheduler.Held{}
	for _, run := range leased {
		held[run.Workspace] = append(held[run.Workspace], scheduler.Held{Workspace: run.Workspace, Run: run.RunID, Since: time.Now()})
	}
	items := map[corp.WorkspaceID][]scheduler.Item{}
	for _, run := range queued {
		items[run.Workspace] = append(items[run.Workspace], item(run))
	}
	for ws := range shares {
		s.queue.SyncWorkspace(ws, items[ws], held[ws], true, time.Now())
	}
	return nil
}

func item(run postgres.QueuedRun) scheduler.Item {
	it := scheduler.Item{
		Workspace: run.Workspace, Run: run.RunID, Epoch: run.Epoch, Priority: run.Priority, Labels: run.Labels,
		Runtime: corp.RuntimeBuiltin, CreatedAt: run.CreatedAt, // the one runtime that this build carries out
	}
	if run.NotBefore != nil {
		it.NotBefore = *run.NotBefore
	}
	return it
}

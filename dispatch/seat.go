package dispatch

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/scheduler"
)

const (
	// batch is how many runs one claim statement leases at most: enough to be
	// cheap, few enough to keep the leader's row locked for a short time only.
	batch = 200
	// remember is how long an answer may be asked for again.
	remember = 5 * time.Minute
	// chargeEvery is how often runs that outlast what was paid for them pay on.
	chargeEvery = time.Second
	// idle is the longest rest of the loop.
	idle = 30 * time.Second
)

// seat is one term of leadership. Its memory (the fields below "owned") belongs
// to the one goroutine that runs loop; everybody else speaks to it through the
// channels, or leaves notices under mu. It never reads the database itself: a
// second goroutine does, one reading at a time, and hands over what it read.
type seat struct {
	*Dispatcher
	term   atomic.Int64
	asks   chan *ask
	leaves chan *ask
	whys   chan *why
	heard  chan struct{} // there are notices
	doubt  chan struct{} // the term may be over: ask the database now
	unsure atomic.Bool   // a claim may still be under way: the next term is to begin
	fence  chan struct{} // it has begun
	knows  atomic.Bool   // the heads of all queues have been read
	done   chan struct{} // closed when the term is over
	jobs   chan reading
	read   chan outcome

	mu      sync.Mutex
	notices []postgres.Notice

	// owned
	queue     *scheduler.Scheduler
	polls     []*ask // that wait, the longest first
	rooms     map[corp.WorkspaceID]*room
	wanted    wants
	under     *underway // the reading that is under way, nil when none is
	chargedAt time.Time
	fences    int                           // how often the term was begun anew
	unfenced  bool                          // it is to be
	vain      bool                          // the last claim leased nothing of what it was to
	doubtful  map[corp.WorkspaceID]struct{} // where nobody knows what is leased: nothing is claimed until it is read
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
	s := &seat{
		Dispatcher: d,
		asks:       make(chan *ask), leaves: make(chan *ask), whys: make(chan *why),
		heard: make(chan struct{}, 1), doubt: make(chan struct{}, 1), fence: make(chan struct{}, 1), done: make(chan struct{}),
		jobs: make(chan reading, 1), read: make(chan outcome, 1),
		queue: scheduler.New(), rooms: map[corp.WorkspaceID]*room{}, wanted: newWants(),
		doubtful: map[corp.WorkspaceID]struct{}{},
	}
	s.term.Store(term)
	return s
}

// hear leaves a notice for the loop.
func (s *seat) hear(n postgres.Notice) {
	if n.Kind == postgres.NoticeEvent {
		return
	}
	s.mu.Lock()
	s.notices = append(s.notices, n)
	s.mu.Unlock()
	signal(s.heard)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// loop serves until ctx, the term, ends.
func (s *seat) loop(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	var reader sync.WaitGroup
	reader.Go(func() { s.readOn(ctx) })
	defer reader.Wait()
	defer stop()
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case a := <-s.asks:
			s.arrive(a)
			s.gather()
		case a := <-s.leaves:
			s.leave(a)
		case w := <-s.whys:
			s.explain(w)
		case <-s.heard:
		case <-s.fence:
			s.unfenced = false
			s.fences++
			for ws := range s.doubtful {
				s.wanted.look(ws)
			}
		case got := <-s.read:
			s.handOver(ctx, got)
		case <-next.C:
		}
		s.step(ctx)
		next.Reset(s.rest())
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

func (s *seat) step(ctx context.Context) {
	now := time.Now()
	s.mu.Lock()
	notices := s.notices
	s.notices = nil
	s.mu.Unlock()
	for _, n := range notices {
		s.note(n)
	}
	if now.Sub(s.chargedAt) >= chargeEvery {
		s.chargedAt = now
		s.queue.Charge(now)
		s.forgetAnswers(now)
	}
	s.vain = false
	s.serve(ctx)
	s.readNext(time.Now())
}

func (s *seat) forgetAnswers(now time.Time) {
	for runner, a := range s.answers {
		if now.Sub(a.at) > remember {
			delete(s.answers, runner)
		}
	}
}

// rest returns how long there is nothing to do that no channel tells.
func (s *seat) rest() time.Duration {
	now := time.Now()
	wait := chargeEvery
	if len(s.polls) == 0 && len(s.rooms) == 0 {
		wait = idle
	}
	if due, ok := s.queue.NextDue(); ok && len(s.polls) > 0 {
		wait = min(wait, due.Sub(now))
	}
	if s.under == nil {
		wait = min(wait, s.wanted.next(now, len(s.polls) > 0).Sub(now))
	}
	if s.vain && len(s.polls) > 0 {
		wait = 0 // what comes next may be leased
	}
	return max(wait, time.Millisecond)
}

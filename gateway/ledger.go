package gateway

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
)

// ledger carries settled calls to the database in batches, off the calls' way.
// Each workspace has its own queue, so that one whose rows cannot be written
// does not hold up the others.
type ledger struct {
	db       *postgres.DB
	times    Times
	log      *slog.Logger
	recorded func([]settled) // called once for each call that is in the database

	mu     sync.Mutex
	queues map[corp.WorkspaceID]*queue
	size   int           // calls in all queues
	kick   chan struct{} // a batch is full, or somebody waits
	moved  chan struct{} // closed when calls have reached the database
}

// settled is one call on its way to the database.
type settled struct {
	record      postgres.CallRecord
	reservation *reservation // nil when nothing was reserved
	journaled   bool
	since       time.Time
}

type queue struct {
	calls    []settled
	busy     bool
	failures int
	retry    time.Time
}

func newLedger(db *postgres.DB, times Times, log *slog.Logger, recorded func([]settled)) *ledger {
	return &ledger{
		db: db, times: times, log: log, recorded: recorded, queues: map[corp.WorkspaceID]*queue{},
		kick: make(chan struct{}, 1), moved: make(chan struct{}),
	}
}

// add takes a settled call. It does not wait.
func (l *ledger) add(ws corp.WorkspaceID, s settled) {
	l.mu.Lock()
	q := l.queues[ws]
	if q == nil {
		q = &queue{}
		l.queues[ws] = q
	}
	s.since = time.Now()
	q.calls = append(q.calls, s)
	l.size++
	full := len(q.calls) >= maxBatch
	l.mu.Unlock()
	if full {
		l.hurry()
	}
}

func (l *ledger) hurry() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// full says whether so many calls wait for the database that no new one of the
// workspace may begin. One whose rows cannot be written leaves room for others.
func (l *ledger) full(ws corp.WorkspaceID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.queues[ws]
	return l.size >= maxUnflushed || q != nil && len(q.calls) >= maxUnflushed/2
}

// lag returns how many calls wait, and for how long the oldest has.
func (l *ledger) lag() (int, time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var oldest time.Duration
	for _, q := range l.queues {
		if len(q.calls) > 0 {
			oldest = max(oldest, time.Since(q.calls[0].since))
		}
	}
	return l.size, oldest
}

// run writes batches until ctx ends. It does not write what is left then: see drain.
func (l *ledger) run(ctx context.Context) {
	ticker := time.NewTicker(l.times.Flush)
	defer ticker.Stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		select {
		case <-ticker.C:
		case <-l.kick:
		case <-ctx.Done():
			return
		}
		for _, ws := range l.due() {
			wg.Go(func() { l.flush(ctx, ws) })
		}
	}
}

// due marks the queues that are to be written now as busy and returns them.
func (l *ledger) due() (due []corp.WorkspaceID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for ws, q := range l.queues {
		switch {
		case q.busy || time.Now().Before(q.retry):
		case len(q.calls) == 0:
			delete(l.queues, ws)
		default:
			q.busy = true
			due = append(due, ws)
		}
	}
	return due
}

// flush writes one batch of one workspace. After repeated failures it writes
// calls one by one, so that one that cannot be written holds up no other.
func (l *ledger) flush(ctx context.Context, ws corp.WorkspaceID) {
	l.mu.Lock()
	q := l.queues[ws]
	batch := q.calls[:min(len(q.calls), maxBatch):min(len(q.calls), maxBatch)]
	alone := q.failures >= 3
	l.mu.Unlock()
	var kept []settled
	var failed error
	if alone {
		kept, failed = l.oneByOne(ctx, ws, batch)
	} else if failed = l.write(ctx, ws, batch); failed != nil {
		kept = batch
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	q.calls = append(slices.Clip(kept), q.calls[len(batch):]...)
	l.size -= len(batch) - len(kept)
	q.busy = false
	if failed == nil {
		q.failures = 0
	} else {
		q.failures++
		q.retry = time.Now().Add(min(l.times.Flush<<min(q.failures, 7), 5*time.Second))
		if ctx.Err() == nil {
			l.log.ErrorContext(ctx, "calls not recorded", "workspace_id", ws, "calls", len(kept), "failures", q.failures, "error", failed)
		}
	}
	close(l.moved)
	l.moved = make(chan struct{})
	if len(q.calls) >= maxBatch && failed == nil {
		l.hurry()
	}
}

func (l *ledger) oneByOne(ctx context.Context, ws corp.WorkspaceID, batch []settled) (kept []settled, failed error) {
	for i := range batch {
		if err := l.write(ctx, ws, batch[i:i+1]); err != nil {
			kept, failed = append(kept, batch[i]), err
			if ctx.Err() != nil {
				return append(kept, batch[i+1:]...), err
			}
		}
	}
	return kept, failed
}

func (l *ledger) write(ctx context.Context, ws corp.WorkspaceID, batch []settled) error {
	records := make([]postgres.CallRecord, len(batch))
	for i := range batch {
		records[i] = batch[i].record
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), databaseTime)
	defer cancel()
	if err := l.db.In(ws).RecordCalls(ctx, records); err != nil {
		return err
	}
	l.recorded(batch)
	return nil
}

// drain writes everything that waits, until nothing does or ctx ends. run must
// have returned.
func (l *ledger) drain(ctx context.Context) error {
	for {
		l.mu.Lock()
		left := l.size
		for _, q := range l.queues {
			q.retry = time.Time{}
		}
		l.mu.Unlock()
		if left == 0 {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		for _, ws := range l.due() {
			l.flush(ctx, ws)
		}
		if now, _ := l.lag(); now == left { // the database does not take them: not so fast
			pause := time.NewTimer(l.times.Flush)
			select {
			case <-pause.C:
			case <-ctx.Done():
			}
			pause.Stop()
		}
	}
}

// settle waits until every call of a run that add has taken is in the database.
func (l *ledger) settle(ctx context.Context, run corp.RunID) error {
	for {
		l.mu.Lock()
		moved, waiting := l.moved, l.holds(run)
		l.mu.Unlock()
		if !waiting {
			return nil
		}
		l.hurry()
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *ledger) holds(run corp.RunID) bool {
	for _, q := range l.queues {
		for i := range q.calls {
			if q.calls[i].record.RunID == run {
				return true
			}
		}
	}
	return false
}

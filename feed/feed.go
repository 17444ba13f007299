// Package feed wakes whoever waits for news of a workspace: live streams, and
// the dispatcher when work was queued.
//
// It carries no news itself. A wake-up says "look again", wake-ups of one reader
// run together into one, and readers then read rows after a cursor of their own;
// so a lost or doubled notification, a slow reader or a restart loses nothing.
// NOTIFY is the hint that makes it quick; a slow poll is the truth.
package feed

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
)

// slowPoll is how long news may stay unseen when every notification is lost.
const slowPoll = 15 * time.Second

// Hub wakes the subscribers of one server. It is safe for concurrent use.
type Hub struct {
	db     *postgres.DB
	logger *slog.Logger
	poll   time.Duration

	mu       sync.Mutex
	readers  map[corp.WorkspaceID]map[chan struct{}]struct{}
	onQueue  []func(postgres.Notice)
	onAccess []func(postgres.Notice)
}

// New makes a hub that wakes nobody until Run is called.
func New(db *postgres.DB, logger *slog.Logger) *Hub {
	return &Hub{db: db, logger: logger, poll: slowPoll, readers: map[corp.WorkspaceID]map[chan struct{}]struct{}{}}
}

// Run listens to the database until ctx ends. It returns nil or ctx's error then,
// and otherwise what made listening impossible.
func (h *Hub) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var polling sync.WaitGroup
	polling.Go(func() { h.pollSlowly(ctx) })
	err := h.db.Listen(ctx, h.notice)
	cancel()
	polling.Wait()
	return err
}

// Subscribe returns a channel that receives after something may have changed in
// the workspace, and a function that ends the subscription. The channel holds
// one wake-up: a reader that is busy finds that one waiting, however many came.
// Subscribe before reading, so that nothing falls in between.
func (h *Hub) Subscribe(ws corp.WorkspaceID) (wake <-chan struct{}, cancel func()) {
	c := make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.readers[ws] == nil {
		h.readers[ws] = map[chan struct{}]struct{}{}
	}
	h.readers[ws][c] = struct{}{}
	return c, sync.OnceFunc(func() { h.unsubscribe(ws, c) })
}

// OnQueue has fn called after runs came into the queue or left it or their
// runners, and after limits changed, in any workspace: with a queue, a limits or
// a resync notice. fn must not block; it may be called from several goroutines.
func (h *Hub) OnQueue(fn func(postgres.Notice)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.onQueue = append(h.onQueue, fn)
}

// OnAccess has fn called after it changed who may do what, of a workspace or a
// person: with an access or a resync notice. The streams of the workspace are woken
// after that. fn must not block.
func (h *Hub) OnAccess(fn func(postgres.Notice)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.onAccess = append(h.onAccess, fn)
}

func (h *Hub) unsubscribe(ws corp.WorkspaceID, c chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.readers[ws], c)
	if len(h.readers[ws]) == 0 {
		delete(h.readers, ws)
	}
}

func (h *Hub) pollSlowly(ctx context.Context) {
	ticker := time.NewTicker(h.poll)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			h.wakeAll()
		}
	}
}

// notice passes on what was said. After a reconnect nobody knows what was
// missed, so everybody looks.
func (h *Hub) notice(n postgres.Notice) {
	switch n.Kind {
	case postgres.NoticeEvent:
		h.wake(n.Workspace)
	case postgres.NoticeQueue, postgres.NoticeLimits:
		h.queued(n)
	case postgres.NoticeAccess:
		h.access(n)
	case postgres.NoticeResync:
		h.access(n)
		h.queued(n)
	default:
		h.logger.Warn("notification of an unknown kind", "kind", n.Kind)
	}
}

func (h *Hub) wake(ws corp.WorkspaceID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.readers[ws] {
		nudge(c)
	}
}

func (h *Hub) wakeAll() {
	h.mu.Lock()
	for _, readers := range h.readers {
		for c := range readers {
			nudge(c)
		}
	}
	h.mu.Unlock()
}

// access has what is known of credentials forgotten before the readers look again.
func (h *Hub) access(n postgres.Notice) {
	h.mu.Lock()
	calls := h.onAccess
	h.mu.Unlock()
	for _, fn := range calls {
		fn(n)
	}
	if n.Workspace.IsZero() { // of a person, whose streams may be in any
		h.wakeAll()
	} else {
		h.wake(n.Workspace)
	}
}

func (h *Hub) queued(n postgres.Notice) {
	h.mu.Lock()
	calls := h.onQueue
	h.mu.Unlock()
	for _, fn := range calls {
		fn(n)
	}
}

func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it has one waiting
	}
}

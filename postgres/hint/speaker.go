package hint

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
)

const (
	// sendEvery is the least time between two notifications to other processes:
	// what is said in between travels together.
	sendEvery = 5 * time.Millisecond
	// maxUnsent bounds what is kept while the database cannot be reached. Beyond
	// it others are told once that they may have missed anything.
	maxUnsent = 10_000
	// lastWords is how long Close waits for the last notification.
	lastWords = time.Second
)

// Speaker says notices: to the listeners of its process at once, to other
// processes in batches over a connection of its own. It is safe for concurrent use.
type Speaker struct {
	url    string
	direct string // for LISTEN
	log    *slog.Logger
	origin string // how this process knows its own words when they come back

	mu        sync.Mutex
	listeners map[*listener]struct{}
	unsent    map[Notice]int64 // to the newest Seq
	sending   chan struct{}    // closed when the sender has ended; nil before it begins
	wake      chan struct{}
	closed    bool
}

// listener is one Listen that is under way.
type listener struct{ fn func(Notice) }

// NewSpeaker makes a speaker that connects when it has something to say. url may
// lead through PgBouncer; direct, for listening, may not.
func NewSpeaker(url, direct string, log *slog.Logger) *Speaker {
	return &Speaker{
		url: url, direct: direct, log: log, origin: corp.NewID[corp.ServerID]().UUID(), listeners: map[*listener]struct{}{},
		unsent: map[Notice]int64{}, wake: make(chan struct{}, 1),
	}
}

// hear has fn called for what this process says, until the returned function is
// called. fn must not block; it is called from many goroutines.
func (h *Speaker) hear(fn func(Notice)) (stop func()) {
	l := &listener{fn}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.listeners[l] = struct{}{}
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.listeners, l)
	}
}

// Say passes notices on. It never blocks on the database.
func (h *Speaker) Say(said []Notice) {
	if len(said) == 0 {
		return
	}
	h.mu.Lock()
	listeners := slices.Collect(maps.Keys(h.listeners))
	for _, n := range said {
		h.keep(n)
	}
	if h.sending == nil && !h.closed {
		h.sending = make(chan struct{})
		go h.send(h.sending)
	}
	h.mu.Unlock()
	for _, l := range listeners {
		for _, n := range said {
			l.fn(n)
		}
	}
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// keep adds a notice to what others must hear. The lock is held.
func (h *Speaker) keep(n Notice) {
	seq := n.Seq
	n.Seq, n.Queued, n.Ended = 0, nil, false
	h.unsent[n] = max(h.unsent[n], seq)
	if len(h.unsent) > maxUnsent {
		clear(h.unsent)
		h.unsent[Notice{Kind: Resync}] = 0
	}
}

func (h *Speaker) take() (said []Notice, closed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	said = make([]Notice, 0, len(h.unsent))
	for n, seq := range h.unsent {
		n.Seq = seq
		said = append(said, n)
	}
	clear(h.unsent)
	return said, h.closed
}

// putBack keeps what could not be sent.
func (h *Speaker) putBack(said []Notice) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, n := range said {
		h.keep(n)
	}
}

// send tells other processes, until close.
func (h *Speaker) send(ended chan struct{}) {
	defer close(ended)
	m := mouth{url: h.url}
	defer m.close()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for wait := firstBackoff; ; {
		<-h.wake
		said, closed := h.take()
		next := sendEvery
		if err := m.tell(h.origin, said); err != nil {
			h.log.Warn("other servers could not be notified", slog.Any("error", err), slog.Duration("again_in", wait))
			h.putBack(said)
			next, wait = wait, min(2*wait, lastBackoff)
			h.again()
		} else {
			wait = firstBackoff
		}
		if closed {
			return
		}
		pause.Reset(next)
		<-pause.C
	}
}

func (h *Speaker) again() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// Close sends what is unsent and ends. It waits a second at most.
func (h *Speaker) Close() {
	h.mu.Lock()
	h.closed = true
	ended := h.sending
	h.mu.Unlock()
	if ended == nil {
		return
	}
	h.again()
	select {
	case <-ended:
	case <-time.After(lastWords):
	}
}

// mouth is the connection that notifications are sent over, made when there is
// something to say.
type mouth struct {
	url  string
	conn *pgx.Conn
}

func (m *mouth) tell(origin string, said []Notice) error {
	if len(said) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerWithin)
	defer cancel()
	if m.conn == nil || m.conn.IsClosed() {
		conn, err := pgx.Connect(ctx, m.url)
		if err != nil {
			return err
		}
		m.conn = conn
	}
	_, err := m.conn.Exec(ctx, `SELECT pg_notify('`+channel+`', p) FROM unnest($1::text[]) AS u (p)`, writeNotices(origin, said))
	if err != nil {
		m.close()
	}
	return err
}

func (m *mouth) close() {
	if m.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = m.conn.Close(ctx)
	m.conn = nil
}

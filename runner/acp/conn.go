package acp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
)

// The limits of a connection.
const (
	DefaultMaxMessage = 64 << 20 // bytes
	maxHandlers       = 64       // requests of the peer in hand at a time
	maxRefusals       = 64       // refusals that the peer has not read yet
	maxJunkLogged     = 10       // lines
	maxJunkBytes      = 200      // of a logged line
)

// Work is the slow part of a request's handler; what it returns is the answer.
type Work func() (any, error)

// RequestHandler takes up a request of the peer. It runs on the reading
// goroutine, in the order of arrival, so it must not block and must not call
// the peer; the Work it returns runs on a goroutine of its own. The context ends
// when the peer cancels the request or the connection ends.
type RequestHandler func(ctx context.Context, params json.RawMessage) Work

// NotificationHandler receives a notification of the peer, on the reading
// goroutine: strictly in order, and nothing else is read until it returns. That
// is the backpressure. It must not call the peer.
type NotificationHandler func(ctx context.Context, params json.RawMessage)

// Conn is one JSON-RPC connection. Register handlers first, then Run it; Call
// and Notify may be used from any goroutine. There is no queue in it: a peer
// that does not read makes callers wait, until their context ends.
type Conn struct {
	in       *lines
	r        io.Reader
	w        io.Writer
	limit    int
	logger   *slog.Logger
	requests map[string]RequestHandler
	notices  map[string]NotificationHandler

	out      chan []byte   // unbuffered: to the writing goroutine
	done     chan struct{} // closed when no answer can come any more
	dead     chan struct{} // closed when nothing can be written any more
	junk     atomic.Int64
	handlers sync.WaitGroup
	closing  sync.Once
	slots    chan struct{}
	refusals chan struct{}

	mu       sync.Mutex
	lastID   int64
	calls    map[int64]chan received
	incoming map[string]context.CancelFunc
	err      error // set before done is closed
}

// NewConn makes a connection that reads from r and writes to w. maxMessage is
// the longest message in bytes; 0 means DefaultMaxMessage. The logger gets what
// the peer prints that is no message.
func NewConn(r io.Reader, w io.Writer, maxMessage int, logger *slog.Logger) *Conn {
	if maxMessage <= 0 {
		maxMessage = DefaultMaxMessage
	}
	c := &Conn{
		r: r, w: w, limit: maxMessage, logger: logger,
		requests: map[string]RequestHandler{}, notices: map[string]NotificationHandler{},
		out: make(chan []byte), done: make(chan struct{}), dead: make(chan struct{}),
		slots: make(chan struct{}, maxHandlers), refusals: make(chan struct{}, maxRefusals),
		calls: map[int64]chan received{}, incoming: map[string]context.CancelFunc{},
	}
	c.in = newLines(r, maxMessage, c.noteJunk)
	c.notices[methodCancelRequest] = c.cancelIncoming
	return c
}

// Handle registers the handler of a method's requests; call it before Run.
func (c *Conn) Handle(method string, h RequestHandler) { c.requests[method] = h }

// HandleNotification registers the handler of a notification; call it before Run.
func (c *Conn) HandleNotification(method string, h NotificationHandler) { c.notices[method] = h }

// Junk returns how many lines the peer printed that were no messages.
func (c *Conn) Junk() int64 { return c.junk.Load() }

// Done is closed when the connection has ended for reading: no answer comes any more.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Run carries the connection until the peer closes its side (nil), the context
// ends (its cause), or a message is too long or cannot be read or written. It
// waits for the handlers, which see their context end, and closes both streams
// if they can be closed. A stream whose Read does not end when it is closed, as
// that of a blocking standard input, keeps one goroutine until it ends.
func (c *Conn) Run(ctx context.Context) error {
	outer := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	read, written := make(chan error, 1), make(chan error, 1)
	stop := make(chan struct{})
	go func() { read <- c.readAll(ctx) }()
	go func() { written <- c.writeAll(stop) }()

	var err error
	select {
	case err = <-read:
	case err = <-written:
	case <-outer.Done():
		err = context.Cause(outer)
	}
	c.end(err)
	cancel()
	// Handlers may still answer a peer that only stopped talking, but not one
	// that a cancelled context told us to leave.
	release := context.AfterFunc(outer, c.closeStreams)
	defer release()
	c.handlers.Wait()
	close(stop)
	<-c.dead
	c.closeStreams()
	return err
}

// closeStreams ends both streams, and with them whoever reads or writes.
func (c *Conn) closeStreams() {
	c.kill()
	c.closing.Do(func() {
		for _, s := range []any{c.w, c.r} {
			if closer, ok := s.(io.Closer); ok {
				_ = closer.Close() // the streams are finished either way
			}
		}
	})
}

// end fails every call that waits, and those to come.
func (c *Conn) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = ErrClosed
	if err != nil {
		c.err = fmt.Errorf("%w: %w", ErrClosed, err)
	}
	close(c.done)
}

func (c *Conn) writeAll(stop <-chan struct{}) error {
	for {
		select {
		case line := <-c.out:
			if _, err := c.w.Write(line); err != nil {
				c.kill()
				return fmt.Errorf("write message: %w", err)
			}
		case <-stop:
			c.kill()
			return nil
		case <-c.dead:
			return nil
		}
	}
}

// kill says that nothing can be written any more.
func (c *Conn) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.dead:
	default:
		close(c.dead)
	}
}

func (c *Conn) readAll(ctx context.Context) error {
	for {
		line, err := c.in.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		m, ok := decode(line)
		switch {
		case !ok:
			c.noteJunk(line)
		case m.Method == nil:
			c.deliver(m)
		case len(m.ID) == 0:
			c.notice(ctx, *m.Method, m.Params)
		default:
			if err := c.accept(ctx, m); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

func (c *Conn) noteJunk(line []byte) {
	n := c.junk.Add(1)
	if n > maxJunkLogged {
		return // counted only: a chatty agent must not fill the log
	}
	c.logger.Debug("line of the peer is no message", "line", string(line[:min(len(line), maxJunkBytes)]), "bytes", len(line), "lines", n)
}

// deliver hands an answer to the call that waits for it.
func (c *Conn) deliver(m received) {
	id, err := strconv.ParseInt(string(m.ID), 10, 64)
	c.mu.Lock()
	waiting, ok := c.calls[id]
	delete(c.calls, id)
	c.mu.Unlock()
	if err != nil || !ok {
		c.logger.Debug("answer to no call", "rpc_id", string(m.ID[:min(len(m.ID), maxJunkBytes)]))
		return
	}
	waiting <- m // has room for one, and gets one
}

func (c *Conn) notice(ctx context.Context, method string, params json.RawMessage) {
	h, ok := c.notices[method]
	if !ok {
		c.logger.Debug("notification is unknown", "method", method)
		return
	}
	h(ctx, params)
}

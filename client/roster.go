package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// slowAnswer is how long a server that is one of several may take to begin an
// answer that another one can give as well.
const slowAnswer = 10 * time.Second

// slowUpload is how long such a server may take none of an upload, or begin no
// answer after its end, before it counts as silent. It is long, because the whole
// upload has to be sent again.
const slowUpload = 3 * slowAnswer

var (
	errMoved = errors.New("the client has moved to another server")
	errSlow  = errors.New("the server took too long to answer")
)

// roster is the servers of one installation and which of them the client speaks
// to. It stays with one until that one fails, and then goes to the next.
type roster struct {
	urls []string

	mu    sync.Mutex
	at    int
	stay  context.Context //nolint:containedctx // ends when the client leaves the server, for the requests that wait there
	leave context.CancelCauseFunc
}

func newRoster(list string) *roster {
	r := &roster{}
	for url := range strings.SplitSeq(list, ",") {
		if url = strings.TrimRight(strings.TrimSpace(url), "/"); url != "" {
			r.urls = append(r.urls, url)
		}
	}
	if len(r.urls) == 0 {
		r.urls = []string{""}
	}
	r.stay, r.leave = context.WithCancelCause(context.Background())
	return r
}

func (r *roster) several() bool { return len(r.urls) > 1 }

// now returns the server to speak to, and a context that ends when it is given up.
func (r *roster) now() (url string, stay context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.urls[r.at], r.stay
}

// move goes to the next server, unless somebody has left this one already. With
// cut the requests that wait there are ended, so that all of them move at once:
// a server that was paused would let each one wait for its own time limit.
func (r *roster) move(from string, cut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.several() || r.urls[r.at] != from {
		return
	}
	r.at = (r.at + 1) % len(r.urls)
	if cut {
		r.leave(errMoved)
		r.stay, r.leave = context.WithCancelCause(context.Background())
	}
}

// attempt is one request to one server.
type attempt struct {
	server string
	ctx    context.Context //nolint:containedctx // of this attempt alone
	cancel context.CancelCauseFunc
	slow   *time.Timer
	unstay func() bool
}

// try begins an attempt. A request that may be repeated does not wait for a server
// that is slow to answer, or that the client leaves meanwhile, if there is another.
// Nor does an upload: whoever has all of it can begin anew.
func (c *Client) try(ctx context.Context, r request) *attempt {
	server, stay := c.servers.now()
	a := &attempt{server: server, unstay: func() bool { return true }}
	a.ctx, a.cancel = context.WithCancelCause(ctx)
	wait := c.slow + r.waits
	switch {
	case !c.servers.several():
		return a
	case r.stream != nil:
		wait = slowUpload
	case !r.safe():
		return a
	}
	a.unstay = context.AfterFunc(stay, func() { a.cancel(errMoved) }) //nolint:contextcheck // it belongs to the server, not to the request
	a.slow = time.AfterFunc(wait, func() { a.cancel(errSlow) })
	return a
}

// failed ends an attempt that got no answer and leaves its server.
func (c *Client) failed(ctx context.Context, a *attempt, err error) error {
	paused := errors.Is(context.Cause(a.ctx), errSlow) || errors.Is(ctx.Err(), context.DeadlineExceeded) //nolint:contextcheck // the attempt's, made from ctx
	a.end()
	if ctx.Err() == nil || paused {
		c.servers.move(a.server, paused || unreachable(err))
	}
	return c.broken(ctx, a.server, err)
}

func (a *attempt) end() {
	a.unstay()
	if a.slow != nil {
		a.slow.Stop()
	}
	a.cancel(nil)
}

// upload is a stream on its way. While it is read the server is waited for by
// nobody: what takes long then is the source.
type upload struct {
	io.Reader
	attempt *attempt
}

// Read reads on.
func (u *upload) Read(p []byte) (int, error) {
	if slow := u.attempt.slow; slow != nil && slow.Stop() { // it was not answered yet, nor given up
		defer slow.Reset(slowUpload)
	}
	return u.Reader.Read(p)
}

// held is an answer's body, which ends its attempt when it is closed.
type held struct {
	io.ReadCloser
	attempt *attempt
}

// Close closes the body and ends the attempt.
func (h *held) Close() error {
	err := h.ReadCloser.Close()
	h.attempt.end()
	return err
}

// hold lets the answer take the time that it needs from now on.
func (a *attempt) hold(resp *http.Response) *http.Response {
	if a.slow != nil {
		a.slow.Stop()
	}
	resp.Body = &held{resp.Body, a}
	return resp
}

// serverOf returns which server an answer is from.
func serverOf(resp *http.Response) string {
	if h, ok := resp.Body.(*held); ok {
		return h.attempt.server
	}
	return ""
}

package api

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/genericcorp/corp"
)

const (
	// maxTopics is how many tasks and runs one stream may name.
	maxTopics = 50
	// maxStreams is how many streams one workspace may have on one server.
	maxStreams = 500
	// frameStall is how long a reader may take for one batch before it is let go;
	// it resumes where it was.
	frameStall = 30 * time.Second
	eventBatch = 500
	entryBatch = 100
)

type streamInput struct {
	Task  []string `query:"task,explode" maxItems:"50" doc:"Follow this task: its events and the entries of all its runs. May be given several times."`
	Run   []string `query:"run,explode" maxItems:"50" doc:"Follow this run: its events and entries. May be given several times."`
	After string   `query:"after" doc:"The id of a message after which to go on; e:0 for all events there are. Without it: events from now on, entries from the first."`
	Until string   `query:"until" enum:"final" doc:"final: end when everything named is final and was sent."`
	Last  string   `header:"Last-Event-ID" doc:"Like after, and stronger: what a browser sends when it reconnects."`
}

// stream checks everything that can be refused and then turns the answer into a
// stream of server-sent events.
func (a *API) stream(ctx context.Context, who corp.Identity, in *streamInput) (*huma.StreamResponse, error) {
	from := in.After
	if in.Last != "" {
		from = in.Last
	}
	at, err := parseCursor(from)
	if err != nil {
		return nil, err
	}
	f := &follower{api: a, who: who, hash: exchangeOf(ctx).hash, db: a.DB.In(who.Workspace), until: in.Until == "final", topics: newTopics()}
	// The order matters: woken from here on, then the newest event, then the rest.
	wake, cancel := a.Hub.Subscribe(who.Workspace)
	f.wake = wake
	if err := f.prepare(ctx, in, at); err != nil {
		cancel()
		return nil, err
	}
	plan, err := a.limits.plan(ctx, who.Plan)
	if err != nil {
		cancel()
		return nil, err
	}
	f.pace = newPacer(plan.MessagesPerSecond)
	if err := a.streams.enter(who.Workspace, plan); err != nil {
		cancel()
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) { //nolint:contextcheck // hctx carries the request's context
		defer a.streams.leave(who.Workspace)
		defer cancel()
		r, w := humago.Unwrap(hctx)
		f.out = newFrames(w, a.stall)
		defer f.out.close()
		ctx, done := a.whileServing(r.Context())
		defer done()
		f.run(ctx, exchangeOf(ctx))
	}}, nil
}

// run sends until the stream is over.
func (f *follower) run(ctx context.Context, x *exchange) {
	ping := time.NewTicker(f.api.ping)
	defer ping.Stop()
	again := time.NewTicker(identityTTL) // when the hint is lost that says who may do what
	defer again.Stop()
	f.out.open(f.at)
	for {
		done, err := f.round(ctx)
		if err == nil && !done && f.out.err == nil {
			if err = f.rest(ctx, ping.C, again.C); err == nil {
				continue
			}
		}
		switch {
		case f.out.err != nil || ctx.Err() != nil: // the reader left, or was too slow; it resumes where it was
		case err != nil:
			f.out.send("error", "", x.problem(ctx, err))
		case done:
			f.out.send("end", f.at.String(), struct{}{})
		}
		return
	}
}

// rest waits until there may be something to send. Its error says why that will not be.
func (f *follower) rest(ctx context.Context, ping, again <-chan time.Time) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-f.wake:
			return nil
		case <-ping:
			if !f.out.comment("ping", f.at) {
				return f.out.err
			}
			return nil
		case <-again:
			if err := f.admit(ctx); err != nil {
				return err
			}
		}
	}
}

// streamCount counts the open streams of each workspace.
type streamCount struct {
	mu   sync.Mutex
	open map[corp.WorkspaceID]int
}

func newStreamCount() *streamCount { return &streamCount{open: map[corp.WorkspaceID]int{}} }

// enter counts one more stream of a workspace, unless it has all that it may.
func (s *streamCount) enter(ws corp.WorkspaceID, plan corp.Plan) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case plan.Streams > 0 && s.open[ws] >= plan.Streams:
		return tooManyStreams(plan)
	case s.open[ws] >= maxStreams:
		return &corp.Error{Kind: corp.KindUnavailable, Code: "too_many_streams", Message: "This workspace has too many streams open.", Hint: "Follow several tasks in one stream, or close some."}
	}
	s.open[ws]++
	return nil
}

func (s *streamCount) leave(ws corp.WorkspaceID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[ws]--; s.open[ws] == 0 {
		delete(s.open, ws)
	}
}

// of returns how many streams a workspace has open.
func (s *streamCount) of(ws corp.WorkspaceID) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[ws]
}

func (s *streamCount) total() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.open {
		n += k
	}
	return n
}

// frames writes server-sent events. After an error it writes nothing more.
type frames struct {
	w       http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration
	buf     []byte
	err     error
}

func newFrames(w http.ResponseWriter, stall time.Duration) *frames {
	return &frames{w: w, control: http.NewResponseController(w), stall: stall}
}

// open sends the head, so that the reader knows that it is connected, and since
// which event: "from now on" is from this moment on, also for one whose
// connection breaks before anything happens.
func (f *frames) open(at cursor) {
	h := f.w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("X-Accel-Buffering", "no")
	f.w.WriteHeader(http.StatusOK)
	f.comment("connected", at)
}

// close lifts the deadline: the next request on this connection has its own time.
func (f *frames) close() { _ = f.control.SetWriteDeadline(time.Time{}) }

// comment says nothing but where the stream stands. An event source remembers
// the id of a message without data as it does every other.
func (f *frames) comment(text string, at cursor) bool {
	f.buf = append(f.buf, ": "+text+"\nid: "+at.String()+"\n\n"...)
	return f.flush()
}

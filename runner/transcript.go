package runner

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

// The bounds of a transcript. What an agent says is not bounded by itself.
const (
	burst        = 200 * time.Millisecond // pieces of one text within this are one entry
	batchEntries = 500
	batchBytes   = 512 << 10
	waitingBytes = 2 << 20   // not yet reported; an agent that says more is made to wait
	maxData      = 128 << 10 // of one entry's raw JSON
	maxEntries   = 50_000    // of one lease
	maxBytes     = 64 << 20  // likewise
)

// transcript turns what happens in a run into entries and reports them in
// order, again and again until the server has them. Its methods may be called
// from any goroutine; they wait while too much is unreported.
type transcript struct {
	client *client.Client
	lease  corp.Lease
	lost   func(why string)
	logger *slog.Logger
	held   context.Context //nolint:containedctx // the lease's: reporting ends with it, whoever adds the entry

	mu      sync.Mutex
	next    int64 // the index that the next entry gets
	open    *piece
	ready   []corp.Entry
	waiting int // bytes in ready and open
	written int
	full    bool
	closed  bool

	work chan struct{} // there is something to do for report
	room chan struct{} // something was reported
	done chan struct{} // everything was reported, after close
}

// piece is an entry that may still grow.
type piece struct {
	key   string // what may join it
	entry corp.Entry
	text  strings.Builder
	raw   []json.RawMessage
	bytes int
	since time.Time
}

// newTranscript begins after the entries that an earlier lease of the run has
// left on the server.
func newTranscript(held context.Context, c *client.Client, lease corp.Lease, lost func(string), logger *slog.Logger) *transcript {
	return &transcript{
		client: c, lease: lease, lost: lost, logger: logger, held: held,
		work: make(chan struct{}, 1), room: make(chan struct{}, 1), done: make(chan struct{}),
	}
}

// start asks which entry comes next, and begins to report.
func (t *transcript) start() {
	go func() {
		defer close(t.done)
		next, ok := t.send(nil)
		if !ok {
			return
		}
		t.mu.Lock()
		t.next = next
		t.mu.Unlock()
		t.report()
	}()
}

// note adds a line from the runner itself.
func (t *transcript) note(text string) {
	t.add(said{kind: corp.EntryNote, text: text})
}

// add takes an entry in. Entries with the same key that follow one another
// within a burst are joined.
func (t *transcript) add(s said) {
	s.text, s.raw = clean(s.text), cleanJSON(s.raw)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.full {
		return
	}
	if t.open != nil && !t.open.takes(s) {
		t.seal()
	}
	if t.open == nil {
		t.open = &piece{key: s.key, since: time.Now(), entry: corp.Entry{RunID: t.lease.RunID, Epoch: t.lease.Epoch, At: time.Now().UTC(), Kind: s.kind}}
	}
	t.waiting += t.open.join(s)
	if s.key == "" {
		t.seal()
	}
	signal(t.work)
	t.waitForRoom()
}

// waitForRoom makes an agent that says more than can be reported wait. The
// caller holds mu.
func (t *transcript) waitForRoom() {
	for t.waiting > waitingBytes && t.held.Err() == nil {
		t.mu.Unlock()
		select {
		case <-t.room:
		case <-t.done:
			t.mu.Lock()
			return
		case <-t.held.Done():
		}
		t.mu.Lock()
	}
	if t.waiting <= waitingBytes {
		signal(t.room) // for the next who waits
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (p *piece) takes(s said) bool {
	return s.key != "" && p.key == s.key && time.Since(p.since) < burst && p.text.Len()+len(s.text) <= corp.MaxEntryText
}

func (p *piece) join(s said) int {
	p.text.WriteString(s.text)
	if s.raw != nil {
		p.raw = append(p.raw, s.raw)
	}
	n := len(s.text) + len(s.raw)
	p.bytes += n
	return n
}

// seal ends the open piece. The caller holds mu.
func (t *transcript) seal() {
	p := t.open
	t.open = nil
	if p == nil {
		return
	}
	e := p.entry
	e.Text, e.Data = cut(p.text.String(), corp.MaxEntryText), together(p.raw)
	t.waiting += size(e) - p.bytes
	t.written += size(e)
	t.ready = append(t.ready, e)
	if t.written > maxBytes || t.count() >= maxEntries {
		t.full = true
		last := corp.Entry{RunID: e.RunID, Epoch: e.Epoch, At: e.At, Kind: corp.EntryNote, Text: "The agent says too much; the transcript ends here, the run goes on."}
		t.waiting += size(last)
		t.ready = append(t.ready, last)
	}
}

// count is how many entries of this lease there are; the caller holds mu.
func (t *transcript) count() int { return int(t.next) + len(t.ready) }

func size(e corp.Entry) int { return len(e.Text) + len(e.Data) + 200 }

// close ends the transcript and waits until the server has all of it, or the
// lease is gone.
func (t *transcript) close() {
	t.mu.Lock()
	t.seal()
	t.closed = true
	t.mu.Unlock()
	signal(t.work)
	select {
	case <-t.done:
	case <-t.held.Done():
		<-t.done
	}
}

// report sends what is ready, and seals a piece when its burst is over.
func (t *transcript) report() {
	timer := time.NewTimer(burst)
	defer timer.Stop()
	for {
		batch, closed, wait := t.take()
		if len(batch) > 0 {
			if _, ok := t.send(batch); !ok {
				return
			}
			t.reported(batch)
			continue
		}
		if closed {
			return
		}
		timer.Reset(wait)
		select {
		case <-t.held.Done():
			return
		case <-t.work:
		case <-timer.C:
		}
	}
}

// take returns the next batch, numbered.
func (t *transcript) take() (batch []corp.Entry, closed bool, wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	wait = time.Hour
	if t.open != nil {
		if wait = burst - time.Since(t.open.since); wait <= 0 {
			t.seal()
		}
	}
	bytes := 0
	for len(batch) < len(t.ready) && len(batch) < batchEntries {
		e := t.ready[len(batch)]
		if bytes += size(e); bytes > batchBytes && len(batch) > 0 {
			break
		}
		e.Index = t.next + int64(len(batch))
		batch = append(batch, e)
	}
	return batch, t.closed, max(wait, time.Millisecond)
}

func (t *transcript) reported(batch []corp.Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range batch {
		t.waiting -= size(e)
	}
	t.next += int64(len(batch))
	t.ready = append([]corp.Entry(nil), t.ready[len(batch):]...)
	signal(t.room)
}

// send reports a batch until the server has it. It says whether to go on: not
// when the lease is gone. A batch that the server calls wrong would be wrong
// for ever: it is sent once more without the agent's own JSON.
func (t *transcript) send(batch []corp.Entry) (next int64, ok bool) {
	if batch == nil {
		batch = []corp.Entry{}
	}
	var pause pause
	for bare := false; ; {
		next, err := t.client.ReportEntries(t.held, corp.EntryBatch{Lease: t.lease, Entries: batch})
		switch {
		case err == nil:
			return next, true
		case t.held.Err() != nil:
			return 0, false
		case corp.KindOf(err) == corp.KindLeaseLost:
			t.lost("the server has given it to somebody else")
			return 0, false
		case passing(err):
			if !pause.wait(t.held) {
				return 0, false
			}
		case !bare:
			bare = true
			t.logger.WarnContext(t.held, "entries were refused; sending their text alone", slog.Any("error", err))
			for i := range batch {
				batch[i].Data = nil
			}
		default:
			t.logger.ErrorContext(t.held, "entries were refused", slog.Int("entries", len(batch)), slog.Any("error", err))
			return 0, len(batch) > 0
		}
	}
}

package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"time"

	"github.com/genericcorp/corp"
)

// The server sends something at least every 15 seconds: a stream that says
// nothing for this long is dead.
const streamSilence = 45 * time.Second

// maxFrame is the most that one frame of a stream may hold: an entry's text and
// the agent's own update with it, each escaped.
const maxFrame = 4 << 20

// StreamQuery says what to follow. The zero query follows all events of the
// workspace from now on.
type StreamQuery struct {
	Tasks []corp.TaskID // their events, and the entries of all their runs
	Runs  []corp.RunID  // their events and entries
	// After is the cursor of an Update after which to go on, "e:0" for all events
	// there are, or empty for the events from now on. Entries start at the first.
	After string
	// UntilFinal ends the stream when every task and run named is final and
	// everything about them was sent.
	UntilFinal bool
}

// Update is one thing that happened: exactly one of Event and Entry is set.
type Update struct {
	Cursor string // where to go on after this one
	Event  *corp.Event
	Entry  *corp.Entry
}

// Stream follows events and entries as they happen. When the connection breaks
// it goes on after the last update, without a gap and without a duplicate, for
// as long as the client's patience lasts; then, or when the server refuses, it
// yields the error and ends. It ends without an error when the query's
// UntilFinal is fulfilled.
func (c *Client) Stream(ctx context.Context, query StreamQuery) iter.Seq2[Update, error] {
	return func(yield func(Update, error) bool) {
		cursor := query.After
		wait := newBackoff(c.patience)
		for {
			before, began := cursor, time.Now()
			done, heard, err := c.follow(ctx, query, &cursor, func(u Update) bool { return yield(u, nil) })
			if done {
				return
			}
			switch {
			case cursor != before: // it went on
				wait = newBackoff(c.patience)
			case heard && time.Since(began) >= backoffCap: // patience is for a server that is away, and this one was there until now
				wait.until = time.Now().Add(c.patience)
			}
			if corp.KindOf(err) != corp.KindUnavailable || !wait.next(ctx) {
				yield(Update{}, err)
				return
			}
		}
	}
}

// follow reads one connection. done says that the stream is over, by the
// server's word or the reader's, and heard that the server said anything at all.
func (c *Client) follow(ctx context.Context, query StreamQuery, cursor *string, yield func(Update) bool) (done, heard bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	header := map[string]string{"Accept": "text/event-stream"}
	if *cursor != "" {
		header["Last-Event-ID"] = *cursor
	}
	resp, err := c.signed(ctx, request{method: http.MethodGet, path: "/v1/stream", query: query.values(), header: header}, nil, func() bool { return false })
	if err != nil {
		return false, false, err
	}
	defer func() { _ = resp.Body.Close() }()
	silence := time.AfterFunc(c.silence, func() { cancel(errSilent) })
	defer silence.Stop()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(make([]byte, 0, 64<<10), maxFrame)
	var f frame
	for lines.Scan() {
		silence.Reset(c.silence)
		if !f.add(lines.Bytes()) {
			continue
		}
		heard = true
		u, end, err := f.update()
		if err != nil || end {
			return end, heard, err
		}
		if u.Cursor != "" {
			*cursor = u.Cursor // also of a frame that only says where the stream stands
		}
		if (u.Event != nil || u.Entry != nil) && !yield(u) {
			return true, heard, nil
		}
		f = frame{}
	}
	err = lines.Err()
	if errors.Is(context.Cause(ctx), errSilent) {
		c.servers.move(serverOf(resp), true)
		return false, heard, c.broken(context.WithoutCancel(ctx), serverOf(resp), errSilent)
	}
	if err == nil {
		err = io.ErrUnexpectedEOF // the server ends a stream with a frame that says so
	}
	c.servers.move(serverOf(resp), false)
	return false, heard, c.broken(ctx, serverOf(resp), fmt.Errorf("read the stream: %w", err))
}

var errSilent = errors.New("the stream fell silent")

func (q StreamQuery) values() url.Values {
	v := url.Values{}
	for _, id := range q.Tasks {
		v.Add("task", id.String())
	}
	for _, id := range q.Runs {
		v.Add("run", id.String())
	}
	if q.UntilFinal {
		v.Set("until", "final")
	}
	return v
}

// frame is one server-sent event as its lines come in.
type frame struct {
	id, event string
	data      []byte
}

// add takes one line and says whether it completed the frame.
func (f *frame) add(line []byte) bool {
	if len(line) == 0 {
		return true
	}
	name, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(name) {
	case "id":
		f.id = string(value)
	case "event":
		f.event = string(value)
	case "data":
		f.data = append(f.data, value...)
	}
	return false
}

// update reads the frame; end says that the server has nothing more to send. A
// frame of a name that this build does not know is no update.
func (f *frame) update() (u Update, end bool, err error) {
	u.Cursor = f.id
	switch f.event {
	case "event":
		u.Event = new(corp.Event)
		err = json.Unmarshal(f.data, u.Event)
	case "entry":
		u.Entry = new(corp.Entry)
		err = json.Unmarshal(f.data, u.Entry)
	case "end":
		return u, true, nil
	case "error":
		return u, false, problemOf(f.data)
	}
	if err != nil {
		return u, false, fmt.Errorf("read the stream: %w", err)
	}
	return u, false, nil
}

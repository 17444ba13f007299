package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
)

// follower sends one stream. It reads rows after its own cursor, so that what it
// sends has no gap and no duplicate however it was woken. It belongs to the
// request's goroutine.
type follower struct {
	api    *API
	who    corp.Identity
	hash   string // of the credential
	db     postgres.WorkspaceDB
	wake   <-chan struct{}
	out    *frames
	pace   pacer
	at     cursor
	until  bool // end when everything named is final
	settle bool // a state may have become final since it was last looked at
	topics topics
}

// topics is what a stream follows; no task and no run means all events.
type topics struct {
	tasks map[corp.TaskID]bool
	runs  map[corp.RunID]bool // named, or of a task that is
	dirty map[corp.RunID]bool // may have entries that were not sent
}

func newTopics() topics {
	return topics{tasks: map[corp.TaskID]bool{}, runs: map[corp.RunID]bool{}, dirty: map[corp.RunID]bool{}}
}

func (t topics) all() bool { return len(t.tasks) == 0 && len(t.runs) == 0 }

func (t topics) add(run corp.RunID) {
	if !t.runs[run] {
		t.runs[run], t.dirty[run] = true, true
	}
}

// prepare finds what the stream is to follow and where it begins.
func (f *follower) prepare(ctx context.Context, in *streamInput, at cursor) error {
	newest, err := f.db.LastEvent(ctx)
	if err != nil {
		return err
	}
	if at.event > newest {
		return corp.Invalid("after", "This workspace has no event of that number yet.", "Begin without a cursor.")
	}
	if at.event < 0 {
		at.event = newest
	}
	if at.event > 0 {
		// Refused before the stream begins, so that a browser does not ask again and again.
		if _, err := f.db.Events(ctx, at.event, 1); err != nil {
			return err
		}
	}
	f.at = cursor{event: at.event, entries: map[corp.RunID]int64{}}
	if f.until && len(in.Task)+len(in.Run) == 0 {
		return corp.Invalid("until", "Nothing is named that could become final.", "Name a task or a run.")
	}
	if len(in.Task)+len(in.Run) > maxTopics {
		return corp.Invalid("task", "A stream follows at most "+itoa(maxTopics)+" tasks and runs.", "Leave some out, or follow all events.")
	}
	if err := f.follow(ctx, in); err != nil {
		return err
	}
	for run := range f.topics.runs {
		if n, ok := at.entries[run]; ok {
			f.at.entries[run] = n
		}
	}
	f.settle = f.until
	return nil
}

// follow adds what the request names, which must be the workspace's own.
func (f *follower) follow(ctx context.Context, in *streamInput) error {
	for _, text := range in.Run {
		id, err := parseTopic[corp.RunID]("run", text)
		if err != nil {
			return err
		}
		if _, err := f.db.Run(ctx, id); err != nil {
			return err
		}
		f.topics.add(id)
	}
	for _, text := range in.Task {
		id, err := parseTopic[corp.TaskID]("task", text)
		if err != nil {
			return err
		}
		if _, err := f.db.Task(ctx, id); err != nil {
			return err
		}
		f.topics.tasks[id] = true
		runs, err := f.db.Runs(ctx, id, corp.Page{Limit: corp.MaxPage})
		if err != nil {
			return err
		}
		for _, run := range runs.Items {
			f.topics.add(run.ID)
		}
	}
	return nil
}

func parseTopic[I corp.AnyID](field, text string) (I, error) {
	id, err := corp.ParseID[I](text)
	if err != nil {
		var zero I
		return zero, corp.Invalid(field, "That is not an id of this kind.", "An id of this kind starts with \""+zero.Prefix()+"_\" and has 26 more characters.")
	}
	return id, nil
}

// round sends everything there is now. It says that the stream is done when, by
// what was true before it began to read, nothing can follow.
func (f *follower) round(ctx context.Context) (done bool, err error) {
	if err := f.admit(ctx); err != nil {
		return false, err
	}
	for {
		final := false
		if f.settle {
			f.settle = false
			if final, err = f.final(ctx); err != nil {
				return false, err
			}
		}
		if err := f.drain(ctx); err != nil || f.out.err != nil {
			return false, err
		}
		if final || !f.settle {
			return final, nil
		}
	}
}

// admit asks again whether the credential may read this: a revoked key's stream ends.
func (f *follower) admit(ctx context.Context) error {
	who, err := f.api.auth.identity(ctx, f.hash)
	if err != nil {
		return err
	}
	if who.Workspace != f.who.Workspace {
		return &corp.Error{Kind: corp.KindUnauthenticated, Message: "Your key no longer belongs to this workspace.", Hint: "Sign in again."}
	}
	return allowed(who, corp.TaskRead)
}

func (f *follower) final(ctx context.Context) (bool, error) {
	for id := range f.topics.tasks {
		task, err := f.db.Task(ctx, id)
		if err != nil || !task.State.Final() {
			return false, err
		}
	}
	for id := range f.topics.runs {
		run, err := f.db.Run(ctx, id)
		if err != nil || !run.State.Final() {
			return false, err
		}
	}
	return true, nil
}

// accessEvents are those after which a credential may be worth less.
var accessEvents = []string{"apikey.revoked", "apikey.rotated", "member.changed", "member.removed", "workspace.deleted"}

// drain sends events until there are none, each run's entries before the event
// that they led to, and then what is left of the entries.
func (f *follower) drain(ctx context.Context) error {
	for {
		events, err := f.db.Events(ctx, f.at.event, eventBatch)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(events, func(e corp.Event) bool { return slices.Contains(accessEvents, e.Kind) }) {
			f.api.auth.forget(f.hash)
			if err := f.admit(ctx); err != nil {
				return err
			}
		}
		for _, e := range events {
			if err := f.event(ctx, e); err != nil {
				return err
			}
		}
		if !f.out.flush() {
			return nil
		}
		if len(events) < eventBatch {
			break
		}
	}
	for run := range f.topics.dirty {
		if err := f.entries(ctx, run); err != nil {
			return err
		}
	}
	return nil
}

// event sends one event if it is of the stream's topics. Events must be seen in
// order: the cursor moves with each.
func (f *follower) event(ctx context.Context, e corp.Event) error {
	mine := f.topics.all()
	if !mine && f.topics.tasks[e.TaskID] && !e.TaskID.IsZero() {
		mine = true
		if !e.RunID.IsZero() {
			f.topics.add(e.RunID)
		}
	}
	if !mine && f.topics.runs[e.RunID] && !e.RunID.IsZero() {
		mine = true
	}
	if mine && f.topics.runs[e.RunID] {
		if e.Kind == "entries.added" {
			// The entries themselves are sent instead.
			f.topics.dirty[e.RunID] = true
			f.at.event = e.Seq
			return nil
		}
		if f.topics.dirty[e.RunID] && strings.HasPrefix(e.Kind, "run.") {
			if err := f.entries(ctx, e.RunID); err != nil {
				return err
			}
		}
	}
	if !mine {
		f.at.event = e.Seq
		return nil
	}
	if err := f.turn(ctx); err != nil {
		return err
	}
	f.at.event = e.Seq
	if strings.HasPrefix(e.Kind, "run.") || strings.HasPrefix(e.Kind, "task.") {
		f.settle = f.until
	}
	f.out.send("event", f.at.String(), e)
	return nil
}

// entries sends what a run has said since.
func (f *follower) entries(ctx context.Context, run corp.RunID) error {
	for f.out.err == nil {
		after, ok := f.at.entries[run]
		if !ok {
			after = -1
		}
		batch, err := f.db.Entries(ctx, run, after, entryBatch)
		if e, ok := errors.AsType[*corp.Error](err); ok && e.Code == postgres.CodeEntriesGone {
			delete(f.topics.dirty, run) // a task's older runs do not keep the others' entries from anybody
			return nil
		}
		if err != nil {
			return err
		}
		for _, e := range batch {
			if err := f.turn(ctx); err != nil {
				return err
			}
			f.at.entries[run] = e.Index
			f.out.send("entry", f.at.String(), e)
		}
		if !f.out.flush() {
			return nil
		}
		if len(batch) < entryBatch {
			delete(f.topics.dirty, run)
			return nil
		}
	}
	return nil
}

// maxBuffered is how much of a stream is gathered before it is written.
const maxBuffered = 64 << 10

// send adds one frame, and writes when enough has gathered.
func (f *frames) send(name, id string, v any) {
	if f.err != nil {
		return
	}
	var data bytes.Buffer
	enc := json.NewEncoder(&data)
	enc.SetEscapeHTML(false)
	if f.err = enc.Encode(v); f.err != nil {
		return
	}
	f.buf = append(f.buf, "event: "+name+"\n"...)
	if id != "" {
		f.buf = append(f.buf, "id: "+id+"\n"...)
	}
	f.buf = append(f.buf, "data: "...)
	f.buf = append(f.buf, bytes.TrimRight(data.Bytes(), "\n")...)
	f.buf = append(f.buf, "\n\n"...)
	if len(f.buf) >= maxBuffered || name == "end" || name == "error" {
		f.flush()
	}
}

// flush writes what has gathered and says whether the reader is still there. One
// that does not take it in time is let go.
func (f *frames) flush() bool {
	if f.err != nil || len(f.buf) == 0 {
		return f.err == nil
	}
	if f.err = f.control.SetWriteDeadline(time.Now().Add(f.stall)); f.err == nil {
		if _, f.err = f.w.Write(f.buf); f.err == nil {
			f.err = f.control.Flush()
		}
	}
	f.buf = f.buf[:0]
	return f.err == nil
}

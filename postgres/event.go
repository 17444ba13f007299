package postgres

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
)

// event is a change on its way into the workspace's numbered list.
type event struct {
	kind string
	task corp.TaskID
	run  corp.RunID
	data any // nil, or what marshals to an object
}

// about is the data of an event on something that is neither a task nor a run.
type about struct {
	ID   string     `json:"id"`
	Name string     `json:"name,omitempty"`
	By   corp.Actor `json:"by,omitempty"`
}

// why is the data of a change of state.
type why struct {
	Attempt int         `json:"attempt,omitempty"`
	Reason  corp.Reason `json:"reason,omitempty"`
	Detail  string      `json:"detail,omitempty"`
}

// The head is locked here, at the end of the transaction, and not earlier: that
// makes the numbers gapless and in commit order, and keeps the lock short.
const insertEvents = `
	WITH head AS (
		SELECT number_events($1, $2) AS seq
	), said AS (
		INSERT INTO events (workspace_id, seq, at, kind, task_id, run_id, data)
		SELECT $1, head.seq - $2 + e.n, clock_timestamp(), e.kind, e.task_id, e.run_id, e.data::json
		FROM head, unnest($3::text[], $4::uuid[], $5::uuid[], $6::text[]) WITH ORDINALITY AS e (kind, task_id, run_id, data, n)
	)
	SELECT seq FROM head`

// queueEvents adds events to a batch. They are written when the transaction that
// the batch is sent in commits.
func queueEvents(b *batch, ws corp.WorkspaceID, events ...event) {
	for _, e := range events {
		b.events = append(b.events, placedEvent{ws, e})
	}
}

// emit has events written when the transaction commits.
func (w WorkspaceDB) emit(_ context.Context, tx pgx.Tx, events ...event) error {
	var b batch
	queueEvents(&b, w.ws, events...)
	t := own(tx)
	t.events = append(t.events, b.events...)
	return nil
}

// writeEvents queues the writing of the transaction's events: of each workspace
// in their order, the workspaces always in the same.
func (t *transaction) writeEvents(b *batch) {
	slices.SortStableFunc(t.events, func(a, b placedEvent) int { return bytes.Compare(a.workspace[:], b.workspace[:]) })
	for rest := t.events; len(rest) > 0; {
		ws, n := rest[0].workspace, 1
		for n < len(rest) && rest[n].workspace == ws {
			n++
		}
		t.writeEventsOf(b, ws, rest[:n])
		rest = rest[n:]
	}
}

func (t *transaction) writeEventsOf(b *batch, ws corp.WorkspaceID, events []placedEvent) {
	kinds := make([]string, len(events))
	tasks := make([]corp.TaskID, len(events))
	runs := make([]corp.RunID, len(events))
	data := make([]*string, len(events))
	for i, p := range events {
		e := p.event
		kinds[i], tasks[i], runs[i] = e.kind, e.task, e.run
		if e.data == nil {
			continue
		}
		// Strings and numbers only: they always marshal.
		text, _ := json.Marshal(e.data)
		data[i] = new(string(text))
	}
	b.Queue(insertEvents, ws, int64(len(events)), kinds, tasks, runs, data).QueryRow(func(row pgx.Row) error {
		n := Notice{Kind: NoticeEvent, Workspace: ws}
		if err := row.Scan(&n.Seq); err != nil {
			return fmt.Errorf("number events: %w", err)
		}
		b.say(n)
		return nil
	})
}

// queueWake tells the leader to look at the workspace's queue: for changes that
// no other hint describes run by run.
func queueWake(b *batch, ws corp.WorkspaceID) { b.say(Notice{Kind: NoticeQueue, Workspace: ws}) }

// queueChanges adds a statement that brings runs into the queue, and returns the
// columns of a QueuedRun of each, to a batch. The leader is told after the commit.
func queueChanges(b *batch, ws corp.WorkspaceID, sql string, args ...any) {
	b.Queue(sql, args...).Query(func(rows pgx.Rows) error {
		queued, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[QueuedRun])
		if err != nil {
			return fmt.Errorf("queue runs: %w", err)
		}
		for _, q := range queued {
			b.say(Notice{Kind: NoticeQueue, Workspace: ws, Run: q.RunID, Queued: q})
		}
		return nil
	})
}

// Events returns at most limit events after the one numbered after, oldest first;
// after 0 they begin with the oldest that is kept. Numbers have no gaps: when some
// after a later one are no longer kept, the error is invalid, events_gone.
func (w WorkspaceDB) Events(ctx context.Context, after int64, limit int) ([]corp.Event, error) {
	// In one statement, so that the newest number and the rows are of one moment.
	found, err := query(ctx, w, scanEvent, `
		SELECT h.seq, e.seq, coalesce(e.at, now()), coalesce(e.kind, ''), e.task_id, e.run_id, e.data
		FROM event_heads h LEFT JOIN LATERAL (
			SELECT seq, at, kind, task_id, run_id, data FROM events
			WHERE workspace_id = $1 AND seq > $2 ORDER BY seq LIMIT $3) e ON true
		WHERE h.workspace_id = $1 ORDER BY e.seq`, after, max(limit, 1))
	if err != nil || len(found) == 0 {
		return []corp.Event{}, err
	}
	first := found[0]
	if after > 0 && after < first.head && (first.Seq == 0 || first.Seq > after+1) {
		return nil, eventsGone(after)
	}
	events := make([]corp.Event, 0, len(found))
	for _, f := range found {
		if f.Seq > 0 && len(events) < limit {
			events = append(events, f.Event)
		}
	}
	return events, nil
}

// foundEvent is an event beside the number of its workspace's newest; no event has the
// number 0.
type foundEvent struct {
	corp.Event
	head int64
}

func scanEvent(row pgx.CollectableRow) (f foundEvent, err error) {
	var seq *int64
	err = row.Scan(&f.head, &seq, &f.At, &f.Kind, &f.TaskID, &f.RunID, &f.Data)
	if seq != nil {
		f.Seq = *seq
	}
	return f, err
}

// eventsGone says that a listener was away for longer than events are kept.
func eventsGone(after int64) error {
	e := corp.Invalid("after", fmt.Sprintf("The events that follow number %d are no longer kept.", after),
		"Read again what you follow; then go on without a cursor, or from 0 for all events that are kept.")
	e.Code = "events_gone"
	return e
}

// LastEvent returns the number of the newest event, 0 before the first.
func (w WorkspaceDB) LastEvent(ctx context.Context) (int64, error) {
	return queryOne(ctx, w, "workspace", pgx.RowTo[int64], `SELECT seq FROM event_heads WHERE workspace_id = $1`)
}

// storable makes text from a runner, an agent or a vendor fit for the database:
// what they print may hold anything, and must not be refused for it. At most
// limit bytes remain.
func storable(s string, limit int) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "\uFFFD")
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "")
}

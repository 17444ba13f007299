package postgres

import (
	"context"
	"encoding/json"
	"fmt"
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
		UPDATE event_heads SET seq = seq + $2 WHERE workspace_id = $1 RETURNING seq
	), said AS (
		INSERT INTO events (workspace_id, seq, at, kind, task_id, run_id, data)
		SELECT $1, head.seq - $2 + e.n, clock_timestamp(), e.kind, e.task_id, e.run_id, e.data::json
		FROM head, unnest($3::text[], $4::uuid[], $5::uuid[], $6::text[]) WITH ORDINALITY AS e (kind, task_id, run_id, data, n)
	)
	SELECT seq FROM head`

// queueEvents adds the writing of events to a batch. It must be the last thing
// that the transaction locks.
func queueEvents(b *batch, ws corp.WorkspaceID, events ...event) {
	if len(events) == 0 {
		return
	}
	kinds := make([]string, len(events))
	tasks := make([]corp.TaskID, len(events))
	runs := make([]corp.RunID, len(events))
	data := make([]*string, len(events))
	for i, e := range events {
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

// emit writes events at the end of a transaction.
func (w WorkspaceDB) emit(ctx context.Context, tx pgx.Tx, events ...event) error {
	var b batch
	queueEvents(&b, w.ws, events...)
	return send(ctx, tx, &b)
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

// Events returns at most limit events after the one numbered after, oldest first.
func (w WorkspaceDB) Events(ctx context.Context, after int64, limit int) ([]corp.Event, error) {
	found, err := query(ctx, w, pgx.RowToStructByName[corp.Event], `
		SELECT seq, at, kind, task_id, run_id, data FROM events
		WHERE workspace_id = $1 AND seq > $2 ORDER BY seq LIMIT $3`, after, max(limit, 0))
	return orEmpty(found), err
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

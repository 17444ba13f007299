package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// queueWake tells the leader to look at the workspace's queue: for changes that
// no other hint describes run by run.
func queueWake(b *door.Batch, ws corp.WorkspaceID) { b.Say(Notice{Kind: NoticeQueue, Workspace: ws}) }

// queueChanges adds a statement that brings runs into the queue, and returns the
// columns of a QueuedRun of each, to a batch. The leader is told after the commit.
func queueChanges(b *door.Batch, ws corp.WorkspaceID, sql string, args ...any) {
	b.Queue(sql, args...).Query(func(rows pgx.Rows) error {
		queued, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[QueuedRun])
		if err != nil {
			return fmt.Errorf("queue runs: %w", err)
		}
		for _, q := range queued {
			b.Say(Notice{Kind: NoticeQueue, Workspace: ws, Run: q.RunID, Queued: q})
		}
		return nil
	})
}

// Events returns at most limit events after the one numbered after, oldest first;
// after 0 they begin with the oldest that is kept. Numbers have no gaps: when some
// after a later one are no longer kept, the error is invalid, events_gone.
func (w WorkspaceDB) Events(ctx context.Context, after int64, limit int) ([]corp.Event, error) {
	// In one statement, so that the newest number and the rows are of one moment.
	found, err := door.Query(ctx, w.door, scanEvent, `
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
	return door.QueryOne(ctx, w.door, "workspace", pgx.RowTo[int64], `SELECT seq FROM event_heads WHERE workspace_id = $1`)
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

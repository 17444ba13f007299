package door

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/hint"
)

// Event is a change on its way into the workspace's numbered list.
type Event struct {
	Kind string
	Task corp.TaskID
	Run  corp.RunID
	Data any // nil, or what marshals to an object
}

// About is the data of an event on something that is neither a task nor a run.
type About struct {
	ID   string     `json:"id"`
	Name string     `json:"name,omitempty"`
	By   corp.Actor `json:"by,omitempty"`
}

// Why is the data of a change of state.
type Why struct {
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

// QueueEvents adds events to a batch. They are written when the transaction that
// the batch is sent in commits.
func QueueEvents(b *Batch, ws corp.WorkspaceID, events ...Event) {
	for _, e := range events {
		b.events = append(b.events, placedEvent{ws, e})
	}
}

// Emit has events written when the transaction commits.
func (w Workspace) Emit(tx pgx.Tx, events ...Event) {
	var b Batch
	QueueEvents(&b, w.ID, events...)
	t := own(tx)
	t.events = append(t.events, b.events...)
}

// writeEvents queues the writing of the transaction's events: of each workspace
// in their order, the workspaces always in the same.
func (t *transaction) writeEvents(b *Batch) {
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

func (t *transaction) writeEventsOf(b *Batch, ws corp.WorkspaceID, events []placedEvent) {
	kinds := make([]string, len(events))
	tasks := make([]corp.TaskID, len(events))
	runs := make([]corp.RunID, len(events))
	data := make([]*string, len(events))
	for i, p := range events {
		e := p.event
		kinds[i], tasks[i], runs[i] = e.Kind, e.Task, e.Run
		if e.Data == nil {
			continue
		}
		// Strings and numbers only: they always marshal.
		text, _ := json.Marshal(e.Data)
		data[i] = new(string(text))
	}
	b.Queue(insertEvents, ws, int64(len(events)), kinds, tasks, runs, data).QueryRow(func(row pgx.Row) error {
		n := hint.Notice{Kind: hint.Event, Workspace: ws}
		if err := row.Scan(&n.Seq); err != nil {
			return fmt.Errorf("number events: %w", err)
		}
		b.Say(n)
		return nil
	})
}

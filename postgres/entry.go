package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// The partition of an entry is its run's day, so that an index written twice
// meets its first copy.
const runDay = `(r.created_at AT TIME ZONE 'UTC')::date`

// AppendEntries adds to a run's transcript, under the epoch of its lease, and
// returns the index that comes next. Indexes that are there already are ignored,
// so a batch may be sent again. A gap is a conflict, with the next index beside
// it; another epoch is lease_lost.
func (w WorkspaceDB) AppendEntries(ctx context.Context, run corp.RunID, epoch int64, entries []corp.Entry) (next int64, err error) {
	rows, err := entryRows(entries)
	if err != nil {
		return 0, err
	}
	err = w.door.InLane(ctx, door.LaneOfRuns, func(tx pgx.Tx) error {
		var task corp.TaskID
		var first int64
		// FOR SHARE: no next epoch can begin, and count on an index, while this one writes.
		err := tx.QueryRow(ctx, `
			SELECT r.task_id, (SELECT coalesce(max(e.index) + 1, 0) FROM entries e WHERE e.workspace_id = $1 AND e.run_id = $2 AND e.run_day = `+runDay+`)
			FROM runs r WHERE r.workspace_id = $1 AND r.id = $2 AND r.epoch = $3 AND r.state IN ('leased', 'running', 'waiting') FOR SHARE`, w.door.ID, run, epoch).Scan(&task, &first)
		if err != nil {
			return w.leaseLost(ctx, tx, run, err)
		}
		if next = first; rows.missing(first) {
			return corp.Conflict("Entries of this transcript are missing before these.", fmt.Sprintf("Send from index %d on.", first))
		}
		tag, err := tx.Exec(ctx, `
			INSERT INTO entries (workspace_id, run_id, run_day, index, epoch, at, kind, text, data)
			SELECT $1, $2, `+runDay+`, x.index, $3, x.at, x.kind, x.text, x.data::json
			FROM runs r, unnest($4::bigint[], $5::timestamptz[], $6::text[], $7::text[], $8::text[]) AS x (index, at, kind, text, data)
			WHERE r.workspace_id = $1 AND r.id = $2 ON CONFLICT DO NOTHING`, w.door.ID, run, epoch, rows.index, rows.at, rows.kind, rows.text, rows.data)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		next = max(first, rows.last+1)
		w.door.Emit(tx, door.Event{Kind: "entries.added", Task: task, Run: run, Data: map[string]int64{"next": next}})
		return nil
	})
	return next, err
}

// leaseLost tells a run that is not there from one that is somebody else's.
func (w WorkspaceDB) leaseLost(ctx context.Context, tx pgx.Tx, run corp.RunID, err error) error {
	if !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	if _, err := w.run(ctx, tx, run); err != nil {
		return err
	}
	return corp.LeaseLost()
}

// columns of entries, for unnest.
type entryColumns struct {
	index      []int64
	at         []time.Time
	kind, text []string
	data       []*string
	last       int64
}

func entryRows(entries []corp.Entry) (c entryColumns, err error) {
	c.last = -1
	for _, e := range entries {
		if e.Index < 0 {
			return c, corp.Invalid("entries.index", "An entry's index is negative.", "Number entries from 0.")
		}
		var data *string
		if len(e.Data) > 0 {
			if !json.Valid(e.Data) {
				return c, corp.Invalid("entries.data", "An entry's data is not JSON.", "Leave it out, or send what the agent sent.")
			}
			data = new(strings.ToValidUTF8(string(e.Data), "\uFFFD"))
		}
		c.index, c.at, c.data = append(c.index, e.Index), append(c.at, e.At), append(c.data, data)
		c.kind, c.text = append(c.kind, storable(string(e.Kind), 40)), append(c.text, storable(e.Text, corp.MaxEntryText))
		c.last = max(c.last, e.Index)
	}
	return c, nil
}

// missing says whether an index between next and the last one is not there.
func (c entryColumns) missing(next int64) bool {
	if c.last-next >= int64(len(c.index)) {
		return true
	}
	have := make(map[int64]bool, len(c.index))
	for _, i := range c.index {
		have[i] = true
	}
	for i := next; i <= c.last; i++ {
		if !have[i] {
			return true
		}
	}
	return false
}

// NextEntry returns the index after the newest entry of a run.
func (w WorkspaceDB) NextEntry(ctx context.Context, run corp.RunID) (int64, error) {
	return door.QueryOne(ctx, w.door, "run", pgx.RowTo[int64], `
		SELECT (SELECT coalesce(max(e.index) + 1, 0) FROM entries e WHERE e.workspace_id = $1 AND e.run_id = $2 AND e.run_day = `+runDay+`)
		FROM runs r WHERE r.workspace_id = $1 AND r.id = $2`, run)
}

// Entries returns at most limit entries of a run after the index after, -1 for
// all, in order. Of a run whose entries are no longer kept it is not found,
// entries_gone.
func (w WorkspaceDB) Entries(ctx context.Context, run corp.RunID, after int64, limit int) ([]corp.Entry, error) {
	found, err := door.Query(ctx, w.door, pgx.RowToStructByName[corp.Entry], `
		SELECT e.run_id, e.index, e.epoch, e.at, e.kind, e.text, e.data FROM entries e
		WHERE e.workspace_id = $1 AND e.run_id = $2 AND e.index > $3
			AND e.run_day = (SELECT `+runDay+` FROM runs r WHERE r.workspace_id = $1 AND r.id = $2)
		ORDER BY e.index LIMIT $4`, run, after, max(limit, 0))
	if err == nil && len(found) == 0 {
		err = w.entriesKept(ctx, run)
	}
	return door.OrEmpty(found), err
}

// entriesKept tells a run that said nothing from one whose month was dropped.
func (w WorkspaceDB) entriesKept(ctx context.Context, run corp.RunID) error {
	kept, err := door.QueryOne(ctx, w.door, "run", pgx.RowTo[bool], `
		SELECT to_regclass('public.entries_' || to_char(`+runDay+`, 'YYYYMM')) IS NOT NULL FROM runs r WHERE r.workspace_id = $1 AND r.id = $2`, run)
	if err == nil && !kept {
		return &corp.Error{Kind: corp.KindNotFound, Code: CodeEntriesGone, Message: "This run's transcript is no longer kept.", Hint: "The run itself, its result and its costs are; your operator decides how long transcripts are."}
	}
	return err
}

// CodeEntriesGone is the code of the error for a transcript that was dropped.
const CodeEntriesGone = "entries_gone"

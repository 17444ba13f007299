package trail

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/audit"
)

// exportBatch is how many rows of an export are in memory at a time.
const exportBatch = 500

// Export writes the sealed log, from the first row that is still kept to the
// newest checkpoint, as package audit defines it. Its memory is bounded. An error
// after the first byte leaves an export that does not verify.
func (l Log) Export(ctx context.Context, to io.Writer, key ed25519.PublicKey) error {
	var end int64
	newest, err := l.Newest(ctx)
	switch corp.KindOf(err) {
	case "":
		end = newest.Seq
	case corp.KindNotFound: // an empty log
	default:
		return err
	}
	after, err := l.keptAfter(ctx)
	if err != nil {
		return err
	}
	w, err := audit.NewWriter(to, l.ws, key, after)
	if err != nil {
		return err
	}
	var last int64
	if after != nil {
		last = after.Seq
	}
	for last < end {
		if last, err = l.exportSome(ctx, w, last, end); err != nil {
			return err
		}
	}
	return nil
}

// exportSome writes the rows and checkpoints after last, up to a batch of rows,
// and returns the number up to which it came.
func (l Log) exportSome(ctx context.Context, w *audit.Writer, last, end int64) (int64, error) {
	rows, err := query(ctx, l, scanRow, `
		SELECT l.seq, l.hash, e.id IS NOT NULL, coalesce(e.id, l.event_id), coalesce(e.at, l.event_at), coalesce(e.actor, ''), coalesce(e.via, ''), coalesce(e.operation, ''), coalesce(e.action, ''),
			coalesce(e.target, ''), coalesce(e.result, ''), coalesce(e.request_id, ''), e.changes, coalesce(e.personal_hash, ''), `+withPerson+`
		FROM audit_links l LEFT JOIN audit_events e ON e.workspace_id = l.workspace_id AND e.at = l.event_at AND e.id = l.event_id`+joinPerson+`
		WHERE l.workspace_id = $1 AND l.seq > $2 AND l.seq <= $3 ORDER BY l.seq LIMIT $4`, last, end, exportBatch)
	if err != nil {
		return last, err
	}
	to := end
	if len(rows) == exportBatch {
		to = rows[len(rows)-1].Seq
	}
	points, err := query(ctx, l, scanCheckpoint, `
		SELECT `+checkpointFields+` FROM audit_checkpoints c WHERE c.workspace_id = $1 AND c.seq > $2 AND c.seq <= $3 ORDER BY c.seq`, last, to)
	if err != nil {
		return last, err
	}
	return to, merge(w, rows, points)
}

// merge writes rows, and each checkpoint behind the last row that it covers.
func merge(w *audit.Writer, rows []audit.Row, points []audit.Checkpoint) error {
	for _, r := range rows {
		for len(points) > 0 && points[0].Seq < r.Seq { // of a row that is gone: Verify says so
			if err := w.Checkpoint(points[0]); err != nil {
				return err
			}
			points = points[1:]
		}
		if err := w.Row(r); err != nil {
			return err
		}
	}
	for _, c := range points {
		if err := w.Checkpoint(c); err != nil {
			return err
		}
	}
	return nil
}

func scanRow(row pgx.CollectableRow) (r audit.Row, err error) {
	var (
		hash  []byte
		there bool
		e     corp.AuditEvent
		p     personal
	)
	into := append([]any{&r.Seq, &hash, &there}, eventInto(&e)...)
	if err := row.Scan(append(into, p.into()...)...); err != nil {
		return r, err
	}
	copy(r.Hash[:], hash)
	if there {
		e.At, e.Personal = e.At.UTC(), p.read()
		r.Event = &e
	}
	return r, nil
}

// keptAfter returns the checkpoint that the log begins after, or nil when it
// begins with its first event: the first one behind which nothing was dropped.
func (l Log) keptAfter(ctx context.Context) (*audit.Checkpoint, error) {
	floors, err := query(ctx, l, pgx.RowTo[*time.Time], `
		SELECT min(to_date(right(c.relname, 6), 'YYYYMM')::timestamp AT TIME ZONE 'UTC')
		FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
		WHERE i.inhparent = to_regclass('public.audit_events') AND $1::uuid IS NOT NULL`)
	if err != nil {
		return nil, err
	}
	if len(floors) == 0 || floors[0] == nil {
		return nil, errors.New("the audit log has no partition")
	}
	dropped, err := query(ctx, l, pgx.RowTo[int64], `SELECT coalesce(max(seq), 0) FROM audit_links WHERE workspace_id = $1 AND event_at < $2`, *floors[0])
	if err != nil || dropped[0] == 0 {
		return nil, err
	}
	points, err := query(ctx, l, scanCheckpoint, `
		SELECT `+checkpointFields+` FROM audit_checkpoints c WHERE c.workspace_id = $1 AND c.seq >= $2 ORDER BY c.seq LIMIT 1`, dropped[0])
	if err == nil && len(points) == 0 {
		err = fmt.Errorf("no checkpoint after row %d, whose event is no longer kept", dropped[0])
	}
	if err != nil {
		return nil, err
	}
	return &points[0], nil
}

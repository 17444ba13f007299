package trail

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/audit"
	"github.com/genericcorp/corp/postgres/door"
)

// sealBatch is how many events are sealed in one transaction.
const sealBatch = 1000

// Backlog is what waits to be sealed: of each workspace, events of transactions
// that have ended for everybody.
type Backlog struct {
	Logs    []Unsealed
	Delayed time.Duration // how long the oldest event has waited for a transaction that began before it
	cluster string
	from    uint64 // the first transaction that may have an event which is not sealed
	until   uint64 // the first that may not have ended
}

// Unsealed is a log with events to be sealed.
type Unsealed struct {
	Workspace corp.WorkspaceID
	// What is left to seal comes after this.
	since time.Time
	after corp.AuditID
}

// Backlog finds what waits to be sealed. Its cost is that of the new events, not
// of all. Only in a cluster that the log was moved to all events are looked at, once.
func (db DB) Backlog(ctx context.Context) (Backlog, error) {
	// A number that no transaction of this cluster has yet came with a dump from another.
	type found struct {
		Cluster     string
		From, Until uint64
		Delayed     float64 // seconds
		WorkspaceID *corp.WorkspaceID
		Since       *time.Time
	}
	var rows []found
	err := db.door.System("seal the audit log").In(ctx, func(tx pgx.Tx) (err error) {
		if _, err = tx.Exec(ctx, `SELECT `+byKeys); err != nil {
			return err
		}
		rows, err = door.Collect(ctx, tx, pgx.RowToStructByName[found], `
			WITH numbering AS (
				SELECT c.system_identifier::text AS cluster, pg_snapshot_xmin(pg_current_snapshot()) AS until, pg_snapshot_xmax(pg_current_snapshot()) AS never,
					CASE WHEN s.cluster = c.system_identifier::text THEN s.xid ELSE '0' END AS "from"
				FROM audit_sealed s, pg_control_system() c
			), waiting AS (
				SELECT e.workspace_id, min(e.at) AS since FROM audit_events e
				WHERE e.xid >= (SELECT "from" FROM numbering) AND (e.xid < (SELECT until FROM numbering) OR e.xid >= (SELECT never FROM numbering))
					AND NOT EXISTS (SELECT FROM audit_links l WHERE l.workspace_id = e.workspace_id AND l.event_id = e.id)
				GROUP BY e.workspace_id
			)
			SELECT n.cluster, n."from", n.until, coalesce((
				SELECT extract(epoch FROM clock_timestamp() - min(e.at)) FROM audit_events e WHERE e.xid >= n.until AND e.xid < n.never), 0)::float8 AS delayed, w.workspace_id, w.since FROM numbering n LEFT JOIN waiting w ON true`)
		return err
	})
	if err != nil || len(rows) == 0 {
		return Backlog{}, err
	}
	b := Backlog{Delayed: time.Duration(rows[0].Delayed * float64(time.Second)), cluster: rows[0].Cluster, from: rows[0].From, until: rows[0].Until}
	for _, r := range rows {
		if r.Since != nil {
			b.Logs = append(b.Logs, Unsealed{Workspace: *r.WorkspaceID, since: *r.Since})
		}
	}
	return b, nil
}

// Seal links what waits in one log, and signs where its chain then ends: in
// transactions of at most 1,000 events. It returns the checkpoint of each. Another
// sealer's log is left to it: ok is false then.
func (db DB) Seal(ctx context.Context, b Backlog, u Unsealed, signer *audit.Signer) (points []audit.Checkpoint, ok bool, err error) {
	for {
		var done sealed
		err = db.door.System("seal the audit log").In(ctx, func(tx pgx.Tx) (err error) {
			done, err = sealSome(ctx, tx, b, u, signer)
			return err
		})
		if err != nil || !done.mine {
			return points, false, err
		}
		if done.events > 0 {
			points = append(points, done.point)
			u.since, u.after = done.last.At, done.last.ID
		}
		if done.events < sealBatch {
			return points, true, nil
		}
	}
}

const (
	// What is new is few rows of many, and found by its keys, also while the
	// statistics know nothing of it.
	byKeys = `set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true), set_config('enable_sort', 'off', true),
		set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true), set_config('max_parallel_workers_per_gather', '0', true), set_config('jit', 'off', true)`
	// No two sealers are at one log.
	alone = `SELECT pg_try_advisory_xact_lock(hashtextextended('corp.audit ' || $1::text, 0)) FROM (SELECT ` + byKeys + `) s`
)

// sealed is what one transaction of a sealer did.
type sealed struct {
	mine   bool // and no other sealer's
	events int
	last   corp.AuditEvent
	point  audit.Checkpoint
}

// sealSome seals the next events, in the order of their times.
func sealSome(ctx context.Context, tx pgx.Tx, b Backlog, u Unsealed, signer *audit.Signer) (done sealed, err error) {
	if err := tx.QueryRow(ctx, alone, u.Workspace.UUID()).Scan(&done.mine); err != nil || !done.mine {
		return done, err
	}
	// Only now, in a statement of its own: it must see what the sealer before did.
	type head struct {
		Seq  int64
		Hash []byte
		Now  time.Time
	}
	heads, err := door.Collect(ctx, tx, pgx.RowToStructByName[head], `
		SELECT coalesce(l.seq, 0) AS seq, l.hash, clock_timestamp() AS now
		FROM (VALUES (1)) one LEFT JOIN (SELECT seq, hash FROM audit_links WHERE workspace_id = $1 ORDER BY seq DESC LIMIT 1) l ON true`, u.Workspace.UUID())
	if err != nil {
		return done, err
	}
	events, err := door.Collect(ctx, tx, scanPlain, `
		SELECT `+eventFields+` FROM audit_events e
		WHERE e.workspace_id = $1 AND (e.at, e.id) > ($2, $3) AND e.xid >= $4 AND (e.xid < $5 OR e.xid >= (SELECT pg_snapshot_xmax(pg_current_snapshot())))
			AND NOT EXISTS (SELECT FROM audit_links l WHERE l.workspace_id = e.workspace_id AND l.event_id = e.id)
		ORDER BY e.at, e.id LIMIT $6`, u.Workspace.UUID(), u.since, u.after.UUID(), b.from, b.until, sealBatch)
	if err != nil || len(events) == 0 {
		return done, err
	}
	seq, hash := heads[0].Seq, audit.Hash{}
	copy(hash[:], heads[0].Hash)
	links := links{}
	for _, e := range events {
		seq++
		hash = audit.Next(hash, u.Workspace, seq, e)
		links.add(seq, hash, e)
	}
	done.events, done.last, done.point = len(events), events[len(events)-1], signer.Sign(u.Workspace, seq, hash, heads[0].Now)
	return done, links.write(ctx, tx, u.Workspace, done.point)
}

func scanPlain(row pgx.CollectableRow) (e corp.AuditEvent, err error) {
	err = row.Scan(eventInto(&e)...)
	return e, err
}

// links are rows of audit_links, by column.
type links struct {
	seqs   []int64
	hashes [][]byte
	ids    []corp.AuditID
	times  []time.Time
}

func (l *links) add(seq int64, hash audit.Hash, e corp.AuditEvent) {
	l.seqs, l.hashes, l.ids, l.times = append(l.seqs, seq), append(l.hashes, hash[:]), append(l.ids, e.ID), append(l.times, e.At)
}

func (l *links) write(ctx context.Context, tx pgx.Tx, ws corp.WorkspaceID, c audit.Checkpoint) error {
	var b door.Batch
	b.Queue(`
		INSERT INTO audit_links (workspace_id, seq, hash, event_id, event_at)
		SELECT $1, * FROM unnest($2::bigint[], $3::bytea[], $4::uuid[], $5::timestamptz[])`, ws.UUID(), l.seqs, l.hashes, l.ids, l.times)
	b.Queue(`INSERT INTO audit_checkpoints (workspace_id, seq, hash, at, key_id, signature) VALUES ($1, $2, $3, $4, $5, $6)`,
		ws.UUID(), c.Seq, c.Hash[:], c.At, c.KeyID, c.Signature)
	return door.Send(ctx, tx, &b)
}

// Sealed notes that all of a backlog is sealed, so that nobody looks at it again.
func (db DB) Sealed(ctx context.Context, b Backlog) error {
	_, err := door.ExecSystem(ctx, db.door.System("seal the audit log"), `
		UPDATE audit_sealed SET cluster = $1, xid = $2 WHERE cluster <> $1 OR xid < $2`, b.cluster, b.until)
	return err
}

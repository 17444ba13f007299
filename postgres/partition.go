package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// Kept is a table that is partitioned by month, whose old months are dropped.
type Kept string

// The partitioned tables.
const (
	KeptEntries Kept = "entries"
	KeptEvents  Kept = "events"
	KeptCalls   Kept = "calls"
	// The audit log's: what is dropped of the events is an event itself.
	KeptAudit         Kept = "audit_events"
	KeptAuditPersonal Kept = "audit_personal"
)

// EnsurePartitions makes the partitions of the month of from and of so many more,
// as far as they are missing, and returns how many that were. It gives way to
// traffic; where that never leaves a gap the error is unavailable.
func (s SystemDB) EnsurePartitions(ctx context.Context, from time.Time, months int) (made int, err error) {
	return s.door.EnsurePartitions(ctx, from, months)
}

// month is a partition whose time is over.
type month struct {
	Start time.Time
	InUse bool // by entries of runs that are open or ended within the time
}

// DropPartitions drops the months of a table that ended longer ago than keep, the
// oldest first, and returns how many. An entry's month is kept until every run
// that was made in it ended that long ago. It gives way to traffic like
// EnsurePartitions; what could not be dropped is still there the next time.
func (s SystemDB) DropPartitions(ctx context.Context, table Kept, keep time.Duration) (dropped int, err error) {
	months, err := door.QuerySystem(ctx, s.door, pgx.RowToStructByName[month], `
		WITH over AS (
			SELECT clock_timestamp() - $2::bigint * interval '1 millisecond' AS cutoff
		), months AS (
			SELECT to_date(right(c.relname, 6), 'YYYYMM')::timestamp AT TIME ZONE 'UTC' AS start
			FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
			WHERE i.inhparent = to_regclass('public.' || $1) AND c.relname ~ ('^' || $1 || '_[0-9]{6}$')
		)
		SELECT m.start, $1 = 'entries' AND EXISTS (
			SELECT FROM runs r WHERE r.created_at >= m.start AND r.created_at < m.start + interval '1 month'
				AND (r.state IN ('queued', 'leased', 'running', 'waiting') OR r.finished_at >= over.cutoff)) AS in_use
		FROM months m, over WHERE m.start + interval '1 month' <= over.cutoff ORDER BY m.start`, string(table), keep.Milliseconds())
	for _, m := range months {
		if m.InUse {
			continue
		}
		var gone []bool
		ctx := ctx
		if table == KeptAudit {
			ctx = door.WithAudit(ctx, door.NewPending(corp.AuditEvent{Actor: corp.ActorSystem, Operation: "dropAudit", Action: corp.AuditManage, Target: m.Start.UTC().Format("2006-01")}))
		}
		err = door.GivingWay(ctx, func() (err error) {
			gone, err = door.QuerySystem(ctx, s.door, pgx.RowTo[bool], `SELECT drop_partition($1, $2::date)`, string(table), m.Start)
			return err
		})
		if err != nil {
			return dropped, err
		}
		if gone[0] {
			dropped++
		}
	}
	return dropped, err
}

package postgres

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/genericcorp/corp/postgres/pgerr"
)

const (
	// partitionsAhead is how many months have a partition before they begin.
	partitionsAhead = 3
	// Making and dropping a partition locks the whole table for a moment. While
	// they wait for that lock everybody else waits behind them, so they give up
	// after 200 ms (migration 10) and come back after a pause.
	partitionTries = 8
	partitionPause = 100 * time.Millisecond // the first; each next is twice as long, up to a second
)

// Kept is a table that is partitioned by month, whose old months are dropped.
type Kept string

// The partitioned tables.
const (
	KeptEntries Kept = "entries"
	KeptEvents  Kept = "events"
	KeptCalls   Kept = "calls"
)

// EnsurePartitions makes the partitions of the month of from and of so many more,
// as far as they are missing, and returns how many that were. It gives way to
// traffic; where that never leaves a gap the error is unavailable.
func (s SystemDB) EnsurePartitions(ctx context.Context, from time.Time, months int) (made int, err error) {
	from = time.Date(from.UTC().Year(), from.UTC().Month(), 1, 0, 0, 0, 0, time.UTC)
	for m := range months + 1 { // a month at a time, so that the locks are held for that long only
		var counts []int
		err = givingWay(ctx, func() (err error) {
			counts, err = querySystem(ctx, s, pgx.RowTo[int], `SELECT ensure_partitions($1::date, 0)`, from.AddDate(0, m, 0))
			return err
		})
		if err != nil {
			return made, err
		}
		made += counts[0]
	}
	return made, nil
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
	months, err := querySystem(ctx, s, pgx.RowToStructByName[month], `
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
		err = givingWay(ctx, func() (err error) {
			gone, err = querySystem(ctx, s, pgx.RowTo[bool], `SELECT drop_partition($1, $2::date)`, string(table), m.Start)
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

// givingWay repeats what waited for a lock only briefly.
func givingWay(ctx context.Context, do func() error) error {
	pause := partitionPause
	for try := 1; ; try++ {
		err := do()
		pg, ok := errors.AsType[*pgconn.PgError](err)
		if !ok || pg.Code != pgerr.CodeLockTimeout || try == partitionTries {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause + rand.N(pause)): //nolint:gosec // jitter needs no secrecy
		}
		pause = min(2*pause, time.Second)
	}
}

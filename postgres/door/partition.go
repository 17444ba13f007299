package door

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
	// PartitionsAhead is how many months have a partition before they begin.
	PartitionsAhead = 3
	// Making and dropping a partition locks the whole table for a moment. While
	// they wait for that lock everybody else waits behind them, so they give up
	// after 200 ms (migration 10) and come back after a pause.
	partitionTries = 8
	partitionPause = 100 * time.Millisecond // the first; each next is twice as long, up to a second
)

// EnsurePartitions makes the partitions of the month of from and of so many more,
// as far as they are missing, and returns how many that were. It gives way to
// traffic; where that never leaves a gap the error is unavailable.
func (s System) EnsurePartitions(ctx context.Context, from time.Time, months int) (made int, err error) {
	from = time.Date(from.UTC().Year(), from.UTC().Month(), 1, 0, 0, 0, 0, time.UTC)
	for m := range months + 1 { // a month at a time, so that the locks are held for that long only
		var counts []int
		err = GivingWay(ctx, func() (err error) {
			counts, err = QuerySystem(ctx, s, pgx.RowTo[int], `SELECT ensure_partitions($1::date, 0)`, from.AddDate(0, m, 0))
			return err
		})
		if err != nil {
			return made, err
		}
		made += counts[0]
	}
	return made, nil
}

// GivingWay repeats what waited for a lock only briefly.
func GivingWay(ctx context.Context, do func() error) error {
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

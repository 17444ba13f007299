package postgres

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/pgerr"
)

// The settings of a transaction travel with its beginning, in one round trip,
// and end with it: nothing is left on a connection that a pool or PgBouncer
// gives to somebody else. SET cannot take a parameter; set_config can. The locks
// of a server that was paused inside a transaction are gone within seconds: well
// within the life of the leases that the others renew meanwhile.
const (
	bounds         = `set_config('statement_timeout', '20s', true), set_config('lock_timeout', '8s', true), set_config('idle_in_transaction_session_timeout', '5s', true)`
	enterWorkspace = `SELECT set_config('app.workspace_id', $1, true), ` + bounds
	// The leader's and the loops' statements are few, and go over tables that are
	// empty now and long later: they are planned each time.
	enterSystem = `SELECT set_config('application_name', $1, true), set_config('plan_cache_mode', 'force_custom_plan', true), ` + bounds
	// The heads of queues are read in the order of an index, also right after so many
	// were queued that the statistics know nothing of them: not sorted out of all.
	enterSystemsReading = enterSystem + `, set_config('enable_sort', 'off', true), set_config('enable_bitmapscan', 'off', true)`
	// What every task needs is planned once by each connection. It is found by keys,
	// also while a table is so small that the planner would rather read all of it.
	plannedOnce         = `, set_config('plan_cache_mode', 'force_generic_plan', true), set_config('enable_seqscan', 'off', true)`
	enterRoutine        = enterWorkspace + plannedOnce
	enterSystemsRoutine = `SELECT set_config('application_name', $1, true), ` + bounds + plannedOnce
)

// maxTries is how often a transaction is begun that the database gave up for
// another one's sake, or that never reached it.
const maxTries = 5

func errNoWorkspace() error {
	return pgerr.Internal(errors.New("a workspace's door was opened without a workspace"))
}

// in runs fn in one transaction of the workspace. fn may run more than once and
// must not keep anything from a run that failed.
func (w WorkspaceDB) in(ctx context.Context, fn func(tx pgx.Tx) error) error {
	if w.ws.IsZero() {
		return errNoWorkspace()
	}
	return w.db.retry(ctx, func() error { return w.db.transact(ctx, w.db.app, enterWorkspace, w.ws.UUID(), fn) })
}

// inLane is in for what ends with events and may be asked for any number of times
// at once, in one of the workspace's lanes. fn must not use another door's method,
// which might wait for the lane.
func (w WorkspaceDB) inLane(ctx context.Context, which int, fn func(tx pgx.Tx) error) error {
	return w.lane(ctx, which, enterWorkspace, fn)
}

// routine is inLane for what every task needs.
func (w WorkspaceDB) routine(ctx context.Context, which int, fn func(tx pgx.Tx) error) error {
	return w.lane(ctx, which, enterRoutine, fn)
}

func (w WorkspaceDB) lane(ctx context.Context, which int, enter string, fn func(tx pgx.Tx) error) error {
	if w.ws.IsZero() {
		return errNoWorkspace()
	}
	leave, err := w.db.lanes.enter(ctx, laneName{w.ws, which})
	if err != nil {
		return err
	}
	defer leave()
	return w.db.retry(ctx, func() error { return w.db.transact(ctx, w.db.app, enter, w.ws.UUID(), fn) })
}

// in runs fn in one transaction of the system door.
func (s SystemDB) in(ctx context.Context, fn func(tx pgx.Tx) error) error {
	return s.db.retry(ctx, func() error { return s.db.transact(ctx, s.db.system, enterSystem, s.reason, fn) })
}

// transact runs fn in a transaction and says, after the commit, what fn collected.
// A commit of which nobody knows whether it was done is spoken of as if it was,
// without what would then stand in the rows.
func (db *DB) transact(ctx context.Context, pool *pgxpool.Pool, enter, who string, fn func(tx pgx.Tx) error) error {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	t := begin(conn, enter, who)
	if err := fn(t); err != nil {
		t.rollBack(ctx)
		return err
	}
	switch err = t.commit(ctx); {
	case err == nil:
		db.hints.Say(t.said) //nolint:contextcheck // who listens is told also when the caller has gone
	case doubtful(err):
		for i := range t.said {
			t.said[i].Queued, t.said[i].Ended = nil, false
		}
		db.hints.Say(t.said) //nolint:contextcheck // who listens is told also when the caller has gone
	default:
		t.rollBack(ctx)
	}
	return err
}

// doubtful says whether a commit that failed so may have been done all the same.
func doubtful(err error) bool {
	pg, answered := errors.AsType[*pgconn.PgError](err)
	return !answered || strings.HasPrefix(pg.Code, "57P")
}

// retry repeats what the database gave up because of somebody else (a deadlock, a
// missing partition) or what certainly never reached it, and translates the
// error that remains.
func (db *DB) retry(ctx context.Context, do func() error) error {
	for try := 1; ; try++ {
		err := do()
		if err == nil {
			return nil
		}
		if try == maxTries || ctx.Err() != nil || !db.worthAnotherTry(ctx, err) {
			return pgerr.Translate(ctx, err)
		}
		pause := time.Duration(rand.Int64N(int64(time.Millisecond) << (2 * try))) //nolint:gosec // jitter needs no secrecy
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

func (db *DB) worthAnotherTry(ctx context.Context, err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch {
		case pg.Code == pgerr.CodeSerialization, pg.Code == pgerr.CodeDeadlock:
			return true
		case pgerr.MissingPartition(pg):
			_, err := db.System("missing partition").EnsurePartitions(ctx, time.Now(), partitionsAhead)
			return err == nil
		}
		return false
	}
	return pgconn.SafeToRetry(err)
}

// query runs one statement in the workspace. The setting and the statement
// travel together, as one implicit transaction. The workspace is $1.
func query[T any](ctx context.Context, w WorkspaceDB, scan pgx.RowToFunc[T], sql string, args ...any) (found []T, err error) {
	if w.ws.IsZero() {
		return nil, errNoWorkspace()
	}
	err = w.db.retry(ctx, func() (err error) {
		found, err = pipelined(ctx, w.db.app, scan, enterWorkspace, w.ws.UUID(), sql, append([]any{w.ws}, args...)...)
		return err
	})
	return found, err
}

// routineQuery is query for what every run needs, in the workspace's lane of runs.
func routineQuery[T any](ctx context.Context, w WorkspaceDB, scan pgx.RowToFunc[T], sql string, args ...any) (found []T, err error) {
	if w.ws.IsZero() {
		return nil, errNoWorkspace()
	}
	leave, err := w.db.lanes.enter(ctx, laneName{w.ws, laneOfRuns})
	if err != nil {
		return nil, err
	}
	defer leave()
	err = w.db.retry(ctx, func() (err error) {
		found, err = pipelined(ctx, w.db.app, scan, enterRoutine, w.ws.UUID(), sql, append([]any{w.ws}, args...)...)
		return err
	})
	return found, err
}

// queryOne is query for exactly one row; without it the noun is not found.
func queryOne[T any](ctx context.Context, w WorkspaceDB, noun string, scan pgx.RowToFunc[T], sql string, args ...any) (T, error) {
	found, err := query(ctx, w, scan, sql, args...)
	if err == nil && len(found) == 0 {
		err = corp.NotFound(noun)
	}
	if err != nil {
		var none T
		return none, err
	}
	return found[0], nil
}

// querySystem is query through the system door.
func querySystem[T any](ctx context.Context, s SystemDB, scan pgx.RowToFunc[T], sql string, args ...any) (found []T, err error) {
	err = s.db.retry(ctx, func() (err error) {
		found, err = pipelined(ctx, s.db.system, scan, enterSystem, s.reason, sql, args...)
		return err
	})
	return found, err
}

// execSystem runs one statement through the system door and returns how many
// rows it touched.
func execSystem(ctx context.Context, s SystemDB, sql string, args ...any) (n int64, err error) {
	err = s.db.retry(ctx, func() error {
		var b pgx.Batch
		b.Queue(enterSystem, s.reason)
		b.Queue(sql, args...)
		results := s.db.system.SendBatch(ctx, &b)
		if _, err := results.Exec(); err != nil {
			return errors.Join(err, results.Close())
		}
		tag, err := results.Exec()
		n = tag.RowsAffected()
		return errors.Join(err, results.Close())
	})
	return n, err
}

func pipelined[T any](ctx context.Context, pool *pgxpool.Pool, scan pgx.RowToFunc[T], enter, who, sql string, args ...any) ([]T, error) {
	var b pgx.Batch
	b.Queue(enter, who)
	b.Queue(sql, args...)
	results := pool.SendBatch(ctx, &b)
	if _, err := results.Exec(); err != nil {
		return nil, errors.Join(err, results.Close())
	}
	rows, err := results.Query()
	if err != nil {
		return nil, errors.Join(err, results.Close())
	}
	found, err := pgx.CollectRows(rows, scan)
	return found, errors.Join(err, results.Close())
}

// collect runs a statement in a transaction and reads its rows.
func collect[T any](ctx context.Context, tx pgx.Tx, scan pgx.RowToFunc[T], sql string, args ...any) ([]T, error) {
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scan)
}

// collectOne is collect for one row; without it the noun is not found.
func collectOne[T any](ctx context.Context, tx pgx.Tx, noun string, scan pgx.RowToFunc[T], sql string, args ...any) (T, error) {
	found, err := collect(ctx, tx, scan, sql, args...)
	if err == nil && len(found) == 0 {
		err = corp.NotFound(noun)
	}
	if err != nil {
		var none T
		return none, err
	}
	return found[0], nil
}

// countRows adds up how many rows the statements of a batch touched.
func countRows(n *int) func(pgconn.CommandTag) error {
	return func(tag pgconn.CommandTag) error {
		*n += int(tag.RowsAffected())
		return nil
	}
}

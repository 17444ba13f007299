package door

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
	enterPerson    = `SELECT set_config('app.user_id', $1, true), ` + bounds
	enterNowhere   = `SELECT set_config('app.nowhere', $1, true), ` + bounds
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

// In runs fn in one transaction of the workspace. fn may run more than once and
// must not keep anything from a run that failed.
func (w Workspace) In(ctx context.Context, fn func(tx pgx.Tx) error) error {
	if w.ID.IsZero() {
		return errNoWorkspace()
	}
	return w.DB.retry(ctx, func() error { return w.DB.transact(ctx, w.DB.app, enterWorkspace, w.ID.UUID(), fn) })
}

// InLane is in for what ends with events and may be asked for any number of times
// at once, in one of the workspace's lanes. fn must not use another door's method,
// which might wait for the lane.
func (w Workspace) InLane(ctx context.Context, which int, fn func(tx pgx.Tx) error) error {
	return w.lane(ctx, which, enterWorkspace, fn)
}

// Routine is inLane for what every task needs.
func (w Workspace) Routine(ctx context.Context, which int, fn func(tx pgx.Tx) error) error {
	return w.lane(ctx, which, enterRoutine, fn)
}

func (w Workspace) lane(ctx context.Context, which int, enter string, fn func(tx pgx.Tx) error) error {
	if w.ID.IsZero() {
		return errNoWorkspace()
	}
	leave, err := w.DB.lanes.enter(ctx, laneName{w.ID, which})
	if err != nil {
		return err
	}
	defer leave()
	return w.DB.retry(ctx, func() error { return w.DB.transact(ctx, w.DB.app, enter, w.ID.UUID(), fn) })
}

// In runs fn in one transaction of the person.
func (u User) In(ctx context.Context, fn func(tx pgx.Tx) error) error {
	if u.ID.IsZero() {
		return pgerr.Internal(errors.New("a person's door was opened without a person"))
	}
	return u.DB.retry(ctx, func() error { return u.DB.transact(ctx, u.DB.app, enterPerson, u.ID.UUID(), fn) })
}

// Into runs fn in one transaction that sees the person and the workspace that they
// join or leave.
func (u User) Into(ctx context.Context, ws corp.WorkspaceID, fn func(tx pgx.Tx) error) error {
	if ws.IsZero() {
		return errNoWorkspace()
	}
	return u.In(ctx, func(tx pgx.Tx) error {
		var b Batch
		b.Queue(`SELECT set_config('app.workspace_id', $1, true)`, ws.UUID())
		Later(tx, &b)
		return fn(tx)
	})
}

// In runs fn in one transaction that sees nobody's rows: it writes down what will
// be asked for by a secret, before anybody is known.
func (a Auth) In(ctx context.Context, fn func(tx pgx.Tx) error) error {
	return a.DB.retry(ctx, func() error { return a.DB.transact(ctx, a.DB.app, enterNowhere, "", fn) })
}

// In runs fn in one transaction of the system door.
func (s System) In(ctx context.Context, fn func(tx pgx.Tx) error) error {
	ctx = systemAudit(ctx)
	return s.DB.retry(ctx, func() error { return s.DB.transact(ctx, s.DB.system, enterSystem, s.Reason, fn) })
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
			_, err := db.System("missing partition").EnsurePartitions(ctx, time.Now(), PartitionsAhead)
			return err == nil
		}
		return false
	}
	return pgconn.SafeToRetry(err)
}

// Query runs one statement in the workspace. The setting and the statement
// travel together, as one implicit transaction. The workspace is $1.
func Query[T any](ctx context.Context, w Workspace, scan pgx.RowToFunc[T], sql string, args ...any) (found []T, err error) {
	if w.ID.IsZero() {
		return nil, errNoWorkspace()
	}
	err = w.DB.retry(ctx, func() (err error) {
		found, err = pipelined(ctx, w.DB.app, scan, enterWorkspace, w.ID.UUID(), sql, append([]any{w.ID}, args...)...)
		return err
	})
	return found, err
}

// RoutineQuery is query for what every run needs, in the workspace's lane of runs.
func RoutineQuery[T any](ctx context.Context, w Workspace, scan pgx.RowToFunc[T], sql string, args ...any) (found []T, err error) {
	if w.ID.IsZero() {
		return nil, errNoWorkspace()
	}
	leave, err := w.DB.lanes.enter(ctx, laneName{w.ID, LaneOfRuns})
	if err != nil {
		return nil, err
	}
	defer leave()
	err = w.DB.retry(ctx, func() (err error) {
		found, err = pipelined(ctx, w.DB.app, scan, enterRoutine, w.ID.UUID(), sql, append([]any{w.ID}, args...)...)
		return err
	})
	return found, err
}

// QueryOne is query for exactly one row; without it the noun is not found.
func QueryOne[T any](ctx context.Context, w Workspace, noun string, scan pgx.RowToFunc[T], sql string, args ...any) (T, error) {
	found, err := Query(ctx, w, scan, sql, args...)
	return one(found, noun, err)
}

// one is the first row; without it the noun is not found.
func one[T any](found []T, noun string, err error) (row T, _ error) {
	if err == nil && len(found) == 0 {
		err = corp.NotFound(noun)
	}
	if err != nil {
		return row, err
	}
	return found[0], nil
}

// QueryUser is Query for what is a person's. The person is $1.
func QueryUser[T any](ctx context.Context, u User, scan pgx.RowToFunc[T], sql string, args ...any) (found []T, err error) {
	if u.ID.IsZero() {
		return nil, pgerr.Internal(errors.New("a person's door was opened without a person"))
	}
	err = u.DB.retry(ctx, func() (err error) {
		found, err = pipelined(ctx, u.DB.app, scan, enterPerson, u.ID.UUID(), sql, append([]any{u.ID}, args...)...)
		return err
	})
	return found, err
}

// QuerySystem is query through the system door.
func QuerySystem[T any](ctx context.Context, s System, scan pgx.RowToFunc[T], sql string, args ...any) (found []T, err error) {
	ctx = systemAudit(ctx)
	err = s.DB.retry(ctx, func() (err error) {
		found, err = pipelined(ctx, s.DB.system, scan, enterSystem, s.Reason, sql, args...)
		return err
	})
	return found, err
}

// ExecSystem runs one statement through the system door and returns how many
// rows it touched.
func ExecSystem(ctx context.Context, s System, sql string, args ...any) (n int64, err error) {
	ctx = systemAudit(ctx)
	err = s.DB.retry(ctx, func() error {
		var b pgx.Batch
		b.Queue(enterSystem, s.Reason)
		b.Queue(sql, args...)
		readAudit, audited := writeAuditBeside(ctx, &b, sql)
		results := s.DB.system.SendBatch(ctx, &b)
		_, err := results.Exec()
		if err == nil {
			var tag pgconn.CommandTag
			tag, err = results.Exec()
			n = tag.RowsAffected()
		}
		if err == nil {
			err = readAudit(results)
		}
		err = errors.Join(err, results.Close())
		audited(err == nil)
		return err
	})
	return n, err
}

func pipelined[T any](ctx context.Context, pool *pgxpool.Pool, scan pgx.RowToFunc[T], enter, who, sql string, args ...any) ([]T, error) {
	var b pgx.Batch
	b.Queue(enter, who)
	b.Queue(sql, args...)
	readAudit, audited := writeAuditBeside(ctx, &b, sql)
	results := pool.SendBatch(ctx, &b)
	found, err := readLast(results, scan)
	if err == nil {
		err = readAudit(results)
	}
	err = errors.Join(err, results.Close())
	audited(err == nil)
	return found, err
}

// readLast reads the rows of the statement after the settings.
func readLast[T any](results pgx.BatchResults, scan pgx.RowToFunc[T]) ([]T, error) {
	if _, err := results.Exec(); err != nil {
		return nil, err
	}
	rows, err := results.Query()
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scan)
}

// Collect runs a statement in a transaction and reads its rows.
func Collect[T any](ctx context.Context, tx pgx.Tx, scan pgx.RowToFunc[T], sql string, args ...any) ([]T, error) {
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scan)
}

// CollectOne is collect for one row; without it the noun is not found.
func CollectOne[T any](ctx context.Context, tx pgx.Tx, noun string, scan pgx.RowToFunc[T], sql string, args ...any) (T, error) {
	found, err := Collect(ctx, tx, scan, sql, args...)
	return one(found, noun, err)
}

// CountRows adds up how many rows the statements of a Batch touched.
func CountRows(n *int) func(pgconn.CommandTag) error {
	return func(tag pgconn.CommandTag) error {
		*n += int(tag.RowsAffected())
		return nil
	}
}

// LookUp asks one of the functions that may see past the workspaces. One
// statement needs no settings: the functions read by index.
func LookUp[T any](ctx context.Context, a Auth, scan pgx.RowToFunc[T], sql string, args ...any) (found T, ok bool, err error) {
	err = a.DB.retry(ctx, func() error {
		rows, err := a.DB.app.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		all, err := pgx.CollectRows(rows, scan)
		if err == nil && len(all) > 0 {
			found, ok = all[0], true
		}
		return err
	})
	return found, ok, err
}

// RoutineSystem is QuerySystem for what every task needs.
func RoutineSystem[T any](ctx context.Context, s System, scan pgx.RowToFunc[T], sql string, args ...any) (found []T, err error) {
	ctx = systemAudit(ctx)
	err = s.DB.retry(ctx, func() (err error) {
		found, err = pipelined(ctx, s.DB.system, scan, enterSystemsRoutine, s.Reason, sql, args...)
		return err
	})
	return found, err
}

// ReadTogether sends statements together, as one implicit transaction. queue may
// be called more than once.
func (s System) ReadTogether(ctx context.Context, queue func(b *pgx.Batch)) error {
	return s.DB.retry(ctx, func() error {
		var b pgx.Batch
		b.Queue(enterSystemsReading, s.Reason)
		queue(&b)
		return s.DB.system.SendBatch(ctx, &b).Close()
	})
}

// Turns is statements about several workspaces, each read inside its own.
type Turns struct{ pgx.Batch }

// Enter makes the statements that follow see this workspace and no other.
func (t *Turns) Enter(ws corp.WorkspaceID) { t.Queue(enterRoutine, ws.UUID()) }

// InTurn sends statements about several workspaces in one round trip. queue may
// be called more than once.
func (s System) InTurn(ctx context.Context, queue func(t *Turns)) error {
	return s.DB.retry(ctx, func() error {
		var t Turns
		queue(&t)
		return s.DB.app.SendBatch(ctx, &t.Batch).Close()
	})
}

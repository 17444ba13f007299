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
)

// The settings of a transaction travel with its beginning, in one round trip,
// and end with it: nothing is left on a connection that a pool or PgBouncer
// gives to somebody else. SET cannot take a parameter; set_config can. The locks
// of a server that was paused inside a transaction are gone within seconds: well
// within the life of the leases that the others renew meanwhile.
const (
	bounds         = `set_config('statement_timeout', '20s', true), set_config('lock_timeout', '8s', true), set_config('idle_in_transaction_session_timeout', '5s', true)`
	enterWorkspace = `SELECT set_config('app.workspace_id', $1, true), ` + bounds
	enterSystem    = `SELECT set_config('application_name', $1, true), ` + bounds
)

// maxTries is how often a transaction is begun that the database gave up for
// another one's sake, or that never reached it.
const maxTries = 5

// in runs fn in one transaction of the workspace. fn may run more than once and
// must not keep anything from a run that failed.
func (w WorkspaceDB) in(ctx context.Context, fn func(tx pgx.Tx) error) error {
	if w.ws.IsZero() {
		return errNoWorkspace()
	}
	return w.db.retry(ctx, func() error { return w.db.transact(ctx, w.db.app, enterWorkspace, w.ws.UUID(), fn) })
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
	t := &transaction{conn: conn, enter: enter, who: who}
	if err := fn(t); err != nil {
		t.rollBack(ctx)
		return err
	}
	switch err = t.commit(ctx); {
	case err == nil:
		db.hints.say(t.said) //nolint:contextcheck // who listens is told also when the caller has gone
	case doubtful(err):
		for i := range t.said {
			t.said[i].Queued, t.said[i].Ended = nil, false
		}
		db.hints.say(t.said) //nolint:contextcheck // who listens is told also when the caller has gone
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

// transaction is a transaction of this package. Its beginning travels with its
// first statements where these are a batch; its events are written last, in one
// round trip with the commit, so that the lock on their numbers is held for no
// trip. Savepoints, COPY and the like are the embedded nil Tx's: nothing here
// uses them.
type transaction struct {
	pgx.Tx
	conn       *pgxpool.Conn
	enter, who string
	begun      bool
	events     []placedEvent
	said       []Notice
}

// placedEvent is an event and whose it is.
type placedEvent struct {
	workspace corp.WorkspaceID
	event     event
}

// own returns the transaction behind the interface.
func own(tx pgx.Tx) *transaction {
	t, ok := tx.(*transaction)
	if !ok {
		panic("a transaction that was not begun by this package")
	}
	return t
}

// say has notices said after the transaction's commit.
func say(tx pgx.Tx, said ...Notice) {
	t := own(tx)
	t.said = append(t.said, said...)
}

// begin opens the transaction if that has not been done.
func (t *transaction) begin(ctx context.Context) error {
	if t.begun {
		return nil
	}
	t.begun = true
	var b pgx.Batch
	t.queueBegin(&b)
	return t.conn.SendBatch(ctx, &b).Close()
}

func (t *transaction) queueBegin(b *pgx.Batch) {
	b.Queue("begin")
	b.Queue(t.enter, t.who)
}

// Exec runs one statement.
func (t *transaction) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if err := t.begin(ctx); err != nil {
		return pgconn.CommandTag{}, err
	}
	return t.conn.Exec(ctx, sql, args...)
}

// Query runs one statement and returns its rows.
func (t *transaction) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if err := t.begin(ctx); err != nil {
		return nil, err
	}
	return t.conn.Query(ctx, sql, args...)
}

// QueryRow runs one statement and returns its row.
func (t *transaction) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	if err := t.begin(ctx); err != nil {
		return failedRow{err}
	}
	return t.conn.QueryRow(ctx, sql, args...)
}

// failedRow is the row of a transaction that could not be begun.
type failedRow struct{ err error }

// Scan returns why there is no row.
func (r failedRow) Scan(...any) error { return r.err }

// SendBatch runs statements together.
func (t *transaction) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	if err := t.begin(ctx); err != nil {
		_ = t.Conn().Close(ctx) // the batch fails on it, and says why
	}
	return t.conn.SendBatch(ctx, b)
}

// Conn returns the connection.
func (t *transaction) Conn() *pgx.Conn { return t.conn.Conn() }

// commit writes the events and commits, in one round trip.
func (t *transaction) commit(ctx context.Context) error {
	if !t.begun && len(t.events) == 0 {
		return nil // nothing was asked of the database
	}
	var b pgx.Batch
	if !t.begun {
		t.queueBegin(&b)
	}
	t.writeEvents(&b)
	b.Queue("commit").Exec(func(tag pgconn.CommandTag) error {
		if tag.String() == "ROLLBACK" {
			return pgx.ErrTxCommitRollback
		}
		return nil
	})
	return t.conn.SendBatch(ctx, &b).Close()
}

// rollBack gives up the transaction; a connection on which that fails is closed.
func (t *transaction) rollBack(ctx context.Context) {
	if !t.begun || t.Conn().IsClosed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if _, err := t.conn.Exec(ctx, "rollback"); err != nil {
		_ = t.Conn().Close(ctx)
	}
}

// batch is statements that travel together, and the events and hints of what
// they do.
type batch struct {
	pgx.Batch
	events []placedEvent
	said   []Notice
}

func (b *batch) say(n Notice) { b.said = append(b.said, n) }

// send runs a batch in a transaction.
func send(ctx context.Context, tx pgx.Tx, b *batch) error {
	t := own(tx)
	if b.Len() > 0 {
		sent := &b.Batch
		if !t.begun {
			t.begun = true
			sent = new(pgx.Batch)
			t.queueBegin(sent)
			sent.QueuedQueries = append(sent.QueuedQueries, b.QueuedQueries...)
		}
		if err := t.conn.SendBatch(ctx, sent).Close(); err != nil {
			return err
		}
	}
	t.events = append(t.events, b.events...)
	t.said = append(t.said, b.said...)
	return nil
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
			return translate(ctx, err)
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
		case pg.Code == codeSerialization, pg.Code == codeDeadlock:
			return true
		case missingPartition(pg):
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

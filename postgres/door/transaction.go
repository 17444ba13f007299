package door

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/hint"
)

// transaction is a transaction of this package. What need not be answered at once
// waits, in order, for the next statement that must be, and travels with it: the
// beginning first of all, the events and the commit last, so that the lock on the
// events' numbers is held for no round trip. Savepoints, COPY and the like are the
// embedded nil Tx's: nothing here uses them.
type transaction struct {
	pgx.Tx
	conn    *pgxpool.Conn
	waiting []*Batch
	begun   bool
	events  []placedEvent
	said    []hint.Notice
}

// placedEvent is an event and whose it is.
type placedEvent struct {
	workspace corp.WorkspaceID
	event     Event
}

// Batch is statements that travel together, and the events and hints of what
// they do.
type Batch struct {
	pgx.Batch
	events []placedEvent
	said   []hint.Notice
}

// Say has a notice said after the commit.
func (b *Batch) Say(n hint.Notice) { b.said = append(b.said, n) }

func begin(conn *pgxpool.Conn, enter, who string) *transaction {
	var b Batch
	b.Queue("begin")
	b.Queue(enter, who)
	return &transaction{conn: conn, waiting: []*Batch{&b}}
}

// own returns the transaction behind the interface.
func own(tx pgx.Tx) *transaction {
	t, ok := tx.(*transaction)
	if !ok {
		panic("a transaction that was not begun by this package")
	}
	return t
}

// Say has notices said after the transaction's commit.
func Say(tx pgx.Tx, said ...hint.Notice) {
	t := own(tx)
	t.said = append(t.said, said...)
}

// Later has a batch sent before the next statement, or the commit. What its
// callbacks set is set then, and its errors are that statement's.
func Later(tx pgx.Tx, b *Batch) {
	t := own(tx)
	t.waiting = append(t.waiting, b)
}

// send runs what waits, and a batch.
func Send(ctx context.Context, tx pgx.Tx, b *Batch) error {
	t := own(tx)
	if idle := len(t.waiting) == 0 || len(t.waiting) == 1 && !t.begun; idle && b.Len() == 0 {
		t.collect(b)
		return nil
	}
	return t.together(ctx, b)
}

// together sends what waits and one batch more.
func (t *transaction) together(ctx context.Context, last *Batch) error {
	all, sent := t.take(last)
	if err := t.conn.SendBatch(ctx, sent).Close(); err != nil {
		return err
	}
	for _, b := range all {
		t.collect(b)
	}
	return nil
}

// take takes what waits, and one batch more, as one to be sent.
func (t *transaction) take(last *Batch) ([]*Batch, *pgx.Batch) {
	all := append(t.waiting, last)
	t.waiting, t.begun = nil, true
	sent := new(pgx.Batch)
	for _, b := range all {
		sent.QueuedQueries = append(sent.QueuedQueries, b.QueuedQueries...)
	}
	return all, sent
}

func (t *transaction) collect(b *Batch) {
	t.events = append(t.events, b.events...)
	t.said = append(t.said, b.said...)
}

// Exec runs one statement.
func (t *transaction) Exec(ctx context.Context, sql string, args ...any) (tag pgconn.CommandTag, err error) {
	if len(t.waiting) == 0 {
		return t.conn.Exec(ctx, sql, args...)
	}
	var b Batch
	b.Queue(sql, args...).Exec(func(done pgconn.CommandTag) error {
		tag = done
		return nil
	})
	return tag, t.together(ctx, &b)
}

// Query runs one statement and returns its rows.
func (t *transaction) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if len(t.waiting) == 0 {
		return t.conn.Query(ctx, sql, args...)
	}
	var b Batch
	b.Queue(sql, args...)
	all, sent := t.take(&b)
	results := t.conn.SendBatch(ctx, sent)
	for _, q := range sent.QueuedQueries[:sent.Len()-1] {
		if err := resultOf(q, results); err != nil {
			return nil, errors.Join(err, results.Close())
		}
	}
	for _, b := range all {
		t.collect(b)
	}
	rows, err := results.Query()
	if err != nil {
		return nil, errors.Join(err, results.Close())
	}
	return &lastRows{rows, results, nil}, nil
}

func resultOf(q *pgx.QueuedQuery, results pgx.BatchResults) error {
	if q.Fn != nil {
		return q.Fn(results)
	}
	_, err := results.Exec()
	return err
}

// lastRows are the rows of the last statement of a batch. The batch ends with them.
type lastRows struct {
	pgx.Rows
	results pgx.BatchResults
	err     error
}

// Close ends the rows and the batch.
func (r *lastRows) Close() {
	r.Rows.Close()
	r.err = r.results.Close()
}

// Err returns what went wrong with either.
func (r *lastRows) Err() error {
	if err := r.Rows.Err(); err != nil {
		return err
	}
	return r.err
}

// QueryRow runs one statement and returns its row.
func (t *transaction) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	rows, err := t.Query(ctx, sql, args...)
	return firstRow{rows, err}
}

// firstRow is the only row that somebody wants, or why there is none.
type firstRow struct {
	rows pgx.Rows
	err  error
}

// Scan reads the row. Without one the error is pgx.ErrNoRows.
func (r firstRow) Scan(into ...any) error {
	if r.err != nil {
		return r.err
	}
	defer r.rows.Close()
	if !r.rows.Next() {
		r.rows.Close()
		if err := r.rows.Err(); err != nil {
			return err
		}
		return pgx.ErrNoRows
	}
	if err := r.rows.Scan(into...); err != nil {
		return err
	}
	r.rows.Close()
	return r.rows.Err()
}

// SendBatch sends statements that somebody reads by himself.
func (t *transaction) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	if len(t.waiting) > 0 {
		if err := t.together(ctx, &Batch{}); err != nil {
			_ = t.Conn().Close(ctx) // the batch fails on it, and says why
		}
	}
	return t.conn.SendBatch(ctx, b)
}

// Conn returns the connection.
func (t *transaction) Conn() *pgx.Conn { return t.conn.Conn() }

// commit writes the audit event and the events and commits, in one round trip.
func (t *transaction) commit(ctx context.Context) error {
	if !t.begun && len(t.waiting) == 1 && len(t.events) == 0 {
		return nil // nothing was asked of the database
	}
	for _, b := range t.waiting { // hints are collected once their statements are done
		t.events = append(t.events, b.events...)
		b.events = nil
	}
	var b Batch
	audited := t.writeAudit(ctx, &b)
	t.writeEvents(&b)
	b.Queue("commit").Exec(func(tag pgconn.CommandTag) error {
		if tag.String() == "ROLLBACK" {
			return pgx.ErrTxCommitRollback
		}
		return nil
	})
	err := t.together(ctx, &b)
	audited(err == nil)
	return err
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

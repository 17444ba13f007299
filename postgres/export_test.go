package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// Unguarded opens all doors with one role and checks nothing: with a superuser's
// connection string it shows what the doors do without row-level security.
func Unguarded(ctx context.Context, url string) (*DB, error) {
	db, err := door.Connect(ctx, Config{AppURL: url, SystemURL: url})
	if err != nil {
		return nil, err
	}
	return &DB{db}, nil
}

// SayInTransaction runs fn in a transaction of the workspace that has something
// to say.
func SayInTransaction(ctx context.Context, w WorkspaceDB, n Notice, fn func(tx pgx.Tx) error) error {
	return w.door.In(ctx, func(tx pgx.Tx) error {
		door.Say(tx, n)
		return fn(tx)
	})
}

// OfferFor is Offers for one run, which is lease_lost when it is not among them.
func (w WorkspaceDB) OfferFor(ctx context.Context, run corp.RunID, epoch int64) (corp.Offer, []byte, error) {
	found, err := SystemDB{w.door.DB.System("test")}.Offers(ctx, []RunRef{{w.door.ID, run, epoch}})
	if err != nil {
		return corp.Offer{}, nil, err
	}
	o, ok := found[run]
	if !ok {
		if _, err := w.Run(ctx, run); err != nil {
			return corp.Offer{}, nil, err
		}
		return corp.Offer{}, nil, corp.LeaseLost()
	}
	return o.Offer, o.Credential, nil
}

// The statements that go by a place in a long queue.
const (
	SelectLately = selectLately
	SelectSoon   = selectSoon
	MakeReady    = makeReady
	CountAhead   = countAhead
)

// PageOfTasks is the statement of the newest tasks.
var PageOfTasks = pageOfTasks(newestTasks)

const selectQueue = `
	SELECT ` + queuedColumns + `
	FROM runs r
	JOIN workspaces w ON w.workspace_id = r.workspace_id AND w.archived_at IS NULL
	WHERE r.state = 'queued' `

// Queue returns all runs that wait for a runner, oldest first, those whose time
// has not come included.
func (s SystemDB) Queue(ctx context.Context) ([]QueuedRun, error) {
	return door.QuerySystem(ctx, s.door, pgx.RowToStructByName[QueuedRun], selectQueue+`ORDER BY r.created_at, r.id`)
}

// QueueOf is Queue for some workspaces.
func (s SystemDB) QueueOf(ctx context.Context, workspaces []corp.WorkspaceID) ([]QueuedRun, error) {
	return door.QuerySystem(ctx, s.door, pgx.RowToStructByName[QueuedRun], selectQueue+`AND r.workspace_id = ANY($1) ORDER BY r.created_at, r.id`, workspaces)
}

// LeftOnConnections returns what the settings of a transaction are on each of the
// application's connections between transactions.
func (db *DB) LeftOnConnections(ctx context.Context) (left []string, err error) {
	var held []*pgxpool.Conn
	defer func() {
		for _, conn := range held {
			conn.Release()
		}
	}()
	for range db.door.App().Config().MaxConns {
		conn, err := db.door.App().Acquire(ctx)
		if err != nil {
			return nil, err
		}
		held = append(held, conn)
		var all string
		err = conn.QueryRow(ctx, `
			SELECT concat_ws('|', coalesce(current_setting('app.workspace_id', true), ''), current_setting('statement_timeout'),
				current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout'))`).Scan(&all)
		if err != nil {
			return nil, err
		}
		left = append(left, all)
	}
	return left, nil
}

// Lanes returns how many workspaces have a lane.
func (db *DB) Lanes() int { return db.door.Lanes() }

// Package postgres holds all SQL of the product and all its transactions.
//
// There are three doors. In(workspace) sees one workspace and nothing else: the
// Go type asks for it and row-level security enforces it a second time. Auth
// answers who is behind one credential, before a workspace is known. System sees
// across workspaces, but only what finding and leasing work needs.
//
// A method is one transaction, named for what happens in the world. The
// database's clock decides every question of time. Locks are always taken in the
// order schedules, tasks, runs, budgets, allowances, event_heads (and rows of one table in
// the order of their ids), so that no two transactions can wait for each other.
//
// It refuses to open with roles that could see past row-level security, or with
// a schema that is not exactly this build's.
package postgres

import (
	"context"
	"log/slog"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/hint"
)

// Config says how to reach the database.
type Config struct {
	AppURL    string       // as corp_app, perhaps through PgBouncer in transaction mode
	SystemURL string       // as corp_system, likewise
	ListenURL string       // as corp_app, directly, for LISTEN; empty means AppURL
	MaxConns  int          // of each of the two pools; 0 means 10
	Logger    *slog.Logger // nil is silent
}

// DB is the two pools and the three doors. It is safe for concurrent use.
type DB struct {
	app, system *pgxpool.Pool
	log         *slog.Logger
	hints       *hint.Speaker
	lanes       *lanes
}

// AuthDB looks up who is behind a credential. It answers for one secret at a
// time and cannot list anything.
type AuthDB struct{ db *DB }

// WorkspaceDB sees exactly one workspace.
type WorkspaceDB struct {
	db *DB
	ws corp.WorkspaceID
}

// SystemDB sees the installation, and of the workspaces what scheduling needs.
type SystemDB struct {
	db     *DB
	reason string
}

// Listen calls fn for every notice until ctx ends, and returns nil then: for what
// this process said as soon as it is committed, for the others' words when they
// arrive. fn must not block; it is called from many goroutines. A connection that
// breaks is made again, with a resync notice first. A connection string that
// cannot be read is invalid.
func (db *DB) Listen(ctx context.Context, fn func(Notice)) error { return db.hints.Listen(ctx, fn) }

// In returns the door to one workspace. With the zero workspace every method
// returns an internal error.
func (db *DB) In(ws corp.WorkspaceID) WorkspaceDB { return WorkspaceDB{db, ws} }

// Auth returns the door for credentials.
func (db *DB) Auth() AuthDB { return AuthDB{db} }

// System returns the door across workspaces. The reason is for the database's
// own log: it is the application_name of what follows.
func (db *DB) System(reason string) SystemDB { return SystemDB{db, reason} }

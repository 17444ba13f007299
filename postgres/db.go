// Package postgres holds the SQL of the product's work and all its transactions;
// people's is in postgres/people.
//
// There are three doors (package door says how they are kept). In(workspace) sees
// one workspace and nothing else: the Go type asks for it and row-level security
// enforces it a second time. Auth answers who is behind one credential, before a
// workspace is known. System sees across workspaces, but only what finding and
// leasing work needs.
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

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// Config says how to reach the database.
type Config = door.Config

// DB is the three doors. It is safe for concurrent use.
type DB struct{ door *door.DB }

// AuthDB looks up who is behind a credential. It answers for one secret at a
// time and cannot list anything.
type AuthDB struct{ door door.Auth }

// WorkspaceDB sees exactly one workspace.
type WorkspaceDB struct{ door door.Workspace }

// SystemDB sees the installation, and of the workspaces what scheduling needs.
type SystemDB struct{ door door.System }

// Open connects both pools and refuses to go on where tenants would not be safe;
// door.Open says when that is.
func Open(ctx context.Context, c Config) (*DB, error) {
	db, err := door.Open(ctx, c)
	if err != nil {
		return nil, err
	}
	return &DB{db}, nil
}

// Close says what is still unsaid, closes both pools and waits for what still
// runs on them.
func (db *DB) Close() { db.door.Close() }

// Ping asks both roles for a round trip.
func (db *DB) Ping(ctx context.Context) error { return db.door.Ping(ctx) }

// Listen calls fn for every notice until ctx ends, and returns nil then: for what
// this process said as soon as it is committed, for the others' words when they
// arrive. fn must not block; it is called from many goroutines. A connection that
// breaks is made again, with a resync notice first. A connection string that
// cannot be read is invalid.
func (db *DB) Listen(ctx context.Context, fn func(Notice)) error { return db.door.Listen(ctx, fn) }

// Door is for postgres/people, which keeps people's rows behind the same doors.
func (db *DB) Door() *door.DB { return db.door }

// In returns the door to one workspace. With the zero workspace every method
// returns an internal error.
func (db *DB) In(ws corp.WorkspaceID) WorkspaceDB {
	return WorkspaceDB{db.door.In(ws)}
}

// Auth returns the door for credentials.
func (db *DB) Auth() AuthDB { return AuthDB{db.door.Auth()} }

// System returns the door across workspaces. The reason is for the database's
// own log: it is the application_name of what follows.
func (db *DB) System(reason string) SystemDB {
	return SystemDB{db.door.System(reason)}
}

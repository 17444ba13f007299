// Package door is how a statement reaches the database, and what it may see there.
//
// Workspace sees one workspace and nothing else, User one person and nothing
// else: the type asks for whom, and row-level security enforces it a second
// time. Auth answers for one secret, before anybody is known. System sees across
// workspaces, but only what finding and leasing work needs.
//
// A transaction carries its settings with its beginning and its events with its
// commit; what it has to say to others is said after that. Transactions that the
// database gave up for another one's sake are begun again.
//
// It holds no statement about any noun: those are its readers', postgres and
// postgres/people, and nobody else may import it.
package door

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

// DB is the two pools. It is safe for concurrent use.
type DB struct {
	app, system *pgxpool.Pool
	log         *slog.Logger
	hints       *hint.Speaker
	lanes       *lanes
}

// Workspace sees exactly one workspace.
type Workspace struct {
	DB *DB
	ID corp.WorkspaceID
}

// User sees exactly one person: what is theirs alone, in no workspace.
type User struct {
	DB *DB
	ID corp.UserID
}

// Auth looks up who is behind a credential. It answers for one secret at a time
// and cannot list anything.
type Auth struct{ DB *DB }

// System sees the installation, and of the workspaces what scheduling needs.
type System struct {
	DB     *DB
	Reason string // for the database's own log: the application_name of what follows
}

// App returns the pool of the application's role. Nothing sets a workspace on it.
func (db *DB) App() *pgxpool.Pool { return db.app }

// Listen calls fn for every notice until ctx ends, and returns nil then: for what
// this process said as soon as it is committed, for the others' words when they
// arrive. fn must not block; it is called from many goroutines. A connection that
// breaks is made again, with a resync notice first. A connection string that
// cannot be read is invalid.
func (db *DB) Listen(ctx context.Context, fn func(hint.Notice)) error {
	return db.hints.Listen(ctx, fn)
}

// Say tells whoever listens, here and on other servers. It does not wait.
func (db *DB) Say(said ...hint.Notice) { db.hints.Say(said) }

// In returns the door to one workspace.
func (db *DB) In(ws corp.WorkspaceID) Workspace { return Workspace{db, ws} }

// User returns the door to one person.
func (db *DB) User(id corp.UserID) User { return User{db, id} }

// Auth returns the door for credentials.
func (db *DB) Auth() Auth { return Auth{db} }

// System returns the door across workspaces.
func (db *DB) System(reason string) System { return System{db, reason} }

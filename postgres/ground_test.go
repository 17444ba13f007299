package postgres_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// session is a connection, or a transaction that stands for one: then what is begun
// in it is a savepoint, and a fault that was planted in it is felt and taken back.
type session interface {
	Begin(ctx context.Context) (pgx.Tx, error)
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// acting is a superuser's session in which what is begun is done as a role.
type acting struct {
	session
	role  string
	first string // what the superuser does before
}

func (a acting) Begin(ctx context.Context) (pgx.Tx, error) {
	tx, err := a.session.Begin(ctx)
	if err == nil {
		_, err = tx.Exec(ctx, a.first+`; SET LOCAL ROLE `+a.role)
	}
	return tx, err
}

// ground is a database with two workspaces and two people, each with at least one
// row in every table that is theirs.
type ground struct {
	env          *pgtest.Env
	mine, theirs corp.WorkspaceID
	i, they      corp.UserID
}

func newGround(t *testing.T) ground {
	t.Helper()
	env := pgtest.Database(t)
	g := ground{env: env, mine: env.Workspace(t), theirs: env.Workspace(t), i: corp.NewID[corp.UserID](), they: corp.NewID[corp.UserID]()}
	furnish(t, env, g.mine)
	furnish(t, env, g.theirs)
	for _, user := range []corp.UserID{g.i, g.they} {
		env.Exec(t, `INSERT INTO users (user_id, email, name) VALUES ($1, $1::uuid || '@example.com', 'u')`, user)
		env.Exec(t, `INSERT INTO recovery_codes (user_id, hash) VALUES ($1, sha256($1::uuid::text::bytea))`, user)
		env.Exec(t, `INSERT INTO identities (user_id, issuer, subject, email) VALUES ($1, 'https://issuer.example', $1::uuid, '')`, user)
		env.Exec(t, `INSERT INTO sessions (user_id, id, kind, address, user_agent, idle_ms, expires_at) VALUES ($1, $1, 'cli', '', '', 1, now())`, user)
		env.Exec(t, `INSERT INTO refresh_tokens (user_id, hash, session_id) VALUES ($1, sha256($1::uuid::text::bytea), $1)`, user)
	}
	env.Exec(t, `SELECT write_installation_audit($1, 'somebody', '', 'signIn', '', '', 'done', '', '{}', 'hash', 'somebody', 'salt', '192.0.2.1', '', '')`, corp.NewID[corp.AuditID]())
	return g
}

// lock is what keeps the rows of one apart from another's.
type lock struct{ column, setting, mine, theirs string }

func (g ground) workspaces() lock {
	return lock{"workspace_id", "app.workspace_id", g.mine.UUID(), g.theirs.UUID()}
}

func (g ground) people() lock { return lock{"user_id", "app.user_id", g.i.UUID(), g.they.UUID()} }

// personTables are those that are a person's and no workspace's.
func personTables(t *testing.T, conn session) []string {
	t.Helper()
	tables := value[[]string](t, conn, `
		SELECT array_agg(c.relname::text ORDER BY 1) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'user_id'
		WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND NOT EXISTS (SELECT FROM pg_attribute w WHERE w.attrelid = c.oid AND w.attname = 'workspace_id')`)
	if len(tables) < 5 {
		t.Fatalf("only %d tables of people: %v", len(tables), tables)
	}
	return tables
}

func value[T any](t *testing.T, conn session, sql string, args ...any) (v T) {
	t.Helper()
	ok(t, conn.QueryRow(t.Context(), sql, args...).Scan(&v))
	return v
}

// list is the first column of what a query answers.
func list(t *testing.T, conn session, sql string, args ...any) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql, args...)
	ok(t, err)
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	ok(t, err)
	return all
}

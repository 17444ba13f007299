package postgres_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
)

const actor = corp.Actor("key_of_a_test")

// connect opens one connection past the doors, for what they would not do.
func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// must fails the test at once for an error that the test is not about.
func must[T any](v T, err error) func(testing.TB) T {
	return func(tb testing.TB) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}

func ok(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func wantKind(tb testing.TB, err error, kind corp.Kind) {
	tb.Helper()
	if corp.KindOf(err) != kind {
		tb.Errorf("got %v (%s), want kind %q", err, corp.KindOf(err), kind)
	}
}

func sqlState(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code
	}
	return ""
}

// door is a fresh workspace and its door.
func door(tb testing.TB) (*pgtest.Env, corp.WorkspaceID, postgres.WorkspaceDB) {
	tb.Helper()
	env := pgtest.New(tb)
	ws := env.Workspace(tb)
	return env, ws, env.DB.In(ws)
}

func wantCode(tb testing.TB, err error, code string) {
	tb.Helper()
	if e, ok := errors.AsType[*corp.Error](err); !ok || e.Code != code {
		tb.Errorf("got %v, want code %q", err, code)
	}
}

func hint(err error) string {
	if e, ok := errors.AsType[*corp.Error](err); ok {
		return e.Hint
	}
	return ""
}

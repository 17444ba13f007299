// Package pgtest gives a test a real database: one throwaway PostgreSQL per test
// process, migrated once, that dies with the process. A test takes a fresh
// workspace in the shared database, which costs a millisecond, or a whole
// database of its own when it changes what workspaces share.
//
// CORP_TEST_POSTGRES=16 makes it an older one, from the npm package postgres-16.
//
// It is for tests only: nothing in it is durable, and everybody is superuser.
package pgtest

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/embedded"
	"github.com/genericcorp/corp/postgres/schema"
)

// Env is a migrated database.
type Env struct {
	DB        *postgres.DB
	Name      string // of the database
	AppURL    string
	SystemURL string
	OwnerURL  string // who owns the tables; forced row-level security binds it too
	SuperURL  string // past row-level security

	super *pgxpool.Pool // as superuser; nil in a cluster that is to be killed
}

// patience is how long a test waits for the database before it fails.
const patience = 60 * time.Second

var shared = sync.OnceValues(func() (*Env, error) {
	c, err := cluster()
	if err != nil {
		return nil, err
	}
	env, err := c.database("shared", template, 40)
	if err != nil {
		return nil, err
	}
	return env, env.keepConnections()
})

// New returns the process's shared database, starting it on first use.
func New(tb testing.TB) *Env {
	tb.Helper()
	env, err := shared()
	if err != nil {
		tb.Fatalf("start PostgreSQL for the tests: %v", err)
	}
	return env
}

// DB returns the pools on the shared database.
func DB(tb testing.TB) *postgres.DB {
	tb.Helper()
	return New(tb).DB
}

// Workspace makes a fresh workspace in the shared database, on the unlimited
// plan, with an agent named default.
func Workspace(tb testing.TB) corp.WorkspaceID {
	tb.Helper()
	return New(tb).Workspace(tb)
}

var databases atomic.Int64

// Database returns a whole fresh database, migrated and empty, gone after the test.
func Database(tb testing.TB) *Env {
	tb.Helper()
	return fresh(tb, template, true)
}

// Empty returns a whole fresh database without a schema, gone after the test. Its
// DB is nil: there is nothing to open yet.
func Empty(tb testing.TB) *Env {
	tb.Helper()
	return fresh(tb, "template0", false)
}

// Cluster returns a migrated database in a PostgreSQL of its own, gone after the
// test, to be killed: it starts again by itself.
func Cluster(tb testing.TB) (*Env, *embedded.Server) {
	tb.Helper()
	c, err := own()
	if err != nil {
		tb.Fatalf("start a PostgreSQL for the test: %v", err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := c.Stop(ctx); err != nil {
			tb.Errorf("stop the test's PostgreSQL: %v", err)
		}
	})
	env, err := c.database("test_own", template, 20)
	if err != nil {
		tb.Fatalf("make a database: %v", err)
	}
	tb.Cleanup(env.DB.Close)
	return env, c.Server
}

func fresh(tb testing.TB, from string, open bool) *Env {
	tb.Helper()
	c, err := cluster()
	if err != nil {
		tb.Fatalf("start PostgreSQL for the tests: %v", err)
	}
	conns := 10
	if !open {
		conns = 0
	}
	env, err := c.database(fmt.Sprintf("test_%d", databases.Add(1)), from, conns)
	if err != nil {
		tb.Fatalf("make a database: %v", err)
	}
	if err := env.keepConnections(); err != nil {
		tb.Fatalf("open the superuser's pool: %v", err)
	}
	tb.Cleanup(func() {
		if env.DB != nil {
			env.DB.Close()
		}
		env.super.Close()
		if err := c.super(`DROP DATABASE ` + env.Name + ` WITH (FORCE)`); err != nil {
			tb.Errorf("drop the test's database: %v", err)
		}
	})
	return env
}

// template is the migrated database that the others are copied from. Nobody
// connects to it, else it could not be copied.
const template = embedded.Database

// server is a cluster; all but a few tests share one.
type server struct{ *embedded.Server }

var (
	cluster = sync.OnceValues(own)
	places  = sync.OnceValues(folders)
	owned   atomic.Int64
)

// own starts one more cluster of this process.
func own() (server, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	at, err := places()
	if err != nil {
		return server{}, err
	}
	major, err := major()
	if err != nil {
		return server{}, err
	}
	pg, err := embedded.Start(ctx, embedded.Config{
		Dir: filepath.Join(at.dir, strconv.FormatInt(owned.Add(1), 10)), Cache: at.cache, Major: major, Logger: slog.New(slog.DiscardHandler),
		// Shared memory in files of the cluster's folder goes when the folder goes.
		Settings: map[string]string{"max_connections": "400", "dynamic_shared_memory_type": "mmap", "shared_buffers": "64MB"},
	})
	if err != nil {
		return server{}, err
	}
	if err := schema.Prepare(ctx, pg.SuperURL(template), nil); err != nil {
		return server{}, err
	}
	_, _, err = schema.Migrate(ctx, pg.OwnerURL())
	return server{pg}, err
}

// major is the version of PostgreSQL to test on, 0 for the one that corp brings.
func major() (int, error) {
	text := os.Getenv("CORP_TEST_POSTGRES") //nolint:forbidigo // a test is told this way, as it has no other configuration
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("read CORP_TEST_POSTGRES: %w", err)
	}
	return n, nil
}

// super runs statements one by one as the superuser, outside the tests' databases.
func (s server) super(statements ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.SuperURL("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// database copies a database and opens pools of so many connections on the copy.
func (s server) database(name, from string, conns int) (*Env, error) {
	err := s.super(
		`CREATE DATABASE `+name+` TEMPLATE `+from+` STRATEGY FILE_COPY OWNER `+embedded.OwnerRole,
		`REVOKE ALL ON DATABASE `+name+` FROM PUBLIC`,
		`GRANT CONNECT ON DATABASE `+name+` TO `+embedded.AppRole+`, `+embedded.SystemRole)
	if err != nil {
		return nil, err
	}
	env := &Env{Name: name, AppURL: in(s.AppURL(), name), SystemURL: in(s.SystemURL(), name), OwnerURL: in(s.OwnerURL(), name), SuperURL: s.SuperURL(name)}
	if conns == 0 {
		return env, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	env.DB, err = postgres.Open(ctx, postgres.Config{AppURL: env.AppURL, SystemURL: env.SystemURL, MaxConns: conns})
	return env, err
}

// in returns a connection string for another database of the cluster.
func in(raw, name string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return strings.Replace(raw, "/"+template, "/"+name, 1)
	}
	u.Path = "/" + name
	return u.String()
}

package pgtest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
)

// Model is the model of the agent named default in a test's workspace.
const Model = "anthropic/claude-sonnet-4-5"

// Workspace makes a fresh workspace in this database, like the function of that name.
func (e *Env) Workspace(tb testing.TB) corp.WorkspaceID {
	tb.Helper()
	var random [8]byte
	_, _ = rand.Read(random[:])
	ctx := tb.Context()
	ws, err := e.DB.System("test").CreateWorkspace(ctx, corp.ActorSystem, "t-"+hex.EncodeToString(random[:]), tb.Name(), "unlimited")
	if err != nil {
		tb.Fatalf("make a workspace: %v", err)
	}
	if _, err := e.DB.In(ws.ID).CreateAgent(ctx, corp.ActorSystem, corp.AgentSpec{Name: "default", Model: Model}); err != nil {
		tb.Fatalf("make an agent: %v", err)
	}
	return ws.ID
}

// Exec runs a statement as superuser, past row-level security, and returns how
// many rows it touched: to shift rows in time rather than wait.
func (e *Env) Exec(tb testing.TB, sql string, args ...any) int64 {
	tb.Helper()
	var n int64
	e.connect(tb, func(ctx context.Context, conn *pgx.Conn) error {
		tag, err := conn.Exec(ctx, sql, args...)
		n = tag.RowsAffected()
		return err
	})
	return n
}

// Value returns the one value that a query answers, asked as superuser.
func Value[T any](tb testing.TB, e *Env, sql string, args ...any) (v T) {
	tb.Helper()
	e.connect(tb, func(ctx context.Context, conn *pgx.Conn) error { return conn.QueryRow(ctx, sql, args...).Scan(&v) })
	return v
}

func (e *Env) connect(tb testing.TB, do func(ctx context.Context, conn *pgx.Conn) error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience) // also from a cleanup, when the test's own is over
	defer cancel()
	if e.super != nil {
		if err := e.super.AcquireFunc(ctx, func(conn *pgxpool.Conn) error { return do(ctx, conn.Conn()) }); err != nil {
			tb.Fatalf("as superuser: %v", err)
		}
		return
	}
	conn, err := pgx.Connect(ctx, e.SuperURL)
	if err != nil {
		tb.Fatalf("connect as superuser: %v", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if err := do(ctx, conn); err != nil {
		tb.Fatalf("as superuser: %v", err)
	}
}

// keepConnections lets the superuser's statements share a few connections: a new one
// for each costs more than most of the statements. Nothing is prepared, as tests
// change the schema below.
func (e *Env) keepConnections() error {
	cfg, err := pgxpool.ParseConfig(e.SuperURL)
	if err != nil {
		return err
	}
	cfg.MaxConns = 4
	cfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeDescribeExec
	e.super, err = pgxpool.NewWithConfig(context.Background(), cfg)
	return err
}

// KillConnections ends every connection of the product's roles to this database,
// and returns how many there were.
func (e *Env) KillConnections(tb testing.TB) int {
	tb.Helper()
	return Value[int](tb, e, `
		SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
		WHERE datname = current_database() AND usename IN ('corp_app', 'corp_system')`)
}

// Submit submits a task; what the spec leaves out is filled in.
func (e *Env) Submit(tb testing.TB, ws corp.WorkspaceID, spec corp.TaskSpec) corp.Task {
	tb.Helper()
	if spec.Prompt == "" {
		spec.Prompt = "Fix the bug."
	}
	if spec.RepositoryID == nil && spec.RepositoryURL == "" && spec.SourceID == nil {
		spec.RepositoryURL = "https://git.example.com/acme/widgets.git"
	}
	task, _, err := e.DB.In(ws).SubmitTask(tb.Context(), corp.ActorSystem, spec, postgres.Idempotency{})
	if err != nil {
		tb.Fatalf("submit a task: %v", err)
	}
	return task
}

// Lease is a run that a test has leased, with its secrets' hashes.
type Lease struct {
	Workspace  corp.WorkspaceID
	RunID      corp.RunID
	TaskID     corp.TaskID
	Epoch      int64
	RunnerID   corp.RunnerID
	SecretHash []byte
	RunKeyHash []byte
}

// Claim leases a queued run without being the leader, so that tests that share a
// database need not agree on one. What claiming itself does is tested in postgres.
func (e *Env) Claim(tb testing.TB, ws corp.WorkspaceID, run corp.RunID) Lease {
	tb.Helper()
	l := Lease{Workspace: ws, RunID: run, RunnerID: corp.NewID[corp.RunnerID]()}
	secret, key := sha256.Sum256([]byte("lease"+l.RunnerID.String())), sha256.Sum256([]byte("key"+l.RunnerID.String()))
	l.SecretHash, l.RunKeyHash = secret[:], key[:]
	e.connect(tb, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `
			WITH t AS (
				UPDATE tasks SET state = 'running', started_at = coalesce(started_at, clock_timestamp())
				WHERE workspace_id = $1 AND run_id = $2 AND state = 'queued' RETURNING id
			)
			UPDATE runs r SET state = 'leased', epoch = epoch + 1, runner_id = $3, runner_name = 'test', lease_hash = $4, run_key_hash = $5,
				leased_at = clock_timestamp(), lease_expires_at = clock_timestamp() + interval '10 seconds'
			FROM t WHERE r.workspace_id = $1 AND r.id = $2 AND r.task_id = t.id AND r.state = 'queued' RETURNING r.epoch, r.task_id`,
			ws, run, l.RunnerID, l.SecretHash, l.RunKeyHash).Scan(&l.Epoch, &l.TaskID)
	})
	return l
}

// Running leases a queued run and acknowledges it.
func (e *Env) Running(tb testing.TB, ws corp.WorkspaceID, run corp.RunID) Lease {
	tb.Helper()
	l := e.Claim(tb, ws, run)
	if err := e.DB.In(ws).AckRun(tb.Context(), run, l.Epoch); err != nil {
		tb.Fatalf("acknowledge a run: %v", err)
	}
	return l
}

// Eventually asks until the answer is true, and fails the test when it is not
// within the time. It asks ever less often: what takes long is not to cost the
// machine its time.
func Eventually(tb testing.TB, within time.Duration, what string, ask func(context.Context) bool) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), within)
	defer cancel()
	pause := 5 * time.Millisecond
	for !ask(ctx) {
		select {
		case <-ctx.Done():
			tb.Fatalf("not within %s: %s", within, what)
		case <-time.After(pause):
			pause = min(pause*5/4, 100*time.Millisecond)
		}
	}
}

package pgtest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
)

// Model is the model of the agent named default in a test's workspace.
const Model = "anthropic/claude-sonnet-4-5"

// Workspace makes a fresh workspace in this database, like the function of that name.
func (e *Env) Workspace(t testing.TB) corp.WorkspaceID {
	t.Helper()
	var random [8]byte
	_, _ = rand.Read(random[:])
	ctx := t.Context()
	ws, err := e.DB.System("test").CreateWorkspace(ctx, corp.ActorSystem, "t-"+hex.EncodeToString(random[:]), t.Name(), "unlimited")
	if err != nil {
		t.Fatalf("make a workspace: %v", err)
	}
	if _, err := e.DB.In(ws.ID).CreateAgent(ctx, corp.ActorSystem, corp.AgentSpec{Name: "default", Model: Model}); err != nil {
		t.Fatalf("make an agent: %v", err)
	}
	return ws.ID
}

// Exec runs a statement as superuser, past row-level security, and returns how
// many rows it touched: to shift rows in time rather than wait.
func (e *Env) Exec(t testing.TB, sql string, args ...any) int64 {
	t.Helper()
	var n int64
	e.connect(t, func(ctx context.Context, conn *pgx.Conn) error {
		tag, err := conn.Exec(ctx, sql, args...)
		n = tag.RowsAffected()
		return err
	})
	return n
}

// Value returns the one value that a query answers, asked as superuser.
func Value[T any](t testing.TB, e *Env, sql string, args ...any) (v T) {
	t.Helper()
	e.connect(t, func(ctx context.Context, conn *pgx.Conn) error { return conn.QueryRow(ctx, sql, args...).Scan(&v) })
	return v
}

func (e *Env) connect(t testing.TB, do func(ctx context.Context, conn *pgx.Conn) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience) // also from a cleanup, when the test's own is over
	defer cancel()
	conn, err := pgx.Connect(ctx, e.SuperURL)
	if err != nil {
		t.Fatalf("connect as superuser: %v", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if err := do(ctx, conn); err != nil {
		t.Fatalf("as superuser: %v", err)
	}
}

// KillConnections ends every connection of the product's roles to this database,
// and returns how many there were.
func (e *Env) KillConnections(t testing.TB) int {
	t.Helper()
	return Value[int](t, e, `
		SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
		WHERE datname = current_database() AND usename IN ('corp_app', 'corp_system')`)
}

// Submit submits a task; what the spec leaves out is filled in.
func (e *Env) Submit(t testing.TB, ws corp.WorkspaceID, spec corp.TaskSpec) corp.Task {
	t.Helper()
	if spec.Prompt == "" {
		spec.Prompt = "Fix the bug."
	}
	if spec.RepositoryID == nil && spec.RepositoryURL == "" && spec.SourceID == nil {
		spec.RepositoryURL = "https://git.example.com/acme/widgets.git"
	}
	task, _, err := e.DB.In(ws).SubmitTask(t.Context(), corp.ActorSystem, spec, postgres.Idempotency{})
	if err != nil {
		t.Fatalf("submit a task: %v", err)
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
func (e *Env) Claim(t testing.TB, ws corp.WorkspaceID, run corp.RunID) Lease {
	t.Helper()
	l := Lease{Workspace: ws, RunID: run, RunnerID: corp.NewID[corp.RunnerID]()}
	secret, key := sha256.Sum256([]byte("lease"+l.RunnerID.String())), sha256.Sum256([]byte("key"+l.RunnerID.String()))
	l.SecretHash, l.RunKeyHash = secret[:], key[:]
	e.connect(t, func(ctx context.Context, conn *pgx.Conn) error {
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
func (e *Env) Running(t testing.TB, ws corp.WorkspaceID, run corp.RunID) Lease {
	t.Helper()
	l := e.Claim(t, ws, run)
	if err := e.DB.In(ws).AckRun(t.Context(), run, l.Epoch); err != nil {
		t.Fatalf("acknowledge a run: %v", err)
	}
	return l
}

// Eventually asks until the answer is true, and fails the test when it is not
// within the time.
func Eventually(t testing.TB, within time.Duration, what string, ask func(context.Context) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if ask(ctx) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not within %s: %s", within, what)
		case <-tick.C:
		}
	}
}

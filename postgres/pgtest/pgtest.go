// Package pgtest gives a test a real database: one throwaway PostgreSQL per test
// process, migrated once, that dies with the process. A test takes a fresh
// workspace in the shared database, which costs a millisecond, or a whole
// database of its own when it changes what workspaces share.
//
// It is for tests only: nothing in it is durable, and it is not a way to run one.
package pgtest

import (
	"context"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
)

// Env is a migrated database.
type Env struct {
	DB        *postgres.DB
	AppURL    string
	SystemURL string
	OwnerURL  string // who owns the tables; for shifting rows in time
	SuperURL  string
}

// New returns the process's shared database, starting it on first use.
func New(t testing.TB) *Env { panic("stub") }

// DB returns the pools on the shared database.
func DB(t testing.TB) *postgres.DB { panic("stub") }

// Workspace makes a fresh workspace in the shared database, on the unlimited
// plan, with an agent named default.
func Workspace(t testing.TB) corp.WorkspaceID { panic("stub") }

// Database returns a whole fresh database, migrated and empty, gone after the test.
func Database(t testing.TB) *Env { panic("stub") }

// Workspace makes a fresh workspace in this database, like the function of that name.
func (e *Env) Workspace(t testing.TB) corp.WorkspaceID { panic("stub") }

// Exec runs a statement as the tables' owner, past row-level security.
func (e *Env) Exec(t testing.TB, sql string, args ...any) int64 { panic("stub") }

// Value returns the one value that a query answers, as the tables' owner.
func Value[T any](t testing.TB, e *Env, sql string, args ...any) T { panic("stub") }

// KillConnections ends every connection of the two roles to this database.
func (e *Env) KillConnections(t testing.TB) int { panic("stub") }

// Submit submits a task for the agent default, with the source given by URL.
func (e *Env) Submit(t testing.TB, ws corp.WorkspaceID, spec corp.TaskSpec) corp.Task { panic("stub") }

// Lease is a run that a test has leased, with its secrets' hashes.
type Lease struct {
	Workspace  corp.WorkspaceID
	RunID      corp.RunID
	Epoch      int64
	RunnerID   corp.RunnerID
	SecretHash []byte
	RunKeyHash []byte
}

// Claim leases a queued run the way the leader does, without a leader's competition.
func (e *Env) Claim(t testing.TB, ws corp.WorkspaceID, run corp.RunID) Lease { panic("stub") }

// Running leases a queued run and acknowledges it.
func (e *Env) Running(t testing.TB, ws corp.WorkspaceID, run corp.RunID) Lease { panic("stub") }

// Eventually asks until the answer is true, and fails the test when it never is.
func Eventually(t testing.TB, within time.Duration, what string, ask func(context.Context) bool) {
	panic("stub")
}

package postgres_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// However much one workspace does at once, and however long it waits for itself,
// the others find a connection (L4).
func TestAFloodOfOneWorkspaceLeavesConnectionsToTheOthers(t *testing.T) {
	t.Parallel()
	spec := corp.TaskSpec{Prompt: "Work.", RepositoryURL: "https://git.example.com/x.git"}
	submit := func(ctx context.Context, db postgres.WorkspaceDB, _ pgtest.Lease) error {
		_, _, err := db.SubmitTask(ctx, corp.ActorSystem, spec, postgres.Idempotency{})
		return err
	}
	for name, do := range map[string]func(ctx context.Context, db postgres.WorkspaceDB, l pgtest.Lease) error{
		"tasks": submit,
		"batches": func(ctx context.Context, db postgres.WorkspaceDB, _ pgtest.Lease) error {
			_, _, err := db.SubmitBatch(ctx, corp.ActorSystem, corp.BatchSpec{Tasks: []corp.BatchTask{{TaskSpec: spec}}}, postgres.Idempotency{})
			return err
		},
		"entries": func(ctx context.Context, db postgres.WorkspaceDB, l pgtest.Lease) error {
			_, err := db.AppendEntries(ctx, l.RunID, l.Epoch, []corp.Entry{{At: time.Now(), Kind: corp.EntryMessage, Text: "Hm."}})
			return err
		},
		"releases": func(ctx context.Context, db postgres.WorkspaceDB, l pgtest.Lease) error {
			return db.ReleaseRun(ctx, l.RunID, l.Epoch, "The runner drains.")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := pgtest.Database(t)
			db, err := postgres.Open(t.Context(), postgres.Config{AppURL: env.AppURL, SystemURL: env.SystemURL, MaxConns: 8})
			ok(t, err)
			t.Cleanup(db.Close)
			loud, quiet := env.Workspace(t), env.Workspace(t)
			var leases []pgtest.Lease
			for range 40 {
				leases = append(leases, env.Running(t, loud, env.Submit(t, loud, spec).RunID))
			}
			holder := connect(t, env.SuperURL) // as a transaction of the workspace that does not end
			held, err := holder.Begin(t.Context())
			ok(t, err)
			_, err = held.Exec(t.Context(), `SELECT FROM event_heads WHERE workspace_id = $1 FOR UPDATE`, loud)
			ok(t, err)
			var flood sync.WaitGroup
			failed := make(chan error, len(leases))
			for _, l := range leases {
				flood.Go(func() { failed <- patiently(t.Context(), func() error { return do(t.Context(), db.In(loud), l) }) })
			}
			pgtest.Eventually(t, 30*time.Second, "the flood waits", func(context.Context) bool {
				return pgtest.Value[int](t, env, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) >= 2
			})
			soon, cancel := context.WithTimeout(t.Context(), time.Minute) // behind the flood they take many
			defer cancel()
			for range 20 {
				ok(t, submit(soon, db.In(quiet), pgtest.Lease{}))
			}
			gaveUp, hangUp := context.WithCancelCause(t.Context())
			hangUp(errors.New("a client that hangs up"))
			if err := do(gaveUp, db.In(loud), leases[0]); err == nil {
				t.Error("who has gone still waits in the lane")
			}
			ok(t, held.Rollback(t.Context()))
			flood.Wait()
			close(failed)
			for err := range failed {
				ok(t, err)
			}
			if n := db.Lanes(); n != 0 {
				t.Errorf("%d lanes are left when nobody is in them", n)
			}
		})
	}
}

// A run that is leased holds a runner that others wait for: it begins and ends
// however many tasks its workspace submits.
func TestAFloodOfTasksDoesNotKeepRunsFromBeginning(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ws := env.Workspace(t)
	spec := corp.TaskSpec{Prompt: "Work.", RepositoryURL: "https://git.example.com/x.git"}
	lease := env.Claim(t, ws, env.Submit(t, ws, spec).RunID)
	holder := connect(t, env.SuperURL)
	held, err := holder.Begin(t.Context())
	ok(t, err)
	_, err = held.Exec(t.Context(), `LOCK TABLE tasks IN SHARE MODE`) // no task is written, but it may be read
	ok(t, err)
	var flood sync.WaitGroup
	failed := make(chan error, 40)
	for range cap(failed) {
		flood.Go(func() {
			failed <- patiently(t.Context(), func() error {
				_, _, err := env.DB.In(ws).SubmitTask(t.Context(), corp.ActorSystem, spec, postgres.Idempotency{})
				return err
			})
		})
	}
	pgtest.Eventually(t, 30*time.Second, "the flood waits", func(context.Context) bool {
		return pgtest.Value[int](t, env, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) >= 2
	})
	soon, cancel := context.WithTimeout(t.Context(), 30*time.Second) // behind the flood it takes minutes
	defer cancel()
	ok(t, env.DB.In(ws).AckRun(soon, lease.RunID, lease.Epoch))
	ok(t, held.Rollback(t.Context()))
	flood.Wait()
	close(failed)
	for err := range failed {
		ok(t, err)
	}
}

// patiently repeats what has waited for a lock as long as it may: on a slow machine the
// rest of a test takes longer.
func patiently(ctx context.Context, do func() error) (err error) {
	for err = do(); corp.KindOf(err) == corp.KindUnavailable && ctx.Err() == nil; {
		err = do()
	}
	return err
}

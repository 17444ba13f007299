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
	env := pgtest.Database(t)
	db, err := postgres.Open(t.Context(), postgres.Config{AppURL: env.AppURL, SystemURL: env.SystemURL, MaxConns: 8})
	ok(t, err)
	t.Cleanup(db.Close)
	loud, quiet := env.Workspace(t), env.Workspace(t)
	submit := func(ctx context.Context, ws corp.WorkspaceID) error {
		_, _, err := db.In(ws).SubmitTask(ctx, corp.ActorSystem, corp.TaskSpec{Prompt: "Work.", RepositoryURL: "https://git.example.com/x.git"}, postgres.Idempotency{})
		return err
	}
	ok(t, submit(t.Context(), loud))

	holder := connect(t, env.SuperURL) // as a transaction of the workspace that does not end
	held, err := holder.Begin(t.Context())
	ok(t, err)
	_, err = held.Exec(t.Context(), `SELECT FROM event_heads WHERE workspace_id = $1 FOR UPDATE`, loud)
	ok(t, err)
	var flood sync.WaitGroup
	failed := make(chan error, 40)
	for range 40 {
		flood.Go(func() { failed <- submit(t.Context(), loud) })
	}
	pgtest.Eventually(t, 30*time.Second, "the flood waits", func(context.Context) bool {
		return pgtest.Value[int](t, env, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) == 3
	})
	for range 20 {
		ok(t, submit(t.Context(), quiet))
	}
	gaveUp, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("a client that hangs up"))
	if err := submit(gaveUp, loud); err == nil {
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
}

package reconcile_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/blob"
	"github.com/genericcorp/corp/postgres/people"
	"github.com/genericcorp/corp/postgres/pgtest"
	"github.com/genericcorp/corp/reconcile"
)

// Attack case 65. Control: what is not due stays, with its files.
func TestWhatIsDueGoesWithItsFilesAndWhatIsNotStays(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	files, err := blob.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = files.Close() })
	doomed, stays := env.Workspace(t), env.Workspace(t)
	kept := map[corp.WorkspaceID]corp.BlobID{}
	for _, ws := range []corp.WorkspaceID{doomed, stays} {
		kept[ws] = corp.NewID[corp.BlobID]()
		if _, _, err := files.Put(t.Context(), ws, kept[ws], strings.NewReader("bytes"), 100); err != nil {
			t.Fatal(err)
		}
	}
	leaver, stayer := corp.NewID[corp.UserID](), corp.NewID[corp.UserID]()
	for _, id := range []corp.UserID{leaver, stayer} {
		env.Exec(t, `INSERT INTO users (user_id, email, name) VALUES ($1, $1::uuid || '@example.com', 'u')`, id)
	}
	env.Exec(t, `UPDATE workspaces SET archived_at = now(), delete_after = now() WHERE workspace_id = $1`, doomed)
	env.Exec(t, `UPDATE workspaces SET archived_at = now(), delete_after = now() + interval '1 hour' WHERE workspace_id = $1`, stays)
	env.Exec(t, `UPDATE users SET delete_after = now() WHERE user_id = $1`, leaver)
	env.Exec(t, `UPDATE users SET delete_after = now() + interval '1 hour' WHERE user_id = $1`, stayer)

	broken := errors.New("the disk is gone")
	failing, _ := newReconciler(env, func(c *reconcile.Config) {
		c.People, c.RemoveFiles = people.New(env.DB.Door()), func(context.Context, corp.WorkspaceID) error { return broken }
	})
	if err := failing.PurgeWorkspaces(t.Context()); !errors.Is(err, broken) {
		t.Fatalf("with a disk that is gone: %v", err)
	}
	if n := pgtest.Value[int](t, env, `SELECT count(*) FROM workspaces WHERE workspace_id = $1`, doomed); n != 1 {
		t.Fatal("the workspace is gone and its files are not: nobody will look for them")
	}
	r, log := newReconciler(env, func(c *reconcile.Config) {
		c.People, c.RemoveFiles, c.Leaving = people.New(env.DB.Door()), files.DeleteAll, 10*time.Millisecond
	})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	pgtest.Eventually(t, 20*time.Second, "both are gone", func(context.Context) bool {
		return pgtest.Value[int](t, env, `SELECT (SELECT count(*) FROM workspaces WHERE workspace_id = $1) + (SELECT count(*) FROM users WHERE user_id = $2)`, doomed, leaver) == 0
	})
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := pgtest.Value[int](t, env, `SELECT (SELECT count(*) FROM workspaces WHERE workspace_id = $1) + (SELECT count(*) FROM users WHERE user_id = $2)`, stays, stayer); n != 2 {
		t.Errorf("of what is not due %d of 2 are left", n)
	}
	if _, err := files.Get(t.Context(), doomed, kept[doomed]); corp.KindOf(err) != corp.KindNotFound {
		t.Errorf("its file: %v", err)
	}
	if f, err := files.Get(t.Context(), stays, kept[stays]); err != nil {
		t.Errorf("the other's file: %v", err)
	} else {
		_ = f.Close()
	}
	for _, want := range []string{"user_id=" + leaver.String(), "workspace_id=" + doomed.String()} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %s", want)
		}
	}
}

package people_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/people"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// Whoever waits for a workspace that is being purged does not restore what is left
// of it, though it was not due yet when they asked.
// Attack case 65. Control: asked before a purge can have begun, it is restored.
func TestAWorkspaceIsNotRestoredOnceItsPurgeMayHaveBegun(t *testing.T) {
	t.Parallel()
	for name, back := range map[string]func(ctx context.Context, s *people.Store, who someone, ws corp.WorkspaceID) error{
		"by its owner": func(ctx context.Context, s *people.Store, who someone, ws corp.WorkspaceID) error {
			return s.Of(who.id).Restore(ctx, ws)
		},
		"by coming back": func(ctx context.Context, s *people.Store, who someone, _ corp.WorkspaceID) error {
			_, err := s.Of(who.id).SignIn(ctx, people.Proof{Password: "argon:1"}, cli(hash()))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := pgtest.Database(t)
			s := people.New(env.DB.Door())
			for _, late := range []bool{false, true} {
				ws, who := env.Workspace(t), join(t, s)
				member(t, s, ws, who, corp.RoleOwner)
				env.Exec(t, `UPDATE users SET delete_after = now() + interval '1 hour' WHERE user_id = $1`, who.id)
				env.Exec(t, `UPDATE workspaces SET archived_at = now(), delete_after = now() + $2::interval WHERE workspace_id = $1`, ws, map[bool]string{true: "1.5 s", false: "1 hour"}[late])
				release := hold(t, env, `SELECT FROM workspaces WHERE workspace_id = $1 FOR UPDATE`, ws) // as its purge does
				asked := make(chan error, 1)
				go func() { asked <- back(t.Context(), s, who, ws) }()
				waiting(t, env, 1)
				pgtest.Eventually(t, 10*time.Second, "the workspace to be due", func(context.Context) bool {
					return !late || pgtest.Value[bool](t, env, `SELECT delete_after <= now() FROM workspaces WHERE workspace_id = $1`, ws)
				})
				release()
				err := <-asked
				restored := pgtest.Value[bool](t, env, `SELECT delete_after IS NULL FROM workspaces WHERE workspace_id = $1`, ws)
				if restored == late {
					t.Errorf("late %t: restored %t, %v", late, restored, err)
				}
			}
		})
	}
}

// hold does something, and with it locks its rows until it is released.
func hold(t *testing.T, env *pgtest.Env, statement string, args ...any) (release func()) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), env.SuperURL)
	ok(t, err)
	tx, err := conn.Begin(t.Context())
	ok(t, err)
	_, err = tx.Exec(t.Context(), statement, args...)
	ok(t, err)
	return func() {
		ok(t, tx.Commit(t.Context()))
		ok(t, conn.Close(t.Context()))
	}
}

// waiting waits until so many wait for a lock.
func waiting(t *testing.T, env *pgtest.Env, n int) {
	t.Helper()
	pgtest.Eventually(t, 10*time.Second, "somebody to wait for a lock", func(context.Context) bool {
		return pgtest.Value[int](t, env, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) == n
	})
}

// Thirty times an owner restores at the very moment at which a server purges: all of
// it is there, or all of it goes.
func TestRestoringWhileBeingPurgedIsAllOrNothing(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	s, who := people.New(env.DB.Door()), join(t, people.New(env.DB.Door()))
	system := s.System("test")
	for i := range 30 {
		ws := env.Workspace(t)
		member(t, s, ws, who, corp.RoleOwner)
		env.Submit(t, ws, corp.TaskSpec{})
		rows := func() int {
			return pgtest.Value[int](t, env, `SELECT (SELECT count(*) FROM agents WHERE workspace_id = $1) + (SELECT count(*) FROM tasks WHERE workspace_id = $1) + (SELECT count(*) FROM members WHERE workspace_id = $1)`, ws)
		}
		before := rows()
		env.Exec(t, `UPDATE workspaces SET archived_at = now(), delete_after = clock_timestamp() + $2 * interval '1 millisecond' WHERE workspace_id = $1`, ws, i%10)
		var both sync.WaitGroup
		var restored error
		both.Go(func() { restored = s.Of(who.id).Restore(t.Context(), ws) })
		both.Go(func() {
			for range 8 {
				if _, _, err := system.PurgeWorkspace(t.Context(), ws, 1); err != nil {
					t.Error(err)
				}
			}
		})
		both.Wait()
		switch {
		case restored == nil && rows() != before:
			t.Fatalf("restored with %d rows of %d", rows(), before)
		case restored != nil:
			wantKind(t, restored, corp.KindNotFound, "")
		}
	}
}

package people_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/people"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// told returns how often the leader was told to read a workspace's queue since the
// last time.
func told(t *testing.T, env *pgtest.Env) func(ws corp.WorkspaceID) int {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var mu sync.Mutex
	heard, listening := map[corp.WorkspaceID]int{}, make(chan struct{})
	begun := sync.OnceFunc(func() { close(listening) })
	var done sync.WaitGroup
	done.Go(func() {
		_ = env.DB.Listen(ctx, func(n postgres.Notice) {
			mu.Lock()
			defer mu.Unlock()
			switch n.Kind {
			case postgres.NoticeLimits:
				heard[n.Workspace]++
			case postgres.NoticeResync:
				begun()
			default:
			}
		})
	})
	t.Cleanup(func() { stop(); done.Wait() })
	<-listening
	return func(ws corp.WorkspaceID) int {
		mu.Lock()
		defer mu.Unlock()
		n := heard[ws]
		delete(heard, ws)
		return n
	}
}

// Whatever puts a workspace out of use, or into it, has the leader look at its queue
// at once: nothing that it remembers is handed out, and what waited goes on.
func TestTheLeaderHearsOfEachWorkspaceThatGoesAndComes(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	s, ctx := people.New(env.DB.Door()), t.Context()
	who, ws, other := join(t, s), env.Workspace(t), env.Workspace(t)
	member(t, s, ws, who, corp.RoleOwner)
	looks := told(t, env)
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"it is deleted", func() error { _, err := s.In(ws).DeleteWorkspace(ctx, "x", who.id, time.Hour); return err }},
		{"it is restored", func() error { return s.Of(who.id).Restore(ctx, ws) }},
		{"its only member goes", func() error { _, err := s.Of(who.id).AskDeletion(ctx, time.Hour); return err }},
		{"and comes back", func() error {
			_, err := s.Of(who.id).SignIn(ctx, people.Proof{Password: "argon:1"}, cli(hash()))
			return err
		}},
	} {
		ok(t, step.do())
		if looks(ws) == 0 {
			t.Errorf("%s, and the leader does not look", step.name)
		}
	}
	if n := looks(other); n > 0 {
		t.Errorf("it looks %d times at what nothing happened to", n)
	}
}

// Signing in takes the account's deletion back, and that of the workspaces which
// went along: not that of one which was deleted for itself.
func TestComingBackRestoresWhatWentAlongAndNothingElse(t *testing.T) {
	t.Parallel()
	s, ctx := store(t), t.Context()
	who, along, deleted := join(t, s), pgtest.Workspace(t), pgtest.Workspace(t)
	member(t, s, along, who, corp.RoleOwner)
	member(t, s, deleted, who, corp.RoleOwner)
	must(s.In(deleted).DeleteWorkspace(ctx, "x", who.id, time.Hour))(t)
	must(s.Of(who.id).AskDeletion(ctx, time.Hour))(t)
	if back := must(s.Of(who.id).SignIn(ctx, people.Proof{Password: "argon:1"}, cli(hash())))(t); !back {
		t.Fatal("nothing was taken back")
	}
	for _, m := range must(s.Of(who.id).Workspaces(ctx))(t) {
		if going := m.DeleteAfter != nil; going != (m.WorkspaceID == deleted) {
			t.Errorf("%+v", m)
		}
	}
	ok(t, s.Of(who.id).Restore(ctx, deleted))
}

// Who asks to restore a workspace that is not theirs waits for nobody's lock, and
// makes nobody wait.
func TestRestoringWhatIsNotOnesOwnLocksNothing(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	s, ws := people.New(env.DB.Door()), env.Workspace(t)
	stranger, viewer := join(t, s), join(t, s)
	member(t, s, ws, viewer, corp.RoleViewer)
	release := hold(t, env, `SELECT FROM workspaces WHERE workspace_id = $1 FOR UPDATE`, ws)
	defer release()
	for _, who := range []someone{stranger, viewer} {
		wantKind(t, s.Of(who.id).Restore(t.Context(), ws), corp.KindNotFound, "")
	}
}

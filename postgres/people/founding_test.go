package people_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// mostOwned is how many workspaces a person may own and still found another.
const mostOwned = 20

func found(t *testing.T, who someone) (corp.Workspace, error) {
	t.Helper()
	slug := strings.ToLower(unique("founded-"))
	return pgtest.DB(t).System("test").FoundWorkspace(t.Context(), who.id, slug, slug, "free")
}

// foundAtOnce has somebody found so many at the same moment.
func foundAtOnce(t *testing.T, who someone, n int) (made []corp.Workspace, errs []error) {
	t.Helper()
	var all sync.WaitGroup
	var mu sync.Mutex
	for range n {
		all.Go(func() {
			ws, err := found(t, who)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
				return
			}
			made = append(made, ws)
		})
	}
	all.Wait()
	return made, errs
}

// However many are founded at once, it is never one too many. Control: who only
// works in them may found, and one that was handed over makes room.
func TestAPersonFoundsSoManyWorkspacesAndNoMore(t *testing.T) {
	t.Parallel()
	s, ctx := store(t), t.Context()
	ada, bob := join(t, s), join(t, s)
	made, errs := foundAtOnce(t, ada, 50)
	if len(made) != mostOwned {
		t.Errorf("%d were made, of %d", len(made), mostOwned)
	}
	for _, err := range errs {
		wantKind(t, err, corp.KindLimit, "too_many_workspaces")
		if !strings.Contains(err.Error(), "20") {
			t.Errorf("the limit is not named: %v", err)
		}
	}
	in := must(s.Of(ada.id).Workspaces(ctx))(t)
	if len(in) != len(made) || slices.ContainsFunc(in, func(m corp.Membership) bool { return m.Role != corp.RoleOwner }) {
		t.Errorf("owns %+v", in)
	}
	// What was refused has left nothing: not even its name.
	left := pgtest.Value[int](t, pgtest.New(t), `SELECT count(*) FROM workspaces WHERE created_by = $1`, ada.id.String())
	if left != len(made) {
		t.Errorf("%d workspaces are there, %d were made", left, len(made))
	}
	given := made[0].ID
	pgtest.New(t).Exec(t, `UPDATE workspaces SET plan = 'unlimited' WHERE workspace_id = $1`, given)
	member(t, s, given, bob, corp.RoleViewer)
	ok(t, s.In(given).HandOver(ctx, "x", ada.id, bob.id))
	must(found(t, ada))(t)
	must(found(t, bob))(t) // who was given one
	_, err := found(t, ada)
	wantKind(t, err, corp.KindLimit, "too_many_workspaces")
}

// One that is being deleted counts until it is gone: else it could be restored
// beyond the limit.
func TestAWorkspaceThatIsBeingDeletedCountsUntilItIsGone(t *testing.T) {
	t.Parallel()
	s, env := store(t), pgtest.New(t)
	ada := join(t, s)
	made, _ := foundAtOnce(t, ada, mostOwned)
	env.Exec(t, `UPDATE workspaces SET archived_at = now(), delete_after = now() + interval '1 hour' WHERE workspace_id = $1`, made[0].ID)
	_, err := found(t, ada)
	wantKind(t, err, corp.KindLimit, "too_many_workspaces")
	ok(t, s.Of(ada.id).Restore(t.Context(), made[0].ID))
	if in := must(s.Of(ada.id).Workspaces(t.Context()))(t); len(in) != mostOwned {
		t.Errorf("owns %d", len(in))
	}
}

// Fifty times somebody founds a workspace and deletes their account at once: the
// workspace goes with them, or is not made. It is never left without anybody.
func TestWhoLeavesLeavesNoWorkspaceThatTheyFoundAtThatMoment(t *testing.T) {
	t.Parallel()
	s, ctx := store(t), t.Context()
	for range 50 {
		who := join(t, s)
		var made corp.Workspace
		var refused, leaving error
		var both sync.WaitGroup
		both.Go(func() { made, refused = found(t, who) })
		both.Go(func() { _, leaving = s.Of(who.id).AskDeletion(ctx, time.Hour) })
		both.Wait()
		ok(t, leaving)
		if refused != nil {
			wantKind(t, refused, corp.KindNotFound, "")
			continue
		}
		if !pgtest.Value[bool](t, pgtest.New(t), `SELECT delete_after IS NOT NULL FROM workspaces WHERE workspace_id = $1`, made.ID) {
			t.Fatal("a workspace stays whose only member is going")
		}
	}
}

// A session that is not known to be over yet founds nothing for who is kept out.
func TestWhoIsDisabledOrGoneFoundsNothing(t *testing.T) {
	t.Parallel()
	s := store(t)
	who := join(t, s)
	ok(t, s.System("test").Disable(t.Context(), who.id, true))
	_, err := found(t, who)
	wantKind(t, err, corp.KindNotFound, "")
	_, err = found(t, someone{id: corp.NewID[corp.UserID]()})
	wantKind(t, err, corp.KindNotFound, "")
	ok(t, s.System("test").Disable(t.Context(), who.id, false))
	must(found(t, who))(t)
}

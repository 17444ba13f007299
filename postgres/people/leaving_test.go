package people_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/people"
	"github.com/genericcorp/corp/postgres/pgtest"
	"github.com/genericcorp/corp/postgres/trail"
)

// everything is how many rows tell of a person, by table.
func everything(t *testing.T, env *pgtest.Env, id corp.UserID) map[string]int {
	t.Helper()
	found := map[string]int{}
	for table, column := range map[string]string{
		"users": "user_id", "sessions": "user_id", "refresh_tokens": "user_id", "identities": "user_id", "recovery_codes": "user_id",
		"members": "user_id", "api_keys": "user_id", "email_links": "person", "device_codes": "person",
	} {
		found[table] = pgtest.Value[int](t, env, `SELECT count(*) FROM `+table+` WHERE `+column+` = $1`, id)
	}
	found["audit_personal"] = pgtest.Value[int](t, env, `SELECT count(*) FROM audit_personal WHERE subject = $1`, id.String())
	return found
}

// naming returns the tables of which a row has the text anywhere.
func naming(t *testing.T, env *pgtest.Env, text string) (found []string) {
	t.Helper()
	for _, table := range pgtest.Value[[]string](t, env, `SELECT array_agg(relname::text) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition`) {
		if pgtest.Value[bool](t, env, `SELECT EXISTS (SELECT FROM `+table+` x WHERE position($1 IN x::text) > 0)`, text) {
			found = append(found, table)
		}
	}
	return found
}

// settle gives somebody a row in every table that tells of people.
func settle(t *testing.T, env *pgtest.Env, s *people.Store, ws corp.WorkspaceID, who someone) {
	t.Helper()
	member(t, s, ws, who, corp.RoleAdmin)
	key := corp.NewID[corp.APIKeyID]()
	env.Exec(t, `INSERT INTO api_keys (workspace_id, id, user_id, name, role, prefix, hash, created_by) VALUES ($1, $2, $3, 'a', 'member', 'p', $4, 'test')`, ws, key, who.id, hash())
	env.Exec(t, `INSERT INTO api_keys (workspace_id, id, user_id, name, role, prefix, hash, created_by, replaces) VALUES ($1, $2, $3, 'b', 'member', 'p', $4, 'test', $5)`,
		ws, corp.NewID[corp.APIKeyID](), who.id, hash(), key)
	env.Exec(t, `INSERT INTO identities (user_id, issuer, subject, email) VALUES ($1, 'https://issuer.example.com', $2, 'a@example.com')`, who.id, unique("s"))
	env.Exec(t, `INSERT INTO recovery_codes (user_id, hash) VALUES ($1, $2)`, who.id, hash())
	env.Exec(t, `INSERT INTO email_links (hash, purpose, email, person, expires_at) VALUES ($1, 'reset', 'a@example.com', $2, now() + interval '1 hour')`, hash(), who.id)
	env.Exec(t, `INSERT INTO email_links (hash, purpose, email, expires_at) VALUES ($1, 'verify', $2, now() + interval '1 hour')`, hash(), who.email)
	env.Exec(t, `INSERT INTO device_codes (hash, code_hash, address, user_agent, expires_at, person) VALUES ($1, $2, '', '', now() + interval '1 hour', $3)`, hash(), hash(), who.id)
	env.Exec(t, `INSERT INTO mails (id, kind, recipient, subject, body) VALUES ($1, 'notice', $2, 'x', '')`, corp.NewID[corp.MailID](), who.email)
	ok(t, trail.New(env.DB.Door()).Of(ws).Write(t.Context(), corp.AuditEvent{Actor: corp.Actor(who.id.String()), Operation: "o", Personal: &corp.AuditPersonal{Address: "192.0.2.1"}}))
}

// Attack case 65. Control: the person who stays keeps every row.
func TestWhoLeavesIsGoneAfterTheGracePeriodAndNobodyElse(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	s, ws := people.New(env.DB.Door()), env.Workspace(t)
	system := s.System("test")
	leaver, stayer := join(t, s), join(t, s)
	settle(t, env, s, ws, leaver)
	settle(t, env, s, ws, stayer)
	before := everything(t, env, stayer.id)
	for table, n := range everything(t, env, leaver.id) {
		if n == 0 {
			t.Fatalf("nothing in %s: this proves nothing", table)
		}
	}
	for _, who := range []someone{leaver, stayer} { // mistyped passwords
		ok(t, trail.New(env.DB.Door()).Of(corp.WorkspaceID{}).Write(t.Context(), corp.AuditEvent{Actor: corp.ActorUnknown, Operation: "signIn", Personal: &corp.AuditPersonal{Email: who.email}}))
	}
	must(s.Of(leaver.id).AskDeletion(t.Context(), time.Hour))(t)
	if gone, err := system.PurgePerson(t.Context(), leaver.id); err != nil || gone {
		t.Fatalf("before the time: %t, %v", gone, err)
	}
	if due := must(system.Leaving(t.Context(), 10))(t); len(due) != 0 {
		t.Fatalf("due: %v", due)
	}
	env.Exec(t, `UPDATE users SET delete_after = now() WHERE user_id = $1`, leaver.id)
	if due := must(system.Leaving(t.Context(), 10))(t); len(due) != 1 || due[0] != leaver.id {
		t.Fatalf("due: %v", due)
	}
	if gone, err := system.PurgePerson(t.Context(), leaver.id); err != nil || !gone {
		t.Fatalf("%t, %v", gone, err)
	}
	for table, n := range everything(t, env, leaver.id) {
		if n != 0 {
			t.Errorf("%s has still %d", table, n)
		}
	}
	if found := naming(t, env, leaver.email); len(found) > 0 {
		t.Errorf("the address of who left stands in %v", found)
	}
	for _, table := range []string{"users", "invitations", "email_links", "audit_personal", "mails"} {
		if !slices.Contains(naming(t, env, stayer.email), table) {
			t.Errorf("the address of who stays is gone from %s", table)
		}
	}
	for table, n := range everything(t, env, stayer.id) {
		if n != before[table] {
			t.Errorf("somebody else's %s: %d, then %d", table, before[table], n)
		}
	}
	if n := pgtest.Value[int](t, env, `SELECT count(*) FROM audit_events WHERE actor = $1`, leaver.id.String()); n == 0 {
		t.Error("the events are gone with the personal data")
	}
	if n := pgtest.Value[int](t, env, `SELECT count(*) FROM audit_events WHERE operation = 'purgePerson' AND target = $1`, leaver.id.String()); n != 1 {
		t.Errorf("the log tells of it %d times", n)
	}
}

// Whoever comes back while a server removes them is either there with everything,
// or gone.
func TestComingBackWhileBeingRemovedIsAllOrNothing(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	s, ws := people.New(env.DB.Door()), env.Workspace(t)
	system := s.System("test")
	for range 20 {
		who := join(t, s)
		settle(t, env, s, ws, who)
		before := everything(t, env, who.id)
		env.Exec(t, `UPDATE users SET delete_after = now() WHERE user_id = $1`, who.id)
		var both sync.WaitGroup
		var gone bool
		both.Go(func() { gone, _ = system.PurgePerson(t.Context(), who.id) })
		both.Go(func() { env.Exec(t, `UPDATE users SET delete_after = NULL WHERE user_id = $1`, who.id) })
		both.Wait()
		for table, n := range everything(t, env, who.id) {
			if gone && n != 0 || !gone && n != before[table] {
				t.Fatalf("gone %t, and %s has %d of %d", gone, table, n, before[table])
			}
		}
	}
}

// Two servers remove the same at once: one of them did, and the log says so once.
func TestWhatTwoServersRemoveIsLoggedOnce(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	s := people.New(env.DB.Door())
	system, who, ws := s.System("test"), join(t, s), corp.NewID[corp.WorkspaceID]()
	env.Exec(t, `UPDATE users SET delete_after = now() WHERE user_id = $1`, who.id)
	env.Exec(t, `INSERT INTO workspaces (workspace_id, slug, name, plan, created_by, archived_at, delete_after) VALUES ($1, 'doomed', 'Doomed', 'free', 'test', now(), now())`, ws)
	person := func(ctx context.Context) (bool, error) { return system.PurgePerson(ctx, who.id) }
	place := func(ctx context.Context) (bool, error) { return system.BuryWorkspace(ctx, ws) }
	for _, c := range []struct {
		operation, target, held string
		remove                  func(context.Context) (bool, error)
	}{
		{"purgePerson", who.id.String(), `UPDATE users SET name = name`, person},
		{"purgeWorkspace", ws.String(), `UPDATE workspaces SET name = name`, place},
	} {
		release, done := hold(t, env, c.held), make(chan bool, 2)
		for range 2 {
			go func() {
				gone, err := c.remove(t.Context())
				if err != nil {
					t.Error(err)
				}
				done <- gone
			}()
		}
		waiting(t, env, 2)
		release()
		if one, other := <-done, <-done; one == other {
			t.Errorf("%s: by both, or by none: %t", c.operation, one)
		}
		if n := pgtest.Value[int](t, env, `SELECT count(*) FROM audit_events WHERE operation = $1 AND target = $2`, c.operation, c.target); n != 1 {
			t.Errorf("%s: the log tells of it %d times", c.operation, n)
		}
	}
}

// Of two owners who leave at once, in whatever way, one stays; and an owner who is
// about to leave is none that others may rely on.
func TestLeavingOwnersLeaveAnOwner(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	s := people.New(env.DB.Door())
	for range 50 {
		ws, a, b, third := env.Workspace(t), join(t, s), join(t, s), join(t, s)
		member(t, s, ws, a, corp.RoleOwner)
		member(t, s, ws, b, corp.RoleOwner)
		member(t, s, ws, third, corp.RoleViewer)
		var both sync.WaitGroup
		var deleting, leaving error
		both.Go(func() { _, deleting = s.Of(a.id).AskDeletion(t.Context(), time.Hour) })
		both.Go(func() { leaving = s.In(ws).RemoveMember(t.Context(), "x", corp.RoleOwner, b.id) })
		both.Wait()
		if (deleting == nil) == (leaving == nil) {
			t.Fatalf("%v and %v", deleting, leaving)
		}
		for _, err := range []error{deleting, leaving} {
			if err != nil {
				wantKind(t, err, corp.KindConflict, "last_owner")
			}
		}
	}
}

package people_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/people"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// Who signs somebody out by force, or sets a new password, may do so because a stranger
// was in their session. What the stranger gave there is taken back, and is not listed as
// open any more; what others gave, or the person by a key, is not touched.
// Attack case 60. Control: what ends by itself takes nothing back.
func TestWhatWasGivenInASessionIsTakenBackWithIt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		end  func(ctx context.Context, s *people.Store, who someone) error
		left []string
	}{
		"signed out": {func(ctx context.Context, s *people.Store, who someone) error {
			return s.Of(who.id).EndSession(ctx, who.session, "sign_out")
		}, []string{"here", "there", "elsewhere", "key", "other"}},
		"revoked": {func(ctx context.Context, s *people.Store, who someone) error {
			return s.Of(who.id).EndSession(ctx, who.session, people.ByOther)
		}, []string{"elsewhere", "key", "other"}},
		"a copy was used": {func(ctx context.Context, s *people.Store, who someone) error {
			for range 2 {
				if _, _, _, err := s.Refresh(ctx, who.refresh, hash(), -time.Second); err != nil {
					return err
				}
			}
			return nil
		}, []string{"elsewhere", "key", "other"}},
		"a new password": {func(ctx context.Context, s *people.Store, who someone) error {
			return s.Of(who.id).SetPassword(ctx, people.PasswordChange{Was: "argon:1", Hash: "argon:2"})
		}, []string{"key", "other"}},
		"signed out, then a new password": {func(ctx context.Context, s *people.Store, who someone) error {
			if err := s.Of(who.id).EndSession(ctx, who.session, "sign_out"); err != nil {
				return err
			}
			return s.Of(who.id).SetPassword(ctx, people.PasswordChange{Was: "argon:1", Hash: "argon:2"})
		}, []string{"key", "other"}},
		"kept out": {func(ctx context.Context, s *people.Store, who someone) error {
			return s.System("test").Disable(ctx, who.id, true)
		}, []string{"key", "other"}},
		"signed out by the operator": {func(ctx context.Context, s *people.Store, who someone) error {
			_, err := s.System("test").SignOut(ctx, who.id)
			return err
		}, []string{"key", "other"}},
		"everybody out": {func(ctx context.Context, s *people.Store, _ someone) error {
			_, err := s.System("test").SignOut(ctx, corp.UserID{})
			return err
		}, []string{"key"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := pgtest.Database(t)
			s, here, there := people.New(env.DB.Door()), env.Workspace(t), env.Workspace(t)
			giver, other := join(t, s), join(t, s)
			for _, ws := range []corp.WorkspaceID{here, there} {
				member(t, s, ws, giver, corp.RoleOwner)
				member(t, s, ws, other, corp.RoleOwner)
			}
			again := cli(hash())
			must(s.Of(giver.id).SignIn(t.Context(), people.Proof{Password: "argon:1"}, again))(t)
			for called, i := range map[string]struct {
				ws  corp.WorkspaceID
				who someone
				via string
			}{
				"here": {here, giver, giver.session.String()}, "there": {there, giver, giver.session.String()},
				"elsewhere": {here, giver, again.ID.String()}, "key": {here, giver, corp.NewID[corp.APIKeyID]().String()}, "other": {here, other, other.session.String()},
			} {
				must(s.In(i.ws).For(corp.Actor(i.via), nil).Invite(t.Context(), corp.Actor(i.who.id.String()), called+"@example.com", corp.RoleAdmin, hash(), time.Hour))(t)
			}
			ok(t, c.end(t.Context(), s, giver))
			var left []string
			for _, ws := range []corp.WorkspaceID{here, there} {
				for _, i := range must(s.In(ws).Invitations(t.Context(), corp.Page{}))(t).Items {
					called, _, _ := strings.Cut(i.Email, "@")
					left = append(left, called)
				}
			}
			slices.Sort(left)
			slices.Sort(c.left)
			if !slices.Equal(left, c.left) {
				t.Errorf("open are %v, want %v", left, c.left)
			}
		})
	}
}

// Everybody is signed out while somebody changes their password: what follows their
// session is out, too.
func TestEverybodyOutFindsTheSessionThatFollows(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	s := people.New(env.DB.Door())
	who, next := join(t, s), cli(hash())
	ok(t, s.MakeLink(t.Context(), hash(), people.Link{Purpose: people.PurposeReset, Email: who.email, Person: who.id}, time.Hour))
	release, set, out := hold(t, env, `SELECT FROM email_links WHERE person = $1 FOR UPDATE`, who.id), make(chan error, 1), make(chan error, 1)
	go func() {
		set <- s.Of(who.id).SetPassword(t.Context(), people.PasswordChange{Was: "argon:1", Hash: "argon:2", By: who.session, Next: next})
	}()
	waiting(t, env, 1)
	go func() {
		_, err := s.System("test").SignOut(t.Context(), corp.UserID{})
		out <- err
	}()
	waiting(t, env, 2)
	release()
	ok(t, <-set)
	ok(t, <-out)
	if n := pgtest.Value[int](t, env, `SELECT count(*) FROM sessions WHERE ended_at IS NULL`); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
}

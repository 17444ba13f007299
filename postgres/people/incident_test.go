package people_test

import (
	"sync"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/identity/token"
	"github.com/genericcorp/corp/postgres/people"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// Everybody is signed out by several at once, while they sign out themselves: nobody
// waits for somebody who waits for them, and none of the sessions is open after it.
func TestEverybodyIsSignedOutWhileTheySignOut(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	s, ctx := people.New(env.DB.Door()), t.Context()
	type open struct {
		who     someone
		session corp.SessionID
	}
	var all []open
	for range 20 {
		who := join(t, s)
		for range 5 {
			in := cli(hash())
			must(s.Of(who.id).SignIn(ctx, people.Proof{Password: "argon:1"}, in))(t)
			all = append(all, open{who, in.ID})
		}
	}
	var crowd sync.WaitGroup
	for i := range 4 {
		crowd.Go(func() {
			if _, err := s.System("test").SignOut(ctx, corp.UserID{}); err != nil {
				t.Error(err)
			}
		})
		crowd.Go(func() {
			for j := i; j < len(all); j += 4 {
				if err := s.Of(all[j].who.id).EndSession(ctx, all[j].session, "sign_out"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	crowd.Wait()
	if n := pgtest.Value[int](t, env, `SELECT count(*) FROM sessions WHERE ended_at IS NULL`); n != 0 {
		t.Errorf("%d sessions go on", n)
	}
	if n := must(s.System("test").SignOut(ctx, all[0].who.id))(t); n != 0 {
		t.Errorf("%d ended twice", n)
	}
}

// Several rotate at once while others keep the keys up to date: there is always one
// that signs, and none of the first is left.
func TestSigningKeysAreReplacedByManyAtOnce(t *testing.T) {
	t.Parallel()
	s, ctx := people.New(pgtest.Database(t).DB.Door()), t.Context()
	fresh := func(now time.Time) people.SigningKey {
		return people.SigningKey{ID: corp.NewID[corp.SigningKeyID](), Public: []byte("p"), Private: []byte("s"), ActiveFrom: now, RetiredAt: now.Add(token.Every)}
	}
	keep := func(now time.Time, kept []people.SigningKey) (add []people.SigningKey, drop []corp.SigningKeyID) {
		if len(kept) == 0 {
			add = append(add, fresh(now))
		}
		return add, nil
	}
	replace := func(now time.Time, kept []people.SigningKey) (add []people.SigningKey, drop []corp.SigningKeyID) {
		for _, k := range kept {
			drop = append(drop, k.ID)
		}
		return append(add, fresh(now)), drop
	}
	first := must(s.System("test").KeepSigningKeys(ctx, keep))(t)
	var crowd sync.WaitGroup
	for range 8 {
		crowd.Go(func() {
			if kept, err := s.System("test").ReplaceSigningKeys(ctx, replace); err != nil || len(kept) != 1 || kept[0].ID == first[0].ID {
				t.Errorf("%v, %v", kept, err)
			}
		})
		crowd.Go(func() {
			if kept, err := s.System("test").KeepSigningKeys(ctx, keep); err != nil || len(kept) != 1 {
				t.Errorf("%v, %v", kept, err)
			}
		})
	}
	crowd.Wait()
}

// A device that was let in, and comes for its session while its person is signed out, is
// signed out with them. Control: it is let in.
func TestADeviceThatComesWhileItsPersonIsSignedOutIsToo(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	s, ctx := people.New(env.DB.Door()), t.Context()
	for _, everybody := range []bool{false, true} {
		who, secret, code := join(t, s), hash(), hash()
		ok(t, s.BeginDevice(ctx, secret, code, "", "", time.Minute))
		ok(t, s.Of(who.id).AnswerDevice(ctx, code, who.session, corp.WorkspaceID{}, true))
		release := hold(t, env, `SELECT FROM device_codes WHERE hash = $1 FOR UPDATE`, secret)
		came, out := make(chan error, 1), make(chan error, 1)
		go func() { came <- s.Of(who.id).TakeDevice(ctx, secret, cli(hash())) }()
		waiting(t, env, 1)
		go func() {
			id := who.id
			if everybody {
				id = corp.UserID{}
			}
			_, err := s.System("test").SignOut(ctx, id)
			out <- err
		}()
		waiting(t, env, 2)
		release()
		if err := <-came; err != nil && (!everybody || corp.KindOf(err) != corp.KindUnauthenticated) {
			t.Error(err)
		}
		ok(t, <-out)
		if n := pgtest.Value[int](t, env, `SELECT count(*) FROM sessions WHERE user_id = $1 AND ended_at IS NULL`, who.id); n != 0 {
			t.Errorf("everybody %t: %d sessions are left", everybody, n)
		}
	}
}

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
				if err := s.Of(all[j].who.id).EndSessions(ctx, all[j].session, "sign_out"); err != nil {
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

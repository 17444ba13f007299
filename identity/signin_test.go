package identity_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/identity"
	"github.com/genericcorp/corp/identity/otp"
	"github.com/genericcorp/corp/identity/password"
	"github.com/genericcorp/corp/postgres/pgtest"
)

func workspace(t *testing.T, _ *world) corp.WorkspaceID {
	t.Helper()
	return pgtest.Workspace(t)
}

// Known, unknown, and known with a second factor: nobody learns which.
// Attack case 57. Control: with the right password the known one signs in.
func TestNoAnswerSaysWhetherAnAddressHasAnAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, factor := w.join(t, corp.SessionCLI), w.join(t, corp.SessionCLI)
	w.protect(t, factor)
	said := func(err error) string {
		e, is := errors.AsType[*corp.Error](err)
		if !is {
			t.Fatalf("%v", err)
		}
		return fmt.Sprintf("%s %s %s %s %s", e.Kind, e.Code, e.Field, e.Message, e.Hint)
	}
	answers := map[string]string{}
	for name, l := range map[string]identity.Login{
		"unknown": {Email: unique("nobody"), Password: good}, "wrong password": {Email: s.email, Password: another}, "no password": {Email: s.email}, "unknown, no password": {Email: unique("nobody")},
		"second factor, wrong password": {Email: factor.email, Password: another, Code: "123456"}, "second factor, wrong code": {Email: factor.email, Password: good, Code: "000000"},
		"second factor, wrong recovery code": {Email: factor.email, Password: good, Code: "aaaa-aaaa-aaaa-aaaa"}, "unknown, code": {Email: unique("nobody"), Password: good, Code: "123456"},
	} {
		_, err := w.SignIn(t.Context(), l, from(t))
		answers[name] = said(err)
	}
	for name, a := range answers {
		if a != answers["unknown"] {
			t.Errorf("%s: %q, an unknown address %q", name, a, answers["unknown"])
		}
	}
	_, err := w.login(t, s.email, good, "")
	ok(t, err)
	for _, email := range []string{s.email, unique("nobody")} {
		ok(t, w.Register(t.Context(), email, "Ada", from(t)))
		ok(t, w.Reset(t.Context(), email, from(t)))
		if w.letters(email) < 2 {
			t.Errorf("an address that asks twice gets %d letters", w.letters(email))
		}
	}
	ok(t, w.ChangeEmail(t.Context(), s.who, identity.Again{}, factor.email, s.from))
	ok(t, w.ChangeEmail(t.Context(), s.who, identity.Again{}, unique("free"), s.from))
}

// Failures pause the account from that network, more each time, and never for good.
// Attack case 58. Control: the right password signs in from elsewhere, and here after the pause.
func TestFailuresPauseBeforeAnythingIsHashed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, here := w.join(t, corp.SessionCLI), from(t)
	for i, email := range []string{s.email, unique("nobody")} { // an unknown account pauses alike
		longest := time.Duration(0)
		for n := range 9 {
			_, err := w.SignIn(t.Context(), identity.Login{Email: email, Password: another}, here)
			want(t, err, corp.KindUnauthenticated, identity.CodeWrong)
			_, err = w.SignIn(t.Context(), identity.Login{Email: email, Password: good}, here)
			want(t, err, corp.KindLimit, identity.CodePause)
			p, is := errors.AsType[*identity.PauseError](err)
			if !is || p.For > time.Minute || p.For < longest {
				t.Fatalf("%d: after %d failures a pause of %v, before %v", i, n+1, err, longest)
			}
			longest = p.For
			w.clock.Advance(p.For)
		}
		if longest < 30*time.Second {
			t.Errorf("after nine failures a pause of %s", longest)
		}
	}
	// The right one from elsewhere is not kept out by somebody's failures here.
	_, err := w.login(t, s.email, good, "")
	ok(t, err)
	_, err = w.SignIn(t.Context(), identity.Login{Email: s.email, Password: good}, here)
	ok(t, err)
}

// A hash that cannot be read tells whether it was: a pause does not come that far.
// Attack case 57. Control: after the pause it is read.
func TestNothingIsHashedInAPause(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, here := w.join(t, corp.SessionCLI), from(t)
	try := func(secret string) error {
		_, err := w.SignIn(t.Context(), identity.Login{Email: s.email, Password: secret}, here)
		return err
	}
	want(t, try(another), corp.KindUnauthenticated, identity.CodeWrong)
	pgtest.New(t).Exec(t, `UPDATE users SET password_hash = 'no hash' WHERE user_id = $1`, s.in.User)
	want(t, try(good), corp.KindLimit, identity.CodePause)
	w.clock.Advance(time.Minute)
	if err := try(good); !errors.Is(err, password.ErrHash) {
		t.Errorf("after the pause: %v", err)
	}
}

// Attack case 58. Control: the right password signs in a minute later.
func TestGuessingSpreadOverAccountsOrNetworksIsPausedToo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, here := w.join(t, corp.SessionCLI), from(t)
	tries := 0
	for ; tries < 100; tries++ {
		if _, err := w.SignIn(t.Context(), identity.Login{Email: unique("nobody"), Password: good}, here); corp.KindOf(err) == corp.KindLimit {
			break
		}
	}
	if tries < 10 || tries > 30 {
		t.Errorf("%d accounts were tried from one network", tries)
	}
	for tries = 0; tries < 100; tries++ {
		if _, err := w.login(t, s.email, another, ""); corp.KindOf(err) == corp.KindLimit {
			break
		}
	}
	if tries < 10 || tries > 30 {
		t.Errorf("one account was tried from %d networks", tries)
	}
	w.clock.Advance(time.Minute)
	_, err := w.login(t, s.email, good, "")
	ok(t, err)
}

// Attack case 57. Control: a second later it is asked again.
func TestAllTogetherTakeOnlyAPartOfTheProcessors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tried := 0
	for tries(t, w, &tried) {
	}
	if tried > 100_000 {
		t.Errorf("%d attempts at one moment", tried)
	}
	w.clock.Advance(time.Second)
	if _, err := w.login(t, unique("nobody"), good, ""); corp.KindOf(err) != corp.KindUnauthenticated {
		t.Errorf("a second later: %v", err)
	}
}

func tries(t *testing.T, w *world, n *int) bool {
	t.Helper()
	*n++
	_, err := w.login(t, unique("nobody"), good, "")
	return corp.KindOf(err) != corp.KindLimit && *n < 200_000
}

func TestABcryptHashIsReplacedAtSignIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.join(t, corp.SessionCLI)
	old, err := bcrypt.GenerateFromPassword([]byte(another), bcrypt.MinCost)
	ok(t, err)
	account, _, err := w.people.ByEmail(t.Context(), s.email)
	ok(t, err)
	ok(t, w.people.Of(s.in.User).SetPassword(t.Context(), passwordChange(account.PasswordHash, string(old))))
	_, err = w.login(t, s.email, another, "")
	ok(t, err)
	account, _, err = w.people.ByEmail(t.Context(), s.email)
	if err != nil || account.PasswordHash[:10] != "$argon2id$" {
		t.Errorf("stored: %.12s, %v", account.PasswordHash, err)
	}
	_, err = w.login(t, s.email, another, "")
	ok(t, err)
}

// Attack case 19. Control: the new cookie is the session's.
func TestEverySignInAndStepUpHasASecretOfItsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.join(t, corp.SessionBrowser)
	in, err := w.SignIn(t.Context(), identity.Login{Email: s.email, Password: good, Kind: corp.SessionBrowser}, s.from)
	ok(t, err)
	if in.Session == s.in.Session || in.Cookie == s.in.Cookie || in.Access != "" || in.Refresh != "" {
		t.Errorf("the same session, or more than a cookie: %+v", in)
	}
	cookie, _, err := w.StepUp(t.Context(), s.who, identity.Again{Password: good}, s.from)
	ok(t, err)
	if _, err := w.people.ByCookie(t.Context(), w.ring.Hash(s.in.Cookie)); corp.KindOf(err) != corp.KindUnauthenticated {
		t.Errorf("the cookie from before: %v", err)
	}
	if who, err := w.people.ByCookie(t.Context(), w.ring.Hash(cookie)); err != nil || who.Session != s.in.Session {
		t.Errorf("the new cookie: %v", err)
	}
	_, _, err = w.StepUp(t.Context(), s.who, identity.Again{Password: another}, s.from)
	want(t, err, corp.KindForbidden, identity.CodeWrong)
}

// Attack case 18. Control: all twenty get the same successor, and it goes on.
func TestARefreshCredentialRotatesWithoutAFork(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.join(t, corp.SessionCLI)
	var wg sync.WaitGroup
	var successors sync.Map
	var n atomic.Int64
	for range 20 {
		wg.Go(func() {
			r, err := w.Refresh(t.Context(), s.in.Refresh)
			if err != nil {
				t.Error(err)
				return
			}
			if _, there := successors.LoadOrStore(r.Refresh, true); !there {
				n.Add(1)
			}
			if _, err := w.Tokens().Verify(r.Access); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n.Load() != 1 {
		t.Fatalf("%d successors", n.Load())
	}
	var next string
	successors.Range(func(k, _ any) bool { next, _ = k.(string); return false })
	for range 3 {
		r, err := w.Refresh(t.Context(), next)
		ok(t, err)
		next = r.Refresh
	}
	for _, bad := range []string{"", "x", corp.NewSecret(corp.KeyPrefixRefresh), corp.NewSecret(corp.KeyPrefixLive), s.in.Access} {
		_, err := w.Refresh(t.Context(), bad)
		want(t, err, corp.KindUnauthenticated, "signed_out")
	}
	ok(t, w.SignOut(t.Context(), s.who))
	_, err := w.Refresh(t.Context(), next)
	want(t, err, corp.KindUnauthenticated, "signed_out")
}

func TestSessionsAreListedAndEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, eve := w.join(t, corp.SessionCLI), w.join(t, corp.SessionCLI)
	in, err := w.login(t, s.email, good, "")
	ok(t, err)
	list, err := w.Sessions(t.Context(), s.who)
	if err != nil || len(list) != 2 || !list[1].Current || list[0].Current || list[1].Address != s.from.Address.String() {
		t.Errorf("%+v, %v", list, err)
	}
	want(t, w.EndSession(t.Context(), eve.who, in.Session), corp.KindNotFound, "")
	ok(t, w.EndSession(t.Context(), s.who, in.Session))
	if w.alive(t, in.Session) || !w.alive(t, s.in.Session) {
		t.Error("the wrong session ended")
	}
	want(t, w.SignOut(t.Context(), corp.Identity{User: s.in.User}), corp.KindForbidden, "session_needed")
}

// protect switches a second factor on and returns its secret.
func (w *world) protect(t *testing.T, s someone) (sealedSecret []byte, codes []string) {
	t.Helper()
	_, err := w.BeginFactor(t.Context(), s.who, identity.Again{}, s.from)
	ok(t, err)
	pending, err := w.people.Of(s.in.User).PendingSecondFactor(t.Context())
	ok(t, err)
	raw, err := w.ring.Open(pending, "second factor", s.in.User.String())
	ok(t, err)
	codes, err = w.ConfirmFactor(t.Context(), s.who, otp.Code(raw, otp.Step(w.clock.Now())), s.from)
	ok(t, err)
	return raw, codes
}

// A copy that is used later is in two hands.
// Attack case 17. Control: its first use succeeds.
func TestARefreshCredentialUsedTwiceEndsTheSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.join(t, corp.SessionCLI)
	r, err := w.Refresh(t.Context(), s.in.Refresh)
	ok(t, err)
	pgtest.New(t).Exec(t, `UPDATE refresh_tokens SET used_at = used_at - interval '11 seconds' WHERE session_id = $1 AND used_at IS NOT NULL`, s.in.Session)
	_, err = w.Refresh(t.Context(), s.in.Refresh)
	want(t, err, corp.KindUnauthenticated, "signed_out")
	if w.alive(t, s.in.Session) {
		t.Error("the session goes on")
	}
	_, err = w.Refresh(t.Context(), r.Refresh) // the rightful owner is out, too
	want(t, err, corp.KindUnauthenticated, "signed_out")
}

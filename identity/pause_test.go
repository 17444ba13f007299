package identity_test

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/identity"
	"github.com/genericcorp/corp/identity/password"
)

// Who knows a password and guesses the code does not get rid of the pause with a
// recovery code that is none.
func TestOnlyAProofThatIsUsedUpEndsAPause(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.join(t, corp.SessionCLI)
	w.protect(t, s)
	here := from(t)
	pause := func() time.Duration {
		t.Helper()
		_, err := w.SignIn(t.Context(), identity.Login{Email: s.email, Password: good}, here)
		p, paused := errors.AsType[*identity.PauseError](err)
		if !paused {
			t.Fatalf("no pause, but %v", err)
		}
		return p.For
	}
	for range 4 {
		for _, code := range []string{"000000", "aaaa-aaaa-aaaa-aaaa"} {
			_, err := w.SignIn(t.Context(), identity.Login{Email: s.email, Password: good, Code: code}, here)
			want(t, err, corp.KindUnauthenticated, identity.CodeWrong)
			w.clock.Advance(pause())
		}
	}
	want(t, w.Fresh(t.Context(), s.who, identity.Again{Password: good, Code: "aaaa-aaaa-aaaa-aaaa"}, here), corp.KindForbidden, identity.CodeWrong)
	if longest := pause(); longest != time.Minute {
		t.Errorf("after nine wrong codes a pause of %s", longest)
	}
}

// Those who guess side by side are held up by the first who is wrong.
func TestAttemptsAtOnceAreNotManyGuesses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *identity.Config) { c.Hasher = password.New(password.Cost{Memory: 8 << 10, Passes: 1, Lanes: 1}) })
	s, here := w.join(t, corp.SessionCLI), from(t)
	var all sync.WaitGroup
	var judged atomic.Int64
	begin := make(chan struct{})
	for range 16 * runtime.GOMAXPROCS(0) {
		all.Go(func() {
			<-begin
			_, err := w.SignIn(t.Context(), identity.Login{Email: s.email, Password: another}, here)
			if corp.KindOf(err) == corp.KindUnauthenticated {
				judged.Add(1)
			}
		})
	}
	close(begin)
	all.Wait()
	if n := judged.Load(); n > 4*int64(runtime.GOMAXPROCS(0)) {
		t.Errorf("%d guesses at once were judged", n)
	}
}

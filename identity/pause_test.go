package identity_test

import (
	"errors"
	"net/netip"
	"runtime"
	"strings"
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
	_, err := w.SignIn(t.Context(), identity.Login{Email: s.email, Password: good, Code: "aaaa-aaaa-aaaa-aaaa"}, here)
	want(t, err, corp.KindUnauthenticated, identity.CodeWrong)
	if longest := pause(); longest != time.Minute {
		t.Errorf("after nine wrong codes a pause of %s", longest)
	}
	again := identity.Again{Password: good, Code: "aaaa-aaaa-aaaa-aaaa"}
	want(t, w.Fresh(t.Context(), s.who, again, here), corp.KindForbidden, identity.CodeWrong)
	want(t, w.Fresh(t.Context(), s.who, again, from(t)), corp.KindLimit, identity.CodePause)
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

// Right or wrong: no network takes all the attempts there are, though it begins a step-up.
// Attack case 59. Control: somebody of another network signs in.
func TestNoNetworkTakesAllAttempts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	greedy, other := w.join(t, corp.SessionCLI), w.join(t, corp.SessionCLI)
	refused := 0
	for range 200 * runtime.GOMAXPROCS(0) {
		err := w.Fresh(t.Context(), greedy.who, identity.Again{Password: good}, greedy.from)
		if corp.KindOf(err) == corp.KindLimit {
			refused++
		} else {
			ok(t, err)
		}
	}
	if refused < 100*runtime.GOMAXPROCS(0) {
		t.Errorf("only %d were refused", refused)
	}
	_, err := w.login(t, other.email, good, "")
	ok(t, err)
}

// Behind a proxy that nobody trusts all come from this machine: what strangers do wrong
// is nobody else's, and each account still has its pause.
func TestALocalProxyIsNobodysNetwork(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, victim := w.join(t, corp.SessionCLI), w.join(t, corp.SessionCLI)
	for _, here := range []identity.Caller{{Address: netip.MustParseAddr("127.0.0.1")}, {Address: netip.MustParseAddr("::ffff:127.0.0.1")}, {Address: netip.IPv6Loopback()}, {}} {
		for range 40 {
			_, err := w.SignIn(t.Context(), identity.Login{Email: unique("x"), Password: another, Kind: corp.SessionCLI}, here)
			want(t, err, corp.KindUnauthenticated, identity.CodeWrong)
		}
		_, err := w.SignIn(t.Context(), identity.Login{Email: s.email, Password: good, Kind: corp.SessionCLI}, here)
		ok(t, err)
		_, err = w.SignIn(t.Context(), identity.Login{Email: victim.email, Password: another, Kind: corp.SessionCLI}, here)
		want(t, err, corp.KindUnauthenticated, identity.CodeWrong)
		_, err = w.SignIn(t.Context(), identity.Login{Email: victim.email, Password: another, Kind: corp.SessionCLI}, here)
		want(t, err, corp.KindLimit, identity.CodePause)
		w.clock.Advance(time.Hour)
	}
	before := w.letters(victim.email)
	for range 5 {
		ok(t, w.Reset(t.Context(), victim.email, identity.Caller{Address: netip.MustParseAddr("127.0.0.1")}))
	}
	if n := w.letters(victim.email) - before; n != 5 {
		t.Errorf("%d of 5 letters were sent", n)
	}
}

// However the address is spelled; and one workspace does not use up what others may send.
func TestInvitationsToOneAddressAreCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	victim := unique("victim")
	name, host, _ := strings.Cut(victim, "@")
	spelled := func(i int) string { return name + strings.Repeat("+", min(i, 1)) + strings.Repeat("x", i) + "@" + host }
	for range 3 {
		eager := corp.NewID[corp.WorkspaceID]()
		for i := range 3 {
			ok(t, w.AskInvitation(t.Context(), eager, spelled(i)))
		}
		want(t, w.AskInvitation(t.Context(), eager, victim), corp.KindLimit, identity.CodePause)
		ok(t, w.AskInvitation(t.Context(), eager, unique("other")))
	}
	other := corp.NewID[corp.WorkspaceID]()
	for i := range 2 {
		want(t, w.AskInvitation(t.Context(), other, spelled(i)), corp.KindLimit, identity.CodePause)
	}
	w.clock.Advance(5 * time.Minute)
	ok(t, w.AskInvitation(t.Context(), other, victim))
	_, text := w.InvitationLetter("Acme evil.example/login", "eve.example｡com .пример.рф bad\u200b.\u200bexample", corp.RoleViewer, "gc_link_x", 24*time.Hour)
	if strings.Contains(text, "evil.example") || strings.Contains(text, "eve.example") || strings.Contains(text, "пример.рф") || strings.Contains(text, "bad.") && !strings.Contains(text, "bad. ") || !strings.Contains(text, "evil. example/login") {
		t.Errorf("a name that mail programs make a link of: %s", text)
	}
}

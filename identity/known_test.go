package identity_test

import (
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/identity"
)

// Whoever knows an address and has many networks pauses strangers, and not its owner: not where
// they signed in before, not with the link of a mail, and not while they are signed in.
// Attack case 58. Control: without any of that it is paused for them, too.
func TestWhoKnowsAnAddressDoesNotKeepItsOwnerOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.join(t, corp.SessionBrowser)
	in, err := w.SignIn(t.Context(), identity.Login{Email: s.email, Password: good, Kind: corp.SessionBrowser}, from(t))
	ok(t, err)
	storm := func() {
		t.Helper()
		for range 40 {
			_, err := w.login(t, s.email, "no-such-password", "")
			if kind := corp.KindOf(err); kind != corp.KindUnauthenticated && kind != corp.KindLimit {
				t.Fatal(err)
			}
		}
	}
	signIn := func(pass, note string) error {
		here := from(t)
		here.Note = note
		_, err := w.SignIn(t.Context(), identity.Login{Email: s.email, Password: pass, Kind: corp.SessionBrowser}, here)
		return err
	}
	storm()
	want(t, signIn(good, ""), corp.KindLimit, identity.CodePause)
	for _, note := range []string{s.in.Note, in.Note} {
		ok(t, signIn(good, note))
	}
	ok(t, w.Fresh(t.Context(), s.who, identity.Again{Password: good}, from(t)))

	w.clock.Advance(time.Hour)
	ok(t, w.Reset(t.Context(), s.email, from(t)))
	_, link := w.letterTo(t, s.email)
	note, err := w.ConfirmReset(t.Context(), link, another, false, from(t))
	ok(t, err)
	storm()
	want(t, signIn(another, ""), corp.KindLimit, identity.CodePause)
	ok(t, signIn(another, note))
}

// A note is for one address, and gives nobody more guesses than a network has.
func TestANoteOpensNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, eve := w.join(t, corp.SessionBrowser), w.join(t, corp.SessionBrowser)
	here := from(t)
	guess := func(note string) error {
		here.Note = note
		_, err := w.SignIn(t.Context(), identity.Login{Email: s.email, Password: another, Kind: corp.SessionBrowser}, here)
		return err
	}
	want(t, guess(s.in.Note), corp.KindUnauthenticated, identity.CodeWrong)
	want(t, guess(s.in.Note), corp.KindLimit, identity.CodePause)
	want(t, guess(""), corp.KindUnauthenticated, identity.CodeWrong) // a pause of the network's own
	for _, note := range []string{"", "AAAA", s.in.Note[:10], s.in.Note[1:], eve.in.Note, s.in.Cookie} {
		want(t, guess(note), corp.KindLimit, identity.CodePause)
	}
}

// home is one of the networks of an IPv6 customer.
func home(i int) identity.Caller {
	return identity.Caller{Address: netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 9, 9, byte(i >> 8), byte(i), 15: 1})}
}

// One customer with an account and thousands of networks takes neither what other strangers
// get nor what is kept for who was here before.
// Attack case 58. Control: they sign in as often as their share is.
func TestOneSiteTakesNotAllSignIns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, eve := w.join(t, corp.SessionBrowser), w.join(t, corp.SessionCLI)
	ok(t, w.Reset(t.Context(), s.email, from(t)))
	_, link := w.letterTo(t, s.email)
	went := 0
	all := 100 * runtime.GOMAXPROCS(0)
	for i := range all {
		if _, err := w.SignIn(t.Context(), identity.Login{Email: eve.email, Password: good, Kind: corp.SessionCLI}, home(i)); err == nil {
			went++
		} else {
			want(t, err, corp.KindLimit, identity.CodePause)
		}
	}
	if share := all / 3; went != share {
		t.Errorf("%d sign-ins of one site, and its share is %d", went, share)
	}
	_, err := w.login(t, s.email, good, "")
	ok(t, err)
	known := from(t)
	known.Note = s.in.Note
	for i := range all { // and others take all that strangers get
		if _, err := w.SignIn(t.Context(), identity.Login{Email: eve.email, Password: good, Kind: corp.SessionCLI}, from(t)); err != nil {
			break
		} else if i == all-1 {
			t.Fatal("nobody is turned away")
		}
	}
	_, err = w.SignIn(t.Context(), identity.Login{Email: s.email, Password: good, Kind: corp.SessionBrowser}, known)
	ok(t, err)
	ok(t, w.Fresh(t.Context(), s.who, identity.Again{Password: good}, from(t)))
	_, err = w.ConfirmReset(t.Context(), link, another, false, from(t))
	ok(t, err)
}

// Changing one's password again and again, and guessing at it in session after session,
// is counted for the account, and then like a stranger's.
func TestWhoIsKnownHasAShareToo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, here := w.join(t, corp.SessionBrowser), from(t)
	most := 20 + 100*runtime.GOMAXPROCS(0)/6
	who, changed := s.who, 0
	for range most + 1 {
		in, err := w.ChangePassword(t.Context(), who, identity.Again{}, good, false, here)
		if err != nil {
			want(t, err, corp.KindLimit, identity.CodePause)
			break
		}
		who.Session, changed = in.Session, changed+1
	}
	if changed != most {
		t.Errorf("a password was changed %d times, and %d are the share of an account and a network", changed, most)
	}
	_, err := w.login(t, s.email, good, "")
	ok(t, err)

	guessed := 0
	for range 200 {
		who.Session = corp.NewID[corp.SessionID]() // as if each guess came from another one of the person's
		if err := w.Fresh(t.Context(), who, identity.Again{Password: another}, here); corp.KindOf(err) == corp.KindForbidden {
			guessed++
		}
	}
	if guessed > 20 {
		t.Errorf("%d guesses at one account", guessed)
	}
}

package identity_test

import (
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

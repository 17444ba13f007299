package identity_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/identity"
	"github.com/genericcorp/corp/identity/password"
	"github.com/genericcorp/corp/limit"
	"github.com/genericcorp/corp/postgres/people"
	"github.com/genericcorp/corp/postgres/pgtest"
	"github.com/genericcorp/corp/seal"
	"github.com/genericcorp/corp/stage"
)

const (
	good    = "tulip-anvil-marsh"
	another = "copper-window-seven"
)

// world is the flows on a real database, with a clock and a mailbox of its own.
type world struct {
	*identity.Flows
	people *people.Store
	ring   *seal.Ring
	limits *limit.Memory
	clock  *stage.Clock

	mu   sync.Mutex
	mail []letter
}

type letter struct{ to, subject, text string }

// Send puts a letter into the mailbox.
func (w *world) Send(_ context.Context, to, subject, text string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mail = append(w.mail, letter{to, subject, text})
	return nil
}

func newWorld(t *testing.T, change ...func(*identity.Config)) *world {
	t.Helper()
	// One secret for all tests: they share a database, and the keys in it.
	ring, err := seal.New([]byte(strings.Repeat("k", seal.SecretSize)))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{people: people.New(pgtest.DB(t).Door()), ring: ring, clock: stage.NewClock(time.Now())}
	w.limits = limit.NewMemory(w.clock.Now, 10_000)
	c := identity.Config{
		People: w.people, Ring: ring, Hasher: password.New(password.Cost{Memory: 64, Passes: 1, Lanes: 1}), Backoff: w.limits, Limits: w.limits,
		Mailer: w, SignUp: true, PublicURL: "https://corp.example.com/", Now: w.clock.Now, Logger: slog.New(slog.DiscardHandler),
	}
	for _, f := range change {
		f(&c)
	}
	if w.Flows, err = identity.New(c); err != nil {
		t.Fatal(err)
	}
	if err := w.LoadKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w
}

// from is a caller in a network of its own.
func from(t *testing.T) identity.Caller {
	t.Helper()
	var b [6]byte
	_, _ = rand.Read(b[:])
	return identity.Caller{Address: netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, b[0], b[1], b[2], b[3], 15: b[4]}), UserAgent: "corp/test"}
}

// only is whether something that also returns a text failed.
func only(_ string, err error) error { return err }

func unique(name string) string { return strings.ToLower(name + "-" + rand.Text() + "@example.com") }

var secret = regexp.MustCompile(`=(gc_link_[0-9A-Za-z]+)`)

// letterTo returns the newest letter to an address, and the secret of its link.
func (w *world) letterTo(t *testing.T, to string) (letter, string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range slices.Backward(w.mail) {
		if l.to == to {
			if found := secret.FindStringSubmatch(l.text); found != nil {
				return l, found[1]
			}
			return l, ""
		}
	}
	t.Fatalf("no letter to %s", to)
	return letter{}, ""
}

func (w *world) letters(to string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.mail {
		if l.to == to {
			n++
		}
	}
	return n
}

// someone is a person who has registered and is signed in.
type someone struct {
	email string
	in    identity.SignedIn
	who   corp.Identity
	from  identity.Caller
}

func (w *world) join(t *testing.T, kind corp.SessionKind) someone {
	t.Helper()
	s := someone{email: unique("ada"), from: from(t)}
	ok(t, w.Register(t.Context(), s.email, "Ada", from(t)))
	_, link := w.letterTo(t, s.email)
	in, err := w.Verify(t.Context(), identity.Newcomer{Token: link, Password: good, Kind: kind}, s.from)
	ok(t, err)
	s.in = in
	s.who = corp.Identity{User: in.User, Session: in.Session, Actor: corp.Actor(in.User.String()), Via: corp.Actor(in.Session.String())}
	return s
}

func (w *world) login(t *testing.T, email, pass, code string) (identity.SignedIn, error) {
	t.Helper()
	return w.SignIn(t.Context(), identity.Login{Email: email, Password: pass, Code: code, Kind: corp.SessionCLI}, from(t))
}

// alive says whether a command line's session is.
func (w *world) alive(t *testing.T, id corp.SessionID) bool {
	t.Helper()
	_, err := w.people.BySession(t.Context(), id)
	if err != nil && corp.KindOf(err) != corp.KindUnauthenticated {
		t.Fatal(err)
	}
	return err == nil
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, err error, kind corp.Kind, code string) {
	t.Helper()
	e, is := errors.AsType[*corp.Error](err)
	if !is || e.Kind != kind || code != "" && e.Code != code {
		t.Errorf("%v, want %s %s", err, kind, code)
	}
}

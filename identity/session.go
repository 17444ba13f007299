package identity

import (
	"context"
	"fmt"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/people"
)

// Refreshed is a fresh access token, and the refresh credential that follows.
type Refreshed struct {
	User      corp.UserID
	Session   corp.SessionID
	Access    string
	ExpiresIn time.Duration
	Refresh   string
}

// Refresh exchanges a refresh credential. Within ten seconds a repeat gives the same
// successor; later it ends the session, since somebody has a copy.
func (f *Flows) Refresh(ctx context.Context, secret string) (Refreshed, error) {
	if prefix, whole := corp.SecretPrefix(secret); !whole || prefix != corp.KeyPrefixRefresh {
		return Refreshed{}, signedOut()
	}
	successor := corp.SecretOf(corp.KeyPrefixRefresh, f.Ring.Derive("refresh", secret))
	user, id, outcome, err := f.People.Refresh(ctx, f.Ring.Hash(secret), f.Ring.Hash(successor), refreshGrace)
	if err != nil {
		return Refreshed{}, err
	}
	switch outcome {
	case people.RefreshRotated, people.RefreshRepeat:
	case people.RefreshReuse:
		f.Logger.WarnContext(ctx, "a refresh credential was used twice: its session has ended", "actor", user.String(), "session", id.String())
		return Refreshed{}, signedOut() // no more is said than the logs say
	case people.RefreshUnknown:
		return Refreshed{}, signedOut()
	default:
		return Refreshed{}, fmt.Errorf("refresh a session: unknown outcome %q", outcome)
	}
	r := Refreshed{User: user, Session: id, Refresh: successor}
	r.Access, r.ExpiresIn, err = f.access(ctx, id)
	return r, err
}

// SignOut ends the session that asks.
func (f *Flows) SignOut(ctx context.Context, who corp.Identity) error {
	if who.Session.IsZero() {
		return needsSession()
	}
	return f.People.Of(who.User).EndSession(ctx, who.Session, "sign_out")
}

// Sessions lists where the person is signed in.
func (f *Flows) Sessions(ctx context.Context, who corp.Identity) ([]corp.Session, error) {
	if who.User.IsZero() {
		return nil, needsPerson()
	}
	list, err := f.People.Of(who.User).Sessions(ctx)
	for i := range list {
		list[i].Current = list[i].ID == who.Session
	}
	return list, err
}

// EndSession signs the person out elsewhere.
func (f *Flows) EndSession(ctx context.Context, who corp.Identity, id corp.SessionID) error {
	if who.Session.IsZero() {
		return needsSession()
	}
	return f.People.Of(who.User).EndSession(ctx, id, people.ByOther)
}

// Again is a proof given once more by somebody who is signed in.
type Again struct {
	Password string
	Code     string
}

// StepUp takes a proof once more. A browser gets another cookie with it, which is
// returned; the old one is worth nothing from then on.
func (f *Flows) StepUp(ctx context.Context, who corp.Identity, again Again, from Caller) (cookie string, lasts time.Duration, err error) {
	if who.Session.IsZero() {
		return "", 0, needsSession()
	}
	mine := f.People.Of(who.User)
	s, _, err := mine.Session(ctx, who.Session)
	if err != nil {
		return "", 0, err
	}
	var hash []byte
	if s.Kind == corp.SessionBrowser {
		cookie, lasts = corp.NewSecret(corp.KeyPrefixSession), browserLasts
		hash = f.Ring.Hash(cookie)
	}
	err = f.proveAgain(ctx, who, again, from, func(proof people.Proof) error { return mine.StepUp(ctx, who.Session, proof, hash) })
	if err != nil {
		return "", 0, err
	}
	return cookie, lasts, nil
}

// Fresh passes when the person proved who they are less than ten minutes ago, or
// does so now. A key is refused, whoever's it is.
func (f *Flows) Fresh(ctx context.Context, who corp.Identity, again Again, from Caller) error {
	if who.Session.IsZero() {
		return needsSession()
	}
	if again.Password != "" {
		return f.confirm(ctx, who, again, from)
	}
	_, age, err := f.People.Of(who.User).Session(ctx, who.Session)
	if err != nil {
		return err
	}
	if age >= proofLasts {
		return &corp.Error{Kind: corp.KindForbidden, Code: "step_up", Field: "password", Message: "This needs your password once more.", Hint: "Give it with the request, or sign in again; it counts for ten minutes."}
	}
	return nil
}

// confirm uses up a proof without renewing the session's: it counts for this once.
func (f *Flows) confirm(ctx context.Context, who corp.Identity, again Again, from Caller) error {
	return f.proveAgain(ctx, who, again, from, func(proof people.Proof) error { return f.People.Of(who.User).Confirm(ctx, proof) })
}

// proveAgain checks the password and code of somebody who is signed in, and uses them
// up.
func (f *Flows) proveAgain(ctx context.Context, who corp.Identity, again Again, from Caller, use func(people.Proof) error) error {
	account, err := f.People.Of(who.User).Credentials(ctx)
	if err != nil {
		return err
	}
	t := f.attempt(account.Email, who.Session.String(), from)
	err = f.prove(ctx, t, account.Email, again.Password, again.Code, func(_ people.Account, proof people.Proof) error { return use(proof) })
	if codeOf(err) == CodeWrong {
		// They are signed in: that a client would take for having to sign in anew.
		return &corp.Error{Kind: corp.KindForbidden, Code: CodeWrong, Field: "password", Message: "The password or the code is not right.", Hint: "Check them; a code can be used once."}
	}
	return err
}

// WorkIn has the session work in another workspace of the person's. A command line
// gets an access token for it.
func (f *Flows) WorkIn(ctx context.Context, who corp.Identity, ws corp.WorkspaceID) (access string, expiresIn time.Duration, err error) {
	if who.Session.IsZero() {
		return "", 0, needsSession()
	}
	mine := f.People.Of(who.User)
	if err := mine.WorkIn(ctx, who.Session, ws); err != nil {
		return "", 0, err
	}
	s, _, err := mine.Session(ctx, who.Session)
	if err != nil || s.Kind == corp.SessionBrowser {
		return "", 0, err
	}
	return f.access(ctx, who.Session)
}

func signedOut() error {
	return &corp.Error{Kind: corp.KindUnauthenticated, Code: "signed_out", Message: "You are not signed in any more.", Hint: "Sign in again."}
}

func needsSession() error {
	return &corp.Error{Kind: corp.KindForbidden, Code: "session_needed", Message: "This is for somebody who is signed in, not for a key.", Hint: "Sign in: corp login."}
}

func needsPerson() error {
	return &corp.Error{Kind: corp.KindForbidden, Code: "person_needed", Message: "This is for a person, and this key is nobody's.", Hint: "Sign in, or use a key of your own."}
}

package identity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/identity/otp"
	"github.com/genericcorp/corp/identity/token"
	"github.com/genericcorp/corp/postgres/people"
)

// SignedIn is what somebody who has signed in is given, once: a browser a cookie, a
// command line an access token and a refresh credential.
type SignedIn struct {
	User      corp.UserID
	Session   corp.SessionID
	Cookie    string        // of a browser
	Lasts     time.Duration // of the cookie
	Note      string        // for a browser to keep and bring along to the next sign-in
	Access    string        // of a command line
	ExpiresIn time.Duration // of the access token
	Refresh   string
	TookBack  bool // the deletion of the account was taken back by it
}

// Login is an attempt to sign in.
type Login struct {
	Email    string
	Password string
	Code     string // of the app, or a recovery code; "" when there is no second factor
	Kind     corp.SessionKind
}

// The codes of what a login may be refused with.
const (
	CodeWrong        = "wrong_credentials" // unknown address, wrong password or wrong code: never said which
	CodeSecondFactor = "code_required"     // the password is right, and a code is asked for
)

// SignIn signs somebody in with a password, and a code where there is a second
// factor. Whatever is wrong, the answer is the same; only who has the right password
// learns that a code is asked for.
func (f *Flows) SignIn(ctx context.Context, l Login, from Caller) (SignedIn, error) {
	email, err := ReadEmail(l.Email)
	if err != nil {
		return SignedIn{}, err
	}
	var user corp.UserID
	var tookBack bool
	s := f.newSession(l.Kind, from)
	t := f.attempt(email, f.recall(email, from.Note), from)
	err = f.prove(ctx, t, email, l.Password, l.Code, func(account people.Account, proof people.Proof) (err error) {
		user = account.ID
		tookBack, err = f.People.Of(user).SignIn(ctx, proof, s.row)
		return err
	})
	if err != nil {
		return SignedIn{}, err
	}
	in, err := f.signedIn(ctx, user, s)
	in.TookBack, in.Note = tookBack, f.remember(email)
	return in, err
}

// prove checks password and code of whoever has an address, known or not: pauses,
// look-up, hash, code. Use is the transaction that the proof is for, and uses it up;
// only then was the attempt right.
func (f *Flows) prove(ctx context.Context, t try, email, secret, code string, use func(people.Account, people.Proof) error) error {
	if err := t.admit(ctx); err != nil {
		return err
	}
	account, _, err := f.People.ByEmail(ctx, email)
	if err != nil {
		return err
	}
	proof, err := f.check(ctx, t, account, secret, code)
	if err == nil {
		err = uniform(use(account, proof))
	}
	switch {
	case err == nil:
		t.passed(ctx)
	case codeOf(err) == CodeWrong:
		if noted := t.failed(ctx); noted != nil {
			return noted
		}
	}
	return err
}

// check compares, and hashes whatever account it is given, also none. Of those who wait
// for the hash at once, the first who is wrong holds up the others.
func (f *Flows) check(ctx context.Context, t try, account people.Account, secret, code string) (people.Proof, error) {
	right, upgrade, err := f.Hasher.Verify(ctx, account.PasswordHash, secret)
	if err != nil {
		return people.Proof{}, fmt.Errorf("verify a password: %w", err)
	}
	if err := t.waits(ctx); err != nil {
		return people.Proof{}, err
	}
	if !right || account.Disabled {
		return people.Proof{}, wrong()
	}
	proof := people.Proof{Password: account.PasswordHash}
	if account.TOTP != nil {
		if code == "" {
			return people.Proof{}, &corp.Error{Kind: corp.KindUnauthenticated, Code: CodeSecondFactor, Field: "code", Message: "A one-time code is needed, too.", Hint: "Give the code that your app shows, or a recovery code."}
		}
		if proof.Step, proof.Recovery, err = f.factor(account, code); err != nil {
			return people.Proof{}, err
		}
	}
	if upgrade {
		if proof.Upgrade, err = f.Hasher.Hash(ctx, secret); err != nil {
			return people.Proof{}, err
		}
	}
	return proof, nil
}

// factor checks a code of the second factor: of the app, or a recovery code, which
// is only looked up when it is used up.
func (f *Flows) factor(account people.Account, code string) (step int64, recovery []byte, err error) {
	if canonical, ok := otp.Recovery(code); ok {
		return 0, f.Ring.Hash(canonical), nil
	}
	secret, err := f.Ring.Open(account.TOTP, totpContext(account.ID)...)
	if err != nil {
		return 0, nil, fmt.Errorf("open a second factor: %w", err)
	}
	step, ok := otp.Verify(secret, code, f.Now(), account.TOTPStep)
	if !ok {
		return 0, nil, wrong()
	}
	return step, nil, nil
}

func wrong() error {
	return &corp.Error{Kind: corp.KindUnauthenticated, Code: CodeWrong, Message: "The address, the password or the code is not right.", Hint: "Check them; a code can be used once. \"Forgotten password\" sends a mail."}
}

// uniform makes what the database refuses look like what the comparison does.
func uniform(err error) error {
	if codeOf(err) == people.CodeNotProved {
		return wrong()
	}
	return err
}

// session is one that is about to be, with its secrets in the clear.
type session struct {
	row             people.NewSession
	cookie, refresh string
}

func (f *Flows) newSession(kind corp.SessionKind, from Caller) session {
	s := session{row: people.NewSession{
		ID: corp.NewID[corp.SessionID](), Kind: kind, Address: from.address(), UserAgent: from.userAgent(), Idle: cliIdle, Lasts: cliLasts,
	}}
	if kind == corp.SessionBrowser {
		s.row.Idle, s.row.Lasts = browserIdle, browserLasts
		s.cookie = corp.NewSecret(corp.KeyPrefixSession)
		s.row.Cookie = f.Ring.Hash(s.cookie)
		return s
	}
	s.row.Kind = corp.SessionCLI
	s.refresh = corp.NewSecret(corp.KeyPrefixRefresh)
	s.row.Refresh = f.Ring.Hash(s.refresh)
	return s
}

// signedIn is what the person is given of a session that is there now.
func (f *Flows) signedIn(ctx context.Context, user corp.UserID, s session) (SignedIn, error) {
	in := SignedIn{User: user, Session: s.row.ID, Cookie: s.cookie, Refresh: s.refresh}
	if s.row.Kind == corp.SessionBrowser {
		in.Lasts = s.row.Lasts
		return in, nil
	}
	var err error
	in.Access, in.ExpiresIn, err = f.access(ctx, s.row.ID)
	return in, err
}

// access issues a token for a session, and the workspace that it works in now.
func (f *Flows) access(ctx context.Context, id corp.SessionID) (string, time.Duration, error) {
	who, err := f.People.BySession(ctx, id)
	if err != nil {
		return "", 0, err
	}
	text, _, err := f.tokens.Issue(token.Claims{User: who.User, Session: id, Workspace: who.Workspace})
	if err != nil {
		return "", 0, fmt.Errorf("issue an access token: %w", err)
	}
	return text, token.Life, nil
}

func codeOf(err error) string {
	if e, ok := errors.AsType[*corp.Error](err); ok {
		return e.Code
	}
	return ""
}

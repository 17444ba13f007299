package identity

import (
	"context"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/identity/password"
	"github.com/genericcorp/corp/postgres/people"
)

// Register has a mail sent to an address. It makes no account, and answers the same
// whoever has the address: a new one gets a link that makes an account, a known one
// is told so.
func (f *Flows) Register(ctx context.Context, email, name string, from Caller) error {
	email, err := ReadEmail(email)
	if err != nil {
		return err
	}
	if name, err = readName(name); err != nil {
		return err
	}
	if !f.SignUp {
		return &corp.Error{Kind: corp.KindForbidden, Code: "sign_up_closed", Message: "Nobody makes an account here without an invitation.", Hint: "Ask somebody of the workspace that you want to work in to invite you."}
	}
	account, known, err := f.People.ByEmail(ctx, email)
	if err != nil {
		return err
	}
	if known {
		return f.mailLink(ctx, people.Link{Purpose: people.PurposeReset, Email: email, Person: account.ID}, f.knownLetter, from)
	}
	return f.mailLink(ctx, people.Link{Purpose: people.PurposeVerify, Email: email, Name: name}, f.verifyLetter, from)
}

// Reset has a mail sent that allows a new password. An address without an account is
// told so, there and nowhere else, with a link that makes one where everybody may.
func (f *Flows) Reset(ctx context.Context, email string, from Caller) error {
	email, err := ReadEmail(email)
	if err != nil {
		return err
	}
	account, known, err := f.People.ByEmail(ctx, email)
	if err != nil {
		return err
	}
	if known {
		return f.mailLink(ctx, people.Link{Purpose: people.PurposeReset, Email: email, Person: account.ID}, f.resetLetter, from)
	}
	if !f.SignUp { // the same steps, with a link that nobody gets
		return f.mailLink(ctx, people.Link{Purpose: people.PurposeReset, Email: email}, f.noAccountLetter, from)
	}
	return f.mailLink(ctx, people.Link{Purpose: people.PurposeVerify, Email: email}, f.strangerLetter, from)
}

// mailLink is what every flow of a mail ends with, so that all take the same steps.
func (f *Flows) mailLink(ctx context.Context, l people.Link, compose func(string) (string, string), from Caller) error {
	lasts := resetLasts
	switch l.Purpose {
	case people.PurposeVerify:
		lasts = verifyLasts
	case people.PurposeChange:
		lasts = changeLasts
	case people.PurposeReset:
	}
	secret := corp.NewSecret(corp.KeyPrefixLink)
	if err := f.People.MakeLink(ctx, f.Ring.Hash(secret), l, lasts); err != nil {
		return err
	}
	return f.post(ctx, l.Email, compose, secret, from)
}

// Newcomer is somebody who makes an account with a link.
type Newcomer struct {
	Token    string // of the link
	Name     string // "" takes the one given at registration
	Password string
	Kind     corp.SessionKind
}

// Verify makes the account that a registration's link is for, and signs in.
func (f *Flows) Verify(ctx context.Context, n Newcomer, from Caller) (SignedIn, error) {
	hash, err := f.link(n.Token)
	if err != nil {
		return SignedIn{}, err
	}
	link, ok, err := f.People.Link(ctx, hash)
	if err != nil {
		return SignedIn{}, err
	}
	if !ok || link.Purpose != people.PurposeVerify {
		return SignedIn{}, linkGone()
	}
	if n.Name == "" {
		n.Name = link.Name
	}
	return f.join(ctx, n, people.NewUser{Link: hash}, link.Email, from)
}

// AcceptAsNew makes the account of somebody who was invited, and signs in.
func (f *Flows) AcceptAsNew(ctx context.Context, n Newcomer, from Caller) (SignedIn, error) {
	hash, err := f.link(n.Token)
	if err != nil {
		return SignedIn{}, err
	}
	in, ok, err := f.People.Invitation(ctx, hash)
	if err != nil {
		return SignedIn{}, err
	}
	if !ok {
		return SignedIn{}, linkGone()
	}
	return f.join(ctx, n, people.NewUser{Invitation: hash}, in.Email, from)
}

// join makes an account whose address the link has proved.
func (f *Flows) join(ctx context.Context, n Newcomer, u people.NewUser, email string, from Caller) (SignedIn, error) {
	name, err := readName(n.Name)
	if err != nil {
		return SignedIn{}, err
	}
	if err := password.Check(n.Password, email, name); err != nil {
		return SignedIn{}, err
	}
	if err := f.attempt(email, "", from).count(ctx); err != nil {
		return SignedIn{}, err
	}
	if u.PasswordHash, err = f.Hasher.Hash(ctx, n.Password); err != nil {
		return SignedIn{}, err
	}
	u.Name = name
	id, s := corp.NewID[corp.UserID](), f.newSession(n.Kind, from)
	if err := f.People.Of(id).Join(ctx, u, s.row); err != nil {
		return SignedIn{}, err
	}
	in, err := f.signedIn(ctx, id, s)
	in.Note = f.remember(email)
	return in, err
}

// link returns the hash of a link's secret; what is not one is refused unasked.
func (f *Flows) link(secret string) ([]byte, error) {
	if prefix, whole := corp.SecretPrefix(secret); !whole || prefix != corp.KeyPrefixLink {
		return nil, linkGone()
	}
	return f.Ring.Hash(secret), nil
}

func linkGone() error {
	return &corp.Error{Kind: corp.KindNotFound, Code: "link", Field: "token", Message: "This link was used before, or is too old, or is not whole.", Hint: "Ask for another one."}
}

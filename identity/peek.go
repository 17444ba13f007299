package identity

import (
	"context"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/people"
)

// Peeked is what the secret of a link is for, as the page behind it says. Who has
// the secret reads the mail, and knows all this.
type Peeked struct {
	Purpose   people.Purpose // empty for an invitation
	Email     string
	Name      string    // that was given at registration
	Workspace string    // whose invitation it is
	Role      corp.Role // that it gives
	Known     bool      // the invited address has an account already
}

// Peek says what a link is for. Nothing is spent: programs that look at mails open
// the links in them.
func (f *Flows) Peek(ctx context.Context, token string) (Peeked, error) {
	hash, err := f.link(token)
	if err != nil {
		return Peeked{}, err
	}
	link, ok, err := f.People.Link(ctx, hash)
	if err != nil {
		return Peeked{}, err
	}
	if ok {
		return Peeked{Purpose: link.Purpose, Email: link.Email, Name: link.Name}, nil
	}
	in, ok, err := f.People.Invitation(ctx, hash)
	if err != nil {
		return Peeked{}, err
	}
	if !ok {
		return Peeked{}, linkGone()
	}
	_, known, err := f.People.ByEmail(ctx, in.Email)
	return Peeked{Email: in.Email, Workspace: in.Workspace, Role: in.Role, Known: known}, err
}

package identity

import (
	"context"
	"fmt"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/identity/otp"
)

// NewFactor is a second factor that is to be confirmed. It is shown this once.
type NewFactor struct {
	Secret string // as people type it
	URL    string // as an app reads it from a picture
}

// BeginFactor draws the secret of a second factor. It is in force when a code of it
// was given back. It needs a fresh proof.
func (f *Flows) BeginFactor(ctx context.Context, who corp.Identity, again Again, from Caller) (NewFactor, error) {
	if err := f.Fresh(ctx, who, again, from); err != nil {
		return NewFactor{}, err
	}
	mine := f.People.Of(who.User)
	account, err := mine.Credentials(ctx)
	if err != nil {
		return NewFactor{}, err
	}
	secret := otp.NewSecret()
	if err := mine.BeginSecondFactor(ctx, f.Ring.Seal(secret, totpContext(who.User)...)); err != nil {
		return NewFactor{}, err
	}
	return NewFactor{Secret: otp.Text(secret), URL: otp.URL(secret, "Generic Corp", account.Email)}, nil
}

// ConfirmFactor puts the second factor in force, and returns recovery codes, which
// are shown this once.
func (f *Flows) ConfirmFactor(ctx context.Context, who corp.Identity, code string, from Caller) ([]string, error) {
	if who.Session.IsZero() {
		return nil, needsSession()
	}
	if err := f.take(ctx, "{"+who.User.String()+"}:new-factor", guesses); err != nil {
		return nil, err
	}
	mine := f.People.Of(who.User)
	sealed, err := mine.PendingSecondFactor(ctx)
	if err != nil {
		return nil, err
	}
	if sealed == nil {
		return nil, corp.Conflict("No second factor waits to be confirmed.", "Begin one first.")
	}
	secret, err := f.Ring.Open(sealed, totpContext(who.User)...)
	if err != nil {
		return nil, fmt.Errorf("open a second factor: %w", err)
	}
	step, ok := otp.Verify(secret, code, f.Now(), 0)
	if !ok {
		return nil, corp.Invalid("code", "That is not the code of this secret.", "Give the one that the app shows now; the clock of the device must be right.")
	}
	codes, hashes := otp.NewRecoveryCodes(f.Ring.Hash)
	if err := mine.ConfirmSecondFactor(ctx, sealed, step, hashes); err != nil {
		return nil, err
	}
	f.tell(ctx, who, "A second factor was switched on for your account.", from)
	return codes, nil
}

// DropFactor removes the second factor. It needs a fresh proof.
func (f *Flows) DropFactor(ctx context.Context, who corp.Identity, again Again, from Caller) error {
	if err := f.Fresh(ctx, who, again, from); err != nil {
		return err
	}
	if err := f.People.Of(who.User).DropSecondFactor(ctx); err != nil {
		return err
	}
	f.tell(ctx, who, "The second factor of your account was switched off.", from)
	return nil
}

// NewRecoveryCodes replaces the recovery codes. It needs a fresh proof.
func (f *Flows) NewRecoveryCodes(ctx context.Context, who corp.Identity, again Again, from Caller) ([]string, error) {
	if err := f.Fresh(ctx, who, again, from); err != nil {
		return nil, err
	}
	codes, hashes := otp.NewRecoveryCodes(f.Ring.Hash)
	if err := f.People.Of(who.User).ReplaceRecoveryCodes(ctx, hashes); err != nil {
		return nil, err
	}
	f.tell(ctx, who, "New recovery codes were made for your account; the old ones are worth nothing now.", from)
	return codes, nil
}

// tell notifies somebody who is signed in.
func (f *Flows) tell(ctx context.Context, who corp.Identity, what string, from Caller) {
	account, err := f.People.Of(who.User).Credentials(ctx)
	if err != nil {
		f.Logger.ErrorContext(ctx, "a person was not told of a change of their account", "actor", who.User.String(), "error", err)
		return
	}
	f.notify(ctx, account.Email, what, from)
}

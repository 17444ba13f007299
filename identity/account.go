package identity

import (
	"context"
	"strings"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/identity/password"
	"github.com/genericcorp/corp/postgres/people"
)

// Me is a person as they see themselves.
type Me struct {
	User          corp.User
	Workspaces    []corp.Membership
	RecoveryCodes int // that are left
	Elsewhere     []people.Identity
}

// Me returns who somebody is, where they are a member, and how they may sign in.
func (f *Flows) Me(ctx context.Context, who corp.Identity) (me Me, err error) {
	if who.User.IsZero() {
		return me, needsPerson()
	}
	mine := f.People.Of(who.User)
	if me.User, err = mine.User(ctx); err != nil {
		return me, err
	}
	if me.Workspaces, err = mine.Workspaces(ctx); err != nil {
		return me, err
	}
	if me.RecoveryCodes, err = mine.RecoveryCodesLeft(ctx); err != nil {
		return me, err
	}
	me.Elsewhere, err = mine.Identities(ctx)
	return me, err
}

// Rename changes the person's name.
func (f *Flows) Rename(ctx context.Context, who corp.Identity, name string) (corp.User, error) {
	if who.Session.IsZero() {
		return corp.User{}, needsSession()
	}
	name, err := readName(name)
	if err != nil {
		return corp.User{}, err
	}
	return f.People.Of(who.User).Rename(ctx, name)
}

// ConfirmReset sets a new password with a link, ends all sessions, unlinks all accounts
// elsewhere, and tells the person. It signs nobody in: a second factor is still asked for at the next sign-in,
// which the note for the browser lets nobody hold up.
func (f *Flows) ConfirmReset(ctx context.Context, token, fresh string, endKeys bool, from Caller) (note string, err error) {
	hash, err := f.link(token)
	if err != nil {
		return "", err
	}
	link, ok, err := f.People.Link(ctx, hash)
	if err != nil {
		return "", err
	}
	if !ok || link.Purpose != people.PurposeReset || link.Person.IsZero() {
		return "", linkGone()
	}
	elsewhere, err := f.People.Of(link.Person).Identities(ctx)
	if err != nil {
		return "", err
	}
	if err := f.setPassword(ctx, f.attempt(link.Email, "a link", from), link.Person, link.Email, fresh, people.PasswordChange{Link: hash, EndKeys: endKeys}); err != nil {
		return "", err
	}
	f.attempt(link.Email, "", from).passed(ctx)
	what := []string{"A new password was set for your account, with a link from a mail."}
	for _, i := range elsewhere {
		what = append(what, "Your account at "+line(i.Issuer)+" was unlinked: sign in and link it again, if it is yours.")
	}
	f.notify(ctx, link.Email, strings.Join(what, "\n"), from)
	return f.remember(link.Email), nil
}

// ChangePassword sets a new password and ends all sessions; who asks is given another
// one, since somebody may have a copy of theirs. It needs a fresh proof.
func (f *Flows) ChangePassword(ctx context.Context, who corp.Identity, again Again, fresh string, endKeys bool, from Caller) (in SignedIn, err error) {
	if err := f.Fresh(ctx, who, again, from); err != nil {
		return in, err
	}
	mine := f.People.Of(who.User)
	account, err := mine.Credentials(ctx)
	if err != nil {
		return in, err
	}
	asks, _, err := mine.Session(ctx, who.Session)
	if err != nil {
		return in, err
	}
	s := f.newSession(asks.Kind, from)
	err = f.setPassword(ctx, f.attempt(account.Email, who.Session.String(), from), who.User, account.Email, fresh, people.PasswordChange{Was: account.PasswordHash, By: who.Session, Next: s.row, EndKeys: endKeys})
	if err != nil {
		return in, err
	}
	f.notify(ctx, account.Email, "The password of your account was changed.", from)
	return f.signedIn(ctx, who.User, s)
}

func (f *Flows) setPassword(ctx context.Context, t try, id corp.UserID, email, fresh string, c people.PasswordChange) (err error) {
	if err := password.Check(fresh, email); err != nil {
		return err
	}
	if err := t.admit(ctx); err != nil {
		return err
	}
	if c.Hash, err = f.Hasher.Hash(ctx, fresh); err != nil {
		return err
	}
	return f.People.Of(id).SetPassword(ctx, c)
}

// ChangeEmail has a mail sent to the address that somebody wants to have. Whether it
// has an account is said in that mail and nowhere else. It needs a fresh proof.
func (f *Flows) ChangeEmail(ctx context.Context, who corp.Identity, again Again, email string, from Caller) error {
	email, err := ReadEmail(email)
	if err != nil {
		return err
	}
	if err := f.Fresh(ctx, who, again, from); err != nil {
		return err
	}
	account, known, err := f.People.ByEmail(ctx, email)
	if err != nil {
		return err
	}
	if known {
		return f.mailLink(ctx, people.Link{Purpose: people.PurposeReset, Email: email, Person: account.ID}, f.knownLetter, from)
	}
	return f.mailLink(ctx, people.Link{Purpose: people.PurposeChange, Email: email, Person: who.User}, f.changeLetter, from)
}

// ConfirmEmail takes the address that a link proves, where the person who asked for
// it is signed in, and tells the old one.
func (f *Flows) ConfirmEmail(ctx context.Context, who corp.Identity, token string, from Caller) error {
	if who.Session.IsZero() {
		return needsSession()
	}
	hash, err := f.link(token)
	if err != nil {
		return err
	}
	link, ok, err := f.People.Link(ctx, hash)
	if err != nil {
		return err
	}
	if !ok || link.Purpose != people.PurposeChange || link.Person != who.User {
		return linkGone()
	}
	was, err := f.People.Of(who.User).ChangeEmail(ctx, hash, link.Email)
	if err != nil {
		return err
	}
	f.notify(ctx, was, "The address of your account was changed to another one.", from)
	return nil
}

// Delete has the account deleted after DeleteGrace, and ends all sessions. Signing in
// takes it back. It needs a fresh proof.
func (f *Flows) Delete(ctx context.Context, who corp.Identity, again Again, from Caller) (time.Time, error) {
	if err := f.Fresh(ctx, who, again, from); err != nil {
		return time.Time{}, err
	}
	mine := f.People.Of(who.User)
	account, err := mine.Credentials(ctx)
	if err != nil {
		return time.Time{}, err
	}
	at, err := mine.AskDeletion(ctx, DeleteGrace)
	if err != nil {
		return time.Time{}, err
	}
	f.notify(ctx, account.Email, "Your account is going to be deleted on "+at.UTC().Format("2 January 2006")+". Signing in before that takes it back.", from)
	return at, nil
}

// Leave takes the person out of a workspace. The last owner cannot leave; a
// workspace where they are no member is not found.
func (f *Flows) Leave(ctx context.Context, who corp.Identity, ws corp.WorkspaceID) error {
	m, err := f.membership(ctx, who, ws)
	if err != nil {
		return err
	}
	return f.People.In(ws).RemoveMember(ctx, who.Actor, m.Role, who.User)
}

// Restore takes the deletion of a workspace back. Only an owner can.
func (f *Flows) Restore(ctx context.Context, who corp.Identity, ws corp.WorkspaceID) error {
	if who.Session.IsZero() {
		return needsSession()
	}
	return f.People.Of(who.User).Restore(ctx, ws)
}

// membership returns what the person is in one of their workspaces. One that is not
// theirs looks like one that is not there.
func (f *Flows) membership(ctx context.Context, who corp.Identity, ws corp.WorkspaceID) (corp.Membership, error) {
	if who.Session.IsZero() {
		return corp.Membership{}, needsSession()
	}
	list, err := f.People.Of(who.User).Workspaces(ctx)
	if err != nil {
		return corp.Membership{}, err
	}
	for _, m := range list {
		if m.WorkspaceID == ws {
			return m, nil
		}
	}
	return corp.Membership{}, corp.NotFound("workspace")
}

// Accept makes somebody who is signed in a member of the workspace that invited
// them, at the address that was invited.
func (f *Flows) Accept(ctx context.Context, who corp.Identity, token string) (corp.Membership, error) {
	if who.Session.IsZero() {
		return corp.Membership{}, needsSession()
	}
	hash, err := f.link(token)
	if err != nil {
		return corp.Membership{}, err
	}
	return f.People.Of(who.User).Accept(ctx, hash)
}

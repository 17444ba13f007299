package identity

import (
	"context"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/identity/oidc"
	"github.com/genericcorp/corp/postgres/people"
)

// Issuers lists where people may sign in elsewhere.
func (f *Flows) Issuers() []string {
	if f.Elsewhere == nil {
		return []string{}
	}
	return f.Elsewhere.Names()
}

// BeginElsewhere returns where to send a browser, and the cookie that it comes back
// with. Who is signed in links the account there to their own, and must have proved
// who they are of late.
func (f *Flows) BeginElsewhere(ctx context.Context, who corp.Identity, issuer string) (address, cookie string, err error) {
	if f.Elsewhere == nil {
		return "", "", corp.NotFound("issuer")
	}
	if !who.Session.IsZero() {
		if err := f.Fresh(ctx, who, Again{}, Caller{}); err != nil {
			return "", "", err
		}
	}
	return f.Elsewhere.Begin(ctx, issuer, who.User, who.Session)
}

// FinishElsewhere ends what BeginElsewhere began: it links, or signs the person in,
// or makes an account for them. Only an issuer that the operator trusts with
// addresses makes accounts, or joins one of the same address, and that only without
// a second factor; else the person signs in and links it there.
func (f *Flows) FinishElsewhere(ctx context.Context, cookie string, got oidc.Answer, from Caller) (in SignedIn, linked bool, err error) {
	if f.Elsewhere == nil {
		return in, false, corp.NotFound("issuer")
	}
	person, attempt, err := f.Elsewhere.Finish(ctx, cookie, got)
	if err != nil {
		return in, false, err
	}
	if !attempt.User.IsZero() {
		return in, true, f.linkElsewhere(ctx, attempt, person, from)
	}
	account, known, err := f.People.ByIdentity(ctx, person.Issuer, person.Subject)
	if err != nil {
		return in, false, err
	}
	if !known {
		if account, known, err = f.joinByEmail(ctx, person, from); err != nil {
			return in, false, err
		}
	}
	s := f.newSession(corp.SessionBrowser, from)
	if !known {
		in, err = f.newElsewhere(ctx, person, s)
		return in, false, err
	}
	tookBack, err := f.People.Of(account.ID).SignIn(ctx, people.Proof{Issuer: person.Issuer, Subject: person.Subject}, s.row)
	if err != nil {
		return in, false, uniform(err)
	}
	in, err = f.signedIn(ctx, account.ID, s)
	in.TookBack = tookBack
	return in, false, err
}

// linkElsewhere links while the session that began is still there.
func (f *Flows) linkElsewhere(ctx context.Context, a oidc.Attempt, person oidc.Person, from Caller) error {
	if err := f.People.Of(a.User).LinkIdentity(ctx, a.Session, person.Issuer, person.Subject, person.Email); err != nil {
		return err
	}
	f.tell(ctx, corp.Identity{User: a.User}, "An account at "+line(person.Issuer)+" signs you in from now on.", from)
	return nil
}

// joinByEmail looks for an account of the person's verified address.
func (f *Flows) joinByEmail(ctx context.Context, person oidc.Person, from Caller) (people.Account, bool, error) {
	email, err := ReadEmail(person.Email)
	if err != nil {
		return people.Account{}, false, &corp.Error{Kind: corp.KindForbidden, Code: "email_unverified", Message: "The provider does not say that your address is verified.", Hint: "Verify it there, or register here with your address and link the provider in your account."}
	}
	if !person.TrustEmail { // nor asked who has an account
		return people.Account{}, false, &corp.Error{Kind: corp.KindForbidden, Code: "link_first", Message: "This provider does not sign you in yet.", Hint: "Sign in with your password, or register with your address, and link the provider in your account."}
	}
	account, known, err := f.People.ByEmail(ctx, email)
	if err != nil || !known {
		return account, false, err
	}
	if account.TOTP != nil || account.Disabled {
		return account, false, &corp.Error{Kind: corp.KindForbidden, Code: "link_first", Message: "There is an account with this address already, and the provider does not sign it in yet.", Hint: "Sign in with your password, and link the provider in your account."}
	}
	if err := f.People.Of(account.ID).LinkIdentity(ctx, corp.SessionID{}, person.Issuer, person.Subject, email); err != nil {
		return account, false, err
	}
	f.notify(ctx, email, "An account at "+line(person.Issuer)+" signs you in from now on.", from)
	return account, true, nil
}

func (f *Flows) newElsewhere(ctx context.Context, person oidc.Person, s session) (SignedIn, error) {
	name, err := readName(person.Name)
	if err != nil {
		name, _ = readName(person.Email[:min(len(person.Email), maxName)])
	}
	id := corp.NewID[corp.UserID]()
	err = f.People.Of(id).Join(ctx, people.NewUser{Email: person.Email, Name: name, Issuer: person.Issuer, Subject: person.Subject}, s.row)
	if err != nil {
		return SignedIn{}, err
	}
	return f.signedIn(ctx, id, s)
}

// UnlinkElsewhere takes an account elsewhere away. The last way in cannot be.
func (f *Flows) UnlinkElsewhere(ctx context.Context, who corp.Identity, again Again, issuer, subject string, from Caller) error {
	if err := f.Fresh(ctx, who, again, from); err != nil {
		return err
	}
	return f.People.Of(who.User).UnlinkIdentity(ctx, issuer, subject)
}

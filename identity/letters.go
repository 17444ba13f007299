package identity

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/limit"
)

// Letters are plain text: nothing in them is loaded, and nothing hides where a link
// goes. What strangers chose (names) is on one line and never in the subject.

const signature = "\n-- \nGeneric Corp\n"

// page is the address of a page of ours. The secret is a parameter: behind a # only
// a script could read it. Our log has no parameters, and the page sends no Referer.
func (f *Flows) page(path, secret string) string {
	return f.PublicURL + path + "?token=" + url.QueryEscape(secret)
}

// line is a text of somebody else's, made safe to stand in a letter.
func line(s string) string {
	s = strings.Join(strings.Fields(strings.Map(printable, s)), " ")
	// A name is no place for a link that mail programs would make clickable.
	return strings.NewReplacer("://", " ", "www.", " ", "@", " ").Replace(s)
}

// named is the name that a stranger gave something, with nothing left in it that looks
// like a host's name.
func named(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) { // what is not seen, but keeps a dot from its neighbour
			return -1
		}
		return r
	}, s)
	return dotted.ReplaceAllString(line(s), ". $1")
}

var dotted = regexp.MustCompile(`[.․。．｡]([^\s.])`)

func (f *Flows) verifyLetter(secret string) (subject, text string) {
	return "Confirm your address", fmt.Sprintf(`Somebody, probably you, wants to register this address at Generic Corp.

To go on, open this within a day and choose a password:

  %s

If it was not you, do nothing: there is no account until the link is opened.
`, f.page("/verify", secret)) + signature
}

func (f *Flows) knownLetter(secret string) (subject, text string) {
	return "You have an account already", fmt.Sprintf(`Somebody, probably you, wanted to register this address at Generic Corp. It has an
account already: sign in with it.

If you do not know your password any more, open this within half an hour:

  %s

If it was not you, do nothing.
`, f.page("/reset", secret)) + signature
}

func (f *Flows) resetLetter(secret string) (subject, text string) {
	return "Set a new password", fmt.Sprintf(`Somebody, probably you, asked to set a new password for this address.

To go on, open this within half an hour:

  %s

If it was not you, do nothing: your password stays as it is.
`, f.page("/reset", secret)) + signature
}

func (f *Flows) strangerLetter(secret string) (subject, text string) {
	return "There is no account with this address", fmt.Sprintf(`Somebody, probably you, asked to set a new password at Generic Corp, but there is no
account with this address. Perhaps it is with another one of yours.

To make one with this address, open this within a day:

  %s

If it was not you, do nothing.
`, f.page("/verify", secret)) + signature
}

func (f *Flows) noAccountLetter(string) (subject, text string) {
	return "There is no account with this address", `Somebody, probably you, asked to set a new password at Generic Corp, but there is no
account with this address. Perhaps it is with another one of yours. Accounts are made
by invitation here: ask somebody of the workspace that you want to work in.
` + signature
}

func (f *Flows) changeLetter(secret string) (subject, text string) {
	return "Confirm your new address", fmt.Sprintf(`You asked to use this address for your account at Generic Corp.

To go on, open this within a day, where you are signed in:

  %s

If it was not you, do nothing.
`, f.page("/email", secret)) + signature
}

func (f *Flows) noticeLetter(what string, from Caller) (subject, text string) {
	return "Your account was changed", fmt.Sprintf(`%s

It was done from the address %s on %s.

If it was not you, set a new password at once, end all other sessions, and tell the
people who run this installation:

  %s
`, what, orUnknown(from.address()), f.Now().UTC().Format("2 January 2006, 15:04 UTC"), f.PublicURL+"/reset") + signature
}

// InvitationLetter is what somebody who is asked into a workspace gets. By is the
// name of who asks.
func (f *Flows) InvitationLetter(workspace, by string, role corp.Role, secret string, lasts time.Duration) (subject, text string) {
	return "You are invited to a workspace", fmt.Sprintf(`%s asks you to join the workspace "%s" at Generic Corp, as %s.

To accept, open this within %d days:

  %s

If you do not know them, do nothing.
`, orUnknown(named(by)), named(workspace), role, int(lasts.Round(24*time.Hour).Hours()/24), f.page("/invitation", secret)) + signature
}

func orUnknown(s string) string {
	if s == "" {
		return "(unknown)"
	}
	return s
}

// post sends a letter that a stranger may have asked for, unless the address got
// several of late: then nothing is sent, and nobody is told.
func (f *Flows) post(ctx context.Context, to string, compose func(secret string) (subject, text string), secret string, from Caller) error {
	key := "{" + f.digest(mailbox(to)) + "}:letters"
	asks := []limit.Ask{{Key: key, Policy: letters, Cost: 1}}
	if from.known() {
		asks = append(asks, limit.Ask{Key: key + ":" + limit.NetworkKey(from.Address, "here"), Policy: lettersHere, Cost: 1})
	}
	states, err := f.Limits.Take(ctx, asks)
	if err != nil {
		return fmt.Errorf("ask the limit of letters: %w", err)
	}
	if _, many := limit.Denied(states); many {
		f.Logger.WarnContext(ctx, "a letter was not sent: the address got several of late", "account", f.digest(to))
		return nil
	}
	subject, text := compose(secret)
	if err := f.Mailer.Send(ctx, to, subject, text); err != nil {
		return fmt.Errorf("send a letter: %w", err)
	}
	return nil
}

// AskInvitation counts an invitation by a workspace against the address that it goes to. The
// error is a limit error when that got several of late: the sender may know.
func (f *Flows) AskInvitation(ctx context.Context, ws corp.WorkspaceID, to string) error {
	key := "{" + f.digest(mailbox(to)) + "}:invitations"
	states, err := f.Limits.Take(ctx, []limit.Ask{{Key: key + ":" + ws.String(), Policy: invitationsHere, Cost: 1}, {Key: key, Policy: invitations, Cost: 1}})
	if err != nil {
		return fmt.Errorf("ask the limit of invitations: %w", err)
	}
	worst, denied := limit.Denied(states)
	if !denied {
		return nil
	}
	err = paused(worst.RetryAfter)
	if e, is := errors.AsType[*corp.Error](err); is {
		e.Field, e.Message = "email", "This address got several invitations within the hour."
	}
	return err
}

// mailbox is where mail to an address arrives at most hosts, whatever follows a plus.
func mailbox(email string) string {
	name, host, _ := strings.Cut(email, "@")
	name, _, _ = strings.Cut(name, "+")
	return name + "@" + host
}

// notify tells a person what was done to their account. It was done: that the
// letter cannot be sent does not undo it.
func (f *Flows) notify(ctx context.Context, to, what string, from Caller) {
	subject, text := f.noticeLetter(what, from)
	if err := f.Mailer.Send(context.WithoutCancel(ctx), to, subject, text); err != nil {
		f.Logger.ErrorContext(ctx, "a person was not told of a change of their account", "account", f.digest(to), "error", err)
	}
}

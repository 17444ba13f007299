package portal

import (
	"context"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/api"
	"github.com/genericcorp/corp/identity"
	"github.com/genericcorp/corp/postgres/people"
)

// letter is what the page behind a mail's link shows.
type letter struct {
	identity.Peeked
	Token string
	Here  string // where this page is, for who signs in first
	Me    string // the address of who is signed in
}

// opened is the page of a link, or of a link that is over. A link of another
// purpose is as good as none.
func (p *Portal) opened(ctx context.Context, v api.Visit, s screen, purpose people.Purpose, form string, err error) (api.Reply, error) {
	token := tokenOf(v)
	peeked, over := p.flows.Peek(ctx, token)
	if over == nil && peeked.Purpose != purpose {
		over = &corp.Error{Kind: corp.KindNotFound, Code: "link", Field: "token", Message: "This link was used before, or is too old, or is not whole.", Hint: "Ask for another one."}
	}
	if over != nil {
		if err == nil {
			err = over
		}
		return p.answer(v, screen{view: "over", Title: "This link leads nowhere"}, "", err)
	}
	s.Data = letter{Peeked: peeked, Token: token, Here: withToken("/invitation", token), Me: p.address(ctx, v)}
	return p.answer(v, s, form, err)
}

// address is that of who is signed in; empty when nobody is.
func (p *Portal) address(ctx context.Context, v api.Visit) string {
	if v.Who.Session.IsZero() {
		return ""
	}
	me, err := p.flows.Me(ctx, v.Who)
	if err != nil {
		return "" // the page says less; what it leads to says why
	}
	return me.User.Email
}

func newcomer(v api.Visit) identity.Newcomer {
	form := v.Request.PostForm
	return identity.Newcomer{Token: form.Get("token"), Name: form.Get("name"), Password: form.Get("password"), Kind: corp.SessionBrowser}
}

func (p *Portal) verifyPage(ctx context.Context, v api.Visit) (api.Reply, error) {
	return p.opened(ctx, v, screen{view: "verify", Title: "Make your account"}, people.PurposeVerify, "", nil)
}

func (p *Portal) verify(ctx context.Context, v api.Visit) (api.Reply, error) {
	in, err := p.flows.Verify(ctx, newcomer(v), v.From)
	if err != nil {
		return p.opened(ctx, v, screen{view: "verify", Title: "Make your account"}, people.PurposeVerify, "verify", err)
	}
	return p.welcome(in, "/account"), nil
}

func (p *Portal) resetPage(ctx context.Context, v api.Visit) (api.Reply, error) {
	if tokenOf(v) == "" {
		return p.show(v, screen{view: "forgotten", Title: "Forgotten password"}), nil
	}
	return p.opened(ctx, v, screen{view: "reset", Title: "Set a new password"}, people.PurposeReset, "", nil)
}

func (p *Portal) askReset(ctx context.Context, v api.Visit) (api.Reply, error) {
	email := v.Request.PostForm.Get("email")
	if err := p.flows.Reset(ctx, email, v.From); err != nil {
		return p.answer(v, screen{view: "forgotten", Title: "Forgotten password"}, "forgotten", err)
	}
	return p.show(v, mailed("Look at your mail", "A mail that says how to go on is on its way to "+email+". Its link is good for half an hour.")), nil
}

func (p *Portal) reset(ctx context.Context, v api.Visit) (api.Reply, error) {
	form := v.Request.PostForm
	note, err := p.flows.ConfirmReset(ctx, form.Get("token"), form.Get("password"), form.Get("end_keys") != "", v.From)
	if err != nil {
		return p.opened(ctx, v, screen{view: "reset", Title: "Set a new password"}, people.PurposeReset, "reset", err)
	}
	return lead("/sign-in?done=reset", p.gone(""), p.cookie(known, note, knownLasts)), nil
}

func (p *Portal) invitationPage(ctx context.Context, v api.Visit) (api.Reply, error) {
	return p.opened(ctx, v, screen{view: "invitation", Title: "You are invited"}, "", "", nil)
}

func (p *Portal) acceptAsNew(ctx context.Context, v api.Visit) (api.Reply, error) {
	in, err := p.flows.AcceptAsNew(ctx, newcomer(v), v.From)
	if err != nil {
		return p.opened(ctx, v, screen{view: "invitation", Title: "You are invited"}, "", "invitation", err)
	}
	return p.welcome(in, "/account?done=joined"), nil
}

func (p *Portal) accept(ctx context.Context, v api.Visit) (api.Reply, error) {
	if _, err := p.flows.Accept(ctx, v.Who, v.Request.PostForm.Get("token")); err != nil {
		return p.opened(ctx, v, screen{view: "invitation", Title: "You are invited"}, "", "", err)
	}
	return lead("/account?done=joined"), nil
}

func (p *Portal) emailPage(ctx context.Context, v api.Visit) (api.Reply, error) {
	return p.opened(ctx, v, screen{view: "email", Title: "Your new address"}, people.PurposeChange, "", nil)
}

func (p *Portal) confirmEmail(ctx context.Context, v api.Visit) (api.Reply, error) {
	if err := p.flows.ConfirmEmail(ctx, v.Who, v.Request.PostForm.Get("token"), v.From); err != nil {
		return p.opened(ctx, v, screen{view: "email", Title: "Your new address"}, people.PurposeChange, "", err)
	}
	return lead("/account?done=address"), nil
}

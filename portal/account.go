package portal

import (
	"context"
	"html/template"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/api"
	"github.com/genericcorp/corp/identity"
)

// account is what the page about a person shows them.
type account struct {
	identity.Me
	Sessions []corp.Session
	Current  corp.WorkspaceID
	Issuers  []string
}

// factor is a second factor that is to be confirmed.
type factor struct {
	identity.NewFactor
	Picture template.HTML
}

func (p *Portal) accountPage(ctx context.Context, v api.Visit) (api.Reply, error) {
	return p.account(ctx, v, "", nil)
}

// account draws the page, with the error of one of its forms.
func (p *Portal) account(ctx context.Context, v api.Visit, form string, failed error) (api.Reply, error) {
	me, err := p.flows.Me(ctx, v.Who)
	if err != nil {
		return p.problem(v, err), err
	}
	sessions, err := p.flows.Sessions(ctx, v.Who)
	if err != nil {
		return p.problem(v, err), err
	}
	data := account{Me: me, Sessions: sessions, Issuers: p.flows.Issuers()}
	for _, s := range sessions {
		if s.Current {
			data.Current = s.WorkspaceID
		}
	}
	s := screen{view: "account", Title: "Your account", Data: data, Notice: notice(v)}
	if failed != nil {
		s.Notice = ""
	}
	return p.answer(v, s, form, failed)
}

// done leads back to the account, or shows it with the error.
func (p *Portal) done(ctx context.Context, v api.Visit, form, told string, err error) (api.Reply, error) {
	if err != nil {
		return p.account(ctx, v, form, err)
	}
	return lead("/account?done=" + told), nil
}

// again is the proof that a form brings along, if it does.
func again(v api.Visit) identity.Again {
	return identity.Again{Password: v.Request.PostForm.Get("password"), Code: v.Request.PostForm.Get("code")}
}

func (p *Portal) rename(ctx context.Context, v api.Visit) (api.Reply, error) {
	_, err := p.flows.Rename(ctx, v.Who, v.Request.PostForm.Get("name"))
	return p.done(ctx, v, "name", "name", err)
}

func (p *Portal) changePassword(ctx context.Context, v api.Visit) (api.Reply, error) {
	form := v.Request.PostForm
	in, err := p.flows.ChangePassword(ctx, v.Who, again(v), form.Get("new"), form.Get("end_keys") != "", v.From)
	if err == nil {
		return p.welcome(in, "/account?done=password"), nil
	}
	if corp.KindOf(err) == corp.KindInvalid {
		err = field(err, "password", "new") // the one that is not good enough
	}
	return p.account(ctx, v, "password", err)
}

func (p *Portal) changeEmail(ctx context.Context, v api.Visit) (api.Reply, error) {
	err := p.flows.ChangeEmail(ctx, v.Who, again(v), v.Request.PostForm.Get("email"), v.From)
	return p.done(ctx, v, "email", "email", err)
}

func (p *Portal) endSession(ctx context.Context, v api.Visit) (api.Reply, error) {
	id, err := corp.ParseID[corp.SessionID](v.Request.PostForm.Get("session"))
	if err == nil {
		err = p.flows.EndSession(ctx, v.Who, id)
	}
	if err == nil && id == v.Who.Session {
		return lead("/sign-in?done=out", p.gone("")), nil
	}
	return p.done(ctx, v, "session", "session", err)
}

func (p *Portal) workIn(ctx context.Context, v api.Visit) (api.Reply, error) {
	id, err := corp.ParseID[corp.WorkspaceID](v.Request.PostForm.Get("workspace"))
	if err == nil {
		_, _, err = p.flows.WorkIn(ctx, v.Who, id)
	}
	return p.done(ctx, v, "workspace", "switched", err)
}

func (p *Portal) leave(ctx context.Context, v api.Visit) (api.Reply, error) {
	id, err := corp.ParseID[corp.WorkspaceID](v.Request.PostForm.Get("workspace"))
	if err == nil {
		err = p.flows.Leave(ctx, v.Who, id)
	}
	return p.done(ctx, v, "workspace", "left", err)
}

func (p *Portal) deleteWorkspace(ctx context.Context, v api.Visit) (api.Reply, error) {
	id, err := corp.ParseID[corp.WorkspaceID](v.Request.PostForm.Get("workspace"))
	if err == nil {
		_, err = p.flows.DeleteWorkspace(ctx, v.Who, again(v), id, v.From)
	}
	return p.done(ctx, v, "workspace", "removed", err)
}

func (p *Portal) restoreWorkspace(ctx context.Context, v api.Visit) (api.Reply, error) {
	id, err := corp.ParseID[corp.WorkspaceID](v.Request.PostForm.Get("workspace"))
	if err == nil {
		err = p.flows.Restore(ctx, v.Who, id)
	}
	return p.done(ctx, v, "workspace", "restored", err)
}

func (p *Portal) beginFactor(ctx context.Context, v api.Visit) (api.Reply, error) {
	made, err := p.flows.BeginFactor(ctx, v.Who, again(v), v.From)
	if err != nil {
		return p.account(ctx, v, "factor", err)
	}
	return p.show(v, factorScreen(made)), nil
}

func factorScreen(made identity.NewFactor) screen {
	return screen{view: "factor", Title: "Second factor", Data: factor{made, picture(made.URL)}}
}

func (p *Portal) confirmFactor(ctx context.Context, v api.Visit) (api.Reply, error) {
	form := v.Request.PostForm
	codes, err := p.flows.ConfirmFactor(ctx, v.Who, form.Get("code"), v.From)
	if err != nil {
		// What the app has to read is in the form still; it is the visitor's own.
		return p.answer(v, factorScreen(identity.NewFactor{Secret: form.Get("secret"), URL: form.Get("url")}), "factor", err)
	}
	return p.show(v, screen{view: "codes", Title: "Your recovery codes", Data: codes}), nil
}

func (p *Portal) dropFactor(ctx context.Context, v api.Visit) (api.Reply, error) {
	return p.done(ctx, v, "factor", "factor", p.flows.DropFactor(ctx, v.Who, again(v), v.From))
}

func (p *Portal) newCodes(ctx context.Context, v api.Visit) (api.Reply, error) {
	codes, err := p.flows.NewRecoveryCodes(ctx, v.Who, again(v), v.From)
	if err != nil {
		return p.account(ctx, v, "factor", err)
	}
	return p.show(v, screen{view: "codes", Title: "Your recovery codes", Data: codes}), nil
}

func (p *Portal) unlink(ctx context.Context, v api.Visit) (api.Reply, error) {
	form := v.Request.PostForm
	err := p.flows.UnlinkElsewhere(ctx, v.Who, again(v), form.Get("issuer"), form.Get("subject"), v.From)
	return p.done(ctx, v, "elsewhere", "unlinked", err)
}

func (p *Portal) deleteAccount(ctx context.Context, v api.Visit) (api.Reply, error) {
	if _, err := p.flows.Delete(ctx, v.Who, again(v), v.From); err != nil {
		return p.account(ctx, v, "delete", err)
	}
	return lead("/sign-in?done=deleted", p.gone("")), nil
}

// Package portal is the pages with which people sign in and look after their
// account: plain HTML without any script, served beside the API.
//
// It calls the flows of package identity and nothing else. Who a visitor is, where
// they come from and how often they may is found out before a page is asked
// (api.Pages), the same way as for operations.
//
// A link from a mail shows a page and spends nothing; only a button does. It holds no
// state: what a form needs next time is in the form. No page shows what belongs to
// a workspace; that is the dashboard's.
package portal

import (
	"context"
	"net/http"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/api"
	"github.com/genericcorp/corp/identity"
)

// Portal serves the pages. It is safe for concurrent use.
type Portal struct {
	flows  *identity.Flows
	secure bool
	views  views
}

// New builds the pages on the flows. Secure says that browsers come over https.
func New(flows *identity.Flows, secure bool) (*Portal, error) {
	v, err := parseViews()
	return &Portal{flows: flows, secure: secure, views: v}, err
}

// BackPath is where issuers send browsers back to, each with its name behind it.
const BackPath = "/sign-in/elsewhere/back"

// handler does what a page is for. Its error is shown by its reply already.
type handler func(ctx context.Context, v api.Visit) (api.Reply, error)

// Pages are the routes.
func (p *Portal) Pages() api.Pages {
	mine := p.signedIn
	return api.Pages{Problem: p.problem, List: []api.Page{
		{Route: "GET /{$}", Serve: p.home},
		{Route: "GET /portal.css", Serve: p.style},

		{Route: "GET /sign-in", Serve: p.signInPage},
		{Route: "POST /sign-in", Operation: "signIn", Serve: p.signIn},
		{Route: "GET /sign-in/elsewhere/{issuer}", Operation: "signInElsewhere", Serve: p.beginElsewhere},
		{Route: "GET " + BackPath + "/{issuer}", Operation: "finishElsewhere", Serve: p.finishElsewhere},
		{Route: "POST /sign-out", Operation: "signOut", Serve: mine(p.signOut)},

		{Route: "GET /sign-up", Serve: p.signUpPage},
		{Route: "POST /sign-up", Operation: "signUp", Serve: p.signUp},
		{Route: "GET /verify", Serve: p.verifyPage},
		{Route: "POST /verify", Operation: "verifyEmail", Serve: p.verify},
		{Route: "GET /reset", Serve: p.resetPage},
		{Route: "POST /reset", Operation: "resetPassword", Serve: p.askReset},
		{Route: "POST /reset/confirm", Operation: "confirmReset", Serve: p.reset},
		{Route: "GET /invitation", Serve: p.invitationPage},
		{Route: "POST /invitation/new", Operation: "acceptInvitationAsNew", Serve: p.acceptAsNew},
		{Route: "POST /invitation", Operation: "acceptInvitation", Serve: mine(p.accept)},
		{Route: "GET /email", Serve: mine(p.emailPage)},
		{Route: "POST /email", Operation: "confirmEmail", Serve: mine(p.confirmEmail)},

		{Route: "GET /device", Serve: mine(p.devicePage)},
		{Route: "POST /device", Operation: "answerDevice", Serve: mine(p.answerDevice)},

		{Route: "GET /account", Serve: mine(p.accountPage)},
		{Route: "POST /account/name", Operation: "renameMe", Serve: mine(p.rename)},
		{Route: "POST /account/password", Operation: "changePassword", Serve: mine(p.changePassword)},
		{Route: "POST /account/email", Operation: "changeEmail", Serve: mine(p.changeEmail)},
		{Route: "POST /account/session", Operation: "endSession", Serve: mine(p.endSession)},
		{Route: "POST /account/workspace", Operation: "workIn", Serve: mine(p.workIn)},
		{Route: "POST /account/workspace/delete", Operation: "deleteWorkspace", Serve: mine(p.deleteWorkspace)},
		{Route: "POST /account/workspace/restore", Operation: "restoreWorkspace", Serve: mine(p.restoreWorkspace)},
		{Route: "POST /account/workspace/leave", Operation: "leaveWorkspace", Serve: mine(p.leave)},
		{Route: "POST /account/factor", Operation: "beginFactor", Serve: mine(p.beginFactor)},
		{Route: "POST /account/factor/confirm", Operation: "confirmFactor", Serve: mine(p.confirmFactor)},
		{Route: "POST /account/factor/off", Operation: "dropFactor", Serve: mine(p.dropFactor)},
		{Route: "POST /account/factor/codes", Operation: "newRecoveryCodes", Serve: mine(p.newCodes)},
		{Route: "POST /account/elsewhere/off", Operation: "unlinkElsewhere", Serve: mine(p.unlink)},
		{Route: "POST /account/delete", Operation: "deleteMe", Serve: mine(p.deleteAccount)},
	}}
}

// signedIn sends who is not to the page where they can, and back afterwards.
func (p *Portal) signedIn(next handler) handler {
	return func(ctx context.Context, v api.Visit) (api.Reply, error) {
		if !v.Who.Session.IsZero() {
			return next(ctx, v)
		}
		back := "/account"
		if v.Request.Method == http.MethodGet {
			back = v.Request.URL.RequestURI()
		}
		return lead(signInFor(back)), &corp.Error{Kind: corp.KindUnauthenticated, Code: "signed_out", Message: "You are not signed in any more.", Hint: "Sign in again."}
	}
}

func (p *Portal) home(_ context.Context, v api.Visit) (api.Reply, error) {
	if v.Who.Session.IsZero() {
		return lead("/sign-in"), nil
	}
	return lead("/account"), nil
}

// problem shows what no page of its own can.
func (p *Portal) problem(v api.Visit, err error) api.Reply {
	return p.show(v, screen{view: "problem", Title: "That did not work"}.with(v, "", err))
}

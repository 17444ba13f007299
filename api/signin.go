package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/identity"
	"github.com/genericcorp/corp/identity/oidc"
	"github.com/genericcorp/corp/identity/token"
	"github.com/genericcorp/corp/postgres/door"
)

// CookieName is what a browser's session is called. Over TLS browsers take it from
// this host alone, for all of it, and never from a page without TLS.
func CookieName(secure bool) string {
	if secure {
		return "__Host-corp_session"
	}
	return "corp_session"
}

// ElsewherePath is where issuers send browsers back to, each with its name behind it.
const ElsewherePath = "/v1/auth/elsewhere/callback"

// attemptCookie keeps what a sign-in elsewhere began with, until it comes back.
const attemptCookie = "_elsewhere"

func (a *API) secure() bool { return a.Edge.Public != nil && a.Edge.Public.Scheme == "https" }

// flows returns what signs people in.
func (a *API) flows() (*identity.Flows, error) {
	if a.Identity == nil {
		return nil, &corp.Error{Kind: corp.KindUnavailable, Code: "no_sign_in", Message: "This server signs nobody in.", Hint: "Use a key."}
	}
	return a.Identity, nil
}

// comesOf is where a request comes from.
func comesOf(ctx context.Context) identity.Caller {
	x := exchangeOf(ctx)
	return identity.Caller{Address: x.address, UserAgent: x.agent}
}

// pause makes of a pause of the flows one that headers say, too.
func pause(err error) error {
	p, ok := errors.AsType[*identity.PauseError](err)
	e, is := errors.AsType[*corp.Error](err)
	if !ok || !is {
		return err
	}
	told := *e
	told.Code, told.Err = codeRateLimited, &overrun{violated: []string{"sign-in"}, retry: p.For}
	return &told
}

// registerRequest mirrors client.RegisterRequest.
type registerRequest struct {
	Email string `json:"email" maxLength:"254"`
	Name  string `json:"name" minLength:"1" maxLength:"80"`
}

// emailRequest mirrors client.EmailRequest.
type emailRequest struct {
	Email string `json:"email" maxLength:"254"`
}

// newcomerRequest mirrors client.NewcomerRequest.
type newcomerRequest struct {
	Token    string           `json:"token" maxLength:"100" doc:"From the link of the mail."`
	Name     string           `json:"name,omitempty" maxLength:"80" doc:"The one given at registration, when left out."`
	Password string           `json:"password" minLength:"8" maxLength:"1024"`
	Session  corp.SessionKind `json:"session,omitempty" enum:"browser,cli" doc:"What signs in; cli when left out."`
}

// loginRequest mirrors client.LoginRequest.
type loginRequest struct {
	Email    string           `json:"email" maxLength:"254"`
	Password string           `json:"password" maxLength:"1024"`
	Code     string           `json:"code,omitempty" maxLength:"40" doc:"Of the second factor, or a recovery code; asked for with the code code_required."`
	Session  corp.SessionKind `json:"session,omitempty" enum:"browser,cli" doc:"What signs in; cli when left out."`
}

// refreshRequest mirrors client.RefreshRequest.
type refreshRequest struct {
	Refresh string `json:"refresh" maxLength:"100"`
}

// passwordReset mirrors client.PasswordReset.
type passwordReset struct {
	Token    string `json:"token" maxLength:"100"`
	Password string `json:"password" minLength:"8" maxLength:"1024"`
	EndKeys  bool   `json:"end_keys,omitempty" doc:"End the person's API keys, too."`
}

// signedInBody mirrors client.SignedIn.
type signedInBody struct {
	UserID    corp.UserID    `json:"user_id"`
	SessionID corp.SessionID `json:"session_id"`
	Access    string         `json:"access,omitempty" doc:"Of a command line: what it sends as its key."`
	ExpiresIn int64          `json:"expires_in,omitempty" doc:"Seconds until the access token ends."`
	Refresh   string         `json:"refresh,omitempty" doc:"What the next access token is had for, once."`
	TookBack  bool           `json:"took_back,omitempty" doc:"The deletion of the account was taken back."`
}

type (
	signUpInput    struct{ Body registerRequest }
	emailInput     struct{ Body emailRequest }
	newcomerInput  struct{ Body newcomerRequest }
	loginInput     struct{ Body loginRequest }
	refreshInput   struct{ Body refreshRequest }
	resetInput     struct{ Body passwordReset }
	signedInOutput struct {
		SetCookie []http.Cookie `header:"Set-Cookie"`
		Body      signedInBody
	}
)

// admitted is the answer to who has signed in.
func (a *API) admitted(in identity.SignedIn, err error) (*signedInOutput, error) {
	if err != nil {
		return nil, pause(err)
	}
	out := &signedInOutput{Body: signedInBody{
		UserID: in.User, SessionID: in.Session, Access: in.Access, ExpiresIn: int64(in.ExpiresIn.Seconds()), Refresh: in.Refresh, TookBack: in.TookBack,
	}}
	if in.Cookie != "" {
		out.SetCookie = []http.Cookie{a.sessionCookie(in.Cookie, int(in.Lasts.Seconds()))}
	}
	return out, nil
}

// sessionCookie is one that no script reads and no other site's form sends. An age
// below zero takes it away.
func (a *API) sessionCookie(value string, age int) http.Cookie {
	return http.Cookie{Name: CookieName(a.secure()), Value: value, Path: "/", MaxAge: age, Secure: a.secure(), HttpOnly: true, SameSite: http.SameSiteLaxMode} //nolint:gosec // G124: a laptop has no TLS
}

// anAddress is what the audit log says that a mail was asked for: whose, it must not
// keep for ever.
const anAddress = "an address"

func (a *API) signUp(ctx context.Context, _ corp.Identity, in *signUpInput) (*nothing, error) {
	f, err := a.flows()
	if err != nil {
		return nil, err
	}
	door.Describe(ctx, anAddress, nil)
	return nil, pause(f.Register(ctx, in.Body.Email, in.Body.Name, comesOf(ctx)))
}

func (a *API) verify(ctx context.Context, _ corp.Identity, in *newcomerInput) (*signedInOutput, error) {
	f, err := a.flows()
	if err != nil {
		return nil, err
	}
	return a.admitted(f.Verify(ctx, in.Body.newcomer(), comesOf(ctx)))
}

func (a *API) acceptAsNew(ctx context.Context, _ corp.Identity, in *newcomerInput) (*signedInOutput, error) {
	f, err := a.flows()
	if err != nil {
		return nil, err
	}
	return a.admitted(f.AcceptAsNew(ctx, in.Body.newcomer(), comesOf(ctx)))
}

func (r newcomerRequest) newcomer() identity.Newcomer {
	return identity.Newcomer{Token: r.Token, Name: r.Name, Password: r.Password, Kind: r.Session}
}

func (a *API) login(ctx context.Context, _ corp.Identity, in *loginInput) (*signedInOutput, error) {
	f, err := a.flows()
	if err != nil {
		return nil, err
	}
	signedIn, err := f.SignIn(ctx, identity.Login{Email: in.Body.Email, Password: in.Body.Password, Code: in.Body.Code, Kind: in.Body.Session}, comesOf(ctx))
	if codeOf(err) == identity.CodeWrong { // known or not: nobody can tell by the time it takes, either
		a.auditRefusal(ctx, "signIn", in.Body.Email)
	}
	return a.admitted(signedIn, err)
}

// auditRefusal records that somebody was not let in. A flood of attempts at some accounts
// hides none at others. What cannot be recorded is logged: the refusal stands.
func (a *API) auditRefusal(ctx context.Context, operation, typed string) {
	x := exchangeOf(ctx)
	email, err := identity.ReadEmail(typed) // as the account has it, to be erased with it
	if err != nil {
		email = typed
	}
	untold, due := a.denials.due("sign-in "+email, time.Now())
	if !due {
		return
	}
	from := comesOf(ctx)
	p := door.NewPending(corp.AuditEvent{
		Actor: corp.ActorUnknown, Operation: operation, Action: public, Result: corp.AuditDenied, RequestID: x.id,
		Personal: &corp.AuditPersonal{Address: from.Address.String(), UserAgent: from.UserAgent, Email: email},
	})
	if untold > 0 {
		door.Describe(door.WithAudit(ctx, p), "", map[string]int{"denials_not_recorded": untold})
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditPatience)
	defer cancel()
	if err := a.logOf(corp.WorkspaceID{}).WritePending(ctx, p); err != nil {
		a.Logger.ErrorContext(ctx, "a refused sign-in was not written into the audit log", "request_id", x.id, "error", err)
	}
}

func (a *API) refresh(ctx context.Context, _ corp.Identity, in *refreshInput) (*body[signedInBody], error) {
	f, err := a.flows()
	if err != nil {
		return nil, err
	}
	r, err := f.Refresh(ctx, in.Body.Refresh)
	return answer(signedInBody{UserID: r.User, SessionID: r.Session, Access: r.Access, ExpiresIn: int64(r.ExpiresIn.Seconds()), Refresh: r.Refresh}, err)
}

func (a *API) reset(ctx context.Context, _ corp.Identity, in *emailInput) (*nothing, error) {
	f, err := a.flows()
	if err != nil {
		return nil, err
	}
	door.Describe(ctx, anAddress, nil)
	return nil, pause(f.Reset(ctx, in.Body.Email, comesOf(ctx)))
}

func (a *API) confirmReset(ctx context.Context, _ corp.Identity, in *resetInput) (*nothing, error) {
	f, err := a.flows()
	if err != nil {
		return nil, err
	}
	_, err = f.ConfirmReset(ctx, in.Body.Token, in.Body.Password, in.Body.EndKeys, comesOf(ctx))
	return nil, pause(err)
}

func (a *API) jwks(context.Context, corp.Identity, *nothing) (*body[token.JWKS], error) {
	f, err := a.flows()
	if err != nil {
		return nil, err
	}
	return &body[token.JWKS]{f.PublicKeys()}, nil
}

// issuerList mirrors client.Issuers.
type issuerList struct {
	Issuers []string `json:"issuers"`
}

// elsewhereBody mirrors client.Elsewhere.
type elsewhereBody struct {
	Address string `json:"address" doc:"Where to send the browser."`
}

type (
	elsewhereInput struct {
		Issuer string `path:"issuer" maxLength:"32"`
	}
	elsewhereOutput struct {
		SetCookie []http.Cookie `header:"Set-Cookie"`
		Body      elsewhereBody
	}
	callbackInput struct {
		Name  string `path:"issuer" maxLength:"32"`
		State string `query:"state" maxLength:"500"`
		Code  string `query:"code" maxLength:"4000"`
		Iss   string `query:"iss" maxLength:"500"`
		Error string `query:"error" maxLength:"500"`
		// What issuers add, and nobody reads.
		Description  string `query:"error_description" maxLength:"4000"`
		URI          string `query:"error_uri" maxLength:"4000"`
		SessionState string `query:"session_state" maxLength:"500"`
		Scope        string `query:"scope" maxLength:"4000"`
		AuthUser     string `query:"authuser" maxLength:"500"`
		Prompt       string `query:"prompt" maxLength:"500"`
		Domain       string `query:"hd" maxLength:"500"`
		Host         string `cookie:"__Host-corp_session_elsewhere" maxLength:"4000"`
		Plain        string `cookie:"corp_session_elsewhere" maxLength:"4000"`
	}
	callbackOutput struct {
		Location  string        `header:"Location"`
		SetCookie []http.Cookie `header:"Set-Cookie"`
	}
)

func (a *API) issuers(context.Context, corp.Identity, *nothing) (*body[issuerList], error) {
	f, err := a.flows()
	if err != nil {
		return nil, err
	}
	return &body[issuerList]{issuerList{f.Issuers()}}, nil
}

// beginElsewhere begins a sign-in elsewhere; for who is signed in, a link to there.
func (a *API) beginElsewhere(ctx context.Context, who corp.Identity, in *elsewhereInput) (*elsewhereOutput, error) {
	f, err := a.flows()
	if err != nil {
		return nil, err
	}
	address, cookie, err := f.BeginElsewhere(ctx, who, in.Issuer)
	if err != nil {
		return nil, err
	}
	return &elsewhereOutput{SetCookie: []http.Cookie{a.attempt(cookie, int(oidc.AttemptLife.Seconds()))}, Body: elsewhereBody{address}}, nil
}

func (a *API) attempt(value string, age int) http.Cookie {
	c := a.sessionCookie(value, age) //nolint:gosec // G124: as a session's
	c.Name += attemptCookie
	return c
}

// finishElsewhere is where issuers send browsers back to.
func (a *API) finishElsewhere(ctx context.Context, _ corp.Identity, in *callbackInput) (*callbackOutput, error) {
	f, err := a.flows()
	if err != nil {
		return nil, err
	}
	cookie := in.Plain
	if a.secure() {
		cookie = in.Host
	}
	signedIn, linked, err := f.FinishElsewhere(ctx, cookie, oidc.Answer{Name: in.Name, State: in.State, Code: in.Code, Issuer: in.Iss, Error: in.Error}, comesOf(ctx))
	if err != nil {
		return nil, pause(err)
	}
	out := &callbackOutput{Location: "/", SetCookie: []http.Cookie{a.attempt("", -1)}}
	if !linked {
		out.SetCookie = append(out.SetCookie, a.sessionCookie(signedIn.Cookie, int(signedIn.Lasts.Seconds())))
	}
	return out, nil
}

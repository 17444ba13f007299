package api

import (
	"context"
	"net/http"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/identity"
)

type (
	sessionInput struct {
		Session corp.SessionID `path:"session"`
	}
	cookieOutput struct {
		SetCookie []http.Cookie `header:"Set-Cookie"`
	}
)

func (a *API) sessions(ctx context.Context, who corp.Identity, _ *nothing) (*body[corp.List[corp.Session]], error) {
	f, err := a.flows()
	if err != nil {
		return nil, err
	}
	return answerItems(f.Sessions(ctx, who))
}

func (a *API) endSession(ctx context.Context, who corp.Identity, in *sessionInput) (*nothing, error) {
	f, err := a.flows()
	if err != nil {
		return nil, err
	}
	return nil, f.EndSession(ctx, who, in.Session)
}

func (a *API) logout(ctx context.Context, who corp.Identity, _ *nothing) (*cookieOutput, error) {
	f, err := a.flows()
	if err != nil {
		return nil, err
	}
	if err := f.SignOut(ctx, who); err != nil {
		return nil, err
	}
	return &cookieOutput{[]http.Cookie{a.sessionCookie("", -1)}}, nil
}

// stepUp takes a proof once more; a browser gets another cookie with it.
func (a *API) stepUp(ctx context.Context, who corp.Identity, in *againInput) (*cookieOutput, error) {
	f, err := a.flows()
	if err != nil {
		return nil, err
	}
	cookie, lasts, err := f.StepUp(ctx, who, in.Body.again(), comesOf(ctx))
	if err != nil {
		return nil, pause(err)
	}
	out := &cookieOutput{}
	if cookie != "" {
		out.SetCookie = []http.Cookie{a.sessionCookie(cookie, int(lasts.Seconds()))}
	}
	return out, nil
}

// factorBody mirrors client.NewFactor.
type factorBody struct {
	Secret string `json:"secret" doc:"As people type it. Shown this once."`
	URL    string `json:"url" doc:"As an app reads it from a picture."`
}

// codeRequest mirrors client.CodeRequest.
type codeRequest struct {
	Code string `json:"code" maxLength:"40"`
}

// recoveryBody mirrors client.RecoveryCodes.
type recoveryBody struct {
	RecoveryCodes []string `json:"recovery_codes" doc:"Each signs in once, without the app. Shown this once."`
}

type codeInput struct{ Body codeRequest }

func (a *API) beginFactor(ctx context.Context, who corp.Identity, in *againInput) (*body[factorBody], error) {
	f, err := a.flows()
	if err != nil {
		return nil, err
	}
	made, err := f.BeginFactor(ctx, who, in.Body.again(), comesOf(ctx))
	return answer(factorBody(made), pause(err))
}

func (a *API) confirmFactor(ctx context.Context, who corp.Identity, in *codeInput) (*body[recoveryBody], error) {
	f, err := a.flows()
	if err != nil {
		return nil, err
	}
	codes, err := f.ConfirmFactor(ctx, who, in.Body.Code, comesOf(ctx))
	return answer(recoveryBody{codes}, pause(err))
}

func (a *API) dropFactor(ctx context.Context, who corp.Identity, _ *nothing) (*nothing, error) {
	f, err := a.flows()
	if err != nil {
		return nil, err
	}
	return nil, f.DropFactor(ctx, who, identity.Again{}, comesOf(ctx))
}

func (a *API) newRecoveryCodes(ctx context.Context, who corp.Identity, in *againInput) (*body[recoveryBody], error) {
	f, err := a.flows()
	if err != nil {
		return nil, err
	}
	codes, err := f.NewRecoveryCodes(ctx, who, in.Body.again(), comesOf(ctx))
	return answer(recoveryBody{codes}, pause(err))
}

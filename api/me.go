package api

import (
	"context"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/identity"
	"github.com/genericcorp/corp/postgres/door"
)

// meBody mirrors client.Me.
type meBody struct {
	User          corp.User         `json:"user"`
	Workspaces    []corp.Membership `json:"workspaces"`
	RecoveryCodes int               `json:"recovery_codes" doc:"How many are left."`
	Elsewhere     []linkedBody      `json:"elsewhere" doc:"Accounts elsewhere that sign this person in."`
}

// linkedBody mirrors client.Linked.
type linkedBody struct {
	Issuer    string    `json:"issuer"`
	Subject   string    `json:"subject"`
	Email     string    `json:"email"`
	CreatedAt time.Time `json:"created_at"`
}

// againRequest mirrors client.Again.
type againRequest struct {
	Password string `json:"password,omitempty" maxLength:"1024" doc:"Once more, when the last proof is older than ten minutes."`
	Code     string `json:"code,omitempty" maxLength:"40" doc:"Of the second factor."`
}

func (r againRequest) again() identity.Again { return identity.Again(r) }

type renameInput struct {
	Body struct {
		Name string `json:"name" minLength:"1" maxLength:"80"`
	}
}

// passwordRequest mirrors client.PasswordRequest.
type passwordRequest struct {
	Password string `json:"password,omitempty" maxLength:"1024" doc:"The present one, when the last proof is older than ten minutes."`
	Code     string `json:"code,omitempty" maxLength:"40" doc:"Of the second factor."`
	New      string `json:"new" minLength:"8" maxLength:"1024"`
	EndKeys  bool   `json:"end_keys,omitempty" doc:"End the person's API keys, too."`
}

// newEmailRequest mirrors client.NewEmailRequest.
type newEmailRequest struct {
	Password string `json:"password,omitempty" maxLength:"1024" doc:"When the last proof is older than ten minutes."`
	Code     string `json:"code,omitempty" maxLength:"40" doc:"Of the second factor."`
	Email    string `json:"email" maxLength:"254"`
}

// tokenRequest mirrors client.TokenRequest.
type tokenRequest struct {
	Token string `json:"token" maxLength:"100" doc:"From the link of the mail."`
}

// deletionBody mirrors client.Deletion.
type deletionBody struct {
	DeleteAfter time.Time `json:"delete_after" doc:"Until then it can be taken back: an account's deletion by signing in, a workspace's by restoring it."`
}

type (
	passwordInput struct{ Body passwordRequest }
	newEmailInput struct{ Body newEmailRequest }
	tokenInput    struct{ Body tokenRequest }
	againInput    struct{ Body againRequest }
	linkedInput   struct {
		Issuer  string `query:"issuer" required:"true" maxLength:"500"`
		Subject string `query:"subject" required:"true" maxLength:"255"`
	}
)

func (a *API) me(ctx context.Context, who corp.Identity, _ *nothing) (*body[meBody], error) {
	f, err := a.flows()
	if err != nil {
		return nil, err
	}
	me, err := f.Me(ctx, who)
	if err != nil {
		return nil, err
	}
	out := meBody{User: me.User, Workspaces: me.Workspaces, RecoveryCodes: me.RecoveryCodes, Elsewhere: []linkedBody{}}
	for _, i := range me.Elsewhere {
		out.Elsewhere = append(out.Elsewhere, linkedBody(i))
	}
	return &body[meBody]{out}, nil
}

func (a *API) rename(ctx context.Context, who corp.Identity, in *renameInput) (*body[corp.User], error) {
	f, err := a.flows()
	if err != nil {
		return nil, err
	}
	return answer(f.Rename(ctx, who, in.Body.Name))
}

func (a *API) deleteMe(ctx context.Context, who corp.Identity, _ *nothing) (*body[deletionBody], error) {
	f, err := a.flows()
	if err != nil {
		return nil, err
	}
	at, err := f.Delete(ctx, who, identity.Again{}, comesOf(ctx))
	return answer(deletionBody{at}, err)
}

func (a *API) changePassword(ctx context.Context, who corp.Identity, in *passwordInput) (*signedInOutput, error) {
	f, err := a.flows()
	if err != nil {
		return nil, err
	}
	return a.admitted(f.ChangePassword(ctx, who, identity.Again{Password: in.Body.Password, Code: in.Body.Code}, in.Body.New, in.Body.EndKeys, comesOf(ctx)))
}

func (a *API) changeEmail(ctx context.Context, who corp.Identity, in *newEmailInput) (*nothing, error) {
	f, err := a.flows()
	if err != nil {
		return nil, err
	}
	return nil, pause(f.ChangeEmail(ctx, who, identity.Again{Password: in.Body.Password, Code: in.Body.Code}, in.Body.Email, comesOf(ctx)))
}

func (a *API) confirmEmail(ctx context.Context, who corp.Identity, in *tokenInput) (*nothing, error) {
	f, err := a.flows()
	if err != nil {
		return nil, err
	}
	return nil, f.ConfirmEmail(ctx, who, in.Body.Token, comesOf(ctx))
}

func (a *API) unlink(ctx context.Context, who corp.Identity, in *linkedInput) (*nothing, error) {
	f, err := a.flows()
	if err != nil {
		return nil, err
	}
	return nil, f.UnlinkElsewhere(ctx, who, identity.Again{}, in.Issuer, in.Subject, comesOf(ctx))
}

// workInRequest mirrors client.WorkInRequest.
type workInRequest struct {
	WorkspaceID corp.WorkspaceID `json:"workspace_id"`
}

// handOverRequest mirrors client.HandOverRequest.
type handOverRequest struct {
	UserID corp.UserID `json:"user_id" doc:"The member who is to own it."`
}

// accessBody mirrors client.Access.
type accessBody struct {
	Access    string `json:"access,omitempty" doc:"Of a command line: the one from before is worth nothing now."`
	ExpiresIn int64  `json:"expires_in,omitempty" doc:"Seconds."`
}

type (
	workInInput      struct{ Body workInRequest }
	myWorkspaceInput struct {
		Workspace corp.WorkspaceID `path:"workspace"`
	}
	handOverInput struct {
		Workspace corp.WorkspaceID `path:"workspace"`
		Body      handOverRequest
	}
)

func (a *API) workIn(ctx context.Context, who corp.Identity, in *workInInput) (*body[accessBody], error) {
	f, err := a.flows()
	if err != nil {
		return nil, err
	}
	access, expiresIn, err := f.WorkIn(ctx, who, in.Body.WorkspaceID)
	return answer(accessBody{access, int64(expiresIn.Seconds())}, err)
}

func (a *API) leaveWorkspace(ctx context.Context, who corp.Identity, in *myWorkspaceInput) (*nothing, error) {
	f, err := a.flows()
	if err != nil {
		return nil, err
	}
	return nil, f.Leave(ctx, who, in.Workspace)
}

func (a *API) handOverWorkspace(ctx context.Context, who corp.Identity, in *handOverInput) (*nothing, error) {
	f, err := a.flows()
	if err != nil {
		return nil, err
	}
	door.Describe(ctx, in.Body.UserID.String(), nil)
	return nil, f.HandOver(ctx, who, identity.Again{}, in.Workspace, in.Body.UserID, comesOf(ctx))
}

func (a *API) deleteWorkspace(ctx context.Context, who corp.Identity, in *myWorkspaceInput) (*body[deletionBody], error) {
	f, err := a.flows()
	if err != nil {
		return nil, err
	}
	at, err := f.DeleteWorkspace(ctx, who, identity.Again{}, in.Workspace, comesOf(ctx))
	return answer(deletionBody{at}, err)
}

func (a *API) restoreWorkspace(ctx context.Context, who corp.Identity, in *myWorkspaceInput) (*nothing, error) {
	f, err := a.flows()
	if err != nil {
		return nil, err
	}
	return nil, f.Restore(ctx, who, in.Workspace)
}

func (a *API) acceptInvitation(ctx context.Context, who corp.Identity, in *tokenInput) (*body[corp.Membership], error) {
	f, err := a.flows()
	if err != nil {
		return nil, err
	}
	return answer(f.Accept(ctx, who, in.Body.Token))
}

package api

import (
	"context"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/identity"
	"github.com/genericcorp/corp/postgres/people"
)

// invitationLasts is how long somebody may take to accept.
const invitationLasts = 7 * 24 * time.Hour

type memberInput struct {
	User corp.UserID `path:"user"`
}

type updateMemberInput struct {
	User corp.UserID `path:"user"`
	Body struct {
		Role corp.Role `json:"role" enum:"viewer,member,admin,owner"`
	}
}

func (a *API) members(ctx context.Context, who corp.Identity, in *PageInput) (*body[corp.List[corp.Member]], error) {
	return answerList(a.People.In(who.Workspace).Members(ctx, in.page()))
}

func (a *API) updateMember(ctx context.Context, who corp.Identity, in *updateMemberInput) (*body[corp.Member], error) {
	if err := mayGive(who, in.Body.Role); err != nil {
		return nil, err
	}
	return answer(a.People.In(who.Workspace).SetRole(ctx, who.Actor, who.Role, in.User, in.Body.Role))
}

func (a *API) removeMember(ctx context.Context, who corp.Identity, in *memberInput) (*nothing, error) {
	return nil, a.People.In(who.Workspace).RemoveMember(ctx, who.Actor, who.Role, in.User)
}

// invitationRequest mirrors client.InvitationRequest.
type invitationRequest struct {
	Email string    `json:"email" maxLength:"254" doc:"Where the invitation is sent; only its owner can accept it."`
	Role  corp.Role `json:"role" enum:"viewer,member,admin,owner"`
}

type createInvitationInput struct{ Body invitationRequest }

type invitationInput struct {
	Invitation corp.InvitationID `path:"invitation"`
}

// Letter is an invitation on its way to whom it is for. Secret is for that mail alone.
type Letter struct {
	Invitation corp.Invitation
	Workspace  corp.Workspace
	By         string // who invites, for people
	Secret     string
}

func (a *API) invitations(ctx context.Context, who corp.Identity, in *PageInput) (*body[corp.List[corp.Invitation]], error) {
	return answerList(a.People.In(who.Workspace).Invitations(ctx, in.page()))
}

// mayGive refuses a role above one's own. A key that is narrowed gives none that
// manages people: whoever has it could do all that the key may not.
func mayGive(who corp.Identity, role corp.Role) error {
	switch {
	case !role.AtMost(who.Role):
		return beyond("role", "Nobody gives a higher role than their own.", "Give "+string(who.Role)+" or less.")
	case who.Scopes != nil && role.May(corp.MemberWrite):
		return beyond("role", "A narrowed key gives nobody a role that manages people.", "Give "+string(corp.RoleMember)+" or less, or sign in.")
	}
	return nil
}

func (a *API) invitingAs(who corp.Identity) people.Workspace {
	return a.People.In(who.Workspace).For(who.Via, func(role corp.Role) bool { return mayGive(who, role) == nil })
}

func (a *API) createInvitation(ctx context.Context, who corp.Identity, in *createInvitationInput) (*body[corp.Invitation], error) {
	if a.SendInvitation == nil {
		return nil, &corp.Error{Kind: corp.KindUnavailable, Code: "no_mail", Message: "This server sends no mail, so nobody would hear of an invitation.", Hint: "Ask another server of the installation."}
	}
	email, err := identity.ReadEmail(in.Body.Email)
	if err != nil {
		return nil, err
	}
	if err := mayGive(who, in.Body.Role); err != nil {
		return nil, err
	}
	ws, err := a.DB.In(who.Workspace).Workspace(ctx)
	if err != nil {
		return nil, err
	}
	if err := a.Identity.AskInvitation(ctx, who.Workspace, email); err != nil {
		return nil, pause(err)
	}
	secret := corp.NewSecret(corp.KeyPrefixLink)
	made, err := a.invitingAs(who).Invite(ctx, who.Actor, email, in.Body.Role, a.Ring.Hash(secret), invitationLasts)
	if err != nil {
		return nil, err
	}
	if err := a.SendInvitation(ctx, Letter{Invitation: made, Workspace: ws, By: who.Name, Secret: secret}); err != nil {
		return nil, err
	}
	return &body[corp.Invitation]{made}, nil
}

func (a *API) revokeInvitation(ctx context.Context, who corp.Identity, in *invitationInput) (*body[corp.Invitation], error) {
	return answer(a.invitingAs(who).RevokeInvitation(ctx, who.Actor, in.Invitation))
}

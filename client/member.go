package client

import (
	"context"
	"net/http"

	"github.com/genericcorp/corp"
)

// InvitationRequest asks somebody into the workspace.
type InvitationRequest struct {
	Email string    `json:"email"`
	Role  corp.Role `json:"role"`
}

// Members lists the people of the workspace, the newest first.
func (c *Client) Members(ctx context.Context, page corp.Page) (corp.List[corp.Member], error) {
	return fetch[corp.List[corp.Member]](ctx, c, request{method: http.MethodGet, path: "/v1/members", query: pageQuery(page)})
}

// UpdateMember gives a member another role; nobody touches one above their own.
func (c *Client) UpdateMember(ctx context.Context, id corp.UserID, role corp.Role) (corp.Member, error) {
	return fetch[corp.Member](ctx, c, request{method: http.MethodPatch, path: "/v1/members" + segment(id.String()), body: map[string]corp.Role{"role": role}, repeatable: true})
}

// RemoveMember takes somebody out of the workspace, and their keys with them.
func (c *Client) RemoveMember(ctx context.Context, id corp.UserID) error {
	return c.call(ctx, request{method: http.MethodDelete, path: "/v1/members" + segment(id.String())}, nil)
}

// Invitations lists the open invitations, the newest first.
func (c *Client) Invitations(ctx context.Context, page corp.Page) (corp.List[corp.Invitation], error) {
	return fetch[corp.List[corp.Invitation]](ctx, c, request{method: http.MethodGet, path: "/v1/invitations", query: pageQuery(page)})
}

// Invite sends somebody a mail with which they can become a member.
func (c *Client) Invite(ctx context.Context, ask InvitationRequest) (corp.Invitation, error) {
	return fetch[corp.Invitation](ctx, c, request{method: http.MethodPost, path: "/v1/invitations", body: ask})
}

// RevokeInvitation takes an invitation back.
func (c *Client) RevokeInvitation(ctx context.Context, id corp.InvitationID) (corp.Invitation, error) {
	return fetch[corp.Invitation](ctx, c, request{method: http.MethodDelete, path: "/v1/invitations" + segment(id.String())})
}

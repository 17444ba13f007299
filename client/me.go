package client

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/genericcorp/corp"
)

// Me is a person as they see themselves.
type Me struct {
	User          corp.User         `json:"user"`
	Workspaces    []corp.Membership `json:"workspaces"`
	RecoveryCodes int               `json:"recovery_codes"` // left
	Elsewhere     []Linked          `json:"elsewhere"`
}

// Linked is an account elsewhere that signs the person in.
type Linked struct {
	Issuer    string    `json:"issuer"`
	Subject   string    `json:"subject"`
	Email     string    `json:"email"`
	CreatedAt time.Time `json:"created_at"`
}

// Again is a proof given once more, when the last is older than ten minutes.
type Again struct {
	Password string `json:"password,omitempty"`
	Code     string `json:"code,omitempty"`
}

// PasswordRequest changes the password.
type PasswordRequest struct {
	Password string `json:"password,omitempty"` // the present one, as in Again
	Code     string `json:"code,omitempty"`
	New      string `json:"new"`
	EndKeys  bool   `json:"end_keys,omitempty"`
}

// NewEmailRequest asks for another address.
type NewEmailRequest struct {
	Password string `json:"password,omitempty"`
	Code     string `json:"code,omitempty"`
	Email    string `json:"email"`
}

// TokenRequest is the token from the link of a mail.
type TokenRequest struct {
	Token string `json:"token"`
}

// Deletion says until when signing in takes a deletion back.
type Deletion struct {
	DeleteAfter time.Time `json:"delete_after"`
}

// WorkInRequest names the workspace to work in.
type WorkInRequest struct {
	WorkspaceID corp.WorkspaceID `json:"workspace_id"`
}

// Access is a fresh access token.
type Access struct {
	Access    string `json:"access,omitempty"`
	ExpiresIn int64  `json:"expires_in,omitempty"` // seconds
}

// NewFactor is a second factor that is to be confirmed; shown this once.
type NewFactor struct {
	Secret string `json:"secret"`
	URL    string `json:"url"`
}

// CodeRequest is a one-time code, or that of a device.
type CodeRequest struct {
	Code string `json:"code"`
}

// RecoveryCodes sign in once each, without the app; shown this once.
type RecoveryCodes struct {
	RecoveryCodes []string `json:"recovery_codes"`
}

// DeviceAnswer lets a device in, or turns it away.
type DeviceAnswer struct {
	Code        string           `json:"code"`
	WorkspaceID corp.WorkspaceID `json:"workspace_id,omitzero"`
	Deny        bool             `json:"deny,omitempty"`
}

// Waiting is where a device asked from.
type Waiting struct {
	Address   string `json:"address"`
	UserAgent string `json:"user_agent"`
}

// MyWorkspaceRequest makes a workspace of one's own.
type MyWorkspaceRequest struct {
	Slug string `json:"slug"`
	Name string `json:"name,omitempty"`
}

// Me returns who is signed in.
func (c *Client) Me(ctx context.Context) (Me, error) {
	return fetch[Me](ctx, c, request{method: http.MethodGet, path: "/v1/me"})
}

// Rename changes one's name.
func (c *Client) Rename(ctx context.Context, name string) (corp.User, error) {
	return fetch[corp.User](ctx, c, request{method: http.MethodPatch, path: "/v1/me", body: map[string]string{"name": name}})
}

// DeleteMe asks for the deletion of one's account. It needs a fresh proof: StepUp.
func (c *Client) DeleteMe(ctx context.Context) (Deletion, error) {
	return fetch[Deletion](ctx, c, request{method: http.MethodDelete, path: "/v1/me"})
}

// ChangePassword changes one's password and ends all sessions. What it returns follows
// the one that asked.
func (c *Client) ChangePassword(ctx context.Context, ask PasswordRequest) (SignedIn, error) {
	return fetch[SignedIn](ctx, c, request{method: http.MethodPost, path: "/v1/me/password", body: ask})
}

// ChangeEmail has a mail sent to another address, to confirm it.
func (c *Client) ChangeEmail(ctx context.Context, ask NewEmailRequest) error {
	return c.call(ctx, request{method: http.MethodPost, path: "/v1/me/email", body: ask}, nil)
}

// ConfirmEmail takes the address that a mail's link proves.
func (c *Client) ConfirmEmail(ctx context.Context, token string) error {
	return c.call(ctx, request{method: http.MethodPost, path: "/v1/me/email/confirm", body: TokenRequest{token}}, nil)
}

// Sessions lists where one is signed in, the newest first.
func (c *Client) Sessions(ctx context.Context) (corp.List[corp.Session], error) {
	return fetch[corp.List[corp.Session]](ctx, c, request{method: http.MethodGet, path: "/v1/me/sessions"})
}

// EndSession signs one out elsewhere.
func (c *Client) EndSession(ctx context.Context, id corp.SessionID) error {
	return c.call(ctx, request{method: http.MethodDelete, path: "/v1/me/sessions" + segment(id.String())}, nil)
}

// BeginFactor draws a second factor, to be confirmed with a code of it.
func (c *Client) BeginFactor(ctx context.Context, again Again) (NewFactor, error) {
	return fetch[NewFactor](ctx, c, request{method: http.MethodPost, path: "/v1/me/totp", body: again})
}

// ConfirmFactor puts it in force.
func (c *Client) ConfirmFactor(ctx context.Context, code string) (RecoveryCodes, error) {
	return fetch[RecoveryCodes](ctx, c, request{method: http.MethodPost, path: "/v1/me/totp/confirm", body: CodeRequest{code}})
}

// DropFactor removes it. It needs a fresh proof: StepUp.
func (c *Client) DropFactor(ctx context.Context) error {
	return c.call(ctx, request{method: http.MethodDelete, path: "/v1/me/totp"}, nil)
}

// NewRecoveryCodes replaces one's recovery codes.
func (c *Client) NewRecoveryCodes(ctx context.Context, again Again) (RecoveryCodes, error) {
	return fetch[RecoveryCodes](ctx, c, request{method: http.MethodPost, path: "/v1/me/recovery-codes", body: again})
}

// WorkIn switches the session to another workspace of one's own. The access token
// from before is worth nothing then.
func (c *Client) WorkIn(ctx context.Context, ws corp.WorkspaceID) (Access, error) {
	return fetch[Access](ctx, c, request{method: http.MethodPut, path: "/v1/me/workspace", body: WorkInRequest{ws}})
}

// FoundWorkspace makes a workspace that one owns.
func (c *Client) FoundWorkspace(ctx context.Context, ask MyWorkspaceRequest) (corp.Workspace, error) {
	return fetch[corp.Workspace](ctx, c, request{method: http.MethodPost, path: "/v1/me/workspaces", body: ask})
}

// LeaveWorkspace takes one out of a workspace.
func (c *Client) LeaveWorkspace(ctx context.Context, ws corp.WorkspaceID) error {
	return c.call(ctx, request{method: http.MethodPost, path: "/v1/me/workspaces" + segment(ws.String()) + "/leave"}, nil)
}

// HandOverRequest names who is to own a workspace.
type HandOverRequest struct {
	UserID corp.UserID `json:"user_id"`
}

// HandOverWorkspace makes another member the owner of a workspace in one's stead. It
// needs a proof of who one is within the last ten minutes: StepUp.
func (c *Client) HandOverWorkspace(ctx context.Context, ws corp.WorkspaceID, to corp.UserID) error {
	return c.call(ctx, request{method: http.MethodPost, path: "/v1/me/workspaces" + segment(ws.String()) + "/hand-over", body: HandOverRequest{to}}, nil)
}

// DeleteWorkspace puts a workspace that one owns out of use, and has it deleted in
// seven days. It needs a proof as HandOverWorkspace does.
func (c *Client) DeleteWorkspace(ctx context.Context, ws corp.WorkspaceID) (Deletion, error) {
	return fetch[Deletion](ctx, c, request{method: http.MethodDelete, path: "/v1/me/workspaces" + segment(ws.String())})
}

// RestoreWorkspace takes the deletion of a workspace back.
func (c *Client) RestoreWorkspace(ctx context.Context, ws corp.WorkspaceID) error {
	return c.call(ctx, request{method: http.MethodPost, path: "/v1/me/workspaces" + segment(ws.String()) + "/restore"}, nil)
}

// AcceptInvitation joins the workspace of an invitation's mail.
func (c *Client) AcceptInvitation(ctx context.Context, token string) (corp.Membership, error) {
	return fetch[corp.Membership](ctx, c, request{method: http.MethodPost, path: "/v1/me/invitation", body: TokenRequest{token}})
}

// WaitingDevice shows where a code was asked for.
func (c *Client) WaitingDevice(ctx context.Context, code string) (Waiting, error) {
	return fetch[Waiting](ctx, c, request{method: http.MethodPost, path: "/v1/me/device/waiting", body: CodeRequest{code}})
}

// AnswerDevice lets a device in, or turns it away.
func (c *Client) AnswerDevice(ctx context.Context, answer DeviceAnswer) error {
	return c.call(ctx, request{method: http.MethodPost, path: "/v1/me/device", body: answer}, nil)
}

// LinkElsewhere returns where to send the browser that is signed in, to link an
// account there.
func (c *Client) LinkElsewhere(ctx context.Context, issuer string) (Elsewhere, error) {
	return fetch[Elsewhere](ctx, c, request{method: http.MethodPost, path: "/v1/me/elsewhere" + segment(issuer)})
}

// UnlinkElsewhere takes an account elsewhere away. It needs a fresh proof: StepUp.
func (c *Client) UnlinkElsewhere(ctx context.Context, issuer, subject string) error {
	return c.call(ctx, request{method: http.MethodDelete, path: "/v1/me/elsewhere", query: url.Values{"issuer": {issuer}, "subject": {subject}}}, nil)
}

package client

import (
	"context"
	"net/http"

	"github.com/genericcorp/corp"
)

// RegisterRequest asks for the mail that makes an account.
type RegisterRequest struct {
	Email string `json:"email"`
	Name  string `json:"name"`
}

// EmailRequest names an address.
type EmailRequest struct {
	Email string `json:"email"`
}

// NewcomerRequest makes an account with the link of a mail.
type NewcomerRequest struct {
	Token    string           `json:"token"`
	Name     string           `json:"name,omitempty"` // the one given at registration, when empty
	Password string           `json:"password"`
	Session  corp.SessionKind `json:"session,omitempty"`
}

// LoginRequest signs somebody in.
type LoginRequest struct {
	Email    string           `json:"email"`
	Password string           `json:"password"`
	Code     string           `json:"code,omitempty"` // asked for with the error code code_required
	Session  corp.SessionKind `json:"session,omitempty"`
}

// RefreshRequest exchanges a refresh credential.
type RefreshRequest struct {
	Refresh string `json:"refresh"`
}

// PasswordReset sets a password with the link of a mail.
type PasswordReset struct {
	Token    string `json:"token"`
	Password string `json:"password"`
	EndKeys  bool   `json:"end_keys,omitempty"` // of the person, too
}

// SignedIn is what a command line has of a session: the access token is its key.
type SignedIn struct {
	UserID    corp.UserID    `json:"user_id"`
	SessionID corp.SessionID `json:"session_id"`
	Access    string         `json:"access,omitempty"`
	ExpiresIn int64          `json:"expires_in,omitempty"` // seconds
	Refresh   string         `json:"refresh,omitempty"`
	TookBack  bool           `json:"took_back,omitempty"` // the deletion of the account
}

// Issuers lists where people may sign in elsewhere.
type Issuers struct {
	Issuers []string `json:"issuers"`
}

// Elsewhere is where to send a browser.
type Elsewhere struct {
	Address string `json:"address"`
}

// NewDevice is a command line that waits to be let in.
type NewDevice struct {
	Device    string `json:"device"`
	Code      string `json:"code"`
	Page      string `json:"page"`
	ExpiresIn int64  `json:"expires_in"` // seconds
	Interval  int64  `json:"interval"`   // seconds
}

// DeviceRequest asks whether a device was let in.
type DeviceRequest struct {
	Device string `json:"device"`
}

// SignUp has a mail sent that makes an account, or says that there is one.
func (c *Client) SignUp(ctx context.Context, ask RegisterRequest) error {
	return c.call(ctx, request{method: http.MethodPost, path: "/v1/auth/register", body: ask}, nil)
}

// Verify makes the account of a registration's mail, and signs in.
func (c *Client) Verify(ctx context.Context, ask NewcomerRequest) (SignedIn, error) {
	return fetch[SignedIn](ctx, c, request{method: http.MethodPost, path: "/v1/auth/verify", body: ask})
}

// AcceptAsNew makes the account of an invitation's mail, and signs in.
func (c *Client) AcceptAsNew(ctx context.Context, ask NewcomerRequest) (SignedIn, error) {
	return fetch[SignedIn](ctx, c, request{method: http.MethodPost, path: "/v1/auth/invitation", body: ask})
}

// SignIn signs in with a password.
func (c *Client) SignIn(ctx context.Context, ask LoginRequest) (SignedIn, error) {
	return fetch[SignedIn](ctx, c, request{method: http.MethodPost, path: "/v1/auth/login", body: ask})
}

// Refresh exchanges a refresh credential for an access token and the next one. It
// may be repeated within ten seconds.
func (c *Client) Refresh(ctx context.Context, refresh string) (SignedIn, error) {
	return fetch[SignedIn](ctx, c, request{method: http.MethodPost, path: "/v1/auth/refresh", body: RefreshRequest{refresh}, repeatable: true})
}

// ResetPassword has a mail sent that allows a new password.
func (c *Client) ResetPassword(ctx context.Context, email string) error {
	return c.call(ctx, request{method: http.MethodPost, path: "/v1/auth/reset", body: EmailRequest{email}}, nil)
}

// ConfirmReset sets a new password with the link of a mail.
func (c *Client) ConfirmReset(ctx context.Context, ask PasswordReset) error {
	return c.call(ctx, request{method: http.MethodPost, path: "/v1/auth/reset/confirm", body: ask}, nil)
}

// BeginDevice begins the sign-in of a command line in a browser.
func (c *Client) BeginDevice(ctx context.Context) (NewDevice, error) {
	return fetch[NewDevice](ctx, c, request{method: http.MethodPost, path: "/v1/auth/device"})
}

// TakeDevice signs in when the person has said yes; until then it returns a conflict
// whose code is that of RFC 8628.
func (c *Client) TakeDevice(ctx context.Context, device string) (SignedIn, error) {
	return fetch[SignedIn](ctx, c, request{method: http.MethodPost, path: "/v1/auth/device/token", body: DeviceRequest{device}})
}

// Issuers lists where people may sign in elsewhere.
func (c *Client) Issuers(ctx context.Context) (Issuers, error) {
	return fetch[Issuers](ctx, c, request{method: http.MethodGet, path: "/v1/auth/elsewhere"})
}

// SignOut ends the session that the client signs in with.
func (c *Client) SignOut(ctx context.Context) error {
	return c.call(ctx, request{method: http.MethodPost, path: "/v1/auth/logout"}, nil)
}

// StepUp gives a proof once more; it counts for ten minutes.
func (c *Client) StepUp(ctx context.Context, again Again) error {
	return c.call(ctx, request{method: http.MethodPost, path: "/v1/auth/step-up", body: again}, nil)
}

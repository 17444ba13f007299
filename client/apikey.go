package client

import (
	"context"
	"net/http"
	"time"

	"github.com/genericcorp/corp"
)

// APIKeyRequest asks for a key of the workspace. Nobody makes a key with a
// higher role than their own; an admin may make a runner's.
type APIKeyRequest struct {
	Name      string        `json:"name"`
	Role      corp.Role     `json:"role"`
	Service   bool          `json:"service,omitempty"`    // the workspace's own, and nobody's
	Scopes    []corp.Action `json:"scopes,omitempty"`     // nil: all that the role may
	Addresses []string      `json:"addresses,omitempty"`  // networks; nil: anywhere
	ExpiresAt *time.Time    `json:"expires_at,omitempty"` // nil means never
}

// NewAPIKey is a key as it was made. Key is shown this once.
type NewAPIKey struct {
	APIKey corp.APIKey `json:"api_key"`
	Key    string      `json:"key"`
}

// APIKeys lists the workspace's keys, newest first, revoked ones included.
func (c *Client) APIKeys(ctx context.Context, page corp.Page) (corp.List[corp.APIKey], error) {
	return fetch[corp.List[corp.APIKey]](ctx, c, request{method: http.MethodGet, path: "/v1/keys", query: pageQuery(page)})
}

// CreateAPIKey makes a key.
func (c *Client) CreateAPIKey(ctx context.Context, ask APIKeyRequest) (NewAPIKey, error) {
	return fetch[NewAPIKey](ctx, c, request{method: http.MethodPost, path: "/v1/keys", body: ask})
}

// RotateAPIKey makes a key like another one, which goes on for the overlap, at most 30
// days.
func (c *Client) RotateAPIKey(ctx context.Context, id corp.APIKeyID, overlap time.Duration) (NewAPIKey, error) {
	return fetch[NewAPIKey](ctx, c, request{method: http.MethodPost, path: "/v1/keys" + segment(id.String()) + "/rotate", body: map[string]int{"overlap_seconds": int(overlap.Seconds())}})
}

// RevokeAPIKey ends a key; every server refuses it within 2 seconds.
func (c *Client) RevokeAPIKey(ctx context.Context, id corp.APIKeyID) (corp.APIKey, error) {
	return fetch[corp.APIKey](ctx, c, request{method: http.MethodDelete, path: "/v1/keys" + segment(id.String())})
}

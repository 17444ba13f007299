package client

import (
	"context"
	"net/http"

	"github.com/genericcorp/corp"
)

// Whoami is who the server takes the caller for.
type Whoami struct {
	WorkspaceID corp.WorkspaceID `json:"workspace_id,omitzero"` // zero for the operator and for pool runners
	Actor       corp.Actor       `json:"actor"`
	Role        corp.Role        `json:"role"`
	Name        string           `json:"name"`             // of the key
	Runner      string           `json:"runner,omitempty"` // pool or workspace, for a runner's key
	Version     string           `json:"version"`          // of the server
}

// WorkspaceRequest asks for a new workspace.
type WorkspaceRequest struct {
	Slug string `json:"slug"`           // a-z, 0-9 and dashes, 3 to 40
	Name string `json:"name,omitempty"` // for people; the slug when empty
	Plan string `json:"plan,omitempty"` // the installation's default when empty
}

// NewWorkspace is a workspace as it was made, with its first key. The key is
// shown this once.
type NewWorkspace struct {
	Workspace corp.Workspace `json:"workspace"`
	APIKey    corp.APIKey    `json:"api_key"`
	Key       string         `json:"key"`
}

// Readiness says which parts of the server work.
type Readiness struct {
	Ready bool            `json:"ready"`
	Parts []ReadinessPart `json:"parts"`
}

// ReadinessPart is one part of the server.
type ReadinessPart struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
}

// Whoami returns who the server takes the caller for.
func (c *Client) Whoami(ctx context.Context) (Whoami, error) {
	return fetch[Whoami](ctx, c, request{method: http.MethodGet, path: "/v1/whoami"})
}

// Health returns nil while the server's process lives.
func (c *Client) Health(ctx context.Context) error {
	return c.call(ctx, request{method: http.MethodGet, path: "/health"}, nil)
}

// Ready says whether the server can do its work. It is not an error that it cannot.
func (c *Client) Ready(ctx context.Context) (Readiness, error) {
	return fetch[Readiness](ctx, c, request{method: http.MethodGet, path: "/ready", expect: http.StatusServiceUnavailable})
}

// Workspace returns the key's own workspace.
func (c *Client) Workspace(ctx context.Context) (corp.Workspace, error) {
	return fetch[corp.Workspace](ctx, c, request{method: http.MethodGet, path: "/v1/workspace"})
}

// UpdateWorkspace changes the key's own workspace.
func (c *Client) UpdateWorkspace(ctx context.Context, update corp.WorkspaceUpdate) (corp.Workspace, error) {
	return fetch[corp.Workspace](ctx, c, request{method: http.MethodPatch, path: "/v1/workspace", body: update, repeatable: true})
}

// Limits returns the plan of the key's own workspace, and what is left of it.
func (c *Client) Limits(ctx context.Context) (corp.Limits, error) {
	return fetch[corp.Limits](ctx, c, request{method: http.MethodGet, path: "/v1/limits"})
}

// Workspaces lists the installation's workspaces, for the operator.
func (c *Client) Workspaces(ctx context.Context, page corp.Page) (corp.List[corp.Workspace], error) {
	return fetch[corp.List[corp.Workspace]](ctx, c, request{method: http.MethodGet, path: "/v1/workspaces", query: pageQuery(page)})
}

// CreateWorkspace makes a workspace and its first owner key, for the operator.
func (c *Client) CreateWorkspace(ctx context.Context, ask WorkspaceRequest) (NewWorkspace, error) {
	return fetch[NewWorkspace](ctx, c, request{method: http.MethodPost, path: "/v1/workspaces", body: ask})
}

package client

import (
	"context"
	"net/http"

	"github.com/genericcorp/corp"
)

// ProviderRequest asks for a provider, or for a change of one. Key is the
// vendor's key; an empty key leaves the stored one as it is. NoKey says that the
// vendor takes none.
type ProviderRequest struct {
	corp.ProviderSpec
	Key   string `json:"key,omitempty"`
	NoKey bool   `json:"no_key,omitempty"`
}

// Providers lists the workspace's providers and the installation's.
func (c *Client) Providers(ctx context.Context, page corp.Page) (corp.List[corp.Provider], error) {
	return fetch[corp.List[corp.Provider]](ctx, c, request{method: http.MethodGet, path: "/v1/providers", query: pageQuery(page)})
}

// CreateProvider makes a provider; a taken name is a conflict.
func (c *Client) CreateProvider(ctx context.Context, ask ProviderRequest) (corp.Provider, error) {
	return fetch[corp.Provider](ctx, c, request{method: http.MethodPost, path: "/v1/providers", body: ask})
}

// UpdateProvider changes a provider of the workspace.
func (c *Client) UpdateProvider(ctx context.Context, id corp.ProviderID, ask ProviderRequest) (corp.Provider, error) {
	return fetch[corp.Provider](ctx, c, request{method: http.MethodPut, path: "/v1/providers" + segment(id.String()), body: ask})
}

// ArchiveProvider takes a provider out of use and forgets its key.
func (c *Client) ArchiveProvider(ctx context.Context, id corp.ProviderID) (corp.Provider, error) {
	return fetch[corp.Provider](ctx, c, request{method: http.MethodDelete, path: "/v1/providers" + segment(id.String())})
}

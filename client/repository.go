package client

import (
	"context"
	"net/http"

	"github.com/genericcorp/corp"
)

// RepositoryRequest asks for a repository; the credential may be nil.
type RepositoryRequest struct {
	corp.RepositorySpec
	Credential *corp.GitCredential `json:"credential,omitempty"`
}

// Repositories lists the workspace's repositories, newest first.
func (c *Client) Repositories(ctx context.Context, page corp.Page) (corp.List[corp.Repository], error) {
	return fetch[corp.List[corp.Repository]](ctx, c, request{method: http.MethodGet, path: "/v1/repositories", query: pageQuery(page)})
}

// Repository returns one repository. Its credential is never shown.
func (c *Client) Repository(ctx context.Context, id corp.RepositoryID) (corp.Repository, error) {
	return fetch[corp.Repository](ctx, c, request{method: http.MethodGet, path: "/v1/repositories" + segment(id.String())})
}

// CreateRepository makes a repository; a taken name is a conflict.
func (c *Client) CreateRepository(ctx context.Context, ask RepositoryRequest) (corp.Repository, error) {
	return fetch[corp.Repository](ctx, c, request{method: http.MethodPost, path: "/v1/repositories", body: ask})
}

// LimitRepository changes how many runs on a repository may be leased at a time; 0
// is no limit.
func (c *Client) LimitRepository(ctx context.Context, id corp.RepositoryID, concurrency int) (corp.Repository, error) {
	return fetch[corp.Repository](ctx, c, request{method: http.MethodPatch, path: "/v1/repositories" + segment(id.String()), body: LimitRequest{concurrency}, repeatable: true})
}

// ArchiveRepository takes a repository out of use.
func (c *Client) ArchiveRepository(ctx context.Context, id corp.RepositoryID) (corp.Repository, error) {
	return fetch[corp.Repository](ctx, c, request{method: http.MethodDelete, path: "/v1/repositories" + segment(id.String())})
}

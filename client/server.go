package client

import (
	"context"
	"net/http"

	"github.com/genericcorp/corp"
)

// Servers lists the servers of the installation, newest first. It needs the
// operator's key.
func (c *Client) Servers(ctx context.Context, page corp.Page) (corp.List[corp.Server], error) {
	return fetch[corp.List[corp.Server]](ctx, c, request{method: http.MethodGet, path: "/v1/servers", query: pageQuery(page)})
}

package client

import (
	"context"
	"io"
	"net/http"

	"github.com/genericcorp/corp"
)

// UploadSource stores a git bundle that a task's source_id may name. It streams.
func (c *Client) UploadSource(ctx context.Context, bundle io.Reader) (corp.Blob, error) {
	return fetch[corp.Blob](ctx, c, request{method: http.MethodPost, path: "/v1/blobs", stream: bundle})
}

// Blob opens stored bytes: a run's result bundle, for instance. The caller closes it.
func (c *Client) Blob(ctx context.Context, id corp.BlobID) (io.ReadCloser, error) {
	return c.open(ctx, request{method: http.MethodGet, path: "/v1/blobs" + segment(id.String())})
}

// open sends r and hands out the answer's body.
func (c *Client) open(ctx context.Context, r request) (io.ReadCloser, error) {
	if r.header == nil {
		r.header = map[string]string{}
	}
	r.header["Accept"] = "*/*"
	resp, err := c.send(ctx, r)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

package client

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/genericcorp/corp"
)

// Runs lists runs, newest first; a zero task lists those of all tasks.
func (c *Client) Runs(ctx context.Context, task corp.TaskID, page corp.Page) (corp.List[corp.Run], error) {
	q := pageQuery(page)
	setText(q, "task", task.String())
	return fetch[corp.List[corp.Run]](ctx, c, request{method: http.MethodGet, path: "/v1/runs", query: q})
}

// Run returns one run.
func (c *Client) Run(ctx context.Context, id corp.RunID) (corp.Run, error) {
	return fetch[corp.Run](ctx, c, request{method: http.MethodGet, path: "/v1/runs" + segment(id.String())})
}

// Entries returns at most limit entries of a run's transcript with an index
// above after; -1 reads from the start, and a limit of 0 means the default.
func (c *Client) Entries(ctx context.Context, run corp.RunID, after int64, limit int) ([]corp.Entry, error) {
	q := url.Values{"after": {strconv.FormatInt(after, 10)}}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	var out corp.List[corp.Entry]
	err := c.call(ctx, request{method: http.MethodGet, path: "/v1/runs" + segment(run.String()) + "/entries", query: q}, &out)
	return out.Items, err
}

// Patch opens the run's change as a patch. A run without one is not found. The
// caller closes it.
func (c *Client) Patch(ctx context.Context, run corp.RunID) (io.ReadCloser, error) {
	return c.open(ctx, request{method: http.MethodGet, path: "/v1/runs" + segment(run.String()) + "/patch"})
}

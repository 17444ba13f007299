package client

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/genericcorp/corp"
)

// CallQuery narrows a list of calls; the zero query lists all.
type CallQuery struct {
	Task corp.TaskID
	Run  corp.RunID
}

// UsageQuery says which calls to sum and what to group them by.
type UsageQuery struct {
	From, To time.Time // zero means unbounded; From is included, To is not
	By       string    // "" for one total, day, model, agent, task
}

// Calls lists model calls, newest first.
func (c *Client) Calls(ctx context.Context, query CallQuery, page corp.Page) (corp.List[corp.Call], error) {
	q := pageQuery(page)
	setText(q, "task", query.Task.String())
	setText(q, "run", query.Run.String())
	return fetch[corp.List[corp.Call]](ctx, c, request{method: http.MethodGet, path: "/v1/calls", query: q})
}

// Usage returns sums of model calls.
func (c *Client) Usage(ctx context.Context, query UsageQuery) ([]corp.UsageTotal, error) {
	q := url.Values{}
	setText(q, "by", query.By)
	if !query.From.IsZero() {
		q.Set("from", query.From.UTC().Format(time.RFC3339Nano))
	}
	if !query.To.IsZero() {
		q.Set("to", query.To.UTC().Format(time.RFC3339Nano))
	}
	var out corp.List[corp.UsageTotal]
	err := c.call(ctx, request{method: http.MethodGet, path: "/v1/usage", query: q}, &out)
	return out.Items, err
}

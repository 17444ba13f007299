package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/genericcorp/corp"
)

// Events returns at most limit events of the workspace with a number above
// after, oldest first; a limit of 0 means the default.
func (c *Client) Events(ctx context.Context, after int64, limit int) ([]corp.Event, error) {
	q := url.Values{"after": {strconv.FormatInt(after, 10)}}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	var out corp.List[corp.Event]
	err := c.call(ctx, request{method: http.MethodGet, path: "/v1/events", query: q}, &out)
	return out.Items, err
}

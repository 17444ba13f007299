package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/genericcorp/corp"
)

// SaveSteps saves steps of a leased run. A batch may be sent again: the first
// that writes a key wins. A journal that is full is a limit error.
func (c *Client) SaveSteps(ctx context.Context, batch corp.StepBatch) error {
	return c.call(ctx, request{method: http.MethodPost, path: leasePath(batch.Lease) + "/steps", body: batch, repeatable: true}, nil)
}

// Steps returns the whole journal that a leased run goes on with.
func (c *Client) Steps(ctx context.Context, lease corp.Lease) (journal corp.Journal, err error) {
	for after := ""; ; {
		query := url.Values{}
		if after != "" {
			query.Set("after", after)
		}
		page, err := fetch[corp.Journal](ctx, c, request{method: http.MethodGet, path: leasePath(lease) + "/steps", query: query, header: leaseHeader(lease)})
		if err != nil {
			return corp.Journal{}, err
		}
		journal.Number, journal.Steps = page.Number, append(journal.Steps, page.Steps...)
		if !page.More || len(page.Steps) == 0 {
			return journal, nil
		}
		after = page.Steps[len(page.Steps)-1].Key
	}
}

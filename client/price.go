package client

import (
	"context"
	"net/http"

	"github.com/genericcorp/corp"
)

// Prices lists the price book, the newest rows first.
func (c *Client) Prices(ctx context.Context, f corp.PriceFilter, page corp.Page) (corp.List[corp.Price], error) {
	q := pageQuery(page)
	setText(q, "vendor", f.Vendor)
	setText(q, "model", f.Model)
	return fetch[corp.List[corp.Price]](ctx, c, request{method: http.MethodGet, path: "/v1/prices", query: q})
}

// AddPrice adds a model's price to the price book, for the operator. One of the
// same vendor, model and date is a conflict.
func (c *Client) AddPrice(ctx context.Context, spec corp.PriceSpec) (corp.Price, error) {
	return fetch[corp.Price](ctx, c, request{method: http.MethodPost, path: "/v1/prices", body: spec})
}

package client

import (
	"net/url"
	"strconv"

	"github.com/genericcorp/corp"
)

// pageQuery writes a page's parameters; zero values are left out.
func pageQuery(page corp.Page) url.Values {
	q := url.Values{}
	setText(q, "cursor", page.Cursor)
	if page.Limit > 0 {
		q.Set("limit", strconv.Itoa(page.Limit))
	}
	return q
}

func setText(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}

// segment writes one part of a path, whatever a caller put into it.
func segment(s string) string { return "/" + url.PathEscape(s) }

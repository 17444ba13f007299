package client

import (
	"context"
	"net/http"

	"github.com/genericcorp/corp"
)

// Mails lists what the installation wrote to people, newest first, without the
// texts. It needs the operator's key.
func (c *Client) Mails(ctx context.Context, page corp.Page) (corp.List[corp.Mail], error) {
	return fetch[corp.List[corp.Mail]](ctx, c, request{method: http.MethodGet, path: "/v1/mails", query: pageQuery(page)})
}

// Mail returns a mail with its text, unless that is sent. It needs the operator's
// key, and is audited.
func (c *Client) Mail(ctx context.Context, id corp.MailID) (corp.Mail, error) {
	return fetch[corp.Mail](ctx, c, request{method: http.MethodGet, path: "/v1/mails/" + id.String()})
}

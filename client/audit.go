package client

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/genericcorp/corp"
)

// AuditFilter narrows the audit log. Zero fields match everything.
type AuditFilter struct {
	Actor     corp.Actor
	Operation string
	Result    corp.AuditResult
	From, To  time.Time // From is included, To is not
}

func (f AuditFilter) query(page corp.Page) url.Values {
	q := pageQuery(page)
	setText(q, "actor", string(f.Actor))
	setText(q, "operation", f.Operation)
	setText(q, "result", string(f.Result))
	for name, at := range map[string]time.Time{"from": f.From, "to": f.To} {
		if !at.IsZero() {
			q.Set(name, at.UTC().Format(time.RFC3339Nano))
		}
	}
	return q
}

// Checkpoint is a signed statement of how an audit log looked; package audit
// verifies it.
type Checkpoint struct {
	WorkspaceID corp.WorkspaceID `json:"workspace_id,omitzero"` // left out: the installation's
	Seq         int64            `json:"seq"`                   // 0: nothing is sealed yet
	Hash        string           `json:"hash"`                  // in hexadecimal
	At          time.Time        `json:"at"`
	KeyID       string           `json:"key_id"`
	Signature   []byte           `json:"signature"`
	PublicKey   string           `json:"public_key"` // of the server, in base64
}

// Erased says of how many events personal data was erased.
type Erased struct {
	Events int `json:"events"`
}

// AuditLog is the audit log of the key's workspace, or the installation's.
type AuditLog struct {
	c    *Client
	path string
}

// Audit returns the audit log of the key's workspace.
func (c *Client) Audit() AuditLog { return AuditLog{c, "/v1/audit"} }

// InstallationAudit returns the log of what happens outside a workspace, for the operator.
func (c *Client) InstallationAudit() AuditLog { return AuditLog{c, "/v1/installation/audit"} }

// List lists events, newest first, also those that are not sealed yet.
func (l AuditLog) List(ctx context.Context, f AuditFilter, page corp.Page) (corp.List[corp.AuditEvent], error) {
	return fetch[corp.List[corp.AuditEvent]](ctx, l.c, request{method: http.MethodGet, path: l.path, query: f.query(page)})
}

// Checkpoint returns the newest checkpoint; its Seq is 0 before the first.
func (l AuditLog) Checkpoint(ctx context.Context) (Checkpoint, error) {
	return fetch[Checkpoint](ctx, l.c, request{method: http.MethodGet, path: l.path + "/checkpoint"})
}

// Export returns the sealed log as JSON lines, however long. The caller closes it.
func (l AuditLog) Export(ctx context.Context) (io.ReadCloser, error) {
	return l.c.open(ctx, request{method: http.MethodGet, path: l.path + "/export"})
}

// EraseAudit erases somebody's personal data from all audit logs, for the operator.
func (c *Client) EraseAudit(ctx context.Context, whose corp.Actor) (Erased, error) {
	return fetch[Erased](ctx, c, request{method: http.MethodPost, path: "/v1/installation/audit/erase", body: map[string]corp.Actor{"actor": whose}})
}

package client

import (
	"context"
	"net/http"

	"github.com/genericcorp/corp"
)

// SuspendWorkspace puts a workspace, by its short name or id, out of use on every
// server, for the operator. Nothing of it is deleted.
func (c *Client) SuspendWorkspace(ctx context.Context, slugOrID string) (corp.Workspace, error) {
	return c.incident(ctx, slugOrID, "/suspend")
}

// ResumeWorkspace puts a suspended workspace into use again, for the operator. One that
// its owner has deleted stays deleted.
func (c *Client) ResumeWorkspace(ctx context.Context, slugOrID string) (corp.Workspace, error) {
	return c.incident(ctx, slugOrID, "/resume")
}

func (c *Client) incident(ctx context.Context, slugOrID, what string) (corp.Workspace, error) {
	return fetch[corp.Workspace](ctx, c, request{method: http.MethodPost, path: "/v1/workspaces" + segment(slugOrID) + what, repeatable: true})
}

// DisablePerson keeps somebody out, by id or e-mail address, for the operator: their
// sessions end, their own keys are refused, and they cannot sign in.
func (c *Client) DisablePerson(ctx context.Context, idOrEmail string) (corp.Person, error) {
	return again[corp.Person](ctx, c, "/v1/installation/people/disable", map[string]string{"person": idOrEmail})
}

// EnablePerson lets somebody in again, for the operator.
func (c *Client) EnablePerson(ctx context.Context, idOrEmail string) (corp.Person, error) {
	return again[corp.Person](ctx, c, "/v1/installation/people/enable", map[string]string{"person": idOrEmail})
}

// SignOutPerson ends all sessions of somebody, by id or e-mail address, for the operator.
func (c *Client) SignOutPerson(ctx context.Context, idOrEmail string) (corp.SignedOut, error) {
	return again[corp.SignedOut](ctx, c, "/v1/installation/people/sign-out", map[string]string{"person": idOrEmail})
}

// SignOutEverybody ends all sessions of the installation, for the operator. Keys go on.
func (c *Client) SignOutEverybody(ctx context.Context) (corp.SignedOut, error) {
	return again[corp.SignedOut](ctx, c, "/v1/installation/people/sign-out", map[string]bool{"everybody": true})
}

// RotateSigningKeys has another key sign access tokens, for the operator. Those that
// others signed are refused at once, or gently: when their ten minutes are over.
func (c *Client) RotateSigningKeys(ctx context.Context, gently bool) error {
	return c.call(ctx, request{method: http.MethodPost, path: "/v1/installation/signing-keys/rotate", body: map[string]bool{"gently": gently}, repeatable: true}, nil)
}

// RevokeAnyKey ends a key of any workspace or of the installation's own, for the
// operator: by its id, what is shown of it, or the key itself. thisOne allows it to be
// the one that asks.
func (c *Client) RevokeAnyKey(ctx context.Context, key string, thisOne bool) (corp.RevokedKeys, error) {
	return again[corp.RevokedKeys](ctx, c, "/v1/installation/keys/revoke", map[string]any{"key": key, "this_one": thisOne})
}

// RevokeOperatorKeys ends all other keys of the installation's own that have the role,
// operator or runner, and, unless it is empty, the name, for the operator; with thisOne
// also the one that asks.
func (c *Client) RevokeOperatorKeys(ctx context.Context, role corp.Role, name string, thisOne bool) (corp.RevokedKeys, error) {
	return again[corp.RevokedKeys](ctx, c, "/v1/installation/operator-keys/revoke", map[string]any{"role": role, "name": name, "this_one": thisOne})
}

// again asks for what may be asked for twice.
func again[T any](ctx context.Context, c *Client, path string, body any) (T, error) {
	return fetch[T](ctx, c, request{method: http.MethodPost, path: path, body: body, repeatable: true})
}

package client

import (
	"context"
	"net/http"

	"github.com/genericcorp/corp"
)

// LimitRequest says how many runs may be leased at a time; 0 is no limit.
type LimitRequest struct {
	Concurrency int `json:"concurrency"`
}

// LimitAgent changes how many runs of an agent may be leased at a time.
func (c *Client) LimitAgent(ctx context.Context, nameOrID string, concurrency int) (corp.Agent, error) {
	return fetch[corp.Agent](ctx, c, request{method: http.MethodPatch, path: "/v1/agents" + segment(nameOrID), body: LimitRequest{concurrency}, repeatable: true})
}

// Agents lists the workspace's agents, newest first.
func (c *Client) Agents(ctx context.Context, page corp.Page) (corp.List[corp.Agent], error) {
	return fetch[corp.List[corp.Agent]](ctx, c, request{method: http.MethodGet, path: "/v1/agents", query: pageQuery(page)})
}

// Agent returns one agent by its name or id, in its newest version.
func (c *Client) Agent(ctx context.Context, nameOrID string) (corp.Agent, error) {
	return fetch[corp.Agent](ctx, c, request{method: http.MethodGet, path: "/v1/agents" + segment(nameOrID)})
}

// CreateAgent makes an agent; a taken name is a conflict.
func (c *Client) CreateAgent(ctx context.Context, spec corp.AgentSpec) (corp.Agent, error) {
	return fetch[corp.Agent](ctx, c, request{method: http.MethodPost, path: "/v1/agents", body: spec})
}

// UpdateAgent gives an agent a new version. Tasks keep the version they have.
func (c *Client) UpdateAgent(ctx context.Context, nameOrID string, spec corp.AgentSpec) (corp.Agent, error) {
	return fetch[corp.Agent](ctx, c, request{method: http.MethodPut, path: "/v1/agents" + segment(nameOrID), body: spec})
}

// ArchiveAgent takes an agent out of use. Its tasks and their history stay.
func (c *Client) ArchiveAgent(ctx context.Context, nameOrID string) (corp.Agent, error) {
	return fetch[corp.Agent](ctx, c, request{method: http.MethodDelete, path: "/v1/agents" + segment(nameOrID)})
}

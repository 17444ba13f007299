package client

import (
	"context"
	"crypto/rand"
	"net/http"

	"github.com/genericcorp/corp"
)

// SubmitBatch asks for many tasks, all or none. The same idempotencyKey with the
// same spec returns the batch that the first request made; an empty one is
// replaced by a random one, as SubmitTask does.
func (c *Client) SubmitBatch(ctx context.Context, spec corp.BatchSpec, idempotencyKey string) (corp.Batch, error) {
	if idempotencyKey == "" {
		idempotencyKey = rand.Text()
	}
	header := map[string]string{"Idempotency-Key": idempotencyKey}
	return fetch[corp.Batch](ctx, c, request{method: http.MethodPost, path: "/v1/batches", header: header, body: spec, repeatable: true})
}

// Batch returns how far a batch has come.
func (c *Client) Batch(ctx context.Context, id corp.BatchID) (corp.BatchStatus, error) {
	return fetch[corp.BatchStatus](ctx, c, request{method: http.MethodGet, path: "/v1/batches" + segment(id.String())})
}

// CancelBatch cancels the tasks of a batch that have not ended, and all beneath
// its tasks.
func (c *Client) CancelBatch(ctx context.Context, id corp.BatchID) (corp.BatchStatus, error) {
	return fetch[corp.BatchStatus](ctx, c, request{method: http.MethodPost, path: "/v1/batches" + segment(id.String()) + "/cancel", repeatable: true})
}

// Tree returns a task and what is beneath it.
func (c *Client) Tree(ctx context.Context, id corp.TaskID) (corp.Tree, error) {
	return fetch[corp.Tree](ctx, c, request{method: http.MethodGet, path: "/v1/tasks" + segment(id.String()) + "/tree"})
}

// RedriveTask gives a dead or failed task all its attempts anew.
func (c *Client) RedriveTask(ctx context.Context, id corp.TaskID) (corp.Task, error) {
	return fetch[corp.Task](ctx, c, request{method: http.MethodPost, path: "/v1/tasks" + segment(id.String()) + "/redrive"})
}

// RedriveTasks is RedriveTask for the tasks that a spec matches, the oldest first.
func (c *Client) RedriveTasks(ctx context.Context, spec corp.RedriveSpec) (corp.Redriven, error) {
	return fetch[corp.Redriven](ctx, c, request{method: http.MethodPost, path: "/v1/tasks/redrive", body: spec, repeatable: spec.DryRun})
}

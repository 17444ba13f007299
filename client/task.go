package client

import (
	"context"
	"crypto/rand"
	"net/http"

	"github.com/genericcorp/corp"
)

// TaskQuery narrows a list of tasks; the zero query lists all.
type TaskQuery struct {
	State corp.TaskState
	Agent string // name or id

	Schedule string // name or id of the one that submitted them
	Parent   corp.TaskID
	Batch    corp.BatchID
	Reason   corp.Reason
}

// Tasks lists the workspace's tasks, newest first.
func (c *Client) Tasks(ctx context.Context, query TaskQuery, page corp.Page) (corp.List[corp.Task], error) {
	q := pageQuery(page)
	setText(q, "state", string(query.State))
	setText(q, "agent", query.Agent)
	setText(q, "schedule", query.Schedule)
	setText(q, "parent", query.Parent.String())
	setText(q, "batch", query.Batch.String())
	setText(q, "reason", string(query.Reason))
	return fetch[corp.List[corp.Task]](ctx, c, request{method: http.MethodGet, path: "/v1/tasks", query: q})
}

// Task returns one task.
func (c *Client) Task(ctx context.Context, id corp.TaskID) (corp.Task, error) {
	return fetch[corp.Task](ctx, c, request{method: http.MethodGet, path: "/v1/tasks" + segment(id.String())})
}

// TaskWait returns what a task waits for, and about how long.
func (c *Client) TaskWait(ctx context.Context, id corp.TaskID) (corp.Wait, error) {
	return fetch[corp.Wait](ctx, c, request{method: http.MethodGet, path: "/v1/tasks" + segment(id.String()) + "/wait"})
}

// SubmitTask asks for a task. The same idempotencyKey with the same spec returns
// the task that the first request made; with another spec it is a conflict. An
// empty key is replaced by a random one, so that repeating a request whose
// answer was lost makes no second task.
func (c *Client) SubmitTask(ctx context.Context, spec corp.TaskSpec, idempotencyKey string) (corp.Task, error) {
	if idempotencyKey == "" {
		idempotencyKey = rand.Text()
	}
	header := map[string]string{"Idempotency-Key": idempotencyKey}
	return fetch[corp.Task](ctx, c, request{method: http.MethodPost, path: "/v1/tasks", header: header, body: spec, repeatable: true})
}

// CancelTask stops a task and all beneath it: queued and blocked ones at once,
// running ones through their runners. What has ended stays as it is.
func (c *Client) CancelTask(ctx context.Context, id corp.TaskID) (corp.Task, error) {
	return fetch[corp.Task](ctx, c, request{method: http.MethodPost, path: "/v1/tasks" + segment(id.String()) + "/cancel", repeatable: true})
}

// RetryTask gives a failed, dead or cancelled task another run.
func (c *Client) RetryTask(ctx context.Context, id corp.TaskID) (corp.Task, error) {
	return fetch[corp.Task](ctx, c, request{method: http.MethodPost, path: "/v1/tasks" + segment(id.String()) + "/retry"})
}

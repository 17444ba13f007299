package client

import (
	"context"
	"crypto/rand"
	"net/http"

	"github.com/genericcorp/corp"
)

// Schedules lists the workspace's schedules, newest first.
func (c *Client) Schedules(ctx context.Context, page corp.Page) (corp.List[corp.Schedule], error) {
	return fetch[corp.List[corp.Schedule]](ctx, c, request{method: http.MethodGet, path: "/v1/schedules", query: pageQuery(page)})
}

// Schedule returns a schedule, by name or id.
func (c *Client) Schedule(ctx context.Context, nameOrID string) (corp.Schedule, error) {
	return fetch[corp.Schedule](ctx, c, request{method: http.MethodGet, path: "/v1/schedules" + segment(nameOrID)})
}

// CreateSchedule stores a task that is submitted again and again, by the clock.
func (c *Client) CreateSchedule(ctx context.Context, spec corp.ScheduleSpec) (corp.Schedule, error) {
	return fetch[corp.Schedule](ctx, c, request{method: http.MethodPost, path: "/v1/schedules", body: spec})
}

// UpdateSchedule changes what the update names: also to pause and to resume.
func (c *Client) UpdateSchedule(ctx context.Context, nameOrID string, update corp.ScheduleUpdate) (corp.Schedule, error) {
	return fetch[corp.Schedule](ctx, c, request{method: http.MethodPatch, path: "/v1/schedules" + segment(nameOrID), body: update, repeatable: update.Name == nil})
}

// ArchiveSchedule ends a schedule. Its tasks stay.
func (c *Client) ArchiveSchedule(ctx context.Context, nameOrID string) (corp.Schedule, error) {
	return fetch[corp.Schedule](ctx, c, request{method: http.MethodDelete, path: "/v1/schedules" + segment(nameOrID)})
}

// TriggerSchedule submits a schedule's task now. The same idempotencyKey returns
// the task that the first request made; an empty one is replaced by a random one,
// as SubmitTask does.
func (c *Client) TriggerSchedule(ctx context.Context, nameOrID, idempotencyKey string) (corp.Task, error) {
	if idempotencyKey == "" {
		idempotencyKey = rand.Text()
	}
	header := map[string]string{"Idempotency-Key": idempotencyKey}
	return fetch[corp.Task](ctx, c, request{method: http.MethodPost, path: "/v1/schedules" + segment(nameOrID) + "/trigger", header: header, repeatable: true})
}

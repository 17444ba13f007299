package api

import (
	"context"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/limit"
)

// workspaceLimits shows the workspace's plan, and what is left of it. Looking takes
// nothing but the request that it is.
func (a *API) workspaceLimits(ctx context.Context, who corp.Identity, _ *nothing) (*body[corp.Limits], error) {
	plan, held, err := a.DB.In(who.Workspace).Held(ctx)
	if err != nil {
		return nil, err
	}
	requests := ceiling("requests", plan.RequestsPerHour, 0, "hour")
	if plan.RequestsPerHour > 0 {
		states, err := a.limits.store.Take(ctx, []limit.Ask{{Key: limit.WorkspaceKey(who.Workspace, "requests", ""), Policy: requestsOf(plan)}})
		if err != nil {
			return nil, err
		}
		requests.Left = &states[0].Remaining // now: what comes back in the hour is not there yet
	}
	return &body[corp.Limits]{corp.Limits{Plan: plan, Limits: []corp.Limit{
		requests,
		ceiling("tasks", plan.TasksPerDay, held.Tasks, "day"),
		ceiling("concurrency", int64(plan.Concurrency), held.Running, ""),
		ceiling("agents", int64(plan.Agents), held.Agents, ""),
		ceiling("schedules", corp.MaxSchedules, held.Schedules, ""),
		ceiling("streams", int64(plan.Streams), int64(a.streams.of(who.Workspace)), ""),
		ceiling("users", int64(plan.Users), held.Users, ""),
		{Name: "agent_minutes", Limit: plan.AgentMinutesPerMonth, Every: "month"},
	}}}, nil
}

func ceiling(name string, most, held int64, every string) corp.Limit {
	l := corp.Limit{Name: name, Limit: most, Every: every}
	if most > 0 {
		l.Left = new(max(most-held, 0))
	}
	return l
}

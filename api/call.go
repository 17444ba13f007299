package api

import (
	"context"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
)

type callsInput struct {
	PageInput
	Task corp.TaskID `query:"task"`
	Run  corp.RunID  `query:"run"`
}

type usageInput struct {
	By   string    `query:"by" enum:"day,model,agent,task" doc:"One total, when left out."`
	From time.Time `query:"from" doc:"Included."`
	To   time.Time `query:"to" doc:"Not included."`
}

// calls lists model calls. A task or run that is not there is not found, so that
// an empty list means that there were no calls.
func (a *API) calls(ctx context.Context, who corp.Identity, in *callsInput) (*body[corp.List[corp.Call]], error) {
	db := a.DB.In(who.Workspace)
	if err := a.exists(ctx, db, in.Task, in.Run); err != nil {
		return nil, err
	}
	return answerList(db.Calls(ctx, postgres.CallFilter{Task: in.Task, Run: in.Run}, in.page()))
}

func (a *API) usage(ctx context.Context, who corp.Identity, in *usageInput) (*body[corp.List[corp.UsageTotal]], error) {
	if !in.To.IsZero() && !in.From.Before(in.To) {
		return nil, corp.Invalid("to", "The time ends before it begins.", "Give a to after from.")
	}
	return answerItems(a.DB.In(who.Workspace).Usage(ctx, postgres.UsageFilter{From: in.From, To: in.To, By: in.By}))
}

// exists says not found for a task or run that a filter names and the workspace
// does not have; a zero id asks for nothing.
func (a *API) exists(ctx context.Context, db postgres.WorkspaceDB, task corp.TaskID, run corp.RunID) error {
	if !task.IsZero() {
		if _, err := db.Task(ctx, task); err != nil {
			return err
		}
	}
	if !run.IsZero() {
		if _, err := db.Run(ctx, run); err != nil {
			return err
		}
	}
	return nil
}

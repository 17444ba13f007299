package api

import (
	"context"

	"github.com/danielgtaylor/huma/v2"

	"github.com/genericcorp/corp"
)

type runsInput struct {
	PageInput
	Task corp.TaskID `query:"task"`
}

// RunInput names a run in the path.
type RunInput struct {
	Run corp.RunID `path:"run"`
}

type entriesInput struct {
	RunInput
	After int64 `query:"after" minimum:"-1" default:"-1" doc:"Entries with a higher index; -1 reads from the start."`
	Limit int   `query:"limit" minimum:"1" maximum:"500" default:"100"`
}

func (a *API) runs(ctx context.Context, who corp.Identity, in *runsInput) (*body[corp.List[corp.Run]], error) {
	db := a.DB.In(who.Workspace)
	if err := a.exists(ctx, db, in.Task, corp.RunID{}); err != nil {
		return nil, err
	}
	return answerList(db.Runs(ctx, in.Task, in.page()))
}

func (a *API) run(ctx context.Context, who corp.Identity, in *RunInput) (*body[corp.Run], error) {
	return answer(a.DB.In(who.Workspace).Run(ctx, in.Run))
}

func (a *API) entries(ctx context.Context, who corp.Identity, in *entriesInput) (*body[corp.List[corp.Entry]], error) {
	db := a.DB.In(who.Workspace)
	if err := a.exists(ctx, db, corp.TaskID{}, in.Run); err != nil {
		return nil, err
	}
	return answerItems(db.Entries(ctx, in.Run, in.After, in.Limit))
}

func (a *API) patch(ctx context.Context, who corp.Identity, in *RunInput) (*huma.StreamResponse, error) {
	run, err := a.DB.In(who.Workspace).Run(ctx, in.Run)
	if err != nil {
		return nil, err
	}
	if run.PatchID == nil {
		return nil, &corp.Error{Kind: corp.KindNotFound, Code: "no_patch", Message: "This run has no patch.", Hint: "A run has one when it ended with a change; its state and detail say what became of it."}
	}
	return a.sendBlob(ctx, who, *run.PatchID, "text/x-diff; charset=utf-8", run.ID.String()+".patch")
}

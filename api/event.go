package api

import (
	"context"

	"github.com/genericcorp/corp"
)

type eventsInput struct {
	After int64 `query:"after" minimum:"0" default:"0" doc:"Events with a higher number."`
	Limit int   `query:"limit" minimum:"1" maximum:"500" default:"100"`
}

func (a *API) events(ctx context.Context, who corp.Identity, in *eventsInput) (*body[corp.List[corp.Event]], error) {
	return answerItems(a.DB.In(who.Workspace).Events(ctx, in.After, in.Limit))
}

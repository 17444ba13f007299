package api

import (
	"context"

	"github.com/genericcorp/corp"
)

// maxStepsAnswer is about how many bytes of steps one answer has.
const maxStepsAnswer = 4 << 20

type saveStepsInput struct {
	LeasedInput
	Body corp.StepBatch
}

type stepsInput struct {
	LeasedInput
	LeaseHeaders
	After string `query:"after" maxLength:"40" doc:"The key after which to go on."`
}

func (a *API) saveSteps(ctx context.Context, who corp.Identity, in *saveStepsInput) (*nothing, error) {
	db, _, err := a.worker(ctx, who, in.Run, in.Body.Lease)
	if err != nil {
		return nil, err
	}
	return nil, db.SaveSteps(ctx, in.Run, in.Body.Epoch, in.Body.Journal, in.Body.Steps)
}

func (a *API) steps(ctx context.Context, who corp.Identity, in *stepsInput) (*body[corp.Journal], error) {
	db, _, err := a.worker(ctx, who, in.Run, in.lease(in.Run))
	if err != nil {
		return nil, err
	}
	return answer(db.Steps(ctx, in.Run, in.Epoch, in.After, maxStepsAnswer))
}

package api

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
)

type submitBatchInput struct {
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"200" pattern:"^[!-~]+$" patternDescription:"1 to 200 visible ASCII characters" doc:"Makes the request safe to repeat: the same key with the same batch returns the batch that is there."`
	Body           corp.BatchSpec
}

type submitBatchOutput struct {
	Status   int
	Replayed string `header:"Idempotency-Replayed" doc:"true when the batch was there already."`
	Body     corp.Batch
}

type batchInput struct {
	Batch corp.BatchID `path:"batch"`
}

func (a *API) submitBatch(ctx context.Context, who corp.Identity, in *submitBatchInput) (*submitBatchOutput, error) {
	for i, t := range in.Body.Tasks {
		if err := a.checkTask(t.TaskSpec); err != nil {
			return nil, inField(fmt.Sprintf("tasks[%d].", i), err)
		}
	}
	hash := sha256.New()
	if err := json.NewEncoder(hash).Encode(in.Body); err != nil {
		return nil, fmt.Errorf("hash a batch: %w", err)
	}
	batch, replayed, err := a.DB.In(who.Workspace).SubmitBatch(ctx, who.Actor, in.Body, postgres.Idempotency{Key: in.IdempotencyKey, RequestHash: hash.Sum(nil)})
	if err != nil {
		return nil, err
	}
	out := &submitBatchOutput{Status: http.StatusCreated, Body: batch}
	if replayed {
		out.Status, out.Replayed = http.StatusOK, "true"
	}
	return out, nil
}

func (a *API) batch(ctx context.Context, who corp.Identity, in *batchInput) (*body[corp.BatchStatus], error) {
	return answer(a.DB.In(who.Workspace).Batch(ctx, in.Batch))
}

func (a *API) cancelBatch(ctx context.Context, who corp.Identity, in *batchInput) (*body[corp.BatchStatus], error) {
	return answer(a.DB.In(who.Workspace).CancelBatch(ctx, who.Actor, in.Batch))
}

type redriveTasksInput struct{ Body corp.RedriveSpec }

// defaultRedrive is how many tasks one request redrives that does not say.
const defaultRedrive = 100

func (a *API) redriveTask(ctx context.Context, who corp.Identity, in *taskInput) (*body[corp.Task], error) {
	return answer(a.DB.In(who.Workspace).RedriveTask(ctx, who.Actor, in.Task))
}

func (a *API) redriveTasks(ctx context.Context, who corp.Identity, in *redriveTasksInput) (*body[corp.Redriven], error) {
	db, spec := a.DB.In(who.Workspace), in.Body
	if err := checkReason(spec.Reason); err != nil {
		return nil, err
	}
	filter := postgres.RedriveFilter{State: spec.State, Reason: spec.Reason, CreatedBefore: spec.CreatedBefore, EndedBefore: spec.EndedBefore, Limit: spec.Limit, DryRun: spec.DryRun}
	if filter.Limit == 0 {
		filter.Limit = defaultRedrive
	}
	if spec.Agent != "" {
		agent, err := db.Agent(ctx, spec.Agent)
		if err != nil {
			return nil, inField("agent", err)
		}
		filter.Agent = agent.ID
	}
	if spec.BatchID != nil {
		if _, err := db.Batch(ctx, *spec.BatchID); err != nil {
			return nil, inField("batch_id", err)
		}
		filter.Batch = *spec.BatchID
	}
	if spec.ScheduleID != nil {
		if _, err := db.Schedule(ctx, spec.ScheduleID.String()); err != nil {
			return nil, inField("schedule_id", err)
		}
		filter.Schedule = *spec.ScheduleID
	}
	return answer(db.RedriveTasks(ctx, who.Actor, filter))
}

func checkReason(reason corp.Reason) error {
	if !slices.Contains(corp.Reasons(), reason) {
		return corp.Invalid("reason", fmt.Sprintf("%q is not a reason.", reason), "The reasons are "+reasonNames()+".")
	}
	return nil
}

func reasonNames() string {
	var names []string
	for _, r := range corp.Reasons() {
		if r != corp.ReasonNone {
			names = append(names, string(r))
		}
	}
	return strings.Join(names, ", ")
}

// maxTree is how many tasks of a tree are shown.
const maxTree = 2000

func (a *API) taskTree(ctx context.Context, who corp.Identity, in *taskInput) (*body[corp.Tree], error) {
	return answer(a.DB.In(who.Workspace).Tree(ctx, in.Task, maxTree))
}

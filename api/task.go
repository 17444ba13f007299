package api

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"net/http"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
)

type tasksInput struct {
	PageInput
	State corp.TaskState `query:"state" enum:"queued,running,blocked,succeeded,failed,cancelled,dead"`
	Agent string         `query:"agent" maxLength:"80" doc:"Name or id."`

	Schedule string       `query:"schedule" maxLength:"80" doc:"Name or id of the schedule that submitted them."`
	Parent   corp.TaskID  `query:"parent" doc:"Only the parts of this task."`
	Batch    corp.BatchID `query:"batch"`
	Reason   corp.Reason  `query:"reason" maxLength:"40" doc:"Why they are in their state."`
}

type taskInput struct {
	Task corp.TaskID `path:"task"`
}

type submitTaskInput struct {
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"200" pattern:"^[!-~]+$" patternDescription:"1 to 200 visible ASCII characters" doc:"Makes the request safe to repeat: the same key with the same task returns the task that is there."`
	Body           corp.TaskSpec
}

type submitTaskOutput struct {
	Status   int
	Replayed string `header:"Idempotency-Replayed" doc:"true when the task was there already."`
	Body     corp.Task
}

func (a *API) tasks(ctx context.Context, who corp.Identity, in *tasksInput) (*body[corp.List[corp.Task]], error) {
	db := a.DB.In(who.Workspace)
	filter := corp.TaskFilter{State: in.State, Parent: in.Parent, Batch: in.Batch, Reason: in.Reason}
	if err := checkReason(in.Reason); err != nil {
		return nil, err
	}
	if err := a.exists(ctx, db, in.Parent, corp.RunID{}); err != nil {
		return nil, err
	}
	if !in.Batch.IsZero() {
		if _, err := db.Batch(ctx, in.Batch); err != nil {
			return nil, err
		}
	}
	if in.Agent != "" {
		agent, err := db.Agent(ctx, in.Agent)
		if err != nil {
			return nil, err
		}
		filter.Agent = agent.ID
	}
	if in.Schedule != "" {
		schedule, err := db.Schedule(ctx, in.Schedule)
		if err != nil {
			return nil, err
		}
		filter.Schedule = schedule.ID
	}
	return answerList(db.Tasks(ctx, filter, in.page()))
}

func (a *API) task(ctx context.Context, who corp.Identity, in *taskInput) (*body[corp.Task], error) {
	return answer(a.DB.In(who.Workspace).Task(ctx, in.Task))
}

func (a *API) submitTask(ctx context.Context, who corp.Identity, in *submitTaskInput) (*submitTaskOutput, error) {
	spec := in.Body
	if err := a.checkTask(spec); err != nil {
		return nil, err
	}
	canonical, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(canonical)
	task, replayed, err := a.DB.In(who.Workspace).SubmitTask(ctx, who.Actor, spec, postgres.Idempotency{Key: in.IdempotencyKey, RequestHash: sum[:]})
	if err != nil {
		return nil, err
	}
	return submittedTask(task, replayed), nil
}

func (a *API) cancelTask(ctx context.Context, who corp.Identity, in *taskInput) (*body[corp.Task], error) {
	return answer(a.DB.In(who.Workspace).CancelTask(ctx, who.Actor, in.Task))
}

func (a *API) retryTask(ctx context.Context, who corp.Identity, in *taskInput) (*body[corp.Task], error) {
	return answer(a.DB.In(who.Workspace).RetryTask(ctx, who.Actor, in.Task))
}

// taskWait says what a task waits for. Only the leader knows the queue.
func (a *API) taskWait(ctx context.Context, who corp.Identity, in *taskInput) (*body[led[corp.Wait]], error) {
	req := ledRequest{method: http.MethodGet, path: "/v1/tasks/" + in.Task.String() + "/wait"}
	out, err := lead(ctx, a, req, func(ctx context.Context) (corp.Wait, error) { return a.Dispatcher.Wait(ctx, who.Workspace, in.Task) })
	if codeOf(err) == notLeading && !exchangeOf(ctx).passedOn {
		return &body[led[corp.Wait]]{led[corp.Wait]{own: corp.Wait{
			TaskID: in.Task, State: corp.TaskQueued, Cause: corp.WaitNoLeader, Detail: "No server hands out work at the moment; another one is about to.",
		}}}, nil
	}
	return out, err
}

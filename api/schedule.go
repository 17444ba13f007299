package api

import (
	"context"
	"crypto/sha256"
	"net/http"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
)

// ScheduleInput names a schedule in the path.
type ScheduleInput struct {
	Schedule string `path:"schedule" maxLength:"80" doc:"Name or id."`
}

type scheduleSpecInput struct{ Body corp.ScheduleSpec }

type updateScheduleInput struct {
	ScheduleInput
	Body corp.ScheduleUpdate
}

type triggerScheduleInput struct {
	ScheduleInput
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"200" pattern:"^[!-~]+$" patternDescription:"1 to 200 visible ASCII characters" doc:"Makes the request safe to repeat: the same key returns the task that is there."`
}

func (a *API) schedules(ctx context.Context, who corp.Identity, in *PageInput) (*body[corp.List[corp.Schedule]], error) {
	return answerList(a.DB.In(who.Workspace).Schedules(ctx, in.page()))
}

func (a *API) schedule(ctx context.Context, who corp.Identity, in *ScheduleInput) (*body[corp.Schedule], error) {
	return answer(a.DB.In(who.Workspace).Schedule(ctx, in.Schedule))
}

func (a *API) createSchedule(ctx context.Context, who corp.Identity, in *scheduleSpecInput) (*body[corp.Schedule], error) {
	if err := a.checkScheduledTask(in.Body.Task); err != nil {
		return nil, err
	}
	return answer(a.DB.In(who.Workspace).CreateSchedule(ctx, who.Actor, in.Body))
}

func (a *API) updateSchedule(ctx context.Context, who corp.Identity, in *updateScheduleInput) (*body[corp.Schedule], error) {
	if in.Body.Task != nil {
		if err := a.checkScheduledTask(*in.Body.Task); err != nil {
			return nil, err
		}
	}
	db := a.DB.In(who.Workspace)
	schedule, err := db.Schedule(ctx, in.Schedule)
	if err != nil {
		return nil, err
	}
	return answer(db.UpdateSchedule(ctx, who.Actor, schedule.ID, in.Body))
}

func (a *API) archiveSchedule(ctx context.Context, who corp.Identity, in *ScheduleInput) (*body[corp.Schedule], error) {
	db := a.DB.In(who.Workspace)
	schedule, err := db.Schedule(ctx, in.Schedule)
	if err != nil {
		return nil, err
	}
	return answer(db.ArchiveSchedule(ctx, who.Actor, schedule.ID))
}

func (a *API) triggerSchedule(ctx context.Context, who corp.Identity, in *triggerScheduleInput) (*submitTaskOutput, error) {
	db := a.DB.In(who.Workspace)
	schedule, err := db.Schedule(ctx, in.Schedule)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(schedule.ID.String()))
	task, replayed, err := db.TriggerSchedule(ctx, who.Actor, schedule.ID, postgres.Idempotency{Key: in.IdempotencyKey, RequestHash: sum[:]})
	if err != nil {
		return nil, err
	}
	return submittedTask(task, replayed), nil
}

func submittedTask(task corp.Task, replayed bool) *submitTaskOutput {
	out := &submitTaskOutput{Status: http.StatusCreated, Body: task}
	if replayed {
		out.Status, out.Replayed = http.StatusOK, "true"
	}
	return out
}

// checkScheduledTask is checkTask for a task that stands within a schedule.
func (a *API) checkScheduledTask(spec corp.TaskSpec) error {
	return inField("task.", a.checkTask(spec))
}

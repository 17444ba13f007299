package main

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/door"
)

// thing is something that people do, for the workspace of its turn.
type thing struct {
	name   string
	writes bool
	do     func(ctx context.Context, turn int) (time.Duration, error)
}

const byState = `SELECT state, count(*) FROM tasks WHERE workspace_id = $1 GROUP BY state`

type count struct {
	State string
	Count int64
}

func (s *stage) things() []thing {
	timed := func(do func(ctx context.Context, ws corp.WorkspaceID, turn int) error) func(context.Context, int) (time.Duration, error) {
		return func(ctx context.Context, turn int) (time.Duration, error) {
			ws := s.workspace(turn)
			begun := time.Now()
			err := do(ctx, ws, turn)
			return time.Since(begun), err
		}
	}
	return []thing{
		{name: "a task by its id", do: timed(func(ctx context.Context, ws corp.WorkspaceID, turn int) error {
			_, err := s.db.In(ws).Task(ctx, s.task(turn))
			return err
		})},
		{name: "a page of 50 tasks", do: timed(func(ctx context.Context, ws corp.WorkspaceID, _ int) error {
			_, err := s.db.In(ws).Tasks(ctx, corp.TaskFilter{}, corp.Page{Limit: 50})
			return err
		})},
		{name: "a page of 50 failed tasks", do: timed(func(ctx context.Context, ws corp.WorkspaceID, _ int) error {
			_, err := s.db.In(ws).Tasks(ctx, corp.TaskFilter{State: corp.TaskFailed}, corp.Page{Limit: 50})
			return err
		})},
		{name: "what a plan limits, counted", do: timed(func(ctx context.Context, ws corp.WorkspaceID, _ int) error {
			_, _, err := s.db.In(ws).Held(ctx)
			return err
		})},
		{name: "tasks counted by state", do: timed(func(ctx context.Context, ws corp.WorkspaceID, _ int) error {
			_, err := door.Query(ctx, s.db.Door().In(ws), pgx.RowToStructByName[count], byState)
			return err
		})},
		{name: "the same as superuser, past door and policy", do: timed(func(ctx context.Context, ws corp.WorkspaceID, _ int) error {
			rows, err := s.super.Query(ctx, byState, ws.UUID())
			if err != nil {
				return err
			}
			_, err = pgx.CollectRows(rows, pgx.RowToStructByName[count])
			return err
		})},
		{name: "a task submitted", writes: true, do: timed(func(ctx context.Context, ws corp.WorkspaceID, _ int) error {
			_, err := s.submit(ctx, ws)
			return err
		})},
		{name: "a task cancelled", writes: true, do: func(ctx context.Context, turn int) (time.Duration, error) {
			ws := s.workspace(turn)
			task, err := s.submit(ctx, ws)
			if err != nil {
				return 0, err
			}
			begun := time.Now()
			_, err = s.db.In(ws).CancelTask(ctx, corp.ActorSystem, task.ID)
			return time.Since(begun), err
		}},
	}
}

func (s *stage) submit(ctx context.Context, ws corp.WorkspaceID) (corp.Task, error) {
	task, _, err := s.db.In(ws).SubmitTask(ctx, corp.ActorSystem, corp.TaskSpec{Prompt: "x", RepositoryURL: "https://git.example.com/x.git"}, postgres.Idempotency{})
	return task, err
}

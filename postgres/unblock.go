package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// unblock queues those of the blocked tasks that follow ended ones which now
// follow nobody that has not ended.
func (s *spreading) unblock(ctx context.Context, ended []corp.TaskID) error {
	// In two steps: joined, the planner may go through all of one for each of the other.
	followers, err := door.Collect(ctx, s.tx, pgx.RowTo[corp.TaskID], `
		SELECT DISTINCT task_id FROM task_dependencies WHERE workspace_id = $1 AND depends_on = ANY($2)`, s.w.door.ID, ended)
	if err != nil || len(followers) == 0 {
		return err
	}
	waiting, err := door.Collect(ctx, s.tx, pgx.RowTo[corp.TaskID], `
		SELECT id FROM tasks WHERE workspace_id = $1 AND id = ANY($2) AND state = 'blocked' ORDER BY id FOR NO KEY UPDATE`, s.w.door.ID, followers)
	if err != nil || len(waiting) == 0 {
		return err
	}
	// Another statement: it sees what was committed while this one waited for the
	// locks. LIMIT 1 keeps it row by row, through the indexes.
	ready, err := door.Collect(ctx, s.tx, pgx.RowTo[corp.TaskID], `
		SELECT u.id FROM unnest($2::uuid[]) AS u (id)
		WHERE (
			SELECT true FROM task_dependencies d
			CROSS JOIN LATERAL (SELECT p.state FROM tasks p WHERE p.workspace_id = $1 AND p.id = d.depends_on LIMIT 1) p
			WHERE d.workspace_id = $1 AND d.task_id = u.id AND p.state IN ('queued', 'running', 'blocked') LIMIT 1) IS NULL
		ORDER BY u.id`, s.w.door.ID, waiting)
	if err != nil || len(ready) == 0 {
		return err
	}
	return s.queueReady(ctx, ready)
}

// queueReady gives blocked tasks their next run.
func (s *spreading) queueReady(ctx context.Context, ready []corp.TaskID) error {
	type begun struct {
		ID       corp.TaskID
		RunID    corp.RunID
		Attempts int
	}
	runs := map[string]string{}
	for i, run := range sortedIDs[corp.RunID](len(ready)) {
		runs[ready[i].UUID()] = run.UUID()
	}
	tasks, err := door.Collect(ctx, s.tx, pgx.RowToStructByName[begun], `
		UPDATE tasks SET state = 'queued', reason = '', detail = '', attempts = attempts + 1, run_id = ($3::jsonb ->> id::text)::uuid
		WHERE workspace_id = $1 AND id = ANY($2)
		RETURNING id, run_id, attempts`, s.w.door.ID, ready, runs)
	if err != nil {
		return fmt.Errorf("unblock tasks: %w", err)
	}
	queueRuns(&s.b, s.w.door.ID, ready, corp.ActorSystem, nil)
	byID := make(map[corp.TaskID]begun, len(tasks))
	for _, t := range tasks {
		byID[t.ID] = t
	}
	for _, id := range ready {
		t := byID[id]
		because := door.Why{Attempt: t.Attempts}
		s.events = append(s.events, door.Event{Kind: "task.queued", Task: id, Run: t.RunID, Data: because}, door.Event{Kind: "run.queued", Task: id, Run: t.RunID, Data: because})
	}
	return s.flush(ctx)
}

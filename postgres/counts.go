package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
)

// Counts is how much there is of what, over all workspaces.
type Counts struct {
	Runs          map[corp.RunState]int64 // the states that are not final
	Tasks         map[corp.TaskState]int64
	RunnersOnline int64
	Slots         int64                // of the runners that are online and take new runs
	Queue         map[string]PlanQueue // by plan: one whose workspaces have nothing due is not there
}

// PlanQueue is what the workspaces of a plan have queued that is due.
type PlanQueue struct {
	Plan   string
	Depth  int64
	Oldest float64 // seconds that the oldest one has been due
}

// Counts counts what is going on, over all workspaces: the runs and tasks that
// are not final, the queue by plan, and the runners that were heard of lately.
func (s SystemDB) Counts(ctx context.Context) (Counts, error) {
	type count struct {
		What, State string
		N, Slots    int64
	}
	var counts []count
	var queues []PlanQueue
	// Each part is read through the partial index that has its condition.
	err := s.door.ReadTogether(ctx, func(b *pgx.Batch) {
		readInto(b, &counts, `
			SELECT 'run' AS what, 'queued' AS state, count(*) AS n, 0 AS slots FROM runs r WHERE r.state = 'queued' AND r.not_before IS NULL
			UNION ALL
			SELECT 'run', 'queued', count(*), 0 FROM runs r WHERE r.state = 'queued' AND r.not_before IS NOT NULL
			UNION ALL
			SELECT 'run', r.state, count(*), 0 FROM runs r WHERE `+inHand+` GROUP BY r.state
			UNION ALL
			SELECT 'task', state, count(*), 0 FROM tasks WHERE state IN ('queued', 'running', 'blocked') GROUP BY state
			UNION ALL
			SELECT 'runner', '', count(*), coalesce(sum(slots) FILTER (WHERE NOT draining), 0)
			FROM (SELECT seen_at, slots, draining FROM pool_runners UNION ALL SELECT seen_at, slots, draining FROM runners) r
			WHERE seen_at > clock_timestamp() - $1::bigint * interval '1 millisecond'`, offlineAfter.Milliseconds())
		readInto(b, &queues, `
			SELECT w.plan, sum(q.n)::bigint AS depth, max(extract(epoch FROM clock_timestamp() - q.since))::float8 AS oldest
			FROM (
				SELECT r.workspace_id, count(*) AS n, min(r.created_at) AS since FROM runs r WHERE r.state = 'queued' AND r.not_before IS NULL GROUP BY r.workspace_id
				UNION ALL
				SELECT r.workspace_id, count(*), min(r.not_before) FROM runs r WHERE r.state = 'queued' AND r.not_before <= now() GROUP BY r.workspace_id
			) q JOIN workspaces w USING (workspace_id) GROUP BY w.plan`)
	})
	c := Counts{
		Runs:  map[corp.RunState]int64{corp.RunQueued: 0, corp.RunLeased: 0, corp.RunRunning: 0, corp.RunWaiting: 0},
		Tasks: map[corp.TaskState]int64{corp.TaskQueued: 0, corp.TaskRunning: 0, corp.TaskBlocked: 0},
		Queue: map[string]PlanQueue{},
	}
	for _, row := range counts {
		switch row.What {
		case "run":
			c.Runs[corp.RunState(row.State)] += row.N
		case "task":
			c.Tasks[corp.TaskState(row.State)] = row.N
		default:
			c.RunnersOnline, c.Slots = row.N, row.Slots
		}
	}
	for _, q := range queues {
		c.Queue[q.Plan] = q
	}
	return c, err
}

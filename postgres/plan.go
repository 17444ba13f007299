package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

const planColumns = `p.name, p.weight, p.priority, p.concurrency, p.agents, p.users, p.tasks_per_day, p.requests_per_hour, p.request_burst,
	p.agent_minutes_per_month, p.streams, p.messages_per_second`

var scanPlan = pgx.RowToStructByName[corp.Plan]

// Plans lists what workspaces may pay for.
func (s SystemDB) Plans(ctx context.Context) ([]corp.Plan, error) {
	return door.QuerySystem(ctx, s.door, scanPlan, `SELECT `+planColumns+` FROM plans p ORDER BY p.weight, p.name`)
}

// Held is how much a workspace has of what is counted in rows.
type Held struct {
	Agents    int64
	Schedules int64
	Tasks     int64 // of the last 24 hours; at most one above the plan's
	Running   int64 // runs that are leased
	Users     int64 // members, and open invitations
}

// Held returns the workspace's plan and how much it has of what the plan limits.
func (w WorkspaceDB) Held(ctx context.Context) (corp.Plan, Held, error) {
	type row struct {
		corp.Plan
		AgentsHeld, Schedules, Tasks, Running, UsersHeld int64
	}
	found, err := door.QueryOne(ctx, w.door, "workspace", pgx.RowToStructByName[row], `
		SELECT `+planColumns+`,
			(SELECT count(*) FROM agents WHERE workspace_id = $1 AND archived_at IS NULL) AS agents_held,
			(SELECT count(*) FROM schedules WHERE workspace_id = $1 AND archived_at IS NULL) AS schedules,
			(SELECT count(*) FROM (SELECT FROM tasks WHERE workspace_id = $1 AND created_at > now() - interval '24 hours' LIMIT p.tasks_per_day + 1) t) AS tasks,
			(SELECT count(*) FROM runs WHERE workspace_id = $1 AND state IN ('leased', 'running', 'waiting')) AS running,
			(SELECT count(*) FROM members WHERE workspace_id = $1)
				+ (SELECT count(*) FROM invitations WHERE workspace_id = $1 AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > now()) AS users_held
		FROM workspaces w JOIN plans p ON p.name = w.plan WHERE w.workspace_id = $1`)
	return found.Plan, Held{found.AgentsHeld, found.Schedules, found.Tasks, found.Running, found.UsersHeld}, err
}

// quota is how many more of something the workspace may have.
type quota struct {
	plan string
	most int64 // 0: unlimited
	held int64
}

// Whoever adds to what is limited holds a lock, from before the count to the
// commit: two at once would both find the last place free. Only where there is a
// limit, and for each kind of thing its own. The statement after this one sees
// what was committed while it waited.
const lockRoom = `
	SELECT p.name, %[1]s, CASE WHEN %[1]s > 0 THEN pg_advisory_xact_lock(hashtextextended('%[2]s ' || w.workspace_id::text, 0))::text END
	FROM workspaces w JOIN plans p ON p.name = w.plan WHERE w.workspace_id = $1`

const (
	countAgents    = `SELECT count(*) FROM agents WHERE workspace_id = $1 AND archived_at IS NULL`
	countSchedules = `SELECT count(*) FROM schedules WHERE workspace_id = $1 AND archived_at IS NULL`
	// It reads no more of the index than the limit, and nothing without one.
	countTasks = `
		SELECT count(*) FROM (
			SELECT FROM tasks WHERE workspace_id = $1 AND created_at > now() - interval '24 hours'
			LIMIT (SELECT p.tasks_per_day FROM workspaces w JOIN plans p ON p.name = w.plan WHERE w.workspace_id = $1)) t`
)

var (
	lockAgents    = fmt.Sprintf(lockRoom, "p.agents::bigint", "agents")
	lockTasks     = fmt.Sprintf(lockRoom, "p.tasks_per_day", "tasks")
	lockSchedules = fmt.Sprintf(lockRoom, fmt.Sprintf("%d::bigint", corp.MaxSchedules), "schedules")
)

// queueCount finds out how much room there is, and keeps others from taking it.
func (r *quota) queueCount(b *door.Batch, ws corp.WorkspaceID, lock, count string) {
	b.Queue(lock, ws).QueryRow(func(row pgx.Row) error {
		var locked *string
		return row.Scan(&r.plan, &r.most, &locked)
	})
	b.Queue(count, ws).QueryRow(func(row pgx.Row) error { return row.Scan(&r.held) })
}

// full says whether n more are too many.
func (r *quota) full(n int) bool { return r.most > 0 && r.held+int64(n) > r.most }

// oneMore refuses one more of what a lock and a count are for.
func (w WorkspaceDB) oneMore(ctx context.Context, tx pgx.Tx, lock, count string, refusal func(quota) error) error {
	var r quota
	var b door.Batch
	r.queueCount(&b, w.door.ID, lock, count)
	if err := door.Send(ctx, tx, &b); err != nil {
		return err
	}
	if r.full(1) {
		return refusal(r)
	}
	return nil
}

func noRoomForAgent(r quota) error {
	return &corp.Error{
		Kind: corp.KindLimit, Code: "agents", Message: fmt.Sprintf("The plan %s has %d agents, and the workspace has them.", r.plan, r.most),
		Hint: "Archive an agent that is not needed, or change to a larger plan.",
	}
}

func noRoomForSchedule(r quota) error {
	return &corp.Error{
		Kind: corp.KindLimit, Code: "schedules", Message: fmt.Sprintf("A workspace has at most %d schedules.", r.most),
		Hint: "Archive a schedule that is not needed.",
	}
}

func noRoomForTasks(r quota, n int) error {
	return &corp.Error{
		Kind: corp.KindLimit, Code: "tasks_per_day",
		Message: fmt.Sprintf("The plan %s has %d tasks in 24 hours; %d were submitted, and this would add %d.", r.plan, r.most, r.held, n),
		Hint:    "Submit them when the older ones are a day old, or change to a larger plan; \"corp limits\" shows what is left.",
	}
}

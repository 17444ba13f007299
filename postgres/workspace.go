package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// The concurrency shown is the one that holds: the workspace's own below the
// plan's. 0 is unlimited in both, so least() must not see it.
const selectWorkspaces = `
	SELECT w.workspace_id AS id, w.slug, w.name, w.plan, coalesce(least(nullif(w.concurrency, 0), nullif(p.concurrency, 0)), 0) AS concurrency,
		w.weight, b.limit_nanodollars AS budget, b.spent_nanodollars AS spent, w.created_by, w.created_at, w.archived_at, w.suspended_at
	FROM workspaces w JOIN plans p ON p.name = w.plan JOIN budgets b ON b.workspace_id = w.workspace_id AND b.task_id IS NULL `

var scanWorkspace = pgx.RowToStructByName[corp.Workspace]

// Workspace returns the workspace itself.
func (w WorkspaceDB) Workspace(ctx context.Context) (corp.Workspace, error) {
	return door.QueryOne(ctx, w.door, "workspace", scanWorkspace, selectWorkspaces+`WHERE w.workspace_id = $1`)
}

// UpdateWorkspace changes the workspace's name and limits. A concurrency above
// the plan's is kept and has no effect; a budget below what is spent stops every
// further grant.
func (w WorkspaceDB) UpdateWorkspace(ctx context.Context, actor corp.Actor, u corp.WorkspaceUpdate) (changed corp.Workspace, err error) {
	if u.Budget != nil && u.NoBudget {
		return changed, corp.Invalid("no_budget", "A budget cannot be set and removed at once.", "Send budget_nanodollars or no_budget, not both.")
	}
	err = w.door.In(ctx, func(tx pgx.Tx) error {
		var b door.Batch
		b.Queue(`UPDATE workspaces SET name = coalesce($2, name), concurrency = coalesce($3, concurrency) WHERE workspace_id = $1`, w.door.ID, u.Name, u.Concurrency)
		b.Queue(`
			UPDATE budgets SET limit_nanodollars = CASE WHEN $3 THEN NULL ELSE coalesce($2, limit_nanodollars) END
			WHERE workspace_id = $1 AND task_id IS NULL`, w.door.ID, u.Budget, u.NoBudget)
		if err := door.Send(ctx, tx, &b); err != nil {
			return err
		}
		door.Say(tx, Notice{Kind: NoticeLimits, Workspace: w.door.ID})
		changed, err = door.CollectOne(ctx, tx, "workspace", scanWorkspace, selectWorkspaces+`WHERE w.workspace_id = $1`, w.door.ID)
		if err != nil {
			return err
		}
		w.door.Emit(tx, door.Event{Kind: "workspace.updated", Data: door.About{ID: w.door.ID.String(), Name: changed.Name, By: actor}})
		return nil
	})
	return changed, err
}

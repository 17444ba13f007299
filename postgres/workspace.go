package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
)

// The concurrency shown is the one that holds: the workspace's own below the
// plan's. 0 is unlimited in both, so least() must not see it.
const selectWorkspaces = `
	SELECT w.workspace_id AS id, w.slug, w.name, w.plan, coalesce(least(nullif(w.concurrency, 0), nullif(p.concurrency, 0)), 0) AS concurrency,
		w.weight, b.limit_nanodollars AS budget, b.spent_nanodollars AS spent, w.created_by, w.created_at, w.archived_at
	FROM workspaces w JOIN plans p ON p.name = w.plan JOIN budgets b ON b.workspace_id = w.workspace_id AND b.task_id IS NULL `

var scanWorkspace = pgx.RowToStructByName[corp.Workspace]

// Workspace returns the workspace itself.
func (w WorkspaceDB) Workspace(ctx context.Context) (corp.Workspace, error) {
	return queryOne(ctx, w, "workspace", scanWorkspace, selectWorkspaces+`WHERE w.workspace_id = $1`)
}

// UpdateWorkspace changes the workspace's name and limits. A concurrency above
// the plan's is kept and has no effect; a budget below what is spent stops every
// further grant.
func (w WorkspaceDB) UpdateWorkspace(ctx context.Context, actor corp.Actor, u corp.WorkspaceUpdate) (changed corp.Workspace, err error) {
	if u.Budget != nil && u.NoBudget {
		return changed, corp.Invalid("no_budget", "A budget cannot be set and removed at once.", "Send budget_nanodollars or no_budget, not both.")
	}
	err = w.in(ctx, func(tx pgx.Tx) error {
		var b batch
		b.Queue(`UPDATE workspaces SET name = coalesce($2, name), concurrency = coalesce($3, concurrency) WHERE workspace_id = $1`, w.ws, u.Name, u.Concurrency)
		b.Queue(`
			UPDATE budgets SET limit_nanodollars = CASE WHEN $3 THEN NULL ELSE coalesce($2, limit_nanodollars) END
			WHERE workspace_id = $1 AND task_id IS NULL`, w.ws, u.Budget, u.NoBudget)
		if err := send(ctx, tx, &b); err != nil {
			return err
		}
		say(tx, Notice{Kind: NoticeLimits, Workspace: w.ws})
		changed, err = collectOne(ctx, tx, "workspace", scanWorkspace, selectWorkspaces+`WHERE w.workspace_id = $1`, w.ws)
		if err != nil {
			return err
		}
		return w.emit(ctx, tx, event{kind: "workspace.updated", data: about{w.ws.String(), changed.Name, actor}})
	})
	return changed, err
}

package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// Suspend puts a workspace out of use, by its id or short name, or has it resumed: its
// keys and sessions may do nothing in it, none of its runs is handed out or may call a
// model, and nothing of it is deleted. Doing it twice changes nothing. What the owner's
// deletion says stays as it is.
func (s SystemDB) Suspend(ctx context.Context, slugOrID string, suspended bool) (changed corp.Workspace, err error) {
	id, _ := corp.ParseID[corp.WorkspaceID](slugOrID) // zero: it is a short name
	err = s.door.In(ctx, func(tx pgx.Tx) error {
		ws, err := door.CollectOne(ctx, tx, "workspace", pgx.RowTo[corp.WorkspaceID], `
			UPDATE workspaces SET suspended_at = CASE WHEN $3 THEN coalesce(suspended_at, now()) END WHERE workspace_id = $1 OR slug = $2 RETURNING workspace_id`, id, slugOrID, suspended)
		if err != nil {
			return err
		}
		door.Say(tx, Notice{Kind: NoticeAccess, Workspace: ws}, Notice{Kind: NoticeLimits, Workspace: ws})
		changed, err = door.CollectOne(ctx, tx, "workspace", scanWorkspace, selectWorkspaces+`WHERE w.workspace_id = $1`, ws)
		door.Describe(ctx, ws.String(), map[string]string{"slug": changed.Slug})
		return err
	})
	return changed, err
}

package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// Tree returns a task and all beneath it, each parent before its parts and parts
// in the order in which they were submitted; at most limit of them.
func (w WorkspaceDB) Tree(ctx context.Context, root corp.TaskID, limit int) (tree corp.Tree, err error) {
	nodes, err := door.Query(ctx, w.door, pgx.RowToStructByName[corp.TreeNode], `
		WITH RECURSIVE tree (id, depth, path) AS (
			SELECT t.id, 1, ARRAY[t.id] FROM tasks t WHERE t.workspace_id = $1 AND t.id = $2
			UNION ALL
			SELECT t.id, tree.depth + 1, tree.path || t.id FROM tree JOIN tasks t ON t.workspace_id = $1 AND t.parent_id = tree.id
		), shown AS (
			SELECT * FROM tree ORDER BY path LIMIT $3
		)
		SELECT t.id AS task_id, t.parent_id, shown.depth, t.state, t.reason, a.name AS agent, left(t.prompt, 200) AS prompt
		FROM shown
		CROSS JOIN LATERAL (SELECT * FROM tasks t WHERE t.workspace_id = $1 AND t.id = shown.id LIMIT 1) t
		JOIN agents a ON a.workspace_id = $1 AND a.id = t.agent_id
		ORDER BY shown.path`, root, limit+1)
	if err == nil && len(nodes) == 0 {
		err = corp.NotFound("task")
	}
	if err != nil {
		return tree, err
	}
	more := len(nodes) > limit
	return corp.Tree{Nodes: nodes[:min(len(nodes), limit)], More: more}, nil
}

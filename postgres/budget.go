package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// The codes of a limit error that GrantAllowance returns.
const (
	CodeTaskBudget      = "task_budget"
	CodeWorkspaceBudget = "workspace_budget"
)

const selectBudgets = `SELECT id, task_id, limit_nanodollars AS "limit", spent_nanodollars AS spent, granted_nanodollars AS granted FROM budgets `

var scanBudget = pgx.RowToStructByName[corp.Budget]

// Budgets returns the budgets that a task's model calls come out of: its own and
// the workspace's.
func (w WorkspaceDB) Budgets(ctx context.Context, task corp.TaskID) ([]corp.Budget, error) {
	found, err := door.Query(ctx, w.door, scanBudget, selectBudgets+`WHERE workspace_id = $1 AND (task_id = $2 OR task_id IS NULL) ORDER BY task_id NULLS LAST`, task)
	if err == nil && len(found) < 2 {
		err = corp.NotFound("task")
	}
	if err != nil {
		return nil, err
	}
	return found, nil
}

// lockBudgets locks the workspace's budget and those of some tasks, in the order
// of their ids.
func (w WorkspaceDB) lockBudgets(ctx context.Context, tx pgx.Tx, tasks ...corp.TaskID) ([]corp.Budget, error) {
	return door.Collect(ctx, tx, scanBudget, selectBudgets+`
		WHERE workspace_id = $1 AND (task_id = ANY($2) OR task_id IS NULL) ORDER BY id FOR NO KEY UPDATE`, w.door.ID, tasks)
}

// GrantAllowance adds to what a server may spend on a task without asking again:
// of every budget that applies and has a limit as much as fits, at most most and
// at least least. If one of them has less left than that, nothing is granted at
// all, and the error is a limit with CodeTaskBudget or CodeWorkspaceBudget. A
// budget without a limit yields no grant.
func (w WorkspaceDB) GrantAllowance(ctx context.Context, server corp.ServerID, task corp.TaskID, least, most corp.Nanodollars) (grants []Grant, err error) {
	if least < 0 || most < least {
		return nil, corp.Invalid("least", "An allowance is asked for in an impossible size.", "Ask for 0 <= least <= most.")
	}
	err = w.door.In(ctx, func(tx pgx.Tx) error {
		budgets, err := w.lockBudgets(ctx, tx, task)
		if err != nil {
			return err
		}
		if len(budgets) < 2 {
			return corp.NotFound("task")
		}
		grants = grants[:0]
		for _, b := range budgets {
			if b.Limit == nil {
				continue
			}
			left := max(*b.Limit-b.Spent-b.Granted, 0)
			if left < least {
				return exhausted(b, budgets)
			}
			added := min(left, most)
			grants = append(grants, Grant{BudgetID: b.ID, TaskID: b.TaskID, Added: added, Limit: *b.Limit, Spent: b.Spent, Granted: b.Granted + added})
		}
		return w.writeGrants(ctx, tx, server, grants)
	})
	if err != nil {
		return nil, err
	}
	return grants, nil
}

// exhausted says which budget is used up; of two the task's, which is the nearer.
func exhausted(b corp.Budget, budgets []corp.Budget) error {
	for _, other := range budgets {
		if b.TaskID.IsZero() && !other.TaskID.IsZero() && other.Limit != nil && *other.Limit-other.Spent-other.Granted <= *b.Limit-b.Spent-b.Granted {
			b = other
		}
	}
	code, whose, hint := CodeTaskBudget, "task", "Submit it again with a higher budget."
	if b.TaskID.IsZero() {
		code, whose, hint = CodeWorkspaceBudget, "workspace", "An admin can raise the workspace's budget."
	}
	return &corp.Error{
		Kind: corp.KindLimit, Code: code, Hint: hint,
		Message: fmt.Sprintf("The budget of this %s is used up: of %s, %s is spent and %s is held for calls under way.", whose, *b.Limit, b.Spent, b.Granted),
	}
}

func (w WorkspaceDB) writeGrants(ctx context.Context, tx pgx.Tx, server corp.ServerID, grants []Grant) error {
	var b door.Batch
	for _, g := range grants {
		b.Queue(`UPDATE budgets SET granted_nanodollars = $3 WHERE workspace_id = $1 AND id = $2`, w.door.ID, g.BudgetID, g.Granted)
	}
	for i, g := range grants {
		b.Queue(`
			INSERT INTO allowances (workspace_id, id, budget_id, server_id, granted_nanodollars) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (workspace_id, budget_id, server_id) WHERE closed_at IS NULL
				DO UPDATE SET granted_nanodollars = allowances.granted_nanodollars + excluded.granted_nanodollars
			RETURNING id`, w.door.ID, corp.NewID[corp.AllowanceID](), g.BudgetID, server, g.Added,
		).QueryRow(func(row pgx.Row) error { return row.Scan(&grants[i].AllowanceID) })
	}
	return door.Send(ctx, tx, &b)
}

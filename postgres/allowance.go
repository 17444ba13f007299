package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

const selectAllowances = `
	SELECT a.id, a.budget_id, b.task_id, a.server_id, a.granted_nanodollars AS granted, a.reported_nanodollars AS reported
	FROM allowances a JOIN budgets b ON b.workspace_id = a.workspace_id AND b.id = a.budget_id `

var scanAllowance = pgx.RowToStructByName[corp.Allowance]

// OpenAllowances returns what a server holds in this workspace: the tasks' before
// the workspace's own.
func (w WorkspaceDB) OpenAllowances(ctx context.Context, server corp.ServerID) ([]corp.Allowance, error) {
	return door.Query(ctx, w.door, scanAllowance, selectAllowances+`
		WHERE a.workspace_id = $1 AND a.server_id = $2 AND a.closed_at IS NULL ORDER BY b.task_id IS NULL, a.id`, server)
}

// ReturnAllowance gives back a part of an allowance that was not spent. More than
// it still holds is a conflict; one that is closed is left as it is.
func (w WorkspaceDB) ReturnAllowance(ctx context.Context, allowance corp.AllowanceID, amount corp.Nanodollars) error {
	if amount < 0 {
		return corp.Invalid("amount", "A negative amount cannot be given back.", "Use GrantAllowance to get more.")
	}
	return w.door.In(ctx, func(tx pgx.Tx) error {
		a, open, err := w.lockAllowance(ctx, tx, allowance)
		if err != nil || !open {
			return err
		}
		if amount > a.Granted-a.Reported {
			return corp.Conflict("More is given back than the allowance still holds.", "Report the calls that were paid from it first.")
		}
		return w.giveBackMoney(ctx, tx, a, amount, false)
	})
}

// lockAllowance locks an allowance, after its budget.
func (w WorkspaceDB) lockAllowance(ctx context.Context, tx pgx.Tx, id corp.AllowanceID) (a corp.Allowance, open bool, err error) {
	if a, err = door.CollectOne(ctx, tx, "allowance", scanAllowance, selectAllowances+`WHERE a.workspace_id = $1 AND a.id = $2`, w.door.ID, id); err != nil {
		return a, false, err
	}
	if _, err = tx.Exec(ctx, `SELECT FROM budgets WHERE workspace_id = $1 AND id = $2 FOR NO KEY UPDATE`, w.door.ID, a.BudgetID); err != nil {
		return a, false, err
	}
	found, err := door.Collect(ctx, tx, scanAllowance, selectAllowances+`
		WHERE a.workspace_id = $1 AND a.id = $2 AND a.closed_at IS NULL FOR NO KEY UPDATE OF a`, w.door.ID, id)
	if err != nil || len(found) == 0 {
		return a, false, err
	}
	return found[0], true, nil
}

func (w WorkspaceDB) giveBackMoney(ctx context.Context, tx pgx.Tx, a corp.Allowance, amount corp.Nanodollars, closing bool) error {
	var b door.Batch
	b.Queue(`UPDATE budgets SET granted_nanodollars = granted_nanodollars - $3 WHERE workspace_id = $1 AND id = $2`, w.door.ID, a.BudgetID, amount)
	b.Queue(`
		UPDATE allowances SET granted_nanodollars = granted_nanodollars - $3, closed_at = CASE WHEN $4 THEN clock_timestamp() END
		WHERE workspace_id = $1 AND id = $2`, w.door.ID, a.ID, amount, closing)
	return door.Send(ctx, tx, &b)
}

// CloseAllowance ends an allowance of a server that is gone. Without unresolved,
// what it did not account for is given back. With it, that counts as spent: it is
// written down as an estimated call, whose cost is set in unresolved. What
// unresolved leaves out (task, run, agent, id, time) is filled in from what the
// allowance was for; the workspace's own allowance closes the tasks' before
// itself, as a call is paid from both. As much as no run could have spent is
// given back. Closing twice changes nothing.
func (w WorkspaceDB) CloseAllowance(ctx context.Context, allowance corp.AllowanceID, unresolved *corp.Call) error {
	if unresolved == nil {
		_, err := w.closeOne(ctx, allowance, nil)
		return err
	}
	found, err := door.Query(ctx, w.door, scanAllowance, selectAllowances+`WHERE a.workspace_id = $1 AND a.id = $2`, allowance)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return corp.NotFound("allowance")
	}
	closing := []corp.Allowance{found[0]}
	if found[0].TaskID.IsZero() && unresolved.TaskID.IsZero() && unresolved.RunID.IsZero() {
		if closing, err = w.OpenAllowances(ctx, found[0].ServerID); err != nil {
			return err
		}
	}
	unresolved.Cost = 0
	for _, a := range closing {
		cost, err := w.closeOne(ctx, a.ID, unresolved)
		if err != nil {
			return err
		}
		unresolved.Cost = corp.AddMoney(unresolved.Cost, cost)
	}
	return nil
}

// closeOne closes one allowance in one transaction and returns the cost of the
// call that it wrote.
func (w WorkspaceDB) closeOne(ctx context.Context, id corp.AllowanceID, unresolved *corp.Call) (cost corp.Nanodollars, err error) {
	err = w.door.In(ctx, func(tx pgx.Tx) error {
		cost = 0
		a, err := door.CollectOne(ctx, tx, "allowance", scanAllowance, selectAllowances+`WHERE a.workspace_id = $1 AND a.id = $2`, w.door.ID, id)
		if err != nil {
			return err
		}
		var call *corp.Call
		if unresolved != nil {
			if call, err = w.attribute(ctx, tx, a, *unresolved); err != nil {
				return err
			}
		}
		if call != nil {
			if cost, err = w.estimate(ctx, tx, a, *call); err != nil {
				return err
			}
		}
		a, open, err := w.lockAllowance(ctx, tx, id)
		if err != nil || !open {
			return err
		}
		return w.giveBackMoney(ctx, tx, a, a.Granted-a.Reported, true)
	})
	return cost, err
}

// attribute finds the run that may have made the calls that an allowance does not
// account for; nil when no run could have.
func (w WorkspaceDB) attribute(ctx context.Context, tx pgx.Tx, a corp.Allowance, call corp.Call) (*corp.Call, error) {
	const selectSpender = `
		SELECT r.id AS run_id, t.id AS task_id, t.agent_id, r.epoch, r.trace_id, clock_timestamp() AS at
		FROM runs r JOIN tasks t ON t.workspace_id = r.workspace_id AND t.id = r.task_id
		JOIN budgets b ON b.workspace_id = t.workspace_id AND b.task_id = t.id
		JOIN allowances a ON a.workspace_id = r.workspace_id AND a.id = $2
		WHERE r.workspace_id = $1 AND `
	where, args := `r.id = $3`, []any{w.door.ID, a.ID, call.RunID}
	switch {
	case !call.RunID.IsZero():
	case !call.TaskID.IsZero() || !a.TaskID.IsZero():
		if call.TaskID.IsZero() {
			call.TaskID = a.TaskID
		}
		where, args = `t.id = $3 AND r.epoch > 0`, []any{w.door.ID, a.ID, call.TaskID}
	default:
		// A task with a limit of its own has an allowance of its own, which is closed by now.
		where, args = `b.limit_nanodollars IS NULL AND r.epoch > 0 AND (r.finished_at IS NULL OR r.finished_at > a.created_at)`, args[:2]
	}
	row := tx.QueryRow(ctx, selectSpender+where+` ORDER BY r.leased_at DESC NULLS LAST, r.attempt DESC LIMIT 1`, args...)
	var found corp.Call
	if err := row.Scan(&found.RunID, &found.TaskID, &found.AgentID, &found.Epoch, &found.TraceID, &found.At); err != nil {
		if errors.Is(err, pgx.ErrNoRows) {
			return nil, nil
		}
		return nil, err
	}
	call.RunID, call.TaskID, call.AgentID = found.RunID, found.TaskID, found.AgentID
	if call.ID.IsZero() {
		call.ID = corp.NewID[corp.CallID]()
	}
	if call.At.IsZero() {
		call.At = found.At
	}
	if call.Epoch == 0 {
		call.Epoch, call.TraceID = found.Epoch, found.TraceID
	}
	return &call, nil
}

// estimate writes a call that costs what the allowance does not account for, as
// far as it could have been spent: a call is paid from every budget with a limit
// that applies, so it cost no more than the server held of each of them.
func (w WorkspaceDB) estimate(ctx context.Context, tx pgx.Tx, a corp.Allowance, call corp.Call) (corp.Nanodollars, error) {
	if _, err := w.lockRun(ctx, tx, call.RunID); err != nil {
		return 0, err
	}
	budgets, err := w.lockBudgets(ctx, tx, call.TaskID)
	if err != nil {
		return 0, err
	}
	held, err := door.Collect(ctx, tx, scanAllowance, selectAllowances+`
		WHERE a.workspace_id = $1 AND a.server_id = $2 AND a.closed_at IS NULL AND (b.task_id = $3 OR b.task_id IS NULL)
		ORDER BY a.id FOR NO KEY UPDATE OF a`, w.door.ID, a.ServerID, call.TaskID)
	if err != nil {
		return 0, err
	}
	rest, charges := map[corp.BudgetID]corp.Nanodollars{}, []Charge{}
	for _, h := range held {
		rest[h.BudgetID] = h.Granted - h.Reported
		charges = append(charges, Charge{h.ID, h.BudgetID})
	}
	cost := rest[a.BudgetID]
	for _, b := range budgets {
		if b.Limit != nil {
			cost = min(cost, rest[b.ID])
		}
	}
	if cost <= 0 {
		return 0, nil
	}
	call.Cost, call.Estimated = cost, true
	if call.Outcome == "" {
		call.Outcome = corp.CallUnsettled
	}
	fresh, err := w.record(ctx, tx, []CallRecord{{call, charges}})
	if err != nil || fresh == 0 {
		return 0, err
	}
	_, err = tx.Exec(ctx, `UPDATE allowances SET estimated_nanodollars = estimated_nanodollars + $3 WHERE workspace_id = $1 AND id = $2`, w.door.ID, a.ID, cost)
	return cost, err
}

package postgres

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// errClosed says that a call was paid from an allowance that is closed: its
// server was taken for dead and settled by estimate, and speaks after all.
var errClosed = errors.New("an allowance is closed")

// writtenAllowance is an allowance and what became of it.
type writtenAllowance struct {
	corp.Allowance
	Closed    bool
	Estimated corp.Nanodollars // written off and not yet used to cover a late call
}

const selectHeld = `
	SELECT a.id, a.budget_id, b.task_id, a.server_id, a.granted_nanodollars AS granted, a.reported_nanodollars AS reported,
		a.closed_at IS NOT NULL AS closed, a.estimated_nanodollars AS estimated
	FROM allowances a JOIN budgets b ON b.workspace_id = a.workspace_id AND b.id = a.budget_id `

var scanHeld = pgx.RowToStructByName[writtenAllowance]

// coveredDetail is what a late call says for people.
const coveredDetail = "Told only after its server had been settled by estimate: that estimate contains its cost."

// coverLate lowers the cost of calls by what an estimate has counted already, and
// uses the estimate up by as much: that of the call's task first, and then the
// others of its server, because what was held of the workspace's budget for
// several tasks was written off for whichever was closed first. It takes the
// locks that recording takes, in their order.
func (w WorkspaceDB) coverLate(ctx context.Context, tx pgx.Tx, calls []CallRecord) ([]CallRecord, error) {
	allowances, known, err := w.lockLate(ctx, tx, calls)
	if err != nil {
		return nil, err
	}
	rest := slices.SortedFunc(slices.Values(calls), func(a, b CallRecord) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	used := map[corp.AllowanceID]corp.Nanodollars{}
	for i := range rest {
		c := &rest[i]
		paid, late := c.Charges, false
		c.Charges = slices.DeleteFunc(slices.Clone(paid), func(ch Charge) bool {
			a := allowances[ch.AllowanceID]
			late = late || a != nil && a.Closed
			return a != nil && a.Closed
		})
		if late && !slices.Contains(known, c.ID) {
			cover(c, paid, allowances, used)
		}
	}
	var b door.Batch
	for id, covered := range used {
		b.Queue(`UPDATE allowances SET estimated_nanodollars = estimated_nanodollars - $3 WHERE workspace_id = $1 AND id = $2`, w.door.ID, id, covered)
	}
	return rest, door.Send(ctx, tx, &b)
}

// cover takes a call's cost out of the estimates of the server that made it.
func cover(c *CallRecord, paid []Charge, allowances map[corp.AllowanceID]*writtenAllowance, used map[corp.AllowanceID]corp.Nanodollars) {
	before := c.Cost
	for _, a := range nearest(c.TaskID, paid, allowances) {
		covered := min(c.Cost, a.Estimated)
		a.Estimated -= covered
		c.Cost -= covered
		if covered > 0 {
			used[a.ID] += covered
		}
	}
	if c.Cost == before {
		return
	}
	c.Estimated = true
	if c.Detail != "" {
		c.Detail += "; "
	}
	c.Detail += coveredDetail
}

// nearest returns the allowances of the server that a call was paid from: its
// task's, the workspace's, and those of other tasks.
func nearest(task corp.TaskID, paid []Charge, allowances map[corp.AllowanceID]*writtenAllowance) (found []*writtenAllowance) {
	servers := map[corp.ServerID]bool{}
	for _, c := range paid {
		if a := allowances[c.AllowanceID]; a != nil {
			servers[a.ServerID] = true
		}
	}
	for _, a := range allowances {
		if servers[a.ServerID] {
			found = append(found, a)
		}
	}
	distance := func(a *writtenAllowance) int {
		switch a.TaskID {
		case task:
			return 0
		case corp.TaskID{}:
			return 1
		default:
			return 2
		}
	}
	slices.SortFunc(found, func(a, b *writtenAllowance) int {
		return cmp.Or(cmp.Compare(distance(a), distance(b)), bytes.Compare(a.ID[:], b.ID[:]))
	})
	return found
}

// lockLate locks the runs, budgets and allowances of some calls, with all that is
// left of the estimates of their servers, and returns the allowances and the
// calls that are in the ledger already.
func (w WorkspaceDB) lockLate(ctx context.Context, tx pgx.Tx, calls []CallRecord) (map[corp.AllowanceID]*writtenAllowance, []corp.CallID, error) {
	var runs []corp.RunID
	var tasks []corp.TaskID
	var ids []corp.CallID
	var charged []corp.AllowanceID
	for _, c := range calls {
		runs, tasks, ids = append(runs, c.RunID), append(tasks, c.TaskID), append(ids, c.ID)
		for _, charge := range c.Charges {
			charged = append(charged, charge.AllowanceID)
		}
	}
	if _, err := tx.Exec(ctx, `SELECT FROM runs WHERE workspace_id = $1 AND id = ANY($2) ORDER BY id FOR NO KEY UPDATE`, w.door.ID, runs); err != nil {
		return nil, nil, err
	}
	if _, err := w.lockBudgets(ctx, tx, tasks...); err != nil {
		return nil, nil, err
	}
	found, err := door.Collect(ctx, tx, scanHeld, selectHeld+`
		WHERE a.workspace_id = $1 AND (a.id = ANY($2) OR a.estimated_nanodollars > 0
			AND a.server_id IN (SELECT o.server_id FROM allowances o WHERE o.workspace_id = $1 AND o.id = ANY($2))) ORDER BY a.id FOR NO KEY UPDATE OF a`, w.door.ID, charged)
	if err != nil {
		return nil, nil, err
	}
	paid := make(map[corp.AllowanceID]*writtenAllowance, len(found))
	for i := range found {
		paid[found[i].ID] = &found[i]
	}
	known, err := door.Collect(ctx, tx, pgx.RowTo[corp.CallID], `SELECT id FROM calls WHERE workspace_id = $1 AND id = ANY($2)`, w.door.ID, ids)
	return paid, known, err
}

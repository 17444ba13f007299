package corp

// Budget is a hard ceiling on the cost of model calls: of a whole workspace, or
// of one task over all its runs. Spent is what calls have cost so far; Granted
// is what servers hold in allowances and have not yet reported as spent or given
// back. Spent + Granted never passes Limit.
type Budget struct {
	ID      BudgetID     `json:"id"`
	TaskID  TaskID       `json:"task_id,omitzero"` // zero for the workspace's own
	Limit   *Nanodollars `json:"limit_nanodollars"`
	Spent   Nanodollars  `json:"spent_nanodollars"`
	Granted Nanodollars  `json:"granted_nanodollars"`
}

// Allowance is a part of a budget that one server may spend without asking
// again. It is written down before it is used; after a crash what it does not
// account for counts as spent until it is reconciled.
type Allowance struct {
	ID       AllowanceID
	BudgetID BudgetID
	TaskID   TaskID // zero for the workspace's own budget
	ServerID ServerID
	Granted  Nanodollars
	Reported Nanodollars // accounted for by rows in the ledger
}

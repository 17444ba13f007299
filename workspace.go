package corp

import "time"

// Workspace is the tenant: everything but the installation's own things
// belongs to exactly one.
type Workspace struct {
	ID          WorkspaceID  `json:"id"`
	Slug        string       `json:"slug"` // a-z, 0-9 and dashes, 3 to 40
	Name        string       `json:"name"`
	Plan        string       `json:"plan"`
	Concurrency int          `json:"concurrency"`        // runs leased at a time; 0 means unlimited
	Weight      int          `json:"weight"`             // share among the workspaces of a plan
	Budget      *Nanodollars `json:"budget_nanodollars"` // hard limit on all its model calls; null means none
	Spent       Nanodollars  `json:"spent_nanodollars"`
	CreatedBy   Actor        `json:"created_by"`
	CreatedAt   time.Time    `json:"created_at"`
	ArchivedAt  *time.Time   `json:"archived_at,omitempty"`
	SuspendedAt *time.Time   `json:"suspended_at,omitempty"` // by the operator: nobody may do anything in it
}

// WorkspaceUpdate changes a workspace; nil leaves a field as it is.
type WorkspaceUpdate struct {
	Name        *string      `json:"name,omitempty" maxLength:"80"`
	Concurrency *int         `json:"concurrency,omitempty" minimum:"0" maximum:"10000"`
	Budget      *Nanodollars `json:"budget_nanodollars,omitempty" minimum:"0"`
	NoBudget    bool         `json:"no_budget,omitempty"` // removes the hard limit
}

// CodeSuspended is the code of what is refused because the operator has suspended the
// workspace.
const CodeSuspended = "workspace_suspended"

// Suspended refuses whoever has a good credential of a suspended workspace.
func Suspended() error {
	return &Error{
		Kind: KindForbidden, Code: CodeSuspended, Message: "The operator of this installation has suspended this workspace.",
		Hint: "Ask whoever runs the installation. Nothing of the workspace is deleted meanwhile.",
	}
}

package corp

import "time"

// The limits of a task that does not name its own, and the widest ones.
const (
	DefaultTimeout = 5 * time.Minute // requirement L4
	MaxTimeout     = 24 * time.Hour
	MaxPrompt      = 256 << 10 // bytes
)

// TaskSpec is what somebody asks for. Exactly one of RepositoryID,
// RepositoryURL and SourceID says where the code is.
type TaskSpec struct {
	Prompt         string        `json:"prompt" minLength:"1" maxLength:"262144" doc:"What to do, in plain words."`
	Agent          string        `json:"agent,omitempty" maxLength:"80" doc:"Name or id of the agent; empty means the one named default."`
	RepositoryID   *RepositoryID `json:"repository_id,omitempty" doc:"A repository of the workspace."`
	RepositoryURL  string        `json:"repository_url,omitempty" maxLength:"2000" doc:"A git URL (https, http, ssh, git); never a path."`
	SourceID       *BlobID       `json:"source_id,omitempty" doc:"An uploaded git bundle of base_commit."`
	Base           string        `json:"base,omitempty" maxLength:"250" doc:"Branch, tag or commit to start from; empty means the repository's default."`
	BaseCommit     string        `json:"base_commit,omitempty" pattern:"^([0-9a-f]{40}|[0-9a-f]{64})?$" doc:"The exact commit; required with source_id."`
	Check          string        `json:"check,omitempty" maxLength:"8192" doc:"Shell command that must exit 0 for the task to succeed."`
	Budget         *Nanodollars  `json:"budget_nanodollars,omitempty" minimum:"0" doc:"Hard limit on the cost of all its model calls, over all its runs."`
	TimeoutSeconds int           `json:"timeout_seconds,omitempty" minimum:"0" maximum:"86400" doc:"Time of one run; 0 means 300."`
	MaxAttempts    int           `json:"max_attempts,omitempty" minimum:"0" maximum:"20" doc:"Runs before the task is dead; 0 means 3."`
	Priority       int           `json:"priority,omitempty" minimum:"0" maximum:"9" doc:"Higher goes first within the workspace."`
	Labels         []string      `json:"labels,omitempty" maxItems:"20" doc:"Labels that the runner must have."`
}

// Task is a spec and how far it has come. Its results are those of its last run.
type Task struct {
	ID TaskID `json:"id"`
	TaskSpec
	AgentID      AgentID     `json:"agent_id"`
	AgentVersion int         `json:"agent_version"`
	State        TaskState   `json:"state"`
	Reason       Reason      `json:"reason"`
	Detail       string      `json:"detail"` // a sentence for people
	Attempts     int         `json:"attempts"`
	RunID        RunID       `json:"run_id"` // the latest run
	Spent        Nanodollars `json:"spent_nanodollars"`
	CancelAt     *time.Time  `json:"cancel_requested_at,omitempty"`
	CreatedBy    Actor       `json:"created_by"`
	CreatedAt    time.Time   `json:"created_at"`
	StartedAt    *time.Time  `json:"started_at,omitempty"`
	FinishedAt   *time.Time  `json:"finished_at,omitempty"`
}

// BranchOf returns the name of the branch that a task's result is delivered on.
func BranchOf(task TaskID) string { return "corp/" + task.String() }

// TaskFilter narrows a list of tasks; the zero filter lists all.
type TaskFilter struct {
	State TaskState
	Agent AgentID
}

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
	Retry          *RetryPolicy  `json:"retry,omitempty" doc:"Pauses between attempts; left out means 2 s doubling up to 5 minutes."`

	NotBefore       *time.Time   `json:"not_before,omitempty" doc:"Start no earlier than this."`
	DelaySeconds    int64        `json:"delay_seconds,omitempty" minimum:"0" maximum:"31536000" doc:"Start no earlier than this many seconds after it is submitted; instead of not_before."`
	DeadlineAt      *time.Time   `json:"deadline_at,omitempty" doc:"When it is not done by then, it ends with reason deadline."`
	DeadlineSeconds int64        `json:"deadline_seconds,omitempty" minimum:"0" maximum:"31536000" doc:"The same, in seconds after it is submitted; instead of deadline_at."`
	ParentID        *TaskID      `json:"parent_id,omitempty" doc:"The task that this one is a part of: cancelling the parent cancels it too."`
	After           []Dependency `json:"after,omitempty" db:"-" maxItems:"100" doc:"Tasks that must end before this one starts."`
}

// RetryPolicy is how long to wait before another attempt: full jitter, uniform
// in [0, min(cap, base·2^(n-1))] before the attempt that follows failed attempt n.
type RetryPolicy struct {
	BaseMS int64 `json:"base_ms" minimum:"0" maximum:"86400000" doc:"0 means 2000."`
	CapMS  int64 `json:"cap_ms" minimum:"0" maximum:"86400000" doc:"0 means 300000."`
}

// Dependency is a task that another one follows. In a batch Ref may name a task
// of the same batch instead of TaskID.
type Dependency struct {
	TaskID    TaskID `json:"task_id,omitzero" doc:"A task of the workspace."`
	Ref       string `json:"ref,omitempty" maxLength:"80" doc:"In a batch: the ref of another of its tasks, instead of task_id."`
	OnFailure string `json:"on_failure,omitempty" enum:"cancel,continue" doc:"What to do when it does not succeed: cancel (the default) or start all the same."`
}

// What becomes of a task when one that it follows does not succeed.
const (
	OnFailureCancel   = "cancel"
	OnFailureContinue = "continue"
)

// BatchTask is one task of a batch. Ref names it within the batch, for After.
type BatchTask struct {
	Ref string `json:"ref,omitempty" maxLength:"80" doc:"A name for this task within the batch, for after."`
	TaskSpec
}

// BatchSpec is many tasks that are submitted together: all or none.
type BatchSpec struct {
	Tasks []BatchTask `json:"tasks" minItems:"1" maxItems:"5000"`
}

// MaxBatch is how many tasks one batch may have.
const MaxBatch = 5000

// Batch is what a BatchSpec became, its tasks in the order of the spec.
type Batch struct {
	ID    BatchID     `json:"id"`
	Tasks []BatchItem `json:"tasks"`
}

// BatchItem is one task of a batch that was submitted.
type BatchItem struct {
	Ref    string    `json:"ref,omitempty"`
	TaskID TaskID    `json:"task_id"`
	State  TaskState `json:"state"`
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
	Redrives     int         `json:"redrives"` // how often its attempts were granted anew after it was dead
	BatchID      *BatchID    `json:"batch_id,omitempty"`
	ScheduleID   *ScheduleID `json:"schedule_id,omitempty"`
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
	State    TaskState
	Agent    AgentID
	Parent   TaskID
	Batch    BatchID
	Schedule ScheduleID
	Reason   Reason
}

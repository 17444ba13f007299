package corp

import "time"

// Run is one attempt at a task, on one runner at a time.
type Run struct {
	ID         RunID        `json:"id"`
	TaskID     TaskID       `json:"task_id"`
	Attempt    int          `json:"attempt"` // from 1
	State      RunState     `json:"state"`
	Reason     Reason       `json:"reason"`
	Detail     string       `json:"detail"`
	Epoch      int64        `json:"epoch"` // grows with each lease; a write with an older one is refused
	RunnerID   RunnerID     `json:"runner_id,omitzero"`
	RunnerName string       `json:"runner_name"`
	TraceID    string       `json:"trace_id"` // 32 hex digits, W3C Trace Context
	Branch     string       `json:"branch"`
	Commit     string       `json:"commit"`
	Diffstat   *Diffstat    `json:"diffstat,omitempty"`
	Check      *CheckResult `json:"check,omitempty"`
	ResultID   *BlobID      `json:"result_id,omitempty"` // bundle of the branch, when it was not pushed
	PatchID    *BlobID      `json:"patch_id,omitempty"`
	Pushed     bool         `json:"pushed"` // the branch is on the remote
	Sandbox    string       `json:"sandbox"`
	Simulated  bool         `json:"simulated"` // at least one model call was answered by a simulated vendor
	Calls      int64        `json:"calls"`
	Usage      Usage        `json:"usage"`
	Cost       Nanodollars  `json:"cost_nanodollars"`
	NotBefore  *time.Time   `json:"not_before,omitempty"`
	CreatedAt  time.Time    `json:"created_at"`
	LeasedAt   *time.Time   `json:"leased_at,omitempty"`
	StartedAt  *time.Time   `json:"started_at,omitempty"`
	FinishedAt *time.Time   `json:"finished_at,omitempty"`
}

// Diffstat is what a change comes to.
type Diffstat struct {
	Files      int        `json:"files"`
	Insertions int        `json:"insertions"`
	Deletions  int        `json:"deletions"`
	Paths      []PathStat `json:"paths,omitempty"` // at most 200
}

// PathStat is what a change comes to in one file; a binary file has no lines.
type PathStat struct {
	Path       string `json:"path"`
	Insertions int    `json:"insertions"`
	Deletions  int    `json:"deletions"`
	Binary     bool   `json:"binary,omitempty"`
}

// CheckResult is how the task's check command ended.
type CheckResult struct {
	Command  string  `json:"command"`
	ExitCode int     `json:"exit_code"` // -1 when it was killed
	Passed   bool    `json:"passed"`
	Output   string  `json:"output"` // head and tail, at most 64 KiB
	Seconds  float64 `json:"seconds"`
}

// Outcome is how a runner says that a run ended. The server decides what the
// task becomes of it.
type Outcome struct {
	State    RunState     `json:"state" enum:"succeeded,failed,cancelled"`
	Reason   Reason       `json:"reason"`
	Detail   string       `json:"detail" maxLength:"4000"`
	Branch   string       `json:"branch,omitempty" maxLength:"250"`
	Commit   string       `json:"commit,omitempty" maxLength:"64"`
	Diffstat *Diffstat    `json:"diffstat,omitempty"`
	Check    *CheckResult `json:"check,omitempty"`
	ResultID *BlobID      `json:"result_id,omitempty"`
	PatchID  *BlobID      `json:"patch_id,omitempty"`
	Pushed   bool         `json:"pushed,omitempty"`
	Sandbox  string       `json:"sandbox,omitempty" maxLength:"40"`
}

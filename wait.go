package corp

import "time"

// WaitCause says what a task that has not started waits for. The list is closed.
type WaitCause string

// The causes, in the order in which they are looked at.
const (
	WaitNothing         WaitCause = "nothing"          // it runs, or is final
	WaitDependency      WaitCause = "dependency"       // for another task to end
	WaitTime            WaitCause = "time"             // its not_before, or the pause before another attempt
	WaitWorkspaceLimit  WaitCause = "workspace_limit"  // as many of the workspace's runs as may be are leased
	WaitAgentLimit      WaitCause = "agent_limit"      // the same for its agent
	WaitRepositoryLimit WaitCause = "repository_limit" // the same for its repository
	WaitNoRunner        WaitCause = "no_runner"        // no runner that was heard of lately has its labels and its runtime
	WaitRunnersBusy     WaitCause = "runners_busy"     // every runner that fits is busy
	WaitTurn            WaitCause = "turn"             // it is about to be offered
	WaitNoLeader        WaitCause = "no_leader"        // no server leads at the moment
)

// Wait answers "why does it wait, and about how long".
type Wait struct {
	TaskID   TaskID     `json:"task_id"`
	State    TaskState  `json:"state"`
	Cause    WaitCause  `json:"cause"`
	Detail   string     `json:"detail"`             // a sentence for people
	Position int        `json:"position,omitempty"` // in its workspace's queue, from 1; 0 when it is not in it
	Limit    int        `json:"limit,omitempty"`    // with one of the limits: how many may run
	InUse    int        `json:"in_use,omitempty"`   // and how many do
	Until    *time.Time `json:"until,omitempty"`    // with time
	AboutMS  *int64     `json:"about_ms,omitempty"` // a guess at how long it will take to start; absent when nothing can be said
}

package corp

// TaskState is how far a task has come. The drawing is in docs/states.md.
type TaskState string

// The states of a task. The last four are final.
const (
	TaskQueued    TaskState = "queued"
	TaskRunning   TaskState = "running"
	TaskBlocked   TaskState = "blocked" // waits for another task
	TaskSucceeded TaskState = "succeeded"
	TaskFailed    TaskState = "failed" // final, and not worth another try
	TaskCancelled TaskState = "cancelled"
	TaskDead      TaskState = "dead" // every attempt is used up
)

// Final says whether the state never changes again by itself.
func (s TaskState) Final() bool {
	return s == TaskSucceeded || s == TaskFailed || s == TaskCancelled || s == TaskDead
}

// Phrase says of a task that it is in the state, as a sentence goes on after its
// name: "is queued", "has succeeded".
func (s TaskState) Phrase() string {
	if s == TaskSucceeded || s == TaskFailed {
		return "has " + string(s)
	}
	return "is " + string(s)
}

// RunState is how far one attempt has come.
type RunState string

// The states of a run. The last four are final.
const (
	RunQueued    RunState = "queued"
	RunLeased    RunState = "leased"  // offered to a runner, not yet acknowledged
	RunRunning   RunState = "running" // acknowledged
	RunWaiting   RunState = "waiting" // for an approval or a limit; gives its slot back after a grace time
	RunSucceeded RunState = "succeeded"
	RunFailed    RunState = "failed"
	RunCancelled RunState = "cancelled"
	RunLost      RunState = "lost" // its runner fell silent after the acknowledgement
)

// Final says whether the state never changes again.
func (s RunState) Final() bool {
	return s == RunSucceeded || s == RunFailed || s == RunCancelled || s == RunLost
}

// Leased says whether a runner holds the run, and so whether it takes up a slot.
func (s RunState) Leased() bool { return s == RunLeased || s == RunRunning || s == RunWaiting }

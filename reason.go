package corp

// Reason says why a task or a run is in its state. The list is closed; the
// sentence for people stands beside it in Detail.
type Reason string

// The reasons. Those of a queued or waiting state come first, then those of a
// final state.
const (
	ReasonNone             Reason = ""
	ReasonRetry            Reason = "retry"                // queued again after a failure worth another try
	ReasonNotAcknowledged  Reason = "not_acknowledged"     // an offer was not taken up; no attempt was used
	ReasonReleased         Reason = "released"             // a draining runner gave the run back; no attempt was used
	ReasonDependency       Reason = "dependency"           // blocked by an unfinished task
	ReasonApproval         Reason = "approval"             // a person owes a decision
	ReasonCompleted        Reason = "completed"            // done, and the check passed if there was one
	ReasonCheckFailed      Reason = "check_failed"         // the agent finished, the check command did not pass
	ReasonNoChange         Reason = "no_change"            // the agent ended without changing a file
	ReasonCancelled        Reason = "cancelled"            // somebody asked for it
	ReasonDependencyFailed Reason = "dependency_failed"    // cancelled: a task that it was to follow did not succeed
	ReasonDeadline         Reason = "deadline"             // the task was not done by its deadline
	ReasonTimeout          Reason = "timeout"              // the run used up its time
	ReasonBudget           Reason = "budget"               // a hard money limit was reached
	ReasonStepLimit        Reason = "step_limit"           // the agent used up its turns or looped
	ReasonRefused          Reason = "refused"              // the model declined
	ReasonModelUnknown     Reason = "model_unknown"        // no price or no such model
	ReasonProviderKey      Reason = "provider_key"         // the vendor did not accept the key
	ReasonProviderRejected Reason = "provider_rejected"    // the vendor called the request wrong
	ReasonProviderDown     Reason = "provider_unavailable" // the vendor was unreachable or overloaded
	ReasonRepository       Reason = "repository"           // the source could not be fetched
	ReasonBase             Reason = "base"                 // the base commit is not there
	ReasonDelivery         Reason = "delivery"             // the branch could not be delivered
	ReasonDiskFull         Reason = "disk_full"            // no space left in the checkout
	ReasonSandbox          Reason = "sandbox"              // the sandbox could not be made
	ReasonAgentFailed      Reason = "agent_failed"         // the agent process ended or answered wrongly
	ReasonRunnerLost       Reason = "runner_lost"          // the lease ran out without a word
	ReasonAttempts         Reason = "attempts"             // every attempt is used up
	ReasonInternal         Reason = "internal"             // our fault
)

// Retryable says whether another attempt may end differently. A failure that
// would repeat itself (a failed check, a bad base, an empty purse) is final.
func (r Reason) Retryable() bool {
	switch r {
	case ReasonProviderDown, ReasonRunnerLost, ReasonAgentFailed, ReasonSandbox, ReasonDiskFull, ReasonRepository, ReasonDelivery, ReasonInternal:
		return true
	default:
		return false
	}
}

// Reasons lists every reason, for the database's CHECK constraint and the API's schema.
func Reasons() []Reason {
	return []Reason{
		ReasonNone, ReasonRetry, ReasonNotAcknowledged, ReasonReleased, ReasonDependency, ReasonApproval,
		ReasonCompleted, ReasonCheckFailed, ReasonNoChange, ReasonCancelled, ReasonTimeout, ReasonBudget,
		ReasonDependencyFailed, ReasonDeadline, ReasonStepLimit, ReasonRefused, ReasonModelUnknown, ReasonProviderKey, ReasonProviderRejected,
		ReasonProviderDown, ReasonRepository, ReasonBase, ReasonDelivery, ReasonDiskFull, ReasonSandbox,
		ReasonAgentFailed, ReasonRunnerLost, ReasonAttempts, ReasonInternal,
	}
}

package corp

import "encoding/json"

// The bounds of a journal.
const (
	MaxStep         = 1 << 20  // bytes of one step's output
	MaxJournalSteps = 20_000   // steps of one journal
	MaxJournalBytes = 32 << 20 // of the outputs of one journal
	MaxStepBatch    = 500      // steps of one request
)

// Step is something that a run has done and that a later one must not pay for
// again: a model's answer, or what a tool call came to. The server does not look
// into Output.
type Step struct {
	Key    string          `json:"key" minLength:"1" maxLength:"40" pattern:"^[0-9a-z][0-9a-z.]*$" doc:"Its place in the journal; keys are ordered by their bytes."`
	Output json.RawMessage `json:"output" doc:"Any JSON, of at most 1 MiB."`
}

// StepBatch saves steps. The first that writes a key wins, so a batch may be
// sent again.
type StepBatch struct {
	Lease
	Journal int    `json:"journal" minimum:"1" doc:"The number of the journal: the one that goes on, or one more to start anew."`
	Steps   []Step `json:"steps" minItems:"1" maxItems:"500"`
}

// Journal is what is saved of a task's work, over all its runs. A run goes on
// with the journal of the one before it, or begins the next.
type Journal struct {
	Number int    `json:"number"`
	Steps  []Step `json:"steps"`          // in the order of their keys
	More   bool   `json:"more,omitempty"` // ask for those after the last one
}

// Resumes says whether the attempt after one that ended for this reason goes on
// from the steps that are saved. An ending that lies in the work itself would
// only be reached again: then the next attempt starts anew. One that may lie in
// it (the agent died, time was up) is gone on from as long as each attempt
// saves something new.
func (r Reason) Resumes(progress bool) bool {
	switch r {
	case ReasonRunnerLost, ReasonProviderDown, ReasonProviderKey, ReasonModelUnknown, ReasonBudget,
		ReasonSandbox, ReasonDiskFull, ReasonRepository, ReasonDelivery:
		return true
	case ReasonAgentFailed, ReasonInternal, ReasonTimeout, ReasonDeadline:
		return progress
	default:
		return false
	}
}

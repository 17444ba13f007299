package corp

import (
	"encoding/json"
	"time"
)

// Event is a change worth showing. Seq is numbered per workspace without gaps,
// in commit order, so a listener resumes after the last one it saw.
type Event struct {
	Seq    int64           `json:"seq"` // from 1
	At     time.Time       `json:"at"`
	Kind   string          `json:"kind"` // "task.queued", "run.running", "call.finished", …
	TaskID TaskID          `json:"task_id,omitzero"`
	RunID  RunID           `json:"run_id,omitzero"`
	Data   json.RawMessage `json:"data,omitempty"`
}

package corp

import (
	"encoding/json"
	"time"
)

// EntryKind says what an entry of a transcript is.
type EntryKind string

// The kinds of entries.
const (
	EntryThought EntryKind = "thought"
	EntryMessage EntryKind = "message" // what the agent says
	EntryAction  EntryKind = "action"  // a tool call and how it goes on
	EntryPlan    EntryKind = "plan"
	EntryDiff    EntryKind = "diff"
	EntryResult  EntryKind = "result" // a check's or the run's own result
	EntryNote    EntryKind = "note"   // from the runner: cloned, delivered, retried
	EntryRaw     EntryKind = "raw"    // an update of a kind this build does not know
)

// MaxEntryText is the most text that one entry carries, in bytes.
const MaxEntryText = 64 << 10

// Entry is one item of a run's transcript. Its index is given by the runner and
// has no gaps; writing the same index again changes nothing.
type Entry struct {
	RunID RunID           `json:"run_id"`
	Index int64           `json:"index"` // from 0
	Epoch int64           `json:"epoch"`
	At    time.Time       `json:"at"`
	Kind  EntryKind       `json:"kind"`
	Text  string          `json:"text"`           // for people
	Data  json.RawMessage `json:"data,omitempty"` // the agent's own update, unchanged
}

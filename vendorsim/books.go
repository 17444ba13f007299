package vendorsim

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"
)

// Outcome says how a call ended.
type Outcome string

// The outcomes.
const (
	OutcomeComplete Outcome = "complete" // the whole answer was sent
	OutcomeCut      Outcome = "cut"      // a fault broke the answer off
	OutcomeHungUp   Outcome = "hung_up"  // the client went before the end
	OutcomeError    Outcome = "error"    // an error event ended the stream
	OutcomeRefused  Outcome = "refused"  // an error status; nothing is billed
	OutcomeReset    Outcome = "reset"    // no answer at all; nothing is billed
)

// Call is one served call of a model, as billed.
type Call struct {
	Time       time.Time `json:"time"` // of arrival, UTC
	RequestID  string    `json:"request_id"`
	Dialect    Dialect   `json:"dialect"`
	MessageID  string    `json:"message_id,omitempty"`
	Model      string    `json:"model,omitempty"`
	KeySuffix  string    `json:"key_suffix,omitempty"`
	Scenario   string    `json:"scenario,omitempty"`
	Rule       string    `json:"rule,omitempty"`
	Turn       int       `json:"turn"` // answers that the conversation held before
	Stream     bool      `json:"stream"`
	MaxTokens  int64     `json:"max_tokens"` // of each choice; 0 if the request set none
	Status     int       `json:"status"`     // 0 after a reset
	Outcome    Outcome   `json:"outcome"`
	Fault      string    `json:"fault,omitempty"`
	StopReason string    `json:"stop_reason,omitempty"`
	Usage      Usage     `json:"usage"`
}

// Total sums the calls of one model. Refused and reset calls count, and add nothing
// to the usage.
type Total struct {
	Calls int64 `json:"calls"`
	Usage Usage `json:"usage"`
}

// Books is a snapshot of what was served. Totals are exact; of the calls only
// the newest are kept, and Forgotten counts the others.
type Books struct {
	Calls     []Call            `json:"calls"` // oldest first
	Forgotten int64             `json:"forgotten"`
	Models    map[string]Total  `json:"models"`
	Dialects  map[Dialect]Total `json:"dialects"`
	Total     Total             `json:"total"`
}

// books collects calls; safe for concurrent use.
type books struct {
	mu        sync.Mutex
	keep      int
	calls     []Call
	forgotten int64
	models    map[string]Total
	dialects  map[Dialect]Total
	journal   io.Writer
}

// add records a call. The line is in the journal when add returns; if it could
// not be written the call is not recorded and the caller must not complete it.
func (b *books) add(c Call) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.journal != nil {
		line, err := json.Marshal(c)
		if err != nil {
			return fmt.Errorf("encode call: %w", err)
		}
		if _, err := b.journal.Write(append(line, '\n')); err != nil {
			return fmt.Errorf("write journal: %w", err)
		}
	}
	b.calls = append(b.calls, c)
	if len(b.calls) >= 2*b.keep { // halve now and then rather than shift each time
		b.forgotten += int64(len(b.calls) - b.keep)
		b.calls = slices.Clone(b.calls[len(b.calls)-b.keep:])
	}
	t := b.models[c.Model]
	b.models[c.Model] = Total{t.Calls + 1, t.Usage.Add(c.Usage)}
	d := b.dialects[c.Dialect]
	b.dialects[c.Dialect] = Total{d.Calls + 1, d.Usage.Add(c.Usage)}
	return nil
}

// snapshot returns a copy with at most n calls; all that are kept if n < 0.
func (b *books) snapshot(n int) Books {
	b.mu.Lock()
	defer b.mu.Unlock()
	limit := b.keep
	if n >= 0 {
		limit = min(n, b.keep)
	}
	skip := max(0, len(b.calls)-limit)
	out := Books{
		Calls:     append([]Call{}, b.calls[skip:]...),
		Forgotten: b.forgotten + int64(skip),
		Models:    maps.Clone(b.models),
		Dialects:  maps.Clone(b.dialects),
	}
	for _, t := range b.models {
		out.Total = Total{out.Total.Calls + t.Calls, out.Total.Usage.Add(t.Usage)}
	}
	return out
}

func (b *books) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls, b.forgotten, b.models, b.dialects = nil, 0, map[string]Total{}, map[Dialect]Total{}
}

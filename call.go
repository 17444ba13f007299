package corp

import (
	"encoding/json"
	"time"
)

// CallOutcome says how a model call ended.
type CallOutcome string

// The outcomes of a call.
const (
	CallOK        CallOutcome = "ok"
	CallError     CallOutcome = "error"     // the vendor answered with an error; nothing was billed
	CallCut       CallOutcome = "cut"       // the vendor's stream broke off
	CallHungUp    CallOutcome = "hung_up"   // the client left; the rest was drained and billed
	CallRefused   CallOutcome = "refused"   // the gateway did not let it through
	CallUnsettled CallOutcome = "unsettled" // the server died before the answer was counted
)

// Call is one model call: append-only, with the raw usage and the price row, so
// that a ledger can be re-priced.
type Call struct {
	ID                CallID          `json:"id"`
	At                time.Time       `json:"at"`
	TaskID            TaskID          `json:"task_id"`
	RunID             RunID           `json:"run_id"`
	AgentID           AgentID         `json:"agent_id"`
	Epoch             int64           `json:"epoch"`
	ProviderID        ProviderID      `json:"provider_id,omitzero"`
	Provider          string          `json:"provider"`
	Dialect           string          `json:"dialect"`
	ModelAsked        string          `json:"model_asked"`
	ModelServed       string          `json:"model_served"`
	PriceID           PriceID         `json:"price_id,omitzero"`
	Usage             Usage           `json:"usage"`
	Reserved          Nanodollars     `json:"reserved_nanodollars"`
	Cost              Nanodollars     `json:"cost_nanodollars"`
	Outcome           CallOutcome     `json:"outcome"`
	Status            int             `json:"status"` // HTTP, as sent to the client
	StopReason        string          `json:"stop_reason"`
	Detail            string          `json:"detail"`
	Streamed          bool            `json:"streamed"`
	Estimated         bool            `json:"estimated"`       // the cost is a bound, not a count
	Simulated         bool            `json:"simulated"`       // a simulated vendor answered
	Edits             []string        `json:"edits,omitempty"` // what the gateway changed: credential, model, output_cap
	RawUsage          json.RawMessage `json:"raw_usage,omitempty"`
	UpstreamRequestID string          `json:"upstream_request_id"`
	TraceID           string          `json:"trace_id"`
	LatencyMS         int64           `json:"latency_ms"`
	FirstByteMS       int64           `json:"first_byte_ms"`
}

// UsageTotal is a sum of calls.
type UsageTotal struct {
	Key        string      `json:"key"` // what it is grouped by: a day, a model, an agent, a task; empty for the total
	Calls      int64       `json:"calls"`
	Usage      Usage       `json:"usage"`
	Cost       Nanodollars `json:"cost_nanodollars"`
	RunSeconds float64     `json:"run_seconds"` // time that runs were carried out
	Simulated  bool        `json:"simulated"`
}

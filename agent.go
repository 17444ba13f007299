package corp

import "time"

// The runtimes that can carry out an agent. This build carries out builtin.
const RuntimeBuiltin = "builtin"

// AgentSpec is what somebody asks an agent to be.
type AgentSpec struct {
	Name         string `json:"name" minLength:"1" maxLength:"60" pattern:"^[a-z0-9][a-z0-9-]*$" doc:"Unique in the workspace: lower-case letters, digits and dashes."`
	Runtime      string `json:"runtime,omitempty" enum:"builtin" default:"builtin" doc:"What carries the agent out."`
	Model        string `json:"model" minLength:"3" maxLength:"200" doc:"PROVIDER/MODEL, for instance anthropic/claude-sonnet-4-5."`
	Instructions string `json:"instructions,omitempty" maxLength:"65536" doc:"Persona and rules, put before every task."`
	MaxTurns     int    `json:"max_turns,omitempty" minimum:"0" maximum:"10000" doc:"Model calls in one run; 0 means the built-in default."`
	MaxTokens    int    `json:"max_tokens,omitempty" minimum:"0" maximum:"1000000" doc:"Output tokens of one model call; 0 means the built-in default."`
}

// The limits an agent has when its spec leaves them 0.
const (
	DefaultMaxTurns  = 100
	DefaultMaxTokens = 16_384
)

// Agent is a named, versioned definition. Changing it makes a new version;
// tasks keep the version they were submitted with.
type Agent struct {
	ID      AgentID `json:"id"`
	Version int     `json:"version"`
	AgentSpec
	Concurrency int        `json:"concurrency"` // runs that may be leased at a time; 0 is no limit of its own
	CreatedBy   Actor      `json:"created_by"`
	CreatedAt   time.Time  `json:"created_at"`
	ArchivedAt  *time.Time `json:"archived_at,omitempty"`
}

// FirstAgent is the agent that every workspace starts with, and that a task
// without one gets. Its model needs a provider named anthropic.
func FirstAgent() AgentSpec {
	return AgentSpec{Name: "default", Runtime: RuntimeBuiltin, Model: "anthropic/claude-sonnet-4-5"}
}

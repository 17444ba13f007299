// Package acp speaks the Agent Client Protocol, version 1: JSON-RPC 2.0, one
// message a line, between a client (the runner) and a coding agent (a process).
// Conn is the connection, the same for both sides; Client is the runner's side
// and Agent the side that the built-in agent uses.
//
// It keeps the raw JSON of every update and gives types only to what Generic
// Corp acts on, so that an agent newer than this build loses nothing. It
// refuses to guess: an unknown update stays unknown. It starts no process,
// offers agents neither files nor terminals, and decides no permission: that is
// for its callers.
package acp

import "encoding/json"

// Version is the protocol version that this package speaks.
const Version = 1

// The methods of the protocol that this package uses.
const (
	methodInitialize    = "initialize" //nolint:misspell // the protocol's own word
	methodAuthenticate  = "authenticate"
	methodNewSession    = "session/new"
	methodLoadSession   = "session/load"
	methodSetMode       = "session/set_mode"
	methodPrompt        = "session/prompt"
	methodCancel        = "session/cancel"
	methodUpdate        = "session/update"
	methodPermission    = "session/request_permission"
	methodCancelRequest = "$/cancel_request"
)

// StopReason says why a turn of an agent ended. It is what the agent claims, so
// it is no evidence of success.
type StopReason string

// The stop reasons of version 1.
const (
	StopEndTurn   StopReason = "end_turn"
	StopMaxTokens StopReason = "max_tokens"
	StopMaxTurns  StopReason = "max_turn_requests"
	StopRefusal   StopReason = "refusal"
	StopCancelled StopReason = "cancelled"
)

// PermissionKind is the nature of an answer to a request for permission. Agents
// name their options as they like; the kind is the same for all of them.
type PermissionKind string

// The permission kinds of version 1. PermissionCancelled is not an option: it
// is the answer that the turn was cancelled before anybody decided.
const (
	PermissionCancelled    PermissionKind = ""
	PermissionAllowOnce    PermissionKind = "allow_once"
	PermissionAllowAlways  PermissionKind = "allow_always"
	PermissionRejectOnce   PermissionKind = "reject_once"
	PermissionRejectAlways PermissionKind = "reject_always"
)

// Implementation names a client or an agent.
type Implementation struct {
	Name    string `json:"name"`
	Title   string `json:"title,omitempty"`
	Version string `json:"version"`
}

// AgentCapabilities are the capabilities of an agent that this package acts on.
type AgentCapabilities struct {
	LoadSession     bool            `json:"loadSession"`
	MCPCapabilities MCPCapabilities `json:"mcpCapabilities"`
	Meta            json.RawMessage `json:"_meta,omitempty"` // what is beyond the protocol
}

// MCPCapabilities says which MCP transports an agent speaks besides stdio.
type MCPCapabilities struct {
	HTTP bool `json:"http"`
	SSE  bool `json:"sse"`
}

// AuthMethod is a way to sign in to an agent's vendor.
type AuthMethod struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// InitializeResult is what an agent says about itself. Raw is the whole answer.
type InitializeResult struct {
	ProtocolVersion   int               `json:"protocolVersion"`
	AgentCapabilities AgentCapabilities `json:"agentCapabilities"`
	AgentInfo         *Implementation   `json:"agentInfo,omitempty"`
	AuthMethods       []AuthMethod      `json:"authMethods"`
	Raw               json.RawMessage   `json:"-"`
}

// Header is one HTTP header of an MCP server.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// MCPServer is an MCP server that an agent should connect to, over HTTP: the one
// transport that every agent speaks.
type MCPServer struct {
	Type    string   `json:"type"` // "http"
	Name    string   `json:"name"`
	URL     string   `json:"url"`
	Headers []Header `json:"headers"`
}

// SessionRequest asks for a new session, or for an old one if ID is set.
type SessionRequest struct {
	ID         string            `json:"sessionId,omitempty"`
	Cwd        string            `json:"cwd"` // an absolute path
	MCPServers []json.RawMessage `json:"mcpServers"`
	Meta       json.RawMessage   `json:"_meta,omitempty"` // what is beyond the protocol
}

// SessionResult is the answer to session/new. Raw is the whole answer.
type SessionResult struct {
	SessionID string          `json:"sessionId"`
	Raw       json.RawMessage `json:"-"`
}

// Update is one session/update: what an agent thought, said or did. Raw is the
// update object as the agent wrote it; Kind is its sessionUpdate field.
type Update struct {
	SessionID string
	Kind      string
	Raw       json.RawMessage
}

// PermissionOption is one answer that an agent offers.
type PermissionOption struct {
	ID   string         `json:"optionId"`
	Name string         `json:"name"`
	Kind PermissionKind `json:"kind"`
}

// PermissionRequest is an agent's question whether it may make a tool call.
// ToolCall is the call as the agent wrote it.
type PermissionRequest struct {
	SessionID string             `json:"sessionId"`
	ToolCall  json.RawMessage    `json:"toolCall"`
	Options   []PermissionOption `json:"options"`
}

type permissionOutcome struct {
	Outcome  string `json:"outcome"` // "selected" or "cancelled"
	OptionID string `json:"optionId,omitempty"`
}

type permissionResult struct {
	Outcome permissionOutcome `json:"outcome"`
}

// PromptRequest is a turn that a client asks for.
type PromptRequest struct {
	SessionID string            `json:"sessionId"`
	Prompt    []json.RawMessage `json:"prompt"` // content blocks
}

// PromptResult is how a turn ended. Meta is its _meta object; Raw, set on the
// client's side, is the whole answer.
type PromptResult struct {
	StopReason StopReason      `json:"stopReason"`
	Meta       json.RawMessage `json:"_meta,omitempty"`
	Raw        json.RawMessage `json:"-"`
}

// Text is a text content block.
type Text struct {
	Type string `json:"type"` // "text"
	Text string `json:"text"`
}

// TextBlock makes a content block of text.
func TextBlock(text string) Text { return Text{Type: "text", Text: text} }

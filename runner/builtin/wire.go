package builtin

import (
	"encoding/json"
	"strings"

	"github.com/genericcorp/corp"
)

// The block types of the Messages dialect that the agent knows.
const (
	blockText       = "text"
	blockThinking   = "thinking"
	blockRedacted   = "redacted_thinking"
	blockToolUse    = "tool_use"
	blockToolResult = "tool_result"
)

// The stop reasons of the Messages dialect.
const (
	stoppedEnd       = "end_turn"
	stoppedTools     = "tool_use"
	stoppedTokens    = "max_tokens"
	stoppedPause     = "pause_turn"
	stoppedRefusal   = "refusal"
	stoppedWindow    = "model_context_window_exceeded"
	roleUser         = "user"
	roleAssistant    = "assistant"
	dialectVersion   = "2023-06-01"
	maxErrorBody     = 64 << 10 // bytes
	bytesPerToken    = 3        // a low guess, so that estimates come out high
	ephemeralCaching = "ephemeral"
)

// block is one content block, of any type. Thinking and its signature go back to
// the vendor exactly as they came, or it refuses the conversation.
type block struct {
	Type      string          `json:"type"`
	Text      string          `json:"text,omitempty"`
	Thinking  *string         `json:"thinking,omitempty"`
	Signature string          `json:"signature,omitempty"`
	Data      string          `json:"data,omitempty"`
	ID        string          `json:"id,omitempty"`
	Name      string          `json:"name,omitempty"`
	Input     json.RawMessage `json:"input,omitempty"`
	ToolUseID string          `json:"tool_use_id,omitempty"`
	Content   string          `json:"content,omitempty"`
	IsError   bool            `json:"is_error,omitempty"`
	Cache     *caching        `json:"cache_control,omitempty"`
}

type caching struct {
	Type string `json:"type"`
}

type message struct {
	Role    string  `json:"role"`
	Content []block `json:"content"`
}

type toolSpec struct {
	Name        string          `json:"name"`
	Description string          `json:"description"`
	InputSchema json.RawMessage `json:"input_schema"`
}

type thinkingSpec struct {
	Type   string `json:"type"`
	Budget int    `json:"budget_tokens"`
}

type modelRequest struct {
	Model     string        `json:"model"`
	MaxTokens int           `json:"max_tokens"`
	Stream    bool          `json:"stream"`
	Thinking  *thinkingSpec `json:"thinking,omitempty"`
	System    []block       `json:"system"`
	Tools     []toolSpec    `json:"tools,omitempty"`
	Messages  []message     `json:"messages"`
}

// wireUsage is read twice in a stream; what the second one leaves out keeps the
// value of the first.
type wireUsage struct {
	Input         int64 `json:"input_tokens"`
	CacheRead     int64 `json:"cache_read_input_tokens"`
	CacheCreation int64 `json:"cache_creation_input_tokens"`
	Output        int64 `json:"output_tokens"`
}

func (u wireUsage) usage() corp.Usage {
	return corp.Usage{FreshInput: u.Input, CacheRead: u.CacheRead, CacheWriteShort: u.CacheCreation, Output: u.Output}
}

// vendorFault is the vendor's own error object, in an answer or in a stream.
type vendorFault struct {
	Type    string `json:"type"`
	Message string `json:"message"`
	Code    code   `json:"code"`
}

// code is a text in most vendors' errors, and a number in some.
type code string

// UnmarshalJSON takes either.
func (c *code) UnmarshalJSON(raw []byte) error {
	*c = code(strings.Trim(string(raw), `"`))
	return nil
}

// withBreakpoints returns the conversation with cache breakpoints: after the
// system prompt (which covers the tools before it), and after the last two
// messages of the user. The older of the two is where the previous call wrote
// its cache, so that it is found even when a turn has very many blocks.
func withBreakpoints(system []block, messages []message) ([]block, []message) {
	system = append([]block{}, system...)
	if len(system) > 0 {
		system[len(system)-1].Cache = &caching{Type: ephemeralCaching}
	}
	messages = append([]message{}, messages...)
	left := 2
	for i := len(messages) - 1; i >= 0 && left > 0; i-- {
		if messages[i].Role != roleUser || len(messages[i].Content) == 0 {
			continue
		}
		content := append([]block{}, messages[i].Content...)
		content[len(content)-1].Cache = &caching{Type: ephemeralCaching}
		messages[i].Content = content
		left--
	}
	return system, messages
}

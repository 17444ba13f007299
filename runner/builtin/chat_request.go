package builtin

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
)

// chatDialect is OpenAI's Chat Completions, which many other servers speak too.
// It begins with the fields that the oldest and simplest of them know, and learns
// which of them a vendor has replaced.
type chatDialect struct {
	newCap atomic.Bool // the vendor wants max_completion_tokens
}

func (d *chatDialect) path() string { return "/v1/chat/completions" }

func (d *chatDialect) authorize(h http.Header, key string) { h.Set("Authorization", "Bearer "+key) }

func (d *chatDialect) read(r io.Reader, hear hearing) (answer, error) { return readChat(r, hear) }

// adapt takes up the newer name of the output cap once a vendor refuses the older
// one. The servers that know only the older would ignore the newer, and write
// without an end.
func (d *chatDialect) adapt(refused *vendorError) bool {
	text := refused.fault.Message
	wanted := refused.fault.Code == "unsupported_parameter" || strings.Contains(text, "instead")
	return wanted && refused.status == http.StatusBadRequest && strings.Contains(text, "max_completion_tokens") && d.newCap.CompareAndSwap(false, true)
}

type chatRequest struct {
	Model               string          `json:"model"`
	MaxTokens           int             `json:"max_tokens,omitempty"`
	MaxCompletionTokens int             `json:"max_completion_tokens,omitempty"`
	Stream              bool            `json:"stream"`
	StreamOptions       map[string]bool `json:"stream_options"`
	Tools               []chatTool      `json:"tools,omitempty"`
	Messages            []chatMessage   `json:"messages"`
}

type chatTool struct {
	Type     string       `json:"type"` // "function"
	Function chatToolSpec `json:"function"`
}

type chatToolSpec struct {
	Name        string          `json:"name"`
	Description string          `json:"description"`
	Parameters  json.RawMessage `json:"parameters"`
}

type chatMessage struct {
	Role       string     `json:"role"`
	Content    *string    `json:"content"` // null beside tool calls
	ToolCalls  []chatCall `json:"tool_calls,omitempty"`
	ToolCallID string     `json:"tool_call_id,omitempty"`
}

type chatCall struct {
	ID       string       `json:"id"`
	Type     string       `json:"type"` // "function"
	Function chatFunction `json:"function"`
}

type chatFunction struct {
	Name      string `json:"name"`
	Arguments string `json:"arguments"` // JSON in a text
}

func (d *chatDialect) encode(r modelRequest) ([]byte, error) {
	out := chatRequest{Model: r.Model, Stream: true, StreamOptions: map[string]bool{"include_usage": true}}
	if d.newCap.Load() {
		out.MaxCompletionTokens = r.MaxTokens
	} else {
		out.MaxTokens = r.MaxTokens
	}
	for _, t := range r.Tools {
		out.Tools = append(out.Tools, chatTool{"function", chatToolSpec{t.Name, t.Description, t.InputSchema}})
	}
	if system := joined(r.System); system != "" {
		out.Messages = append(out.Messages, chatMessage{Role: "system", Content: &system})
	}
	for _, m := range r.Messages {
		out.Messages = append(out.Messages, chatMessages(m)...)
	}
	body, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("encode chat request: %w", err)
	}
	return body, nil
}

// chatMessages translates a message. The results of tool calls are messages of
// their own here, and come right behind the calls. Thinking stays behind: there
// is no place for it that every server knows.
func chatMessages(m message) (out []chatMessage) {
	whole := chatMessage{Role: m.Role}
	for _, b := range m.Content {
		switch b.Type {
		case blockToolResult:
			text := b.Content
			if b.IsError && !strings.HasPrefix(text, "Error") {
				text = "Error: " + text // there is no other place to say it
			}
			out = append(out, chatMessage{Role: "tool", ToolCallID: b.ToolUseID, Content: &text})
		case blockToolUse:
			whole.ToolCalls = append(whole.ToolCalls, chatCall{b.ID, "function", chatFunction{b.Name, string(b.Input)}})
		}
	}
	if text := joined(m.Content); text != "" {
		whole.Content = &text
	}
	if whole.Content == nil && len(whole.ToolCalls) == 0 {
		if m.Role != roleAssistant {
			return out
		}
		whole.Content = new("") // an answer of nothing but thinking; the sides must take turns
	}
	return append(out, whole)
}

// joined is the text of blocks.
func joined(blocks []block) string {
	var texts []string
	for _, b := range blocks {
		if b.Type == blockText && b.Text != "" {
			texts = append(texts, b.Text)
		}
	}
	return strings.Join(texts, "\n\n")
}

package builtin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/genericcorp/corp"
)

// maxChatCalls bounds the tool calls of one answer.
const maxChatCalls = 1000

type chatChunk struct {
	Choices []struct {
		Index        int       `json:"index"`
		Delta        chatDelta `json:"delta"`
		FinishReason string    `json:"finish_reason"`
	} `json:"choices"`
	Usage *chatUsage      `json:"usage"`
	Error json.RawMessage `json:"error"`
}

type chatDelta struct {
	Content   string          `json:"content"`
	Refusal   string          `json:"refusal"`
	Reasoning string          `json:"reasoning_content"`
	Thinking  string          `json:"reasoning"`
	Calls     []chatCallDelta `json:"tool_calls"`
}

type chatCallDelta struct {
	Index    *int   `json:"index"`
	ID       string `json:"id"`
	Function struct {
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments"` // a text; some servers send the object itself
	} `json:"function"`
}

// chatUsage counts what was cached, or written to a cache, as parts of the prompt.
type chatUsage struct {
	Prompt     int64 `json:"prompt_tokens"`
	Completion int64 `json:"completion_tokens"`
	Details    *struct {
		Cached  int64 `json:"cached_tokens"`
		Written int64 `json:"cache_write_tokens"`
	} `json:"prompt_tokens_details"`
}

func (u chatUsage) usage() corp.Usage {
	out := corp.Usage{FreshInput: max(u.Prompt, 0), Output: max(u.Completion, 0)}
	if u.Details != nil {
		out.CacheRead = min(max(u.Details.Cached, 0), out.FreshInput)
		out.FreshInput -= out.CacheRead
		out.CacheWriteShort = min(max(u.Details.Written, 0), out.FreshInput)
		out.FreshInput -= out.CacheWriteShort
	}
	return out
}

// chatCollector puts an answer together from its chunks.
type chatCollector struct {
	hear              hearing
	text, thought     strings.Builder
	calls             []*chatCallParts
	finish            string
	refused, finished bool
	usage             corp.Usage
	size              int
}

type chatCallParts struct {
	index     int
	id, name  string
	arguments strings.Builder
}

// readChat reads one streamed answer. Servers end it in different ways: a finish
// reason makes it whole, the [DONE] after it may be missing.
func readChat(r io.Reader, hear hearing) (answer, error) {
	c := &chatCollector{hear: hear}
	err := events(r, c.take)
	if err != nil && (!c.finished || !errors.Is(err, errCut)) {
		return answer{}, err
	}
	return c.answer(), nil
}

func (c *chatCollector) take(data []byte) (bool, error) {
	if bytes.Equal(bytes.TrimSpace(data), []byte("[DONE]")) {
		if !c.finished {
			return false, fmt.Errorf("no reason to finish was given: %w", errCut)
		}
		return true, nil
	}
	var e chatChunk
	if err := json.Unmarshal(data, &e); err != nil {
		return false, fmt.Errorf("an event is malformed: %w", errCut)
	}
	if len(e.Error) > 0 && string(e.Error) != "null" {
		return false, &vendorError{fault: readFault(data)}
	}
	if e.Usage != nil {
		c.usage = e.Usage.usage()
	}
	for _, choice := range e.Choices {
		if choice.Index != 0 {
			continue // only one was asked for
		}
		if err := c.delta(choice.Delta); err != nil {
			return false, err
		}
		if choice.FinishReason != "" {
			c.finish, c.finished = choice.FinishReason, true
		}
	}
	return false, nil
}

func (c *chatCollector) delta(d chatDelta) error {
	thought := d.Reasoning
	if thought == "" {
		thought = d.Thinking
	}
	if thought != "" {
		c.thought.WriteString(thought)
		c.hear.thought(thought)
	}
	if d.Refusal != "" {
		c.refused = true
	}
	if text := d.Content + d.Refusal; text != "" {
		c.text.WriteString(text)
		c.hear.text(text)
	}
	c.size += len(thought) + len(d.Content) + len(d.Refusal)
	for _, call := range d.Calls {
		if err := c.call(call); err != nil {
			return err
		}
	}
	if c.size > maxAnswerBytes {
		return fmt.Errorf("the answer is longer than %d bytes: %w", maxAnswerBytes, errCut)
	}
	return nil
}

// call adds a piece of a tool call to the one that it belongs to: by index, or
// to the last one. Some servers number every call 0, so another id is another call.
func (c *chatCollector) call(d chatCallDelta) error {
	var p *chatCallParts
	for _, known := range c.calls {
		if d.Index == nil || known.index == *d.Index {
			p = known
		}
	}
	if p == nil || d.ID != "" && p.id != "" && d.ID != p.id || d.Index == nil && d.ID == "" && d.Function.Name != "" && p.name != "" {
		if len(c.calls) == maxChatCalls {
			return fmt.Errorf("the answer has more than %d tool calls: %w", maxChatCalls, errCut)
		}
		p = &chatCallParts{index: len(c.calls)}
		if d.Index != nil {
			p.index = *d.Index
		}
		c.calls = append(c.calls, p)
	}
	if d.ID != "" {
		p.id = d.ID
	}
	if p.name == "" {
		p.name = d.Function.Name
	}
	arguments := chatArguments(d.Function.Arguments)
	p.arguments.WriteString(arguments)
	c.size += len(arguments) + len(d.ID) + len(d.Function.Name)
	return nil
}

func chatArguments(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	return string(raw)
}

// answer translates what was collected. Each call gets an id that no other has,
// because its result is matched by it.
func (c *chatCollector) answer() answer {
	if c.finish == "content_filter" {
		c.calls = nil // whatever was left of them
	}
	a := answer{Usage: c.usage, StopReason: c.stopReason()}
	if c.thought.Len() > 0 {
		a.Blocks = append(a.Blocks, block{Type: blockThinking, Thinking: new(c.thought.String())})
	}
	if c.text.Len() > 0 {
		a.Blocks = append(a.Blocks, block{Type: blockText, Text: c.text.String()})
	}
	taken := map[string]bool{}
	for i, p := range c.calls {
		if p.id == "" || taken[p.id] {
			p.id = fmt.Sprintf("call_%d_%s", i, newID(""))
		}
		taken[p.id] = true
		a.Blocks = append(a.Blocks, block{Type: blockToolUse, ID: p.id, Name: p.name, Input: json.RawMessage(p.arguments.String())})
	}
	return a
}

// stopReason says in the words of the Messages dialect why the answer ended.
func (c *chatCollector) stopReason() string {
	switch {
	case c.finish == "length":
		return stoppedTokens
	case c.finish == "content_filter" || c.refused && len(c.calls) == 0:
		return stoppedRefusal
	case len(c.calls) > 0:
		return stoppedTools
	default:
		return stoppedEnd
	}
}

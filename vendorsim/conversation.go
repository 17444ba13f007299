package vendorsim

import (
	"math"
	"slices"
	"strings"
)

// conversation is a request as far as the simulator cares, whatever its dialect.
type conversation struct {
	model       string
	maxTokens   int64
	stream      bool
	thinking    int64 // budget_tokens if thinking is enabled with one
	system      string
	tools       []string
	messages    []message
	toolResults int
	size        sizes
	choices     int  // answers asked for; 0 and 1 are one
	noCalls     bool // the answer must not call a tool
	oneCall     bool // it must not call more than one
	chat        chatRequest
}

// callLimit returns how many tools the answer may call.
func (c *conversation) callLimit() int {
	switch {
	case c.noCalls:
		return 0
	case c.oneCall:
		return 1
	default:
		return math.MaxInt
	}
}

// message is one turn.
type message struct {
	role   string
	blocks []block
}

// block is one content block; what its fields mean depends on kind.
type block struct {
	kind      string // text, thinking, tool_use, tool_result or another
	text      string // the text, the thinking, or the result's text
	id        string // the tool_use it is or answers
	signature string
	isError   bool
}

// sizes are positions in the prompt, in bytes from its start, in the order in
// which the vendor caches: tools, system, messages.
type sizes struct {
	total       int
	messageEnds []int
	breakpoint  int // end of the last block with cache_control; 0 if none
	longPoint   int // the same for a time to live of an hour
	breakpoints int
}

// mark records a cache breakpoint at the present end of the prompt.
func (s *sizes) mark(ttl string) {
	s.breakpoints++
	s.breakpoint = s.total
	if ttl == "1h" {
		s.longPoint = s.total
	}
}

// prompt returns the text of the first user message.
func (c *conversation) prompt() string {
	for i := range c.messages {
		if c.messages[i].role == "user" {
			return c.messages[i].join("text")
		}
	}
	return ""
}

// lastUser returns the text of the last user message that has any.
func (c *conversation) lastUser() string {
	for _, m := range slices.Backward(c.messages) {
		if text := m.join("text"); m.role == "user" && text != "" {
			return text
		}
	}
	return ""
}

// join returns the texts of the blocks of a kind, a line break between them.
func (m *message) join(kind string) string {
	var parts []string
	for i := range m.blocks {
		if m.blocks[i].kind == kind {
			parts = append(parts, m.blocks[i].text)
		}
	}
	return strings.Join(parts, "\n")
}

// lastUserIndex returns the index of the last user message, -1 without any.
func (c *conversation) lastUserIndex() int {
	for i, m := range slices.Backward(c.messages) {
		if m.role == "user" {
			return i
		}
	}
	return -1
}

// results returns the tool results of the last user message.
func (c *conversation) results() []*block {
	i := c.lastUserIndex()
	if i < 0 {
		return nil
	}
	var out []*block
	for j := range c.messages[i].blocks {
		if b := &c.messages[i].blocks[j]; b.kind == "tool_result" {
			out = append(out, b)
		}
	}
	return out
}

// toolResult returns the texts of results, a line break between them.
func (c *conversation) toolResult() string {
	if i := c.lastUserIndex(); i >= 0 {
		return c.messages[i].join("tool_result")
	}
	return ""
}

// toolError tells whether any of results is an error.
func (c *conversation) toolError() bool {
	for _, b := range c.results() {
		if b.isError {
			return true
		}
	}
	return false
}

// turn returns how many answers the conversation already holds, not counting
// one that the caller began for the model to go on with.
func (c *conversation) turn() int {
	n := 0
	for i := range c.messages[:c.lastUserIndex()+1] {
		if c.messages[i].role == "assistant" {
			n++
		}
	}
	return n
}

// scene returns what templates see.
func (c *conversation) scene(got capture) *scene {
	s := &scene{
		Model: c.model, System: c.system, Prompt: c.prompt(), LastUser: c.lastUser(), Turn: c.turn(), capture: got,
	}
	for _, b := range c.results() {
		s.ToolResults = append(s.ToolResults, b.text)
		s.ToolResult = b.text
	}
	return s
}

package vendorsim

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
)

const (
	maxBreakpoints    = 4
	minThinkingBudget = 1024
)

var toolNameRE = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,128}$`)

// check refuses what the vendor refuses, in the vendor's words: agents match on
// them. Fields that it does not know it lets pass, as an open list.
func (c *conversation) check(combine bool) *vendorError {
	if err := c.checkLimits(); err != nil {
		return err
	}
	return c.checkPrompt(combine)
}

// checkPrompt is the part that count_tokens needs too.
func (c *conversation) checkPrompt(combine bool) *vendorError {
	if err := c.checkTools(); err != nil {
		return err
	}
	if err := c.checkTurns(combine); err != nil {
		return err
	}
	for i := range c.messages {
		if err := c.checkBlocks(i); err != nil {
			return err
		}
	}
	if c.size.breakpoints > maxBreakpoints {
		return invalid("A maximum of %d blocks with cache_control may be provided. Found %d.", maxBreakpoints, c.size.breakpoints)
	}
	return c.checkPairs()
}

func (c *conversation) checkLimits() *vendorError {
	switch {
	case c.maxTokens == 0:
		return invalid("max_tokens: Field required")
	case c.maxTokens < 0:
		return invalid("max_tokens: must be greater than or equal to 1")
	case c.thinking != 0 && c.thinking < minThinkingBudget:
		return invalid("thinking.enabled.budget_tokens: Input should be greater than or equal to %d", minThinkingBudget)
	case c.thinking >= c.maxTokens:
		return invalid("`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking#max-tokens-and-context-window-size")
	}
	return nil
}

// checkModel tests the model against the list, if there is one.
func (c *conversation) checkModel(models []Model) *vendorError {
	if len(models) == 0 {
		return nil
	}
	i := slices.IndexFunc(models, func(m Model) bool { return m.ID == c.model })
	if i < 0 {
		return refuse(http.StatusNotFound, "model: %s", c.model)
	}
	m := models[i]
	if m.MaxOutput > 0 && c.maxTokens > m.MaxOutput {
		return invalid("max_tokens: %d > %d, which is the maximum allowed number of output tokens for %s", c.maxTokens, m.MaxOutput, m.ID)
	}
	if n := c.size.tokens(); m.ContextWindow > 0 && n > m.ContextWindow {
		return invalid("prompt is too long: %d tokens > %d maximum", n, m.ContextWindow)
	}
	return nil
}

func (c *conversation) checkTools() *vendorError {
	seen := make(map[string]bool, len(c.tools))
	for i, name := range c.tools {
		if !toolNameRE.MatchString(name) {
			return invalid("tools.%d.custom.name: String should match pattern '%s'", i, toolNameRE)
		}
		if seen[name] {
			return invalid("tools: Tool names must be unique.")
		}
		seen[name] = true
	}
	return nil
}

func (c *conversation) checkTurns(combine bool) *vendorError {
	if len(c.messages) == 0 {
		return invalid("messages: at least one message is required")
	}
	for i := range c.messages {
		role := c.messages[i].role
		switch {
		case role != "user" && role != "assistant":
			return invalid("messages: Unexpected role %q. Allowed roles are \"user\" or \"assistant\".", role)
		case i == 0 && role != "user":
			return invalid("messages: first message must use the \"user\" role")
		case i > 0 && role == c.messages[i-1].role && !combine:
			return invalid("messages: roles must alternate between \"user\" and \"assistant\", but found multiple %q roles in a row", role)
		}
	}
	return nil
}

func (c *conversation) checkBlocks(i int) *vendorError {
	m := &c.messages[i]
	if len(m.blocks) == 0 && (m.role == "user" || i < len(c.messages)-1) {
		return invalid("messages.%d: all messages must have non-empty content except for the optional final assistant message", i)
	}
	for j := range m.blocks {
		b := &m.blocks[j]
		switch {
		case b.kind == "text" && b.text == "":
			return invalid("messages: text content blocks must be non-empty")
		case b.kind == "tool_use" && m.role != "assistant":
			return invalid("messages.%d: `tool_use` blocks can only be in `assistant` messages", i)
		case b.kind == "tool_result" && m.role != "user":
			return invalid("messages.%d: `tool_result` blocks can only be in `user` messages", i)
		case b.kind == "thinking" && b.signature != sign(b.text):
			return invalid("messages.%d.content.%d: Invalid `signature` in `thinking` block", i, j)
		}
	}
	return nil
}

// checkPairs tests that every tool_use is answered in the next message, before
// anything else there, and that every tool_result answers one.
func (c *conversation) checkPairs() *vendorError {
	seen := map[string]bool{}
	for i := range c.messages {
		var asked []string
		if i > 0 && c.messages[i-1].role == "assistant" {
			asked = c.messages[i-1].calls()
		}
		for j, b := range c.messages[i].blocks {
			switch {
			case b.kind == "tool_use" && (b.id == "" || seen[b.id]):
				return invalid("messages.%d.content.%d: `tool_use` ids must be unique", i, j)
			case b.kind == "tool_use":
				seen[b.id] = true
			case b.kind == "tool_result" && !slices.Contains(asked, b.id):
				return invalid("messages.%d.content.%d: unexpected `tool_use_id` found in `tool_result` blocks: %s. Each `tool_result` block must have a corresponding `tool_use` block in the previous message.", i, j, b.id)
			}
		}
		if open := unanswered(asked, &c.messages[i]); len(open) > 0 {
			return invalid("messages.%d: `tool_use` ids were found without `tool_result` blocks immediately after: %s. Each `tool_use` block must have a corresponding `tool_result` block in the next message.", i-1, strings.Join(open, ", "))
		}
	}
	return nil
}

// calls returns the ids of the tool calls of a message.
func (m *message) calls() []string {
	var ids []string
	for i := range m.blocks {
		if m.blocks[i].kind == "tool_use" {
			ids = append(ids, m.blocks[i].id)
		}
	}
	return ids
}

// unanswered returns the ids that the leading tool results of m do not answer.
func unanswered(asked []string, m *message) []string {
	open := slices.Clone(asked)
	for i := range m.blocks {
		if m.blocks[i].kind != "tool_result" {
			break
		}
		open = slices.DeleteFunc(open, func(id string) bool { return id == m.blocks[i].id })
	}
	return open
}

package vendorsim

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

const chatNamePattern = `^[a-zA-Z0-9_-]+$`

var chatNameRE = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

// chatInvalid is a 400 that names the parameter and gives a word for programs;
// either may be empty.
func chatInvalid(param, code, format string, args ...any) *vendorError {
	e := invalid(format, args...)
	e.param, e.code = param, code
	return e
}

func chatMissing(param string) *vendorError {
	return chatInvalid(param, "missing_required_parameter", "Missing required parameter: '%s'.", param)
}

func chatEmpty(param, name string) *vendorError {
	return chatInvalid(param, "empty_array", "Invalid '%s': empty array. Expected an array with minimum length 1, but got an empty array instead.", name)
}

func chatType(param, want string, got gjson.Result) *vendorError {
	is := map[gjson.Type]string{gjson.Number: "a number", gjson.String: "a string", gjson.True: "a boolean", gjson.False: "a boolean", gjson.Null: "null"}[got.Type]
	switch {
	case got.IsArray():
		is = "an array"
	case got.IsObject():
		is = "an object"
	}
	return chatInvalid(param, "invalid_type", "Invalid type for '%s': expected %s, but got %s instead.", param, want, is)
}

func (c *conversation) checkChatCaps() *vendorError {
	if c.chat.capOld != 0 && c.chat.capNew != 0 {
		return chatInvalid("max_tokens", "invalid_parameter_combination", "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.")
	}
	return nil
}

func (c *conversation) checkChatTools() *vendorError {
	switch {
	case c.chat.needsTools != "" && len(c.tools) == 0:
		return chatInvalid(c.chat.needsTools, "", "Invalid value for '%s': '%s' is only allowed when 'tools' are specified.", c.chat.needsTools, c.chat.needsTools)
	case c.chat.forced != "" && !slices.Contains(c.tools, c.chat.forced):
		return chatInvalid("tool_choice", "", "Tool choice '%s' not found in 'tools' parameter.", c.chat.forced)
	}
	return nil
}

// checkChatPairs tests that every call is answered before anything else is said,
// and that every result answers a call.
func (c *conversation) checkChatPairs() *vendorError {
	var open, asked []string
	for i, turn := range append(slices.Clone(c.chat.turns), chatTurn{}) {
		if turn.role == "tool" {
			if !slices.Contains(asked, turn.answers) {
				return c.strayResult(i, len(asked) > 0)
			}
			open = slices.DeleteFunc(open, func(id string) bool { return id == turn.answers })
			continue
		}
		if len(open) > 0 {
			return chatInvalid(fmt.Sprintf("messages.[%d].role", i), "", "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: %s", strings.Join(open, ", "))
		}
		asked, open = turn.calls, slices.Clone(turn.calls)
	}
	return nil
}

func (c *conversation) strayResult(i int, afterCalls bool) *vendorError {
	if afterCalls {
		return chatInvalid(fmt.Sprintf("messages.[%d].tool_call_id", i), "", "Invalid parameter: 'tool_call_id' of '%s' not found in 'tool_calls' of previous message.", c.chat.turns[i].answers)
	}
	return chatInvalid(fmt.Sprintf("messages.[%d].role", i), "", "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.") //nolint:misspell // the vendor's spelling
}

// checkChatModel tests the model against the list, if there is one, and sets the cap
// that holds when the request has none.
func (c *conversation) checkChatModel(models []Model) *vendorError {
	var m Model
	if len(models) > 0 {
		i := slices.IndexFunc(models, func(m Model) bool { return m.ID == c.model })
		if i < 0 {
			return noSuchModel(c.model)
		}
		m = models[i]
	}
	switch {
	case m.CapBy == capNew && c.chat.capOld != 0:
		return chatInvalid(capOld, "unsupported_parameter", "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.")
	case m.CapBy == capOld: // a server that does not know the other passes over it
		c.maxTokens = c.chat.capOld
	}
	if m.MaxOutput > 0 && c.maxTokens > m.MaxOutput {
		param := capOld
		if c.chat.capNew != 0 {
			param = capNew
		}
		return chatInvalid(param, "invalid_value", "%s is too large: %d. This model supports at most %d completion tokens, whereas you provided %d.", param, c.maxTokens, m.MaxOutput, c.maxTokens)
	}
	if n := c.size.tokens(); m.ContextWindow > 0 && n > m.ContextWindow {
		return chatInvalid("messages", "context_length_exceeded", "This model's maximum context length is %d tokens. However, your messages resulted in %d tokens. Please reduce the length of the messages.", m.ContextWindow, n)
	}
	if c.maxTokens == 0 {
		c.maxTokens = maxTokens
		if m.MaxOutput > 0 {
			c.maxTokens = m.MaxOutput
		}
	}
	return nil
}

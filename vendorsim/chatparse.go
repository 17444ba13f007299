package vendorsim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/tidwall/gjson"
)

// The names of the two caps on output. Servers that grew up beside the vendor know
// the old one only, and models that reason take the new one only.
const (
	capOld = "max_tokens"
	capNew = "max_completion_tokens"
)

const (
	maxChatTools   = 128
	maxChatChoices = 128
)

// chatRequest is what only Chat Completions has.
type chatRequest struct {
	capOld, capNew int64 // 0 if not given
	includeUsage   bool
	tier           string // service_tier as asked for
	forced         string // the function that tool_choice names
	needsTools     string // a parameter that only goes with tools; empty if none is there
	turns          []chatTurn
}

// chatTurn is a message as sent, for the pairing of calls and results.
type chatTurn struct {
	role    string
	calls   []string
	answers string // of role tool: the call that it answers
}

// parse reads a request's body. It checks shapes; check tests the meaning.
func (chatDialect) parse(body []byte) (*conversation, *vendorError) {
	if !json.Valid(body) { // unlike gjson it bounds the nesting
		return nil, invalid("We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)")
	}
	root := gjson.ParseBytes(body)
	if !root.IsObject() {
		return nil, chatInvalid("", "", "Invalid type for request body: expected an object.")
	}
	top := map[string]gjson.Result{}
	root.ForEach(func(key, value gjson.Result) bool {
		if value.Type != gjson.Null {
			top[key.Str] = value
		}
		return true
	})
	c := &conversation{}
	for _, step := range []func(map[string]gjson.Result) *vendorError{
		c.chatModel, c.chatNumbers, c.chatStream, c.chatTools, c.chatChoice, c.chatMessages,
	} {
		if err := step(top); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *conversation) chatModel(top map[string]gjson.Result) *vendorError {
	m, ok := top["model"]
	switch {
	case !ok:
		return chatInvalid("", "", "you must provide a model parameter")
	case m.Type != gjson.String:
		return chatType("model", "a string", m)
	case len(m.Str) > maxModelName:
		return chatInvalid("model", "string_above_max_length", "Invalid 'model': string too long. Expected a string with maximum length %d, but got a string with length %d instead.", maxModelName, len(m.Str))
	}
	c.model = m.Str
	c.chat.tier = top["service_tier"].String()
	return nil
}

func (c *conversation) chatNumbers(top map[string]gjson.Result) *vendorError {
	var choices int64
	for _, x := range []struct {
		name string
		most int64
		to   *int64
	}{{capOld, maxTokens, &c.chat.capOld}, {capNew, maxTokens, &c.chat.capNew}, {"n", maxChatChoices, &choices}} {
		v, ok := top[x.name]
		if !ok {
			continue
		}
		if v.Type != gjson.Number || v.Num != float64(int64(v.Num)) {
			return chatType(x.name, "an integer", v)
		}
		if v.Num < 1 {
			return chatInvalid(x.name, "integer_below_min_value", "Invalid '%s': integer below minimum value. Expected a value >= 1, but got %s instead.", x.name, v.Raw)
		}
		if v.Num > float64(x.most) {
			return chatInvalid(x.name, "integer_above_max_value", "Invalid '%s': integer above maximum value. Expected a value <= %d, but got %s instead.", x.name, x.most, v.Raw)
		}
		*x.to = int64(v.Num)
	}
	c.choices = int(choices)
	c.maxTokens = max(c.chat.capOld, c.chat.capNew)
	return nil
}

func (c *conversation) chatStream(top map[string]gjson.Result) *vendorError {
	s := top["stream"]
	if s.Exists() && !s.IsBool() {
		return chatType("stream", "a boolean", s)
	}
	c.stream = s.Bool()
	o, ok := top["stream_options"]
	switch {
	case !ok:
		return nil
	case !o.IsObject():
		return chatType("stream_options", "an object", o)
	case !c.stream:
		return chatInvalid("stream_options", "", "The 'stream_options' parameter is only allowed when 'stream' is enabled.")
	}
	u := o.Get("include_usage")
	if u.Exists() && !u.IsBool() {
		return chatType("stream_options.include_usage", "a boolean", u)
	}
	c.chat.includeUsage = u.Bool()
	return nil
}

func (c *conversation) chatTools(top map[string]gjson.Result) *vendorError {
	tools, ok := top["tools"]
	if !ok {
		return nil
	}
	if !tools.IsArray() {
		return chatType("tools", "an array of objects", tools)
	}
	list := tools.Array()
	if len(list) == 0 {
		return chatEmpty("tools", "tools")
	}
	if len(list) > maxChatTools {
		return chatInvalid("tools", "array_above_max_length", "Invalid 'tools': array too long. Expected an array with maximum length %d, but got an array with length %d instead.", maxChatTools, len(list))
	}
	for i, tool := range list {
		kind := tool.Get("type").String()
		if kind != "function" && kind != "custom" {
			return chatInvalid(fmt.Sprintf("tools[%d].type", i), "invalid_value", "Invalid value: '%s'. Supported values are: 'function' and 'custom'.", kind)
		}
		at := fmt.Sprintf("tools[%d].%s.name", i, kind)
		name := tool.Get(kind + ".name")
		if name.Type != gjson.String {
			return chatMissing(at)
		}
		if !chatNameRE.MatchString(name.Str) {
			return chatInvalid(at, "invalid_value", "Invalid '%s': string does not match pattern. Expected a string that matches the pattern '%s'.", at, chatNamePattern)
		}
		if p := tool.Get("function.parameters"); p.Exists() && !p.IsObject() {
			return chatType(fmt.Sprintf("tools[%d].function.parameters", i), "an object", p)
		}
		c.tools = append(c.tools, name.Str)
		c.size.total += len(tool.Raw)
	}
	return nil
}

// chatChoice reads what the request says of the use of tools.
func (c *conversation) chatChoice(top map[string]gjson.Result) *vendorError {
	if p, ok := top["parallel_tool_calls"]; ok {
		if !p.IsBool() {
			return chatType("parallel_tool_calls", "a boolean", p)
		}
		c.chat.needsTools, c.oneCall = "parallel_tool_calls", !p.Bool()
	}
	choice, ok := top["tool_choice"]
	if !ok {
		return nil
	}
	c.chat.needsTools = "tool_choice"
	if !choice.IsObject() {
		switch choice.String() {
		case "none":
			c.noCalls = true
			c.chat.needsTools = ""
		case "auto", "required":
		default:
			return chatInvalid("tool_choice", "invalid_value", "Invalid value: '%s'. Supported values are: 'none', 'auto', and 'required'.", choice.String())
		}
		return nil
	}
	if choice.Get("type").String() == "function" {
		if c.chat.forced = choice.Get("function.name").String(); c.chat.forced == "" {
			return chatMissing("tool_choice.function.name")
		}
	}
	return nil
}

func (c *conversation) chatMessages(top map[string]gjson.Result) *vendorError {
	list, ok := top["messages"]
	if !ok {
		return chatMissing("messages")
	}
	if !list.IsArray() {
		return chatType("messages", "an array of objects", list)
	}
	var system []string
	for i, m := range list.Array() {
		turn := chatTurn{role: m.Get("role").String(), answers: m.Get("tool_call_id").String()}
		if !m.IsObject() {
			return chatType(fmt.Sprintf("messages[%d]", i), "an object", m)
		}
		blocks, err := c.chatBlocks(i, turn.role, m)
		if err != nil {
			return err
		}
		for j := range blocks {
			if blocks[j].kind == "tool_use" {
				turn.calls = append(turn.calls, blocks[j].id)
			}
		}
		c.chat.turns = append(c.chat.turns, turn)
		if turn.role == "system" || turn.role == "developer" {
			system = append(system, (&message{blocks: blocks}).join("text"))
			continue
		}
		c.addChat(turn.role, blocks)
	}
	if len(c.chat.turns) == 0 {
		return chatEmpty("messages", "messages")
	}
	c.system = strings.Join(system, "\n")
	return nil
}

// addChat adds a message in the form that scenarios are matched in, where the
// results of tools and what the user says after them are one message.
func (c *conversation) addChat(role string, blocks []block) {
	if role == "tool" {
		role = "user"
	}
	if n := len(c.messages); n > 0 && role == "user" && c.messages[n-1].answersTools() {
		c.messages[n-1].blocks = append(c.messages[n-1].blocks, blocks...)
		c.size.messageEnds[n-1] = c.size.total
		return
	}
	c.messages = append(c.messages, message{role: role, blocks: blocks})
	c.size.messageEnds = append(c.size.messageEnds, c.size.total)
}

// answersTools tells whether m holds results and nothing else yet.
func (m *message) answersTools() bool {
	return len(m.blocks) > 0 && m.blocks[len(m.blocks)-1].kind == "tool_result"
}

// check refuses what the vendor refuses of a request whose shape is right.
func (chatDialect) check(c *conversation, s *Server) *vendorError {
	for _, test := range []func() *vendorError{
		c.checkChatCaps, c.checkChatTools, c.checkChatPairs,
		func() *vendorError { return c.checkChatModel(s.models) },
	} {
		if err := test(); err != nil {
			return err
		}
	}
	return nil
}

func noSuchModel(id string) *vendorError {
	return &vendorError{
		status: http.StatusNotFound, kind: "invalid_request_error", code: "model_not_found",
		message: fmt.Sprintf("The model `%s` does not exist or you do not have access to it.", id),
	}
}

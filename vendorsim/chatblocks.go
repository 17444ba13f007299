package vendorsim

import (
	"fmt"
	"strings"

	"github.com/tidwall/gjson"
)

const chatRoles = "'system', 'assistant', 'user', 'function', 'tool', and 'developer'"

// chatParts are the kinds of content that a message may hold.
var chatParts = map[string]bool{"text": true, "image_url": true, "input_audio": true, "refusal": true, "file": true}

// chatErrorPrefix marks the result of a tool that failed: the dialect has no
// member that says so, and agents write it in the text.
const chatErrorPrefix = "Error"

// chatBlocks reads the content of message i, counting it.
func (c *conversation) chatBlocks(i int, role string, m gjson.Result) ([]block, *vendorError) {
	switch role {
	case "system", "developer", "user", "assistant", "tool":
	case "":
		return nil, chatMissing(fmt.Sprintf("messages[%d].role", i))
	default:
		return nil, chatInvalid(fmt.Sprintf("messages[%d].role", i), "invalid_value", "Invalid value: '%s'. Supported values are: %s.", role, chatRoles)
	}
	blocks, err := c.chatContent(i, m.Get("content"))
	if err != nil {
		return nil, err
	}
	switch role {
	case "assistant":
		var calls []block
		calls, err = c.chatCalls(i, m.Get("tool_calls"))
		if err == nil && len(calls) == 0 && noContent(m.Get("content")) && noContent(m.Get("refusal")) && noContent(m.Get("audio")) {
			err = nullContent(i)
		}
		return append(blocks, calls...), err
	case "tool":
		if noContent(m.Get("content")) {
			return nil, nullContent(i)
		}
		text := (&message{blocks: blocks}).join("text")
		return []block{{kind: "tool_result", id: m.Get("tool_call_id").String(), text: text, isError: strings.HasPrefix(text, chatErrorPrefix)}}, c.chatResult(i, m)
	default:
		if noContent(m.Get("content")) {
			return nil, nullContent(i)
		}
		return blocks, nil
	}
}

func (c *conversation) chatResult(i int, m gjson.Result) *vendorError {
	c.toolResults++
	if m.Get("tool_call_id").Type != gjson.String {
		return chatMissing(fmt.Sprintf("messages[%d].tool_call_id", i))
	}
	return nil
}

func noContent(v gjson.Result) bool { return !v.Exists() || v.Type == gjson.Null }

func nullContent(i int) *vendorError {
	return chatInvalid(fmt.Sprintf("messages.[%d].content", i), "", "Invalid value for 'content': expected a string, got null.")
}

func (c *conversation) chatContent(i int, content gjson.Result) ([]block, *vendorError) {
	switch {
	case noContent(content):
		return nil, nil
	case content.Type == gjson.String:
		c.size.total += len(content.Str)
		if content.Str == "" {
			return nil, nil
		}
		return []block{{kind: "text", text: content.Str}}, nil
	case !content.IsArray():
		return nil, chatType(fmt.Sprintf("messages[%d].content", i), "one of a string or array of objects", content)
	}
	var blocks []block
	for j, part := range content.Array() {
		kind := part.Get("type").String()
		if !chatParts[kind] {
			return nil, chatInvalid(fmt.Sprintf("messages[%d].content[%d].type", i, j), "invalid_value", "Invalid value: '%s'. Supported values are: 'text', 'image_url', 'input_audio', 'refusal', and 'file'.", kind)
		}
		text := part.Get("text")
		if kind != "text" {
			c.size.total += len(part.Raw)
			blocks = append(blocks, block{kind: kind})
			continue
		}
		if text.Type != gjson.String {
			return nil, chatMissing(fmt.Sprintf("messages[%d].content[%d].text", i, j))
		}
		c.size.total += len(text.Str)
		blocks = append(blocks, block{kind: kind, text: text.Str})
	}
	if len(blocks) == 0 {
		return nil, chatEmpty(fmt.Sprintf("messages[%d].content", i), fmt.Sprintf("messages[%d].content", i))
	}
	return blocks, nil
}

func (c *conversation) chatCalls(i int, calls gjson.Result) ([]block, *vendorError) {
	at := fmt.Sprintf("messages[%d].tool_calls", i)
	switch {
	case noContent(calls):
		return nil, nil
	case !calls.IsArray():
		return nil, chatType(at, "an array of objects", calls)
	case len(calls.Array()) == 0:
		return nil, chatEmpty(at, at)
	}
	var blocks []block
	for j, call := range calls.Array() {
		kind, body := call.Get("type").String(), "arguments"
		if kind == "custom" {
			body = "input"
		}
		if kind != "function" && kind != "custom" {
			return nil, chatInvalid(fmt.Sprintf("%s[%d].type", at, j), "invalid_value", "Invalid value: '%s'. Supported values are: 'function' and 'custom'.", kind)
		}
		name, text := call.Get(kind+".name"), call.Get(kind+"."+body)
		switch {
		case call.Get("id").Type != gjson.String:
			return nil, chatMissing(fmt.Sprintf("%s[%d].id", at, j))
		case name.Type != gjson.String:
			return nil, chatMissing(fmt.Sprintf("%s[%d].%s.name", at, j, kind))
		case !text.Exists():
			return nil, chatMissing(fmt.Sprintf("%s[%d].%s.%s", at, j, kind, body))
		case text.Type != gjson.String:
			return nil, chatType(fmt.Sprintf("%s[%d].%s.%s", at, j, kind, body), "a string", text)
		}
		c.size.total += len(name.Str) + len(text.Str)
		blocks = append(blocks, block{kind: "tool_use", id: call.Get("id").Str})
	}
	return blocks, nil
}

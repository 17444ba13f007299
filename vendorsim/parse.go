package vendorsim

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/tidwall/gjson"
)

// maxModelName bounds the name of a model, which the books keep totals by.
const maxModelName = 256

// parse reads a request's body. It checks shapes only; check tests the meaning.
func parse(body []byte) (*conversation, *vendorError) {
	if !json.Valid(body) { // unlike gjson it bounds the nesting
		return nil, invalid("The request body is not valid JSON.")
	}
	root := gjson.ParseBytes(body)
	if !root.IsObject() {
		return nil, invalid("The request body must be a JSON object.")
	}
	top := map[string]gjson.Result{}
	root.ForEach(func(key, value gjson.Result) bool {
		top[key.Str] = value
		return true
	})
	c := &conversation{model: top["model"].String()}
	if err := c.parseScalars(top); err != nil {
		return nil, err
	}
	if err := c.parseTools(top["tools"]); err != nil {
		return nil, err
	}
	if err := c.parseSystem(top["system"]); err != nil {
		return nil, err
	}
	if err := c.parseMessages(top["messages"]); err != nil {
		return nil, err
	}
	if cc := top["cache_control"]; cc.IsObject() {
		c.size.mark(cc.Get("ttl").String())
	}
	return c, nil
}

func (c *conversation) parseScalars(top map[string]gjson.Result) *vendorError {
	if m, ok := top["model"]; !ok {
		return invalid("model: Field required")
	} else if m.Type != gjson.String {
		return invalid("model: Input should be a valid string")
	} else if len(m.Str) > maxModelName {
		return invalid("model: String should have at most %d characters", maxModelName)
	}
	if m, ok := top["max_tokens"]; ok {
		if m.Type != gjson.Number || m.Num != float64(int64(m.Num)) || m.Num > maxTokens || m.Num < -maxTokens {
			return invalid("max_tokens: Input should be a valid integer")
		}
		c.maxTokens = int64(m.Num)
		if c.maxTokens < 1 { // 0 stands for a field that is missing
			c.maxTokens = -1
		}
	}
	if s, ok := top["stream"]; ok && !s.IsBool() && s.Type != gjson.Null {
		return invalid("stream: Input should be a valid boolean")
	}
	c.stream = top["stream"].Bool()
	if t := top["thinking"]; t.Get("type").String() == "enabled" {
		b := t.Get("budget_tokens")
		if b.Type != gjson.Number {
			return invalid("thinking.enabled.budget_tokens: Field required")
		}
		c.thinking = b.Int()
	}
	return nil
}

func (c *conversation) parseTools(tools gjson.Result) *vendorError {
	if !tools.Exists() || tools.Type == gjson.Null {
		return nil
	}
	if !tools.IsArray() {
		return invalid("tools: Input should be a valid list")
	}
	var err *vendorError
	i := 0
	tools.ForEach(func(_, tool gjson.Result) bool {
		name, kind := tool.Get("name"), tool.Get("type").String()
		custom := kind == "" || kind == "custom"
		switch {
		case name.Type != gjson.String:
			err = invalid("tools.%d.custom.name: Field required", i)
		case custom && !tool.Get("input_schema").IsObject():
			err = invalid("tools.%d.custom.input_schema: Field required", i)
		}
		c.tools = append(c.tools, name.String())
		c.count(tool)
		i++
		return err == nil
	})
	return err
}

// count adds a raw value to the prompt, without its cache_control, which moves
// from request to request while the prompt stays the same.
func (c *conversation) count(v gjson.Result) {
	cc := v.Get("cache_control")
	c.size.total += len(v.Raw)
	if cc.Exists() {
		c.size.total -= min(len(cc.Raw)+len(`"cache_control":,`), len(v.Raw))
	}
	c.mark(cc)
}

func (c *conversation) mark(cc gjson.Result) {
	if cc.IsObject() {
		c.size.mark(cc.Get("ttl").String())
	}
}

func (c *conversation) parseSystem(system gjson.Result) *vendorError {
	switch {
	case !system.Exists() || system.Type == gjson.Null:
		return nil
	case system.Type == gjson.String:
		c.system = system.String()
		c.size.total += len(c.system)
		return nil
	case !system.IsArray():
		return invalid("system: Input should be a valid list")
	}
	var parts []string
	var err *vendorError
	system.ForEach(func(_, b gjson.Result) bool {
		if b.Get("type").String() != "text" || b.Get("text").Type != gjson.String {
			err = invalid("system.%d.type: Input should be 'text'", len(parts))
			return false
		}
		parts = append(parts, b.Get("text").String())
		c.size.total += len(parts[len(parts)-1])
		c.mark(b.Get("cache_control"))
		return true
	})
	c.system = strings.Join(parts, "\n")
	return err
}

func (c *conversation) parseMessages(list gjson.Result) *vendorError {
	if !list.Exists() {
		return invalid("messages: Field required")
	}
	if !list.IsArray() {
		return invalid("messages: Input should be a valid list")
	}
	var err *vendorError
	list.ForEach(func(_, m gjson.Result) bool {
		at := fmt.Sprintf("messages.%d", len(c.messages))
		msg := message{role: m.Get("role").String()}
		content := m.Get("content")
		switch {
		case content.Type == gjson.String && content.Str == "": // no blocks
		case content.Type == gjson.String:
			msg.blocks = []block{{kind: "text", text: content.Str}}
			c.size.total += len(content.Str)
		case content.IsArray():
			msg.blocks, err = c.parseBlocks(at, content)
		case content.Exists():
			err = invalid("%s.content: Input should be a valid list", at)
		default:
			err = invalid("%s.content: Field required", at)
		}
		c.messages = append(c.messages, msg)
		c.size.messageEnds = append(c.size.messageEnds, c.size.total)
		return err == nil
	})
	return err
}

func (c *conversation) parseBlocks(at string, content gjson.Result) (blocks []block, err *vendorError) {
	content.ForEach(func(_, v gjson.Result) bool {
		b := block{kind: v.Get("type").String()}
		switch b.kind {
		case "":
			err = invalid("%s.content.%d.type: Field required", at, len(blocks))
			return false
		case "text":
			b.text = v.Get("text").String()
			c.size.total += len(b.text)
			c.mark(v.Get("cache_control"))
		case "thinking":
			b.text, b.signature = v.Get("thinking").String(), v.Get("signature").String()
			c.size.total += len(b.text)
		case "tool_use":
			b.id = v.Get("id").String()
			c.size.total += len(v.Get("name").Str) + len(v.Get("input").Raw)
			c.mark(v.Get("cache_control"))
		case "tool_result":
			b.id, b.isError, b.text = v.Get("tool_use_id").String(), v.Get("is_error").Bool(), resultText(v.Get("content"))
			c.toolResults++
			c.size.total += len(b.text)
			c.mark(v.Get("cache_control"))
		default:
			c.count(v)
		}
		blocks = append(blocks, b)
		return true
	})
	return blocks, err
}

// resultText returns the text of a tool result, whose content is a text or a
// list of blocks.
func resultText(content gjson.Result) string {
	if !content.IsArray() {
		return content.String()
	}
	var parts []string
	content.ForEach(func(_, b gjson.Result) bool {
		if b.Get("type").String() == "text" {
			parts = append(parts, b.Get("text").String())
		}
		return true
	})
	return strings.Join(parts, "\n")
}

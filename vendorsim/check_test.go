package vendorsim

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// withMessages is a request with these messages, given as JSON.
func withMessages(messages string, more ...string) string {
	return `{"model":"claude-sonnet-4-5","max_tokens":4096,` + strings.Join(append(more, ""), ",") + `"messages":` + messages + `}`
}

const (
	hi       = `{"role":"user","content":"hi"}`
	asked    = `{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"a","input":{}},{"type":"tool_use","id":"t2","name":"a","input":{}}]}`
	answered = `{"type":"tool_result","tool_use_id":"t2","content":"2"},{"type":"tool_result","tool_use_id":"t1","content":[{"type":"text","text":"1"}]}`
)

func TestRequestsAreRefusedInTheVendorsWords(t *testing.T) {
	t.Parallel()
	v := start(t, Options{}, example(t))
	toolUse := "`tool_use` ids were found without `tool_result` blocks immediately after: "
	for _, c := range []struct{ name, body, want string }{
		{"no JSON", "{", "The request body is not valid JSON."},
		{"no object", "[]", "The request body must be a JSON object."},
		{"nested without end", strings.Repeat("[", 100_000), "The request body is not valid JSON."},
		{"no model", `{"max_tokens":1,"messages":[]}`, "model: Field required"},
		{"model no text", `{"model":1,"max_tokens":1,"messages":[]}`, "model: Input should be a valid string"},
		{"model without end", `{"model":"` + strings.Repeat("m", 300) + `"}`, "model: String should have at most 256 characters"},
		{"no max_tokens", strings.Replace(ask("x"), `"max_tokens":4096,`, "", 1), "max_tokens: Field required"},
		{"max_tokens zero", capped(0), "max_tokens: must be greater than or equal to 1"},
		{"max_tokens negative", capped(-5), "max_tokens: must be greater than or equal to 1"},
		{"max_tokens a fraction", strings.Replace(ask("x"), "4096", "1.5", 1), "max_tokens: Input should be a valid integer"},
		{"max_tokens huge", strings.Replace(ask("x"), "4096", "1e300", 1), "max_tokens: Input should be a valid integer"},
		{"max_tokens text", strings.Replace(ask("x"), "4096", `"9"`, 1), "max_tokens: Input should be a valid integer"},
		{"max_tokens over the model's", capped(64001), "max_tokens: 64001 > 64000, which is the maximum allowed number of output tokens for claude-sonnet-4-5"},
		{"prompt over the window", ask(strings.Repeat("x", 800_004)), "prompt is too long: 200001 tokens > 200000 maximum"},
		{"stream no boolean", ask("x", `"stream":1`), "stream: Input should be a valid boolean"},
		{"thinking without budget", ask("x", `"thinking":{"type":"enabled"}`), "thinking.enabled.budget_tokens: Field required"},
		{"thinking too small", ask("x", `"thinking":{"type":"enabled","budget_tokens":1000}`), "greater than or equal to 1024"},
		{"thinking over the cap", ask("x", `"thinking":{"type":"enabled","budget_tokens":4096}`), "`max_tokens` must be greater than `thinking.budget_tokens`"},
		{"no messages", `{"model":"m","max_tokens":1}`, "messages: Field required"},
		{"messages no list", withMessages("{}"), "messages: Input should be a valid list"},
		{"empty messages", withMessages("[]"), "messages: at least one message is required"},
		{"message no object", withMessages("[1]"), "messages.0.content: Field required"},
		{"system role", withMessages(`[{"role":"system","content":"x"}]`), `messages: Unexpected role \"system\".`},
		{"assistant first", withMessages(`[{"role":"assistant","content":"x"}]`), `messages: first message must use the \"user\" role`},
		{"two in a row", withMessages("[" + hi + "," + hi + "]"), `but found multiple \"user\" roles in a row`},
		{"no content", withMessages(`[{"role":"user"}]`), "messages.0.content: Field required"},
		{"content a number", withMessages(`[{"role":"user","content":1}]`), "messages.0.content: Input should be a valid list"},
		{"empty content", withMessages(`[{"role":"user","content":[]}]`), "messages.0: all messages must have non-empty content"},
		{"empty text", withMessages(`[{"role":"user","content":[{"type":"text","text":""}]}]`), "messages: text content blocks must be non-empty"},
		{"block without type", withMessages(`[{"role":"user","content":[{"text":"x"}]}]`), "messages.0.content.0.type: Field required"},
		{"call of a user", withMessages(`[{"role":"user","content":[{"type":"tool_use","id":"t1"}]}]`), "`tool_use` blocks can only be in `assistant` messages"},
		{"result without call", withMessages(`[{"role":"user","content":[` + answered + `]}]`), "messages.0.content.0: unexpected `tool_use_id` found in `tool_result` blocks: t2. Each"},
		{"call without result", withMessages("[" + hi + "," + asked + "," + hi + "]"), "messages.1: " + toolUse + "t1, t2. Each"},
		{"one result missing", withMessages("[" + hi + "," + asked + `,{"role":"user","content":[{"type":"tool_result","tool_use_id":"t2"}]}]`), "messages.1: " + toolUse + "t1. Each"},
		{"text before the results", withMessages("[" + hi + "," + asked + `,{"role":"user","content":[{"type":"text","text":"x"},` + answered + `]}]`), "messages.1: " + toolUse + "t1, t2. Each"},
		{"result of a call long ago", withMessages("[" + hi + "," + asked + `,{"role":"user","content":[` + answered + `]},{"role":"assistant","content":"ok"},{"role":"user","content":[` + answered + `]}]`), "messages.4.content.0: unexpected `tool_use_id`"},
		{"one id twice", withMessages("[" + hi + "," + strings.Replace(asked, "t2", "t1", 1) + "]"), "messages.1.content.1: `tool_use` ids must be unique"},
		{"thinking changed", withMessages("[" + hi + `,{"role":"assistant","content":[{"type":"thinking","thinking":"x","signature":"` + sign("y") + `"}]}]`), "messages.1.content.0: Invalid `signature` in `thinking` block"},
		{"tools no list", ask("x", `"tools":{}`), "tools: Input should be a valid list"},
		{"tool without name", ask("x", `"tools":[{"input_schema":{}}]`), "tools.0.custom.name: Field required"},
		{"tool without schema", ask("x", `"tools":[{"name":"a"}]`), "tools.0.custom.input_schema: Field required"},
		{"tool name", ask("x", `"tools":[{"name":"a b","input_schema":{}}]`), "tools.0.custom.name: String should match pattern"},
		{"tool twice", ask("x", `"tools":[{"name":"a","input_schema":{}},{"name":"a","input_schema":{}}]`), "tools: Tool names must be unique."},
		{"system no text", ask("x", `"system":[{"type":"image"}]`), "system.0.type: Input should be 'text'"},
		{"system a number", ask("x", `"system":1`), "system: Input should be a valid list"},
		{"five breakpoints", ask("x", `"system":[`+strings.TrimSuffix(strings.Repeat(`{"type":"text","text":"x","cache_control":{"type":"ephemeral"}},`, 5), ",")+`]`), "A maximum of 4 blocks with cache_control may be provided. Found 5."},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			answer := v.post(t, c.body)
			if answer.status != http.StatusBadRequest || !strings.Contains(string(answer.body), c.want) || !strings.Contains(string(answer.body), `"type":"invalid_request_error"`) {
				t.Errorf("%d %s, want %q", answer.status, answer.body, c.want)
			}
		})
	}
}

func TestWhatTheVendorAcceptsIsAccepted(t *testing.T) {
	t.Parallel()
	v := start(t, Options{}, echo(t, "{text: ok}"))
	for name, body := range map[string]string{
		"results in any order":  withMessages("[" + hi + "," + asked + `,{"role":"user","content":[` + answered + `,{"type":"text","text":"go on"}]}]`),
		"begun answer":          withMessages("[" + hi + `,{"role":"assistant","content":"I think"}]`),
		"empty begun answer":    withMessages("[" + hi + `,{"role":"assistant","content":""}]`),
		"unknown fields":        ask("x", `"brand_new":{"a":[1]},"context_management":{},"thinking":{"type":"adaptive"}`),
		"unknown blocks":        withMessages(`[{"role":"user","content":[{"type":"brand_new","x":1},{"type":"image","source":{}}]}]`),
		"server tools":          ask("x", `"tools":[{"type":"bash_20250124","name":"bash"}]`),
		"nulls":                 ask("x", `"system":null,"tools":null,"stream":null`),
		"cache_control on top":  ask("x", `"cache_control":{"type":"ephemeral","ttl":"1h"}`),
		"own thinking returned": withMessages("[" + hi + `,{"role":"assistant","content":[{"type":"thinking","thinking":"x","signature":"` + sign("x") + `"},{"type":"text","text":"y"}]},` + hi + "]"),
	} {
		if answer := v.post(t, body); answer.status != http.StatusOK {
			t.Errorf("%s: %d %s", name, answer.status, answer.body)
		}
	}
	combining := start(t, Options{}, load(t, "name: x\ncombine_turns: true\nrules: [{name: a, reply: {text: ok}}]"))
	if answer := combining.post(t, withMessages("["+hi+","+hi+"]")); answer.status != http.StatusOK {
		t.Errorf("combined turns: %d %s", answer.status, answer.body)
	}
}

func TestNoRequestBodyBreaksTheServer(t *testing.T) {
	t.Parallel()
	s := New(Options{}, example(t))
	body := withMessages("["+hi+","+asked+`,{"role":"user","content":[`+answered+`]}]`, fixTools, streaming)
	for i := range body { // cut short, and with one byte changed to each of a few
		for _, b := range []string{body[:i], body[:i] + "0" + body[i+1:], body[:i] + `"` + body[i+1:], body[:i] + "]" + body[i+1:]} {
			if c, err := parse([]byte(b)); err == nil && c.check(false) == nil {
				if _, ok := find(s.scenarios, c); ok {
					c.hash("")
				}
			}
		}
	}
}

func FuzzParseAndCheckNeverPanic(f *testing.F) {
	f.Add([]byte(ask("x", fixTools)))
	f.Add([]byte(withMessages("[" + hi + "," + asked + `,{"role":"user","content":[` + answered + `]}]`)))
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := parse(body)
		if err != nil || c.check(true) != nil {
			return
		}
		u := c.inputUsage()
		if sum := u.Input + u.CacheRead + u.CacheWrite5m + u.CacheWrite1h; sum != c.size.tokens() || min(u.Input, u.CacheRead, u.CacheWrite5m, u.CacheWrite1h) < 0 || sum > int64(len(body)) {
			t.Errorf("usage %+v of a prompt of %d tokens in %d bytes", u, c.size.tokens(), len(body))
		}
		c.scene(capture{})
		c.hash("k")
	})
}

func TestDerivedTokensNeverPassTheBytesOfTheBody(t *testing.T) {
	t.Parallel()
	for i := range 50 {
		body := ask(strings.Repeat("\\u0041é", i)[:i], fmt.Sprintf(`"system":"%s"`, strings.Repeat("s", i)), `"cache_control":{"type":"ephemeral"}`)
		c, err := parse([]byte(strings.ToValidUTF8(body, "?")))
		if err != nil {
			t.Fatal(err.message)
		}
		if n := c.size.tokens(); n > int64(len(body)) {
			t.Errorf("%d tokens of %d bytes", n, len(body))
		}
	}
}

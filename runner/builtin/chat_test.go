package builtin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/runner/acp"
)

// chunks is a stream of Chat Completions: each text is one chunk's only choice,
// or the whole chunk if it begins with a brace and names choices or usage.
func chunks(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		if p != "[DONE]" && !strings.HasPrefix(p, `{"choices"`) && !strings.HasPrefix(p, `{"error"`) {
			p = `{"choices":[{"index":0,` + p + `}]}`
		}
		fmt.Fprintf(&b, "data: %s\n\n", p)
	}
	return b.String()
}

func callBlock(id, name, input string) block {
	return block{Type: blockToolUse, ID: id, Name: name, Input: json.RawMessage(input)}
}

const chatUsageChunk = `{"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":64}}}`

func TestAChatAnswerIsReadFromEveryServersStream(t *testing.T) {
	t.Parallel()
	counted := corp.Usage{FreshInput: 36, CacheRead: 64, Output: 7}
	for name, c := range map[string]struct {
		stream string
		want   answer
	}{
		"text": {
			chunks(`"delta":{"role":"assistant","content":""}`, `"delta":{"content":"Hel"}`, `"delta":{"content":"lo"}`, `"delta":{},"finish_reason":"stop"`, chatUsageChunk, "[DONE]"),
			answer{[]block{{Type: blockText, Text: "Hello"}}, stoppedEnd, counted},
		},
		"parallel calls": {
			chunks(`"delta":{"content":null,"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"read","arguments":""}}]}`,
				`"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"path\":"}}]}`, `"delta":{"tool_calls":[{"index":1,"id":"b","function":{"name":"list","arguments":"{"}},{"index":0,"function":{"arguments":"\"x\"}"}}]}`,
				`"delta":{"tool_calls":[{"index":1,"function":{"arguments":"}"}}]}`, `"delta":{},"finish_reason":"tool_calls"`, chatUsageChunk, "[DONE]"),
			answer{[]block{callBlock("a", "read", `{"path":"x"}`), callBlock("b", "list", `{}`)}, stoppedTools, counted},
		},
		"every call has the index 0, whole, and the reason is stop": {
			chunks(`"delta":{"content":"","tool_calls":[{"index":0,"id":"a","function":{"name":"read","arguments":"{}"}}]}`, `"delta":{"tool_calls":[{"index":0,"id":"b","function":{"name":"list","arguments":"{}"}}]},"finish_reason":"stop"`, "[DONE]"),
			answer{[]block{callBlock("a", "read", `{}`), callBlock("b", "list", `{}`)}, stoppedTools, corp.Usage{}},
		},
		"no index, and an object for arguments": {
			chunks(`"delta":{"tool_calls":[{"id":"a","function":{"name":"read","arguments":{"path":"x"}}},{"id":"b","function":{"name":"list","arguments":null}}]}`, `"delta":{},"finish_reason":"tool_calls"`),
			answer{[]block{callBlock("a", "read", `{"path":"x"}`), callBlock("b", "list", ``)}, stoppedTools, corp.Usage{}},
		},
		"the name again in each piece": {
			chunks(`"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"read","arguments":"{"}}]}`, `"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"read","arguments":"}"}}]},"finish_reason":"tool_calls"`, "[DONE]"),
			answer{[]block{callBlock("a", "read", `{}`)}, stoppedTools, corp.Usage{}},
		},
		"no [DONE], no usage": {
			chunks(`"delta":{"content":"x"},"finish_reason":"stop"`), answer{[]block{{Type: blockText, Text: "x"}}, stoppedEnd, corp.Usage{}},
		},
		"cut arguments": {
			chunks(`"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"write","arguments":"{\"pa"}}]}`, `"delta":{},"finish_reason":"length"`, "[DONE]"),
			answer{[]block{callBlock("a", "write", `{"pa`)}, stoppedTokens, corp.Usage{}},
		},
		"thinking": {
			chunks(`"delta":{"reasoning_content":"hm"}`, `"delta":{"reasoning":"m"}`, `"delta":{"content":"x"},"finish_reason":"stop"`, "[DONE]"),
			answer{[]block{{Type: blockThinking, Thinking: new("hmm")}, {Type: blockText, Text: "x"}}, stoppedEnd, corp.Usage{}},
		},
		"a refusal": {
			chunks(`"delta":{"refusal":"I will "}`, `"delta":{"refusal":"not."},"finish_reason":"stop"`, "[DONE]"),
			answer{[]block{{Type: blockText, Text: "I will not."}}, stoppedRefusal, corp.Usage{}},
		},
		"filtered": {
			chunks(`"delta":{"content":"x","tool_calls":[{"index":0,"id":"a","function":{"name":"run","arguments":"{}"}}]},"finish_reason":"content_filter"`, "[DONE]"),
			answer{[]block{{Type: blockText, Text: "x"}}, stoppedRefusal, corp.Usage{}},
		},
		"nothing at all": {chunks(`"delta":{},"finish_reason":"stop"`, "[DONE]"), answer{nil, stoppedEnd, corp.Usage{}}},
		"a choice that nobody asked for, a comment": {
			": ping\n\n" + chunks(`"delta":{"content":"x"}`, `{"choices":[{"index":1,"delta":{"content":"y"},"finish_reason":"stop"}]}`, `"delta":{},"finish_reason":"stop"`, "[DONE]"),
			answer{[]block{{Type: blockText, Text: "x"}}, stoppedEnd, corp.Usage{}},
		},
		"absurd counts": {
			chunks(`"delta":{},"finish_reason":"stop"`, `{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":-1,"prompt_tokens_details":{"cached_tokens":9}}}`, "[DONE]"),
			answer{nil, stoppedEnd, corp.Usage{CacheRead: 5}},
		},
	} {
		got, err := readChat(strings.NewReader(c.stream), deaf())
		if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
}

func TestAChatAnswerThatIsNotWholeIsNone(t *testing.T) {
	t.Parallel()
	many := strings.Repeat(`{"id":"","function":{"name":"x","arguments":""}},`, maxChatCalls+1)
	for name, stream := range map[string]string{
		"nothing": "", "no end": chunks(`"delta":{"content":"x"}`), "[DONE] alone": chunks("[DONE]"),
		"malformed": "data: {\"choices\":[\n\n", "no object": "data: [1]\n\n",
		"too many calls": chunks(`"delta":{"tool_calls":[`+strings.TrimSuffix(many, ",")+`]},"finish_reason":"stop"`, "[DONE]"),
	} {
		if a, err := readChat(strings.NewReader(stream), deaf()); !errors.Is(err, errCut) {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
	_, err := readChat(strings.NewReader(chunks(`"delta":{"content":"x"}`, `{"error":{"message":"boom","type":"server_error","code":500}}`)), deaf())
	if e, ok := errors.AsType[*vendorError](err); !ok || e.fault.Message != "boom" || !passing(err) {
		t.Errorf("an error in the stream: %v", err)
	}
}

func TestCallsWithoutAnIDOfTheirOwnGetOne(t *testing.T) {
	t.Parallel()
	a, err := readChat(strings.NewReader(chunks(`"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"list","arguments":"{}"}},{"index":1,"id":"a","function":{"name":"list","arguments":"{}"}},{"index":2,"function":{"name":"list","arguments":"{}"}}]},"finish_reason":"tool_calls"`)), deaf())
	if err != nil || len(a.Blocks) != 3 {
		t.Fatalf("%+v, %v", a, err)
	}
	ids := map[string]bool{}
	for _, b := range a.Blocks {
		ids[b.ID] = true
	}
	if len(ids) != 3 || ids[""] {
		t.Errorf("ids %v", ids)
	}
}

func TestAConversationIsTranslatedIntoChat(t *testing.T) {
	t.Parallel()
	request := modelRequest{
		Model: "m", MaxTokens: 5, System: []block{{Type: blockText, Text: "be"}, {Type: blockText, Text: "good"}},
		Tools: []toolSpec{{"list", "lists", json.RawMessage(`{}`)}},
		Messages: []message{
			{Role: roleUser, Content: []block{{Type: blockText, Text: "go"}}},
			{Role: roleAssistant, Content: []block{{Type: blockThinking, Thinking: new("hm")}, callBlock("a", "list", `{"x":1}`), callBlock("b", "list", `{}`)}},
			{Role: roleUser, Content: []block{{Type: blockToolResult, ToolUseID: "a", Content: "found"}, {Type: blockToolResult, ToolUseID: "b", Content: "no", IsError: true}, {Type: blockText, Text: "go on"}}},
			{Role: roleAssistant, Content: []block{{Type: blockThinking, Thinking: new("only this")}}},
			{Role: roleUser, Content: []block{{Type: blockToolResult, ToolUseID: "c", Content: ""}}},
		},
	}
	body, err := (&chatDialect{}).encode(request)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"model":"m","max_tokens":5,"stream":true,"stream_options":{"include_usage":true},` +
		`"tools":[{"type":"function","function":{"name":"list","description":"lists","parameters":{}}}],"messages":[` +
		`{"role":"system","content":"be\n\ngood"},{"role":"user","content":"go"},` +
		`{"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"list","arguments":"{\"x\":1}"}},{"id":"b","type":"function","function":{"name":"list","arguments":"{}"}}]},` +
		`{"role":"tool","content":"found","tool_call_id":"a"},{"role":"tool","content":"Error: no","tool_call_id":"b"},{"role":"user","content":"go on"},` +
		`{"role":"assistant","content":""},{"role":"tool","content":"","tool_call_id":"c"}]}`
	if diff := cmp.Diff(want, string(body)); diff != "" {
		t.Error(diff)
	}
}

const chatTask = `
name: chat
models: [{id: m, context_window: 100000, max_output: 4000, cap_by: CAP}]
rules:
  - {name: first, match: {tool_results: 0}, reply: {thinking: Hm., text: I look., tool_calls: [{name: read, input: {path: a.txt}}, {name: read, input: {path: missing}}]}}
  - {name: second, match: {tool_result: 'no missing', tool_error: true}, reply: {tool_calls: [{name: edit, input: {path: a.txt, old: one, new: two}}]}}
  - {name: third, match: {tool_result: 'Edited'}, reply: {text: Done.}}
`

// The same loop, tools and books over Chat Completions.
func TestATaskIsDoneOverChatCompletions(t *testing.T) {
	t.Parallel()
	for limit, refused := range map[string]int{"max_completion_tokens": 1, "max_tokens": 0, "''": 0} {
		t.Run(limit, func(t *testing.T) {
			t.Parallel()
			sim, url := simulated(t, strings.Replace(chatTask, "CAP", limit, 1))
			a := start(t, bench(t, map[string]string{"a.txt": "one\n"}), url, inWindow(corp.DialectOpenAI, 100_000))
			claim, out := a.prompt("Fix it.")
			if claim != acp.StopEndTurn || out.Reason != "" || out.Calls != 3 {
				t.Fatalf("ended with %s, %+v", claim, out)
			}
			if got := content(t, a.w, "a.txt"); got != "two\n" {
				t.Errorf("the file is %q", got)
			}
			books := sim.Books()
			if len(books.Calls) != 3+refused || out.Usage != billed(books) {
				t.Errorf("%d calls of the vendor's, %+v; counted %+v", len(books.Calls), billed(books), out.Usage)
			}
			for _, c := range books.Calls[refused:] {
				if c.MaxTokens != 1500 {
					t.Errorf("an answer had the limit %d", c.MaxTokens)
				}
			}
			if got := text(t, a.told("agent_message_chunk")); got != "I look.Done." {
				t.Errorf("said %q", got)
			}
		})
	}
}

func TestTheReasonOfAnEndIsClearOverChat(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		body   string
		reason corp.Reason
		detail string
		calls  int32
	}{
		"key":             {401, `{"error":{"message":"Incorrect API key provided","type":"invalid_request_error","code":"invalid_api_key"}}`, corp.ReasonProviderKey, "Incorrect API key", 1},
		"budget":          {402, `{"error":{"message":"The run's budget is used up.","type":"insufficient_quota","code":"budget"}}`, corp.ReasonBudget, "budget is used up", 1},
		"account":         {429, `{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}`, corp.ReasonProviderKey, "exceeded your current quota", 1},
		"rate":            {429, `{"error":{"message":"Rate limit reached","type":"requests","code":"rate_limit_exceeded"}}`, corp.ReasonProviderDown, "Rate limit", 4},
		"model":           {404, `{"error":{"message":"The model 'x' does not exist","type":"invalid_request_error","code":"model_not_found"}}`, corp.ReasonModelUnknown, "does not exist", 1},
		"model of Ollama": {404, `{"error":{"message":"model \"x\" not found, try pulling it first","type":"api_error","code":null}}`, corp.ReasonModelUnknown, "try pulling", 1},
		"address":         {404, `404 page not found`, corp.ReasonProviderRejected, "page not found", 1},
		"too long":        {400, `{"error":{"message":"This model's maximum context length is 900 tokens.","type":"invalid_request_error","code":"context_length_exceeded"}}`, corp.ReasonStepLimit, "900 tokens", 1},
		"of vLLM":         {400, `{"object":"error","message":"The decoder prompt is longer than the maximum context length of 900 tokens","type":"BadRequestError","code":400}`, corp.ReasonStepLimit, "900 tokens", 1},
		"of llama.cpp":    {400, `{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error"}}`, corp.ReasonStepLimit, "too long", 1},
		"a text":          {400, `{"error":"invalid message"}`, corp.ReasonProviderRejected, "invalid message", 1},
		"a detail":        {400, `{"detail":"nope"}`, corp.ReasonProviderRejected, "nope", 1},
		"down":            {500, `{"error":{"message":"The server had an error","type":"server_error"}}`, corp.ReasonProviderDown, "had an error", 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var served atomic.Int32
			v := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				served.Add(1)
				if r.URL.Path != "/v1/chat/completions" || r.Header.Get("Authorization") != "Bearer gc_run_secret" {
					t.Errorf("%s with %v", r.URL, r.Header)
				}
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body))
			}))
			t.Cleanup(v.Close)
			a := start(t, bench(t, nil), v.URL, func(c *Config) { c.Dialect = corp.DialectOpenAI })
			if claim, out := a.prompt("go"); claim == acp.StopEndTurn || out.Reason != c.reason || !strings.Contains(out.Detail, c.detail) || served.Load() != c.calls {
				t.Errorf("after %d calls ended with %s, %+v", served.Load(), claim, out)
			}
		})
	}
}

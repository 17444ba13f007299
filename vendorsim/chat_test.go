package vendorsim

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/quick"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestChatAnswersAreByteForByteAsRecorded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, body string }{
		{"text-and-two-calls.stream", chatAsk("[fix] main.go", withUsage, chatFix)},
		{"text-and-two-calls.json", chatAsk("[fix] main.go", chatFix)},
		{"priced.stream", chatAsk("[priced]", streaming)},
		{"priced.json", chatAsk("[priced]")},
		{"unknown.stream", chatAsk("[unknown]", withUsage)},
		{"unknown.json", chatAsk("[unknown]")},
		{"malformed.stream", chatAsk("[malformed]", streaming)},
		{"error.stream", chatAsk("[error]", streaming)},
		{"broke.json", chatAsk("[broke]")},
		{"choices.stream", chatAsk("[stopped]", withUsage, `"n":2`)},
		{"pairs.json", chatWith(`[{"role":"tool","tool_call_id":"x","content":"y"}]`)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			v := start(t, Options{NewID: numberedIDs(), Now: func() time.Time { return time.Unix(1_800_000_000, 0) }}, example(t))
			answer := v.chat(t, c.body)
			if answer.err != nil {
				t.Fatal(answer.err)
			}
			path := filepath.Join("testdata", "chat-"+c.name+".golden")
			if *update {
				if err := os.WriteFile(path, answer.body, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(answer.body)); diff != "" {
				t.Errorf("differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOneScenarioAnswersAlikeInBothDialects(t *testing.T) {
	t.Parallel()
	v := start(t, Options{}, example(t))
	whole, chat := decodeWhole(t, v.post(t, ask("[fix] main.go", fixTools)).body), v.chatWhole(t, chatAsk("[fix] main.go", chatFix)).choices[0]
	if chat.Content != whole.Content[1].Text || len(chat.Calls) != 2 || chat.Finish != "tool_calls" {
		t.Fatalf("%+v", chat)
	}
	for i, call := range chat.Calls {
		if other := whole.Content[2+i]; call.Function.Name != other.Name || call.Function.Arguments != string(other.Input) || !strings.HasPrefix(call.ID, "call_") {
			t.Errorf("%+v, not %+v", call, other)
		}
	}
	done := func(text string) string {
		return chatWith(`[{"role":"system","content":"s"},{"role":"user","content":"[fix] main.go"},
			{"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"read","arguments":"{}"}},{"id":"b","type":"function","function":{"name":"read","arguments":"not json"}}]},
			{"role":"tool","tool_call_id":"b","content":`+text+`},{"role":"tool","tool_call_id":"a","content":[{"type":"text","text":"a bug"}]},
			{"role":"user","content":"and hurry"}]`, chatFix)
	}
	next := v.chatWhole(t, done(`"x"`)).choices[0]
	if next.Content != "Found it." || next.Calls[0].Function.Arguments != `{"path": "main.go", "content": "x"}` || next.Calls[0].ID != "toolu_scripted" {
		t.Errorf("%+v", next)
	}
	if failed := v.chatWhole(t, done(`"Error: no such file"`)).choices[0]; failed.Content != "The tool failed: a bug" {
		t.Errorf("%+v", failed)
	}
	if calls := v.Books().Calls; calls[0].Dialect != DialectMessages || calls[1].Dialect != DialectChat || calls[2].Turn != 1 || calls[2].Rule != "fix-edit" {
		t.Errorf("%+v", calls)
	}
}

func TestChatDeltasAddUpToTheWholeAnswerAndTheBooks(t *testing.T) {
	t.Parallel()
	property := func(said string, chunk, choices uint8, refuses bool) bool {
		stop := ""
		if refuses {
			stop = "stop_reason: refusal, "
		}
		said = strings.Join(strings.Fields(strings.ToValidUTF8(said, "é")), " ") + "<🙂>\u2028"
		v := start(t, Options{}, echo(t, fmt.Sprintf(`{thinking: long thought, text: '{{.Prompt}}', %space: {chunk: %d}, tool_calls: [{name: a, input: {b: '{{.Prompt}}'}}, {name: c}]}`, stop, int(chunk)+1)))
		n := fmt.Sprintf(`"n":%d`, choices%3+1)
		stream, whole := v.chatStream(t, chatAsk(said, withUsage, n)), v.chatWhole(t, chatAsk(said, n))
		ids := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".ID" }, cmp.Ignore())
		books := v.Books()
		return stream.done && len(whole.choices) == int(choices%3)+1 && cmp.Equal(stream.choices, whole.choices, ids) &&
			(whole.choices[0].Refusal == said) == refuses && (whole.choices[0].Content == said) == !refuses &&
			*stream.usage == *whole.usage && whole.usage.disjoint() == books.Calls[0].Usage && books.Calls[0].Usage == books.Calls[1].Usage &&
			whole.usage.Completed.Reasoning > 0 && books.Dialects[DialectChat] == books.Total
	}
	if err := quick.Check(property, &quick.Config{MaxCount: 40}); err != nil {
		t.Error(err)
	}
}

func TestChatUsageIsToldOnlyToWhoAskedAndNeverWhenHidden(t *testing.T) {
	t.Parallel()
	v := start(t, Options{}, echo(t, "{text: ok}"))
	if a := v.chatStream(t, chatAsk("x", streaming)); a.usage != nil || !a.done {
		t.Errorf("not asked: %+v", a)
	}
	if a := v.chatStream(t, chatAsk("x", withUsage)); a.usage == nil || a.usage.Total != a.usage.Prompt+a.usage.Completion {
		t.Errorf("asked: %+v", a)
	}
	hidden := start(t, Options{}, echo(t, "{text: ok, usage: {input: 7, output: 9, hidden: true}}"))
	if a := hidden.chatStream(t, chatAsk("x", withUsage)); a.usage != nil {
		t.Errorf("hidden: %+v", a.usage)
	}
	if a := hidden.chatWhole(t, chatAsk("x")); a.usage != nil || hidden.Books().Total.Usage != (Usage{Input: 14, Output: 18}) {
		t.Errorf("hidden: %+v, %+v", a.usage, hidden.Books().Total)
	}
}

func TestTheChatCacheGrowsByItselfInWholeSteps(t *testing.T) {
	t.Parallel()
	v := start(t, Options{}, echo(t, "{text: ok}"))
	long := strings.Repeat("word", 1300)
	messages := `[{"role":"user","content":"` + long + `"},{"role":"assistant","content":"ok"},{"role":"user","content":"next"}]`
	u := v.chatWhole(t, chatWith(messages)).usage
	if u.Details.Cached != 1280 || u.Prompt != 1302 {
		t.Errorf("%+v", u)
	}
	if u := v.chatWhole(t, chatWith(strings.Replace(messages, long, long[:4000], 1))).usage; u.Details.Cached != 0 || u.Prompt != 1002 {
		t.Errorf("too short to cache: %+v", u)
	}
	scripted := start(t, Options{}, echo(t, "{text: ok, usage: {input: 10, cache_read: 20, cache_write_5m: 30, output: 5}}"))
	if u := scripted.chatWhole(t, chatAsk("x")).usage; u.Prompt != 60 || u.disjoint() != scripted.Books().Total.Usage {
		t.Errorf("scripted: %+v", u)
	}
}

func TestAChatCapLowersTheBillAndTheText(t *testing.T) {
	t.Parallel()
	v := start(t, Options{}, echo(t, "{text_bytes: 400}"), load(t, "name: m\nmodels: [{id: claude-sonnet-4-5, max_output: 90}, {id: old, cap_by: max_tokens}, {id: new, cap_by: max_completion_tokens}]\nrules: [{name: never}]"))
	for _, c := range []struct {
		model, cap string
		output     int64
		finish     string
	}{
		{"claude-sonnet-4-5", `"max_tokens":10`, 10, "length"},
		{"claude-sonnet-4-5", `"max_completion_tokens":11`, 11, "length"},
		{"claude-sonnet-4-5", `"max_tokens":null`, 90, "length"},
		{"claude-sonnet-4-5", `"max_tokens":7,"n":3`, 21, "length"},
		{"old", `"max_tokens":12`, 12, "length"},
		{"old", `"max_completion_tokens":12`, 100, "stop"},
		{"new", `"max_completion_tokens":13`, 13, "length"},
	} {
		body := strings.Replace(chatAsk("x", c.cap, withUsage), "claude-sonnet-4-5", c.model, 1)
		if a := v.chatStream(t, body); a.usage.Completion != c.output || a.choices[0].Finish != c.finish {
			t.Errorf("%s with %s: %+v", c.model, c.cap, a)
		}
	}
}

func TestChatRefusesWhatTheVendorRefuses(t *testing.T) {
	t.Parallel()
	s := load(t, "name: m\nmodels: [{id: claude-sonnet-4-5, max_output: 900, context_window: 100}, {id: new, cap_by: max_completion_tokens}]\nrules: [{name: all, reply: {text: ok}}]")
	v := start(t, Options{Keys: []string{"sk-test-0123456789"}}, s)
	user := `{"role":"user","content":"x"}`
	called := `{"role":"assistant","tool_calls":[{"id":"c1","type":"function","function":{"name":"a","arguments":"{}"}},{"id":"c2","type":"function","function":{"name":"a","arguments":"{}"}}]}`
	result := func(id string) string { return `{"role":"tool","tool_call_id":"` + id + `","content":"r"}` }
	list := func(m ...string) string { return chatWith("[" + strings.Join(m, ",") + "]") }
	for _, c := range []struct {
		body, want, param, code string
		status                  int
	}{
		{`{`, "could not parse the JSON", "", "", 400},
		{`[]`, "expected an object", "", "", 400},
		{`{"messages":[]}`, "must provide a model", "", "", 400},
		{`{"model":"claude-sonnet-4-5"}`, "Missing required parameter: 'messages'.", "messages", "missing_required_parameter", 400},
		{list(), "empty array", "messages", "empty_array", 400},
		{strings.Replace(list(user), "claude-sonnet-4-5", "nope", 1), "The model `nope` does not exist", "", "model_not_found", 404},
		{list(`{"role":"robot","content":"x"}`), "Invalid value: 'robot'", "messages[0].role", "invalid_value", 400},
		{list(`{"content":"x"}`), "Missing required", "messages[0].role", "missing_required_parameter", 400},
		{list(`{"role":"user"}`), "got null", "messages.[0].content", "", 400},
		{list(`{"role":"assistant","content":null}`), "got null", "messages.[0].content", "", 400},
		{list(`{"role":"user","content":[{"type":"hologram"}]}`), "'hologram'", "messages[0].content[0].type", "invalid_value", 400},
		{list(user, result("c1")), "must be a response to a preceeding", "messages.[1].role", "", 400}, //nolint:misspell // the vendor's spelling
		{list(user, called, result("c1")), "did not have response messages: c2", "messages.[3].role", "", 400},
		{list(user, called, user), "did not have response messages: c1, c2", "messages.[2].role", "", 400},
		{list(user, called, result("c1"), result("c2"), result("c3")), "'tool_call_id' of 'c3' not found", "messages.[4].tool_call_id", "", 400},
		{list(user, called, result("c1"), user, result("c2")), "did not have response messages: c2", "messages.[3].role", "", 400},
		{list(user, strings.Replace(called, `"{}"`, `{}`, 1)), "expected a string, but got an object", "messages[1].tool_calls[0].function.arguments", "invalid_type", 400},
		{list(user, `{"role":"assistant","tool_calls":[]}`), "empty array", "messages[1].tool_calls", "empty_array", 400},
		{chatAsk("x", `"max_tokens":0`), "below minimum", "max_tokens", "integer_below_min_value", 400},
		{chatAsk("x", `"max_tokens":"9"`), "expected an integer, but got a string", "max_tokens", "invalid_type", 400},
		{chatAsk("x", `"max_tokens":1e3`), "max_tokens is too large: 1000", "max_tokens", "invalid_value", 400},
		{chatAsk("x", `"max_completion_tokens":901`), "at most 900", "max_completion_tokens", "invalid_value", 400},
		{chatAsk("x", `"max_completion_tokens":9,"max_tokens":9`), "at the same time", "max_tokens", "invalid_parameter_combination", 400},
		{strings.Replace(chatAsk("x", `"max_tokens":9`), "claude-sonnet-4-5", "new", 1), "Use 'max_completion_tokens' instead", "max_tokens", "unsupported_parameter", 400},
		{chatAsk("x", `"n":0`), "below minimum", "n", "integer_below_min_value", 400},
		{chatAsk("x", `"n":129`), "above maximum", "n", "integer_above_max_value", 400},
		{chatAsk("x", `"stream":"yes"`), "expected a boolean", "stream", "invalid_type", 400},
		{chatAsk("x", `"stream_options":{"include_usage":true}`), "only allowed when 'stream' is enabled", "stream_options", "", 400},
		{chatAsk("x", `"tools":[]`), "empty array", "tools", "empty_array", 400},
		{chatAsk("x", `"tools":[{"type":"function","function":{"name":"a b"}}]`), "does not match pattern", "tools[0].function.name", "invalid_value", 400},
		{chatAsk("x", `"tools":[{"type":"web"}]`), "Invalid value: 'web'", "tools[0].type", "invalid_value", 400},
		{chatAsk("x", `"tool_choice":"auto"`), "only allowed when 'tools' are specified", "tool_choice", "", 400},
		{chatAsk("x", `"parallel_tool_calls":false`), "only allowed when 'tools' are specified", "parallel_tool_calls", "", 400},
		{chatAsk("x", chatFix, `"tool_choice":{"type":"function","function":{"name":"zap"}}`), "'zap' not found", "tool_choice", "", 400},
		{chatAsk(strings.Repeat("x", 500)), "maximum context length is 100 tokens", "messages", "context_length_exceeded", 400},
	} {
		answer := v.chat(t, c.body)
		var e struct {
			Error struct {
				Message, Type string
				Param, Code   *string
			}
		}
		if err := json.Unmarshal(answer.body, &e); err != nil {
			t.Fatalf("%s: %s", c.body, answer.body)
		}
		if answer.status != c.status || !strings.Contains(e.Error.Message, c.want) || e.Error.Type != "invalid_request_error" || orEmpty(e.Error.Param) != c.param || orEmpty(e.Error.Code) != c.code {
			t.Errorf("%s: %d %s", c.body, answer.status, answer.body)
		}
	}
	if total := v.Books().Total; total.Usage != (Usage{}) {
		t.Errorf("refusals cost %+v", total)
	}
}

func TestChatTakesWhatTheVendorTakes(t *testing.T) {
	t.Parallel()
	v := start(t, Options{}, echo(t, "{text: ok, tool_calls: [{name: read}, {name: edit}]}"))
	for body, calls := range map[string]int{
		chatAsk("x"): 2,
		chatAsk("x", chatFix, `"parallel_tool_calls":false`):                                                                       1,
		chatAsk("x", chatFix, `"tool_choice":"none"`):                                                                              0,
		chatAsk("x", chatFix, `"tool_choice":{"type":"function","function":{"name":"read"}}`):                                      2,
		chatAsk("", `"some_new_parameter":{"a":1}`, `"stop":null`):                                                                 2,
		chatWith(`[{"role":"developer","content":"d"},{"role":"user","content":"a"},{"role":"user","content":"b"}]`):               2,
		chatWith(`[{"role":"system","content":[{"type":"text","text":"s"}]}]`):                                                     2,
		chatWith(`[{"role":"assistant","content":"","refusal":"no"}]`):                                                             2,
		chatWith(`[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}},{"type":"text","text":"what is it"}]}]`): 2,
	} {
		if a := v.chatWhole(t, body); len(a.choices[0].Calls) != calls {
			t.Errorf("%s: %+v", body, a.choices[0])
		}
	}
	if a := v.chatWhole(t, chatAsk("x", `"service_tier":"flex"`)); a.tier != "flex" {
		t.Errorf("tier %s", a.tier)
	}
}

func TestChatFaultsStrikeAsInTheOtherDialect(t *testing.T) {
	t.Parallel()
	v := start(t, Options{}, example(t))
	var met []int
	for range 4 {
		answer := v.chat(t, chatAsk("[busy]", streaming))
		if answer.status == 429 && (answer.header.Get("Retry-After") != "1" || answer.header.Get("Retry-After-Ms") != "1000" || answer.header.Get("X-Ratelimit-Remaining-Requests") != "0" || !strings.Contains(string(answer.body), `"code": "rate_limit_exceeded"`)) {
			t.Errorf("%v %s", answer.header, answer.body)
		}
		met = append(met, answer.status)
	}
	if !slices.Equal(met, []int{429, 503, 529, 200}) {
		t.Errorf("met %v", met)
	}
	if answer := v.chat(t, chatAsk("[reset]")); answer.err == nil {
		t.Errorf("not reset: %d", answer.status)
	}
	cut := v.chat(t, chatAsk("[cut]", withUsage))
	if a := decodeChatStream(t, cut.body); cut.err == nil || a.done || a.usage != nil || a.chunks != 8 {
		t.Errorf("not cut after 8: %v, %+v", cut.err, a)
	}
	if a := v.chatStream(t, chatAsk("[malformed]", streaming)); a.broken != 1 || !a.done {
		t.Errorf("malformed: %+v", a)
	}
	if a := v.chatStream(t, chatAsk("[error]", streaming)); a.failure != "server_error" || a.done || a.chunks != 6 {
		t.Errorf("error: %+v", a)
	}
	if answer := v.chat(t, chatAsk("[error] again")); answer.status != http.StatusServiceUnavailable {
		t.Errorf("error without a stream: %d %s", answer.status, answer.body)
	}
	for _, prompt := range []string{"[hang]", "[endless]"} {
		ctx, cancel := context.WithCancel(t.Context())
		r := chatRequestTo(ctx, v.url, chatAsk(prompt, streaming, `"max_tokens":20`))
		resp, err := v.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		read := make([]byte, 0, 4096)
		for !strings.Contains(string(read), ": ping\n\n") {
			piece := make([]byte, 512)
			n, err := resp.Body.Read(piece)
			if err != nil {
				t.Fatal(err)
			}
			read = append(read, piece[:n]...)
		}
		cancel()
		resp.Body.Close()
	}
	eventually(t, "both are booked", func() bool {
		calls := v.Books().Calls
		return calls[len(calls)-1].Outcome == OutcomeHungUp && calls[len(calls)-2].Outcome == OutcomeHungUp
	})
}

func TestChatKnowsItsKeyAndListsItsModels(t *testing.T) {
	t.Parallel()
	v := start(t, Options{Keys: []string{"sk-test-0123456789"}}, example(t))
	get := func(path, auth string) got {
		r := request(t.Context(), http.MethodGet, v.url+path, "")
		r.Header.Del("X-Api-Key")
		r.Header.Del("Anthropic-Version")
		if auth != "" {
			r.Header.Set("Authorization", auth)
		}
		return v.do(t, r)
	}
	right := "Bearer sk-test-0123456789"
	for _, c := range []struct {
		path, auth string
		status     int
		want       string
	}{
		{"/v1/models", right, 200, `{"object":"list","data":[{"id":"claude-sonnet-4-5","object":"model","created":1759104000,"owned_by":"system"},`},
		{"/v1/models/claude-haiku-4-5", right, 200, `{"id":"claude-haiku-4-5","object":"model","created":1735689600,"owned_by":"system"}`},
		{"/v1/models/nope", right, 404, "model_not_found"},
		{"/v1/models", "", 401, "You didn't provide an API key"},
		{"/v1/models", "Bearer sk-wrong-0123456789", 401, "invalid_api_key"},
		{"/v1/models", "Basic sk-test-0123456789", 401, "You didn't provide an API key"},
	} {
		answer := get(c.path, c.auth)
		if answer.status != c.status || !strings.Contains(string(answer.body), c.want) || answer.header.Get("X-Request-Id") == "" || answer.header.Get(SimulatedHeader) != SimulatedBy {
			t.Errorf("%s as %q: %d %s", c.path, c.auth, answer.status, answer.body)
		}
		if strings.Contains(string(answer.body), "sk-wrong") {
			t.Errorf("the key is shown: %s", answer.body)
		}
	}
	r := chatRequestTo(t.Context(), v.url, chatAsk("[title]"))
	r.Header.Set("Authorization", "Bearer no")
	if answer := v.do(t, r); answer.status != 401 {
		t.Errorf("%d %s", answer.status, answer.body)
	}
}

func FuzzChatParseAndCheckNeverPanic(f *testing.F) {
	f.Add([]byte(chatAsk("x", chatFix, withUsage)))
	f.Add([]byte(chatWith(`[{"role":"assistant","content":"x","tool_calls":[{"id":"a","type":"custom","custom":{"name":"n","input":"i"}}]},{"role":"tool","tool_call_id":"a","content":"r"},{"role":"user","content":"y"}]`)))
	s := New(Options{})
	f.Fuzz(func(t *testing.T, body []byte) {
		d := chatDialect{}
		c, err := d.parse(body)
		if err != nil || d.check(c, s) != nil {
			return
		}
		if u := d.promptUsage(c); u.Input < 0 || u.CacheRead < 0 || u.Input+u.CacheRead != c.size.tokens() || c.size.tokens() > int64(len(body)) {
			t.Errorf("usage %+v of a prompt of %d tokens in %d bytes", u, c.size.tokens(), len(body))
		}
		c.scene(capture{})
		c.hash("k")
	})
}

package vendorsim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestOnlyAKnownKeyAndVersionGetAnAnswer(t *testing.T) {
	t.Parallel()
	v := start(t, Options{Keys: []string{"sk-right-0001", "sk-right-0002"}}, echo(t, "{text: ok}"))
	for _, c := range []struct {
		header, value, version string
		status                 int
		want                   string
	}{
		{"X-Api-Key", "sk-right-0002", "2023-06-01", 200, `"ok"`},
		{"Authorization", "Bearer sk-right-0001", "2023-01-01", 200, `"ok"`},
		{"Authorization", "bearer sk-right-0001", "2023-06-01", 200, `"ok"`},
		{"X-Api-Key", "sk-wrong-0001", "2023-06-01", 401, `"authentication_error","message":"invalid x-api-key"`},
		{"Authorization", "Bearer wrong", "2023-06-01", 401, `"authentication_error","message":"Invalid bearer token"`},
		{"Authorization", "Basic sk-right-0001", "2023-06-01", 401, `"x-api-key header is required"`},
		{"X-None", "", "2023-06-01", 401, `"x-api-key header is required"`},
		{"X-Api-Key", "sk-right-0001", "", 400, `"anthropic-version: header is required"`},
		{"X-Api-Key", "sk-right-0001", "2099-01-01", 400, `is not a valid version`},
	} {
		for _, path := range []string{"/v1/messages", "/v1/messages/count_tokens", "/v1/models"} {
			method := http.MethodPost
			if path == "/v1/models" {
				method = http.MethodGet
			}
			r := request(t.Context(), method, v.url+path, ask("x"))
			r.Header.Del("X-Api-Key")
			r.Header.Set(c.header, c.value)
			r.Header.Set("Anthropic-Version", c.version)
			answer := v.do(t, r)
			if answer.status != c.status || (path == "/v1/messages" || c.status != 200) && !strings.Contains(string(answer.body), c.want) {
				t.Errorf("%s %s: %d %s", path, c.value, answer.status, answer.body)
			}
		}
	}
	for _, c := range v.Books().Calls {
		if len(c.KeySuffix) > 4 || (c.Status != 200) != (c.Usage == Usage{}) {
			t.Errorf("books: %+v", c)
		}
	}
}

func TestEveryAnswerIsMarkedAsSimulatedAndCarriesTheVendorsHeaders(t *testing.T) {
	t.Parallel()
	v := start(t, Options{}, example(t))
	for _, r := range []*http.Request{
		request(t.Context(), "POST", v.url+"/v1/messages", ask("[fix] a", streaming, fixTools)),
		request(t.Context(), "POST", v.url+"/v1/messages", ask("[broke]")),
		request(t.Context(), "POST", v.url+"/v1/messages", "{"),
		request(t.Context(), "POST", v.url+"/v1/messages/count_tokens", ask("x")),
		request(t.Context(), "GET", v.url+"/v1/models", ""),
		request(t.Context(), "GET", v.url+"/v1/models/nope", ""),
		request(t.Context(), "HEAD", v.url+"/", ""),
		request(t.Context(), "GET", v.url+"/no/such/place", ""),
		request(t.Context(), "PUT", v.url+"/v1/messages", ""),
	} {
		answer := v.do(t, r)
		if answer.header.Get(SimulatedHeader) != SimulatedBy {
			t.Errorf("%s %s: not marked", r.Method, r.URL.Path)
		}
		if !strings.HasPrefix(answer.header.Get("Request-Id"), "req_") || answer.header.Get("Anthropic-Ratelimit-Tokens-Remaining") == "" {
			t.Errorf("%s %s: headers %v", r.Method, r.URL.Path, answer.header)
		}
		if _, err := time.Parse(time.RFC3339, answer.header.Get("Anthropic-Ratelimit-Requests-Reset")); err != nil {
			t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
		}
	}
	stream := v.post(t, ask("[stopped]", streaming))
	if h := stream.header; h.Get("Content-Type") != "text/event-stream; charset=utf-8" || h.Get("X-Own") != "1" || h.Get("Via") != "example" {
		t.Errorf("headers %v", h)
	}
	if h := v.post(t, ask("[forbidden]")).header; h.Get("X-Why") != "revoked" || h.Get("Content-Type") != "application/json" {
		t.Errorf("headers %v", h)
	}
}

func TestProbesAndUnknownPaths(t *testing.T) {
	t.Parallel()
	v := start(t, Options{}, echo(t, "{text: ok}"))
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"HEAD", "/", 200},
		{"GET", "/api/hello", 200},
		{"HEAD", "/api/hello", 200},
		{"GET", "/v1/messages", 404},
		{"POST", "/v1/complete", 404},
		{"POST", "/v1/messages?beta=true", 200},
	} {
		if answer := v.do(t, request(t.Context(), c.method, v.url+c.path, ask("x"))); answer.status != c.status {
			t.Errorf("%s %s: %d %s", c.method, c.path, answer.status, answer.body)
		}
	}
}

func TestModelsAreListedInPagesAndUnknownOnesAreNotFound(t *testing.T) {
	t.Parallel()
	list := "name: many\nmodels:\n"
	for i := range 25 {
		list += fmt.Sprintf("  - {id: m%02d}\n", i)
	}
	v := start(t, Options{}, load(t, list+"rules: [{name: a, reply: {text: ok}}]"), example(t), example(t))
	get := func(query string) (ids []string, more bool, answer got) {
		answer = v.do(t, request(t.Context(), "GET", v.url+"/v1/models"+query, ""))
		var page struct {
			Data    []struct{ ID string }
			HasMore bool `json:"has_more"`
		}
		if err := json.Unmarshal(answer.body, &page); err != nil {
			t.Fatalf("%s: %v", answer.body, err)
		}
		for _, m := range page.Data {
			ids = append(ids, m.ID)
		}
		return ids, page.HasMore, answer
	}
	if ids, more, _ := get(""); len(ids) != 20 || !more {
		t.Errorf("by default: %v, more %v", ids, more)
	}
	if ids, more, _ := get("?limit=1000"); len(ids) != 27 || more || ids[25] != "claude-sonnet-4-5" {
		t.Errorf("all: %v, more %v", ids, more)
	}
	if _, _, answer := get("?limit=1&after_id=m24"); string(answer.body) != `{"data":[{"type":"model","id":"claude-sonnet-4-5","display_name":"Claude Sonnet 4.5","created_at":"2025-09-29T00:00:00Z"}],"has_more":true,"first_id":"claude-sonnet-4-5","last_id":"claude-sonnet-4-5"}` {
		t.Errorf("one: %s", answer.body)
	}
	for _, bad := range []string{"?limit=0", "?limit=1001", "?limit=x"} {
		if _, _, answer := get(bad); answer.status != 400 {
			t.Errorf("%s: %d", bad, answer.status)
		}
	}
	if answer := v.do(t, request(t.Context(), "GET", v.url+"/v1/models/m03", "")); string(answer.body) != `{"type":"model","id":"m03","display_name":"m03","created_at":"2025-01-01T00:00:00Z"}` {
		t.Errorf("one by id: %s", answer.body)
	}
	unknown := v.post(t, strings.Replace(ask("x"), "claude-sonnet-4-5", "gpt-9", 1))
	if unknown.status != 404 || !strings.Contains(string(unknown.body), `{"type":"not_found_error","message":"model: gpt-9"}`) {
		t.Errorf("unknown: %d %s", unknown.status, unknown.body)
	}
	none := start(t, Options{}, echo(t, "{text: ok}"))
	if answer := none.do(t, request(t.Context(), "GET", none.url+"/v1/models", "")); string(answer.body) != `{"data":[],"has_more":false,"first_id":null,"last_id":null}` {
		t.Errorf("no list: %s", answer.body)
	}
}

func TestCountTokensIsFreeAndAgreesWithTheBill(t *testing.T) {
	t.Parallel()
	v := start(t, Options{}, echo(t, "{text: ok}"))
	body := ask(strings.Repeat("word ", 99), fixTools, `"system":"be good"`)
	free := v.do(t, request(t.Context(), "POST", v.url+"/v1/messages/count_tokens", strings.Replace(body, `"max_tokens":4096,`, "", 1)))
	if len(v.Books().Calls) != 0 {
		t.Error("counting is in the books")
	}
	billed := decodeWhole(t, v.post(t, body).body).usage().Input
	if want := fmt.Sprintf(`{"input_tokens":%d}`, billed); string(free.body) != want {
		t.Errorf("%s, want %s", free.body, want)
	}
	if bad := v.do(t, request(t.Context(), "POST", v.url+"/v1/messages/count_tokens", "{}")); bad.status != 400 {
		t.Errorf("bad: %d", bad.status)
	}
}

func TestABodyBeyondTheVendorsLimitIsRefused(t *testing.T) {
	t.Parallel()
	v := start(t, Options{}, echo(t, "{text: ok}"))
	r := request(t.Context(), "POST", v.url+"/v1/messages", "")
	r.Body, r.ContentLength = io.NopCloser(io.LimitReader(zeros{}, maxBody+1)), -1
	answer := v.do(t, r)
	// The server stops reading, so the client may see the answer or its own failed write.
	if answer.err == nil && (answer.status != http.StatusRequestEntityTooLarge || !strings.Contains(string(answer.body), "request_too_large")) {
		t.Errorf("%d %s", answer.status, answer.body)
	}
	if again := v.post(t, ask("x")); again.status != 200 {
		t.Errorf("afterwards: %d", again.status)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestATemplateThatFailsIsAServerErrorThatNamesTheRule(t *testing.T) {
	t.Parallel()
	v := start(t, Options{}, echo(t, "{text: '{{index .ToolResults 3}}'}"),
		load(t, "name: never\nrules: [{name: a}]"))
	answer := v.post(t, ask("x"))
	if answer.status != 500 || !strings.Contains(string(answer.body), `vendorsim: scenario \"echo\", rule \"all\": text: fill template`) {
		t.Errorf("%d %s", answer.status, answer.body)
	}
	huge := start(t, Options{}, echo(t, `{tool_calls: [{name: a, input_json: '{"a": {{.Prompt}}}'}]}`))
	if answer := huge.post(t, ask("not json")); answer.status != 500 || !strings.Contains(string(answer.body), "does not make a JSON object") {
		t.Errorf("%d %s", answer.status, answer.body)
	}
}

func TestATextOfATemplateIsBounded(t *testing.T) {
	t.Parallel()
	s, err := parseSnippet("{{range .ToolResults}}{{$.Prompt}}{{end}}", capture{})
	if err != nil {
		t.Fatal(err)
	}
	sc := &scene{Prompt: strings.Repeat("x", 100), ToolResults: make([]string, 10)}
	if text, err := s.renderWithin(sc, 1000); err != nil || len(text) != 1000 {
		t.Errorf("at the bound: %d bytes, %v", len(text), err)
	}
	if _, err := s.renderWithin(sc, 999); !errors.Is(err, errTooLong) {
		t.Errorf("beyond it: %v", err)
	}
}

func TestWithoutARuleTheAnswerSaysSo(t *testing.T) {
	t.Parallel()
	v := start(t, Options{})
	answer := v.post(t, ask("x"))
	if answer.status != 400 || !strings.Contains(string(answer.body), "vendorsim: no rule matches this conversation (model claude-sonnet-4-5, turn 0, 0 tool results)") {
		t.Errorf("%d %s", answer.status, answer.body)
	}
}

func TestEveryRuleOfTheExampleIsReachable(t *testing.T) {
	t.Parallel()
	s := example(t)
	v := start(t, Options{}, s)
	results := `{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"a","input":{}},{"type":"tool_use","id":"t2","name":"a","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"bug","is_error":%v},{"type":"tool_result","tool_use_id":"t2","content":"x"}]}`
	fix := `{"role":"user","content":"[fix] f"}`
	next := `,{"role":"assistant","content":[{"type":"tool_use","id":"t3","name":"a","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t3","content":"ok"}]}`
	bodies := map[string]string{
		"fix-read":   withMessages("["+fix+"]", fixTools),
		"fix-edit":   withMessages("[" + fix + "," + fmt.Sprintf(results, false) + "]"),
		"fix-failed": withMessages("[" + fix + "," + fmt.Sprintf(results, true) + "]"),
		"fix-done":   withMessages("[" + fix + "," + fmt.Sprintf(results, false) + next + "]"),
		"no-tools":   ask("[title]"),
		"otherwise":  ask("[title]", streaming),
	}
	for _, name := range s.Rules() {
		body, ok := bodies[name]
		if !ok {
			body = ask("[" + name + "]")
		}
		c, err := parse([]byte(body))
		if err != nil {
			t.Fatal(err.message)
		}
		h, ok := find([]*Scenario{s}, c)
		if !ok || h.rule.name != name {
			t.Errorf("%s: found %v, %+v", name, ok, h)
		}
	}
	if diff := cmp.Diff([]Model{{ID: "claude-sonnet-4-5", DisplayName: "Claude Sonnet 4.5", CreatedAt: "2025-09-29T00:00:00Z", ContextWindow: 200000, MaxOutput: 64000}}, s.Models()[:1]); diff != "" {
		t.Error(diff)
	}
	if answer := v.post(t, ask("[title] tell me", streaming)); !strings.Contains(string(answer.body), "You said: [t") {
		t.Errorf("%s", answer.body)
	}
}

package openai_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/genericcorp/corp/gateway/openai"
)

func parse(t *testing.T, body string) openai.Request {
	t.Helper()
	r, err := openai.Parse([]byte(body))
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return r
}

func rewritten(t *testing.T, body, model string, limit int64, vendor string) string {
	t.Helper()
	return string(bytes.Join(parse(t, body).Rewrite([]byte(body), model, limit, vendor), nil))
}

func TestOnlyTheEditsChangeTheBody(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		body, model string
		limit       int64
		vendor      string
		want        string
	}{
		{`{"model":"p\/m","n":2}`, "m", 0, "openai", `{"model":"m","n":2}`},
		{`{ "model" : "m" , "max_tokens" : 100 }`, "", 50, "openai", `{ "model" : "m" , "max_tokens" : 50 }`},
		{`{"model":"m","max_completion_tokens":100}`, "", 50, "openai", `{"model":"m","max_completion_tokens":50}`},
		{`{"model":"m"}`, "", 50, "openai", `{"max_completion_tokens":50,"model":"m"}`},
		{`{"model":"m"}`, "", 50, "ollama", `{"max_tokens":50,"model":"m"}`},
		{`{"model":"m","max_completion_tokens":100}`, "", 100, "ollama", `{"max_tokens":100,"model":"m","max_completion_tokens":100}`},
		{`{"model":"m","max_completion_tokens":100,"max_tokens":90}`, "", 50, "ollama", `{"model":"m","max_completion_tokens":50,"max_tokens":50}`},
		{`{"model":"m","max_tokens":null}`, "", 50, "ollama", `{"model":"m","max_tokens":50}`},
		{`{"model":"m","max_tokens":null}`, "", 50, "openai", `{"max_completion_tokens":50,"model":"m","max_tokens":null}`},
		{`{"model":"m","stream":true}`, "", 0, "x", `{"stream_options":{"include_usage":true},"model":"m","stream":true}`},
		{`{"model":"m","stream":true,"stream_options":null}`, "", 0, "x", `{"model":"m","stream":true,"stream_options":{"include_usage":true}}`},
		{`{"model":"m","stream":true,"stream_options": { } }`, "", 0, "x", `{"model":"m","stream":true,"stream_options": {"include_usage":true } }`},
		{`{"model":"m","stream":true,"stream_options":{"a":{"include_usage":true}}}`, "", 0, "x", `{"model":"m","stream":true,"stream_options":{"include_usage":true,"a":{"include_usage":true}}}`},
		{`{"model":"m","stream":true,"stream_options":{"include_usage": false,"a":1}}`, "", 0, "x", `{"model":"m","stream":true,"stream_options":{"include_usage": true,"a":1}}`},
		{`{"model":"m","stream":true,"stream_options":{"include_usage":true}}`, "", 0, "x", `{"model":"m","stream":true,"stream_options":{"include_usage":true}}`},
		{`{"model":"m","stream":false,"stream_options":{"include_usage":false}}`, "", 0, "x", `{"model":"m","stream":false,"stream_options":{"include_usage":false}}`},
		{`{"model":"p/m","stream":true}`, "é\"", 7, "x", `{"max_tokens":7,"stream_options":{"include_usage":true},"model":"é\"","stream":true}`},
	} {
		want := c.want
		if strings.Contains(c.model, "é") {
			want = strings.Replace(want, `"é""`, `"é\""`, 1)
		}
		if got := rewritten(t, c.body, c.model, c.limit, c.vendor); got != want || !json.Valid([]byte(got)) {
			t.Errorf("%s for %s:\n got %s\nwant %s", c.body, c.vendor, got, want)
		}
	}
}

func TestACapCountsOnlyUnderANameThatTheVendorObeys(t *testing.T) {
	t.Parallel()
	for body, want := range map[string][3]any{
		`{"model":"m"}`:                                             {int64(0), false, false},
		`{"model":"m","max_tokens":5}`:                              {int64(5), true, true},
		`{"model":"m","max_completion_tokens":5}`:                   {int64(5), true, false},
		`{"model":"m","max_completion_tokens":5,"max_tokens":9}`:    {int64(9), true, true},
		`{"model":"m","max_completion_tokens":5,"max_tokens":null}`: {int64(5), true, false},
	} {
		r := parse(t, body)
		if r.MaxTokens() != want[0] || r.Capped("openai") != want[1] || r.Capped("together") != want[2] {
			t.Errorf("%s: %d %v %v", body, r.MaxTokens(), r.Capped("openai"), r.Capped("together"))
		}
	}
	if r := parse(t, `{"model":"m","max_tokens":500}`); r.LeastOutput(1024) != 500 || parse(t, `{"model":"m"}`).LeastOutput(1024) != 1024 {
		t.Errorf("least output %d", r.LeastOutput(1024))
	}
}

func TestWhatTwoParsersMightReadDifferentlyIsRefused(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		``, `[]`, `{`, `{"model":"m"}}`, `{"model":"m",}`, `{"model":"m"} x`, "{\"model\":\"a\x01\"}", "{\"model\":\"\xff\"}",
		`{"model":""}`, `{"model":7}`, `{}`, `{"messages":[]}`,
		`{"model":"m","model":"n"}`, `{"model":"m","MODEL":"n"}`, `{"model":"m","mode\u006c":"n"}`,
		`{"model":"m","max_tokens":5,"Max_Tokens":9}`, `{"model":"m","n":1,"N":2}`, `{"model":"m","stream":true,"Stream":false}`,
		`{"model":"m","max_tokens":5.0}`, `{"model":"m","max_tokens":5e3}`, `{"model":"m","max_tokens":"5"}`, `{"model":"m","max_tokens":-1}`,
		`{"model":"m","max_completion_tokens":0}`, `{"model":"m","n":0}`, `{"model":"m","n":1001}`, `{"model":"m","best_of":"3"}`,
		`{"model":"m","stream":true,"stream_options":{"include_usage":true,"include_usage":false}}`,
		`{"model":"m","stream":true,"stream_options":{"include_usage":true,"Include_Usage":false}}`,
		`{"Model":"m"}`, `{"model":"m","MAX_TOKENS":5}`, `{"model":"m","N":5}`, `{"model":"m","stream":true,"stream_options":{"Include_Usage":true}}`,
		`{"model":"m","messages":` + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + `}`,
	} {
		if _, err := openai.Parse([]byte(body)); err == nil {
			t.Errorf("taken: %.80s", body)
		}
	}
}

func TestWhatBytesDoNotBoundIsNamed(t *testing.T) {
	t.Parallel()
	with := func(more string) string { return `{"model":"m",` + more + `}` }
	part := func(p string) string { return with(`"messages":[{"role":"user","content":[` + p + `]}]`) }
	for body, want := range map[string]string{
		part(`{"type":"image_url","image_url":{"url":"https://e.example/a.png"}}`):                              "URL",
		part(`{"type":"image_url","image_url":{"url":"data:image/png;base64,aaaa","URL":"https://e.example"}}`): "URL",
		part(`{"type":"image_url","image_url":"http://e.example/a"}`):                                           "URL",
		part(`{"type":"image_url","IMAGE_URL":{"\u0075rl":"http://e.example/a"}}`):                              "URL",
		part(`{"type":"image_url","image_url":{"url":"data:application/pdf;base64,aa"}}`):                       "URL",
		part(`{"type":"input_audio","input_audio":{"data":"aaaa","format":"wav"}}`):                             "audio",
		part(`{"type":"file","file":{"file_id":"file-1"}}`):                                                     "a file",
		part(`{"type":"video_url","video_url":{"url":"data:video/mp4;base64,aa"}}`):                             "a video",
		with(`"messages":[{"role":"assistant","audio":{"id":"a"}}]`):                                            "audio",
		with(`"tools":[{"type":"function"},{"type":"web_search"}]`):                                             "tool that the vendor runs (web_search)",
		with(`"web_search_options":{"search_context_size":"low"}`):                                              "web searches",
		with(`"Web_Search_Options":{"a":1}`):                                                                    "web searches",
		with(`"chat_template":"{% for i in range(9999) %}x{% endfor %}"`):                                       "a chat template",
		with(`"search_parameters":{"mode":"auto"}`):                                                             "web searches",
		with(`"enable_search":true`):                                                                            "web searches",
		with(`"plugins":[{"id":"web"}]`):                                                                        "plugins",
		with(`"models":["a","b"]`):                                                                              "fall back",
		with(`"modalities":["text","audio"]`):                                                                   "not text",
		with(`"audio":{"voice":"x"}`):                                                                           "spoken",
		with(`"prediction":{"type":"content","content":"x"}`):                                                   "predicted",
		with(`"service_tier":"priority"`):                                                                       "service tier priority",
		with(`"service_tier":"ultrafast"`):                                                                      "service tier ultrafast",
	} {
		if r := parse(t, body); !strings.Contains(r.Unbounded, want) {
			t.Errorf("%s: %q, want %q", body, r.Unbounded, want)
		}
	}
	for _, body := range []string{
		part(`{"type":"text","text":"https://e.example/a.png {\"image_url\":\"http://x\"}"}`),
		part(`{"type":"image_url","image_url":{"url":"DATA:image/png;base64,aaaa","detail":"high"}}`),
		with(`"tools":[{"type":"function","function":{"name":"f","parameters":{"properties":{"file":{"type":"string"},"image_url":{"type":"string"}}}}},{"type":"custom"}]`),
		with(`"service_tier":"auto","modalities":["text"],"enable_search":false,"prediction":null,"models":[],"store":true,"metadata":{"file":"x"}`),
		with(`"service_tier":"flex","modalities": [ "text" ],"prompt_cache_key":"k","user":"u","safety_identifier":"s"`),
	} {
		if r := parse(t, body); r.Unbounded != "" {
			t.Errorf("%s: %q", body, r.Unbounded)
		}
	}
	if !parse(t, with(`"prompt_cache_retention":"24h"`)).LongCache || parse(t, with(`"prompt_cache_retention":"in_memory"`)).LongCache {
		t.Error("a longer life in the cache is not seen as one")
	}
}

func TestThePromptsBoundGrowsWithWhatPacksBetterThanText(t *testing.T) {
	t.Parallel()
	plain := parse(t, `{"model":"m","messages":[]}`).InputBound(1000)
	if plain < 1000 {
		t.Errorf("bound %d of 1000 bytes", plain)
	}
	if tools := parse(t, `{"model":"m","tools":[]}`).InputBound(1000); tools <= plain {
		t.Errorf("with tools %d", tools)
	}
	two := parse(t, `{"model":"m","messages":[{"content":[{"image_url":{"url":"data:image/png,a"}},{"image_url":{"url":"data:image/png,b"}}]}]}`).InputBound(1000)
	if two < plain+2*48_169 { // the most that a published model counts for one
		t.Errorf("with two images %d", two)
	}
	if parse(t, `{"model":"m","n":5,"best_of":7}`).Choices != 7 || parse(t, `{"model":"m","n":null}`).Choices != 1 {
		t.Error("choices are miscounted")
	}
}

func TestKeysAndAddresses(t *testing.T) {
	t.Parallel()
	h := http.Header{"Authorization": {"Bearer  gc_run_x "}, "X-Api-Key": {"other"}}
	if openai.Key(h) != "gc_run_x" {
		t.Errorf("key %q", openai.Key(h))
	}
	openai.Authorize(h, "sk")
	if h.Get("Authorization") != "Bearer sk" || h.Get("X-Api-Key") != "" {
		t.Errorf("%v", h)
	}
	openai.Authorize(h, "")
	if len(h) != 0 {
		t.Errorf("a server without a key gets %v", h)
	}
	for base, want := range map[string]string{
		"https://api.openai.com":          "/v1/chat/completions",
		"https://api.openai.com/v1":       "/v1/chat/completions",
		"https://openrouter.ai/api/v1":    "/api/v1/chat/completions",
		"http://127.0.0.1:11434/v1":       "/v1/chat/completions",
		"https://e.example/v4":            "/v4/chat/completions",
		"https://e.example/v1beta/openai": "/v1beta/openai/chat/completions",
	} {
		u, err := url.Parse(base)
		if err != nil {
			t.Fatal(err)
		}
		if got := openai.Path(u, "/v1/chat/completions"); got != want {
			t.Errorf("%s: %s", base, got)
		}
	}
}

func TestProblemsAreReadInEveryFormThatServersUse(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"error":{"message":"m","type":"invalid_request_error","param":null,"code":"model_not_found"}}`: "model_not_found: m",
		`{"error":{"message":"m","type":"server_error","code":null}}`:                                    "server_error: m",
		`{"error":{"message":"m","code":429}}`:                                                           "429: m",
		`{"error":"model not found"}`:                                                                    "model not found",
		`{"object":"error","message":"m","type":"BadRequestError","code":400}`:                           "400: m",
		`[{"error":{"message":"m","code":400}}]`:                                                         "400: m",
		`{"detail":"x"}`:                                                                                 "", `nope`: "", `{}`: "",
	} {
		if got := openai.Problem([]byte(body)); got != want {
			t.Errorf("%s: %q", body, got)
		}
	}
	var e struct {
		Error struct {
			Message, Type string
			Code          *string
		}
	}
	if err := json.Unmarshal(openai.Refusal(402, `it's "over"`), &e); err != nil || e.Error.Message != `it's "over"` || e.Error.Type != "insufficient_quota" {
		t.Errorf("%v %+v", err, e)
	}
	if err := json.Unmarshal(openai.Refusal(503, "x"), &e); err != nil || e.Error.Type != "server_error" || e.Error.Code != nil {
		t.Errorf("%v %+v", err, e)
	}
}

func FuzzRewriteKeepsEveryOtherByte(f *testing.F) {
	f.Add([]byte(`{"model":"p/m","stream":true,"max_tokens":9,"stream_options":{"x":1}}`), int64(5), true)
	f.Add([]byte(`{"stream_options" : {} ,"stream":true, "max_completion_tokens":null,"model":"m"}`), int64(0), false)
	f.Fuzz(func(t *testing.T, body []byte, limit int64, vendor bool) {
		r, err := openai.Parse(body)
		if err != nil {
			return
		}
		if !json.Valid(body) {
			t.Fatalf("taken, and no JSON: %q", body)
		}
		name := "other"
		if vendor {
			name = openai.Vendor
		}
		limit = max(0, limit%1_000_000)
		out := bytes.Join(r.Rewrite(body, "new-model", limit, name), nil)
		after, err := openai.Parse(out)
		if err != nil {
			t.Fatalf("%q became %q: %v", body, out, err)
		}
		if after.Model != "new-model" || after.AddsUsage() || after.Stream != r.Stream || limit > 0 && (!after.Capped(name) || after.MaxTokens() != limit) || limit == 0 && after.MaxTokens() != r.MaxTokens() {
			t.Fatalf("%q became %q", body, out)
		}
		if again := bytes.Join(after.Rewrite(out, "new-model", limit, name), nil); !bytes.Equal(again, out) {
			t.Fatalf("edited twice: %q, then %q", out, again)
		}
	})
}

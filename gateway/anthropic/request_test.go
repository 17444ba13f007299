package anthropic_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/gateway/anthropic"
)

const plainRequest = `{"model":"claude-sonnet-4-5","max_tokens":1000,"messages":[{"role":"user","content":"hi"}]}`

func parse(t *testing.T, body string) anthropic.Request {
	t.Helper()
	r, err := anthropic.Parse([]byte(body), nil)
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return r
}

func TestParseFindsWhatDecidesTheCost(t *testing.T) {
	t.Parallel()
	r := parse(t, ` {"stream" : true , "m\u006fdel":"a\u002fb", "max_tokens": 4096, "thinking":{"type":"enabled","budget_tokens":2000}} `)
	if r.Model != "a/b" || r.MaxTokens != 4096 || !r.Stream || r.Unbounded != "" || r.LongCache {
		t.Errorf("%+v", r)
	}
	if got := r.LeastOutput(1024); got != 2001 {
		t.Errorf("the cap may sink to %d, want above the thinking budget", got)
	}
	if got := parse(t, plainRequest).LeastOutput(1024); got != 1000 {
		t.Errorf("the cap may sink to %d, want what was asked", got)
	}
}

func TestWhatTwoParsersMightReadDifferentlyIsRefused(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		``, ` `, `[]`, `"x"`, `{`, `{}`, `{"model":"a"`, `{"model":"a"} x`, `{"model":"a"}{"model":"b"}`, "{\"model\":\"a\"}\x00",
		`{"model":"a","model":"b"}`,
		`{"model":"a","m\u006fdel":"b"}`,
		`{"model":"a","Model":"b"}`,
		`{"model":"a","max_tokens":1,"max_tokens":100000}`,
		`{"model":"a","max_tokens":"16000"}`,
		`{"model":"a","max_tokens":1e3}`,
		`{"model":"a","max_tokens":1000.0}`,
		`{"model":"a","max_tokens":-1}`,
		`{"model":"a","max_tokens":0}`,
		`{"model":"a","max_tokens":99999999999999999999}`,
		`{"model":"a","max_tokens":[1]}`,
		`{"model":5}`, `{"model":null}`, `{"model":""}`, `{"model":["a"]}`,
		`{"model":"a",}`, `{"model":"a",,"x":1}`, `{model:"a"}`, `{'model':'a'}`, `{"model":"a" /* */}`, `{"model":"a","x":NaN}`,
		`{"model":"a","x":01}`, `{"model":"a","x":.5}`, `{"model":"a","x":+1}`, `{"model":"a","x":1.}`, `{"model":"a","x":tru}`,
		"{\"model\":\"a\",\"x\":\"\x01\"}", "{\"model\":\"a\",\"x\":\"\n1234567890\"}", "{\"model\":\"a\",\"x\":\"\xff\"}",
		`{"model":"a","x":"\x"}`, `{"model":"a","x":"\u12g4"}`, `{"model":"a","x":"\`,
		`{"model":"a","x":` + strings.Repeat("[", 600) + strings.Repeat("]", 600) + `}`,
	} {
		if _, err := anthropic.Parse([]byte(body), nil); corp.KindOf(err) != corp.KindInvalid {
			t.Errorf("%.80q: %v, want it refused as invalid", body, err)
		}
	}
}

func TestWhatBytesDoNotBoundIsNoticed(t *testing.T) {
	t.Parallel()
	message := func(block string) string {
		return `{"model":"a","messages":[{"role":"user","content":[` + block + `]}]}`
	}
	for body, unbounded := range map[string]bool{
		message(`{"type":"image","source":{"type":"url","url":"https://x"}}`):                                    true,
		message(`{"type":"image","source":{"\u0074ype":"\u0075rl","url":"https://x"}}`):                          true,
		message(`{"type":"image","source":{"type":"base64","type":"url","url":"https://x"}}`):                    true,
		message(`{"type":"document","source":{"type":"file","file_id":"file_1"}}`):                               true,
		message(`{"type":"tool_result","content":[{"type":"image","source":{"type":"url","url":"https://x"}}]}`): true,
		// as a vendor may read it whose parser minds no case, like Go's
		message(`{"Type":"image","Source":{"Type":"url","URL":"https://x"}}`):                                       true,
		message(`{"type":"image","\u017fource":{"type":"url","url":"https://x"}}`):                                  true,
		message(`{"type":"document","source":{"type":"text","File_ID":"file_1"}}`):                                  true,
		`{"model":"a","tools":[{"Type":"web_search_20250305","name":"web_search"}]}`:                                true,
		message(`{"type":"tool_use","id":"1","name":"n","Input":{"source":{"type":"url"}}}`):                        false,
		message(`{"type":"container_upload","file_id":"file_1"}`):                                                   true,
		message(`{"type":"document","source":{"type":"content","content":[{"source":{"type":"url"}}]}}`):            true,
		message(`{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA=="}}`):               false,
		message(`{"type":"tool_use","id":"1","name":"n","input":{"source":{"type":"url","url":"https://x"}}}`):      false,
		message(`{"type":"text","text":"{\"source\":{\"type\":\"url\"}}"}`):                                         false,
		message(`{"type":"search_result","source":"https://x","title":"t","content":[{"type":"text","text":"t"}]}`): false,
		`{"model":"a","tools":[{"name":"x","input_schema":{"type":"object","properties":{"file_id":{}}}}]}`:         false,
		`{"model":"a","tools":[{"type":"custom","name":"x"}]}`:                                                      false,
		`{"model":"a","tools":[{"type":"bash_20250124","name":"bash"}]}`:                                            false,
		`{"model":"a","tools":[{"type":"web_search_20250305","name":"web_search"}]}`:                                true,
		`{"model":"a","tools":[{"type":"w\u0065b_search_20250305","name":"web_search"}]}`:                           true,
		`{"model":"a","tools":[{"type":"a_kind_of_tomorrow","name":"x"}]}`:                                          true,
		`{"model":"a","mcp_servers":[{"type":"url","url":"https://x"}]}`:                                            true,
		`{"model":"a","mcp_servers":[]}`:                                                                            false,
		`{"model":"a","container":"c_1"}`:                                                                           true,
		`{"model":"a","Container":"c_1"}`:                                                                           true,
		`{"model":"a","container":null}`:                                                                            false,
		`{"model":"a","fallbacks":[{"model":"b"}]}`:                                                                 true,
		`{"model":"a","speed":"fast"}`:                                                                              true,
		`{"model":"a","speed":"standard"}`:                                                                          false,
		`{"model":"a","inference_geo":"us"}`:                                                                        true,
		`{"model":"a","inference_geo":"global"}`:                                                                    false,
		`{"model":"a","context_management":{"edits":[{"type":"compact_20260112"}]}}`:                                true,
		`{"model":"a","context_management":{"edits":[{"type":"clear_tool_uses_20250919"}]}}`:                        false,
		`{"model":"a","metadata":{"source":{"type":"url"}},"anything":{"container":"x"}}`:                           false,
	} {
		if r := parse(t, body); (r.BoundNeeds(200_000) != "") != unbounded {
			t.Errorf("%s: unbounded is %q, want %v", body, r.Unbounded, unbounded)
		}
	}
	r, err := anthropic.Parse([]byte(plainRequest), http.Header{"Anthropic-Beta": {"x, Context-1M-2025-08-07"}})
	if err != nil || r.Unbounded == "" {
		t.Errorf("the long context beta went unnoticed: %+v, %v", r, err)
	}
}

func TestInputBoundCoversWhatTheVendorAdds(t *testing.T) {
	t.Parallel()
	bound := func(body string) int64 { return parse(t, body).InputBound(len(body), 200_000) - int64(len(body)) }
	small := bound(plainRequest)
	if got := bound(`{"model":"a","tools":[{"name":"x"}]}`); got < 500 {
		t.Errorf("tools add %d tokens of the vendor's own instructions", got)
	}
	image := `{"model":"a","messages":[{"content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA=="}}]}]}`
	if got := bound(image); got < 5_000 {
		t.Errorf("a small file with a large picture adds %d tokens", got)
	}
	if got, want := bound(strings.Replace(image, `"type":"image"`, `"Type":"image"`, 1)), bound(image); got != want {
		t.Errorf("a picture of another spelling adds %d tokens, want %d", got, want)
	}
	pdf := `{"model":"a","messages":[{"content":[{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"AA=="}}]}]}`
	if got := parse(t, pdf).InputBound(len(pdf), 200_000); got != 200_000 {
		t.Errorf("a PDF is bounded by %d tokens, want the context window", got)
	}
	nameless := `{"model":"a","messages":[{"content":[{"type":"document","source":{"type":"base64","data":"AA=="}}]}]}`
	if got := parse(t, nameless).InputBound(len(nameless), 200_000); got != 200_000 {
		t.Errorf("packed bytes of unknown kind are bounded by %d tokens, want the context window", got)
	}
	if parse(t, pdf).BoundNeeds(0) == "" {
		t.Error("a PDF has a bound without a context window")
	}
	text := `{"model":"a","messages":[{"content":[{"type":"document","source":{"type":"text","media_type":"text/plain","data":"hello"}}]}]}`
	if got := bound(text); got != small {
		t.Errorf("a text document adds %d, want nothing but its bytes", got-small)
	}
}

func TestLongCacheIsSeenWhereverItIsAsked(t *testing.T) {
	t.Parallel()
	for body, long := range map[string]bool{
		`{"model":"a","cache_control":{"type":"ephemeral","ttl":"1h"}}`:                                               true,
		`{"model":"a","cache_control":{"type":"ephemeral","ttl":"5m"}}`:                                               false,
		`{"model":"a","system":[{"type":"text","text":"x","cache_control":{"ttl":"1h"}}]}`:                            true,
		`{"model":"a","tools":[{"name":"x","cache_control":{"ttl":"\u0031h"}}]}`:                                      true,
		`{"model":"a","messages":[{"content":[{"type":"text","text":"1h","cache_control":{"type":"ephemeral"}}]}]}`:   false,
		`{"model":"a","messages":[{"content":[{"type":"tool_result","content":[{"cache_control":{"ttl":"24h"}}]}]}]}`: true,
		`{"model":"a","messages":[{"content":[{"type":"tool_use","input":{"cache_control":{"ttl":"1h"}}}]}]}`:         false,
	} {
		if r := parse(t, body); r.LongCache != long {
			t.Errorf("%s: long is %v", body, r.LongCache)
		}
	}
}

func TestRewriteChangesNothingButTheTwoValues(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		body, model string
		limit       int64
		want        string
	}{
		{plainRequest, "", 0, plainRequest},
		{plainRequest, "claude-sonnet-4-5", 1000, plainRequest},
		{` { "max_tokens" :  9000 ,"x":1.0e5, "model" : "p\/m" }`, "m", 1024, ` { "max_tokens" :  1024 ,"x":1.0e5, "model" : "m" }`},
		{`{"model":"p/m","y":"\u00e9","max_tokens":9000}`, "m\"é", 77, `{"model":"m\"é","y":"\u00e9","max_tokens":77}`},
		{`{"model":"m"}`, "", 5, `{"max_tokens":5,"model":"m"}`},
		{"{\n  \"model\":\"m\"}", "n", 5, "{\"max_tokens\":5,\n  \"model\":\"n\"}"},
		{`{"model":"m","max_tokens":null}`, "", 5, `{"model":"m","max_tokens":5}`},
	} {
		body := []byte(c.body)
		r := parse(t, c.body)
		if got := string(bytes.Join(r.Rewrite(body, c.model, c.limit), nil)); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.body, got, c.want)
		}
		if string(body) != c.body {
			t.Errorf("%s was changed in place", c.body)
		}
	}
}

func FuzzParseAgreesWithAnotherParser(f *testing.F) {
	f.Add([]byte(plainRequest))
	f.Add([]byte(`{"model":"a\\\"b","x":[1,-2.5e+7,true,{"k":null}],"tools":[{"type":"custom"}]}`))
	f.Add([]byte(`{"model":"a","messages":[{"content":[{"source":{"type":"base64","media_type":"image/png"}}]}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := anthropic.Parse(body, nil)
		if err != nil {
			return
		}
		if !json.Valid(body) || !utf8.Valid(body) {
			t.Fatalf("%q is not JSON and was let through", body)
		}
		var top map[string]json.RawMessage
		if err := json.Unmarshal(body, &top); err != nil {
			t.Fatal(err)
		}
		changed := bytes.Join(r.Rewrite(body, "other-model", 4321), nil)
		var after map[string]json.RawMessage
		if err := json.Unmarshal(changed, &after); err != nil {
			t.Fatalf("%q became %q: %v", body, changed, err)
		}
		for k, v := range top {
			if low := strings.ToLower(k); low != "model" && low != "max_tokens" && !bytes.Equal(v, after[k]) {
				t.Errorf("%q: field %q changed", body, k)
			}
		}
		if again, err := anthropic.Parse(changed, nil); err != nil || again.Model != "other-model" || again.MaxTokens != 4321 {
			t.Errorf("%q became %q: %+v, %v", body, changed, again, err)
		}
	})
}

func FuzzStrictJSONIsLetThrough(f *testing.F) {
	f.Add("a", "text with \" and \\ and \n and é and \u2028", 1.5e-7)
	f.Fuzz(func(t *testing.T, key, text string, number float64) {
		value, err := json.Marshal(map[string]any{"model": "m", "x" + key: []any{text, number, nil, true, map[string]any{key: text}}})
		if err != nil {
			return // not a number
		}
		if _, err := anthropic.Parse(value, nil); err != nil {
			t.Errorf("%s: %v", value, err)
		}
	})
}

func BenchmarkParse200KB(b *testing.B) {
	code := strings.Repeat("\\tif err != nil {\\n\\t\\treturn fmt.Errorf(\\\"lease: %w\\\", err)\\n\\t}\\n", 3000)
	body := []byte(`{"model":"a","max_tokens":5,"messages":[{"role":"user","content":[{"type":"text","text":"` + code + `"}]}]}`)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := anthropic.Parse(body, nil); err != nil {
			b.Fatal(err)
		}
	}
}

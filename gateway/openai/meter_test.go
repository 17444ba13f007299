package openai_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/gateway/openai"
	"github.com/genericcorp/corp/gateway/wire"
)

const (
	finalUsage = `{"prompt_tokens":1412,"completion_tokens":510,"total_tokens":1922,"prompt_tokens_details":{"cached_tokens":1024,"cache_write_tokens":300,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":200,"audio_tokens":0}}`
	textChunk  = `data: {"id":"c","object":"chat.completion.chunk","model":"gpt-4o-2024-08-06","service_tier":"default","choices":[{"index":0,"delta":{"content":"\"usage\":{\"completion_tokens\":9} data: [DONE] \"finish_reason\":\"stop\""},"finish_reason":null}],"usage":null}` + "\n\n"
	endChunk   = `data: {"id":"c","object":"chat.completion.chunk","model":"gpt-4o-2024-08-06","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}` + "\n\n"
	usageChunk = `data: {"id":"c","object":"chat.completion.chunk","model":"gpt-4o-2024-08-06","service_tier":"default","choices":[],"usage":` + finalUsage + "}\n\n"
	doneChunk  = "data: [DONE]\n\n"
)

var wholeUsage = corp.Usage{FreshInput: 88, CacheRead: 1024, CacheWriteShort: 300, Output: 510}

func metered(t *testing.T, contentType, answer string, cuts ...int) wire.Reading {
	t.Helper()
	m := openai.NewMeter(openai.Request{}, contentType)
	at := 0
	for _, c := range append(cuts, len(answer)) {
		if c < at || c > len(answer) {
			continue
		}
		if _, err := m.Write([]byte(answer[at:c])); err != nil {
			t.Fatal(err)
		}
		at = c
	}
	return m.Reading()
}

func streamed(t *testing.T, chunks ...string) wire.Reading {
	t.Helper()
	return metered(t, "text/event-stream", strings.Join(chunks, ""))
}

func TestStreamIsCountedExactlyHoweverItIsCut(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"\n", "\r\n", "\r"} {
		text := strings.ReplaceAll(textChunk+": a comment\n\n"+endChunk+usageChunk+doneChunk, "\n", end)
		for i := range len(text) {
			r := metered(t, "text/event-stream; charset=utf-8", text, i, (i*7)%len(text))
			if r.Usage != wholeUsage || !r.Complete || !r.Final || !r.Input || r.Model != "gpt-4o-2024-08-06" || r.StopReason != "stop" || r.Unpriced != "" {
				t.Fatalf("cut at %d: %+v", i, r)
			}
			if string(r.Raw) != finalUsage {
				t.Fatalf("raw usage %s", r.Raw)
			}
		}
	}
}

func TestCutStreamSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		chunks                 []string
		complete, final, input bool
	}{
		"nothing":               {nil, false, false, false},
		"before its end":        {[]string{textChunk}, false, false, false},
		"before the usage":      {[]string{textChunk, endChunk}, false, false, false},
		"before the last mark":  {[]string{textChunk, endChunk, usageChunk}, true, true, true},
		"a server without mark": {[]string{textChunk, endChunk, strings.TrimSuffix(usageChunk, "\n\n")}, true, true, true},
		"no usage at all":       {[]string{textChunk, endChunk, doneChunk}, true, false, false},
		"counting aloud":        {[]string{strings.Replace(textChunk, `"usage":null`, `"usage":{"prompt_tokens":5,"completion_tokens":1}`, 1)}, false, false, true},
		"usage in the end":      {[]string{textChunk, strings.Replace(endChunk, `"usage":null`, `"usage":`+finalUsage, 1), doneChunk}, true, true, true},
	} {
		if r := streamed(t, c.chunks...); r.Complete != c.complete || r.Final != c.final || r.Input != c.input {
			t.Errorf("%s: %+v", name, r)
		}
	}
	r := streamed(t, textChunk, "data: {\"error\":{\"message\":\"Overloaded\",\"type\":\"server_error\",\"code\":null}}\n\n")
	if r.Error != "server_error: Overloaded" || r.Complete {
		t.Errorf("an error in the stream: %+v", r)
	}
	if r := streamed(t, textChunk, "data: {\"error\":{\"message\":\"x\"}}\n\n", doneChunk); r.Complete {
		t.Errorf("an error and the mark: %+v", r)
	}
}

// A server may count aloud while it goes (vLLM does when it is asked to): one of
// several answers that has ended is not the end of what is billed.
func TestTheFirstOfSeveralAnswersToEndIsNotTheEnd(t *testing.T) {
	t.Parallel()
	request, err := openai.Parse([]byte(`{"model":"m","n":2,"stream":true,"messages":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	ends := func(index, completion string) string {
		return `data: {"choices":[{"index":` + index + `,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":` + completion + "}}\n\n"
	}
	both := `data: {"choices":[{"index":1,"finish_reason":null},{"index":0,"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":7}}` + "\n\n"
	for name, c := range map[string]struct {
		stream string
		final  bool
	}{
		"one of two": {ends("0", "7"), false}, "the same one again": {ends("0", "7") + ends("0", "8"), false}, "one that nobody asked for": {ends("0", "7") + ends("2", "8"), false},
		"two": {ends("1", "7") + ends("0", "14"), true}, "one in an event with the other": {both, false}, "each in its own": {both + ends("1", "14"), true}, "the mark": {ends("0", "7") + doneChunk, true},
	} {
		m := openai.NewMeter(request, "text/event-stream")
		_, _ = m.Write([]byte(c.stream))
		if r := m.Reading(); r.Final != c.final || r.Complete != c.final {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestUsageFollowsTheVendorsRulesAndOthersNames(t *testing.T) {
	t.Parallel()
	for usage, want := range map[string]corp.Usage{
		finalUsage: wholeUsage,
		`{"prompt_tokens":10,"completion_tokens":5}`:                                                               {FreshInput: 10, Output: 5},
		`{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_cache_hit_tokens":4}`:                 {FreshInput: 6, CacheRead: 4, Output: 5},
		`{"prompt_tokens":10,"completion_tokens":5,"cached_tokens":4}`:                                             {FreshInput: 6, CacheRead: 4, Output: 5},
		`{"cached_tokens":9,"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":4}}`: {FreshInput: 6, CacheRead: 4, Output: 5},
		`{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":null}`:                                  {FreshInput: 10, Output: 5},
		// reasoning outside of the completion: only the total shows it
		`{"prompt_tokens":10,"completion_tokens":5,"total_tokens":115,"completion_tokens_details":{"reasoning_tokens":100}}`: {FreshInput: 10, Output: 105},
		// and what no vendor means
		`{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":40}}`:                       {CacheRead: 10, Output: 5},
		`{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":6,"cache_write_tokens":9}}`: {CacheRead: 6, CacheWriteShort: 4, Output: 5},
		`{"prompt_tokens":-10,"completion_tokens":-5,"total_tokens":-1}`:                                                {},
		`{"prompt_tokens":"10","completion_tokens":[5],"total_tokens":{}}`:                                              {},
		`{"prompt_tokens":1e300,"completion_tokens":9223372036854775807}`:                                               {FreshInput: wire.MaxCount, Output: wire.MaxCount},
		`{"completion_tokens":5,"total_tokens":900}`:                                                                    {Output: 5},
	} {
		for name, r := range map[string]wire.Reading{
			"whole":  metered(t, "application/json", `{"model":"m","choices":[{"finish_reason":"stop"}],"usage":`+usage+`}`),
			"stream": streamed(t, endChunk, `data: {"choices":[],"usage":`+usage+"}\n\n", doneChunk),
		} {
			if diff := cmp.Diff(want, r.Usage); diff != "" {
				t.Errorf("%s %s: %s", name, usage, diff)
			}
		}
	}
	long := openai.NewMeter(openai.Request{LongCache: true}, "application/json")
	_, _ = long.Write([]byte(`{"choices":[],"usage":` + finalUsage + `}`))
	if r := long.Reading(); r.Usage.CacheWriteLong != 300 || r.Usage.CacheWriteShort != 0 {
		t.Errorf("%+v", r.Usage)
	}
}

func TestWholeAnswers(t *testing.T) {
	t.Parallel()
	answer := "{\n  \"id\": \"x\",\n  \"model\": \"m\",\n  \"choices\": [ { \"finish_reason\": \"length\" } ],\n  \"usage\": " + finalUsage + "\n}\n"
	r := metered(t, "application/json", answer, 5, 90)
	if r.Usage != wholeUsage || !r.Complete || !r.Final || r.Model != "m" || r.StopReason != "length" || !json.Valid(r.Raw) {
		t.Errorf("%+v", r)
	}
	for text, complete := range map[string]bool{
		`{"choices":[{"finish_reason":"stop"}]}`: true, `{"object":"list"}`: false, answer[:80]: false, ``: false, `[1]`: false,
	} {
		if r := metered(t, "application/json", text); r.Complete != complete || r.Final || r.Input {
			t.Errorf("%s: %+v", text, r)
		}
	}
}

func TestWhatIsNotInThePriceBookIsSaid(t *testing.T) {
	t.Parallel()
	for more, want := range map[string]string{
		`"service_tier":"priority","usage":{"prompt_tokens":1}`:                      "service tier priority",
		`"service_tier":"flex","usage":{"prompt_tokens":1}`:                          "service tier flex",
		`"service_tier":"default","usage":{"prompt_tokens":1}`:                       "",
		`"service_tier":null,"usage":{"prompt_tokens":1}`:                            "",
		`"usage":{"prompt_tokens":1,"prompt_tokens_details":{"audio_tokens":1}}`:     "audio",
		`"usage":{"prompt_tokens":1,"completion_tokens_details":{"audio_tokens":1}}`: "audio",
		`"usage":{"prompt_tokens":1,"completion_tokens":1,"num_sources_used":3}`:     "searches",
	} {
		for name, r := range map[string]wire.Reading{
			"whole":  metered(t, "application/json", `{"choices":[],`+more+`}`),
			"stream": streamed(t, `data: {"choices":[],`+more+"}\n\n"),
		} {
			if !strings.Contains(r.Unpriced, want) || (want == "") != (r.Unpriced == "") {
				t.Errorf("%s %s: %q", name, more, r.Unpriced)
			}
		}
	}
}

func FuzzMeterTakesAnythingInAnyPieces(f *testing.F) {
	f.Add([]byte(textChunk+endChunk+usageChunk+doneChunk), 7, true)
	f.Add([]byte(`{"choices":[{"finish_reason":1}],"usage":{"prompt_tokens":{}}}`), 1, false)
	f.Fuzz(func(t *testing.T, answer []byte, size int, stream bool) {
		kind := "application/json"
		if stream {
			kind = "text/event-stream"
		}
		size = max(1, size%1000)
		m := openai.NewMeter(openai.Request{}, kind)
		for rest := answer; len(rest) > 0; {
			n := min(size, len(rest))
			if _, err := m.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		got, want := m.Reading(), metered(t, kind, string(answer))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("in pieces of %d: %s", size, diff)
		}
		if u := got.Usage; min(u.FreshInput, u.CacheRead, u.CacheWriteShort, u.CacheWriteLong, u.Output) < 0 || got.Raw != nil && !json.Valid(got.Raw) {
			t.Fatalf("%+v", got)
		}
	})
}

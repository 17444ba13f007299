package anthropic_test

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/gateway/anthropic"
)

const stream = "event: message_start\n" +
	`data: {"type":"message_start","message":{"id":"msg_1","model":"claude-sonnet-4-5-20250929","usage":{"input_tokens":12,"cache_creation_input_tokens":300,"cache_read_input_tokens":1100,"cache_creation":{"ephemeral_5m_input_tokens":100,"ephemeral_1h_input_tokens":200},"output_tokens":3,"service_tier":"standard"}}}` + "\n\n" +
	"event: ping\ndata: {\"type\":\"ping\"}\n\n" +
	"event: content_block_delta\n" +
	`data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\"usage\":{\"output_tokens\":999999} data: {\"type\":\"message_stop\"}"}}` + "\n\n" +
	"event: message_delta\n" +
	`data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":12,"cache_read_input_tokens":1100,"output_tokens":510}}` + "\n\n" +
	"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"

func meter(t *testing.T, contentType, answer string, cuts ...int) anthropic.Reading {
	t.Helper()
	m := anthropic.NewMeter(anthropic.Request{}, contentType)
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

func TestStreamIsCountedExactlyHoweverItIsCut(t *testing.T) {
	t.Parallel()
	want := corp.Usage{FreshInput: 12, CacheRead: 1100, CacheWriteShort: 100, CacheWriteLong: 200, Output: 510}
	for _, end := range []string{"\n", "\r\n", "\r"} {
		text := strings.ReplaceAll(stream, "\n", end)
		for i := range len(text) {
			r := meter(t, "text/event-stream; charset=utf-8", text, i, (i*7)%len(text))
			if r.Usage != want || !r.Complete || !r.Final || !r.Input || r.Model != "claude-sonnet-4-5-20250929" || r.StopReason != "end_turn" || r.Unpriced != "" {
				t.Fatalf("cut at %d: %+v", i, r)
			}
			if !json.Valid(r.Raw) {
				t.Fatalf("the raw usage %s is not JSON", r.Raw)
			}
		}
	}
}

func TestCutStreamSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	beforeDelta, _, _ := strings.Cut(stream, "event: message_delta")
	r := meter(t, "text/event-stream", beforeDelta)
	if r.Complete || r.Final || !r.Input || r.Usage.Output != 3 {
		t.Errorf("before the final count: %+v", r)
	}
	r = meter(t, "text/event-stream", stream[:strings.Index(stream, "event: message_stop")])
	if r.Complete || !r.Final || r.Usage.Output != 510 {
		t.Errorf("before the end: %+v", r)
	}
	if r = meter(t, "text/event-stream", ""); r.Input || r.Raw != nil {
		t.Errorf("nothing: %+v", r)
	}
	r = meter(t, "text/event-stream", "data: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n")
	if r.Error != "overloaded_error: Overloaded" || r.Complete {
		t.Errorf("error event: %+v", r)
	}
}

func TestUsageFollowsTheVendorsRules(t *testing.T) {
	t.Parallel()
	start := func(u string) string {
		return `data: {"type":"message_start","message":{"model":"m","usage":` + u + "}}\n\n"
	}
	delta := func(u string) string { return `data: {"type":"message_delta","delta":{},"usage":` + u + "}\n\n" }
	for name, c := range map[string]struct {
		answer string
		want   corp.Usage
	}{
		"counts are never added up": {
			start(`{"input_tokens":10,"output_tokens":5}`) + delta(`{"output_tokens":20}`) + delta(`{"output_tokens":30}`),
			corp.Usage{FreshInput: 10, Output: 30},
		},
		"null leaves the last value": {
			start(`{"input_tokens":10,"cache_read_input_tokens":7}`) + delta(`{"input_tokens":null,"cache_read_input_tokens":null,"output_tokens":2}`),
			corp.Usage{FreshInput: 10, CacheRead: 7, Output: 2},
		},
		"the cache appears only at the end": {
			start(`{"input_tokens":0,"output_tokens":0}`) + delta(`{"input_tokens":50,"cache_read_input_tokens":900,"cache_creation_input_tokens":40,"output_tokens":2}`),
			corp.Usage{FreshInput: 50, CacheRead: 900, CacheWriteShort: 40, Output: 2},
		},
		"writes after the split go to the short cache": {
			start(`{"input_tokens":1,"cache_creation_input_tokens":10,"cache_creation":{"ephemeral_5m_input_tokens":4,"ephemeral_1h_input_tokens":6}}`) + delta(`{"cache_creation_input_tokens":25,"output_tokens":2}`),
			corp.Usage{FreshInput: 1, CacheWriteShort: 19, CacheWriteLong: 6, Output: 2},
		},
		"the newest split is in the iterations": {
			start(`{"input_tokens":1,"cache_creation_input_tokens":10,"cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":0}}`) +
				delta(`{"cache_creation_input_tokens":30,"output_tokens":2,"iterations":[{"type":"message","cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":0}},{"type":"message","cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":20}}]}`),
			corp.Usage{FreshInput: 1, CacheWriteShort: 10, CacheWriteLong: 20, Output: 2},
		},
		"negative and absurd counts are bounded": {
			start(`{"input_tokens":-5}`) + delta(`{"output_tokens":1e300}`),
			corp.Usage{Output: 1 << 40},
		},
		"texts and broken events change nothing": {
			start(`{"input_tokens":10}`) + delta(`"x"`) + "data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":7\n\n" + delta(`{"output_tokens":"9"}`),
			corp.Usage{FreshInput: 10},
		},
	} {
		if got := meter(t, "text/event-stream", c.answer); got.Usage != c.want {
			t.Errorf("%s: %s", name, cmp.Diff(c.want, got.Usage))
		}
	}
}

func TestUnplacedWritesGoWhereTheRequestAsked(t *testing.T) {
	t.Parallel()
	asked := parse(t, `{"model":"a","cache_control":{"ttl":"1h"}}`)
	m := anthropic.NewMeter(asked, "application/json")
	if _, err := m.Write([]byte(`{"type":"message","usage":{"input_tokens":1,"cache_creation_input_tokens":9,"output_tokens":1}}`)); err != nil {
		t.Fatal(err)
	}
	if got := m.Reading().Usage; got.CacheWriteLong != 9 || got.CacheWriteShort != 0 {
		t.Errorf("%+v", got)
	}
}

func TestWholeAnswerIsCounted(t *testing.T) {
	t.Parallel()
	body := `{"id":"m","type":"message","model":"claude-x","content":[{"type":"text","text":"\"usage\""}],"stop_reason":"max_tokens","usage":{"input_tokens":7,"output_tokens":9,"service_tier":"priority","server_tool_use":{"web_search_requests":0}}}`
	for i := range len(body) {
		r := meter(t, "application/json", body, i)
		if r.Usage != (corp.Usage{FreshInput: 7, Output: 9}) || !r.Complete || r.Model != "claude-x" || r.StopReason != "max_tokens" || r.Unpriced == "" {
			t.Fatalf("cut at %d: %+v", i, r)
		}
	}
	for _, broken := range []string{"", "{", body[:len(body)-1], "<html>", `{"type":"message"}`, "[]"} {
		if r := meter(t, "application/json", broken); r.Complete {
			t.Errorf("%q counts as complete: %+v", broken, r)
		}
	}
	if r := meter(t, "", `{"type":"error","error":{"type":"api_error","message":"no"}}`); r.Complete || r.Error != "api_error: no" {
		t.Errorf("an error with status 200: %+v", r)
	}
}

func TestOtherModelsInsideAnAnswerAreApart(t *testing.T) {
	t.Parallel()
	r := meter(t, "application/json", `{"model":"m","usage":{"input_tokens":1,"output_tokens":2,"iterations":[{"type":"message","output_tokens":2},{"type":"compaction","input_tokens":100,"output_tokens":50},{"type":"advisor_message","model":"big","input_tokens":5,"output_tokens":6}]}}`)
	want := []anthropic.Part{{Usage: corp.Usage{FreshInput: 100, Output: 50}}, {Model: "big", Usage: corp.Usage{FreshInput: 5, Output: 6}}}
	if diff := cmp.Diff(want, r.Extra); diff != "" {
		t.Error(diff)
	}
}

func TestOverlongLineIsPassedOver(t *testing.T) {
	t.Parallel()
	long := "data: {\"type\":\"content_block_delta\",\"x\":\"" + strings.Repeat("a", 3<<20) + "\"}\n\n"
	cut := strings.Index(stream, "event: ping")
	text := stream[:cut] + long + stream[cut:]
	r := meter(t, "text/event-stream", text, cut+100, cut+1<<20, cut+2<<20)
	if r.Usage.Output != 510 || !r.Complete {
		t.Errorf("%+v", r)
	}
}

func FuzzMeterDoesNotDependOnChunks(f *testing.F) {
	f.Add(stream, uint64(1), true)
	f.Add(`{"usage":{"input_tokens":7}}`, uint64(2), false)
	f.Fuzz(func(t *testing.T, answer string, seed uint64, streamed bool) {
		kind := "application/json"
		if streamed {
			kind = "text/event-stream"
		}
		want := meter(t, kind, answer)
		if want.Raw != nil && !json.Valid(want.Raw) {
			t.Fatalf("the raw usage %q is not JSON", want.Raw)
		}
		r := rand.New(rand.NewPCG(seed, 0))
		m := anthropic.NewMeter(anthropic.Request{}, kind)
		for rest := answer; rest != ""; {
			n := 1 + r.IntN(len(rest))
			if _, err := m.Write([]byte(rest[:n])); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if diff := cmp.Diff(want, m.Reading()); diff != "" {
			t.Error(diff)
		}
	})
}

func BenchmarkMeterStream(b *testing.B) {
	text := []byte(stream[:strings.Index(stream, "event: message_delta")] +
		strings.Repeat("event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hello there, this is text\"}}\n\n", 1000))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		m := anthropic.NewMeter(anthropic.Request{}, "text/event-stream")
		if _, err := m.Write(text); err != nil {
			b.Fatal(err)
		}
	}
}

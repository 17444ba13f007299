package gateway_test

import (
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/genericcorp/corp"
)

// What a vendor leaves out of its count, or writes as zero until it knows, is not
// free: the call is settled at what it can have cost.
func TestACountWithoutThePromptIsNoCount(t *testing.T) {
	t.Parallel()
	const chatEnd = `{"choices":[{"index":0,"finish_reason":"stop"}],"usage":`
	for name, answer := range map[string]string{
		"chat, no prompt":       chatEnd + `{"completion_tokens":2}}`,
		"chat, the total only":  chatEnd + `{"total_tokens":2000}}`,
		"chat, zeros":           chatEnd + `{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}}`,
		"chat stream, zeros":    "data: " + `{"choices":[{"index":0,"delta":{"content":"x"}}],"usage":{"prompt_tokens":0,"completion_tokens":0}}` + "\n\n",
		"messages, no prompt":   `{"type":"message","usage":{"output_tokens":2}}`,
		"messages stream, cut":  "data: " + `{"type":"message_start","message":{"usage":{"input_tokens":0,"output_tokens":0}}}` + "\n\n",
		"messages stream, ends": "data: " + `{"type":"message_delta","usage":{"output_tokens":2}}` + "\n\ndata: {\"type\":\"message_stop\"}\n\n",
	} {
		stream := strings.HasPrefix(answer, "data:")
		vendor := &recording{answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", map[bool]string{true: "text/event-stream", false: "application/json"}[stream])
			_, _ = io.WriteString(w, answer)
		}}
		a := newChatWorld(t, vendor).run(corp.Dollar)
		if strings.HasPrefix(name, "chat") {
			a.chat(asking("chat/gpt-4o", "hi", `"max_tokens":2000`, map[bool]string{true: streams, false: `"x":1`}[stream]))
		} else {
			a.call(message("sim/claude-sonnet-4-5", "hi", "2000", stream))
		}
		if c := a.only(); c.Cost != c.Reserved || c.Cost == 0 || !c.Estimated {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

// A client can ask some vendors for an answer of another form, by a header or in
// the address. One that cannot be counted is not free.
func TestAnAnswerOfAnUnknownKindIsNotFree(t *testing.T) {
	t.Parallel()
	for kind, body := range map[string]string{
		"application/x-protobuf": "\x0a\x05hello", "text/plain": "data: [DONE]\n\n", "application/octet-stream": `{"usage`, "application/x-ndjson": "{}\n{}\n",
	} {
		vendor := &recording{answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = io.WriteString(w, body)
		}}
		a := newChatWorld(t, vendor).run(corp.Dollar)
		if got := a.chat(asking("chat/gpt-4o", "hi", `"max_tokens":2000`, streams)); string(got.body) != body {
			t.Errorf("%s: %d %q", kind, got.status, got.body)
		}
		if c := a.only(); c.Cost != c.Reserved || c.Cost == 0 || !c.Estimated {
			t.Errorf("%s: %+v", kind, c)
		}
	}
}

// Megabytes of brackets in place of an answer end no more than the call.
func TestAnAnswerOfBracketsIsEstimated(t *testing.T) {
	t.Parallel()
	bomb := strings.Repeat(`{"usage":`, (8<<20-100)/9)
	line := "data: " + strings.Repeat(`{"usage":`, (1<<20-100)/9) + "\n\n"
	for kind, body := range map[string]string{"application/json": bomb, "text/event-stream": line} {
		vendor := &recording{answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = io.WriteString(w, body)
		}}
		w := newChatWorld(t, vendor)
		a, b := w.run(corp.Dollar), w.run(corp.Dollar)
		a.chat(asking("chat/gpt-4o", "hi", `"max_tokens":2000`, streams))
		b.call(message("sim/claude-sonnet-4-5", "hi", "2000", true))
		for _, c := range []corp.Call{a.only(), b.only()} {
			if c.Cost != c.Reserved || c.Cost == 0 || !c.Estimated {
				t.Errorf("%s: %+v", kind, c)
			}
		}
	}
}

// What a vendor says beside its counts fills neither the journal nor the ledger.
func TestAUsageOfMegabytesIsCountedAndNotKept(t *testing.T) {
	t.Parallel()
	junk := strings.Repeat("x", 4<<20)
	vendor := &recording{answer: func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"choices":[{"index":0,"finish_reason":"stop"}],"usage":{"input_tokens":5,"output_tokens":7,"prompt_tokens":5,"completion_tokens":7,"junk":"`+junk+`"}}`)
	}}
	w := newChatWorld(t, vendor)
	a, b := w.run(corp.Dollar), w.run(corp.Dollar)
	a.chat(asking("chat/gpt-4o", "hi", `"max_tokens":2000`))
	b.call(message("sim/claude-sonnet-4-5", "hi", "2000", false))
	for _, c := range []corp.Call{a.only(), b.only()} {
		if len(c.RawUsage) > 0 || c.Usage != (corp.Usage{FreshInput: 5, Output: 7}) || c.Estimated || c.Outcome != corp.CallOK || c.Detail == "" {
			t.Errorf("%d bytes of usage, %+v, %s, %q", len(c.RawUsage), c.Usage, c.Outcome, c.Detail)
		}
	}
	at, err := os.Stat(w.config.JournalPath)
	if err != nil || at.Size() > 1<<20 {
		t.Errorf("the journal: %v, %v", at, err)
	}
}

package builtin

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
)

// scripted is a vendor that answers each model call with the next reply.
type scripted struct {
	*httptest.Server
	t testing.TB

	mu       sync.Mutex
	replies  []reply
	requests []modelRequest
	headers  []http.Header
	served   int
}

// reply writes one answer of the vendor.
type reply func(w http.ResponseWriter, r *http.Request)

func newVendorScript(tb testing.TB, replies ...reply) *scripted {
	tb.Helper()
	s := &scripted{t: tb, replies: replies}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	tb.Cleanup(s.Close)
	return s
}

func (s *scripted) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var request modelRequest
	if err == nil {
		err = json.Unmarshal(body, &request)
	}
	s.mu.Lock()
	n := s.served
	s.served++
	s.requests = append(s.requests, request)
	s.headers = append(s.headers, r.Header)
	s.mu.Unlock()
	if err != nil || r.URL.Path != "/v1/messages" || r.Method != http.MethodPost {
		s.t.Errorf("call %d: %s %s, %v", n, r.Method, r.URL, err)
	}
	if problem := refusedByVendor(request); problem != "" {
		s.t.Errorf("call %d: the vendor would refuse it: %s", n, problem)
	}
	s.replies[min(n, len(s.replies)-1)](w, r)
}

func (s *scripted) calls() []modelRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// refusedByVendor checks a conversation as the vendor does.
func refusedByVendor(r modelRequest) string {
	if len(r.Messages) == 0 || r.Messages[0].Role != roleUser || r.MaxTokens < 1 || !r.Stream {
		return "it does not begin with the user, or has no room for an answer"
	}
	points := 0
	for _, b := range r.System {
		if b.Cache != nil {
			points++
		}
	}
	var open []string
	for i, m := range r.Messages {
		if i > 0 && m.Role == r.Messages[i-1].Role {
			return fmt.Sprintf("message %d is of the same side as the one before", i)
		}
		if len(m.Content) == 0 {
			return fmt.Sprintf("message %d is empty", i)
		}
		var answered []string
		for _, b := range m.Content {
			if b.Cache != nil {
				points++
			}
			switch b.Type {
			case blockToolResult:
				answered = append(answered, b.ToolUseID)
			case blockText:
				if b.Text == "" {
					return fmt.Sprintf("message %d has an empty text", i)
				}
			case blockToolUse:
				if !isObject(b.Input) {
					return fmt.Sprintf("message %d calls a tool with the input %s", i, b.Input)
				}
			}
		}
		if m.Role == roleUser && !slices.Equal(open, answered) {
			return fmt.Sprintf("message %d answers the calls %v, not %v", i, answered, open)
		}
		open = nil
		if m.Role == roleAssistant {
			for _, b := range m.Content {
				if b.Type == blockToolUse {
					open = append(open, b.ID)
				}
			}
		}
	}
	if points > 4 {
		return fmt.Sprintf("it has %d cache breakpoints", points)
	}
	return ""
}

func event(w io.Writer, kind string, fields map[string]any) {
	fields["type"] = kind
	raw, err := json.Marshal(fields)
	if err != nil {
		panic(err)
	}
	_, _ = fmt.Fprintf(w, "event: %s\ndata: %s\n\n", kind, raw)
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
}

func begin(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/event-stream")
	event(w, "message_start", obj{"message": obj{"id": "msg", "usage": obj{"input_tokens": 100, "cache_read_input_tokens": 30, "cache_creation_input_tokens": 20, "output_tokens": 1}}})
	event(w, "ping", obj{})
}

// pieces cuts a text into small ones, as the vendor does.
func pieces(text string) []string {
	var out []string
	for len(text) > 7 {
		out, text = append(out, text[:7]), text[7:]
	}
	return append(out, text)
}

func writeBlock(w io.Writer, i int, b block) {
	start := b
	start.Text, start.Input, start.Signature = "", nil, ""
	kind, field, text := "text_delta", "text", b.Text
	switch b.Type {
	case blockToolUse:
		start.Input = json.RawMessage("{}")
		kind, field, text = "input_json_delta", "partial_json", string(b.Input)
	case blockThinking:
		start.Thinking = new("")
		kind, field, text = "thinking_delta", "thinking", *b.Thinking
	}
	event(w, "content_block_start", obj{"index": i, "content_block": start})
	for _, p := range pieces(text) {
		event(w, "content_block_delta", obj{"index": i, "delta": obj{"type": kind, field: p}})
	}
	if b.Signature != "" {
		event(w, "content_block_delta", obj{"index": i, "delta": obj{"type": "signature_delta", "signature": b.Signature}})
	}
	event(w, "content_block_stop", obj{"index": i})
}

// answers streams an answer with these blocks.
func answers(stopReason string, blocks ...block) reply {
	return func(w http.ResponseWriter, _ *http.Request) {
		begin(w)
		for i, b := range blocks {
			writeBlock(w, i, b)
		}
		event(w, "message_delta", obj{"delta": obj{"stop_reason": stopReason}, "usage": obj{"output_tokens": 50}})
		event(w, "message_stop", obj{})
	}
}

// says ends the turn with a text; calls calls tools.
func says(text string) reply { return answers(stoppedEnd, block{Type: blockText, Text: text}) }

func calls(uses ...block) reply { return answers(stoppedTools, uses...) }

var useNumber struct {
	sync.Mutex
	n int
}

// tu is a tool call with an id of its own.
func tu(name string, input any) block {
	raw, ok := input.(string)
	if !ok {
		encoded, err := json.Marshal(input)
		if err != nil {
			panic(err)
		}
		raw = string(encoded)
	}
	useNumber.Lock()
	defer useNumber.Unlock()
	useNumber.n++
	return block{Type: blockToolUse, ID: fmt.Sprintf("toolu_%d", useNumber.n), Name: name, Input: json.RawMessage(raw)}
}

// fails answers with an error in the vendor's form.
func fails(status int, kind, text string, header ...string) reply {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(obj{"type": "error", "error": obj{"type": kind, "message": text}})
	}
}

// breaksOff streams the beginning of an answer, with a whole tool call in it, and
// hangs up.
func breaksOff(text string, uses ...block) reply {
	return func(w http.ResponseWriter, _ *http.Request) {
		begin(w)
		writeBlock(w, 0, block{Type: blockText, Text: text})
		for i, u := range uses {
			writeBlock(w, i+1, u)
		}
		panic(http.ErrAbortHandler)
	}
}

package vendorsim

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// numberedIDs returns ids that a golden file can hold.
func numberedIDs() func(string) string {
	var n atomic.Int64
	return func(prefix string) string { return fmt.Sprintf("%s%04d", prefix, n.Add(1)) }
}

// vendor is a server on loopback with a client of its own.
type vendor struct {
	*Server
	url    string
	client *http.Client
}

func start(t *testing.T, o Options, scenarios ...*Scenario) *vendor {
	t.Helper()
	v := &vendor{Server: New(o, scenarios...)}
	ts := httptest.NewServer(v.Server)
	v.url, v.client = ts.URL, ts.Client()
	t.Cleanup(ts.Close)
	return v
}

func example(t *testing.T) *Scenario {
	t.Helper()
	s, err := Embedded("example")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func request(ctx context.Context, method, url, body string) *http.Request {
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	r.Header.Set("X-Api-Key", "sk-test-0123456789")
	r.Header.Set("Anthropic-Version", "2023-06-01")
	r.Header.Set("Content-Type", "application/json")
	return r
}

// got is what a client makes of an answer.
type got struct {
	status int
	header http.Header
	body   []byte
	err    error // of reading the body
}

func (v *vendor) do(t *testing.T, r *http.Request) got {
	t.Helper()
	resp, err := v.client.Do(r)
	if err != nil {
		return got{err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return got{resp.StatusCode, resp.Header, body, err}
}

func (v *vendor) post(t *testing.T, body string) got {
	t.Helper()
	return v.do(t, request(t.Context(), http.MethodPost, v.url+"/v1/messages", body))
}

// cancellable returns a request and the way to hang up on it.
func (v *vendor) cancellable(t *testing.T, body string) (*http.Request, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return request(ctx, http.MethodPost, v.url+"/v1/messages", body), cancel
}

// ask is the body of a request with one prompt.
func ask(prompt string, more ...string) string {
	return `{"model":"claude-sonnet-4-5","max_tokens":4096,` + strings.Join(append(more, ""), ",") +
		`"messages":[{"role":"user","content":` + string(appendString(nil, prompt)) + `}]}`
}

const streaming = `"stream":true`

// content is one block of an answer.
type content struct {
	Type      string          `json:"type"`
	Text      string          `json:"text"`
	Thinking  string          `json:"thinking"`
	Signature string          `json:"signature"`
	ID        string          `json:"id"`
	Name      string          `json:"name"`
	Input     json.RawMessage `json:"input"`
	partial   string
}

// decoded is an answer put together again, from either form.
type decoded struct {
	Model        string    `json:"model"`
	Content      []content `json:"content"`
	StopReason   string    `json:"stop_reason"`
	StopSequence *string   `json:"stop_sequence"`
	Usage        struct {
		Input         int64 `json:"input_tokens"`
		CacheRead     int64 `json:"cache_read_input_tokens"`
		CacheWrite    int64 `json:"cache_creation_input_tokens"`
		CacheCreation struct {
			Short int64 `json:"ephemeral_5m_input_tokens"`
			Long  int64 `json:"ephemeral_1h_input_tokens"`
		} `json:"cache_creation"`
		Output int64 `json:"output_tokens"`
	} `json:"usage"`
	events  []string
	ended   bool   // message_stop was seen
	failure string // the type of an error event
}

func (d *decoded) usage() Usage {
	u := &d.Usage
	return Usage{Input: u.Input, CacheRead: u.CacheRead, CacheWrite5m: u.CacheCreation.Short, CacheWrite1h: u.CacheCreation.Long, Output: u.Output}
}

func decodeWhole(t *testing.T, body []byte) *decoded {
	t.Helper()
	var d decoded
	if err := json.Unmarshal(body, &d); err != nil {
		t.Fatalf("decode %s: %v", body, err)
	}
	return &d
}

// decodeStream reads events as a careful client does: unknown ones and broken
// ones are noted and passed over; what is there when the stream breaks counts.
func decodeStream(t *testing.T, body []byte) *decoded {
	t.Helper()
	d := &decoded{}
	lines := bufio.NewScanner(bytes.NewReader(body))
	lines.Buffer(nil, 1<<26)
	name := ""
	for lines.Scan() {
		line := lines.Text()
		if after, ok := strings.CutPrefix(line, "event: "); ok {
			name = after
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			d.take(t, name, data)
		}
	}
	for i := range d.Content {
		if c := &d.Content[i]; c.Type == "tool_use" && c.partial != "" {
			c.Input = json.RawMessage(c.partial)
		}
	}
	return d
}

func (d *decoded) take(t *testing.T, name, data string) {
	t.Helper()
	d.events = append(d.events, name)
	var e struct {
		Type    string
		Message json.RawMessage
		Index   int
		Block   json.RawMessage `json:"content_block"`
		Delta   struct {
			Text       string
			Thinking   string
			Signature  string
			Partial    string  `json:"partial_json"`
			StopReason string  `json:"stop_reason"`
			Sequence   *string `json:"stop_sequence"`
		}
		Usage json.RawMessage
		Error struct{ Type string }
	}
	if err := json.Unmarshal([]byte(data), &e); err != nil {
		d.events[len(d.events)-1] = "broken " + name
		return
	}
	if e.Type != name {
		t.Errorf("event %q carries type %q", name, e.Type)
	}
	var err error
	switch name {
	case "message_start":
		err = json.Unmarshal(e.Message, d)
	case "content_block_start":
		d.Content = append(d.Content, content{})
		err = json.Unmarshal(e.Block, &d.Content[e.Index])
	case "content_block_delta":
		b := &d.Content[e.Index]
		b.Text += e.Delta.Text
		b.Thinking += e.Delta.Thinking
		b.Signature += e.Delta.Signature
		b.partial += e.Delta.Partial
	case "message_delta":
		d.StopReason, d.StopSequence = e.Delta.StopReason, e.Delta.Sequence
		err = json.Unmarshal(e.Usage, &d.Usage)
	case "message_stop":
		d.ended = true
	case "error":
		d.failure = e.Error.Type
	}
	if err != nil {
		t.Errorf("decode %s %s: %v", name, data, err)
	}
}

func decodeString(t *testing.T, text []byte) string {
	t.Helper()
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatalf("decode %s: %v", text, err)
	}
	return s
}

// eventually polls until ok holds or a minute is over.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not in time: %s", what)
		}
	}
}

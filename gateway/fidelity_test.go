package gateway_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/gateway"
)

// recording is a vendor that keeps what it got and answers what it is told.
type recording struct {
	mu     sync.Mutex
	got    []*http.Request
	bodies [][]byte
	answer func(w http.ResponseWriter, r *http.Request)
}

func (v *recording) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	v.mu.Lock()
	v.got, v.bodies = append(v.got, r), append(v.bodies, body)
	v.mu.Unlock()
	v.answer(w, r)
}

func (v *recording) last(t *testing.T) (*http.Request, []byte) {
	t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.got) == 0 {
		t.Fatal("the vendor was never called")
	}
	return v.got[len(v.got)-1], v.bodies[len(v.bodies)-1]
}

const usageJSON = `{"id":"msg_1","type":"message","model":"claude-sonnet-4-5","new_field":1.50,"content":[],"stop_reason":"end_turn","usage":{"input_tokens":10,"output_tokens":20}}`

func plainAnswer(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, usageJSON)
}

func TestRequestPassesUnchangedButForThePermittedEdits(t *testing.T) {
	t.Parallel()
	vendor := &recording{answer: plainAnswer}
	a := newWorld(t, vendor).run(0)
	body := "{\n \"unknown\" : {\"x\": 1.50e+0, \"é\":\"\\u00e9\", \"url\":null },\"model\":\"sim\\/claude-sonnet-4-5\",\t\"max_tokens\":   100, \"messages\":[{\"role\":\"user\",\"content\":\"hi\"}] }  "
	r := a.request(t.Context(), body)
	r.URL.RawQuery = "beta=true&x=%20&&y"
	maps.Copy(r.Header, map[string][]string{
		"Anthropic-Beta": {"a-2025", "b-2026"}, "X-Claude-Code-Session-Id": {"s"}, "X-New": {"", "two"}, "User-Agent": {"agent/1"}, "Accept": {"*/*"},
		"Connection": {"X-Hop, keep-alive"}, "X-Hop": {"gone"}, "Accept-Encoding": {"gzip, br"}, "Authorization": {"Bearer " + a.key}, "Te": {"trailers"},
	})
	if got := a.do(r); got.status != http.StatusOK || string(got.body) != usageJSON {
		t.Fatalf("%d %s", got.status, got.body)
	}
	up, sent := vendor.last(t)
	want := strings.Replace(body, `"sim\/claude-sonnet-4-5"`, `"claude-sonnet-4-5"`, 1)
	if string(sent) != want {
		t.Errorf("the body changed:\n got %q\nwant %q", sent, want)
	}
	if up.RequestURI != "/v1/messages?beta=true&x=%20&&y" {
		t.Errorf("address %q", up.RequestURI)
	}
	wantHeader := http.Header{
		"Anthropic-Beta": {"a-2025", "b-2026"}, "X-Claude-Code-Session-Id": {"s"}, "X-New": {"", "two"}, "User-Agent": {"agent/1"}, "Accept": {"*/*"},
		"Anthropic-Version": {"2023-06-01"}, "Content-Type": {"application/json"},
		"X-Api-Key": {vendorKey}, "Accept-Encoding": {"identity"}, "Content-Length": {strconv.Itoa(len(want))},
	}
	if diff := cmp.Diff(wantHeader, up.Header); diff != "" {
		t.Errorf("headers: %s", diff)
	}
	if diff := cmp.Diff([]string{"credential", "model"}, a.only().Edits); diff != "" {
		t.Errorf("edits: %s", diff)
	}
}

func TestBareModelGoesToTheProviderOfTheRunsAgent(t *testing.T) {
	t.Parallel()
	vendor := &recording{answer: plainAnswer}
	w := newWorld(t, vendor)
	w.provider("anthropic", w.vendor) // the agent named default has anthropic/claude-sonnet-4-5
	a := w.run(0)
	body := message("claude-haiku-4-5", "hi", "50", false)
	if got := a.call(body); got.status != http.StatusOK {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if _, sent := vendor.last(t); string(sent) != body {
		t.Errorf("the body changed: %s", sent)
	}
	if c := a.only(); c.Provider != "anthropic" || c.ModelAsked != "claude-haiku-4-5" || !cmp.Equal(c.Edits, []string{"credential"}) {
		t.Errorf("%+v", c)
	}
}

// streamOf is an answer of n events, some of which nobody has ever heard of.
func streamOf(n int) string {
	var b strings.Builder
	b.WriteString("event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"claude-sonnet-4-5\",\"usage\":{\"input_tokens\":30,\"output_tokens\":1,\"new_tokens\":7}}}\n\n: a comment\n\n")
	for i := range n {
		fmt.Fprintf(&b, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"piece %d\"},\"new\":1.50}\n\n", i)
	}
	b.WriteString("event: brand_new_event\r\ndata: {\"type\":\"brand_new_event\",\"usage\":{\"output_tokens\":999999}}\r\nid: 7\r\n\r\n")
	b.WriteString("event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":40}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n")
	return b.String()
}

func TestStreamPassesUnchangedHoweverItIsChunked(t *testing.T) {
	t.Parallel()
	text := streamOf(60)
	vendor := &recording{answer: func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/event-stream; charset=utf-8")
		h["Anthropic-Ratelimit-Requests-Remaining"] = []string{"9"}
		h["Request-Id"] = []string{"req_vendor"}
		h["Set-Cookie"] = []string{"a=1", "b=2"}
		h["Connection"] = []string{"X-Hop"}
		h["X-Hop"] = []string{"gone"}
		seed, _ := strconv.ParseUint(r.Header.Get("X-Seed"), 10, 64)
		random := rand.New(rand.NewPCG(seed, 1))
		for rest := text; rest != ""; {
			n := min(1+random.IntN(200), len(rest))
			_, _ = io.WriteString(w, rest[:n])
			w.(http.Flusher).Flush()
			rest = rest[n:]
		}
	}}
	a := newWorld(t, vendor).run(0)
	const rounds = 20
	for i := range rounds {
		r := a.request(t.Context(), message("sim/claude-sonnet-4-5", "hi", "100", true))
		r.Header.Set("X-Seed", strconv.Itoa(i))
		got := a.do(r)
		if got.err != nil || string(got.body) != text {
			t.Fatalf("round %d: %v; the stream changed: %s", i, got.err, cmp.Diff(text, string(got.body)))
		}
		h := got.header
		if h.Get("Request-Id") != "req_vendor" || h.Get("Anthropic-Ratelimit-Requests-Remaining") != "9" || len(h["Set-Cookie"]) != 2 || h.Get("X-Hop") != "" || h.Get("Content-Type") != "text/event-stream; charset=utf-8" {
			t.Fatalf("headers: %v", h)
		}
	}
	for _, c := range a.calls(rounds) {
		if c.Usage != (corp.Usage{FreshInput: 30, Output: 40}) || c.Cost != 30*3000+40*15000 || c.Outcome != corp.CallOK || c.Estimated || c.UpstreamRequestID != "req_vendor" || !c.Streamed {
			t.Fatalf("%+v", c)
		}
	}
}

// A piece is on its way to the agent before the vendor has sent the next one.
func TestEachPieceIsRelayedAtOnce(t *testing.T) {
	t.Parallel()
	next := make(chan struct{})
	pieces := strings.SplitAfter(streamOf(5), "\n\n")
	vendor := &recording{answer: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, p := range pieces {
			_, _ = io.WriteString(w, p)
			w.(http.Flusher).Flush()
			<-next
		}
	}}
	a := newWorld(t, vendor).run(0)
	response, err := http.DefaultClient.Do(a.request(t.Context(), message("sim/claude-sonnet-4-5", "hi", "100", true)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	for _, p := range pieces {
		buf := make([]byte, len(p))
		if _, err := io.ReadFull(response.Body, buf); err != nil || string(buf) != p {
			t.Fatalf("%q, %v", buf, err)
		}
		next <- struct{}{} // only now does the vendor go on
	}
}

func TestVendorsErrorsPassUnchangedAndCostNothing(t *testing.T) {
	t.Parallel()
	for status, body := range map[int]string{
		400: `{"type":"error","error":{"type":"invalid_request_error","message":"messages: é"},"request_id":"req_1" }`,
		401: `{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}`,
		402: "plain text", 429: `{"error":{}}`, 500: "", 529: `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`,
		302: "moved",
	} {
		vendor := &recording{answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Retry-After", "7")
			w.Header().Set("Location", "http://127.0.0.1:1/elsewhere")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}}
		a := newWorld(t, vendor).run(corp.Dollar)
		client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		response, err := client.Do(a.request(t.Context(), message("sim/claude-sonnet-4-5", "hi", "100", true)))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || response.StatusCode != status || string(got) != body || response.Header.Get("Retry-After") != "7" {
			t.Errorf("%d: got %d %q %v", status, response.StatusCode, got, response.Header)
		}
		if c := a.only(); c.Outcome != corp.CallError || c.Cost != 0 || c.Status != status || c.Estimated {
			t.Errorf("%d: %+v", status, c)
		}
		if b, _ := a.settled(); b.Spent != 0 {
			t.Errorf("%d: %v spent", status, b.Spent)
		}
	}
}

func TestRefusalsAreInTheVendorsForm(t *testing.T) {
	t.Parallel()
	vendor := &recording{answer: plainAnswer}
	a := newWorld(t, vendor).run(0)
	packed := func() io.ReadCloser {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = io.WriteString(z, message("sim/claude-sonnet-4-5", "hi", "100", false))
		_ = z.Close()
		return io.NopCloser(&b)
	}
	for name, c := range map[string]struct {
		change func(*http.Request)
		status int
		kind   string
	}{
		"no key":       {func(r *http.Request) { r.Header.Del("X-Api-Key") }, 401, "authentication_error"},
		"mistyped key": {func(r *http.Request) { r.Header.Set("X-Api-Key", a.key[:len(a.key)-1]+"~") }, 401, "authentication_error"},
		"unknown key":  {func(r *http.Request) { r.Header.Set("X-Api-Key", corp.NewSecret(corp.KeyPrefixRun)) }, 401, "authentication_error"},
		"an API key":   {func(r *http.Request) { r.Header.Set("X-Api-Key", corp.NewSecret(corp.KeyPrefixLive)) }, 401, "authentication_error"},
		"no JSON":      {func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("{")); r.ContentLength = 1 }, 400, "invalid_request_error"},
		"model twice": {func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader(`{"model":"sim/a","model":"sim/b"}`))
			r.ContentLength = -1
		}, 400, "invalid_request_error"},
		"no provider": {func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader(`{"model":"none/a"}`))
			r.ContentLength = -1
		}, 404, "not_found_error"},
		"packed": {func(r *http.Request) {
			r.Body = packed()
			r.ContentLength = -1
			r.Header.Set("Content-Encoding", "gzip")
		}, 415, "invalid_request_error"},
		"too large":     {func(r *http.Request) { r.Body = io.NopCloser(io.LimitReader(zeros{}, 40<<20)); r.ContentLength = -1 }, 413, "request_too_large"},
		"other address": {func(r *http.Request) { r.URL.Path = "/v1/files" }, 404, "not_found_error"},
		"other method":  {func(r *http.Request) { r.Method = http.MethodPut }, 405, "invalid_request_error"},
	} {
		b := a
		if name == "no provider" { // stops its run
			b = a.run(0)
		}
		r := b.request(t.Context(), message("sim/claude-sonnet-4-5", "hi", "100", false))
		c.change(r)
		got := b.do(r)
		want := fmt.Sprintf(`{"type":"error","error":{"type":%q,"message":"`, c.kind)
		if got.status != c.status || !strings.HasPrefix(string(got.body), want) || got.header.Get("X-Should-Retry") != "false" || !strings.HasPrefix(got.header.Get("Request-Id"), "call_") {
			t.Errorf("%s: %d %s %v (%v)", name, got.status, got.body, got.header, got.err)
		}
	}
	if len(vendor.got) != 0 {
		t.Errorf("the vendor was called %d times", len(vendor.got))
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestFreeQuestionsPassAndAreNotBilled(t *testing.T) {
	t.Parallel()
	vendor := simulated(t, "  - {name: hello, match: {prompt: hi}, reply: {text: hello}}\n")
	w := newWorld(t, vendor)
	w.provider("anthropic", w.vendor)
	a := w.run(corp.Dollar)
	r := a.request(t.Context(), message("sim/claude-sonnet-4-5", "hi", "100", false))
	r.URL.Path = "/v1/messages/count_tokens"
	if got := a.do(r); got.status != 200 || !strings.HasPrefix(string(got.body), `{"input_tokens":`) {
		t.Errorf("count: %d %s", got.status, got.body)
	}
	r = a.request(t.Context(), "")
	r.Method, r.URL.Path, r.URL.RawQuery, r.Body = http.MethodGet, "/v1/models", "limit=1000", nil
	r.ContentLength = 0
	if got := a.do(r); got.status != 200 || !strings.Contains(string(got.body), `"has_more":false`) {
		t.Errorf("models: %d %s", got.status, got.body)
	}
	head, err := http.Head(a.url + "/")
	if err != nil || head.StatusCode != http.StatusOK {
		t.Errorf("probe: %v %v", head, err)
	}
	if b, _ := a.budgets(); b.Spent != 0 || b.Granted != 0 {
		t.Errorf("%+v", b)
	}
	if got := a.call(message("sim/claude-sonnet-4-5", "hi", "100", false)); got.header.Get("X-Simulated") == "" {
		t.Error("the mark of a simulated answer is gone")
	}
	if c := a.only(); !c.Simulated {
		t.Error("the call is not marked as simulated")
	}
}

func TestInstallationProviderTakesItsKeyFromTheEnvironment(t *testing.T) {
	t.Parallel()
	vendor := &recording{answer: plainAnswer}
	w := newWorld(t, vendor, func(c *gateway.Config) {
		c.Env = func(name string) string { return map[string]string{"TEST_KEY": "sk-from-env"}[name] }
	})
	name := "inst-" + strings.ToLower(corp.NewID[corp.ProviderID]().String()[9:])
	for i, keyEnv := range []string{"TEST_KEY", "MISSING_KEY"} {
		w.env.Exec(t, `INSERT INTO installation_providers (id, name, dialect, base_url, vendor, key_env, created_by) VALUES ($1, $2, 'anthropic', $3, 'anthropic', $4, 'system')`,
			corp.NewID[corp.ProviderID](), fmt.Sprintf("%s-%d", name, i), w.vendor+"/", keyEnv)
	}
	a := w.run(0)
	if got := a.call(message(name+"-0/claude-sonnet-4-5", "hi", "100", false)); got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if up, _ := vendor.last(t); up.Header.Get("X-Api-Key") != "sk-from-env" {
		t.Errorf("key %q", up.Header.Get("X-Api-Key"))
	}
	got := a.call(message(name+"-1/claude-sonnet-4-5", "hi", "100", false))
	if got.status != 401 || !strings.Contains(string(got.body), "MISSING_KEY") {
		t.Errorf("%d %s", got.status, got.body)
	}
	run, err := w.env.DB.Auth().Run(t.Context(), w.ring.Hash(a.key))
	if err != nil || run.StopReason != corp.ReasonProviderKey {
		t.Errorf("%+v, %v", run, err)
	}
}

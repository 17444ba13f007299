package gateway_test

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
)

const chatJSON = "{\n  \"id\": \"c\", \"object\": \"chat.completion\", \"model\": \"gpt-4o-2024-08-06\", \"new_field\": 1.50,\n  \"choices\": [{\"index\":0,\"finish_reason\":\"stop\"}], \"usage\": {\"prompt_tokens\":30,\"completion_tokens\":40,\"total_tokens\":70}\n}\n"

func chatAnswer(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, chatJSON)
}

func TestChatRequestPassesUnchangedButForThePermittedEdits(t *testing.T) {
	t.Parallel()
	vendor := &recording{answer: chatAnswer}
	a := newChatWorld(t, vendor).run(0)
	body := "{\n \"unknown\" : {\"x\": 1.50e+0, \"é\":\"\\u00e9\", \"url\":null },\"model\":\"chat\\/gpt-4o\",\t\"max_tokens\":   100,\"stream\":true, \"stream_options\" : { \"include_obfuscation\" : false } , \"messages\":[{\"role\":\"user\",\"content\":\"hi\"}] }  "
	r := a.chatRequest(t.Context(), body)
	r.URL.RawQuery = "x=%20&&y"
	maps.Copy(r.Header, map[string][]string{
		"Openai-Beta": {"a=v1", "b=v2"}, "X-Stainless-Lang": {"js"}, "User-Agent": {"agent/1"}, "Accept": {"*/*"},
		"Connection": {"X-Hop, keep-alive"}, "X-Hop": {"gone"}, "Accept-Encoding": {"gzip, br"}, "X-Api-Key": {a.key}, "Te": {"trailers"},
	})
	if got := a.do(r); got.status != http.StatusOK || string(got.body) != chatJSON {
		t.Fatalf("%d %s", got.status, got.body)
	}
	up, sent := vendor.last(t)
	want := strings.Replace(body, `"chat\/gpt-4o"`, `"gpt-4o"`, 1)
	want = strings.Replace(want, `{ "include_obf`, `{"include_usage":true, "include_obf`, 1)
	if string(sent) != want {
		t.Errorf("the body changed:\n got %q\nwant %q", sent, want)
	}
	if up.RequestURI != "/v1/chat/completions?x=%20&&y" {
		t.Errorf("address %q", up.RequestURI)
	}
	wantHeader := http.Header{
		"Openai-Beta": {"a=v1", "b=v2"}, "X-Stainless-Lang": {"js"}, "User-Agent": {"agent/1"}, "Accept": {"*/*"}, "Content-Type": {"application/json"},
		"Authorization": {"Bearer " + vendorKey}, "Accept-Encoding": {"identity"}, "Content-Length": {strconv.Itoa(len(want))},
	}
	if diff := cmp.Diff(wantHeader, up.Header); diff != "" {
		t.Errorf("headers: %s", diff)
	}
	c := a.only()
	if diff := cmp.Diff([]string{"credential", "model", "usage"}, c.Edits); diff != "" {
		t.Errorf("edits: %s", diff)
	}
	if c.Cost != 30*gptIn+40*gptOut || c.ModelServed != "gpt-4o-2024-08-06" || c.Estimated {
		t.Errorf("%+v", c)
	}
}

func TestChatAddressesAreJoinedAsTheDialectsClientsJoinThem(t *testing.T) {
	t.Parallel()
	vendor := &recording{answer: chatAnswer}
	w := newWorld(t, vendor)
	for i, c := range [][2]string{
		{"", "/v1/chat/completions"},
		{"/", "/v1/chat/completions"},
		{"/v1", "/v1/chat/completions"},
		{"/v1/", "/v1/chat/completions"},
		{"/api/v1", "/api/v1/chat/completions"},
		{"/openai/v1", "/openai/v1/chat/completions"},
		{"/v4", "/v4/chat/completions"},
		{"/v1beta/openai", "/v1beta/openai/chat/completions"},
	} {
		name := fmt.Sprintf("p%d", i)
		w.chatProvider(name, w.vendor+c[0], "openai", vendorKey)
		if got := w.run(0).chat(asking(name+"/gpt-4o", "hi")); got.status != 200 {
			t.Fatalf("%d %s", got.status, got.body)
		}
		if up, _ := vendor.last(t); up.RequestURI != c[1] {
			t.Errorf("%q: %s, want %s", c[0], up.RequestURI, c[1])
		}
	}
}

// chatStreamOf is an answer of n pieces, and what of it is left without the usage.
func chatStreamOf(n int, usage bool) string {
	var b strings.Builder
	b.WriteString("data: {\"id\":\"c\",\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"},\"finish_reason\":null}],\"usage\":null}\n\n: a comment\n\n")
	for i := range n {
		fmt.Fprintf(&b, "data: {\"id\":\"c\",\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"piece %d \\\"usage\\\"\"},\"finish_reason\":null}],\"new\":1.50,\"usage\":null}\n\n", i)
	}
	b.WriteString("event: brand_new_event\r\ndata: {\"type\":\"brand_new_event\",\"x\":[]}\r\nid: 7\r\n\r\n")
	b.WriteString("data: {\"id\":\"c\",\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"length\"}],\"usage\":null}\n\n")
	if usage {
		b.WriteString("data: {\"id\":\"c\",\"model\":\"gpt-4o\",\"choices\":[],\"usage\":{\"prompt_tokens\":30,\"completion_tokens\":40,\"total_tokens\":70,\"prompt_tokens_details\":{\"cached_tokens\":10}}}\n\n")
	}
	b.WriteString("data: [DONE]\n\n")
	return b.String()
}

func TestChatStreamPassesUnchangedButForTheUsageThatNobodyAskedFor(t *testing.T) {
	t.Parallel()
	full, bare := chatStreamOf(60, true), chatStreamOf(60, false)
	vendor := &recording{answer: func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/event-stream; charset=utf-8")
		h["X-Ratelimit-Remaining-Requests"] = []string{"9"}
		h["X-Request-Id"] = []string{"req_vendor"}
		if r.Header.Get("X-Seed") == "0" { // some servers know the length beforehand
			h.Set("Content-Length", strconv.Itoa(len(full)))
		}
		seed, _ := strconv.ParseUint(r.Header.Get("X-Seed"), 10, 64)
		random := rand.New(rand.NewPCG(seed, 1))
		for rest := full; rest != ""; {
			n := min(1+random.IntN(200), len(rest))
			_, _ = io.WriteString(w, rest[:n])
			w.(http.Flusher).Flush()
			rest = rest[n:]
		}
	}}
	a := newChatWorld(t, vendor).run(0)
	const rounds = 20
	for i := range rounds {
		want, more := bare, `"stream_options":{"include_usage":false}`
		if i%2 == 1 {
			want, more = full, `"stream_options":{"include_usage":true}`
		}
		r := a.chatRequest(t.Context(), asking("chat/gpt-4o", "hi", streams, more))
		r.Header.Set("X-Seed", strconv.Itoa(i))
		got := a.do(r)
		if got.err != nil || string(got.body) != want {
			t.Fatalf("round %d: %v; the stream changed: %s", i, got.err, cmp.Diff(want, string(got.body)))
		}
		if h := got.header; h.Get("X-Request-Id") != "req_vendor" || h.Get("X-Ratelimit-Remaining-Requests") != "9" || h.Get("Content-Type") != "text/event-stream; charset=utf-8" {
			t.Fatalf("headers: %v", h)
		}
	}
	for i, c := range a.calls(rounds) {
		edits := []string{"credential", "model"}
		if i%2 == 0 {
			edits = append(edits, "usage")
		}
		want := corp.Usage{FreshInput: 20, CacheRead: 10, Output: 40}
		if c.Usage != want || c.Cost != gpt(want) || c.Outcome != corp.CallOK || c.Estimated || c.UpstreamRequestID != "req_vendor" || c.StopReason != "length" || !cmp.Equal(c.Edits, edits) {
			t.Fatalf("%+v", c)
		}
	}
}

// A line is on its way to the agent before the vendor has sent the next one.
func TestEachChatPieceIsRelayedAtOnce(t *testing.T) {
	t.Parallel()
	next := make(chan struct{})
	pieces := strings.SplitAfter(chatStreamOf(5, false), "\n\n")
	vendor := &recording{answer: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, p := range pieces {
			_, _ = io.WriteString(w, p)
			w.(http.Flusher).Flush()
			<-next
		}
	}}
	a := newChatWorld(t, vendor).run(0)
	response, err := http.DefaultClient.Do(a.chatRequest(t.Context(), asking("chat/gpt-4o", "hi", streams)))
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

func TestChatErrorsPassUnchangedAndCostNothing(t *testing.T) {
	t.Parallel()
	for status, body := range map[int]string{
		400: `{"error":{"message":"é","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"} }`,
		401: `{"error":{"message":"Incorrect API key","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}`,
		404: `{"error":"model not found"}`, 429: `{"error":{}}`, 500: "", 503: "data: {\"choices\":[],\"usage\":{}}\n\n",
	} {
		vendor := &recording{answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			w.Header().Set("Retry-After", "7")
			w.Header().Set("Retry-After-Ms", "6500")
			w.Header().Set("X-Ratelimit-Reset-Requests", "6.5s")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}}
		a := newChatWorld(t, vendor).run(corp.Dollar)
		got := a.chat(asking("chat/gpt-4o", "hi", streams, `"max_tokens":100`))
		if got.err != nil || got.status != status || string(got.body) != body || got.header.Get("Retry-After") != "7" || got.header.Get("Retry-After-Ms") != "6500" {
			t.Errorf("%d: got %d %q %v", status, got.status, got.body, got.header)
		}
		if c := a.only(); c.Outcome != corp.CallError || c.Cost != 0 || c.Status != status || c.Estimated || status == 400 && c.Detail != "context_length_exceeded: é" {
			t.Errorf("%d: %+v", status, c)
		}
		if b, _ := a.settled(); b.Spent != 0 {
			t.Errorf("%d: %v spent", status, b.Spent)
		}
	}
}

func TestChatRefusalsAreInTheVendorsForm(t *testing.T) {
	t.Parallel()
	vendor := &recording{answer: chatAnswer}
	w := newChatWorld(t, vendor)
	good := asking("chat/gpt-4o", "hi", `"max_tokens":100`)
	for name, c := range map[string]struct {
		body   string
		change func(*http.Request)
		budget corp.Nanodollars
		status int
		want   string
		reason corp.Reason
	}{
		"no key":               {body: good, change: func(r *http.Request) { r.Header.Del("Authorization") }, status: 401, want: `"code":"invalid_api_key"`},
		"unknown key":          {body: good, change: func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+corp.NewSecret(corp.KeyPrefixRun)) }, status: 401, want: `"code":"invalid_api_key"`},
		"no JSON":              {body: "{", status: 400, want: `"type":"invalid_request_error"`},
		"model twice":          {body: `{"model":"chat/a","model":"chat/b"}`, status: 400, want: "twice"},
		"no provider":          {body: asking("none/a", "hi"), status: 404, want: `"code":"model_not_found"`, reason: corp.ReasonModelUnknown},
		"unknown model":        {body: asking("chat/gpt-99", "hi", `"max_tokens":5`), budget: corp.Dollar, status: 404, want: "no known price", reason: corp.ReasonModelUnknown},
		"no money":             {body: good, budget: 1, status: 402, want: `"type":"insufficient_quota"`, reason: corp.ReasonBudget},
		"a URL under a limit":  {body: `{"model":"chat/gpt-4o","max_tokens":9,"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://e.example/x.png"}}]}]}`, budget: corp.Dollar, status: 400, want: "an image named by its URL"},
		"a tier under a limit": {body: asking("chat/gpt-4o", "hi", `"service_tier":"priority"`), budget: corp.Dollar, status: 400, want: "service tier priority"},
		"the other dialect":    {body: asking("sim/claude-sonnet-4-5", "hi"), status: 400, want: "speaks another dialect (anthropic)"},
		"other method":         {body: good, change: func(r *http.Request) { r.Method = http.MethodPut }, status: 405, want: `"type":"invalid_request_error"`},
	} {
		a := w.run(c.budget)
		r := a.chatRequest(t.Context(), c.body)
		if c.change != nil {
			c.change(r)
		}
		got := a.do(r)
		if got.status != c.status || !strings.HasPrefix(string(got.body), `{"error":{"message":"`) || !strings.Contains(string(got.body), c.want) || got.header.Get("X-Should-Retry") != "false" || !strings.HasPrefix(got.header.Get("X-Request-Id"), "call_") {
			t.Errorf("%s: %d %s %v (%v)", name, got.status, got.body, got.header, got.err)
		}
		run, err := w.env.DB.Auth().Run(t.Context(), w.ring.Hash(a.key))
		if err != nil || run.StopReason != c.reason {
			t.Errorf("%s: the run stops for %q, %v", name, run.StopReason, err)
		}
	}
	if len(vendor.got) != 0 {
		t.Errorf("the vendor was called %d times", len(vendor.got))
	}
	if got := w.run(0).call(message("chat/gpt-4o", "hi", "9", false)); got.status != 400 || !strings.Contains(string(got.body), `"type":"error"`) || !strings.Contains(string(got.body), "another dialect (openai)") {
		t.Errorf("a message to a provider of Chat Completions: %d %s", got.status, got.body)
	}
}

// The agent named default has a model of the provider anthropic, so a provider of
// that name is the one that a bare model and the list of models go to.
func TestAChatAgentsBareModelAndListGoToItsOwnProvider(t *testing.T) {
	t.Parallel()
	w := newWorld(t, simulated(t, "  - {name: hello, reply: {text: hello}}\n"))
	w.chatProvider("anthropic", w.vendor+"/v1", "openai", vendorKey)
	a := w.run(corp.Dollar)
	list := a.chatRequest(t.Context(), "")
	list.Method, list.URL.Path, list.Body, list.ContentLength = http.MethodGet, "/v1/models", nil, 0
	if got := a.do(list); got.status != 200 || string(got.body) != `{"object":"list","data":[]}` {
		t.Errorf("models: %d %s", got.status, got.body)
	}
	list.Header.Set("Anthropic-Version", "2023-06-01")
	if got := a.do(list); got.status != 400 || !strings.Contains(string(got.body), "another dialect") {
		t.Errorf("models in the other dialect: %d %s", got.status, got.body)
	}
	got := a.chat(asking("gpt-4o", "hi", `"max_tokens":100`))
	if got.status != 200 || got.header.Get("X-Simulated") == "" {
		t.Errorf("%d %s", got.status, got.body)
	}
	if c := a.only(); c.Provider != "anthropic" || c.ModelAsked != "gpt-4o" || !c.Simulated || !cmp.Equal(c.Edits, []string{"credential"}) {
		t.Errorf("%+v", c)
	}
}

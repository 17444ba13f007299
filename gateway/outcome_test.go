package gateway_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/gateway"
	"github.com/genericcorp/corp/postgres/pgtest"
	"github.com/genericcorp/corp/vendorsim"
)

// books waits until the vendor has booked n calls.
func books(t *testing.T, v *vendorsim.Server, n int) vendorsim.Books {
	t.Helper()
	pgtest.Eventually(t, patience, "the vendor has booked the calls", func(context.Context) bool { return len(v.Books().Calls) >= n })
	return v.Books()
}

func usageOf(u vendorsim.Usage) corp.Usage {
	return corp.Usage{FreshInput: u.Input, CacheRead: u.CacheRead, CacheWriteShort: u.CacheWrite5m, CacheWriteLong: u.CacheWrite1h, Output: u.Output}
}

const sonnetIn, sonnetRead, sonnetShort, sonnetLong, sonnetOut = 3000, 300, 3750, 6000, 15000 // nanodollars a token

func sonnet(u corp.Usage) corp.Nanodollars {
	return corp.Nanodollars(u.FreshInput*sonnetIn + u.CacheRead*sonnetRead + u.CacheWriteShort*sonnetShort + u.CacheWriteLong*sonnetLong + u.Output*sonnetOut)
}

func TestLedgerAgreesWithTheVendorsBooks(t *testing.T) {
	t.Parallel()
	vendor := simulated(t, `
  - {name: cached, match: {prompt: cached}, reply: {text: short, usage: {input: 12, cache_read: 1000, cache_write_5m: 300, cache_write_1h: 40, output: 50}}}
  - {name: plain, match: {prompt: plain}, reply: {text_bytes: 900}}
`)
	a := newWorld(t, vendor).run(corp.Dollar)
	padding := strings.Repeat("x", 2000) // a real prompt is never longer in tokens than in bytes
	for _, stream := range []bool{true, false} {
		for _, prompt := range []string{"cached", "plain"} {
			if got := a.call(message("sim/claude-sonnet-4-5", prompt+padding, "1000", stream)); got.status != 200 {
				t.Fatalf("%d %s", got.status, got.body)
			}
		}
	}
	var sum corp.Nanodollars
	booked := books(t, vendor, 4).Calls
	for i, c := range a.calls(4) {
		if c.Usage != usageOf(booked[i].Usage) || c.Cost != sonnet(c.Usage) || c.Outcome != corp.CallOK || c.Estimated || c.UpstreamRequestID != booked[i].RequestID || c.StopReason != booked[i].StopReason {
			t.Errorf("%+v\nbooked %+v", c, booked[i])
		}
		if c.Reserved < c.Cost || c.TraceID == "" || c.Epoch != 1 || len(c.RawUsage) == 0 || c.PriceID.IsZero() {
			t.Errorf("%+v", c)
		}
		sum += c.Cost
	}
	if b, _ := a.settled(); b.Spent != sum {
		t.Errorf("%v spent, the calls cost %v", b.Spent, sum)
	}
}

func TestClientThatHangsUpIsDrainedAndBilled(t *testing.T) {
	t.Parallel()
	vendor := simulated(t, "  - {name: long, match: {prompt: hi}, reply: {text_bytes: 4000, pace: {chunk: 100, between: 50ms}}}\n") // two seconds, in which the client leaves
	for _, stream := range []bool{true, false} {
		a := newWorld(t, vendor, unhurried).run(corp.Dollar)
		ctx, hangUp := context.WithCancel(t.Context())
		if stream {
			response, err := http.DefaultClient.Do(a.request(ctx, message("sim/claude-sonnet-4-5", "hi", "2000", true)))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := bufio.NewReader(response.Body).ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			hangUp()
			_ = response.Body.Close()
		} else {
			vendor.ClearBooks()
			done := make(chan reply, 1)
			go func() { done <- a.do(a.request(ctx, message("sim/claude-sonnet-4-5", "hi", "2000", false))) }()
			pgtest.Eventually(t, patience, "the vendor has the request", func(context.Context) bool { return len(vendor.Requests(-1)) >= 2 })
			hangUp()
			<-done
		}
		c := a.only()
		booked := books(t, vendor, 1).Calls[0]
		if c.Usage != usageOf(booked.Usage) || c.Usage.Output != 1000 || c.Cost != sonnet(c.Usage) || c.Estimated {
			t.Errorf("stream %v: %+v\nbooked %+v", stream, c, booked)
		}
		if c.Outcome != corp.CallHungUp {
			t.Errorf("stream %v: outcome %s", stream, c.Outcome)
		}
	}
}

func TestDrainingEndsAndIsThenEstimated(t *testing.T) {
	t.Parallel()
	vendor := simulated(t, "  - {name: endless, match: {prompt: hi}, reply: {text: On and on., pace: {between: 1ms}}, faults: [{kind: endless, ping_every: 5ms}]}\n")
	a := newWorld(t, vendor, func(c *gateway.Config) { c.Times.Drain = 50 * time.Millisecond }).run(corp.Dollar)
	ctx, hangUp := context.WithCancel(t.Context())
	response, err := http.DefaultClient.Do(a.request(ctx, message("sim/claude-sonnet-4-5", "hi", "2000", true)))
	if err != nil {
		t.Fatal(err)
	}
	hangUp()
	_ = response.Body.Close()
	c := a.only()
	if c.Outcome != corp.CallHungUp || !c.Estimated || c.Usage.Output != 2000 || c.Cost != sonnet(c.Usage) || c.Cost > c.Reserved {
		t.Errorf("%+v", c)
	}
}

func TestBrokenAnswersAreSettledSafely(t *testing.T) {
	t.Parallel()
	rules := `
  - {name: cut, match: {prompt: cut}, reply: {text_bytes: 4000}, faults: [{kind: cut, after_events: 8}]}
  - {name: error, match: {prompt: error}, reply: {text_bytes: 4000}, faults: [{kind: error, after_events: 8}]}
  - {name: hang, match: {prompt: hang}, reply: {text_bytes: 4000}, faults: [{kind: hang, after_events: 5}]}
  - {name: reset, match: {prompt: reset}, reply: {text_bytes: 4000}, faults: [{kind: reset}]}
  - {name: malformed, match: {prompt: malformed}, reply: {text_bytes: 400}, faults: [{kind: malformed, after_events: 3}]}
`
	for prompt, c := range map[string]struct {
		outcome corp.CallOutcome
		status  int
		broken  bool // the agent sees that the answer broke off
	}{
		"cut": {corp.CallCut, 200, true}, "error": {corp.CallCut, 200, false}, "hang": {corp.CallCut, 200, true}, "reset": {corp.CallCut, 503, false},
	} {
		vendor := simulated(t, rules)
		a := newWorld(t, vendor, func(c *gateway.Config) {
			if prompt == "hang" { // the others are given the time that a busy machine takes
				c.Times.UpstreamIdle = 3 * time.Second
			}
		}).run(corp.Dollar)
		got := a.call(message("sim/claude-sonnet-4-5", prompt, "3000", true))
		if got.status != c.status || (got.err != nil) != c.broken {
			t.Errorf("%s: %d, %v", prompt, got.status, got.err)
		}
		call := a.only()
		booked := books(t, vendor, 1).Calls[0]
		if call.Outcome != c.outcome || !call.Estimated || call.Cost < sonnet(usageOf(booked.Usage)) || call.Cost > call.Reserved || call.Status != c.status || call.Detail == "" {
			t.Errorf("%s: %+v\nbooked %+v", prompt, call, booked)
		}
		if c.status == 200 && (call.Usage.FreshInput != booked.Usage.Input || call.Usage.Output != 3000) {
			t.Errorf("%s: the prompt as reported and the answer at its cap, not %+v", prompt, call.Usage)
		}
	}
	vendor := simulated(t, rules)
	a := newWorld(t, vendor).run(corp.Dollar)
	a.call(message("sim/claude-sonnet-4-5", "malformed", "3000", true))
	if c := a.only(); c.Cost < sonnet(usageOf(books(t, vendor, 1).Calls[0].Usage)) {
		t.Errorf("malformed: %+v", c)
	}
}

func TestUnreachableVendorCostsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, http.NotFoundHandler())
	w.provider("gone", "http://127.0.0.1:1")
	a := w.run(corp.Dollar)
	got := a.call(message("gone/claude-sonnet-4-5", "hi", "100", true))
	if got.status != 503 || got.header.Get("Retry-After") == "" || got.header.Get("X-Should-Retry") != "true" || strings.Contains(string(got.body), "127.0.0.1") {
		t.Errorf("%d %v %s", got.status, got.header, got.body)
	}
	if c := a.only(); c.Outcome != corp.CallError || c.Cost != 0 || c.Estimated || !strings.Contains(c.Detail, "refused") {
		t.Errorf("%+v", c)
	}
}

func TestWrongAddressThatAnswersCostsNothing(t *testing.T) {
	t.Parallel()
	vendor := &recording{answer: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<html>Welcome</html>")
	}}
	a := newWorld(t, vendor).run(corp.Dollar)
	a.call(message("sim/claude-sonnet-4-5", "hi", "100", true))
	if c := a.only(); c.Outcome != corp.CallError || c.Cost != 0 {
		t.Errorf("%+v", c)
	}
}

func TestUnknownModelNeedsAnOpenPurse(t *testing.T) {
	t.Parallel()
	vendor := simulated(t, "  - {name: any, match: {prompt: hi}, reply: {text: hello}}\n")
	w := newWorld(t, vendor)
	limited := w.run(corp.Dollar)
	got := limited.call(message("sim/claude-of-tomorrow", "hi", "100", true))
	if got.status != 404 || !strings.Contains(string(got.body), "not_found_error") {
		t.Errorf("%d %s", got.status, got.body)
	}
	if c := limited.only(); c.Outcome != corp.CallRefused || c.Cost != 0 || c.Status != 404 || c.ModelAsked != "sim/claude-of-tomorrow" {
		t.Errorf("%+v", c)
	}
	if run, err := w.env.DB.Auth().Run(t.Context(), w.ring.Hash(limited.key)); err != nil || run.StopReason != corp.ReasonModelUnknown {
		t.Errorf("%+v, %v", run, err)
	}
	if got := limited.call(message("sim/claude-sonnet-4-5", "hi", "100", true)); got.status != 403 {
		t.Errorf("a run that must stop called on: %d %s", got.status, got.body)
	}
	free := w.run(0)
	if got := free.call(message("sim/claude-of-tomorrow", "hi", "100", true)); got.status != 200 {
		t.Errorf("%d %s", got.status, got.body)
	}
	if c := free.only(); c.Outcome != corp.CallOK || c.Cost != 0 || !c.Estimated || c.Detail == "" || c.Usage.Output == 0 {
		t.Errorf("%+v", c)
	}
}

func TestWhatHasNoBoundIsRefusedUnderALimit(t *testing.T) {
	t.Parallel()
	vendor := &recording{answer: plainAnswer}
	w := newWorld(t, vendor)
	long := `{"model":"sim/claude-sonnet-4-5-20250929","max_tokens":100,"cache_control":{"type":"ephemeral","ttl":"1h"},"messages":[]}`
	url := `{"model":"sim/claude-sonnet-4-5","max_tokens":100,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"https://example.com/x.png"}}]}]}`
	limited, free := w.run(corp.Dollar), w.run(0)
	for _, body := range []string{long, url} {
		if got := limited.call(body); got.status != 400 || !strings.Contains(string(got.body), "budget") {
			t.Errorf("%d %s", got.status, got.body)
		}
		if got := free.call(body); got.status != 200 {
			t.Errorf("without a limit: %d %s", got.status, got.body)
		}
	}
	for _, c := range limited.calls(2) {
		if c.Outcome != corp.CallRefused {
			t.Errorf("%+v", c)
		}
	}
	if run, err := w.env.DB.Auth().Run(t.Context(), w.ring.Hash(limited.key)); err != nil || run.StopReason != corp.ReasonNone {
		t.Errorf("the agent may still ask otherwise: %+v, %v", run, err)
	}
}

func TestLongWritesWithoutAPriceAreEstimated(t *testing.T) {
	t.Parallel()
	vendor := &recording{answer: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"model":"claude-sonnet-4-5-20250929","usage":{"input_tokens":1,"output_tokens":1,"cache_creation_input_tokens":30,"cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20}}}`)
	}}
	w := newWorld(t, vendor)
	a := w.run(0)
	a.call(message("sim/claude-sonnet-4-5-20250929", "hi", "100", false))
	if c := a.only(); !c.Estimated || c.Cost != sonnet(corp.Usage{FreshInput: 1, Output: 1, CacheWriteShort: 30}) || c.Usage.CacheWriteLong != 20 {
		t.Errorf("%+v", c)
	}
	b := w.run(0)
	b.call(message("sim/claude-sonnet-4-5", "hi", "100", false)) // an alias whose row has the price
	if c := b.only(); c.Estimated || c.Cost != sonnet(c.Usage) || c.ModelServed != "claude-sonnet-4-5-20250929" {
		t.Errorf("%+v", c)
	}
}

func TestServedModelDecidesThePrice(t *testing.T) {
	t.Parallel()
	vendor := &recording{answer: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"model":"claude-opus-4-5","usage":{"input_tokens":10,"output_tokens":10}}`)
	}}
	a := newWorld(t, vendor).run(0)
	a.call(message("sim/claude-sonnet-4-5", "hi", "100", false))
	if c := a.only(); c.Cost != 10*5000+10*25000 || c.Estimated || c.ModelServed != "claude-opus-4-5" {
		t.Errorf("%+v", c)
	}
}

func TestPackedAnswerIsEstimatedAndNotFree(t *testing.T) {
	t.Parallel()
	vendor := &recording{answer: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip") // although identity was asked for
		_, _ = io.WriteString(w, "\x1f\x8b\x08 packed")
	}}
	a := newWorld(t, vendor).run(corp.Dollar)
	if got := a.call(message("sim/claude-sonnet-4-5", "hi", "100", false)); got.status != 200 {
		t.Errorf("%d", got.status)
	}
	if c := a.only(); c.Outcome != corp.CallCut || !c.Estimated || c.Cost != c.Reserved {
		t.Errorf("%+v", c)
	}
}

func TestVendorWithoutAValidCertificateGetsNothing(t *testing.T) {
	t.Parallel()
	vendor := &recording{answer: plainAnswer}
	tls := httptest.NewUnstartedServer(vendor)
	tls.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	tls.StartTLS()
	defer tls.Close()
	w := newWorld(t, vendor)
	w.provider("tls", tls.URL)
	a := w.run(corp.Dollar)
	if got := a.call(message("tls/claude-sonnet-4-5", "hi", "100", false)); got.status != 503 {
		t.Errorf("%d %s", got.status, got.body)
	}
	if c := a.only(); c.Outcome != corp.CallError || c.Cost != 0 || !strings.Contains(c.Detail, "certificate") || len(vendor.got) != 0 {
		t.Errorf("%+v", c)
	}
}

func TestQuestionsThatCostNothingStopNoRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, &recording{answer: plainAnswer}) // it has no provider named anthropic, which the agent's model needs
	a := w.run(corp.Dollar)
	r := a.request(t.Context(), message("none/x", "hi", "100", false))
	r.URL.Path = "/v1/messages/count_tokens"
	if got := a.do(r); got.status != 404 {
		t.Errorf("%d %s", got.status, got.body)
	}
	r = a.request(t.Context(), "")
	r.Method, r.URL.Path, r.Body, r.ContentLength = http.MethodGet, "/v1/models", nil, 0
	if got := a.do(r); got.status != 404 {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := a.call(message("sim/claude-sonnet-4-5", "hi", "100", false)); got.status != 200 {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestWhoLeavesWhileWaitingHasNotReachedTheLimit(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	vendor := &recording{answer: func(w http.ResponseWriter, r *http.Request) { <-release; plainAnswer(w, r) }}
	registry := prometheus.NewRegistry()
	w := newWorld(t, vendor, unhurried, func(c *gateway.Config) { c.Registerer = registry })
	a := w.run(40_000_000)
	first := make(chan reply, 1)
	go func() { first <- a.call(message("sim/claude-sonnet-4-5", "hi", "2400", false)) }()
	pgtest.Eventually(t, patience, "the first call is under way", func(context.Context) bool {
		vendor.mu.Lock()
		defer vendor.mu.Unlock()
		return len(vendor.got) == 1
	})
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	second := make(chan reply, 1)
	go func() { second <- a.do(a.request(ctx, message("sim/claude-sonnet-4-5", "hi", "2400", false))) }()
	pgtest.Eventually(t, patience, "the second call is with the gateway", func(context.Context) bool { return w.gateway.UnderWay(a.task.RunID) == 2 })
	leave()
	if got := <-second; got.err == nil {
		t.Errorf("%d", got.status)
	}
	pgtest.Eventually(t, patience, "the gateway has noticed", func(context.Context) bool {
		return metrics(t, registry)["corp_gateway_refusals_total"] == 1
	})
	close(release)
	<-first
	a.only()
	if run, err := w.env.DB.Auth().Run(t.Context(), w.ring.Hash(a.key)); err != nil || run.StopReason != corp.ReasonNone {
		t.Errorf("%+v, %v", run, err)
	}
}

// Numbers that no call can have must not keep the calls that follow, or those of
// others, out of the ledger.
func TestAbsurdCountsAreRecordedAndHoldUpNothing(t *testing.T) {
	t.Parallel()
	part := `{"type":"compaction","input_tokens":1099511627776,"output_tokens":1099511627776}`
	for name, usage := range map[string]string{
		"huge":     `{"input_tokens":1,"output_tokens":1,"iterations":[` + strings.Repeat(part+",", 3000) + part + `]}`,
		"negative": `{"input_tokens":1,"output_tokens":1,"cache_creation_input_tokens":0,"iterations":[{"cache_creation":{"ephemeral_5m_input_tokens":-5,"ephemeral_1h_input_tokens":5}}]}`,
	} {
		vendor := &recording{answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"id":"msg_1","type":"message","model":"claude-sonnet-4-5","content":[],"stop_reason":"end_turn","usage":`+usage+`}`)
		}}
		a := newWorld(t, vendor, func(c *gateway.Config) { c.Times.Shutdown = time.Second }).run(0)
		for range 3 {
			if got := a.call(message("sim/claude-sonnet-4-5", "hi", "100", false)); got.status != 200 {
				t.Fatalf("%s: %d %s", name, got.status, got.body)
			}
		}
		for _, c := range a.calls(3) {
			if c.Cost <= 0 || name == "huge" && !c.Estimated {
				t.Errorf("%s: %+v", name, c)
			}
		}
	}
}

package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/gateway"
	"github.com/genericcorp/corp/postgres/pgtest"
	"github.com/genericcorp/corp/vendorsim"
)

// ask makes a random call in either dialect.
func (a *agent) ask(ctx context.Context, dialects []string) reply {
	prompt := strings.Repeat("x", rand.IntN(3000))
	if dialects[rand.IntN(len(dialects))] == corp.DialectAnthropic {
		return a.do(a.request(ctx, message("sim/claude-sonnet-4-5", prompt, fmt.Sprint(1+rand.IntN(4000)), rand.IntN(2) == 0)))
	}
	limit := 1 + rand.IntN(4000)
	more := [][]string{
		{fmt.Sprintf(`"max_tokens":%d`, limit)},
		{fmt.Sprintf(`"max_completion_tokens":%d`, limit)},
		{fmt.Sprintf(`"max_completion_tokens":%d,"max_tokens":%d`, limit, 1+rand.IntN(4000))},
		{},
		{fmt.Sprintf(`"max_tokens":%d,"n":%d`, limit, 1+rand.IntN(4))},
	}[rand.IntN(5)]
	if rand.IntN(2) == 0 {
		more = append(more, streams, fmt.Sprintf(`"stream_options":{"include_usage":%v}`, rand.IntN(2) == 0))
	}
	return a.do(a.chatRequest(ctx, asking("chat/gpt-4o", prompt, more...)))
}

// race calls from many clients, some of which hang up, until the money is gone.
func race(tb testing.TB, agents []*agent, clients, tries int, kills bool, dialects ...string) (through int64) {
	tb.Helper()
	var passed atomic.Int64
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			a := agents[i%len(agents)]
			for range tries {
				ctx, cancel := context.WithCancel(tb.Context())
				if kills && rand.IntN(4) == 0 {
					timer := time.AfterFunc(time.Duration(rand.Int64N(int64(20*time.Millisecond))), cancel)
					defer timer.Stop()
				}
				got := a.ask(ctx, dialects)
				cancel()
				switch got.status {
				case http.StatusOK:
					passed.Add(1)
				case http.StatusPaymentRequired, http.StatusForbidden:
					return
				}
			}
		})
	}
	wg.Wait()
	return passed.Load()
}

// Whatever twenty runs do, in one dialect or both, on a budget that they share,
// neither the vendors nor the ledger pass the limit by a nanodollar.
func TestHardLimitIsNeverPassedInEitherDialect(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		dialects    []string
		vendor      string
		obeys       []string
		kills, cuts bool
	}{
		"chat":                       {dialects: []string{"openai"}, vendor: "openai", obeys: []string{"max_tokens", "max_completion_tokens"}},
		"a server with the old cap":  {dialects: []string{"openai"}, vendor: "old", obeys: []string{"max_tokens"}},
		"both":                       {dialects: []string{"openai", "anthropic"}, vendor: "openai", obeys: []string{"max_tokens", "max_completion_tokens"}},
		"both, and all of them fail": {dialects: []string{"openai", "anthropic"}, vendor: "openai", obeys: []string{"max_tokens", "max_completion_tokens"}, kills: true, cuts: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			theirs, ours := &greedy{cuts: c.cuts}, &greedyChat{cuts: c.cuts, obeys: c.obeys}
			mux := http.NewServeMux()
			mux.Handle("/v1/messages", theirs)
			mux.Handle("/v1/chat/completions", ours)
			env := pgtest.Database(t)
			priceOf(t, env, "old")
			w := newWorldIn(t, env, mux, func(c *gateway.Config) { c.Times.Wait = 500 * time.Millisecond })
			w.chatProvider("chat", w.vendor, c.vendor, vendorKey)
			const limit = 1_500_000_007
			w.limitWorkspace(limit)
			agents := make([]*agent, 20)
			for i := range agents {
				agents[i] = w.run(0)
			}
			unwatch := w.watchLimit(t)
			through := race(t, agents, 20, 60, c.kills, c.dialects...)
			unwatch()
			for _, a := range agents {
				a.settled()
			}
			one, n := theirs.books()
			two, m := ours.books()
			billed, served, sum := one+two, n+m, w.sum()
			if billed > limit || sum > limit || sum < billed {
				t.Errorf("limit %v: the vendors billed %v, the ledger says %v", corp.Nanodollars(limit), billed, sum)
			}
			if !c.kills && (sum != billed || through != int64(served)) {
				t.Errorf("nothing broke off: the vendors billed %v for %d calls, the ledger says %v for %d", billed, served, sum, through)
			}
			if through == 0 || !c.kills && sum < limit/2 {
				t.Errorf("only %v of %v was used, in %d calls", sum, corp.Nanodollars(limit), through)
			}
		})
	}
}

// priceOf gives a vendor gpt-4o at the price of its own vendor.
func priceOf(t *testing.T, env *pgtest.Env, vendor string) {
	t.Helper()
	p, err := corp.PriceSpec{Vendor: vendor, Model: "gpt-4o", Input: gptIn * 1000, CacheRead: new(corp.Picodollars(gptRead * 1000)), Output: gptOut * 1000, ContextWindow: 128_000, MaxOutput: 16_384}.Price(time.Now())
	if err == nil {
		_, err = env.DB.System("test").AddPrice(t.Context(), p)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestChatLedgerAgreesWithTheVendorsBooks(t *testing.T) {
	t.Parallel()
	vendor := simulated(t, `
  - {name: cached, match: {prompt: cached}, reply: {thinking: hm, text: short, usage: {input: 12, cache_read: 1000, cache_write_5m: 300, output: 50}}}
  - {name: tools, match: {prompt: tools}, reply: {text_bytes: 900, tool_calls: [{name: a, input: {b: c}}]}}
`)
	a := newChatWorld(t, vendor).run(corp.Dollar)
	padding := strings.Repeat("x", 2000) // a real prompt is never longer in tokens than in bytes
	var bodies []string
	for _, prompt := range []string{"cached", "tools"} {
		for _, more := range []string{`"stream":false`, streams, streams + `,"stream_options":{"include_usage":true}`, streams + `,"n":3`, `"n":2`} {
			bodies = append(bodies, asking("chat/gpt-4o", prompt+padding, `"max_tokens":1000`, more))
		}
	}
	for _, body := range bodies {
		if got := a.chat(body); got.status != 200 {
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
	var sum, theirs corp.Nanodollars
	booked := books(t, vendor, len(bodies))
	for i, c := range a.calls(len(bodies)) {
		b := booked.Calls[i]
		if c.Usage != usageOf(b.Usage) || c.Cost != gpt(c.Usage) || c.Outcome != corp.CallOK || c.Estimated || c.UpstreamRequestID != b.RequestID || c.Dialect != corp.DialectOpenAI || b.Dialect != vendorsim.DialectChat {
			t.Errorf("%s\n%+v\nbooked %+v", bodies[i], c, b)
		}
		if c.Reserved < c.Cost || len(c.RawUsage) == 0 || c.PriceID.IsZero() || c.StopReason == "" || c.ModelServed != "gpt-4o" {
			t.Errorf("%+v", c)
		}
		sum, theirs = sum+c.Cost, theirs+gpt(usageOf(b.Usage))
	}
	if b, _ := a.settled(); b.Spent != sum || sum != theirs || booked.Dialects[vendorsim.DialectChat] != booked.Total {
		t.Errorf("%v spent, the calls cost %v, the vendor billed %v", b.Spent, sum, theirs)
	}
}

func TestAChatAnswerWithoutItsCountIsEstimatedAtItsBound(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		reply   string
		outcome corp.CallOutcome
		detail  string
	}{
		"a server that never tells": {"{text: hello, usage: {input: 5, output: 5, hidden: true}}", corp.CallOK, "without its count"},
		"cut in the middle":         {"{text_bytes: 4000}, faults: [{kind: cut, after_events: 9}]", corp.CallCut, ""},
		"an error in the stream":    {"{text_bytes: 4000}, faults: [{kind: error, after_events: 9}]", corp.CallCut, "server_error"},
	} {
		vendor := simulated(t, "  - {name: a, reply: "+c.reply+"}\n")
		a := newChatWorld(t, vendor).run(corp.Dollar)
		got := a.chat(asking("chat/gpt-4o", "hi", `"max_tokens":1500`, streams))
		call := a.only()
		if call.Outcome != c.outcome || !call.Estimated || call.Cost != call.Reserved || !strings.Contains(call.Detail, c.detail) {
			t.Errorf("%s: %+v", name, call)
		}
		if (got.err != nil) != (name == "cut in the middle") || strings.Contains(string(got.body), "prompt_tokens") {
			t.Errorf("%s: %v %s", name, got.err, got.body)
		}
		if booked := books(t, vendor, 1).Calls[0]; gpt(usageOf(booked.Usage)) > call.Cost {
			t.Errorf("%s: billed %v, the ledger says %v", name, gpt(usageOf(booked.Usage)), call.Cost)
		}
	}
}

func TestAChatClientThatHangsUpIsDrainedAndBilled(t *testing.T) {
	t.Parallel()
	vendor := simulated(t, "  - {name: long, reply: {text_bytes: 4000, pace: {chunk: 100, between: 50ms}}}\n") // two seconds, in which the client leaves
	a := newChatWorld(t, vendor, unhurried).run(corp.Dollar)
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	response, err := http.DefaultClient.Do(a.chatRequest(ctx, asking("chat/gpt-4o", "hi", `"max_tokens":2000`, streams)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(response.Body).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	hangUp()
	_ = response.Body.Close()
	c, booked := a.only(), books(t, vendor, 1).Calls[0]
	if c.Usage != usageOf(booked.Usage) || c.Usage.Output != 1000 || c.Cost != gpt(c.Usage) || c.Estimated || c.Outcome != corp.CallHungUp {
		t.Errorf("%+v\nbooked %+v", c, booked)
	}
}

func TestTheChatCapSinksUnderTheNameThatTheVendorObeys(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ vendor, more, want string }{
		{"openai", `"max_tokens":16000`, `{"model":"gpt-4o","max_tokens":%d,"messages"`},
		{"openai", `"max_completion_tokens":16000`, `{"model":"gpt-4o","max_completion_tokens":%d,"messages"`},
		{"openai", `"x":1`, `{"max_completion_tokens":%d,"model":"gpt-4o","x":1,"messages"`},
		{"old", `"x":1`, `{"max_tokens":%d,"model":"gpt-4o","x":1,"messages"`},
		{"old", `"max_completion_tokens":16000`, `{"max_tokens":%d,"model":"gpt-4o","max_completion_tokens":%[1]d,"messages"`},
		{"old", `"max_completion_tokens":1100`, `{"max_tokens":1100,"model":"gpt-4o","max_completion_tokens":1100,"messages"`},
		{"openai", `"max_tokens":8000,"n":2`, `{"model":"gpt-4o","max_tokens":%d,"n":2,"messages"`},
	} {
		vendor := &recording{answer: chatAnswer}
		env := pgtest.Database(t)
		priceOf(t, env, "old")
		w := newWorldIn(t, env, vendor)
		w.chatProvider("chat", w.vendor, c.vendor, vendorKey)
		a := w.run(40_000_000)
		body := asking("chat/gpt-4o", "hi", c.more)
		if got := a.chat(body); got.status != 200 {
			t.Fatalf("%d %s", got.status, got.body)
		}
		_, sent := vendor.last(t)
		// The prompt's bound is its bytes and 512 more; the rest of $0.04 buys $10 a million.
		most := (40_000_000 - int64(len(body)+512)*gptIn) / gptOut
		if strings.Contains(c.more, `"n":2`) {
			most /= 2
		}
		matches := strings.HasPrefix(string(sent), c.want)
		for _, n := range []int64{most, most - 1} {
			matches = matches || strings.Contains(c.want, "%d") && strings.HasPrefix(string(sent), fmt.Sprintf(c.want, n))
		}
		if !matches {
			t.Errorf("%s for %s, at most %d: %s", c.more, c.vendor, most, sent)
		}
		if call := a.only(); !cmp.Equal(call.Edits, []string{"credential", "model", "output_cap"}) || call.Reserved > 40_000_000 {
			t.Errorf("%+v", call)
		}
	}
}

func TestAPriceThatAnOperatorAddsMakesALocalModelUsableUnderALimit(t *testing.T) {
	t.Parallel()
	vendor := &recording{answer: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, strings.Replace(chatJSON, "gpt-4o-2024-08-06", "qwen3-coder:30b", 1))
	}}
	w := newWorldIn(t, pgtest.Database(t), vendor, func(c *gateway.Config) { c.Times.Prices = time.Hour })
	w.chatProvider("ollama", w.vendor+"/v1", "ollama", "")
	body := asking("ollama/qwen3-coder:30b", "hi", `"max_tokens":50`)
	limited := w.run(corp.Dollar)
	if got := limited.chat(body); got.status != http.StatusNotFound || !strings.Contains(string(got.body), "no known price") {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := w.run(0).chat(body); got.status != 200 {
		t.Errorf("without a limit: %d %s", got.status, got.body)
	}
	if up, _ := vendor.last(t); up.Header["Authorization"] != nil || up.Header["X-Api-Key"] != nil {
		t.Errorf("a server without a key got %v", up.Header)
	}
	p, err := corp.PriceSpec{Vendor: "ollama", Model: "qwen3-coder:30b"}.Price(time.Now())
	if err == nil {
		_, err = w.env.DB.System("test").AddPrice(t.Context(), p)
	}
	if err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, patience, "the gateway to look for a price that it lacks", func(context.Context) bool { return w.run(corp.Dollar).chat(body).status == 200 })
	a := w.run(corp.Dollar)
	if got := a.chat(body); got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if c := a.only(); c.Cost != 0 || c.Estimated || c.PriceID != p.ID || c.Usage.Output == 0 {
		t.Errorf("%+v", c)
	}
}

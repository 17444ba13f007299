package vendorsim

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

func TestFiftyConversationsAtOnceEachMeetTheirOwnFaults(t *testing.T) {
	t.Parallel()
	v := start(t, Options{}, example(t))
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			body := ask(fmt.Sprintf("[busy] number %d", i), streaming)
			var statuses []int
			for range 5 {
				answer := v.post(t, body)
				statuses = append(statuses, answer.status)
				if (answer.header.Get("Retry-After") == "1") != (answer.status == 429) {
					t.Errorf("status %d with retry-after %q", answer.status, answer.header.Get("Retry-After"))
				}
			}
			if !slices.Equal(statuses, []int{429, 503, 529, 200, 200}) {
				t.Errorf("conversation %d met %v", i, statuses)
			}
		})
	}
	wg.Wait()
	if total := v.Books().Total; total.Calls != 250 {
		t.Errorf("%d calls in the books", total.Calls)
	}
}

func TestAnotherKeyIsAnotherConversation(t *testing.T) {
	t.Parallel()
	v := start(t, Options{}, example(t))
	for _, key := range []string{"sk-one-0123456789", "sk-two-0123456789"} {
		r := request(t.Context(), http.MethodPost, v.url+"/v1/messages", ask("[busy]"))
		r.Header.Set("X-Api-Key", key)
		if answer := v.do(t, r); answer.status != 429 {
			t.Errorf("%s: status %d", key, answer.status)
		}
	}
}

func TestSharedCountersStrikeSoManyTimesOverAllConversations(t *testing.T) {
	t.Parallel()
	v := start(t, Options{}, load(t, "name: x\ncounters: scenario\nrules: [{name: a, reply: {text: ok}, faults: [{kind: status, status: 500, times: 7}]}]"))
	var wg sync.WaitGroup
	var mu sync.Mutex
	met := map[int]int{}
	for i := range 50 {
		wg.Go(func() {
			answer := v.post(t, ask(fmt.Sprint(i)))
			mu.Lock()
			defer mu.Unlock()
			met[answer.status]++
		})
	}
	wg.Wait()
	if met[500] != 7 || met[200] != 43 {
		t.Errorf("met %v", met)
	}
}

func TestTheCountersForgetTheOldestConversationFirst(t *testing.T) {
	t.Parallel()
	var c counters
	for i := range maxCounters + 1 {
		c.remember(counterKey{fault: i})
		c.used[counterKey{fault: i}] = 1
	}
	if _, ok := c.used[counterKey{}]; ok || len(c.used) != maxCounters || len(c.order) != maxCounters {
		t.Errorf("%d counters, %d in order, the oldest kept: %v", len(c.used), len(c.order), ok)
	}
}

func TestErrorStatusesHaveTheVendorsBodyAndCostNothing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		prompt, kind, message string
		status                int
	}{
		{"[broke]", "billing_error", "Your credit balance is too low", 402},
		{"[forbidden]", "authentication_error", "Revoked.", 401},
		{"[busy]", "rate_limit_error", "rate limit", 429},
	} {
		v := start(t, Options{}, example(t))
		answer := v.post(t, ask(c.prompt, streaming))
		id := answer.header.Get("Request-Id")
		if answer.status != c.status || !strings.Contains(string(answer.body), `{"type":"error","error":{"type":"`+c.kind+`","message":"`) ||
			!strings.Contains(string(answer.body), c.message) || !strings.HasSuffix(string(answer.body), `"request_id":"`+id+`"}`) {
			t.Errorf("%s: %d %s", c.prompt, answer.status, answer.body)
		}
		if got := v.Books(); got.Total.Usage != (Usage{}) || got.Calls[0].Outcome != OutcomeRefused || got.Calls[0].RequestID != id || got.Calls[0].Fault != "status" {
			t.Errorf("%s: books %+v", c.prompt, got)
		}
	}
}

func TestAResetComesBeforeAnyHeader(t *testing.T) {
	t.Parallel()
	v := start(t, Options{}, example(t))
	answer := v.post(t, ask("[reset]"))
	if !errors.Is(answer.err, syscall.ECONNRESET) && !errors.Is(answer.err, io.EOF) {
		t.Errorf("got status %d, error %v", answer.status, answer.err)
	}
	if answer := v.post(t, ask("[reset]")); answer.status != 200 {
		t.Errorf("the second time: %d", answer.status)
	}
	if c := v.Books().Calls[0]; c.Outcome != OutcomeReset || c.Status != 0 || c.Usage != (Usage{}) {
		t.Errorf("books: %+v", c)
	}
}

func TestAnAnswerCutAnywhereIsBilledForInputAndWhatCameOut(t *testing.T) {
	t.Parallel()
	whole := start(t, Options{}, echo(t, "{text_bytes: 400, pace: {chunk: 16}}")).post(t, ask("x", streaming))
	events := strings.Count(string(whole.body), "\n\n")
	for _, place := range []struct {
		what string
		max  int
		step int
	}{{"after_events", events, 1}, {"after_bytes", len(whole.body), 97}} {
		for n := 0; n < place.max; n += place.step {
			v := start(t, Options{}, load(t, fmt.Sprintf("name: x\nrules: [{name: a, reply: {text_bytes: 400, pace: {chunk: 16}}, faults: [{kind: cut, %s: %d, times: 1}]}]", place.what, n)))
			answer := v.post(t, ask("x", streaming))
			d := decodeStream(t, answer.body)
			if !errors.Is(answer.err, io.ErrUnexpectedEOF) || d.ended {
				t.Fatalf("%s %d: error %v, ended %v", place.what, n, answer.err, d.ended)
			}
			if place.what == "after_bytes" && len(answer.body) != n {
				t.Errorf("cut at %d, got %d bytes", n, len(answer.body))
			}
			checkCut(t, fmt.Sprint(place.what, " ", n), v, d)
			if again := v.post(t, ask("x", streaming)); again.err != nil || !decodeStream(t, again.body).ended {
				t.Errorf("the second time: %v", again.err)
			}
		}
	}
}

func checkCut(t *testing.T, what string, v *vendor, d *decoded) {
	t.Helper()
	seen := 0
	if len(d.Content) > 0 {
		seen = len(d.Content[0].Text)
	}
	want := Usage{Output: tokensOf(seen)}
	if len(d.events) > 0 && d.events[0] == "message_start" { // half an event is none
		want.Output = max(1, want.Output)
	}
	want.Input = 1
	c := v.Books().Calls[0]
	if c.Outcome != OutcomeCut || c.Usage != want || c.StopReason != "" {
		t.Errorf("%s: client saw %d bytes, books say %+v", what, seen, c)
	}
}

func TestACutBeyondTheEndIsNone(t *testing.T) {
	t.Parallel()
	v := start(t, Options{}, load(t, "name: x\nrules: [{name: a, reply: {text: hello}, faults: [{kind: cut, after_bytes: 100000}]}]"))
	for _, more := range []string{streaming, `"stream":false`} {
		if answer := v.post(t, ask("x", more)); answer.err != nil || answer.status != 200 {
			t.Errorf("%s: %+v", more, answer)
		}
	}
	for _, c := range v.Books().Calls {
		if c.Outcome != OutcomeComplete || c.StopReason != "end_turn" {
			t.Errorf("books: %+v", c)
		}
	}
}

func TestAWholeMessageBreaksTooAndIsBilledInFull(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fault   string
		broken  bool
		outcome Outcome
		status  int
		output  int64
	}{
		{"{kind: cut, after_events: 2}", true, OutcomeCut, 200, 100},
		{"{kind: cut, after_bytes: 20}", true, OutcomeCut, 200, 100},
		{"{kind: malformed}", false, OutcomeComplete, 200, 100},
		{"{kind: error}", false, OutcomeRefused, 529, 0},
	} {
		v := start(t, Options{}, load(t, "name: x\nrules: [{name: a, reply: {text_bytes: 400}, faults: ["+c.fault+"]}]"))
		answer := v.post(t, ask("x"))
		if (answer.err != nil) != c.broken || answer.status != c.status {
			t.Errorf("%s: status %d, error %v", c.fault, answer.status, answer.err)
		}
		if got := v.Books().Calls[0]; got.Outcome != c.outcome || got.Usage.Output != c.output || got.Status != c.status {
			t.Errorf("%s: books %+v", c.fault, got)
		}
	}
}

func TestAMalformedEventIsFollowedByTheRestOfTheAnswer(t *testing.T) {
	t.Parallel()
	v := start(t, Options{}, example(t))
	d := decodeStream(t, v.post(t, ask("[malformed]", streaming)).body)
	if !slices.Contains(d.events, "broken content_block_delta") || d.Content[0].Text != "Broken once." || !d.ended {
		t.Errorf("events %v", d.events)
	}
	if again := decodeStream(t, v.post(t, ask("[malformed]", streaming)).body); slices.Contains(again.events, "broken content_block_delta") {
		t.Error("it struck twice")
	}
}

func TestAnErrorEventEndsTheStream(t *testing.T) {
	t.Parallel()
	v := start(t, Options{}, example(t))
	answer := v.post(t, ask("[error]", streaming))
	d := decodeStream(t, answer.body)
	if answer.err != nil || d.failure != "overloaded_error" || d.ended || d.events[len(d.events)-1] != "error" {
		t.Errorf("error %v, events %v", answer.err, d.events)
	}
	if c := v.Books().Calls[0]; c.Outcome != OutcomeError || c.Usage.Output != tokensOf(len(d.Content[0].Text)) {
		t.Errorf("books: %+v", c)
	}
}

func TestAStreamThatHangsOrNeverEndsLastsUntilTheClientGoes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		prompt, until string
		maxTokens     int64
	}{
		{"[hang]", "event: ping\ndata: {\"type\": \"ping\"}\n\nevent: ping", 4096},
		{"[endless]", "On and on. ", 4096},
		{"[endless]", "event: ping", 10},
	} {
		t.Run(c.prompt+fmt.Sprint(c.maxTokens), func(t *testing.T) {
			t.Parallel()
			v := start(t, Options{}, example(t))
			body := strings.Replace(ask(c.prompt, streaming), "4096", fmt.Sprint(c.maxTokens), 1)
			r, cancel := v.cancellable(t, body)
			resp, err := v.client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var seen []byte
			buf := make([]byte, 4096)
			for !strings.Contains(string(seen), c.until) {
				n, err := resp.Body.Read(buf)
				if err != nil {
					t.Fatalf("it ended with %v after %s", err, seen)
				}
				seen = append(seen, buf[:n]...)
			}
			cancel()
			eventually(t, "the call is booked", func() bool { return len(v.Books().Calls) == 1 })
			got := v.Books().Calls[0]
			atLeast := tokensOf(len(decodeStream(t, seen).Content[0].Text)) - 1
			if got.Outcome != OutcomeHungUp || got.Usage.Output > c.maxTokens || got.Usage.Output < max(1, atLeast) || got.Usage.Input == 0 {
				t.Errorf("at least %d expected, books: %+v", atLeast, got)
			}
		})
	}
}

func TestAWholeMessageThatHangsNeverComes(t *testing.T) {
	t.Parallel()
	v := start(t, Options{}, example(t))
	r, cancel := v.cancellable(t, ask("[hang]"))
	done := make(chan error)
	go func() {
		_, err := v.client.Do(r)
		done <- err
	}()
	eventually(t, "the request arrived", func() bool { return len(v.Requests(-1)) == 1 })
	cancel()
	if err := <-done; err == nil {
		t.Error("it answered")
	}
	eventually(t, "the call is booked", func() bool { return len(v.Books().Calls) == 1 })
	if c := v.Books().Calls[0]; c.Outcome != OutcomeHungUp || c.Usage.Output != 100 {
		t.Errorf("books: %+v", c)
	}
}

func TestAClientThatHangsUpPaysAsTheScenarioSays(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		policy string
		full   bool
	}{{"finish", true}, {"stop", false}} {
		v := start(t, Options{}, echo(t, "{text_bytes: 4000, on_hangup: "+c.policy+", pace: {between: 1h, chunk: 40}}"))
		r, cancel := v.cancellable(t, ask("x", streaming))
		resp, err := v.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		resp.Body.Close()
		eventually(t, "the call is booked", func() bool { return len(v.Books().Calls) == 1 })
		got := v.Books().Calls[0]
		if got.Outcome != OutcomeHungUp || got.Usage.Input != 1 || (got.Usage.Output == 1000) != c.full || (!c.full && got.Usage.Output != 1) {
			t.Errorf("%s: books %+v", c.policy, got)
		}
	}
}

func TestAnAbruptlyClosedConnectionIsBookedOnce(t *testing.T) {
	t.Parallel()
	v := start(t, Options{}, echo(t, "{text_bytes: 50000000, pace: {chunk: 4096}}"))
	conn, err := net.Dial("tcp", strings.TrimPrefix(v.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	body := strings.Replace(ask("x", streaming), "4096", "64000000", 1)
	fmt.Fprintf(conn, "POST /v1/messages HTTP/1.1\r\nHost: x\r\nX-Api-Key: k\r\nAnthropic-Version: 2023-06-01\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	if _, err := io.ReadFull(conn, make([]byte, 10_000)); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	eventually(t, "the call is booked", func() bool { return v.Books().Total.Calls == 1 })
	if c := v.Books().Calls[0]; c.Outcome != OutcomeHungUp || c.Usage.Output != 12_500_000 {
		t.Errorf("books: %+v", c)
	}
}

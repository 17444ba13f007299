package builtin

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/runner/acp"
)

func testLogger() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestATaskIsReadEditedTestedAndTold(t *testing.T) {
	t.Parallel()
	thinking := "Let me look at it first."
	edit := tu("edit", obj{"path": "add.sh", "old": "expr $1 - $2", "new": "expr $1 + $2"})
	v := newVendorScript(t,
		answers(stoppedTools, block{Type: blockThinking, Thinking: &thinking, Signature: "sig=="}, block{Type: blockText, Text: "I look first."},
			tu("read", obj{"path": "add.sh"}), tu("list", obj{}), tu("plan", obj{"entries": []obj{{"content": "fix", "status": "in_progress"}}})),
		calls(edit, tu("run", obj{"command": "test \"$(sh add.sh 2 3)\" = 5 && echo passed"})),
		says("Fixed, and tested."),
	)
	a := start(t, bench(t, map[string]string{"add.sh": "expr $1 - $2\n"}), v.URL, nil)
	claim, out := a.prompt("Fix add.sh")
	if claim != acp.StopEndTurn || out.Reason != "" || out.Calls != 3 || out.Usage != (corp.Usage{FreshInput: 300, CacheRead: 90, CacheWriteShort: 60, Output: 150}) {
		t.Errorf("ended with %s, %+v", claim, out)
	}
	if got := content(t, a.w, "add.sh"); got != "expr $1 + $2\n" {
		t.Errorf("file = %q", got)
	}
	if got := text(t, a.told("agent_message_chunk")); got != "I look first.Fixed, and tested." {
		t.Errorf("said %q", got)
	}
	if got := text(t, a.told("agent_thought_chunk")); got != thinking {
		t.Errorf("thought %q", got)
	}
	if got := a.told("plan"); len(got) != 1 || got[0].Entries[0].Content != "fix" {
		t.Errorf("plan = %+v", got)
	}
	if got := a.told("usage_update"); len(got) != 3 || got[0].Used != 200 || got[0].Size != DefaultContextWindow {
		t.Errorf("usage = %+v", got)
	}
	requests := v.calls()
	if requests[0].Model != "sim/model" || requests[0].MaxTokens != DefaultMaxTokens || len(requests[0].Tools) != 7 {
		t.Errorf("request = %+v", requests[0])
	}
	if h := v.headers[0]; h.Get("X-Api-Key") != "gc_run_secret" || h.Get("Anthropic-Version") != dialectVersion {
		t.Errorf("headers = %v", h)
	}
	first := requests[1].Messages[1].Content[0]
	if first.Type != blockThinking || *first.Thinking != thinking || first.Signature != "sig==" {
		t.Errorf("the thinking went back as %+v", first)
	}
	prompt := requests[0].System[0].Text + requests[0].System[1].Text + requests[0].System[2].Text
	for _, want := range []string{"Do not touch .git", "You are the tester.", "Checkout: " + a.w.checkout.dir, "Date: 2026-11-22"} {
		if !strings.Contains(prompt, want) {
			t.Errorf("the system prompt lacks %q", want)
		}
	}
	if got := lastResults(v); !strings.Contains(got[1].Content, "passed\n[exit code 0]") {
		t.Errorf("the test run gave %+v", got)
	}
	checkCalls(t, a, edit.ID)
}

// checkCalls looks at how the tool calls of the task above were told.
func checkCalls(t *testing.T, a *agentRun, editID string) {
	t.Helper()
	status := map[string]string{}
	kinds := map[string]string{}
	for _, u := range a.told("tool_call", "tool_call_update") {
		if u.Kind == "tool_call" {
			kinds[u.Title] = u.ToolKind
			if status[u.ToolCallID] != "" || u.Status != "in_progress" {
				t.Errorf("tool call began as %+v", u)
			}
		}
		status[u.ToolCallID] = u.Status
		if u.ToolCallID != editID {
			continue
		}
		if u.Kind == "tool_call" && (len(u.Locations) != 1 || u.Locations[0].Path != a.w.checkout.dir+"/add.sh") {
			t.Errorf("edit is at %+v", u.Locations)
		}
		if u.Kind == "tool_call_update" {
			var diffs []diff
			if err := json.Unmarshal(u.Content, &diffs); err != nil || len(diffs) != 1 || diffs[0].New != "expr $1 + $2\n" || *diffs[0].Old != "expr $1 - $2\n" {
				t.Errorf("edit's content = %s, %v", u.Content, err)
			}
		}
	}
	for id, s := range status {
		if s != "completed" {
			t.Errorf("tool call %s is %s", id, s)
		}
	}
	want := map[string]string{"Read add.sh": "read", "List .": "read", "Plan": "think", "Edit add.sh": "edit", `test "$(sh add.sh 2 3)" = 5 && echo passed`: "execute"}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Errorf("tool calls (-want +got):\n%s", diff)
	}
}

func TestCacheBreakpointsFollowTheConversation(t *testing.T) {
	t.Parallel()
	v := newVendorScript(t, calls(tu("list", obj{})), calls(tu("read", obj{"path": "a"})), calls(tu("read", obj{"path": "b"})), says("done"))
	a := start(t, bench(t, map[string]string{"a": "1", "b": "2"}), v.URL, nil)
	a.prompt("go")
	for n, r := range v.calls() {
		var marked []int
		for i, m := range r.Messages {
			if m.Content[len(m.Content)-1].Cache != nil {
				marked = append(marked, i)
			}
		}
		last := len(r.Messages) - 1
		want := []int{last - 2, last}
		if n == 0 {
			want = []int{0}
		}
		if diff := cmp.Diff(want, marked); diff != "" || r.System[len(r.System)-1].Cache == nil {
			t.Errorf("call %d is marked at %v, want %v", n, marked, want)
		}
	}
}

func TestReadingCallsRunSideBySideAndChangingOnesInOrder(t *testing.T) {
	t.Parallel()
	var running, most, order atomic.Int64
	both := make(chan struct{})
	tools := []tool{
		define("look", "", `{}`, func(_ *workbench, _ struct{}) call {
			return call{reads: true, do: func(ctx context.Context) result {
				if running.Add(1) == 3 {
					close(both) // three are here at once
				}
				select {
				case <-both:
				case <-ctx.Done():
				}
				most.Store(max(most.Load(), running.Load()))
				running.Add(-1)
				return result{text: "seen"}
			}}
		}),
		define("change", "", `{}`, func(_ *workbench, _ struct{}) call {
			return call{do: func(context.Context) result {
				if n := running.Load(); n != 0 {
					return result{failed: true, text: fmt.Sprintf("%d calls run beside", n)}
				}
				return result{text: fmt.Sprint("change ", order.Add(1)), changed: true}
			}}
		}),
	}
	turn := &turn{tools: tools, bench: &workbench{}, repeats: newRepeats(), teller: &teller{send: func(context.Context, string, any) error { return nil }}}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	uses := []block{tu("change", obj{}), tu("look", `{"a":1}`), tu("look", `{"a":2}`), tu("look", `{"a":3}`), tu("change", `{"b":1}`), tu("change", `{"b":2}`)}
	results, end := turn.carryOut(ctx, uses, false)
	var got []string
	for i, r := range results {
		got = append(got, r.Content)
		if r.ToolUseID != uses[i].ID {
			t.Errorf("result %d answers %s", i, r.ToolUseID)
		}
	}
	want := []string{"change 1", "seen", "seen", "seen", "change 2", "change 3"}
	if diff := cmp.Diff(want, got); diff != "" || end != nil || ctx.Err() != nil {
		t.Errorf("end %v, ctx %v (-want +got):\n%s", end, ctx.Err(), diff)
	}
}

func TestTheReasonOfAnEndIsClear(t *testing.T) {
	t.Parallel()
	looping := calls(block{Type: blockToolUse, ID: "toolu_same", Name: "read", Input: json.RawMessage(`{"path":"a"}`)})
	for _, c := range []struct {
		name    string
		replies []reply
		change  func(*Config)
		claim   acp.StopReason
		reason  corp.Reason
		detail  string
		calls   int // of the vendor
	}{
		{"budget", []reply{fails(402, "billing_error", "The run's budget of $0.10 is used up.")}, nil, acp.StopRefusal, corp.ReasonBudget, "The budget is used up: The run's budget of $0.10 is used up. (status 402).", 1},
		{"key", []reply{fails(401, "authentication_error", "invalid x-api-key")}, nil, acp.StopRefusal, corp.ReasonProviderKey, "invalid x-api-key", 1},
		{"permission", []reply{fails(403, "permission_error", "no")}, nil, acp.StopRefusal, corp.ReasonProviderKey, "no", 1},
		{"model", []reply{fails(404, "not_found_error", "model: sim/model")}, nil, acp.StopRefusal, corp.ReasonModelUnknown, `"sim/model" is unknown`, 1},
		{"wrong address", []reply{func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "404 page not found", http.StatusNotFound) }}, nil, acp.StopRefusal, corp.ReasonProviderRejected, "404 page not found", 1},
		{"rejected", []reply{fails(400, "invalid_request_error", "temperature: bad")}, nil, acp.StopRefusal, corp.ReasonProviderRejected, "temperature: bad", 1},
		{"too long", []reply{fails(400, "invalid_request_error", "prompt is too long: 212345 tokens > 200000 maximum")}, nil, acp.StopMaxTokens, corp.ReasonStepLimit, "too long for the model", 1},
		{"too large", []reply{fails(413, "request_too_large", "Request exceeds the maximum size")}, nil, acp.StopMaxTokens, corp.ReasonStepLimit, "too long for the model", 1},
		{"overloaded for ever", []reply{fails(529, "overloaded_error", "Overloaded")}, nil, acp.StopRefusal, corp.ReasonProviderDown, "Overloaded (status 529). It was tried 4 times.", 4},
		{"down for ever", []reply{fails(503, "api_error", "")}, nil, acp.StopRefusal, corp.ReasonProviderDown, "Service Unavailable", 4},
		{"cut for ever", []reply{breaksOff("half", tu("write", obj{"path": "made", "content": "x"}))}, nil, acp.StopRefusal, corp.ReasonProviderDown, "the stream ended in the middle of the answer", 4},
		{"no retry wanted", []reply{fails(500, "api_error", "broken", "X-Should-Retry", "false")}, nil, acp.StopRefusal, corp.ReasonProviderRejected, "broken", 1},
		{"retry after too long", []reply{fails(429, "rate_limit_error", "slow down", "Retry-After", "3600")}, nil, acp.StopRefusal, corp.ReasonProviderDown, "slow down", 1},
		{"refusal", []reply{answers(stoppedRefusal, block{Type: blockText, Text: "no"})}, nil, acp.StopRefusal, corp.ReasonRefused, "declined", 1},
		{"window, says the vendor", []reply{answers(stoppedWindow, block{Type: blockText, Text: "x"})}, nil, acp.StopMaxTokens, corp.ReasonStepLimit, "no room for an answer", 1},
		{"window, says the count", []reply{calls(tu("list", obj{}))}, func(c *Config) { c.ContextWindow = 1200; c.MaxTokens = 1000 }, acp.StopMaxTokens, corp.ReasonStepLimit, "no room for an answer in the model's window of 1200", 0},
		{"turns", []reply{calls(tu("list", obj{}))}, func(c *Config) { c.MaxTurns = 2 }, acp.StopMaxTurns, corp.ReasonStepLimit, "made 2 model calls", 2},
		{"loop", []reply{looping}, nil, acp.StopMaxTurns, corp.ReasonStepLimit, "same call of read with the same result 6 times", 6},
		{"output limit", []reply{answers(stoppedTokens, block{Type: blockText, Text: "and so on"})}, nil, acp.StopMaxTokens, corp.ReasonStepLimit, "4 times in a row", 4},
		{"error in the stream", []reply{func(w http.ResponseWriter, _ *http.Request) {
			begin(w)
			event(w, "error", obj{"error": obj{"type": "invalid_request_error", "message": "bad"}})
		}}, nil, acp.StopRefusal, corp.ReasonProviderRejected, "bad (invalid_request_error)", 1},
		{"overloaded in the stream", []reply{func(w http.ResponseWriter, _ *http.Request) {
			begin(w)
			event(w, "error", obj{"error": obj{"type": "overloaded_error", "message": "Overloaded"}})
		}}, nil, acp.StopRefusal, corp.ReasonProviderDown, "Overloaded", 4},
		{"malformed for ever", []reply{func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("data: {\"type\":\n\n")) }}, nil, acp.StopRefusal, corp.ReasonProviderDown, "malformed", 4},
		{"deltas out of nowhere", []reply{func(w http.ResponseWriter, _ *http.Request) {
			event(w, "content_block_delta", obj{"index": 3, "delta": obj{"type": "text_delta", "text": "x"}})
		}}, nil, acp.StopRefusal, corp.ReasonProviderDown, "has not begun", 4},
		{"overloaded, and tried once", []reply{fails(529, "overloaded_error", "Overloaded")}, func(c *Config) { c.Patience.Tries = 1 }, acp.StopRefusal, corp.ReasonProviderDown, "Overloaded (status 529).", 1},
		{"silent for ever", []reply{func(w http.ResponseWriter, r *http.Request) { begin(w); <-r.Context().Done() }}, func(c *Config) { c.Patience.Idle, c.Patience.Tries = time.Second, 2 }, acp.StopRefusal, corp.ReasonProviderDown, "nothing arrived for too long", 2},
		{"redirected", []reply{func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(http.StatusFound)
		}}, nil, acp.StopRefusal, corp.ReasonProviderRejected, "Found (status 302)", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			v := newVendorScript(t, c.replies...)
			a := start(t, bench(t, map[string]string{"a": "x"}), v.URL, c.change)
			claim, out := a.prompt("go")
			if claim != c.claim || out.Reason != c.reason || !strings.Contains(out.Detail, c.detail) || strings.Contains(out.Detail, " 1 times") {
				t.Errorf("ended with %s, %+v; want %s, %s, %q", claim, out, c.claim, c.reason, c.detail)
			}
			if got := len(v.calls()); got != c.calls {
				t.Errorf("%d model calls, want %d", got, c.calls)
			}
			if r := use(t, a.w, "read", obj{"path": "made"}); !r.failed {
				t.Error("a call of an answer that was cut off was carried out")
			}
		})
	}
}

func TestAnUnreachableGatewayIsProviderUnavailable(t *testing.T) {
	t.Parallel()
	v := newVendorScript(t, says("x"))
	v.Close()
	a := start(t, bench(t, nil), v.URL, nil)
	if claim, out := a.prompt("go"); claim != acp.StopRefusal || out.Reason != corp.ReasonProviderDown || !strings.Contains(out.Detail, "connection refused") {
		t.Errorf("ended with %s, %+v", claim, out)
	}
}

func TestPassingTroubleIsSatOutAndNothingIsDoneTwice(t *testing.T) {
	t.Parallel()
	for name, trouble := range map[string]reply{
		"429":       fails(429, "rate_limit_error", "slow down", "Retry-After", "0.01"),
		"503":       fails(503, "api_error", "down"),
		"529":       fails(529, "overloaded_error", "Overloaded"),
		"cut":       breaksOff("I will", tu("run", obj{"command": "echo again >> log"})),
		"reset":     func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"malformed": func(w http.ResponseWriter, _ *http.Request) { begin(w); _, _ = w.Write([]byte("data: [1,\n\n")) },
		"in stream": func(w http.ResponseWriter, _ *http.Request) {
			event(w, "error", obj{"error": obj{"type": "api_error"}})
		},
		"no last event": func(w http.ResponseWriter, _ *http.Request) {
			begin(w)
			writeBlock(w, 0, tu("run", obj{"command": "echo again >> log"}))
			event(w, "message_delta", obj{"delta": obj{"stop_reason": "tool_use"}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newVendorScript(t, trouble, trouble, calls(tu("run", obj{"command": "echo again >> log"})), trouble, says("done"))
			a := start(t, bench(t, nil), v.URL, nil)
			claim, out := a.prompt("go")
			if claim != acp.StopEndTurn || out.Reason != "" || out.Calls != 2 {
				t.Errorf("ended with %s, %+v", claim, out)
			}
			if got := content(t, a.w, "log"); got != "again\n" {
				t.Errorf("the command ran %d times", strings.Count(got, "\n"))
			}
			if got := text(t, a.told("agent_thought_chunk")); strings.Count(got, "The model is asked again") != 3 {
				t.Errorf("told of the repeats: %q", got)
			}
		})
	}
}

func TestAMessageThatIsToldAgainHasAnotherID(t *testing.T) {
	t.Parallel()
	v := newVendorScript(t, breaksOff("Half a thou"), says("A whole thought."))
	a := start(t, bench(t, nil), v.URL, nil)
	a.prompt("go")
	ids := map[string]string{}
	for _, u := range a.told("agent_message_chunk") {
		ids[u.MessageID] += text(t, []told{u})
	}
	var whole []string
	for _, s := range ids {
		whole = append(whole, s)
	}
	if len(whole) != 2 || !strings.Contains(strings.Join(whole, "|"), "A whole thought.") {
		t.Errorf("messages = %q", whole)
	}
}

func TestACallThatWasCutAtTheOutputLimitIsAnsweredWithHelp(t *testing.T) {
	t.Parallel()
	v := newVendorScript(t,
		answers(stoppedTokens, tu("read", obj{"path": "a"}), tu("write", `{"path":"big","content":"very lo`)),
		calls(tu("write", obj{"path": "big", "content": "short"})), says("done"))
	a := start(t, bench(t, map[string]string{"a": "x"}), v.URL, nil)
	if claim, out := a.prompt("go"); claim != acp.StopEndTurn || out.Reason != "" {
		t.Errorf("ended with %s, %+v", claim, out)
	}
	got := v.calls()[1].Messages[2].Content
	if got[0].IsError || !got[1].IsError || !strings.Contains(got[1].Content, "cut off at your limit of 16384 output tokens") {
		t.Errorf("results = %+v", got)
	}
	if content(t, a.w, "big") != "short" {
		t.Error("the second try was not carried out")
	}
}

func TestAModelThatGoesRoundInCirclesIsWarnedFirst(t *testing.T) {
	t.Parallel()
	v := newVendorScript(t, calls(tu("run", obj{"command": "date +%N; false"})))
	a := start(t, bench(t, nil), v.URL, nil)
	claim, out := a.prompt("go")
	if claim != acp.StopMaxTurns || out.Reason != corp.ReasonStepLimit || out.Calls != repeatsToStop {
		t.Errorf("ended with %s, %+v", claim, out)
	}
	requests := v.calls()
	for n, r := range requests[1:] {
		last := r.Messages[len(r.Messages)-1].Content[0].Content
		if warned := strings.Contains(last, "Doing it again will not help"); warned != (n+1 >= repeatsToWarn) {
			t.Errorf("after %d times: %q", n+1, last)
		}
	}
}

func TestTestingAgainAfterEachChangeIsNotALoop(t *testing.T) {
	t.Parallel()
	r := newRepeats()
	testRun, fail := tu("run", obj{"command": "go test"}), result{failed: true, text: "FAIL 0.1s"}
	for i := range 20 {
		if n := r.note(testRun, fail); n != 1 {
			t.Fatalf("round %d: the test run counts as repeated %d times", i, n)
		}
		r.note(tu("edit", obj{"n": i}), result{text: "Edited.", changed: true})
	}
	there, back := tu("edit", obj{"to": "a"}), tu("edit", obj{"to": "b"})
	counts := []int{}
	for range 4 {
		counts = append(counts, r.note(there, result{text: "Edited.", changed: true}), r.note(back, result{text: "Edited.", changed: true}))
	}
	if diff := cmp.Diff([]int{1, 1, 2, 2, 3, 3, 4, 4}, counts); diff != "" {
		t.Errorf("there and back: %v", counts)
	}
}

func TestManyLongResultsShareWhatFits(t *testing.T) {
	t.Parallel()
	var uses []block
	for i := range 20 {
		uses = append(uses, tu("read", obj{"path": "long", "offset": i + 1}))
	}
	v := newVendorScript(t, calls(uses...), says("done"))
	a := start(t, bench(t, map[string]string{"long": strings.Repeat(strings.Repeat("x", 80)+"\n", 2000)}), v.URL, nil)
	a.prompt("go")
	size := 0
	for _, b := range lastResults(v) {
		size += len(b.Content)
	}
	if size > maxResultsText+20*200 {
		t.Errorf("%d bytes of results", size)
	}
}

func TestAnswersThatNoVendorShouldGiveAreSurvived(t *testing.T) {
	t.Parallel()
	v := newVendorScript(t,
		answers(stoppedTools, block{Type: blockText}, block{Type: "server_tool_use", ID: "x"}, tu("read", "[]"), tu("", obj{}), tu("run", "")),
		answers(stoppedPause, block{Type: blockText, Text: "wait"}, tu("list", obj{})),
		answers(stoppedEnd))
	a := start(t, bench(t, nil), v.URL, nil)
	if claim, out := a.prompt("go"); claim != acp.StopEndTurn || out.Calls != 3 {
		t.Errorf("ended with %s, %+v", claim, out)
	}
	if claim, out := a.prompt("more"); claim != acp.StopEndTurn || out.Calls != 1 {
		t.Errorf("the next turn ended with %s, %+v", claim, out)
	}
}

// Attack case 47. Control: the command sees the rest of its environment.
func TestCommandsDoNotSeeTheRunKey(t *testing.T) {
	t.Parallel()
	v := newVendorScript(t, calls(tu("run", obj{"command": "env"})), says("done"))
	a := start(t, bench(t, nil), v.URL, nil)
	a.prompt("go")
	if got := lastResults(v)[0].Content; strings.Contains(got, "gc_run_secret") || !strings.Contains(got, "PAGER=cat") {
		t.Errorf("env = %s", got)
	}
}

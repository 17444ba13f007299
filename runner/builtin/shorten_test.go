package builtin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/runner/acp"
	"github.com/genericcorp/corp/vendorsim"
)

// simWindow is what the simulated model holds, in tokens.
const simWindow = 12_000

// chain is a model that reads file after file, each of which names the next, and
// at the end needs what the first one said.
const chain = `
name: chain
models: [{id: m, context_window: 12000, max_output: 4000}]
rules:
  - name: notes
    match: {tool_count: 0, prompt: {regex: '(?s)launch code is (?P<code>[0-9]{4}).*Now write the notes'}}
    reply: {text: 'Facts: the launch code is {{.Capture "code"}}.'}
  - name: end
    match: {tool_result: 'the last part', prompt: {regex: 'launch code is (?P<code>[0-9]{4})'}}
    reply: {tool_calls: [{name: write, input: {path: answer.txt, content: '{{.Capture "code"}}'}}]}
  - name: next
    match: {tool_result: {regex: 'next: (?P<file>part-[0-9]+)'}}
    reply: {text: On., tool_calls: [{name: read, input: {path: '{{.Capture "file"}}'}}]}
  - name: done
    match: {tool_result: 'answer.txt'}
    reply: {text: Written.}
  - name: begin
    match: {tool_results: 0, tools: [read]}
    reply: {tool_calls: [{name: read, input: {path: part-0}}]}
`

// parts are the files of the chain.
func parts(n, size int) map[string]string {
	files := map[string]string{}
	for i := range n {
		text := fmt.Sprintf("This is part %d.\n", i)
		if i == 0 {
			text += "The launch code is 4711.\n"
		}
		for line := 0; len(text) < size; line++ {
			text += fmt.Sprintf("part %d, line %d: nothing of interest here, in many words\n", i, line)
		}
		if i < n-1 {
			text += fmt.Sprintf("next: part-%d\n", i+1)
		} else {
			text += "the last part\n"
		}
		files[fmt.Sprintf("part-%d", i)] = text
	}
	return files
}

func simulated(t *testing.T, scenario string) (*vendorsim.Server, string) {
	t.Helper()
	s, err := vendorsim.Load(strings.NewReader(scenario))
	if err != nil {
		t.Fatal(err)
	}
	sim := vendorsim.New(vendorsim.Options{}, s)
	web := httptest.NewServer(sim)
	t.Cleanup(web.Close)
	return sim, web.URL
}

func inWindow(dialect string, window int) func(*Config) {
	return func(c *Config) { c.Model, c.Dialect, c.ContextWindow, c.MaxTokens = "m", dialect, window, 1500 }
}

// The vendor refuses what does not fit its window and every call without its
// result, so that the run's success is the proof.
func TestAConversationOfThreeWindowsKeepsTheFactsOfItsBeginning(t *testing.T) {
	t.Parallel()
	for _, dialect := range []string{corp.DialectAnthropic, corp.DialectOpenAI} {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			sim, url := simulated(t, chain)
			files := parts(32, 8000)
			read := 0
			for _, text := range files {
				read += len(text)
			}
			if read < 3*4*simWindow {
				t.Fatalf("only %d bytes are read", read)
			}
			a := resume(t, bench(t, files), url, handover{Number: 1}, inWindow(dialect, simWindow))
			claim, out := a.prompt("Read part-0 and all that follow it, then write the launch code to answer.txt.")
			if claim != acp.StopEndTurn || out.Reason != "" {
				t.Fatalf("ended with %s, %+v", claim, out)
			}
			if got := content(t, a.w, "answer.txt"); got != "4711" {
				t.Errorf("the answer is %q", got)
			}
			books := sim.Books()
			rules := map[string]int{}
			for _, c := range books.Calls {
				rules[c.Rule]++
				if c.Status != http.StatusOK {
					t.Errorf("a request of the agent's was refused with %d", c.Status)
				}
			}
			if rules["notes"] < 2 || rules["next"] != 31 || rules["end"] != 1 {
				t.Errorf("calls by rule: %v", rules)
			}
			if want := billed(books); out.Usage != want || out.Calls != len(books.Calls) {
				t.Errorf("counted %d calls, %+v; the vendor billed %d, %+v", out.Calls, out.Usage, len(books.Calls), want)
			}
			t.Logf("%d calls, %d of them for notes; %d tokens in all", len(books.Calls), rules["notes"], out.Usage.Total())
			goesOnFromEveryStep(t, files, a.kept(), dialect, out.Calls)
		})
	}
}

func billed(books vendorsim.Books) (sum corp.Usage) {
	for _, c := range books.Calls {
		sum = sum.Add(corp.Usage{FreshInput: c.Usage.Input, CacheRead: c.Usage.CacheRead, CacheWriteShort: c.Usage.CacheWrite5m, CacheWriteLong: c.Usage.CacheWrite1h, Output: c.Usage.Output})
	}
	return sum
}

// goesOnFromEveryStep resumes a shortened conversation after each of its steps:
// the summaries that were paid for are not asked for again.
func goesOnFromEveryStep(t *testing.T, files map[string]string, all []corp.Step, dialect string, calls int) {
	t.Helper()
	for k := 1; k <= len(all); k += 11 {
		paid := 0
		for _, s := range all[:k] {
			var step savedStep
			if err := json.Unmarshal(s.Output, &step); err != nil {
				t.Fatal(err)
			}
			if step.Answer != nil {
				paid++
			}
			if step.Shortening != nil {
				paid += step.Shortening.Calls
			}
		}
		sim, url := simulated(t, chain)
		b := resume(t, bench(t, files), url, handover{Number: 1, Steps: all[:k]}, inWindow(dialect, simWindow))
		if claim, out := b.prompt("Read part-0 and all that follow it, then write the launch code to answer.txt."); claim != acp.StopEndTurn || out.Calls != calls-paid || len(sim.Books().Calls) != calls-paid {
			t.Errorf("after %d steps with %d calls it ended with %s, %+v", k, paid, claim, out)
		}
		if got := content(t, b.w, "answer.txt"); got != "4711" {
			t.Errorf("after %d steps the answer is %q", k, got)
		}
	}
}

// A model whose window is smaller than anybody knew.
func TestAWindowThatWasNotKnownIsLearnedFromTheRefusal(t *testing.T) {
	t.Parallel()
	for _, dialect := range []string{corp.DialectAnthropic, corp.DialectOpenAI} {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			sim, url := simulated(t, chain)
			a := resume(t, bench(t, parts(32, 8000)), url, handover{Number: 1}, inWindow(dialect, 0))
			if claim, out := a.prompt("Read on, then write the launch code to answer.txt."); claim != acp.StopEndTurn || out.Reason != "" {
				t.Fatalf("ended with %s, %+v", claim, out)
			}
			refused := 0
			for _, c := range sim.Books().Calls {
				if c.Status != http.StatusOK {
					refused++
				}
			}
			if refused != 1 {
				t.Errorf("%d requests were refused, want the one that the window was learned from", refused)
			}
		})
	}
}

func TestLongResultsGoBeforeASummaryIsPaidFor(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a line of a long file\n", 1500) // 33 KB
	v := newVendorScript(t, uncounted(tu("read", obj{"path": "long"})), uncounted(tu("list", obj{})), uncounted(tu("list", obj{"path": "."})), uncounted(tu("read", obj{"path": "long", "offset": 2})), uncounted())
	a := start(t, bench(t, map[string]string{"long": long}), v.URL, func(c *Config) { c.ContextWindow, c.MaxTokens = 40_000, 2000 })
	if claim, out := a.prompt("go"); claim != acp.StopEndTurn || out.Calls != 5 {
		t.Fatalf("ended with %s, %+v", claim, out)
	}
	requests := v.calls()
	last := requests[len(requests)-1]
	if first := last.Messages[2].Content[0].Content; len(first) > 1000 || !strings.Contains(first, "left out to make room") {
		t.Errorf("the old result has %d bytes: %.300s", len(first), first)
	}
	if newest := lastResults(v)[0].Content; len(newest) < 30_000 {
		t.Errorf("the newest result has %d bytes", len(newest))
	}
	if text := text(t, a.told("agent_thought_chunk")); strings.Count(text, "long results were left out") != 1 {
		t.Errorf("told %q", text)
	}
}

// uncounted is an answer of a vendor that does not say what it counted.
func uncounted(uses ...block) reply {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		event(w, "message_start", obj{"message": obj{"id": "msg"}})
		stop := stoppedTools
		if len(uses) == 0 {
			uses, stop = []block{{Type: blockText, Text: "done"}}, stoppedEnd
		}
		for i, b := range uses {
			writeBlock(w, i, b)
		}
		event(w, "message_delta", obj{"delta": obj{"stop_reason": stop}})
		event(w, "message_stop", obj{})
	}
}

// Between two shortenings each request begins with the one before it, or the
// vendor's cache would be of no use.
func TestRequestsGrowAtTheirEndOnly(t *testing.T) {
	t.Parallel()
	var script []reply
	for i := range 12 {
		script = append(script, uncounted(tu("read", obj{"path": "long", "offset": i + 1})))
	}
	v := newVendorScript(t, append(script, uncounted())...)
	a := start(t, bench(t, map[string]string{"long": strings.Repeat("a line of a long file\n", 800)}), v.URL, func(c *Config) { c.ContextWindow, c.MaxTokens = 60_000, 2000 })
	if claim, out := a.prompt("go"); claim != acp.StopEndTurn {
		t.Fatalf("ended with %s, %+v", claim, out)
	}
	requests, breaks := v.calls(), 0
	for i := 1; i < len(requests); i++ {
		if !slices.EqualFunc(plain(requests[i-1].Messages), plain(requests[i].Messages)[:min(len(requests[i-1].Messages), len(requests[i].Messages))], equalMessages) {
			breaks++
		}
	}
	notes := strings.Count(text(t, a.told("agent_thought_chunk")), "The conversation was shortened")
	if breaks != notes || notes == 0 || notes > 4 {
		t.Errorf("%d requests did not begin as the one before, %d shortenings", breaks, notes)
	}
}

func plain(messages []message) []message {
	out := []message{}
	for _, m := range messages {
		m.Content = slices.Clone(m.Content)
		for i := range m.Content {
			m.Content[i].Cache = nil
		}
		out = append(out, m)
	}
	return out
}

func equalMessages(a, b message) bool { return cmp.Equal(a, b) }

func TestAConversationThatCannotBeShortenedEndsWithAClearReason(t *testing.T) {
	t.Parallel()
	grow := uncounted(tu("read", obj{"path": "long"}))
	tooBig := fails(400, "invalid_request_error", "prompt is too long: 9000 tokens > 5000 maximum")
	for _, c := range []struct {
		name    string
		replies []reply
		window  int
		detail  string
		most    int
	}{
		{"no notes", []reply{grow, grow, grow, grow, says("")}, 12_000, "did not sum it up", 12},
		{"refused notes", []reply{grow, grow, grow, grow, answers(stoppedRefusal, block{Type: blockText, Text: "no"})}, 12_000, "did not sum it up", 12},
		{"for ever too long", []reply{grow, tooBig}, 0, "no room for an answer", 12},
		{"a long task", []reply{says("never")}, 2500, "no room for an answer in the model's window of 2500", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			v := newVendorScript(t, c.replies...)
			a := start(t, bench(t, map[string]string{"long": strings.Repeat("a line of a long file\n", 500)}), v.URL, func(cfg *Config) { cfg.ContextWindow, cfg.MaxTokens = c.window, 1024 })
			claim, out := a.prompt("go")
			if claim == acp.StopEndTurn || out.Reason != corp.ReasonStepLimit || !strings.Contains(out.Detail, c.detail) || len(v.calls()) > c.most {
				t.Errorf("after %d calls ended with %s, %+v", len(v.calls()), claim, out)
			}
		})
	}
}

// Whatever the sizes, no call is parted from its result, the sides take turns,
// the task and the newest result stay, and it does get shorter.
func TestAnyConversationIsShortenedIntoOneThatAVendorTakes(t *testing.T) {
	t.Parallel()
	for seed := range 400 {
		messages := []message{{Role: roleUser, Content: []block{{Type: blockText, Text: "the task"}}}}
		for turn := range 1 + seed%9 {
			use := tu("read", obj{"turn": turn})
			size := []int{10, 3000, 40_000}[(seed+turn)%3]
			messages = append(messages,
				message{Role: roleAssistant, Content: []block{{Type: blockText, Text: "so"}, use}},
				message{Role: roleUser, Content: []block{{Type: blockToolResult, ToolUseID: use.ID, Content: strings.Repeat("é", size/2)}}})
		}
		for from := 1; from <= len(messages); from++ {
			s := shortening{From: from, Elide: elideOver, Clip: []int{0, 32 << 10, leastClip}[seed%3]}
			if seed%2 == 0 {
				s.Summary = "what happened"
			}
			short, at, err := shortened(messages, 0, s)
			if valid := from == len(messages) || messages[from].Role == roleAssistant; !valid {
				if err == nil {
					t.Fatalf("it was cut at message %d", from)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if problem := refusedByVendor(modelRequest{MaxTokens: 1, Stream: true, Messages: short}); problem != "" {
				t.Fatalf("seed %d, from %d: %s", seed, from, problem)
			}
			again, at2, err := shortened(short, at, shortening{From: len(short), Summary: "more"})
			if err != nil || bytesOf(short) > bytesOf(messages)+300 || short[0].Content[0].Text != "the task" || s.Summary != "" && (at2 != at || len(again[0].Content) != 2) {
				t.Fatalf("seed %d, from %d: %v, %d after %d bytes, notes at %d and %d", seed, from, err, bytesOf(short), bytesOf(messages), at, at2)
			}
		}
	}
}

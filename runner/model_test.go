package runner_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/pgtest"
)

func overChat(m *millModel) {
	m.name, m.provider.Dialect, m.provider.Vendor = "some-model", corp.DialectOpenAI, "somebody"
}

// The server tells the runner which dialect the agent's provider speaks.
func TestAnErrandIsDoneOverChatCompletions(t *testing.T) {
	t.Parallel()
	m := newMill(t, errand, overChat)
	m.start(m.settings(m.url))
	after, run := m.final(m.submit("Do the errand.", byMiller))
	if after.State != corp.TaskSucceeded || run.Attempt != 1 {
		t.Fatalf("the task is %s after attempt %d: %s", after.State, run.Attempt, after.Detail)
	}
	m.hasErrand(t.Name(), run)
	m.paid(t.Name(), after.ID, 0)
	for _, c := range m.sim.Books().Calls {
		if c.Dialect != "openai" {
			t.Errorf("a call was made in %s", c.Dialect)
		}
	}
}

// long is a task whose conversation is several times the model's window, and
// whose end needs what was said at its beginning.
const long = `
name: long
models: [{id: small, context_window: 12000, max_output: 1000}]
rules:
  - name: notes
    match: {tool_count: 0, prompt: {regex: '(?s)launch code is (?P<code>[0-9]{4}).*Now write the notes'}}
    reply: {text: 'The launch code is {{.Capture "code"}}.'}
  - name: end
    match: {tool_result: 'next: 25', prompt: {regex: 'launch code is (?P<code>[0-9]{4})'}}
    reply: {tool_calls: [{name: write, input: {path: new.txt, content: '{{.Capture "code"}}'}}]}
  - name: next
    match: {tool_result: {regex: 'next: (?P<n>[0-9]+)'}}
    reply: {tool_calls: [{name: run, input: {command: 'seq -f "step {{.Capture "n"}}, line %g: nothing of interest" 200; echo next: $(( {{.Capture "n"}} + 1 ))'}}]}
  - name: done
    match: {tool_result: 'new.txt'}
    reply: {text: Written.}
  - name: begin
    match: {tool_results: 0, tools: [run]}
    reply: {tool_calls: [{name: run, input: {command: 'echo the launch code is 4711; echo next: 1'}}]}
`

// The window that the price book has reaches the agent, which then never asks
// for more than fits.
func TestAConversationLongerThanTheWindowIsDoneAndPaidFor(t *testing.T) {
	t.Parallel()
	for _, dialect := range []string{corp.DialectAnthropic, corp.DialectOpenAI} {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			m := newMill(t, long, func(m *millModel) {
				m.name, m.provider.Dialect, m.provider.Vendor = "small", dialect, "vendor-of-"+corp.NewSecret("")[:12]
				m.price(t)
			})
			m.start(m.settings(m.url))
			after, run := m.final(m.submit("Find the launch code.", byMiller, timeout(120)))
			if after.State != corp.TaskSucceeded || run.Attempt != 1 {
				t.Fatalf("the task is %s after attempt %d: %s", after.State, run.Attempt, after.Detail)
			}
			books, notes := m.sim.Books(), 0
			for _, c := range books.Calls {
				if c.Status != http.StatusOK || c.MaxTokens > 1000 {
					t.Errorf("the vendor answered %d to a request for %d tokens", c.Status, c.MaxTokens)
				}
				if c.Rule == "notes" {
					notes++
				}
			}
			if notes == 0 {
				t.Error("nothing was summed up")
			}
			pgtest.Eventually(t, 20*time.Second, "the run to have every call", func(ctx context.Context) bool {
				now, err := m.client.Run(ctx, run.ID)
				return err == nil && now.Calls == int64(len(books.Calls))
			})
			if _, text := m.transcript(run.ID); !strings.Contains(text, "The conversation was shortened") {
				t.Error("the transcript does not say so")
			}
		})
	}
}

// price puts the model into the price book, with the scenario's limits.
func (m *millModel) price(t *testing.T) {
	t.Helper()
	s, err := shared()
	if err == nil {
		_, err = s.env.DB.System("test").SeedPrices(t.Context(), []corp.Price{{
			Vendor: m.provider.Vendor, Model: m.name, EffectiveFrom: time.Now().AddDate(-1, 0, 0), Input: 1000, CacheRead: 1000, CacheWriteShort: 1000, CacheWriteLong: 1000, Output: 1000,
			ContextWindow: 12_000, MaxOutput: 1000, Source: "test",
		}})
	}
	if err != nil {
		t.Fatal(err)
	}
}

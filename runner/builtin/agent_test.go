package builtin

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/runner/acp"
	"github.com/genericcorp/corp/stage"
)

// agentRun is an agent under test, and what its client heard of it.
type agentRun struct {
	t      testing.TB
	client *acp.Client
	id     string // of the session
	home   string
	w      *workbench // to look at the checkout
	stderr *stage.Log

	mu      sync.Mutex
	updates []acp.Update
	seen    func(acp.Update) // called with each update
	steps   []corp.Step      // that the agent asked to keep
	journal int              // of the newest of them
	keep    func(corp.Step) error
}

func testConfig(url, home string) Config {
	return Config{
		BaseURL: url, Key: "gc_run_secret", Model: "sim/model", Home: home, Version: "test", Instructions: "You are the tester.",
		Date: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC), Env: []string{"PATH=" + os.Getenv("PATH"), "LEAK=gc_run_secret"},
		Patience: Patience{Tries: 4, Base: time.Millisecond, Cap: 5 * time.Millisecond, Window: 20 * time.Second, Idle: 20 * time.Second},
	}
}

// start runs an agent in this process and begins a session in the checkout.
func start(tb testing.TB, w *workbench, url string, change func(*Config)) *agentRun {
	tb.Helper()
	home := tb.TempDir()
	cfg := testConfig(url, home)
	if change != nil {
		change(&cfg)
	}
	a := startAgent(tb, w, cfg)
	session, err := a.client.NewSession(tb.Context(), w.checkout.dir, nil)
	if err != nil {
		tb.Fatal(err)
	}
	a.id = session.SessionID
	return a
}

func startAgent(tb testing.TB, w *workbench, cfg Config) *agentRun {
	tb.Helper()
	ar, cw := io.Pipe()
	cr, aw := io.Pipe()
	a := &agentRun{t: tb, home: cfg.Home, w: w, stderr: &stage.Log{}}
	exit := make(chan int, 1)
	go func() { exit <- Main(context.Background(), ar, aw, a.stderr, cfg) }()
	a.connect(cr, cw)
	tb.Cleanup(func() {
		a.client.Close()
		if code := <-exit; code != 0 && !strings.Contains(a.stderr.String(), "closed pipe") {
			tb.Errorf("the agent ended with %d: %s", code, a.stderr)
		}
	})
	return a
}

func (a *agentRun) connect(stdout io.Reader, stdin io.Writer) {
	a.t.Helper()
	a.client = acp.Start(context.Background(), stdout, stdin, acp.ClientOptions{
		Info: acp.Implementation{Name: "test", Version: "0"}, OnUpdate: a.heard, Logger: testLogger(),
		Extensions: map[string]acp.RequestHandler{methodStep: a.keepStep},
	})
	if _, err := a.client.Initialize(a.t.Context()); err != nil { //nolint:misspell // the protocol's own word
		a.t.Fatal(err)
	}
}

func (a *agentRun) heard(u acp.Update) {
	a.mu.Lock()
	a.updates = append(a.updates, u)
	seen := a.seen
	a.mu.Unlock()
	if seen != nil {
		seen(u)
	}
}

// prompt runs a turn and returns its end and what _meta.corp says.
func (a *agentRun) prompt(text string) (acp.StopReason, outcome) {
	a.t.Helper()
	result, err := a.client.Prompt(a.t.Context(), a.id, text)
	if err != nil {
		a.t.Fatalf("Prompt: %v\n%s", err, a.stderr)
	}
	return result.StopReason, a.outcome(result)
}

func (a *agentRun) outcome(result *acp.PromptResult) outcome {
	a.t.Helper()
	var meta struct {
		Corp outcome `json:"corp"`
	}
	if err := json.Unmarshal(result.Meta, &meta); err != nil {
		a.t.Fatalf("_meta %s: %v", result.Meta, err)
	}
	return meta.Corp
}

// told is an update as the tests look at it.
type told struct {
	Kind       string          `json:"sessionUpdate"`
	Content    json.RawMessage `json:"content"`
	MessageID  string          `json:"messageId"`
	ToolCallID string          `json:"toolCallId"`
	Title      string          `json:"title"`
	ToolKind   string          `json:"kind"`
	Status     string          `json:"status"`
	Locations  []location      `json:"locations"`
	Entries    []planEntry     `json:"entries"`
	Used       int             `json:"used"`
	Size       int             `json:"size"`
	Meta       json.RawMessage `json:"_meta"`
}

func (a *agentRun) told(kinds ...string) []told {
	a.t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []told
	for _, u := range a.updates {
		if len(kinds) > 0 && !slices.Contains(kinds, u.Kind) {
			continue
		}
		var n told
		if err := json.Unmarshal(u.Raw, &n); err != nil {
			a.t.Fatalf("update %s: %v", u.Raw, err)
		}
		out = append(out, n)
	}
	return out
}

// text joins the text of updates.
func text(tb testing.TB, updates []told) string {
	tb.Helper()
	var b strings.Builder
	for _, u := range updates {
		var c acp.Text
		if err := json.Unmarshal(u.Content, &c); err != nil {
			tb.Fatal(err)
		}
		b.WriteString(c.Text)
	}
	return b.String()
}

// results are the tool results in the last request that the vendor got.
func lastResults(s *scripted) []block {
	requests := s.calls()
	messages := requests[len(requests)-1].Messages
	return messages[len(messages)-1].Content
}

package builtin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/runner/acp"
	"github.com/genericcorp/corp/stage"
)

// agentEnv holds, in the process of an agent under test, its configuration.
const agentEnv = "CORP_TEST_AGENT_CONFIG"

func TestMain(m *testing.M) {
	if raw := os.Getenv(agentEnv); raw != "" {
		var cfg Config
		if err := json.Unmarshal([]byte(raw), &cfg); err != nil {
			panic(err)
		}
		os.Exit(Main(context.Background(), os.Stdin, os.Stdout, os.Stderr, cfg))
	}
	os.Exit(m.Run())
}

// spawn runs an agent in a process of its own.
func spawn(t *testing.T, w *workbench, cfg Config) (*agentRun, *exec.Cmd) {
	t.Helper()
	raw, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	a := &agentRun{t: t, home: cfg.Home, w: w, stderr: &stage.Log{}}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0])
	cmd.Env = []string{agentEnv + "=" + string(raw), "GORACE=atexit_sleep_ms=0"}
	cmd.Stderr = a.stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.client.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	a.connect(stdout, stdin)
	return a, cmd
}

// hangs begins an answer and goes silent until the client leaves.
func hangs(left chan<- struct{}) reply {
	return func(w http.ResponseWriter, r *http.Request) {
		begin(w)
		writeBlock(w, 0, block{Type: blockText, Text: strings.Repeat("thinking aloud ", 40)})
		<-r.Context().Done()
		left <- struct{}{}
	}
}

// cancelled runs a turn, cancels it when ready says so, and checks its end.
func cancelled(t *testing.T, a *agentRun, ready func()) {
	t.Helper()
	type end struct {
		result *acp.PromptResult
		err    error
	}
	done := make(chan end, 1)
	go func() {
		r, err := a.client.Prompt(t.Context(), a.id, "go")
		done <- end{r, err}
	}()
	ready()
	asked := time.Now()
	if err := a.client.Cancel(t.Context(), a.id); err != nil {
		t.Fatal(err)
	}
	e := <-done
	if e.err != nil || e.result.StopReason != acp.StopCancelled || a.outcome(e.result).Reason != corp.ReasonCancelled {
		t.Fatalf("the turn ended with %+v, %v", e.result, e.err)
	}
	if took := time.Since(asked); took > 15*time.Second {
		t.Errorf("the cancel took %s", took)
	}
}

func TestCancelDuringTheAnswerClosesTheStreamAtOnce(t *testing.T) {
	t.Parallel()
	left := make(chan struct{}, 1)
	v := newVendorScript(t, hangs(left), says("done"))
	a := start(t, bench(t, nil), v.URL, nil)
	speaking := make(chan struct{}, 100)
	a.mu.Lock()
	a.seen = func(u acp.Update) {
		if u.Kind == "agent_message_chunk" {
			speaking <- struct{}{}
		}
	}
	a.mu.Unlock()
	cancelled(t, a, func() { <-speaking })
	<-left
	if claim, _ := a.prompt("go on"); claim != acp.StopEndTurn {
		t.Errorf("the next turn ended with %s", claim)
	}
}

func TestCancelDuringACommandKillsItsGroupAndKeepsTheConversationValid(t *testing.T) {
	t.Parallel()
	v := newVendorScript(t, calls(tu("run", obj{"command": "sleep 600 & echo $$ $! > pids; wait"}), tu("write", obj{"path": "late", "content": "x"})), says("done"))
	a := start(t, bench(t, nil), v.URL, nil)
	var found []int
	cancelled(t, a, func() { found = pids(t, a.w, "pids", 2) })
	for _, pid := range found {
		eventually(t, "the command is gone", func() bool { return gone(pid) })
	}
	if r := use(t, a.w, "read", obj{"path": "late"}); !r.failed {
		t.Error("a call ran after the cancel")
	}
	for _, u := range a.told("tool_call_update") {
		if u.Status != "failed" {
			t.Errorf("a tool call was left %s", u.Status)
		}
	}
	if claim, _ := a.prompt("go on"); claim != acp.StopEndTurn { // the script checks that each call has its result
		t.Errorf("the next turn ended with %s", claim)
	}
}

func TestCancelDuringTheWaitForTheVendorIsAtOnce(t *testing.T) {
	t.Parallel()
	v := newVendorScript(t, fails(429, "rate_limit_error", "later", "Retry-After", "600"))
	a := start(t, bench(t, nil), v.URL, func(c *Config) { c.Patience.Window = time.Hour })
	cancelled(t, a, func() { eventually(t, "the vendor was asked", func() bool { return len(v.calls()) == 1 }) })
}

func TestAnAgentWhoseClientLeavesKillsItsCommandsAndEnds(t *testing.T) {
	t.Parallel()
	v := newVendorScript(t, calls(tu("run", obj{"command": "sleep 600 & echo $$ $! > pids; wait"})))
	w := bench(t, nil)
	a, cmd := spawn(t, w, testConfig(v.URL, t.TempDir()))
	session, err := a.client.NewSession(t.Context(), w.checkout.dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { _, err := a.client.Prompt(t.Context(), session.SessionID, "go"); done <- err }()
	found := pids(t, w, "pids", 2)
	a.client.Close()
	if err := <-done; !errors.Is(err, acp.ErrClosed) {
		t.Errorf("Prompt = %v", err)
	}
	eventually(t, "the agent is gone", func() bool { return gone(cmd.Process.Pid) })
	for _, pid := range found {
		eventually(t, "the command is gone", func() bool { return gone(pid) })
	}
}

func TestAKilledAgentsSessionGoesOnInAnotherProcessWithItsContext(t *testing.T) {
	t.Parallel()
	first := tu("write", obj{"path": "one", "content": "1"})
	v := newVendorScript(t, calls(first), calls(tu("run", obj{"command": "echo $$ > pids; sleep 600"})), says("went on"))
	home, w := t.TempDir(), bench(t, nil)
	a, cmd := spawn(t, w, testConfig(v.URL, home))
	session, err := a.client.NewSession(t.Context(), w.checkout.dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { _, err := a.client.Prompt(t.Context(), session.SessionID, "Begin."); done <- err }()
	sleeping := pids(t, w, "pids", 1)[0]
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, acp.ErrClosed) {
		t.Errorf("Prompt = %v", err)
	}
	_ = syscall.Kill(-sleeping, syscall.SIGKILL) // what the sandbox does

	b, _ := spawn(t, w, testConfig(v.URL, home))
	if err := b.client.LoadSession(t.Context(), session.SessionID, w.checkout.dir, nil); err != nil {
		t.Fatal(err)
	}
	for _, u := range b.told() {
		if string(u.Meta) != `{"corp":{"replay":true}}` {
			t.Errorf("an update told again is not marked: %+v", u)
		}
	}
	if got := text(t, b.told("user_message_chunk")); got != "Begin." {
		t.Errorf("told again: %q", got)
	}
	if got := b.told("tool_call", "tool_call_update"); len(got) != 2 || got[0].ToolCallID != first.ID || got[1].Status != "completed" {
		t.Errorf("tool calls told again: %+v", got)
	}
	b.id = session.SessionID
	if claim, _ := b.prompt("Go on."); claim != acp.StopEndTurn {
		t.Errorf("ended with %s", claim)
	}
	requests := v.calls()
	last := requests[len(requests)-1].Messages
	if len(last) != 3 || last[0].Content[0].Text != "Begin." || last[2].Content[len(last[2].Content)-1].Text != "Go on." {
		t.Errorf("the model was sent %+v", last)
	}
}

func TestSessionsThatAreMissingForeignOrBrokenAreRefused(t *testing.T) {
	t.Parallel()
	v := newVendorScript(t, says("x"))
	a := start(t, bench(t, map[string]string{"f": ""}), v.URL, nil)
	dir := filepath.Join(a.home, ".corp", "sessions")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	const broken, foreign = "session_aaaaaaaaaaaaaaaaaaaaaaaa", "session_bbbbbbbbbbbbbbbbbbbbbbbb"
	for name, text := range map[string]string{broken: `{"version":1`, foreign: `{"version":99,"id":"` + foreign + `"}`, "../secret": `{"version":1}`} {
		if err := os.WriteFile(filepath.Join(dir, name+".json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for id, code := range map[string]int{"session_cccccccccccccccccccccccc": acp.CodeNotFound, "../secret": acp.CodeNotFound, "": acp.CodeNotFound, broken: acp.CodeInternal, foreign: acp.CodeInternal} {
		err := a.client.LoadSession(t.Context(), id, a.w.checkout.dir, nil)
		if e, ok := errors.AsType[*acp.RPCError](err); !ok || e.Code != code {
			t.Errorf("LoadSession(%q) = %v, want code %d", id, err, code)
		}
	}
	a.prompt("go")
	if err := a.client.LoadSession(t.Context(), a.id, a.w.checkout.dir, nil); err == nil {
		t.Error("a session that is open was loaded a second time")
	}
	for _, cwd := range []string{"relative", "/no/such/folder", filepath.Join(a.w.checkout.dir, "f")} {
		if _, err := a.client.NewSession(t.Context(), cwd, nil); err == nil {
			t.Errorf("NewSession(%q) succeeded", cwd)
		}
	}
	if _, err := a.client.NewSession(t.Context(), a.w.checkout.dir, []acp.MCPServer{{Name: "x", URL: "http://127.0.0.1:1"}}); err == nil || !strings.Contains(err.Error(), "MCP") {
		t.Errorf("NewSession with an MCP server = %v", err)
	}
	if _, err := a.client.Prompt(t.Context(), "session_none", "x"); err == nil {
		t.Error("a prompt to no session succeeded")
	}
	if _, err := a.client.Prompt(t.Context(), a.id, "  "); err == nil {
		t.Error("an empty prompt succeeded")
	}
}

func TestASessionsFileIsPrivateAndTheSameAfterLoading(t *testing.T) {
	t.Parallel()
	d := newSessions(t.TempDir())
	thinking := ""
	s := &session{ID: newID("session_"), Model: "m", Used: 7, Messages: []message{
		{Role: roleUser, Content: []block{{Type: blockText, Text: "<a> & \u2028"}}},
		{Role: roleAssistant, Content: []block{{Type: blockThinking, Thinking: &thinking, Signature: "s"}, tu("run", obj{"command": "x"})}},
	}}
	if err := d.save(s); err != nil {
		t.Fatal(err)
	}
	got, err := d.load(s.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s.Messages, got.Messages); diff != "" || got.Used != 7 {
		t.Errorf("(-saved +loaded):\n%s", diff)
	}
	info, err := os.Stat(filepath.Join(d.dir, s.ID+".json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("file: %v, %v", info.Mode(), err)
	}
}

func TestASessionThatCannotBeSavedDoesNotStopTheWork(t *testing.T) {
	t.Parallel()
	v := newVendorScript(t, says("done"))
	a := start(t, bench(t, nil), v.URL, nil)
	if err := os.WriteFile(filepath.Join(a.home, ".corp"), []byte("in the way"), 0o600); err != nil {
		t.Fatal(err)
	}
	if claim, _ := a.prompt("go"); claim != acp.StopEndTurn || !strings.Contains(a.stderr.String(), "session was not saved") {
		t.Errorf("ended with %s; log: %s", claim, a.stderr)
	}
}

func TestAWrongConfigurationEndsWithCodeTwoAndASentence(t *testing.T) {
	t.Parallel()
	for field, change := range map[string]func(*Config){
		"gateway's address": func(c *Config) { c.BaseURL = "localhost:80" },
		"run key":           func(c *Config) { c.Key = "" },
		"model is missing":  func(c *Config) { c.Model = "" },
		"home folder":       func(c *Config) { c.Home = "here" },
		"negative":          func(c *Config) { c.MaxTurns = -1 },
		"Thinking may use":  func(c *Config) { c.ThinkingTokens, c.MaxTokens = 100, 100 },
	} {
		cfg := testConfig("http://127.0.0.1:1", t.TempDir())
		change(&cfg)
		var stderr stage.Log
		if code := Main(t.Context(), strings.NewReader(""), &stage.Log{}, &stderr, cfg); code != 2 || !strings.Contains(stderr.String(), field) {
			t.Errorf("%s: code %d, %s", field, code, stderr.String())
		}
	}
}

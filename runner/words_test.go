package runner

import (
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/runner/acp"
	"github.com/genericcorp/corp/runner/sandbox"
)

func TestUpdatesBecomeEntriesOfTheirKind(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]said{
		`{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"hi"}}`:                                                                    {"agent_message_chunk", corp.EntryMessage, "hi", nil},
		`{"sessionUpdate":"agent_thought_chunk","content":{"type":"text","text":"hm"}}`:                                                                    {"agent_thought_chunk", corp.EntryThought, "hm", nil},
		`{"sessionUpdate":"agent_message_chunk","content":{"type":"image","data":"x"}}`:                                                                    {"agent_message_chunk", corp.EntryMessage, "", json.RawMessage("=")},
		`{"sessionUpdate":"tool_call","toolCallId":"7","title":"Run ls","status":"pending"}`:                                                               {"7", corp.EntryAction, "Run ls\n", json.RawMessage("=")},
		`{"sessionUpdate":"tool_call_update","toolCallId":"7","status":"completed","content":[{"type":"content","content":{"type":"text","text":"a b"}}]}`: {"7", corp.EntryAction, "[completed]\na b\n", json.RawMessage("=")},
		`{"sessionUpdate":"tool_call_update","toolCallId":"8","title":"Edit","content":[{"type":"diff","path":"a.go","newText":"x"}]}`:                     {"", corp.EntryDiff, "Edit\na.go\n", json.RawMessage("=")},
		`{"sessionUpdate":"plan","entries":[{"content":"one","status":"completed"},{"content":"two","status":"in_progress"},{"content":"three"}]}`:         {"", corp.EntryPlan, "[x] one\n[>] two\n[ ] three\n", json.RawMessage("=")},
		`{"sessionUpdate":"of_the_future","x":1}`:                                                                                                          {"of_the_future", corp.EntryRaw, "", json.RawMessage("=")},
		`{"sessionUpdate":"agent_message_chunk","content":7}`:                                                                                              {"agent_message_chunk", corp.EntryMessage, "", json.RawMessage("=")},
		`{"sessionUpdate":"tool_call","title":[]}`:                                                                                                         {"", corp.EntryRaw, "", json.RawMessage("=")},
	} {
		var kind struct {
			Kind string `json:"sessionUpdate"`
		}
		if err := json.Unmarshal([]byte(raw), &kind); err != nil {
			t.Fatal(err)
		}
		if want.raw != nil { // the update itself, unchanged
			want.raw = json.RawMessage(raw)
		}
		got := sayings(acp.Update{Kind: kind.Kind, Raw: json.RawMessage(raw)})
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(said{})); diff != "" {
			t.Errorf("%s\n%s", raw, diff)
		}
	}
}

func TestRawUpdatesJoinToOneValueWithinBounds(t *testing.T) {
	t.Parallel()
	big := json.RawMessage(`"` + strings.Repeat("x", maxData/2) + `"`)
	for name, c := range map[string]struct {
		raw  []json.RawMessage
		want string
	}{
		"none":     {nil, ""},
		"one":      {[]json.RawMessage{[]byte(`{"a":1}`)}, `{"a":1}`},
		"two":      {[]json.RawMessage{[]byte(`{"a":1}`), []byte(`{"b":2}`)}, `[{"a":1},{"b":2}]`},
		"too much": {[]json.RawMessage{[]byte(`1`), big, big, []byte(`2`)}, `[1,` + string(big) + `,{"omitted_bytes":65539}]`},
		"too big":  {[]json.RawMessage{append(append(json.RawMessage{}, big[:len(big)-1]...), big[1:]...)}, `{"omitted_bytes":131074}`},
	} {
		if got := string(together(c.raw)); got != c.want {
			t.Errorf("%s: %.80s, want %.80s", name, got, c.want)
		}
	}
}

func FuzzTextIsAlwaysFitForADatabaseAndNeverLongerThanItsBound(f *testing.F) {
	f.Add("hello", 3)
	f.Add("äöü\x00\xff", 30)
	f.Add(strings.Repeat("€", 100), 50)
	f.Fuzz(func(t *testing.T, s string, n int) {
		n = n&0xffff + 64 // room for the note
		got := cut(clean(s), n)
		if len(got) > n || !utf8.ValidString(got) || strings.ContainsRune(got, 0) {
			t.Errorf("cut(%q, %d) = %q", s, n, got)
		}
	})
}

func TestAFaultInTheRunnersOwnCodeEndsOneRunAndNotTheRunner(t *testing.T) {
	t.Parallel()
	r := &Runner{Config: Config{Logger: slog.New(slog.DiscardHandler), Sandbox: sandbox.None, WorkDir: t.TempDir()}}
	offer := corp.Offer{Spec: corp.TaskSpec{SourceID: new(corp.BlobID{1})}}
	offer.RunID = corp.RunID{1}
	run := newRun(t.Context(), r, offer, nil) // without a client it falls over when it downloads
	run.deadline = time.Now().Add(time.Hour)
	if got := run.guarded(); got.State != corp.RunFailed || got.Reason != corp.ReasonInternal || got.Detail == "" {
		t.Errorf("the run ends %+v", got)
	}
	run.cleanUp()
	if left, err := filepath.Glob(filepath.Join(r.WorkDir, "*")); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

func TestAConfigurationThatCannotWorkIsRefusedByTheFieldThatIsWrong(t *testing.T) {
	t.Parallel()
	good := Config{Client: nil, Name: "n", WorkDir: "/w", Sandbox: sandbox.None, Executable: "/corp", Logger: slog.New(slog.DiscardHandler)}
	if _, err := New(good); err == nil {
		t.Error("a runner without a client was made")
	}
	for field, edit := range map[string]func(*Config){
		"name":       func(c *Config) { c.Name = "" },
		"slots":      func(c *Config) { c.Slots = 1001 },
		"work_dir":   func(c *Config) { c.WorkDir = "relative" },
		"executable": func(c *Config) { c.Executable = "corp" },
		"sandbox":    func(c *Config) { c.Sandbox = "wishful" },
	} {
		c := good
		c.Client = client.New("http://127.0.0.1:1", "", client.Options{})
		edit(&c)
		_, err := New(c)
		if e, ok := asError(err); !ok || e.Field != field || e.Hint == "" {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestAgentSettingsComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	want := AgentSettings{BaseURL: "http://127.0.0.1:7077", Key: "k", Model: "a/b", MaxTokens: 5, MaxTurns: 6, InstructionsFile: "/corp/home/i", Dialect: "openai", ContextWindow: 128_000}
	env := map[string]string{}
	for _, kv := range want.Env() {
		name, value, _ := strings.Cut(kv, "=")
		env[name] = value
		if !IsAgentSetting(name) {
			t.Errorf("%s would reach the agent's commands", name)
		}
	}
	get := func(name string) string { return env[name] }
	if got, err := ReadAgentSettings(get); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	env[envMaxTurns] = "many"
	if _, err := ReadAgentSettings(get); corp.KindOf(err) != corp.KindInvalid {
		t.Errorf("a number that is none: %v", err)
	}
	if got, err := ReadAgentSettings(func(string) string { return "" }); err != nil || got != (AgentSettings{}) {
		t.Errorf("without an environment: %+v, %v", got, err)
	}
}

func TestAWaitBetweenAttemptsEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := pause{n: 1000}
	if p.wait(ctx) {
		t.Error("it says that the context lives")
	}
}

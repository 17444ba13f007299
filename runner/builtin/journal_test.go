package builtin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/runner/acp"
)

// keepStep plays the runner: it keeps each step, if keep does not refuse it.
func (a *agentRun) keepStep(_ context.Context, params json.RawMessage) acp.Work {
	var p struct {
		Journal int `json:"journal"`
		corp.Step
	}
	if err := json.Unmarshal(params, &p); err != nil {
		a.t.Errorf("step %s: %v", params, err)
	}
	return func() (any, error) {
		if a.keep != nil {
			if err := a.keep(p.Step); err != nil {
				return nil, err
			}
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if n := len(a.steps); n > 0 && a.steps[n-1].Key >= p.Key && !strings.Contains(p.Key, ".") {
			a.t.Errorf("step %s comes after %s", p.Key, a.steps[n-1].Key)
		}
		a.steps, a.journal = append(a.steps, p.Step), p.Journal
		return struct{}{}, nil
	}
}

func (a *agentRun) kept() []corp.Step {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.steps)
}

// resume begins a session in a checkout with what an earlier one has left.
func resume(t *testing.T, w *workbench, url string, h handover, change ...func(*Config)) *agentRun {
	t.Helper()
	cfg := testConfig(url, t.TempDir())
	for _, c := range change {
		c(&cfg)
	}
	a := startAgent(t, w, cfg)
	if h.Steps == nil {
		h.Steps = []corp.Step{}
	}
	meta, err := json.Marshal(map[string]any{"corp": map[string]any{"journal": h}})
	if err != nil {
		t.Fatal(err)
	}
	session, err := a.client.NewSessionWith(t.Context(), w.checkout.dir, nil, meta)
	if err != nil {
		t.Fatal(err)
	}
	a.id = session.SessionID
	return a
}

// story is a task that reads, edits, runs and plans, with a call whose input is
// no JSON and two calls at once.
func taskScript() []reply {
	thinking := "Let me see."
	return []reply{
		answers(stoppedTools, block{Type: blockThinking, Thinking: &thinking, Signature: "sig"}, block{Type: blockText, Text: "I look <first> & last."},
			tu("read", obj{"path": "a.txt"}), tu("plan", obj{"entries": []obj{{"content": "do it", "status": "in_progress"}}})),
		calls(tu("edit", obj{"path": "a.txt", "old": "one", "new": "two <&>"})),
		calls(tu("run", obj{"command": "echo ran >> log; cat log | wc -l"}), tu("edit", obj{"path": "a.txt", "old": "two", "new": "three"})),
		answers(stoppedTokens, tu("list", obj{}), tu("write", `{"path":"b.txt","cont`)),
		calls(tu("write", obj{"path": "b.txt", "content": "made\n"})),
		calls(tu("edit", obj{"path": "a.txt", "old": "not there", "new": "x"})),
		says("All done."),
	}
}

// Invariant 17: whatever was saved is not asked again, and what is new goes on
// from exactly the conversation that there was.
func TestAfterAnyStepTheWorkGoesOnAsIfNothingHadHappened(t *testing.T) {
	t.Parallel()
	script, files := taskScript(), map[string]string{"a.txt": "one\n"}
	v := newVendorScript(t, script...)
	whole := resume(t, bench(t, files), v.URL, handover{Number: 1, Fingerprint: "f"})
	if claim, out := whole.prompt("Do it."); claim != acp.StopEndTurn || out.Reason != "" || out.Calls != len(script) {
		t.Fatalf("ended with %s, %+v", claim, out)
	}
	all, asked := whole.kept(), v.calls()
	for k := range len(all) + 1 {
		t.Run(fmt.Sprint(k), func(t *testing.T) {
			t.Parallel()
			answered := 0
			for _, s := range all[:k] {
				if !strings.Contains(s.Key, ".") && s.Key != stepKey(0) {
					answered++
				}
			}
			v := newVendorScript(t, append(slices.Clone(script[answered:]), says("never"))...)
			b := resume(t, bench(t, files), v.URL, handover{Number: 1, Fingerprint: "f", Steps: all[:k]})
			claim, out := b.prompt("Do it.")
			if claim != acp.StopEndTurn || out.Reason != "" || out.Calls != len(script)-answered {
				t.Fatalf("ended with %s, %+v", claim, out)
			}
			for i, r := range v.calls() {
				before := asked[answered+i] // a copy: the other cases read it as well
				r.System, before.System = nil, nil
				if diff := cmp.Diff(before, r); diff != "" {
					t.Errorf("call %d is not as it was (-before +after):\n%s", answered+i, diff)
				}
			}
			for name, want := range map[string]string{"a.txt": "three <&>\n", "log": "ran\n", "b.txt": "made\n"} {
				if got := content(t, b.w, name); got != want {
					t.Errorf("%s = %q", name, got)
				}
			}
			if diff := cmp.Diff(byKey(all[k:]), byKey(b.kept())); diff != "" {
				t.Errorf("the steps that were kept after step %d (-whole +resumed):\n%s", k, diff)
			}
			told := text(t, b.told("agent_thought_chunk"))
			if note := fmt.Sprintf("Continued after %d saved model answers", answered); strings.Contains(told, note) != (answered > 0 && answered < len(script)) {
				t.Errorf("told %q", told)
			}
			if strings.Contains(text(t, b.told("agent_message_chunk")), "I look") != (answered == 0) {
				t.Error("what was said before is told as new")
			}
		})
	}
}

// byKey orders steps: calls that only look come back in any order.
func byKey(list []corp.Step) []corp.Step {
	list = append([]corp.Step{}, list...)
	slices.SortFunc(list, func(a, b corp.Step) int { return strings.Compare(a.Key, b.Key) })
	return list
}

func TestAnswersAreKeptBeforeTheNextIsAskedFor(t *testing.T) {
	t.Parallel()
	v := newVendorScript(t, calls(tu("list", obj{})), calls(tu("list", obj{})), says("done"))
	a := resume(t, bench(t, nil), v.URL, handover{Number: 1})
	a.keep = func(s corp.Step) error {
		n := len(v.calls())
		if want := fmt.Sprintf("%05d", n); !strings.HasPrefix(s.Key, want) {
			t.Errorf("step %s is kept after %d calls", s.Key, n)
		}
		return nil
	}
	a.prompt("go")
	if got := len(a.kept()); got != 6 { // the beginning, three answers, two results
		t.Errorf("%d steps", got)
	}
}

func TestStepsThatCannotBeKeptStopNothing(t *testing.T) {
	t.Parallel()
	huge := tu("write", obj{"path": "big", "content": strings.Repeat("x", corp.MaxStep)})
	for name, c := range map[string]struct {
		keep  func(corp.Step) error
		calls []reply
		kept  int
	}{
		"refused":   {func(s corp.Step) error { return errorAt(s.Key, "00002") }, []reply{calls(tu("list", obj{})), calls(tu("list", obj{})), says("done")}, 3},
		"too large": {nil, []reply{calls(tu("list", obj{})), calls(huge), calls(tu("list", obj{})), says("done")}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newVendorScript(t, c.calls...)
			a := resume(t, bench(t, nil), v.URL, handover{Number: 1})
			a.keep = c.keep
			if claim, out := a.prompt("go"); claim != acp.StopEndTurn || out.Reason != "" {
				t.Errorf("ended with %s, %+v", claim, out)
			}
			if got := a.kept(); len(got) != c.kept { // what follows rests on what is missing
				t.Errorf("%d steps were kept: %v", len(got), got)
			}
			if !strings.Contains(a.stderr.String(), "steps are not kept any more") {
				t.Errorf("log: %s", a.stderr)
			}
		})
	}
}

func errorAt(key, bad string) error {
	if key == bad {
		return errors.New("no room")
	}
	return nil
}

func TestStepsOfOtherWorkAreNotUsed(t *testing.T) {
	t.Parallel()
	v := newVendorScript(t, calls(tu("write", obj{"path": "old", "content": "x"})), says("done"))
	first := resume(t, bench(t, nil), v.URL, handover{Number: 3, Fingerprint: "f"})
	first.prompt("go")
	good := first.kept()
	change := func(i int, key, output string) []corp.Step {
		list := slices.Clone(good)
		list[i] = corp.Step{Key: key, Output: json.RawMessage(output)}
		return list
	}
	for name, h := range map[string]handover{
		"another task":      {Fingerprint: "g", Steps: good},
		"another version":   {Fingerprint: "f", Steps: change(0, "00000", `{"version":99,"fingerprint":"f"}`)},
		"no beginning":      {Fingerprint: "f", Steps: good[1:]},
		"a hole":            {Fingerprint: "f", Steps: slices.Delete(slices.Clone(good), 1, 2)},
		"a strange key":     {Fingerprint: "f", Steps: change(1, "../../etc", `{}`)},
		"no step":           {Fingerprint: "f", Steps: change(1, "00001", `[]`)},
		"an empty step":     {Fingerprint: "f", Steps: change(1, "00001", `{}`)},
		"two things in one": {Fingerprint: "f", Steps: change(1, "00001", `{"answer":{},"shortening":{}}`)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newVendorScript(t, calls(tu("write", obj{"path": "new", "content": "x"})), says("done"))
			h.Number = 3
			a := resume(t, bench(t, nil), v.URL, h)
			if claim, out := a.prompt("go"); claim != acp.StopEndTurn || out.Calls != 2 {
				t.Errorf("ended with %s, %+v", claim, out)
			}
			if r := use(t, a.w, "read", obj{"path": "old"}); !r.failed {
				t.Error("something of the other work was repeated")
			}
			if a.journal != 4 || len(a.kept()) != 4 {
				t.Errorf("journal %d has %d steps", a.journal, len(a.kept()))
			}
			if told := text(t, a.told("agent_thought_chunk")); !strings.Contains(told, "starts anew") {
				t.Errorf("told %q", told)
			}
		})
	}
}

// A checkout that does not come out as the model saw it is shown to the model.
func TestWhatARepeatDoesOtherwiseIsToldToTheModel(t *testing.T) {
	t.Parallel()
	script := []reply{calls(tu("edit", obj{"path": "a.txt", "old": "one", "new": "two"})), calls(tu("run", obj{"command": "test -e gone"})), says("done")}
	w := bench(t, map[string]string{"a.txt": "one\n", "gone": ""})
	v := newVendorScript(t, script...)
	first := resume(t, w, v.URL, handover{Number: 1})
	first.prompt("go")
	all := first.kept()
	for name, left := range map[string][]corp.Step{"in the middle": all[:len(all)-1], "at the end": all} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newVendorScript(t, says("looked again"))
			a := resume(t, bench(t, map[string]string{"a.txt": "one and more\n"}), v.URL, handover{Number: 1, Steps: left})
			if claim, out := a.prompt("go"); claim != acp.StopEndTurn || out.Calls != 1 {
				t.Fatalf("ended with %s, %+v", claim, out)
			}
			last := lastResults(v)
			if note := last[len(last)-1].Text; !strings.Contains(note, "Edit a.txt; test -e gone") {
				t.Errorf("the model is told %q", note)
			}
			// What was said then is a part of the conversation when it is gone on from again.
			again := newVendorScript(t, says("never"))
			b := resume(t, bench(t, map[string]string{"a.txt": "one and more\n"}), again.URL, handover{Number: 1, Steps: append(slices.Clone(left), a.kept()...)})
			if claim, out := b.prompt("go"); claim != acp.StopEndTurn || out.Calls > 1 {
				t.Errorf("the second time ended with %s, %+v", claim, out)
			}
		})
	}
}

func TestACancelledReplayKeepsAndDoesNothingMore(t *testing.T) {
	t.Parallel()
	v := newVendorScript(t, calls(tu("run", obj{"command": "echo $$ >> pids; test -e quick || sleep 600"})), calls(tu("write", obj{"path": "late", "content": "x"})), says("done"))
	first := resume(t, bench(t, map[string]string{"quick": ""}), v.URL, handover{Number: 1})
	first.prompt("go")
	b := resume(t, bench(t, nil), v.URL, handover{Number: 1, Steps: first.kept()})
	cancelled(t, b, func() { pids(t, b.w, "pids", 1) })
	if r := use(t, b.w, "read", obj{"path": "late"}); !r.failed {
		t.Error("a change was repeated after the cancel")
	}
	if got := b.kept(); len(got) != 0 {
		t.Errorf("%d steps were kept", len(got))
	}
}

func TestAJournalThatCannotBeReadIsRefused(t *testing.T) {
	t.Parallel()
	v := newVendorScript(t, says("x"))
	w := bench(t, nil)
	a := startAgent(t, w, testConfig(v.URL, t.TempDir()))
	for _, meta := range []string{`{"corp":{"journal":5}}`, `{"corp":[]}`, `7`} {
		if _, err := a.client.NewSessionWith(t.Context(), w.checkout.dir, nil, json.RawMessage(meta)); err == nil {
			t.Errorf("%s: it is taken", meta)
		}
	}
	if _, err := a.client.NewSessionWith(t.Context(), w.checkout.dir, nil, json.RawMessage(`{"other":1}`)); err != nil {
		t.Error(err)
	}
}

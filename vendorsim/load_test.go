package vendorsim

import (
	"errors"
	"strings"
	"testing"
	"testing/iotest"
)

func load(t *testing.T, text string) *Scenario {
	t.Helper()
	s, err := Load(strings.NewReader(text))
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	return s
}

func TestEveryEmbeddedScenarioLoads(t *testing.T) {
	t.Parallel()
	names := EmbeddedNames()
	if len(names) == 0 {
		t.Fatal("no scenario is embedded")
	}
	for _, name := range names {
		s, err := Embedded(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if s.Name() == "" || len(s.Rules()) == 0 {
			t.Errorf("%s: name %q, %d rules", name, s.Name(), len(s.Rules()))
		}
	}
	if _, err := Embedded("no-such"); err == nil || !strings.Contains(err.Error(), "example") {
		t.Errorf("an unknown name should list the known ones, got: %v", err)
	}
}

func TestMistakesInAScenarioAreRefusedWithTheirLine(t *testing.T) {
	t.Parallel()
	rule := func(body string) string { return "name: x\nrules:\n  - name: a\n    " + body + "\n" }
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "the file is empty"},
		{"no yaml", "name: [", "line 1"},
		{"no name", "rules: [{name: a}]", "line 1: the scenario needs a name"},
		{"no rules", "name: x\nrules: []", "line 2: the scenario needs at least one rule"},
		{"second document", "name: x\nrules: [{name: a}]\n---\nname: y\n", "a second document follows"},
		{"repeated field", "name: x\nname: y\n", `line 2: mapping key "name" already defined at line 1`},
		{"unknown field at the top", "name: x\nrulez: []", "line 2: field rulez not found"},
		{"unknown field in a rule", rule("replies: {}"), "line 4: field replies not found"},
		{"unknown field in a match", rule("match: {promt: x}"), "line 4: field promt not found"},
		{"unknown field in a pattern", rule("match: {prompt: {regexp: x}}"), "line 4: field regexp not found"},
		{"unknown field in a reply", rule("reply: {txt: x}"), "line 4: field txt not found"},
		{"unknown field in a call", rule("reply: {tool_calls: [{name: a, inputs: {}}]}"), "line 4: field inputs not found"},
		{"unknown field in a fault", rule("faults: [{kind: reset, time: 1}]"), "line 4: field time not found"},
		{"unknown field in usage", rule("reply: {usage: {out: 1}}"), "line 4: field out not found"},
		{"bad expression", rule("match: {prompt: {regex: '('}}"), "line 4: error parsing regexp"},
		{"pattern is a list", rule("match: {prompt: [a]}"), "line 4: a pattern is a text"},
		{"bad range", rule("match: {turn: 3..1}"), `line 4: "3..1" is no count or range`},
		{"negative count", rule("match: {turn: -1}"), `line 4: "-1" is no count or range`},
		{"bad span", rule("reply: {pace: {between: 5}}"), `line 4: "5" is no time span`},
		{"negative span", rule("reply: {pace: {between: -5s}}"), `line 4: "-5s" is no time span`},
		{"chunk of nothing", rule("reply: {pace: {chunk: 0}}"), "line 4: rule \"a\": reply: pace.chunk"},
		{"bad template", rule("reply: {text: '{{.Prompt'}"), "line 4: rule \"a\": reply: text: parse template"},
		{"unknown template field", rule("reply: {text: '{{.Promt}}'}"), "can't evaluate field Promt"},
		{"unknown group", rule("reply: {text: '{{.Capture \"file\"}}'}"), `no expression of the match captures a group named "file"`},
		{"unknown group number", rule("match: {prompt: {regex: '(a)'}}\n    reply: {text: '{{.Group 2}}'}"), "line 5: rule \"a\": reply: text: fill template"},
		{"template in an input", rule("reply: {tool_calls: [{name: a, input: {x: ['{{.No}}']}}]}"), "can't evaluate field No"},
		{"input is a list", rule("reply: {tool_calls: [{name: a, input: [1]}]}"), "the input must be a mapping"},
		{"input twice", rule("reply: {tool_calls: [{name: a, input: {a: 1}, input_json: '{}'}]}"), "not both"},
		{"input not an object", rule("reply: {tool_calls: [{name: a, input_json: '[]'}]}"), "does not make a JSON object"},
		{"input with infinity", rule("reply: {tool_calls: [{name: a, input: {x: .inf}}]}"), `".inf" is no number in JSON`},
		{"input with an anchor", rule("reply: {tool_calls: [{name: a, input: {x: &x 1, y: *x}}]}"), "anchors are not allowed"},
		{"call without a name", rule("reply: {tool_calls: [{input: {}}]}"), "the call needs a name"},
		{"text twice", rule("reply: {text: a, text_bytes: 5}"), "not both"},
		{"too much text", rule("reply: {text_bytes: 99999999999}"), "text_bytes must be between"},
		{"negative usage", rule("reply: {usage: {output: -1}}"), "usage.output must be between"},
		{"forged header", rule("reply: {headers: {x-simulated: no}}"), "the header X-Simulated may not be scripted"},
		{"framing header in a fault", rule("faults: [{kind: status, status: 500, headers: {content-length: '3'}}]"), "the header Content-Length may not be scripted"},
		{"bad insert", rule("reply: {insert: [{after_events: 1}]}"), "insert[0]: write data"},
		{"bad field", rule("reply: {fields: {usage: '[1]'}}"), "fields.usage must be a JSON object"},
		{"bad on_hangup", rule("reply: {on_hangup: die}"), "on_hangup is finish or stop"},
		{"bad counters", "name: x\ncounters: both\nrules: [{name: a}]", "line 2: counters is"},
		{"same rule twice", "name: x\nrules:\n  - {name: a}\n  - {name: a}\n", "line 4: every rule needs a name of its own"},
		{"same model twice", "name: x\nmodels: [{id: m}, {id: m}]\nrules: [{name: a}]", "line 2: every model needs an id of its own"},
		{"unknown fault", rule("faults:\n      - {kind: reset}\n      - {kind: explode}"), "line 6: rule \"a\": faults[1]: there is no kind \"explode\""},
		{"status out of range", rule("faults: [{kind: status, status: 200}]"), "a status between 400 and 599"},
		{"cut without a place", rule("faults: [{kind: cut}]"), "a cut needs after_events or after_bytes"},
		{"bytes for a hang", rule("faults: [{kind: hang, after_bytes: 3}]"), "after_bytes goes with kind cut only"},
		{"place for a reset", rule("faults: [{kind: reset, after_events: 3}]"), "after_events does not go with kind reset"},
		{"status for a cut", rule("faults: [{kind: cut, after_events: 1, status: 500}]"), "status does not go with kind cut"},
		{"negative times", rule("faults: [{kind: reset, times: -1}]"), "must not be negative"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := Load(strings.NewReader(c.text))
			if err == nil {
				t.Fatal("it was accepted")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q does not contain %q", err, c.want)
			}
			if strings.Contains(err.Error(), "vendorsim.") || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q names a Go type or has more than one line", err)
			}
		})
	}
}

func TestAnInputNestedWithoutEndIsRefused(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 200) + strings.Repeat("]", 200)
	_, err := Load(strings.NewReader("name: x\nrules: [{name: a, reply: {tool_calls: [{name: t, input: {x: " + deep + "}}]}}]"))
	if err == nil || !strings.Contains(err.Error(), "nested deeper than 64") {
		t.Errorf("got %v", err)
	}
}

func TestAFileThatIsTooLargeOrCannotBeReadIsRefused(t *testing.T) {
	t.Parallel()
	_, err := Load(strings.NewReader(strings.Repeat("#", maxScenario+1)))
	if err == nil || !strings.Contains(err.Error(), "larger than 16 MiB") {
		t.Errorf("too large: %v", err)
	}
	broken := errors.New("disk on fire")
	if _, err := Load(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("unreadable: %v", err)
	}
}

func FuzzLoadNeverPanics(f *testing.F) {
	f.Add("name: x\nrules: [{name: a, reply: {text: '{{.Prompt}}'}}]")
	f.Add("name: x\nrules: [{name: a, reply: {tool_calls: [{name: t, input: {a: [1, null, .5e3]}}]}}]")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Load(strings.NewReader(text))
		if (s == nil) == (err == nil) {
			t.Errorf("scenario %v, error %v", s, err)
		}
	})
}

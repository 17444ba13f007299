package vendorsim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxScenario bounds the size of a scenario file, in bytes.
const maxScenario = 16 << 20

// maxTokens bounds any count of tokens in a scenario or a request, so that sums
// stay far from overflow.
const maxTokens = 1 << 40

var inType = regexp.MustCompile(` in type \*?vendorsim\.\w+`)

// Load reads one scenario from YAML. It refuses unknown and repeated fields, a
// second document, an expression or template that does not compile, a template
// that asks for a group nobody captures, and values out of range; the error
// names the line.
func Load(r io.Reader) (*Scenario, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxScenario+1))
	if err != nil {
		return nil, fmt.Errorf("read scenario: %w", err)
	}
	if len(text) > maxScenario {
		return nil, fmt.Errorf("read scenario: the file is larger than %d MiB", maxScenario>>20)
	}
	file, root, err := decode(text)
	if err != nil {
		return nil, fmt.Errorf("load scenario: %w", err)
	}
	s, at, err := compile(file)
	if err != nil {
		return nil, fmt.Errorf("load scenario: line %d: %w", lineOf(root, at...), err)
	}
	return s, nil
}

// decode reads the text twice: strictly into the types, and as a tree that
// knows the lines.
func decode(text []byte) (*scenarioFile, *yaml.Node, error) {
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return nil, nil, tidy(err)
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	var file scenarioFile
	err := dec.Decode(&file)
	if errors.Is(err, io.EOF) {
		return nil, nil, errors.New("the file is empty")
	}
	if err != nil {
		return nil, nil, tidy(err)
	}
	if err := dec.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, nil, errors.New("a file holds one scenario; a second document follows")
	}
	return &file, &root, nil
}

// tidy takes the names of Go types and the library's preamble from a YAML error.
func tidy(err error) error {
	text := inType.ReplaceAllString(err.Error(), "")
	text = strings.TrimPrefix(strings.TrimPrefix(text, "yaml: "), "unmarshal errors:\n  ")
	return errors.New(strings.ReplaceAll(text, "\n  ", "; "))
}

// compile returns the scenario, or an error and the path of its place in the file.
func compile(f *scenarioFile) (*Scenario, []any, error) {
	s := &Scenario{name: f.Name, combine: f.CombineTurns, models: f.Models, when: match{f.When}}
	switch f.Counters {
	case "", countersPerConv:
		s.perConv = true
	case countersShared:
	default:
		return nil, []any{"counters"}, fmt.Errorf("counters is %s or %s, not %q", countersPerConv, countersShared, f.Counters)
	}
	if f.Name == "" {
		return nil, nil, errors.New("the scenario needs a name")
	}
	if len(f.Rules) == 0 {
		return nil, []any{"rules"}, errors.New("the scenario needs at least one rule")
	}
	if at, err := checkModels(f.Models); err != nil {
		return nil, at, err
	}
	seen := map[string]bool{}
	for i := range f.Rules {
		r, at, err := compileRule(&f.Rules[i], f)
		at = append([]any{"rules", i}, at...)
		switch {
		case err != nil:
			return nil, at, fmt.Errorf("rule %q: %w", f.Rules[i].Name, err)
		case r.name == "" || seen[r.name]:
			return nil, at, errors.New("every rule needs a name of its own")
		}
		seen[r.name] = true
		s.rules = append(s.rules, r)
		s.ruleNames = append(s.ruleNames, r.name)
	}
	return s, nil, nil
}

func checkModels(models []Model) ([]any, error) {
	seen := map[string]bool{}
	for i, m := range models {
		if m.ID == "" || seen[m.ID] {
			return []any{"models", i}, errors.New("every model needs an id of its own")
		}
		if m.ContextWindow < 0 || m.MaxOutput < 0 {
			return []any{"models", i}, errors.New("context_window and max_output must not be negative")
		}
		if m.CapBy != "" && m.CapBy != capOld && m.CapBy != capNew {
			return []any{"models", i}, fmt.Errorf("cap_by is %s or %s, not %q", capOld, capNew, m.CapBy)
		}
		seen[m.ID] = true
	}
	return nil, nil
}

func compileRule(f *ruleFile, shared *scenarioFile) (rule, []any, error) {
	r := rule{name: f.Name, match: match{f.Match}}
	var known capture
	for _, m := range []match{{shared.When}, r.match} {
		for _, t := range m.patterns() {
			known.add(t.pattern, nil)
		}
	}
	var err error
	if r.reply, err = compileReply(&f.Reply, shared, known); err != nil {
		return r, []any{"reply"}, fmt.Errorf("reply: %w", err)
	}
	for i := range f.Faults {
		compiled, err := compileFault(&f.Faults[i], shared)
		if err != nil {
			return r, []any{"faults", i}, fmt.Errorf("faults[%d]: %w", i, err)
		}
		r.faults = append(r.faults, compiled)
	}
	return r, nil, nil
}

// lineOf walks down the path as far as it goes and returns that line.
func lineOf(n *yaml.Node, path ...any) int {
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		n = n.Content[0]
	}
	line := n.Line
	for _, step := range path {
		var next *yaml.Node
		switch key := step.(type) {
		case int:
			if key < len(n.Content) {
				next = n.Content[key]
				line = next.Line
			}
		case string:
			for i := 0; i+1 < len(n.Content); i += 2 {
				if n.Content[i].Value == key {
					line, next = n.Content[i].Line, n.Content[i+1]
				}
			}
		}
		if next == nil {
			break
		}
		n = next
	}
	return line
}

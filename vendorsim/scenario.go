package vendorsim

import (
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// Scenario is a checked, compiled scenario, ready to be served by any number of
// servers at once. Only Load and Embedded make one.
type Scenario struct {
	name      string
	perConv   bool // fault counters belong to a conversation, not to the scenario
	combine   bool // consecutive turns of one role are allowed
	models    []Model
	when      match
	rules     []rule
	ruleNames []string
}

// Name returns the scenario's name, as the file gives it.
func (s *Scenario) Name() string { return s.name }

// Rules returns the names of the rules, in the order in which they are tried.
func (s *Scenario) Rules() []string { return slices.Clone(s.ruleNames) }

// Models returns the models that the scenario lists; none means that any
// model's name is accepted.
func (s *Scenario) Models() []Model { return slices.Clone(s.models) }

// Model is one line of the vendor's list of models. ContextWindow and MaxOutput
// are in tokens; zero means no limit. CapBy names the only cap that Chat
// Completions takes for the model: max_completion_tokens (max_tokens is refused, as with
// a model that reasons), max_tokens (the other is passed over, as by servers that
// do not know it), or empty for either.
type Model struct {
	ID            string `yaml:"id"`
	DisplayName   string `yaml:"display_name"`
	CreatedAt     string `yaml:"created_at"`
	ContextWindow int64  `yaml:"context_window"`
	MaxOutput     int64  `yaml:"max_output"`
	CapBy         string `yaml:"cap_by"`
}

// rule is one compiled rule: a match, the answer, and what goes wrong first.
type rule struct {
	name   string
	match  match
	reply  reply
	faults []fault
}

//go:embed scenarios/*.yaml
var embedded embed.FS

// EmbeddedNames returns the names that Embedded knows, sorted.
func EmbeddedNames() []string {
	files, err := fs.Glob(embedded, "scenarios/*.yaml")
	if err != nil { // only a bad pattern can fail
		panic(err)
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(strings.TrimPrefix(f, "scenarios/"), ".yaml")
	}
	return files
}

// Embedded loads a scenario that comes with the package, by its file's name
// without the ending. An unknown name is an error that lists the known ones.
func Embedded(name string) (*Scenario, error) {
	if !slices.Contains(EmbeddedNames(), name) {
		return nil, fmt.Errorf("there is no embedded scenario %q; there are: %s", name, strings.Join(EmbeddedNames(), ", "))
	}
	f, err := embedded.Open("scenarios/" + name + ".yaml")
	if err != nil {
		return nil, fmt.Errorf("open embedded scenario %s: %w", name, err)
	}
	defer f.Close()
	return Load(f)
}

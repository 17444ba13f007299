// Package mutations_test takes the checks of who may do what away, one at a time,
// and wants a test to notice each: "make test-mutations". It tests nothing itself,
// and what needs no compiler is mutated elsewhere (postgres, api).
package mutations_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/genericcorp/corp/stage"
)

// top is the folder of the module.
var top = filepath.Join("..", "..")

func read[M any](t *testing.T, file string) (all []M) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err == nil {
		err = yaml.Unmarshal(text, &all)
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// makes finds where a migration makes a function.
var makes = regexp.MustCompile(`CREATE (?:OR REPLACE )?FUNCTION (\w+)\(`)

// madeAnew returns the migration after a mutation's that makes the same function
// another time: what is taken away before that is taken from nothing.
func madeAnew(t *testing.T, m stage.Mutation) string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(top, filepath.Dir(m.File), "*.sql"))
	if err != nil {
		t.Fatal(err)
	}
	functions := func(file string) (names []string) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Base(file) == filepath.Base(m.File) { // the last one before the mutation
			before, _, _ := strings.Cut(string(text), m.Old)
			text = []byte(before)
		}
		for _, found := range makes.FindAllStringSubmatch(string(text), -1) {
			names = append(names, found[1])
		}
		return names
	}
	mutated := ""
	for _, file := range all { // in the order in which they run
		names := functions(file)
		switch {
		case mutated != "" && slices.Contains(names, mutated):
			return filepath.Base(file)
		case filepath.Base(file) == filepath.Base(m.File) && len(names) > 0:
			mutated = names[len(names)-1]
		}
	}
	return ""
}

// The code that a mutation takes away moves: then the mutation moves with it.
func TestEveryMutationFitsTheCode(t *testing.T) {
	t.Parallel()
	for file, least := range map[string]int{"checks.yaml": 40, filepath.Join("..", "engine", "mutations", "mutations.yaml"): 25} {
		all := read[stage.Mutation](t, file)
		if len(all) < least {
			t.Errorf("%s has only %d mutations", file, len(all))
		}
		for _, m := range all {
			if err := m.Fits(top); err != nil {
				t.Errorf("%s: %v", file, err)
			}
			if later := madeAnew(t, m); later != "" {
				t.Errorf("%s: %s: %s makes the function anew", file, m.Name, later)
			}
		}
	}
}

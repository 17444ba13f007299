//go:build mutations

package engine

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/genericcorp/corp/stage"
)

// mutation is a deliberate fault in the product.
type mutation struct {
	stage.Mutation `yaml:",inline"`

	Invariant int    `yaml:"invariant"`
	Test      string `yaml:"test"`
	Self      bool   `yaml:"self"`  // the suite itself imports what is mutated
	Alone     bool   `yaml:"alone"` // its test is about the machine's speed: nothing else runs

	noticed, said string
	took          time.Duration
}

// top is the folder of the module.
var top = filepath.Join("..", "..")

// A mutation that no test notices is a promise that nobody keeps. A test that
// fails without the mutation, too, notices nothing: it runs unmutated first.
func TestEveryMutationIsNoticed(t *testing.T) {
	all := readMutations(t)
	work := t.TempDir()
	suite := compile(t, filepath.Join(work, "suite.test"))
	byTest := map[string][]*mutation{}
	for _, m := range all {
		byTest[m.Test] = append(byTest[m.Test], m)
	}
	t.Cleanup(func() { report(t, all) })
	for test, some := range byTest {
		t.Run(test, func(t *testing.T) {
			if !some[0].Alone {
				t.Parallel()
			}
			unmutated(t, suite, test)
			for _, m := range some {
				m.try(t, suite, filepath.Join(work, fmt.Sprint(slices.Index(all, m))))
			}
		})
	}
}

// report prints what became of the mutations, and writes it where it is asked to.
func report(t *testing.T, all []*mutation) {
	var table strings.Builder
	line := func(invariant, name, noticed, took, said string) {
		fmt.Fprintf(&table, "%9s | %-55s | %-7s | %5s | %s\n", invariant, name, noticed, took, said)
	}
	line("invariant", "mutation", "noticed", "took", "what the test said")
	for _, m := range all {
		line(fmt.Sprint(m.Invariant), m.Name, cmp.Or(m.noticed, "NO"), m.took.String(), m.said)
	}
	_, _ = fmt.Fprintf(os.Stdout, "\n%s\n", table.String())
	if file := os.Getenv("ENGINE_MUTATIONS_REPORT"); file != "" {
		if err := os.WriteFile(file, []byte(table.String()), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// unmutated runs a test as it will be run with a mutation, and fails unless it is
// good.
func unmutated(t *testing.T, suite, test string) {
	t.Helper()
	began := time.Now()
	out, err := invoke(t, suite, test, "")
	took := time.Since(began).Round(time.Second)
	if err != nil || !strings.Contains(out, "\n--- PASS: "+test+" (") {
		t.Fatalf("it is not good without a mutation (%v):\n%s", took, out[max(0, len(out)-6000):])
	}
	t.Logf("without a mutation: good (%v)", took)
}

// try has the mutation's test run on the mutated product.
func (m *mutation) try(t *testing.T, suite, dir string) {
	t.Helper()
	began := time.Now()
	overlay, err := m.Overlay(top, dir)
	if err != nil {
		t.Fatal(err)
	}
	if m.Self {
		suite = compile(t, dir+".test", "-overlay", overlay)
	}
	said, err := m.run(t, suite, overlay)
	m.noticed, m.said, m.took = "yes", said, time.Since(began).Round(time.Second)
	if err != nil {
		m.noticed = "NO"
		t.Errorf("invariant %d, %s: %v", m.Invariant, m.Name, err)
	}
	t.Logf("%d %s: %s (%v) %s", m.Invariant, m.Name, m.noticed, m.took, said)
}

// readMutations reads the list, and fails when one of them fits no more.
func readMutations(t *testing.T) (all []*mutation) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("mutations", "mutations.yaml"))
	if err == nil {
		err = yaml.Unmarshal(text, &all)
	}
	if err != nil {
		t.Fatal(err)
	}
	only := regexp.MustCompile(os.Getenv("ENGINE_ONLY"))
	all = slices.DeleteFunc(all, func(m *mutation) bool { return !only.MatchString(m.Name) })
	for _, m := range all {
		if err := m.Fits(top); err != nil {
			t.Error(err)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	return all
}

// run runs the test that should notice, and returns what it complained of; it
// fails when the test does not fail.
func (m *mutation) run(t *testing.T, suite, overlay string) (said string, err error) {
	t.Helper()
	out, err := invoke(t, suite, m.Test, overlay)
	switch {
	case err == nil:
		return "", errors.New("no test noticed")
	case strings.Contains(out, "\n--- FAIL: "+m.Test+" ("):
		return verdict(out, m.Test), nil
	default:
		return "", fmt.Errorf("the test did not come to an end: %w\n%s", err, out[max(0, len(out)-3000):])
	}
}

// invoke runs a test of the suite in a process of its own, with little patience.
func invoke(t *testing.T, suite, test, overlay string) (out string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), suite, "-test.v", "-test.run", "^"+test+"$", "-test.failfast", "-test.parallel", "4", "-test.timeout", "10m")
	cmd.Env = append(os.Environ(), "ENGINE_OVERLAY="+overlay, "ENGINE_PATIENCE=20s", "ENGINE_REPORT=")
	text, err := cmd.CombinedOutput()
	return "\n" + string(text), err
}

// complaint is a line of a test's output that came from t.Error or t.Log.
var complaint = regexp.MustCompile(`(?m)^\s+\w+_test\.go:\d+: (.*)$`)

// verdict is what a test complained of last, as far as it can be told.
func verdict(out, test string) string {
	said := test + " failed"
	for _, found := range complaint.FindAllStringSubmatch(out, -1) {
		if !strings.HasPrefix(found[1], "ENGINE_SEED") && !strings.HasSuffix(found[1], " said:") {
			said = found[1]
		}
	}
	return said[:min(len(said), 120)]
}

// compile builds the suite as a program.
func compile(t *testing.T, file string, flags ...string) string {
	t.Helper()
	args := append([]string{"test", "-c", "-trimpath", "-tags", "engine", "-o", file}, flags...)
	if out, err := exec.Command("go", append(args, ".")...).CombinedOutput(); err != nil {
		t.Fatalf("compile the suite: %v\n%s", err, out)
	}
	return file
}

//go:build mutations

package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// mutation is a deliberate fault in the product.
type mutation struct {
	Invariant int    `yaml:"invariant"`
	Name      string `yaml:"name"`
	File      string `yaml:"file"`
	Old       string `yaml:"old"`
	New       string `yaml:"new"`
	Test      string `yaml:"test"`
	Self      bool   `yaml:"self"` // the suite itself imports what is mutated
}

// A mutation that no test notices is a promise that nobody keeps.
func TestEveryMutationIsNoticed(t *testing.T) {
	all := readMutations(t)
	only := regexp.MustCompile(os.Getenv("ENGINE_ONLY"))
	work := t.TempDir()
	suite := compile(t, filepath.Join(work, "suite.test"))
	var table strings.Builder
	line := func(invariant, name, noticed, took string) {
		fmt.Fprintf(&table, "%9s | %-55s | %-8s | %s\n", invariant, name, noticed, took)
	}
	line("invariant", "mutation", "noticed", "took")
	for i, m := range all {
		if !only.MatchString(m.Name) {
			continue
		}
		began := time.Now()
		overlay := m.overlay(t, filepath.Join(work, fmt.Sprint(i)))
		binary := suite
		if m.Self {
			binary = compile(t, filepath.Join(work, fmt.Sprint(i, ".test")), "-overlay", overlay)
		}
		noticed := "yes"
		if err := m.run(t, binary, overlay); err != nil {
			noticed = "NO"
			t.Errorf("invariant %d, %s: %v", m.Invariant, m.Name, err)
		}
		line(fmt.Sprint(m.Invariant), m.Name, noticed, time.Since(began).Round(time.Second).String())
		t.Logf("%d %s: %s (%v)", m.Invariant, m.Name, noticed, time.Since(began).Round(time.Second))
	}
	_, _ = fmt.Fprintf(os.Stdout, "\n%s\n", table.String())
	if file := os.Getenv("ENGINE_MUTATIONS_REPORT"); file != "" {
		if err := os.WriteFile(file, []byte(table.String()), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// readMutations reads the list, and fails when one of them fits no more.
func readMutations(t *testing.T) (all []mutation) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("mutations", "mutations.yaml"))
	if err == nil {
		err = yaml.Unmarshal(text, &all)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		source, err := os.ReadFile(filepath.Join("..", "..", m.File))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(source), m.Old); n != 1 {
			t.Errorf("%s: its old text stands %d times in %s", m.Name, n, m.File)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	return all
}

// overlay writes the mutated file and the list that has the compiler take it.
func (m mutation) overlay(t *testing.T, dir string) string {
	t.Helper()
	file, err := filepath.Abs(filepath.Join("..", "..", m.File))
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(file)
	if err == nil {
		err = os.Mkdir(dir, 0o755)
	}
	mutated, list := filepath.Join(dir, filepath.Base(m.File)+".txt"), filepath.Join(dir, "overlay.json")
	if err == nil {
		err = os.WriteFile(mutated, []byte(strings.Replace(string(source), m.Old, m.New, 1)), 0o644)
	}
	text, err2 := json.Marshal(map[string]map[string]string{"Replace": {file: mutated}})
	if err = errors.Join(err, err2); err == nil {
		err = os.WriteFile(list, text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// run runs the tests that should notice, and says when they do not.
func (m mutation) run(t *testing.T, suite, overlay string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, suite, "-test.run", m.Test, "-test.count", "1", "-test.parallel", "4")
	cmd.Env = append(os.Environ(), "ENGINE_OVERLAY="+overlay, "ENGINE_PATIENCE=25s")
	out, err := cmd.CombinedOutput()
	switch {
	case err == nil:
		return errors.New("no test noticed")
	case strings.Contains(string(out), "--- FAIL"), ctx.Err() != nil:
		return nil
	default:
		return fmt.Errorf("the suite did not run: %w\n%s", err, out[:min(len(out), 3000)])
	}
}

// compile builds the suite as a program.
func compile(t *testing.T, file string, flags ...string) string {
	t.Helper()
	args := append([]string{"test", "-c", "-tags", "engine", "-o", file}, flags...)
	if out, err := exec.Command("go", append(args, ".")...).CombinedOutput(); err != nil {
		t.Fatalf("compile the suite: %v\n%s", err, out)
	}
	return file
}

//go:build mutations

package mutations_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/genericcorp/corp/stage"
)

// mutation is a check that is taken away, and the tests that must notice.
type mutation struct {
	stage.Mutation `yaml:",inline"`

	Package string `yaml:"package"`
	Test    string `yaml:"test"`
}

// Attack case 39. Control: each test passes without the mutation.
//
// MUTATIONS_ONLY is an expression for the packages and names ("./api a key may") of
// those to try.
func TestEveryCheckThatIsTakenAwayIsNoticed(t *testing.T) {
	only := regexp.MustCompile(os.Getenv("MUTATIONS_ONLY"))
	began, work := time.Now(), t.TempDir()
	var tried []mutation
	tests := map[string][]string{}
	for _, m := range read[mutation](t, "checks.yaml") {
		if only.MatchString(m.Package + " " + m.Name) {
			tried = append(tried, m)
			tests[m.Package] = append(tests[m.Package], m.Test)
		}
	}
	for pkg, some := range tests {
		if out, err := run(t, pkg, strings.Join(some, "|")); err != nil {
			t.Fatalf("%s is not good without a mutation: %v\n%s", pkg, err, out[max(0, len(out)-4000):])
		}
	}
	noticed := 0
	for i, m := range tried {
		overlay, err := m.Overlay(top, filepath.Join(work, fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		out, err := run(t, m.Package, m.Test, "-overlay", overlay)
		if err == nil || !strings.Contains(out, "--- FAIL: ") {
			t.Errorf("%s: nobody noticed: %v\n%s", m.Name, err, out[max(0, len(out)-1000):])
			continue
		}
		noticed++
		t.Logf("%-55s %s", m.Name, firstFailure.FindString(out))
	}
	_, _ = fmt.Fprintf(os.Stdout, "\nmutations of the checks: %d of %d noticed, in %v\n", noticed, len(tried), time.Since(began).Round(time.Second))
}

var firstFailure = regexp.MustCompile(`--- FAIL: \S+`)

func run(t *testing.T, pkg, tests string, flags ...string) (string, error) {
	t.Helper()
	args := append([]string{"test", "-count=1", "-vet=off", "-failfast", "-timeout", "5m", "-run", tests}, flags...)
	cmd := exec.CommandContext(t.Context(), "go", append(args, pkg)...)
	cmd.Dir = top
	out, err := cmd.CombinedOutput()
	return string(out), err
}

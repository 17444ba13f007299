package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// T6, M3: the demo's cost is price book x the vendor's own books, which the
// demo itself checks and fails on.
func TestDemoMendsARealBugWithAPrivateServerAndLeavesNothing(t *testing.T) {
	t.Parallel()
	tmp := folder(t)
	cmd := exec.Command(binary, "demo")
	cmd.Env = append(cleanEnv(tmp), "TMPDIR="+tmp, "CORP_DATA="+filepath.Join(tmp, "none"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("demo: %v\n%s", err, out)
	}
	for _, want := range []string{"simulated", "FAIL  February 1900", "succeeded", "passed", "-    [ $(($1 % 4)) -eq 0 ]", "They agree to the nanodollar."} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the demo does not say %q:\n%s", want, out)
		}
	}
	left, err := os.ReadDir(tmp)
	if err != nil || len(left) != 0 {
		t.Errorf("the demo left %v, %v", left, err)
	}
	if pids := processesUnder(t, tmp); len(pids) != 0 {
		t.Errorf("the demo left processes %v", pids)
	}
}

func TestDemoUsesTheServerThatRuns(t *testing.T) {
	t.Parallel()
	s := start(t)
	out := s.must("demo")
	if !strings.Contains(out, "using the server at") || !strings.Contains(out, "They agree to the nanodollar.") {
		t.Errorf("demo on a running server:\n%s", out)
	}
	if list := s.must("agent", "list"); strings.Contains(list, "demo-") {
		t.Errorf("the demo's agent is still there:\n%s", list)
	}
}

// processesUnder returns the processes that have anything to do with a folder.
func processesUnder(t *testing.T, dir string) (found []string) {
	t.Helper()
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range commands {
		text, err := os.ReadFile(file)
		cwd, _ := os.Readlink(filepath.Join(filepath.Dir(file), "cwd"))
		if err == nil && (strings.Contains(string(text), dir) || strings.HasPrefix(cwd, dir)) {
			found = append(found, file+" "+strings.ReplaceAll(string(text), "\x00", " "))
		}
	}
	return found
}

package test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/genericcorp/corp"
)

// outcome is what "corp run -o json" promises.
type outcome struct {
	TaskID    corp.TaskID       `json:"task_id"`
	State     corp.TaskState    `json:"state"`
	Reason    corp.Reason       `json:"reason"`
	Detail    string            `json:"detail"`
	Branch    string            `json:"branch"`
	Commit    string            `json:"commit"`
	Diffstat  corp.Diffstat     `json:"diffstat"`
	Check     *corp.CheckResult `json:"check"`
	Calls     int64             `json:"calls"`
	Usage     corp.Usage        `json:"usage"`
	Cost      corp.Nanodollars  `json:"cost_nanodollars"`
	Seconds   float64           `json:"seconds"`
	Simulated bool              `json:"simulated"`
}

// run runs "corp run -o json" and reads the one object that it prints.
func (s *server) run(args ...string) (outcome, result) {
	s.t.Helper()
	r := s.corp(append([]string{"run", "-o", "json"}, args...)...)
	var o outcome
	if r.out != "" {
		if err := json.Unmarshal([]byte(r.out), &o); err != nil {
			s.t.Fatalf("corp run printed no object: %v\n%s%s", err, r.out, r.err)
		}
	}
	return o, r
}

const threeFiles = `
name: three-files
when: {prompt: Say who you are in three files}
rules:
  - name: rule-1
    match: {tool_results: 0}
    reply:
      text: I look first.
      tool_calls:
        - {name: search, input: {pattern: "^package cpu"}}
        - {name: read, input: {path: cpu/byteorder.go, limit: 40}}
        - {name: read, input: {path: cpu/parse.go, limit: 40}}
  - name: rule-2
    match: {tool_results: 3, tool_error: false}
    reply:
      text: Now the three edits.
      tool_calls:
        - {name: edit, input: {path: cpu/byteorder.go, old: "package cpu\n", new: "//\n// A person has read this file.\n\npackage cpu\n"}}
        - {name: edit, input: {path: cpu/parse.go, old: "package cpu\n", new: "//\n// A person has read this file.\n\npackage cpu\n"}}
        - {name: write, input: {path: REVIEWED.md, content: "cpu/byteorder.go and cpu/parse.go were read.\n"}}
  - name: rule-3
    match: {tool_results: 6, tool_error: false}
    reply:
      tool_calls:
        - {name: run, input: {command: "gofmt -e -l cpu && git diff --stat", timeout_seconds: 60}}
  - name: rule-4
    match: {tool_results: 7, tool_error: false}
    reply: {text: All three are done.}
`

// The product's main job on somebody else's code: a copy of a large module.
func TestRunOnALargeForeignRepositoryLeavesTheUsersTreeAlone(t *testing.T) {
	t.Parallel()
	s := start(t)
	v := newVendor(t, threeFiles)
	s.with(v)
	repo := foreignModule(t, s.repos)
	if err := os.WriteFile(filepath.Join(repo, "draft.txt"), []byte("not committed\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	git(t, repo, "add", "draft.txt")
	before := fingerprint(t, repo)

	o, r := s.run("--repo", repo, "--check", "test -z \"$(gofmt -l cpu)\"", "--timeout", "5m", "--budget", "2", "Say who you are in three files.")
	if r.code != 0 || o.State != corp.TaskSucceeded || o.Check == nil || !o.Check.Passed || !o.Simulated {
		t.Fatalf("exit %d, %+v\n%s\n%s", r.code, o, r.err, s.must("logs", o.TaskID.String()))
	}
	if o.Diffstat.Files != 3 || o.Diffstat.Insertions != 7 {
		t.Errorf("diffstat %+v, want three files", o.Diffstat)
	}
	if after := fingerprint(t, repo); after != before {
		t.Error("the run changed the user's working tree, index, HEAD or refs")
	}
	clone := filepath.Join(s.repos, "clone")
	git(t, s.repos, "clone", "-q", repo, clone)
	git(t, clone, "fetch", "-q", "origin", o.Branch+":result")
	git(t, clone, "merge", "-q", "--ff-only", "result")
	if got := git(t, clone, "rev-parse", "HEAD"); got != o.Commit {
		t.Errorf("the branch is at %s, reported %s", got, o.Commit)
	}
	patch := filepath.Join(s.repos, "change.patch")
	if err := os.WriteFile(patch, []byte(s.must("diff", o.TaskID.String())), 0o644); err != nil {
		t.Fatal(err)
	}
	git(t, clone, "reset", "-q", "--hard", "origin/main")
	git(t, clone, "apply", "--check", patch)
	cost, usage := v.cost(t)
	if o.Cost != cost || o.Usage != usage || cost == 0 {
		t.Errorf("ledger %v %+v, vendor %v %+v", o.Cost, o.Usage, cost, usage)
	}
}

// foreignModule puts a copy of a large module of the module cache under git.
func foreignModule(t *testing.T, dir string) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/sys").Output()
	if err != nil {
		t.Fatal(err)
	}
	repo := filepath.Join(dir, "sys")
	if err := os.CopyFS(repo, os.DirFS(strings.TrimSpace(string(out)))); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("chmod", "-R", "u+w", repo).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	commitAll(t, repo)
	return repo
}

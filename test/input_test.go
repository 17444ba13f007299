package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/genericcorp/corp"
)

const odd = `
name: odd
rules:
  - name: rule-1
    match: {prompt: Loop}
    reply: {tool_calls: [{name: run, input: {command: "echo again"}}]}
  - name: rule-2
    match: {prompt: Shout, tool_results: 0}
    reply:
      tool_calls:
        - {name: run, input: {command: "head -c 100000000 /dev/zero | tr '\\0' x"}}
        - {name: write, input: {path: loud.txt, content: "loud\n"}}
  - name: rule-3
    match: {prompt: Fill, tool_results: 0}
    reply: {tool_calls: [{name: run, input: {command: "head -c 100000000 /dev/zero > big; cat big | head -c 10; echo"}}]}
  - name: rule-4
    match: {prompt: Unauthorised}
    faults: [{kind: status, status: 401}]
  - name: rule-5
    match: {prompt: Nothing}
    reply: {text: I would rather not change anything.}
  - name: rule-6
    match: {prompt: Quiet, tool_results: 0}
    reply: {tool_calls: [{name: write, input: {path: quiet.txt, content: "quiet\n"}}]}
  - name: rule-7
    reply: {text: Done.}
`

// S1: each mistake ends in a clear state, with a sentence and the next step.
func TestBadInputIsAnsweredWithWhatToDo(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.with(newVendor(t, odd))
	repo := s.repository(map[string]string{"a.txt": "a\n"})
	empty := folder(t)
	s.must("provider", "list")
	add := func(name, url string) {
		r := s.corpWith(t.Context(), []string{"K=k"}, "provider", "add", name, "--base-url", url, "--key-env", "K")
		if r.code != 0 {
			t.Fatal(r.err)
		}
		s.must("agent", "create", name, "--model", name+"/"+model)
	}
	add("gone", "http://127.0.0.1:1")
	s.must("agent", "create", "unknown", "--model", "sim/no-such-model")
	s.must("agent", "create", "nobody", "--model", "missing/"+model)
	s.must("agent", "create", "brief", "--model", "sim/"+model, "--max-turns", "12")

	for _, c := range []struct {
		name   string
		args   []string
		code   int
		reason corp.Reason
		says   string
	}{
		{"missing repository", []string{"--repo", filepath.Join(empty, "nothing"), "x"}, 2, "", "repo"},
		{"folder without git", []string{"--repo", empty, "x"}, 2, "", "git"},
		{"bad ref", []string{"--repo", repo, "--base", "no-such-ref", "x"}, 2, "", "no-such-ref"},
		{"hostile ref", []string{"--repo", repo, "--base", "--upload-pack=touch /tmp/x", "x"}, 2, "", "base"},
		{"file url", []string{"--repo", "file://" + repo, "x"}, 2, "", "https"},
		{"bad budget", []string{"--repo", repo, "--budget", "ten", "x"}, 2, "", "0.50"},
		{"bad timeout", []string{"--repo", repo, "--timeout", "1ms", "x"}, 2, "", "5m"},
		{"unknown agent", []string{"--repo", repo, "--agent", "nemo", "x"}, 2, "", "agent"},
		{"no prompt", []string{"--repo", repo}, 2, "", "Usage"},
		{"unknown flag", []string{"--repo", repo, "--budgett", "1", "x"}, 2, "", "--help"},
		{"unreachable repository", []string{"--repo", "http://127.0.0.1:1/x.git", "--attempts", "1", "x"}, 3, corp.ReasonAttempts, "could not be reached"},
		{"unreachable vendor", []string{"--repo", repo, "--agent", "gone", "--attempts", "1", "x"}, 3, corp.ReasonAttempts, "nothing listens there"},
		{"wrong vendor key", []string{"--repo", repo, "Unauthorised"}, 3, corp.ReasonProviderKey, ""},
		{"unknown model under a budget", []string{"--repo", repo, "--agent", "unknown", "--budget", "1", "x"}, 3, corp.ReasonModelUnknown, ""},
		{"unknown provider", []string{"--repo", repo, "--agent", "nobody", "x"}, 3, corp.ReasonModelUnknown, ""},
		{"an agent that loops", []string{"--repo", repo, "--agent", "brief", "Loop"}, 3, corp.ReasonStepLimit, ""},
		{"an agent that changes nothing", []string{"--repo", repo, "Nothing"}, 3, corp.ReasonNoChange, ""},
		{"a check that fails", []string{"--repo", repo, "--check", "echo no; exit 7", "Quiet"}, 3, corp.ReasonCheckFailed, ""},
		{"a check that never ends", []string{"--repo", repo, "--check", "sleep 1000", "--timeout", "20s", "Quiet"}, 3, corp.ReasonCheckFailed, "did not end"},
		{"100 MB from a tool", []string{"--repo", repo, "Shout"}, 0, corp.ReasonCompleted, ""},
		{"100 MB from the check", []string{"--repo", repo, "--check", "head -c 100000000 /dev/zero | tr '\\0' y", "Quiet"}, 0, corp.ReasonCompleted, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o, r := s.run(c.args...)
			if r.code != c.code || o.Reason != c.reason {
				t.Fatalf("exit %d, reason %q, want %d, %q\n%s\n%s", r.code, o.Reason, c.code, c.reason, r.out, r.err)
			}
			if c.reason == "" && (!strings.Contains(r.err, c.says) || !strings.HasPrefix(r.err, "corp: ")) {
				t.Errorf("says %q, want a sentence with %q", r.err, c.says)
			}
			if c.code == 3 && (len(o.Detail) < 20 || !strings.Contains(o.Detail, c.says)) {
				t.Errorf("the detail %q tells a person nothing", o.Detail)
			}
		})
	}
}

// A runner whose disk is full says so, and the next runner can do the task.
func TestFullDiskEndsInAClearState(t *testing.T) {
	t.Parallel()
	s := start(t, append(quick, "--no-runner")...)
	s.with(newVendor(t, odd))
	repo := s.repository(map[string]string{"a.txt": "a\n"})
	work := folder(t)
	key := strings.Fields(s.must("key", "create", "small", "--role", "runner"))
	script := "mount -t tmpfs -o size=8m,mode=0755 tmpfs " + work + " && exec " + binary + " runner start --server http://" + s.listen + " --slots 1 --work " + work
	cmd := exec.Command("unshare", "--mount", "--map-root-user", "sh", "-c", script)
	if os.Geteuid() == 0 {
		cmd = exec.Command("unshare", "--mount", "sh", "-c", script)
	}
	cmd.Env = append(cleanEnv(work), "CORP_KEY="+key[len(key)-1])
	cmd.Stdout, cmd.Stderr = s.log, s.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	o, r := s.run("--repo", repo, "--attempts", "1", "Fill the disk.")
	if r.code != 3 || o.Reason != corp.ReasonAttempts || !strings.Contains(o.Detail, "no space left on the runner's disk") {
		t.Errorf("exit %d, reason %q, detail %q\n%s", r.code, o.Reason, o.Detail, r.err)
	}
}

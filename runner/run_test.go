package runner_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
)

func TestATaskComesBackAsABranchThatAppliesToTheCallersRepository(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"bubblewrap", "none"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			s := d.settings()
			s.Sandbox = level
			d.start(s)
			task, run := d.final(d.submit("say working\nask\nenv\nwrite new.txt made by an agent\nsay done", check("grep -q made new.txt && echo checked")))
			if task.State != corp.TaskSucceeded || task.Reason != corp.ReasonCompleted {
				t.Fatalf("task is %s, %s: %s", task.State, task.Reason, task.Detail)
			}
			if run.Branch != corp.BranchOf(task.ID) || run.Commit == "" || run.Pushed || run.Sandbox != level || run.Attempt != 1 || run.Epoch != 1 {
				t.Errorf("run is %+v", run)
			}
			want := &corp.Diffstat{Files: 1, Insertions: 1, Paths: []corp.PathStat{{Path: "new.txt", Insertions: 1}}}
			if diff := cmp.Diff(want, run.Diffstat); diff != "" {
				t.Error(diff)
			}
			if run.Check == nil || !run.Check.Passed || run.Check.ExitCode != 0 || run.Check.Output != "checked\n" {
				t.Errorf("check is %+v", run.Check)
			}
			_, text := d.transcript(run.ID)
			for _, wanted := range []string{"Checked out " + d.base, "working", "permission allow_once", "CORP_AGENT_KEY=gc_run_", "Check passed"} {
				if !strings.Contains(text, wanted) {
					t.Errorf("the transcript does not say %q:\n%s", wanted, text)
				}
			}
			if strings.Contains(text, corp.KeyPrefixLease) || strings.Contains(text, s.Key) {
				t.Error("the agent's environment holds a secret that is not the agent's")
			}
			d.bringHome(run)
		})
	}
}

// bringHome does what the command line does with the result.
func (d *desk) bringHome(run corp.Run) {
	d.t.Helper()
	if run.ResultID == nil || run.PatchID == nil {
		d.t.Fatalf("the run has no result or no patch: %+v", run)
	}
	body, err := d.client.Blob(d.t.Context(), *run.ResultID)
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = body.Close() }()
	bundle, err := io.ReadAll(body)
	if err != nil {
		d.t.Fatal(err)
	}
	path := filepath.Join(d.t.TempDir(), "result.bundle")
	if err := os.WriteFile(path, bundle, 0o600); err != nil {
		d.t.Fatal(err)
	}
	if err := d.local.FetchResult(d.t.Context(), path, run.Branch); err != nil {
		d.t.Fatal(err)
	}
	patch, err := d.client.Patch(d.t.Context(), run.ID)
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = patch.Close() }()
	if text, err := io.ReadAll(patch); err != nil || !bytes.Contains(text, []byte("new.txt")) {
		d.t.Errorf("the patch is %q, %v", text, err)
	}
}

// How a run that goes wrong ends, without a second attempt.
func TestEveryWayToFailEndsInAStateThatSaysWhy(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.start(d.settings())
	bad := func(s *corp.TaskSpec) { s.SourceID, s.BaseCommit = nil, "" }
	for name, c := range map[string]struct {
		script string
		edit   []func(*corp.TaskSpec)
		reason corp.Reason
		detail string // part of
		kept   bool   // the work is there to look at
	}{
		"no change":          {"say nothing to do", nil, corp.ReasonNoChange, "without changing", false},
		"no change, a check": {"say hm", []func(*corp.TaskSpec){check("true")}, corp.ReasonNoChange, "without changing", false},
		"a failed check":     {"write new.txt x", []func(*corp.TaskSpec){check("echo no; exit 7")}, corp.ReasonCheckFailed, "exit code 7", true},
		"a check that hangs": {"write new.txt x", []func(*corp.TaskSpec){check("sleep 1000"), timeout(20)}, corp.ReasonCheckFailed, "did not end", true},
		"a crash":            {"write new.txt x\ncrash", []func(*corp.TaskSpec){attempts(1)}, corp.ReasonAgentFailed, "exit code 3", true},
		"a flood and crash":  {"flood\ncrash", []func(*corp.TaskSpec){attempts(1)}, corp.ReasonAgentFailed, "exit code 3", false},
		"the agent's reason": {"write new.txt x\nreason step_limit It went in circles.", nil, corp.ReasonStepLimit, "circles", true},
		"an unknown reason":  {"reason completed I won.", []func(*corp.TaskSpec){attempts(1)}, corp.ReasonAgentFailed, "I won", false},
		"too many turns":     {"stop max_turn_requests", nil, corp.ReasonStepLimit, "steps", false},
		"a refusal":          {"stop refusal", nil, corp.ReasonRefused, "declined", false},
		"an odd end":         {"stop because", []func(*corp.TaskSpec){attempts(1)}, corp.ReasonAgentFailed, "because", false},
		"its time is up":     {"write new.txt x\nhang", []func(*corp.TaskSpec){timeout(10)}, corp.ReasonTimeout, "time", true},
		"a stubborn agent":   {"stubborn", []func(*corp.TaskSpec){timeout(2)}, corp.ReasonTimeout, "time", false},
		"no such host":       {"x", []func(*corp.TaskSpec){bad, func(s *corp.TaskSpec) { s.RepositoryURL = "http://127.0.0.1:1/x.git" }, attempts(1)}, corp.ReasonRepository, "reached", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := *d
			d.t = t
			task, run := d.final(d.submit(c.script, c.edit...))
			if run.State != corp.RunFailed || run.Reason != c.reason || !strings.Contains(run.Detail, c.detail) {
				t.Errorf("run is %s, %s: %s", run.State, run.Reason, run.Detail)
			}
			if task.State != corp.TaskFailed && task.State != corp.TaskDead {
				t.Errorf("task is %s", task.State)
			}
			if kept := run.ResultID != nil && run.PatchID != nil && run.Commit != ""; kept != c.kept {
				t.Errorf("the work is kept: %v, want %v", kept, c.kept)
			}
		})
	}
}

//go:build engine

package engine

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/genericcorp/corp"
)

// worker writes a file after an answer that takes a while.
const worker = `
name: worker
rules:
  - name: rule-1
    match: {tool_results: 0}
    reply:
      text_bytes: 400
      pace: {between: 60ms, chunk: 20}
      tool_calls: [{name: write, input: {path: done.txt, content: "done\n"}}]
  - name: rule-2
    reply: {text: Done.}
`

// submitReal submits a task on a small repository, as somebody at a command line
// would, and returns what it became.
func (w *tenant) submitReal() corp.Task {
	t := w.site.t
	t.Helper()
	dir := folder(t)
	if err := os.WriteFile(filepath.Join(dir, "a.txt"), []byte("a\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	run := func(name string, args ...string) string {
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		cmd.Env = append(cleanEnv(dir), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "CORP_KEY="+w.key, "CORP_SERVER="+strings.Join(w.site.urls(), ","))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	run("git", "init", "-q", "-b", "main")
	run("git", "add", "-A")
	run("git", "-c", "user.name=Suite", "-c", "user.email=suite@localhost", "commit", "-q", "-m", "start")
	id, err := corp.ParseID[corp.TaskID](run(w.site.servers[0].binary, "run", "--detach", "--repo", dir, "Write it down."))
	if err != nil {
		t.Fatal(err)
	}
	return w.task(id)
}

// Invariants 1, 2 and 13 with the product's own runner and agent: processes die,
// the tasks are done, and what was billed is in the ledger.
func TestRealAgentsFinishTheirTasksWhateverDies(t *testing.T) {
	t.Parallel()
	s := newSite(t, plan{servers: 2})
	w := s.tenant("unlimited")
	v := newVendor(t, worker)
	w.with(v)
	r := hold(t, 1, "real runners and built-in agents; runner, leader, backends killed", "all succeed, once; vendor <= ledger")
	s.revive()
	first := s.realRunner("first", s.poolKey, 2)
	s.realRunner("second", s.poolKey, 2)
	stop := s.oracle.watch(200 * time.Millisecond)
	task := w.submitReal()
	task.Retry = &corp.RetryPolicy{BaseMS: 1, CapMS: 1}
	ids := append(w.submitMany(7, task.TaskSpec), task.ID)
	until(t, patience, "the first runner to be at work", func() bool {
		return value[int](s.oracle, `SELECT count(*)::int FROM runs WHERE runner_name = 'first' AND state = 'running'`) > 0
	})
	window(t, time.Second)
	first.kill()
	leader, _ := s.leader()
	leader.signal(syscall.SIGKILL)
	window(t, 3*time.Second)
	s.killBackends()
	s.awaitFinal(2*patience, ids...)
	r.look(stop())
	for _, id := range ids {
		task := w.task(id)
		r.must(task.State == corp.TaskSucceeded, "task %s is %s (%s): %s", id, task.State, task.Reason, task.Detail)
	}
	s.checkCompletions(r)
	until(t, patience, "the ledger to have all calls", func() bool { return s.purse(w).Ledger >= int64(v.billed(t)) })
	purse := s.purse(w)
	r.must(purse.Spent == purse.Ledger, "the budget says %d, the calls add up to %d", purse.Spent, purse.Ledger)
	r.saw("8 of 8; ledger %v, vendor %v", corp.Nanodollars(purse.Ledger), v.billed(t))
}

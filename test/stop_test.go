package test

import (
	"strings"
	"syscall"
	"testing"

	"github.com/genericcorp/corp"
)

// stuck answers the first call of a task halfway and then never on.
const stuck = `
name: stuck
when: {prompt: Stick}
rules:
  - name: rule-1
    match: {tool_results: 0}
    reply:
      text: I write it down.
      tool_calls: [{name: write, input: {path: done.txt, content: "done\n"}}]
    faults: [{kind: hang, after_events: 5, times: 1}]
  - name: rule-2
    reply: {text: Done.}
`

// A busy server that is told to stop says what it waits for. A second ctrl-c ends
// it at once, and the run that was in hand goes on at the next start.
func TestASecondCtrlCEndsABusyServerAtOnceAndLosesNoTask(t *testing.T) {
	t.Parallel()
	s := start(t, quick...)
	v := newVendor(t, stuck)
	s.with(v)
	id := taskID(t, s.must("run", "--detach", "--repo", s.repository(map[string]string{"a": "a"}), "Stick"))
	wait(t, "the model to be asked", func() bool { return len(v.Requests(1)) == 1 })
	asked, err := s.Task(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	interrupt := func() {
		if err := s.cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Logf("interrupt: %v", err)
		}
	}
	interrupt()
	interrupt() // what a wrapper passes on is the same ctrl-c
	wait(t, "the server to say what it waits for", func() bool { return strings.Contains(s.log.String(), "up to 15 s to finish its runs") })
	wait(t, "the server to end", func() bool {
		select {
		case <-s.ended:
			return true
		default:
			interrupt()
			return false
		}
	})
	if code := s.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("it ended with %d, as if it had been left to stop", code)
	}
	s.up()
	task := s.awaitTask(id)
	lost, err := s.Run(t.Context(), asked.RunID)
	if err != nil {
		t.Fatal(err)
	}
	if task.State != corp.TaskSucceeded || task.Attempts != 2 || lost.State != corp.RunLost {
		t.Errorf("task %s (%s) after %d attempts, its first run %s", task.State, task.Reason, task.Attempts, lost.State)
	}
}

package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

// worker edits a file after a slow answer, so that there is time to kill things.
const worker = `
name: worker
when: {prompt: Work}
rules:
  - name: rule-1
    match: {tool_results: 0}
    reply:
      text_bytes: 400
      pace: {between: 100ms, chunk: 20}
      tool_calls: [{name: write, input: {path: done.txt, content: "done\n"}}]
  - name: rule-2
    reply: {text: Done.}
`

// runnerProcess is a runner that a test started and may kill.
type runnerProcess struct {
	name string
	cmd  *exec.Cmd
	done chan struct{}
}

// startRunner starts a runner of its own, with a workspace key, as another
// machine would.
func (s *server) startRunner(name string, slots int, flags ...string) *runnerProcess {
	s.t.Helper()
	return s.startRunnerAt("http://"+s.listen, name, slots, flags...)
}

// startRunnerAt is startRunner for a runner that knows several servers.
func (s *server) startRunnerAt(servers, name string, slots int, flags ...string) *runnerProcess {
	s.t.Helper()
	out := strings.Fields(s.must("key", "create", name, "--role", "runner"))
	key := out[len(out)-1]
	work := folder(s.t)
	cmd := exec.Command(binary, append([]string{"runner", "start", "--server", servers, "--name", name, "--slots", strconv.Itoa(slots), "--work", work}, flags...)...)
	cmd.Env = append(cleanEnv(work), "CORP_KEY="+key)
	cmd.Stdout, cmd.Stderr = s.log, s.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	r := &runnerProcess{name, cmd, make(chan struct{})}
	go func() { _ = cmd.Wait(); close(r.done) }()
	s.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-r.done
	})
	return r
}

// awaitRunning waits until the task's run is at work, and returns it.
func (s *server) awaitRunning(id corp.TaskID) corp.Run {
	s.t.Helper()
	var run corp.Run
	wait(s.t, "a run of "+id.String()+" to be at work", func() bool {
		task, err := s.Task(s.t.Context(), id)
		if err != nil {
			return false
		}
		if run, err = s.Run(s.t.Context(), task.RunID); err != nil || run.State != corp.RunRunning {
			return false
		}
		entries, err := s.Entries(s.t.Context(), run.ID, -1, 10)
		for _, e := range entries {
			if e.Kind == corp.EntryMessage {
				return err == nil
			}
		}
		return false
	})
	return run
}

// O2: a dead machine costs time, not the task.
func TestKilledRunnersTaskIsFinishedByAnother(t *testing.T) {
	t.Parallel()
	s := start(t, append(quick, "--no-runner")...)
	s.with(newVendor(t, worker))
	runners := map[string]*runnerProcess{"one": s.startRunner("one", 1), "two": s.startRunner("two", 1)}
	id := taskID(t, s.must("run", "--detach", "--repo", s.repository(map[string]string{"a": "a"}), "Work"))
	first := s.awaitRunning(id)
	victim := runners[first.RunnerName]
	if victim == nil {
		t.Fatalf("the run is on %q", first.RunnerName)
	}
	if err := victim.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	task := s.awaitTask(id)
	last, err := s.Run(t.Context(), task.RunID)
	if err != nil {
		t.Fatal(err)
	}
	lost, err := s.Run(t.Context(), first.ID)
	if err != nil {
		t.Fatal(err)
	}
	if task.State != corp.TaskSucceeded || last.RunnerName == first.RunnerName || lost.State != corp.RunLost || lost.Reason != corp.ReasonRunnerLost || task.Attempts != 2 {
		t.Errorf("task %s after %d attempts, first run %s (%s) on %s, last on %s", task.State, task.Attempts, lost.State, lost.Reason, first.RunnerName, last.RunnerName)
	}
}

// submitMany submits the same task n times, from one uploaded base.
func (s *server) submitMany(n int, prompt string) []corp.TaskID {
	s.t.Helper()
	first := taskID(s.t, s.must("run", "--detach", "--repo", s.repository(map[string]string{"a": "a"}), prompt))
	task, err := s.Task(s.t.Context(), first)
	if err != nil {
		s.t.Fatal(err)
	}
	ids := []corp.TaskID{first}
	for len(ids) < n {
		next, err := s.SubmitTask(s.t.Context(), task.TaskSpec, "")
		if err != nil {
			s.t.Fatal(err)
		}
		ids = append(ids, next.ID)
	}
	return ids
}

// awaitAll waits until every task is final, for as long as one after the other
// becomes so: a run that was lost goes behind all others.
func (s *server) awaitAll() {
	s.t.Helper()
	for left := -1; left != 0; {
		before := left
		wait(s.t, "another task to be final", func() bool {
			left = 0
			for _, state := range []corp.TaskState{corp.TaskQueued, corp.TaskRunning} {
				list, err := s.Tasks(s.t.Context(), client.TaskQuery{State: state}, corp.Page{Limit: corp.MaxPage})
				if err != nil {
					return false
				}
				left += len(list.Items)
			}
			return left == 0 || left < before || before < 0
		})
	}
}

// fifty is how many tasks wait when the server or the database dies.
const fifty = 50

// crash submits many tasks, kills something while they run, and checks that
// nothing is lost and nothing is done twice.
func crash(t *testing.T, kill func(s *server)) {
	t.Helper()
	s := start(t, append(quick, "--no-runner")...)
	v := newVendor(t, strings.NewReplacer("between: 100ms", "between: 20ms").Replace(worker))
	s.with(v)
	ids := s.submitMany(fifty, "Work")
	s.startRunner("steady", 4) // now: a slow machine would have done most of them before the last is submitted
	wait(t, "work to be under way, with more to come", func() bool {
		queued, err := s.Tasks(t.Context(), client.TaskQuery{State: corp.TaskQueued}, corp.Page{Limit: corp.MaxPage})
		return err == nil && len(queued.Items) < fifty-5 && len(queued.Items) > fifty/4 && len(v.Books().Calls) > 3
	})
	kill(s)
	s.awaitAll()
	for _, id := range ids {
		task := s.awaitTask(id)
		if task.State != corp.TaskSucceeded {
			t.Errorf("task %s is %s (%s): %s", id, task.State, task.Reason, task.Detail)
		}
		runs, err := s.Runs(t.Context(), id, corp.Page{Limit: corp.MaxPage})
		if err != nil {
			t.Fatal(err)
		}
		succeeded := 0
		for _, r := range runs.Items {
			if r.State == corp.RunSucceeded {
				succeeded++
			}
			if !r.State.Final() {
				t.Errorf("run %s of a final task is %s", r.ID, r.State)
			}
		}
		if succeeded != 1 {
			t.Errorf("task %s succeeded %d times", id, succeeded)
		}
	}
	list, err := s.Tasks(t.Context(), clientAll, corp.Page{Limit: corp.MaxPage})
	if err != nil || len(list.Items) != fifty {
		t.Errorf("%d tasks, %v, want %d", len(list.Items), err, fifty)
	}
	billed, _ := v.cost(t)
	totals, err := s.Usage(t.Context(), usageAll)
	if err != nil || len(totals) != 1 || totals[0].Cost < billed {
		t.Errorf("the vendor billed %v, the ledger has %+v, %v", billed, totals, err)
	}
}

func TestServerKilledWithFiftyTasksLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	crash(t, func(s *server) {
		s.kill(syscall.SIGKILL)
		s.up()
	})
}

func TestPostgresKilledWithFiftyTasksLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	crash(t, func(s *server) {
		pid := postmaster(s.t, s.data)
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			s.t.Fatal(err)
		}
		wait(s.t, "PostgreSQL to be started again", func() bool {
			text, err := os.ReadFile(pidFile(s.data))
			again, _, _ := strings.Cut(string(text), "\n")
			return err == nil && again != strconv.Itoa(pid)
		})
	})
}

func pidFile(data string) string { return filepath.Join(data, "postgres", "data", "postmaster.pid") }

func postmaster(t *testing.T, data string) int {
	t.Helper()
	text, err := os.ReadFile(pidFile(data))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

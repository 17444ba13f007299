package test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

// dawdler writes for 15 seconds.
const dawdler = `
name: dawdler
when: {prompt: Dawdle}
rules:
  - name: rule-1
    reply:
      text_bytes: 3000
      pace: {between: 100ms, chunk: 20}
`

// slack is what a busy machine may take beyond a bound.
const slack = 2 * time.Second

// O1, and invariants 10 and 11 of the queue: not before its time and soon at it.
func TestADelayedTaskStartsAtItsTime(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.with(newVendor(t, worker))
	o, r := s.run("--repo", s.repository(map[string]string{"a": "a"}), "--in", "4s", "Work")
	if r.code != 0 {
		t.Fatalf("exit %d: %+v\n%s", r.code, o, r.err)
	}
	task, err := s.Task(t.Context(), o.TaskID)
	if err != nil {
		t.Fatal(err)
	}
	late := task.StartedAt.Sub(*task.NotBefore)
	if wait := task.NotBefore.Sub(task.CreatedAt); late < 0 || late > time.Second+slack || wait < 3*time.Second || wait > 5*time.Second {
		t.Errorf("it was to wait %v and started %v late", wait, late)
	}
	t.Logf("it started %v after its time", late)
}

// A run that passes its task's deadline is told to stop, and its task has failed.
func TestADeadlineEndsARunThatIsUnderWay(t *testing.T) {
	t.Parallel()
	s := start(t, quick...)
	s.with(newVendor(t, dawdler))
	o, r := s.run("--repo", s.repository(map[string]string{"a": "a"}), "--deadline", "4s", "Dawdle")
	if r.code != 3 || o.State != corp.TaskFailed || o.Reason != corp.ReasonDeadline || !strings.Contains(o.Detail, "deadline") {
		t.Fatalf("exit %d: %+v\n%s", r.code, o, r.err)
	}
	task, err := s.Task(t.Context(), o.TaskID)
	if err != nil {
		t.Fatal(err)
	}
	if late := task.FinishedAt.Sub(*task.DeadlineAt); late < 0 || late > 10*time.Second || task.Attempts != 1 || task.StartedAt == nil {
		t.Errorf("%v after the deadline: %+v", late, task)
	}
}

func TestASchedulesLifeOnTheCommandLine(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.with(newVendor(t, worker))
	read := func(args ...string) (made corp.Schedule) {
		t.Helper()
		if err := json.Unmarshal([]byte(s.must(append([]string{"schedule", "-o", "json"}, args...)...)), &made); err != nil {
			t.Fatal(err)
		}
		return made
	}
	made := read("create", "nightly", "--cron", "30 2 * * *", "--time-zone", "America/Sao_Paulo", "--missed", "skip", "--repo", s.repository(map[string]string{"a": "a"}), "Work")
	if at := made.NextAt; at == nil || at.UTC().Hour() != 5 || at.Minute() != 30 || made.Task.SourceID == nil {
		t.Fatalf("%+v", made)
	}
	if shown := s.must("schedule", "list"); !strings.Contains(shown, "nightly") || !strings.Contains(shown, "America/Sao_Paulo") {
		t.Error(shown)
	}
	if paused := read("pause", "nightly"); !paused.Paused || paused.NextAt != nil {
		t.Errorf("%+v", paused)
	}
	task := s.awaitTask(taskID(t, s.must("schedule", "trigger", "nightly")))
	if task.State != corp.TaskSucceeded || task.ScheduleID == nil || *task.ScheduleID != made.ID {
		t.Errorf("%+v", task)
	}
	if listed := s.must("task", "list", "--schedule", "nightly"); !strings.Contains(listed, task.ID.String()) || strings.Count(listed, "\n") != 2 {
		t.Error(listed)
	}
	if resumed := read("resume", "nightly"); resumed.Paused || !resumed.NextAt.Equal(*made.NextAt) {
		t.Errorf("%+v", resumed)
	}
	if changed := read("update", "nightly", "--cron", "@hourly", "--name", "hourly"); changed.NextAt.Minute() != 0 || changed.TimeZone != "America/Sao_Paulo" {
		t.Errorf("%+v", changed)
	}
	create := func(name, cron string, more ...string) []string {
		return append([]string{"create", name, "--cron", cron, "--repo", "https://git.example.com/a.git", "Work"}, more...)
	}
	for _, c := range []struct {
		args []string
		says string
	}{
		{create("again", "61 * * * *"), "minute"},
		{create("again", "@daily", "--time-zone", "Xx"), "time zone"},
		{create("hourly", "@daily"), "already"},
		{create("again", "@daily", "--agent", "nobody"), "agent: There is no such agent"},
		{[]string{"show", "nobody"}, "no such schedule"},
	} {
		if r := s.corp(append([]string{"schedule"}, c.args...)...); r.code != 2 || !strings.Contains(r.err, c.says) {
			t.Errorf("%q: exit %d: %s", c.args, r.code, r.err)
		}
	}
	s.must("schedule", "delete", "hourly")
	list, err := s.Schedules(t.Context(), corp.Page{})
	if err != nil || len(list.Items) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	if tasks, err := s.Tasks(t.Context(), client.TaskQuery{Schedule: made.ID.String()}, corp.Page{}); err != nil || len(tasks.Items) != 1 {
		t.Errorf("%+v, %v", tasks, err)
	}
}

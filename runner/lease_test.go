package runner_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/pgtest"
	"github.com/genericcorp/corp/runner"
)

// wire stands between a runner and its server, and can be cut.
type wire struct {
	*httptest.Server
	cut  atomic.Bool
	lose func(path string, answer []byte) bool // an answer that is not to arrive; set before use
	hold func(path string) bool                // a request that is not to arrive; set before use
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	proxy.ModifyResponse = func(r *http.Response) error {
		if w.cut.Load() {
			return io.ErrUnexpectedEOF
		}
		if w.lose == nil {
			return nil
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		if w.lose(r.Request.URL.Path, body) {
			return io.ErrUnexpectedEOF
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		return nil
	}
	w.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if w.cut.Load() || w.hold != nil && w.hold(r.Method+" "+r.URL.Path) {
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(rw, r)
	}))
	t.Cleanup(w.Close)
	return w
}

var pid = regexp.MustCompile(`pid=(\d+)=`)

// agentPID waits until the run's agent has said which process it is.
func (d *desk) agentPID(run corp.RunID) int {
	d.t.Helper()
	found := pid.FindStringSubmatch(d.says(run, "pid="))
	n, err := strconv.Atoi(found[1])
	if err != nil || !alive(n) {
		d.t.Fatalf("the agent %v does not live", found)
	}
	return n
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func (d *desk) dies(pid int, within time.Duration) {
	d.t.Helper()
	pgtest.Eventually(d.t, within, "the agent to die", func(context.Context) bool { return !alive(pid) })
}

func TestWhenARunnerIsKilledAnotherFinishesTheTask(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"none", "bubblewrap"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			first := d.settings()
			first.Sandbox = level
			victim := d.launch(first, nil)
			// The first agent hangs; the second is told apart by what the first leaves outside.
			mark := filepath.Join(t.TempDir(), "mark")
			script := "pid\nonce " + mark + "\nwrite new.txt x"
			if level == "bubblewrap" { // no way to leave a mark: the task's time is for both
				script = "pid\nhang"
			}
			task := d.submit(script)
			d.says(task.RunID, "pid=")
			if err := victim.Process.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			second := d.settings()
			d.start(second)
			if level == "bubblewrap" {
				d.tookOver(task)
				return
			}
			after, run := d.final(task)
			if after.State != corp.TaskSucceeded || run.Attempt != 2 {
				t.Errorf("the task is %s (%s) after attempt %d: %s", after.State, after.Reason, run.Attempt, after.Detail)
			}
			old, err := d.client.Run(t.Context(), task.RunID)
			if err != nil || old.State != corp.RunLost || old.Reason != corp.ReasonRunnerLost {
				t.Errorf("the killed runner's run is %s, %s (%v)", old.State, old.Reason, err)
			}
			if _, text := d.transcript(task.RunID); !strings.Contains(text, "pid=") {
				t.Error("what the lost run said is gone")
			}
		})
	}
}

// tookOver waits for the next attempt to begin, sees that nothing of the first
// is left, and cancels it.
func (d *desk) tookOver(task corp.Task) {
	d.t.Helper()
	var next corp.Task
	pgtest.Eventually(d.t, 60*time.Second, "the next attempt", func(ctx context.Context) bool {
		now, err := d.client.Task(ctx, task.ID)
		next = now
		return err == nil && now.RunID != task.RunID && now.State == corp.TaskRunning
	})
	d.says(next.RunID, "pid=")
	if _, err := d.client.CancelTask(d.t.Context(), task.ID); err != nil {
		d.t.Fatal(err)
	}
	if after, run := d.final(task); after.State != corp.TaskCancelled || run.Attempt != 2 {
		d.t.Errorf("the task is %s after attempt %d", after.State, run.Attempt)
	}
}

func TestARunnerThatIsNotHeardKillsItsAgentBeforeTheServerGivesTheRunAway(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	w := newWire(t, d.generous(15*time.Second)) // the agent has five seconds, and the server gives it twenty
	s := d.settings()
	s.URL = w.URL
	d.start(s)
	mark := filepath.Join(t.TempDir(), "mark")
	task := d.submit("pid\nonce " + mark + "\nwrite new.txt x")
	agent := d.agentPID(task.RunID)
	d.renewed(task.RunID)
	w.cut.Store(true)
	d.dies(agent, 20*time.Second)
	run, err := d.client.Run(t.Context(), task.RunID)
	if err != nil || run.State != corp.RunRunning {
		t.Errorf("when the agent died the run was %s already (%v)", run.State, err)
	}
	pgtest.Eventually(t, 60*time.Second, "the server to give the run away", func(ctx context.Context) bool {
		run, err := d.client.Run(ctx, task.RunID)
		return err == nil && run.State == corp.RunLost
	})
	w.cut.Store(false) // the same runner takes the next attempt
	if after, run := d.final(task); after.State != corp.TaskSucceeded || run.Attempt != 2 {
		t.Errorf("the task is %s after attempt %d: %s", after.State, run.Attempt, after.Detail)
	}
}

func TestAnAgentOutlivesAServerThatIsAwayForLessThanItsLease(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	w := newWire(t, d.generous(time.Second))
	s := d.settings()
	s.URL = w.URL
	d.start(s)
	goOn := filepath.Join(t.TempDir(), "go-on")
	task := d.submit("pid\nsay before\nawait " + goOn + "\nsay after\nwrite new.txt x")
	agent := d.agentPID(task.RunID)
	d.renewed(task.RunID)
	w.cut.Store(true)
	write(t, goOn)
	pgtest.Eventually(t, generousTTL/2, "the agent to end unheard", func(context.Context) bool { return !alive(agent) })
	w.cut.Store(false)
	after, run := d.final(task)
	if after.State != corp.TaskSucceeded || run.Attempt != 1 {
		t.Errorf("the task is %s after attempt %d: %s", after.State, run.Attempt, after.Detail)
	}
	if _, text := d.transcript(run.ID); !strings.Contains(text, "after") {
		t.Error("what the agent said meanwhile is missing")
	}
}

func write(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestCancellingEndsAQueuedTaskAtOnceAndARunningOneWithItsAgent(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	queued := d.submit("hang")
	if now, err := d.client.CancelTask(t.Context(), queued.ID); err != nil || now.State != corp.TaskCancelled {
		t.Errorf("the queued task is %s, %v", now.State, err)
	}
	d.start(d.settings())
	for _, how := range []string{"hang", "stubborn"} {
		task := d.submit("write new.txt x\npid\n" + how)
		agent := d.agentPID(task.RunID)
		if _, err := d.client.CancelTask(t.Context(), task.ID); err != nil {
			t.Fatal(err)
		}
		after, run := d.final(task)
		if after.State != corp.TaskCancelled || run.State != corp.RunCancelled || run.Reason != corp.ReasonCancelled || run.ResultID != nil {
			t.Errorf("%s: the task is %s, its run %s, %s", how, after.State, run.State, run.Reason)
		}
		if alive(agent) {
			t.Errorf("%s: the agent lives on", how)
		}
	}
	if _, text := d.transcript(queued.RunID); text != "" {
		t.Errorf("the task that was cancelled in the queue began: %q", text)
	}
}

func TestARunThatBelongsToANewerLeaseIsDroppedWithoutAWord(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.start(d.settings())
	task := d.submit("pid\nhang")
	agent := d.agentPID(task.RunID)
	d.env.Exec(t, `UPDATE runs SET epoch = epoch + 1, lease_hash = '\x00', runner_id = gen_random_uuid(), lease_expires_at = clock_timestamp() + interval '1 hour' WHERE id = $1`, task.RunID)
	d.dies(agent, 20*time.Second)
	after, run := d.final(d.submit("write new.txt x")) // the runner lives and works
	if after.State != corp.TaskSucceeded {
		t.Errorf("the next task is %s: %s", after.State, run.Detail)
	}
	if stolen, err := d.client.Run(t.Context(), task.RunID); err != nil || stolen.State != corp.RunRunning {
		t.Errorf("the run that was taken away is %s (%v): the old runner spoke about it", stolen.State, err)
	}
}

func TestALostAnswerLosesNothing(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]string{"a poll's": "/v1/runner/poll", "an acknowledgement's": "/ack", "entries'": "/entries", "an upload's": "/blobs", "a finish's": "/finish"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			w := newWire(t, d.url)
			var lost atomic.Int32
			w.lose = func(at string, answer []byte) bool {
				matches := strings.HasSuffix(at, path) && (path != "/v1/runner/poll" || bytes.Contains(answer, []byte(`"run_id"`)))
				return matches && lost.Add(1) <= 2
			}
			s := d.settings()
			s.URL = w.URL
			d.start(s)
			after, run := d.final(d.submit("say one\nwrite new.txt x\nsay two"))
			if after.State != corp.TaskSucceeded || run.Attempt != 1 || run.Epoch != 1 {
				t.Errorf("the task is %s after attempt %d, epoch %d: %s", after.State, run.Attempt, run.Epoch, after.Detail)
			}
			if lost.Load() == 0 {
				t.Error("no answer was lost, so nothing was tested")
			}
			if _, text := d.transcript(run.ID); strings.Count(text, "two") != 1 {
				t.Errorf("the transcript is %q", text)
			}
		})
	}
}

func TestADrainingRunnerFinishesWhatItCanAndGivesTheRestBack(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	s := d.settings()
	s.DrainGrace = 15 * time.Second // room for the short task on a busy machine
	stop := d.start(s)
	goOn, mark := filepath.Join(t.TempDir(), "go-on"), filepath.Join(t.TempDir(), "mark")
	short, long := d.submit("pid\nawait "+goOn+"\nwrite new.txt x"), d.submit("pid\nonce "+mark+"\nwrite new.txt x")
	d.agentPID(short.RunID)
	agent := d.agentPID(long.RunID)
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	write(t, goOn)
	if after, run := d.final(short); after.State != corp.TaskSucceeded {
		t.Errorf("the short task is %s: %s", after.State, run.Detail)
	}
	if err := <-stopped; err != nil || alive(agent) {
		t.Errorf("the runner ended with %v; its agent lives: %v", err, alive(agent))
	}
	run, err := d.client.Run(t.Context(), long.RunID)
	if err != nil || run.State != corp.RunQueued || run.Reason != corp.ReasonReleased {
		t.Fatalf("the long run is %s, %s (%v)", run.State, run.Reason, err)
	}
	d.start(d.settings())
	after, run := d.final(long)
	if after.State != corp.TaskSucceeded || run.ID != long.RunID || run.Attempt != 1 || run.Epoch != 2 {
		t.Errorf("the long task is %s, attempt %d, epoch %d: %s", after.State, run.Attempt, run.Epoch, after.Detail)
	}
	entries, text := d.transcript(run.ID)
	if strings.Count(text, "pid=") != 2 || entries[len(entries)-1].Epoch != 2 {
		t.Errorf("the second lease's entries do not follow the first's: %q", text)
	}
}

func TestItWaitsForAServerThatIsNotThereYet(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	w := newWire(t, d.url)
	w.cut.Store(true)
	var asked atomic.Int32
	w.Config.Handler = count(&asked, w.Config.Handler)
	s := d.settings()
	s.URL = w.URL
	d.start(s)
	task := d.submit("write new.txt x")
	pgtest.Eventually(t, 20*time.Second, "the runner to ask again", func(context.Context) bool { return asked.Load() > 2 })
	w.cut.Store(false)
	if after, _ := d.final(task); after.State != corp.TaskSucceeded {
		t.Errorf("the task is %s", after.State)
	}
}

func count(n *atomic.Int32, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		next.ServeHTTP(w, r)
	})
}

func TestARestartedServerGetsItsRunnerBackWithItsRuns(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	var now atomic.Pointer[http.Handler]
	set := func(h http.Handler) { now.Store(&h) }
	set(d.anotherAPI())
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*now.Load()).ServeHTTP(w, r) }))
	t.Cleanup(front.Close)
	s := d.settings()
	s.URL, s.Slots = front.URL, 1
	d.start(s)
	goOn := filepath.Join(t.TempDir(), "go-on")
	task := d.submit("pid\nawait " + goOn + "\nwrite new.txt x")
	next := d.submit("write new.txt y")
	d.agentPID(task.RunID)
	set(d.anotherAPI()) // knows no runner
	expired := pgtest.Value[time.Time](t, d.env, `SELECT lease_expires_at FROM runs WHERE id = $1`, task.RunID)
	pgtest.Eventually(t, 20*time.Second, "a heartbeat after the restart", func(context.Context) bool {
		return pgtest.Value[time.Time](t, d.env, `SELECT lease_expires_at FROM runs WHERE id = $1`, task.RunID).After(expired.Add(time.Second))
	})
	write(t, goOn)
	for _, task := range []corp.Task{task, next} {
		if after, run := d.final(task); after.State != corp.TaskSucceeded || run.Attempt != 1 {
			t.Errorf("the task is %s after attempt %d: %s", after.State, run.Attempt, after.Detail)
		}
	}
}

func TestARunnerThatCanNeverWorkSaysWhyAndEnds(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	older := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(w, `{"runner_id":"","protocol":99,"gateway_url":"http://x","poll_wait_ms":1,"ack_ms":1,"heartbeat_ms":1,"ttl_ms":9,"margin_ms":1}`)
	}))
	t.Cleanup(older.Close)
	for name, c := range map[string]struct {
		edit func(*settings)
		want corp.Kind
		says string
	}{
		"a key of no runner": {func(s *settings) { s.Key = d.key(corp.RoleMember) }, corp.KindForbidden, ""},
		"no key":             {func(s *settings) { s.Key = corp.NewSecret(corp.KeyPrefixRunner) }, corp.KindUnauthenticated, ""},
		"another protocol":   {func(s *settings) { s.URL = older.URL }, corp.KindInvalid, "version 99"},
		"a folder that is taken": {func(s *settings) {
			taken := d.settings()
			s.WorkDir = taken.WorkDir
			d.start(taken)
			pgtest.Eventually(t, 60*time.Second, "the first runner", func(context.Context) bool { // it registers once the folder is its own
				return pgtest.Value[bool](t, d.env, `SELECT EXISTS (SELECT FROM runners WHERE workspace_id = $1)`, d.ws)
			})
		}, corp.KindConflict, "Another runner"},
	} {
		t.Run(name, func(t *testing.T) {
			s := d.settings()
			c.edit(&s)
			r, err := runner.New(s.config(quiet()))
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			err = r.Run(ctx)
			if corp.KindOf(err) != c.want || !strings.Contains(err.Error(), c.says) {
				t.Errorf("it ended with %v", err)
			}
		})
	}
}

// A process that was killed may hold its lock a little longer: whoever takes its
// place waits, and can be told to leave meanwhile.
func TestAFolderIsWaitedForWhileItsOwnerStillDies(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for name, next := range map[string]func(owner *os.File, stop func()){
		"it dies":                  func(owner *os.File, _ func()) { _ = owner.Close() },
		"the next one shall leave": func(_ *os.File, stop func()) { stop() },
	} {
		t.Run(name, func(t *testing.T) {
			s := d.settings()
			if err := os.MkdirAll(s.WorkDir, 0o700); err != nil {
				t.Fatal(err)
			}
			owner, err := os.Create(filepath.Join(s.WorkDir, "lock"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = owner.Close() }()
			if err := syscall.Flock(int(owner.Fd()), syscall.LOCK_EX); err != nil {
				t.Fatal(err)
			}
			r, err := runner.New(s.config(quiet()))
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error, 1)
			go func() { ended <- r.Run(ctx) }()
			time.AfterFunc(200*time.Millisecond, func() { next(owner, cancel) })
			pgtest.Eventually(t, 60*time.Second, "the runner to work, or to leave", func(context.Context) bool {
				return ctx.Err() != nil || pgtest.Value[bool](t, d.env, `SELECT EXISTS (SELECT FROM runners WHERE workspace_id = $1)`, d.ws)
			})
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestManyRunsAtOnceDoNotMix(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	s := d.settings()
	s.Slots = 20
	d.start(s)
	const runs = 20
	tasks := make([]corp.Task, runs)
	for i := range tasks {
		tasks[i] = d.submit(fmt.Sprintf("say this is %d.\nwrite file%d.txt x\nstream", i, i))
	}
	var all sync.WaitGroup
	for i, task := range tasks {
		all.Go(func() {
			after, run := d.final(task)
			if after.State != corp.TaskSucceeded || run.Diffstat == nil || len(run.Diffstat.Paths) != 1 || run.Diffstat.Paths[0].Path != fmt.Sprintf("file%d.txt", i) {
				t.Errorf("run %d is %s (%s): %+v", i, after.State, after.Detail, run.Diffstat)
			}
			if _, text := d.transcript(run.ID); !strings.Contains(text, fmt.Sprintf("this is %d.", i)) || strings.Count(text, "this is") != 1 {
				t.Errorf("run %d's transcript: %.200q", i, text)
			}
		})
	}
	all.Wait()
}

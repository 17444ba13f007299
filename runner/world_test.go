package runner_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/api"
	"github.com/genericcorp/corp/blob"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/dispatch"
	"github.com/genericcorp/corp/feed"
	"github.com/genericcorp/corp/outbound"
	"github.com/genericcorp/corp/postgres/people"
	"github.com/genericcorp/corp/postgres/pgtest"
	"github.com/genericcorp/corp/reconcile"
	"github.com/genericcorp/corp/runner"
	"github.com/genericcorp/corp/runner/gitwork"
	"github.com/genericcorp/corp/runner/sandbox"
	"github.com/genericcorp/corp/seal"
)

// The test binary plays corp: the first process in a sandbox, the agent, and a
// runner that can be killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case sandbox.Subcommand:
			syscall.Exit(sandbox.Init())
		case runner.AgentSubcommand:
			os.Exit(agentRole())
		case "runner":
			os.Exit(runnerRole(os.Args[2]))
		}
	}
	code := m.Run()
	for _, dir := range kept {
		_ = os.RemoveAll(dir) // what is still written to it is nobody's any more
	}
	os.Exit(code)
}

// kept are the folders of what lives as long as the process.
var kept []string

func keep(name string) (string, error) {
	dir, err := os.MkdirTemp("", name)
	kept = append(kept, dir)
	return dir, err
}

// times leave a busy machine room and still let a lease run out within seconds.
func times() dispatch.Times {
	return dispatch.Times{
		PollWait: 5 * time.Second, Ack: 3 * time.Second, Heartbeat: 500 * time.Millisecond, TTL: 6 * time.Second, Margin: time.Second,
		LeaderTTL: 10 * time.Second, Sweep: 100 * time.Millisecond, StopGrace: time.Second,
	}
}

// server is a whole server but for its models: database, leader, API, loops.
// One serves all tests of the process; each has a workspace and runners of its own.
type server struct {
	env   *pgtest.Env
	ring  *seal.Ring
	url   string
	model *httptest.Server

	blobs  *blob.Store
	hub    *feed.Hub
	leader *dispatch.Dispatcher
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func (s *server) api(edit ...func(*dispatch.Times)) (http.Handler, error) {
	times := times()
	for _, e := range edit {
		e(&times)
	}
	a, err := api.New(api.Config{
		DB: s.env.DB, People: people.New(s.env.DB.Door()), Hub: s.hub, Dispatcher: s.leader, Blobs: s.blobs, Ring: s.ring, GatewayURL: func() string { return s.model.URL },
		Times: times, Version: "test", Logger: quiet(), Outbound: outbound.Policy{AllowPrivate: true},
	})
	if err != nil {
		return nil, err
	}
	return a.Handler(), nil
}

// anotherAPI is the API after a restart, perhaps with other times: it has
// forgotten what it had in memory.
func (d *desk) anotherAPI(edit ...func(*dispatch.Times)) http.Handler {
	d.t.Helper()
	handler, err := d.api(edit...)
	if err != nil {
		d.t.Fatal(err)
	}
	return handler
}

// generous leases are renewed for so long that no busy machine lets them end.
func (d *desk) generous(margin time.Duration) (url string) {
	d.t.Helper()
	server := httptest.NewServer(d.anotherAPI(func(at *dispatch.Times) { at.TTL, at.Margin = generousTTL, margin }))
	d.t.Cleanup(server.Close)
	return server.URL
}

// renewed waits until the run's lease is a generous one.
func (d *desk) renewed(run corp.RunID) {
	d.t.Helper()
	pgtest.Eventually(d.t, 60*time.Second, "a heartbeat", func(context.Context) bool {
		return pgtest.Value[bool](d.t, d.env, `SELECT lease_expires_at > clock_timestamp() + interval '10 seconds' FROM runs WHERE id = $1`, run)
	})
}

const generousTTL = 20 * time.Second

var shared = sync.OnceValues(func() (*server, error) {
	dir, err := keep("corp-runner-test-")
	if err != nil {
		return nil, err
	}
	s := &server{}
	if s.ring, err = seal.New(bytes.Repeat([]byte("s"), 32)); err != nil {
		return nil, err
	}
	if s.blobs, err = blob.Open(dir); err != nil {
		return nil, err
	}
	s.model = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "model %s %s", r.URL.Path, r.Header.Get("X-Api-Key"))
	}))
	s.env = <-environment
	s.hub = feed.New(s.env.DB, quiet())
	s.leader = dispatch.New(s.env.DB, s.ring, corp.NewID[corp.ServerID](), "http://127.0.0.1:1", times(), quiet())
	s.hub.OnQueue(s.leader.Wake)
	handler, err := s.api()
	if err != nil {
		return nil, err
	}
	loops := reconcile.New(reconcile.Config{
		DB: s.env.DB, Server: corp.Server{ID: corp.NewID[corp.ServerID]()}, Logger: quiet(),
		Sweep: 100 * time.Millisecond, TTL: time.Millisecond, Margin: times().Margin,
	})
	ctx := context.Background() // as long as the process
	go func() { _ = s.hub.Run(ctx) }()
	go func() { _ = s.leader.Run(ctx) }()
	go func() { _ = loops.Run(ctx) }()
	s.url = httptest.NewServer(handler).URL
	return s, nil
})

// environment carries the test database to shared, which has no test at hand.
var environment = make(chan *pgtest.Env, 1)

var offerEnvironment sync.Once

// desk is a workspace with somebody who submits tasks.
type desk struct {
	*server
	t      *testing.T
	ws     corp.WorkspaceID
	client *client.Client
	source corp.BlobID
	base   string
	local  *gitwork.Local
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	env := pgtest.New(t)
	offerEnvironment.Do(func() { environment <- env })
	s, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{server: s, t: t, ws: env.Workspace(t)}
	d.client = client.New(s.url, d.key(corp.RoleMember), client.Options{})
	repository := newRepository(t)
	d.local, d.base, d.source = d.upload(repository)
	return d
}

// key makes a key of the workspace.
func (d *desk) key(role corp.Role) string {
	d.t.Helper()
	prefix := corp.KeyPrefixLive
	if role == corp.RoleRunner {
		prefix = corp.KeyPrefixRunner
	}
	secret := corp.NewSecret(prefix)
	_, err := d.env.DB.In(d.ws).CreateAPIKey(d.t.Context(), corp.ActorSystem, corp.APIKey{
		ID: corp.NewID[corp.APIKeyID](), Name: string(role), Role: role, Prefix: corp.ShownSecret(secret),
	}, d.ring.Hash(secret))
	if err != nil {
		d.t.Fatal(err)
	}
	return secret
}

// newRepository makes a git repository with one commit.
func newRepository(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "README.md"), []byte("hello\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "."}, {"commit", "-q", "-m", "first"}} {
		git(t, dir, args...)
	}
	return dir
}

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=T", "GIT_AUTHOR_EMAIL=t@example.com", "GIT_COMMITTER_NAME=T", "GIT_COMMITTER_EMAIL=t@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// upload does what the command line does with a folder.
func (d *desk) upload(repository string) (*gitwork.Local, string, corp.BlobID) {
	d.t.Helper()
	local, err := gitwork.OpenLocal(d.t.Context(), repository)
	if err != nil {
		d.t.Fatal(err)
	}
	base, err := local.Resolve(d.t.Context(), "")
	if err != nil {
		d.t.Fatal(err)
	}
	var bundle bytes.Buffer
	if err := local.Bundle(d.t.Context(), base.Commit, &bundle); err != nil {
		d.t.Fatal(err)
	}
	stored, err := d.client.UploadSource(d.t.Context(), &bundle)
	if err != nil {
		d.t.Fatal(err)
	}
	return local, base.Commit, stored.ID
}

// submit asks for a task whose prompt is the agent's script.
func (d *desk) submit(script string, edit ...func(*corp.TaskSpec)) corp.Task {
	d.t.Helper()
	spec := corp.TaskSpec{Prompt: script, SourceID: &d.source, BaseCommit: d.base, TimeoutSeconds: 60}
	for _, e := range edit {
		e(&spec)
	}
	task, err := d.client.SubmitTask(d.t.Context(), spec, "")
	if err != nil {
		d.t.Fatal(err)
	}
	return task
}

func check(command string) func(*corp.TaskSpec) {
	return func(s *corp.TaskSpec) { s.Check = command }
}

func attempts(n int) func(*corp.TaskSpec) {
	return func(s *corp.TaskSpec) { s.MaxAttempts = n }
}

func timeout(s int) func(*corp.TaskSpec) {
	return func(t *corp.TaskSpec) { t.TimeoutSeconds = s }
}

// final waits for the task to end and returns it with its last run.
func (d *desk) final(task corp.Task) (corp.Task, corp.Run) {
	d.t.Helper()
	pgtest.Eventually(d.t, 90*time.Second, "the task to end", func(ctx context.Context) bool {
		now, err := d.client.Task(ctx, task.ID)
		if err == nil {
			task = now
		}
		return err == nil && task.State.Final()
	})
	run, err := d.client.Run(d.t.Context(), task.RunID)
	if err != nil {
		d.t.Fatal(err)
	}
	return task, run
}

// transcript returns what the run has said so far.
func (d *desk) transcript(run corp.RunID) (entries []corp.Entry, text string) {
	d.t.Helper()
	for after := int64(-1); ; {
		page, err := d.client.Entries(d.t.Context(), run, after, 500)
		if err != nil {
			d.t.Fatal(err)
		}
		if len(page) == 0 {
			return entries, text
		}
		for _, e := range page {
			if e.Index != int64(len(entries)) {
				d.t.Fatalf("entry %d follows entry %d", e.Index, len(entries)-1)
			}
			entries = append(entries, e)
			text += e.Text
		}
		after = page[len(page)-1].Index
	}
}

// says waits until the run's transcript holds the text.
func (d *desk) says(run corp.RunID, want string) string {
	d.t.Helper()
	var text string
	pgtest.Eventually(d.t, 60*time.Second, fmt.Sprintf("the run to say %q", want), func(context.Context) bool {
		_, text = d.transcript(run)
		return strings.Contains(text, want)
	})
	return text
}

// settings is a runner's configuration as it travels to a process of its own.
type settings struct {
	URL, Key, Name, WorkDir, Sandbox string
	Slots                            int
	DrainGrace                       time.Duration
	Tmpfs                            bool // mount a small one on the work folder first
	Builtin                          bool // the agent is the built-in one, and not the script's
}

func (d *desk) settings() settings {
	d.t.Helper()
	return settings{URL: d.url, Key: d.key(corp.RoleRunner), Name: "test", WorkDir: filepath.Join(d.t.TempDir(), "work"), Sandbox: "none", Slots: 4, DrainGrace: 10 * time.Second}
}

func (s settings) config(logger *slog.Logger) runner.Config {
	executable, err := os.Executable()
	if err != nil {
		panic(err)
	}
	var env []string
	if s.Builtin {
		env = []string{builtinRole + "=1"}
	}
	return runner.Config{
		Env:    env,
		Client: client.New(s.URL, s.Key, client.Options{}), Name: s.Name, Slots: s.Slots, WorkDir: s.WorkDir,
		Sandbox: sandbox.Level(s.Sandbox), Executable: executable, DrainGrace: s.DrainGrace, Version: "test", Logger: logger,
	}
}

// start runs a runner in this process; stop drains it.
func (d *desk) start(s settings) (stop func() error) {
	d.t.Helper()
	r, err := runner.New(s.config(slog.New(slog.NewTextHandler(d.t.Output(), nil))))
	if err != nil {
		d.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	d.t.Cleanup(func() {
		if err := stop(); err != nil {
			d.t.Errorf("the runner ended with %v", err)
		}
		leftovers, err := filepath.Glob(filepath.Join(s.WorkDir, "run_*"))
		if err != nil || len(leftovers) > 0 {
			d.t.Errorf("the runner left %v behind (%v)", leftovers, err)
		}
	})
	return stop
}

// launch runs a runner as a process that the test may kill.
func (d *desk) launch(s settings, attributes *syscall.SysProcAttr) *exec.Cmd {
	d.t.Helper()
	config, err := json.Marshal(s)
	if err != nil {
		d.t.Fatal(err)
	}
	executable, err := os.Executable()
	if err != nil {
		d.t.Fatal(err)
	}
	cmd := exec.CommandContext(context.Background(), executable, "runner", string(config))
	cmd.Stderr, cmd.SysProcAttr = d.t.Output(), attributes
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	d.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	return cmd
}

func runnerRole(config string) int {
	var s settings
	if err := json.Unmarshal([]byte(config), &s); err != nil {
		return 2
	}
	if s.Tmpfs {
		if err := os.MkdirAll(s.WorkDir, 0o700); err != nil {
			return 2
		}
		if err := syscall.Mount("tmpfs", s.WorkDir, "tmpfs", 0, "size=24m"); err != nil {
			fmt.Fprintln(os.Stderr, "mount:", err)
			return 2
		}
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	r, err := runner.New(s.config(logger))
	if err == nil {
		err = r.Run(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

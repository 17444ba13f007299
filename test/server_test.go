package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/stage"
)

// patience is how long a test waits for what should come in seconds.
const patience = 90 * time.Second

// quick are leases short enough to lose one within a test.
var quick = []string{"--lease-ttl", "3s", "--heartbeat", "500ms", "--ack-within", "2s", "--lease-margin", "1s", "--poll-wait", "2s"}

// server is a "corp up" with a data folder and addresses that it keeps when it
// is started again.
type server struct {
	t       *testing.T
	data    string
	repos   string // where tests put repositories
	listen  string
	gateway string
	args    []string
	env     []string // besides a clean one
	cmd     *exec.Cmd
	ended   chan struct{}
	log     *stage.Log
	*client.Client
}

// start starts a server for one test; it is ended, with all it started, when the
// test ends.
func start(t *testing.T, args ...string) *server {
	t.Helper()
	s := &server{t: t, data: folder(t), listen: freeAddress(t), gateway: freeAddress(t), args: args, log: new(stage.Log)}
	s.repos = folder(t)
	t.Cleanup(func() {
		s.kill(syscall.SIGTERM)
		if t.Failed() {
			t.Logf("the server said:\n%s", tail(s.log.String(), 16_000))
		}
	})
	s.up()
	return s
}

// up starts the process and waits until it is ready.
func (s *server) up() {
	s.t.Helper()
	s.start()
	s.awaitReady()
}

func (s *server) start() {
	s.t.Helper()
	args := append([]string{"up", "--data", s.data, "--listen", s.listen, "--gateway-listen", s.gateway, "--slots", "2"}, s.args...)
	s.cmd = exec.Command(binary, args...)
	s.cmd.Env = append(cleanEnv(s.data), s.env...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan struct{})
	s.ended = ended
	go func(cmd *exec.Cmd) { _ = cmd.Wait(); close(ended) }(s.cmd)
	s.t.Logf("server %d on %s", s.cmd.Process.Pid, s.listen)
}

func (s *server) awaitReady() {
	s.t.Helper()
	ended := s.ended
	wait(s.t, "the server to be ready", func() bool {
		select {
		case <-ended:
			s.t.Fatalf("the server ended:\n%s", s.log)
		default:
		}
		l, err := s.context()
		if err != nil {
			return false
		}
		s.Client = client.New(l.Server, l.Key, client.Options{Patience: 20 * time.Second})
		ready, err := client.New(l.Server, l.Key, client.Options{}).Ready(s.t.Context())
		return err == nil && ready.Ready
	})
}

// kill ends the server's process with sig and waits until it is gone.
func (s *server) kill(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Error(err)
	}
	select {
	case <-s.ended:
	case <-time.After(patience):
		_ = s.cmd.Process.Kill()
		s.t.Errorf("the server did not end on %v", sig)
	}
}

func (s *server) key() string {
	s.t.Helper()
	l, err := s.context()
	if err != nil {
		s.t.Fatal(err)
	}
	return l.Key
}

type localContext struct {
	Server   string `json:"server"`
	Key      string `json:"key"`
	Operator string `json:"operator_key"`
	Runner   string `json:"runner_key_id"`
}

func (s *server) context() (l localContext, err error) {
	b, err := os.ReadFile(filepath.Join(s.data, "context.json"))
	if err == nil {
		err = json.Unmarshal(b, &l)
	}
	return l, err
}

// result is how a command ended.
type result struct {
	out, err string
	code     int
}

// corp runs a command against the server, as its machine's user would.
func (s *server) corp(args ...string) result {
	s.t.Helper()
	return s.corpWith(s.t.Context(), nil, args...)
}

func (s *server) corpWith(ctx context.Context, env []string, args ...string) result {
	s.t.Helper()
	cmd := exec.CommandContext(ctx, binary, append([]string{"--data", s.data}, args...)...)
	cmd.Env = append(cleanEnv(s.data), env...)
	cmd.Dir = s.repos
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		s.t.Fatalf("corp %v: %v", args, err)
	} else if ok && exit.ExitCode() < 0 {
		s.t.Logf("corp %v: %v", args, exit)
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// must is corp for commands that have to work.
func (s *server) must(args ...string) string {
	s.t.Helper()
	r := s.corp(args...)
	if r.code != 0 {
		s.t.Fatalf("corp %v: exit %d\n%s%s", args, r.code, r.out, r.err)
	}
	return r.out
}

// cleanEnv has nothing of a vendor and nothing of the user in it.
func cleanEnv(home string) []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + os.TempDir(), "LANG=C.UTF-8", "GOFLAGS=-mod=mod"}
}

// folder makes a temporary folder that other users may pass through, in memory
// where there is some.
func folder(t *testing.T) string {
	t.Helper()
	top := ""
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		top = "/dev/shm"
	}
	dir, err := os.MkdirTemp(top, "corp-e2e-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// freeAddress is one that stays free while its server is away: it is not among the
// ports that the system gives to connections, and no other test gets it.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 1000 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(10_000+rand.IntN(20_000)))
		if _, taken := addresses.LoadOrStore(address, true); taken {
			continue
		}
		if l, err := net.Listen("tcp", address); err == nil {
			_ = l.Close()
			return address
		}
	}
	t.Fatal("no address is free")
	return ""
}

var addresses sync.Map

// wait polls until done says so, ever less often; what names it in the failure.
func wait(t *testing.T, what string, done func() bool) {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for pause := 10 * time.Millisecond; !done(); pause = min(pause*5/4, 200*time.Millisecond) {
		select {
		case <-time.After(pause):
		case <-limit.C:
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// awaitTask waits until a task is final.
func (s *server) awaitTask(id corp.TaskID) corp.Task {
	s.t.Helper()
	var task corp.Task
	wait(s.t, "task "+id.String()+" to be final", func() bool {
		t, err := s.Task(s.t.Context(), id)
		task = t
		return err == nil && t.State.Final()
	})
	return task
}

func taskID(t *testing.T, text string) corp.TaskID {
	t.Helper()
	id, err := corp.ParseID[corp.TaskID](strings.TrimSpace(text))
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return id
}

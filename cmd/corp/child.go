package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/genericcorp/corp"
)

// child is the runner that "corp up" starts beside itself: a process of its own
// that holds no database credential. It is started again when it dies, and the
// kernel ends it when its parent dies.
type child struct {
	argv    []string
	env     []string
	log     *slog.Logger
	ended   chan struct{} // closed when it will not live again
	halt    chan struct{} // closed when it must not
	once    sync.Once
	mu      sync.Mutex
	process *os.Process // nil between two lives
}

// startRunner starts the runner beside the server, or nothing with --no-runner.
func (s *server) startRunner(ctx context.Context) (*child, error) {
	if s.config.NoRunner {
		return &child{ended: closed(), halt: make(chan struct{})}, nil
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	key := corp.NewSecret(corp.KeyPrefixRunner)
	if err := s.renewRunnerKey(ctx, key); err != nil {
		return nil, fmt.Errorf("make the runner's key: %w", err)
	}
	argv := []string{
		self, "runner", "start", "--work", s.config.path("runner"), "--slots", fmt.Sprint(s.config.Slots),
		"--sandbox", s.config.Sandbox, "--git-env", strings.Join(s.config.GitEnv, ","), "--log-format", s.config.LogFormat, "--log-level", s.config.LogLevel,
	}
	if len(s.config.ReadOnly) > 0 {
		argv = append(argv, "--sandbox-read", strings.Join(s.config.ReadOnly, ","))
	}
	r := &child{argv: argv, env: s.runnerEnv(key), log: s.log, ended: make(chan struct{}), halt: make(chan struct{})}
	go r.keepAlive()
	return r, nil
}

// renewRunnerKey makes the key of this start's runner, and ends that of the last
// start on this data folder: its runner is gone, however it went.
func (s *server) renewRunnerKey(ctx context.Context, key string) error {
	system := s.db.System("start runner")
	if !s.local.RunnerKey.IsZero() {
		if err := system.RevokeOperatorKey(ctx, s.local.RunnerKey); err != nil && corp.KindOf(err) != corp.KindNotFound {
			return err
		}
	}
	s.local.RunnerKey = corp.NewID[corp.OperatorID]()
	if err := writeLocal(s.config.Data, s.local); err != nil {
		return err
	}
	return system.CreateOperatorKey(ctx, s.local.RunnerKey, "runner of "+s.id.String(), corp.RoleRunner, corp.ShownSecret(key), s.ring.Hash(key))
}

// runnerEnv is an explicit list: nothing of the server's environment, vendor
// keys least of all, reaches the runner by accident.
func (s *server) runnerEnv(key string) []string {
	env := []string{"CORP_SERVER=" + s.url(), "CORP_KEY=" + key, "HOME=" + s.config.path("runner"), "TMPDIR=" + os.TempDir()}
	for _, name := range append([]string{"PATH", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR", "GOCOVERDIR"}, s.config.GitEnv...) {
		if value := s.env.Getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}

func closed() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// keepAlive runs the runner until it is halted. The thread that forks must live
// as long as the child, because the death signal is tied to it.
func (r *child) keepAlive() {
	runtime.LockOSThread()
	defer close(r.ended)
	const first, longest = 250 * time.Millisecond, 15 * time.Second
	for wait := first; ; wait = min(2*wait, longest) {
		began := time.Now()
		err := r.live()
		if time.Since(began) > time.Minute {
			wait = first
		}
		timer := time.NewTimer(wait)
		select {
		case <-r.halt:
			timer.Stop()
			return
		case <-timer.C:
			r.log.Error("runner ended, starting it again", "error", err, "wait", wait.String())
		}
	}
}

func (r *child) live() error {
	cmd := exec.Command(r.argv[0], r.argv[1:]...) //nolint:noctx // it ends by drain and signal, not by a context
	cmd.Env, cmd.Stderr = r.env, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ctrl-c reaches us first
	dieWithParent(cmd.SysProcAttr)
	r.mu.Lock()
	if r.halted() {
		r.mu.Unlock()
		return nil
	}
	if err := cmd.Start(); err != nil {
		r.mu.Unlock()
		return fmt.Errorf("start the runner: %w", err)
	}
	r.process = cmd.Process
	r.mu.Unlock()
	err := cmd.Wait()
	r.mu.Lock()
	r.process = nil
	r.mu.Unlock()
	return err
}

func (r *child) halted() bool {
	select {
	case <-r.halt:
		return true
	default:
		return false
	}
}

// leave asks the runner to drain, waits a little for one that is idle, and says
// whether it is gone.
func (r *child) leave(patience time.Duration) bool {
	r.signal(syscall.SIGTERM)
	return r.left(patience)
}

// stop waits for the runner that was asked to leave, and kills it when its time is up.
func (r *child) stop(patience time.Duration) {
	if !r.left(patience) {
		r.signal(syscall.SIGKILL)
		<-r.ended
	}
}

func (r *child) left(within time.Duration) bool {
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-r.ended:
		return true
	case <-timer.C:
		return false
	}
}

func (r *child) signal(sig syscall.Signal) {
	r.once.Do(func() { close(r.halt) })
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process == nil {
		return
	}
	if err := r.process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		r.log.Error("runner took no signal", "error", err)
	}
}

// Package child keeps a runner alive beside the server: a process of its own that is
// started again when it dies, and that the kernel ends when its parent dies. It hands on
// no variable of its own environment: what the runner may know is given by name.
package child

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Process is the runner, through all its lives.
type Process struct {
	argv    []string
	env     []string
	log     *slog.Logger
	ended   chan struct{} // closed when it will not live again
	halt    chan struct{} // closed when it must not
	once    sync.Once
	mu      sync.Mutex
	process *os.Process // nil between two lives
}

// None stands for a runner that was not wanted: it has left already.
func None() *Process {
	p := &Process{ended: make(chan struct{}), halt: make(chan struct{})}
	close(p.ended)
	return p
}

// Keep starts the program and keeps it alive, with this environment and no more, until
// it is asked to leave. Its standard error is this process's.
func Keep(argv, env []string, log *slog.Logger) *Process {
	p := &Process{argv: argv, env: env, log: log, ended: make(chan struct{}), halt: make(chan struct{})}
	go p.keepAlive()
	return p
}

// keepAlive runs the runner until it is halted. The thread that forks must live
// as long as the child, because the death signal is tied to it.
func (p *Process) keepAlive() {
	runtime.LockOSThread()
	defer close(p.ended)
	const first, longest = 250 * time.Millisecond, 15 * time.Second
	for wait := first; ; wait = min(2*wait, longest) {
		began := time.Now()
		err := p.live()
		if time.Since(began) > time.Minute {
			wait = first
		}
		timer := time.NewTimer(wait)
		select {
		case <-p.halt:
			timer.Stop()
			return
		case <-timer.C:
			p.log.Error("runner ended, starting it again", "error", err, "wait", wait.String())
		}
	}
}

func (p *Process) live() error {
	cmd := exec.Command(p.argv[0], p.argv[1:]...) //nolint:noctx // it ends by drain and signal, not by a context
	cmd.Env, cmd.Stderr = p.env, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ctrl-c reaches us first
	DieWithParent(cmd.SysProcAttr)
	p.mu.Lock()
	if p.halted() {
		p.mu.Unlock()
		return nil
	}
	if err := cmd.Start(); err != nil {
		p.mu.Unlock()
		return fmt.Errorf("start the runner: %w", err)
	}
	p.process = cmd.Process
	p.mu.Unlock()
	err := cmd.Wait()
	p.mu.Lock()
	p.process = nil
	p.mu.Unlock()
	return err
}

func (p *Process) halted() bool {
	select {
	case <-p.halt:
		return true
	default:
		return false
	}
}

// Leave asks the runner to drain, waits a little for one that is idle, and says
// whether it is gone.
func (p *Process) Leave(patience time.Duration) bool {
	p.signal(syscall.SIGTERM)
	return p.left(patience)
}

// Stop waits for the runner that was asked to leave, and kills it when its time is up.
func (p *Process) Stop(patience time.Duration) {
	if !p.left(patience) {
		p.signal(syscall.SIGKILL)
		<-p.ended
	}
}

func (p *Process) left(within time.Duration) bool {
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-p.ended:
		return true
	case <-timer.C:
		return false
	}
}

func (p *Process) signal(sig syscall.Signal) {
	p.once.Do(func() { close(p.halt) })
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process == nil {
		return
	}
	if err := p.process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.log.Error("runner took no signal", "error", err)
	}
}

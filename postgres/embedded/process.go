package embedded

import (
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// process is a child that gets a signal when this program is gone.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // how it ended; read it after done
}

// spawn starts a command whose attributes may carry a death signal. The kernel
// sends that signal when the thread that forked ends, which Go may do at any
// time; so the thread is held for as long as the child lives.
func spawn(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		defer close(p.done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// endsWithin waits until the process has ended, but no longer than d.
func (p *process) endsWithin(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-p.done:
		return true
	case <-timer.C:
		return false
	}
}

// command prepares one of PostgreSQL's programs: as the account, in a process
// group of its own (an interrupt typed at a terminal is for us), with nothing
// of our environment.
func command(program string, as account, dir string, args ...string) *exec.Cmd {
	return &exec.Cmd{
		Path:        program,
		Args:        append([]string{program}, args...), // in full: initdb finds postgres by it
		Dir:         dir,
		Env:         []string{"LC_ALL=C", "TZ=UTC", "PATH=/usr/bin:/bin"},
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Credential: as.credential()},
	}
}

package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// killPause lets the killed die before the next look at who is left.
const killPause = 2 * time.Millisecond

// Init is the first process in a sandbox; cmd/corp calls it for the hidden
// Subcommand and exits with what it returns. It reads its order from the
// control pipe, gives up every right it has, sets the limits, opens the way to
// the gateway, starts the command, hands it signals, reaps what it leaves
// behind, and ends everything when the runner says so or is gone.
func Init() int {
	// Credentials, limits and the parent-death signal belong to a thread; the
	// command is forked from this one.
	runtime.LockOSThread()
	control, status := os.NewFile(controlFD, "control"), os.NewFile(statusFD, "status")
	if err := keepDescriptors(); err != nil {
		return refuse(status, err)
	}
	in := bufio.NewReader(control)
	var o order
	if err := readLine(in, &o); err != nil {
		return refuse(status, err)
	}
	first := &firstProcess{order: o, status: status}
	if err := first.start(); err != nil {
		return refuse(status, err)
	}
	if err := writeLine(status, report{Started: true}); err != nil {
		first.killAll() // nobody waits for it any more
	}
	go first.obey(in)
	return first.reap()
}

// commandError is a command that cannot be started in a sandbox that is sound.
type commandError struct{ err error }

func (e commandError) Error() string { return e.err.Error() }

func refuse(status *os.File, err error) int {
	_, command := errors.AsType[commandError](err)
	_ = writeLine(status, report{Error: err.Error(), Command: command})
	const cannotExecute = 126
	return cannotExecute
}

type firstProcess struct {
	order  order
	status *os.File
	child  int
	killed atomic.Bool
}

func (f *firstProcess) start() error {
	if err := f.adoptOrphans(); err != nil {
		return err
	}
	if err := f.order.dropRights(); err != nil {
		return fmt.Errorf("give up rights: %w", err)
	}
	if err := Conceal(); err != nil { // after the change of user, which may undo it
		return err
	}
	if f.order.Port != 0 {
		if err := forward(f.order.Port, f.order.Socket); err != nil {
			return err
		}
	}
	program, err := f.order.lookUp()
	if err != nil {
		return commandError{err}
	}
	if err := f.order.Limits.apply(f.order.Isolated); err != nil {
		return err
	}
	f.child, err = syscall.ForkExec(program, f.order.Argv, &syscall.ProcAttr{
		Dir: f.order.Dir, Env: f.order.Env, Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		return commandError{fmt.Errorf("start %s: %w", f.order.Argv[0], err)}
	}
	if err := f.order.Limits.keepSpare(f.order.Isolated); err != nil {
		return err
	}
	f.forwardSignals()
	return nil
}

// adoptOrphans makes sure that every descendant ends up as our child. The first
// process of a process space is that by nature.
func (f *firstProcess) adoptOrphans() error {
	if f.order.Isolated {
		return nil
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("adopt orphans: %w", err)
	}
	return nil
}

// obey carries out the runner's words until the pipe ends, which kills.
func (f *firstProcess) obey(control *bufio.Reader) {
	for {
		word, err := control.ReadByte()
		if err != nil {
			f.killAll()
			return
		}
		if word == controlTerminate {
			_ = unix.Kill(-f.child, unix.SIGTERM)
		}
	}
}

// forwardSignals hands what was sent to the first process to the command.
func (f *firstProcess) forwardSignals() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2)
	go func() {
		for s := range signals {
			if number, ok := s.(syscall.Signal); ok {
				_ = unix.Kill(-f.child, number)
			}
		}
	}()
}

// reap waits for the command and for everything it left behind, and says how
// the command ended. What outlives the command is killed: a run is over when
// its command is.
func (f *firstProcess) reap() int {
	end := report{Ended: true}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil { // ECHILD: nothing is left
			return f.say(end)
		}
		if pid != f.child {
			continue
		}
		end.Code = status.ExitStatus()
		if status.Signaled() { //nolint:misspell // the kernel's own spelling
			const afterSignal = 128
			end.Code, end.Signal = afterSignal+int(status.Signal()), status.Signal().String()
		}
		if f.order.Isolated {
			return f.say(end) // the kernel ends the process space with us
		}
		go f.killUntilGone()
	}
}

// say reports the end, unless it was our own kill: then the silence tells.
func (f *firstProcess) say(end report) int {
	if !f.killed.Load() {
		_ = writeLine(f.status, end)
	}
	return end.Code
}

// killAll ends every process but this one, which ends once they are reaped.
func (f *firstProcess) killAll() {
	f.killed.Store(true)
	if f.order.Isolated {
		_ = unix.Kill(-1, unix.SIGKILL)
		return
	}
	f.killUntilGone()
}

// killUntilGone kills our children again and again: the death of one makes its
// own children ours, and one may fork while we look.
func (f *firstProcess) killUntilGone() {
	for {
		children := childrenOf(os.Getpid())
		if len(children) == 0 {
			return
		}
		for _, pid := range children {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		time.Sleep(killPause)
	}
}

// lookUp finds the program in the PATH that the command will have.
func (o order) lookUp() (string, error) {
	name := o.Argv[0]
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(o.Dir, name)
		}
		return name, nil
	}
	for _, kv := range o.Env {
		path, ok := strings.CutPrefix(kv, "PATH=")
		if !ok {
			continue
		}
		for _, dir := range filepath.SplitList(path) {
			if !filepath.IsAbs(dir) {
				continue
			}
			if found, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
				return found, nil
			}
		}
	}
	return "", fmt.Errorf("there is no program %q in the sandbox's PATH", name)
}

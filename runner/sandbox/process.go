package sandbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/genericcorp/corp"
)

const (
	// drainTimeout bounds how long Wait waits for output after the end.
	drainTimeout = 5 * time.Second
	// killFallback is when a first process that does not obey is killed from outside.
	killFallback = 3 * time.Second
	// noticeBytes is how much of bubblewrap's complaint is kept for an error.
	noticeBytes = 4 << 10
)

// Process is one command in a sandbox. Set Stdin, Stdout and Stderr before
// Start, or take pipes; then Start, Wait once, and Kill or Stop at any time.
type Process struct {
	Stdin  io.Reader // nil reads as empty
	Stdout io.Writer // nil discards
	Stderr io.Writer // nil discards

	ctx     context.Context //nolint:containedctx // tells a cancelled start from a failed one, as in exec.Cmd
	cmd     *exec.Cmd
	order   order
	files   []string // contents of the generated files
	control *os.File // the runner's end of the control pipe
	status  *os.File // the runner's end of the status pipe
	lines   *bufio.Reader
	notice  *Capped    // the first words on the error stream, for an error
	opened  []*os.File // ends that belong to the child, closed after the start
	kill    sync.Once
}

// Exit is how a process ended.
type Exit struct {
	Code   int    // its exit code; 128 + n after signal n, as a shell would say
	Signal string // the signal that ended it, or empty
	Killed bool   // it was ended from outside before it could say how
}

// OK says whether the process ended by itself with code 0.
func (e Exit) OK() bool { return e == Exit{} }

// String says in words how the process ended: "exit code 1", "signal killed".
func (e Exit) String() string {
	switch {
	case e.Killed:
		return "a kill"
	case e.Signal != "":
		return "signal " + e.Signal
	default:
		return fmt.Sprintf("exit code %d", e.Code)
	}
}

// Command prepares argv under a profile. The first word is looked up in the
// profile's PATH, as the process sees it. Ending ctx kills the process with all
// its descendants. A profile that makes no sense is an invalid error.
func Command(ctx context.Context, p Profile, argv ...string) (*Process, error) {
	if len(argv) == 0 || argv[0] == "" {
		return nil, corp.Invalid("command", "There is no command to run.", "Name a program.")
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	return prepare(ctx, p, argv)
}

// StdinPipe returns the writing end of the process's input. The caller closes it.
func (p *Process) StdinPipe() (io.WriteCloser, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("pipe to sandbox: %w", err)
	}
	p.Stdin, p.opened = r, append(p.opened, r)
	return w, nil
}

// StdoutPipe returns the reading end of the process's output. It ends when the
// last process that holds it is gone, also after Wait. The caller closes it.
func (p *Process) StdoutPipe() (io.ReadCloser, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("pipe from sandbox: %w", err)
	}
	p.Stdout, p.opened = w, append(p.opened, w)
	return r, nil
}

// Start makes the sandbox and starts the process in it. It returns once the
// process runs. An error with Code "sandbox" says that the sandbox could not be
// made; an invalid one that the program in it could not be started.
func (p *Process) Start() error {
	p.connectStreams()
	if err := p.connect(); err != nil {
		return errors.Join(err, p.closeOpened())
	}
	// A thread of its own: on one that the caller may end, the kernel would take
	// the thread's end for the parent's death.
	started := make(chan error, 1)
	go func() { started <- p.cmd.Start() }()
	err := <-started
	_ = p.closeOpened() // the process has its own by now, or never will
	if err != nil {
		_ = errors.Join(p.control.Close(), p.status.Close())
		return p.startError(err)
	}
	var first report
	p.lines = bufio.NewReader(p.status)
	err = writeLine(p.control, p.order)
	if err == nil {
		err = readLine(p.lines, &first)
	}
	if err != nil || first.Error != "" {
		p.Kill()
		_, waitErr := p.Wait()
		if err == nil && first.Command {
			return corp.Invalid("command", first.Error, "Check that the program exists in the sandbox: only the system and the operator's read-only folders are shown.")
		}
		if err == nil {
			err = errors.New(first.Error)
		}
		return p.startError(errors.Join(err, waitErr))
	}
	return nil
}

// connectStreams also keeps the first words on the error stream. As with
// exec.Cmd, both streams may go to one writer, which then is called by one
// goroutine at a time.
func (p *Process) connectStreams() {
	var one sync.Mutex
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = p.Stdin, p.Stdout, p.notice
	if _, isFile := p.Stdout.(*os.File); p.Stdout != nil && !isFile {
		p.cmd.Stdout = &inTurn{one: &one, to: p.Stdout}
	}
	if p.Stderr != nil {
		p.cmd.Stderr = io.MultiWriter(p.notice, &inTurn{one: &one, to: p.Stderr})
	}
}

// inTurn is a writer that takes turns with others.
type inTurn struct {
	one *sync.Mutex
	to  io.Writer
}

func (w *inTurn) Write(p []byte) (int, error) {
	w.one.Lock()
	defer w.one.Unlock()
	return w.to.Write(p)
}

// startError tells a sandbox that could not be made from a context that ended.
func (p *Process) startError(err error) error {
	if p.ctx.Err() != nil {
		return fmt.Errorf("start sandbox: %w", context.Cause(p.ctx))
	}
	if said := firstLines(p.notice.String()); said != "" {
		err = errors.New(said) // bubblewrap's own words say more than a closed pipe
	}
	if p.order.Isolated {
		return unavailable(err)
	}
	return fmt.Errorf("start process: %w", err)
}

// Wait returns how the process ended, after it and all its descendants are gone
// and their output has been written. It is called once, after Start.
func (p *Process) Wait() (Exit, error) {
	err := p.cmd.Wait()
	defer func() { _ = errors.Join(p.control.Close(), p.status.Close()) }()
	var last report
	if readLine(p.lines, &last) == nil && last.Ended {
		return Exit{Code: last.Code, Signal: last.Signal}, nil
	}
	_, isExit := errors.AsType[*exec.ExitError](err)
	if err != nil && !isExit && p.ctx.Err() == nil && !errors.Is(err, exec.ErrWaitDelay) {
		return Exit{}, fmt.Errorf("wait for sandbox: %w", err)
	}
	const killed = 128 + 9
	return Exit{Code: killed, Signal: "killed", Killed: true}, nil
}

// Kill ends the process and all its descendants at once. It may be called at
// any time after Start and more than once; Wait says when they are gone.
func (p *Process) Kill() {
	p.kill.Do(func() {
		_ = p.control.Close()
		time.AfterFunc(killFallback, func() { _ = p.cmd.Process.Kill() })
	})
}

// Stop asks the process group to end (SIGTERM) and kills what is left after
// grace. It returns at once; Wait says when they are gone.
func (p *Process) Stop(grace time.Duration) {
	if _, err := p.control.Write([]byte{controlTerminate}); err != nil {
		return // it has ended, or it is being killed
	}
	time.AfterFunc(grace, p.Kill)
}

// connect makes the two pipes to the first process and hands it their far ends.
func (p *Process) connect() error {
	controlRead, controlWrite, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start sandbox: %w", err)
	}
	statusRead, statusWrite, err := os.Pipe()
	if err != nil {
		return errors.Join(fmt.Errorf("start sandbox: %w", err), controlRead.Close(), controlWrite.Close())
	}
	p.control, p.status = controlWrite, statusRead
	p.opened = append(p.opened, controlRead, statusWrite)
	p.cmd.ExtraFiles = []*os.File{controlRead, statusWrite}
	if err := p.addFiles(); err != nil {
		return errors.Join(err, controlWrite.Close(), statusRead.Close())
	}
	return nil
}

// addFiles passes the generated files' contents; each fits into a pipe.
func (p *Process) addFiles() error {
	for _, content := range p.files {
		r, w, err := os.Pipe()
		if err != nil {
			return fmt.Errorf("start sandbox: %w", err)
		}
		p.opened = append(p.opened, r)
		p.cmd.ExtraFiles = append(p.cmd.ExtraFiles, r)
		if _, err := w.WriteString(content); err != nil {
			return errors.Join(fmt.Errorf("start sandbox: %w", err), w.Close())
		}
		if err := w.Close(); err != nil {
			return fmt.Errorf("start sandbox: %w", err)
		}
	}
	return nil
}

func (p *Process) closeOpened() error {
	var errs []error
	for _, f := range p.opened {
		errs = append(errs, f.Close())
	}
	p.opened = nil
	return errors.Join(errs...)
}

package builtin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	maxRunText   = 32 << 10 // bytes of a command's output that are kept: half its head, half its tail
	maxRunInput  = 64 << 10 // bytes of a command
	reapingGrace = 2 * time.Second
)

type runInput struct {
	Command string `json:"command"`
	Timeout int    `json:"timeout_seconds"`
}

func runTool() tool {
	return define("run",
		"Run a shell command in the checkout and return its output and exit code. Each command starts in the checkout's top folder with no input; long output is cut in the middle. What it leaves running in the background is ended with it.",
		fmt.Sprintf(`{"type":"object","properties":{"command":{"type":"string"},"timeout_seconds":{"type":"integer","minimum":1,"maximum":%d,"description":"Time limit."}},"required":["command"]}`, int(MaxCommandTimeout.Seconds())),
		func(w *workbench, in runInput) call {
			title, _, more := strings.Cut(strings.TrimSpace(in.Command), "\n")
			if more {
				title += " …"
			}
			return call{title: clip(title, 200), kind: kindExecute, do: func(ctx context.Context) result { return run(ctx, w, in) }}
		})
}

var errTimeLimit = errors.New("time limit")

func run(ctx context.Context, w *workbench, in runInput) result {
	if strings.TrimSpace(in.Command) == "" || len(in.Command) > maxRunInput || strings.ContainsRune(in.Command, 0) {
		return failure(misused("command must be a text of 1 to %d bytes without NUL.", maxRunInput))
	}
	limit := w.cfg.CommandTimeout
	if in.Timeout > 0 {
		limit = min(time.Duration(in.Timeout)*time.Second, MaxCommandTimeout)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errTimeLimit)
	defer cancel()
	out := newKeeper(maxRunText/2, maxRunText/2)
	state, err := runGroup(ctx, w, in.Command, out)
	if err != nil {
		return failure(fmt.Errorf("run command: %w", err))
	}
	text := out.String()
	if text == "" {
		text = "(no output)\n"
	}
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errTimeLimit):
		return result{failed: true, text: fmt.Sprintf("%s[stopped after its time limit of %s; give a longer timeout_seconds if it needs one]", text, limit)}
	case cause != nil:
		return result{failed: true, text: text + "[cancelled]"}
	case state.ExitCode() == 0:
		return result{text: text + "[exit code 0]"}
	case state.ExitCode() > 0:
		return result{failed: true, text: fmt.Sprintf("%s[exit code %d]", text, state.ExitCode())}
	default:
		return result{failed: true, text: fmt.Sprintf("%s[ended by %s]", text, state)}
	}
}

// runGroup runs a command in a process group of its own and returns when it has
// ended and the group is gone. Its output is read by a goroutine of ours and not
// given to the process as a file, so that a process that left the group cannot
// keep us waiting by holding on to it.
func runGroup(ctx context.Context, w *workbench, command string, out *keeper) (*os.ProcessState, error) {
	r, pipe, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	defer func() { _ = r.Close() }() // reading is over by then
	cmd := exec.CommandContext(ctx, w.cfg.Shell, "-c", command)
	cmd.Dir, cmd.Env = w.checkout.real, w.cfg.Env
	cmd.Stdout, cmd.Stderr = pipe, pipe
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	killGroup := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel = killGroup
	if err := cmd.Start(); err != nil {
		_ = pipe.Close() // nobody has it
		return nil, fmt.Errorf("start %s: %w", w.cfg.Shell, err)
	}
	_ = pipe.Close() // the command has its own
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = out.ReadFrom(r) // it ends with the pipe, however it ends
	}()
	err = cmd.Wait()
	// What the command left behind must not outlive it. Until the group is empty
	// its number is not given away again; mostly it is empty, and nothing is hit.
	_ = killGroup()
	timer := time.NewTimer(reapingGrace)
	defer timer.Stop()
	select {
	case <-read:
	case <-timer.C: // something that left the group still holds the pipe
		_ = r.Close() // which ends the reading
		<-read
	}
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok && ctx.Err() == nil {
		return nil, fmt.Errorf("wait for %s: %w", w.cfg.Shell, err)
	}
	return cmd.ProcessState, nil
}

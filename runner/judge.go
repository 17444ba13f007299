package runner

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/runner/sandbox"
)

const (
	checkKeeps = 31 << 10 // bytes of a check's output, at each end
	// deliveryTime is how much of a run's time a check must leave for delivery:
	// a fifth, at most this.
	deliveryTime = 20 * time.Second
)

// judge runs the task's check on what the agent left. It comes after the
// commit was made, so that nothing it leaves behind is delivered.
func (run *run) judge(outcome corp.Outcome) corp.Outcome {
	left := time.Until(run.deadline)
	ctx, cancel := context.WithTimeout(run.active, left-min(left/5, deliveryTime))
	defer cancel()
	result, err := run.check(ctx)
	if err != nil {
		return run.failure(err, sandboxOr(err, corp.ReasonInternal))
	}
	if s := run.halted(); s != nil {
		return run.failed(s.reason, s.sentence())
	}
	if ctx.Err() != nil {
		result.ExitCode, result.Passed = -1, false
		result.Output += "\n[ended by the runner: the run's time was nearly used up]"
	}
	run.tell(result)
	switch {
	case result.Passed:
		outcome.Detail = "The agent finished and the check passed."
	case result.ExitCode < 0:
		outcome = run.failed(corp.ReasonCheckFailed, fmt.Sprintf("The check did not end within %.0f seconds.", result.Seconds))
	default:
		outcome = run.failed(corp.ReasonCheckFailed, fmt.Sprintf("The check ended with exit code %d.", result.ExitCode))
	}
	outcome.Check = result
	return outcome
}

// check runs the command in the agent's sandbox, with no way out.
func (run *run) check(ctx context.Context) (*corp.CheckResult, error) {
	command := run.offer.Spec.Check
	process, err := sandbox.Command(ctx, run.bareProfile(), "/bin/sh", "-c", command)
	if err != nil {
		return nil, err
	}
	output := sandbox.NewCapped(checkKeeps, checkKeeps)
	process.Stdout, process.Stderr = output, output
	begun := time.Now()
	if err := process.Start(); err != nil {
		return nil, err
	}
	exit, err := process.Wait()
	if err != nil {
		return nil, err
	}
	code := exit.Code
	if exit.Killed {
		code = -1
	}
	return &corp.CheckResult{
		Command: command, ExitCode: code, Passed: exit.OK(), Output: clean(output.String()), Seconds: time.Since(begun).Seconds(),
	}, nil
}

// tell puts the check's result into the transcript.
func (run *run) tell(result *corp.CheckResult) {
	verdict := "passed"
	if !result.Passed {
		verdict = "failed"
	}
	data, err := json.Marshal(map[string]any{"command": result.Command, "exit_code": result.ExitCode, "passed": result.Passed, "seconds": result.Seconds})
	if err != nil {
		run.logger.ErrorContext(run.held, "the check's result cannot be written", slog.Any("error", err))
	}
	run.story.add(said{kind: corp.EntryResult, text: fmt.Sprintf("Check %s (exit code %d, %.1f s): %s\n%s", verdict, result.ExitCode, result.Seconds, result.Command, result.Output), raw: data})
}

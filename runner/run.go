package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/runner/sandbox"
)

const (
	// stopGrace is what an agent is given to end when the runner itself stops it.
	stopGrace = 10 * time.Second
	// finishFor is how long a server that calls a finish wrong is asked again.
	finishFor = 2 * time.Minute
)

// run is one lease in hand. It has two contexts: held ends when the lease does,
// and then everything dies at once and nothing is reported; active ends earlier
// when the run is to stop, and its cause says why.
type run struct {
	*Runner
	offer  corp.Offer
	before *run // the same run under an older lease; its folder must be gone first
	logger *slog.Logger
	folder sandbox.Folder
	done   chan struct{}

	held   context.Context //nolint:containedctx // the lease as a context: it outlives every call
	drop   context.CancelCauseFunc
	active context.Context //nolint:containedctx // likewise, the part of it in which there is work to do
	halt   context.CancelCauseFunc

	story    *transcript
	deadline time.Time // when the run has used up its time, on this machine's monotonic clock

	mu     sync.Mutex
	acked  bool
	ending bool        // its outcome is known and being reported
	expiry *time.Timer // ends the lease without a good beat
}

// stopped is why a run was told to stop before its agent was done.
type stopped struct {
	reason corp.Reason
	detail string
	grace  time.Duration
}

// Error says it for a log.
func (s *stopped) Error() string { return "stopped: " + string(s.reason) }

// lost is why a lease has ended before the run did.
type lost struct{ why string }

// Error says it for a log.
func (l *lost) Error() string { return "lease lost: " + l.why }

func newRun(ctx context.Context, r *Runner, offer corp.Offer, before *run) *run {
	held, drop := context.WithCancelCause(ctx)
	active, halt := context.WithCancelCause(held)
	run := &run{
		Runner: r, offer: offer, before: before, folder: sandbox.FolderOf(r.WorkDir, offer.RunID), done: make(chan struct{}),
		held: held, drop: drop, active: active, halt: halt,
		logger: r.Logger.With(slog.String("task_id", offer.TaskID.String()), slog.String("run_id", offer.RunID.String()), slog.Int64("epoch", offer.Epoch)),
	}
	run.story = newTranscript(held, r.Client, offer.Lease, run.lose, run.logger)
	return run
}

// live is the whole life of the lease on this machine.
func (run *run) live() {
	defer close(run.done)
	defer run.ended(run)
	defer run.drop(&lost{"the run has ended"})
	if run.before != nil {
		<-run.before.done
	}
	if !run.acknowledge() {
		return
	}
	run.logger.InfoContext(run.held, "run begins", slog.Int("attempt", run.offer.Attempt))
	run.story.start()
	outcome := run.guarded()
	run.story.close()
	run.finish(outcome)
	run.cleanUp()
}

// guarded keeps a fault in this run's code from ending the other runs.
func (run *run) guarded() (outcome corp.Outcome) {
	defer func() {
		if fault := recover(); fault != nil {
			run.logger.ErrorContext(run.held, "a run met a fault in the runner", slog.Any("fault", fault), slog.String("stack", string(debug.Stack())))
			outcome = run.failed(corp.ReasonInternal, "The runner itself failed. The cause is in its log.")
		}
	}()
	return run.carryOut()
}

// acknowledge takes the offer up. It tries again while the server is away: an
// acknowledgement may be repeated.
func (run *run) acknowledge() bool {
	t := run.agreed()
	received := time.Now()
	var pause pause
	for {
		asked := time.Now()
		err := run.Client.Ack(run.held, run.offer.Lease)
		if err == nil {
			run.mu.Lock()
			defer run.mu.Unlock()
			run.acked = true
			run.deadline = asked.Add(milliseconds(run.offer.TimeoutMS))
			run.expiry = time.AfterFunc(time.Until(asked.Add(t.life)), func() { run.lose("no heartbeat was answered in time") })
			return true
		}
		if !passing(err) || time.Since(received) > t.ack+t.life || !pause.wait(run.held) {
			run.logger.InfoContext(run.held, "an offer was not taken up", slog.Any("error", err))
			return false
		}
	}
}

func (run *run) acknowledged() bool {
	run.mu.Lock()
	defer run.mu.Unlock()
	return run.acked && run.held.Err() == nil
}

// hear does what the server said about the lease in answer to a beat that was
// sent at asked.
func (run *run) hear(v corp.Verdict, asked time.Time) {
	if v.Say == corp.VerdictLost {
		run.lose("the server says so")
		return
	}
	run.mu.Lock()
	run.expiry.Reset(time.Until(asked.Add(run.agreed().life)))
	run.mu.Unlock()
	if v.Say == corp.VerdictStop {
		run.stop(v.Reason, v.Detail, milliseconds(v.GraceMS))
	}
}

// stop tells the agent to end, and the run to end with it.
func (run *run) stop(reason corp.Reason, detail string, grace time.Duration) {
	run.halt(&stopped{reason, detail, grace})
}

// lose ends the run at once. Nothing more is said to the server about it.
func (run *run) lose(why string) { run.drop(&lost{why}) }

// giveBack returns the run to the queue, unless its outcome is known already.
func (run *run) giveBack(why string) {
	run.mu.Lock()
	defer run.mu.Unlock()
	if !run.ending {
		run.halt(&stopped{corp.ReasonReleased, why, 0})
	}
}

// halted returns why the run was stopped, or nil.
func (run *run) halted() *stopped {
	s, _ := errors.AsType[*stopped](context.Cause(run.active))
	return s
}

// finish reports the outcome until the server has it or the lease is gone.
func (run *run) finish(outcome corp.Outcome) {
	run.mu.Lock()
	run.ending = true
	run.mu.Unlock()
	report := func() error {
		_, err := run.Client.Finish(run.held, corp.Finish{Lease: run.offer.Lease, Outcome: outcome})
		return err
	}
	if s := run.halted(); s != nil && s.reason == corp.ReasonReleased {
		report = func() error { return run.Client.Release(run.held, run.offer.Lease, s.detail) }
	}
	var pause pause
	for since := time.Now(); ; {
		err := report()
		switch {
		case err == nil:
			run.logger.InfoContext(run.held, "run ended", slog.String("state", string(outcome.State)), slog.String("reason", string(outcome.Reason)))
			return
		case run.held.Err() != nil:
			run.logger.WarnContext(run.held, "run dropped", slog.Any("error", context.Cause(run.held)))
			return
		case corp.KindOf(err) == corp.KindLeaseLost, corp.KindOf(err) == corp.KindNotFound:
			run.lose("the server did not take its outcome")
			run.logger.WarnContext(run.held, "run dropped", slog.Any("error", err))
			return
		case corp.KindOf(err) == corp.KindInvalid && outcome.Reason != corp.ReasonInternal:
			run.logger.ErrorContext(run.held, "the server calls the outcome wrong", slog.Any("error", err))
			outcome = run.failed(corp.ReasonInternal, "The runner reported an outcome that the server could not read. The cause is in the runner's log.")
		case !passing(err) || time.Since(since) > finishFor && corp.KindOf(err) != corp.KindUnavailable:
			run.lose("the server does not take its outcome") // then it is lost there too, and tried again
			run.logger.ErrorContext(run.held, "run dropped", slog.Any("error", err))
			return
		default:
			pause.wait(run.held)
		}
	}
}

// cleanUp removes all that the run has left on this machine.
func (run *run) cleanUp() {
	var pause pause
	for range 3 {
		err := run.folder.Remove()
		if err == nil {
			return
		}
		run.logger.WarnContext(run.held, "the run's folder cannot be removed", slog.Any("error", err))
		pause.wait(context.WithoutCancel(run.held))
	}
}

func (run *run) failed(reason corp.Reason, detail string) corp.Outcome {
	state := corp.RunFailed
	if reason == corp.ReasonCancelled {
		state = corp.RunCancelled
	}
	return corp.Outcome{State: state, Reason: reason, Detail: cut(clean(detail), 4000), Sandbox: string(run.Sandbox)}
}

// failure says how the run ends after err in a step that otherwise ends it with
// reason. A run that was told to stop ends for that.
func (run *run) failure(err error, reason corp.Reason) corp.Outcome {
	if s := run.halted(); s != nil {
		return run.failed(s.reason, s.sentence())
	}
	run.logger.WarnContext(run.held, "a step of the run failed", slog.String("reason", string(reason)), slog.Any("error", err))
	detail := fmt.Sprintf("The step failed: %v.", err)
	if e, ok := errors.AsType[*corp.Error](err); ok {
		detail = e.Message + " " + e.Hint
	}
	return run.orFull(run.failed(reason, detail))
}

// orFull corrects the reason when the evidence is a full disk.
func (run *run) orFull(outcome corp.Outcome) corp.Outcome {
	if outcome.State == corp.RunFailed && outcome.Reason != corp.ReasonDiskFull && run.full() {
		outcome.Reason = corp.ReasonDiskFull
		outcome.Detail = "There is no space left on the disk of the runner's work folder. Free some, or move the work folder. Before that: " + outcome.Detail
	}
	return outcome
}

func (s *stopped) sentence() string {
	if s.detail != "" {
		return s.detail
	}
	switch s.reason {
	case corp.ReasonCancelled:
		return "The task was cancelled."
	case corp.ReasonTimeout:
		return "The run used up its time."
	case corp.ReasonBudget:
		return "The budget is used up."
	default:
		return "The run was told to stop."
	}
}

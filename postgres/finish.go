package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
)

// ending is how a run ends, whoever says so.
type ending struct {
	state   corp.RunState
	reason  corp.Reason
	detail  string
	outcome corp.Outcome // what the runner delivered, if it did
}

// FinishRun ends a run as its runner says, unless it was told to stop: then the
// reason for that stands. The task becomes final, or gets its next run after a
// pause. Repeating a finish returns the run as it is. Another epoch, or a run
// that was lost or given back, is lease_lost.
func (w WorkspaceDB) FinishRun(ctx context.Context, run corp.RunID, epoch int64, o corp.Outcome) (ended corp.Run, err error) {
	if err := checkOutcome(o); err != nil {
		return ended, err
	}
	err = w.routine(ctx, laneOfRuns, func(tx pgx.Tx) error {
		task, h, err := w.lockBoth(ctx, tx, run)
		if err != nil {
			return err
		}
		switch {
		case h.Epoch != epoch || h.State == corp.RunQueued || h.State == corp.RunLost:
			return corp.LeaseLost()
		case h.State.Final() && (h.State == o.State || h.StopReason != ""):
			ended = h.Run
			return nil
		case h.State.Final():
			return corp.LeaseLost()
		}
		e := stopped(h, ending{o.State, o.Reason, o.Detail, o})
		return w.endInto(ctx, tx, task, h, e, &ended)
	})
	return ended, err
}

func checkOutcome(o corp.Outcome) error {
	if o.State != corp.RunSucceeded && o.State != corp.RunFailed && o.State != corp.RunCancelled {
		return corp.Invalid("outcome.state", "A run ends succeeded, failed or cancelled.", "Send one of these.")
	}
	if !slices.Contains(corp.Reasons(), o.Reason) {
		return corp.Invalid("outcome.reason", "This reason is not one of the list.", "See the API's description for the reasons.")
	}
	return nil
}

// stopped lets the reason for which a run was told to stop win over what came of it.
func stopped(h held, e ending) ending {
	if h.StopReason == "" {
		return e
	}
	e.state, e.reason = corp.RunFailed, h.StopReason
	if h.StopReason == corp.ReasonCancelled {
		e.state = corp.RunCancelled
	}
	if h.StopDetail != "" {
		e.detail = h.StopDetail
	}
	return e
}

// end makes a run final and moves its task on. Task and run are locked.
func (w WorkspaceDB) end(ctx context.Context, tx pgx.Tx, task corp.Task, h held, e ending) error {
	return w.endInto(ctx, tx, task, h, e, &h.Run)
}

// endInto is end. What the run has become is in ended when the transaction is
// committed.
func (w WorkspaceDB) endInto(ctx context.Context, tx pgx.Tx, task corp.Task, h held, e ending, ended *corp.Run) error {
	const maxDetail, maxName = 4000, 250
	e.detail = storable(e.detail, maxDetail)
	o := e.outcome
	diffstat, err := asJSON(o.Diffstat)
	if err != nil {
		return err
	}
	if o.Check != nil {
		o.Check = new(*o.Check)
		o.Check.Output = storable(o.Check.Output, corp.MaxEntryText)
	}
	check, err := asJSON(o.Check)
	if err != nil {
		return err
	}
	var b batch
	b.Queue(`
		UPDATE runs r SET state = $3, reason = $4, detail = $5, branch = $6, commit_hash = $7, diffstat = $8::text::json, check_result = $9::text::json,
			result_id = $10, patch_id = $11, pushed = $12, sandbox = $13, run_key_hash = NULL, lease_expires_at = NULL, not_before = NULL, finished_at = clock_timestamp()
		WHERE workspace_id = $1 AND id = $2 RETURNING `+runFields,
		w.ws, h.ID, e.state, e.reason, e.detail, storable(o.Branch, maxName), storable(o.Commit, maxName), diffstat, check,
		o.ResultID, o.PatchID, o.Pushed, storable(o.Sandbox, maxName)).Query(func(rows pgx.Rows) (err error) {
		*ended, err = pgx.CollectExactlyOneRow(rows, scanRun)
		return err
	})
	b.say(Notice{Kind: NoticeQueue, Workspace: w.ws, Run: h.ID, Ended: true})
	later(tx, &b)
	return w.moveOn(ctx, tx, task, h, e, event{"run." + string(e.state), task.ID, h.ID, why{h.Attempt, e.reason, e.detail}})
}

func asJSON[T any](v *T) (*string, error) {
	if v == nil {
		return nil, nil
	}
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("write a run's result: %w", err)
	}
	return new(string(text)), nil
}

// moveOn decides what a task becomes of its run's end.
func (w WorkspaceDB) moveOn(ctx context.Context, tx pgx.Tx, task corp.Task, h held, e ending, ended event) error {
	verdict := stopped(h, e) // a lost run that was told to stop is not tried again
	again := verdict.reason.Retryable() && verdict.state != corp.RunSucceeded && verdict.state != corp.RunCancelled
	tries := 0 // that it has left
	if again {
		var err error
		if tries, err = w.attemptsLeft(ctx, tx, task.ID); err != nil {
			return err
		}
	}
	switch {
	case again && tries > 0:
		delay := corp.RetryDelay(task.MaxAttempts-tries, ms(task.Retry.BaseMS), ms(task.Retry.CapMS), rand.Int64N)
		left, err := timeLeft(ctx, tx, task)
		if err != nil {
			return err
		}
		if left != nil && delay >= *left {
			detail := "Its deadline comes before another attempt would. The last one: " + verdict.detail
			return w.settle(ctx, tx, task, corp.TaskFailed, corp.ReasonDeadline, detail, ended)
		}
		return w.nextRun(ctx, tx, task, corp.ActorSystem, delay, why{Reason: corp.ReasonRetry, Detail: verdict.detail}, ended)
	case again:
		detail := fmt.Sprintf("All %d attempts are used up. The last one: %s", task.Attempts, verdict.detail)
		if task.Attempts == 1 {
			detail = "The only attempt is used up: " + verdict.detail
		}
		return w.settle(ctx, tx, task, corp.TaskDead, corp.ReasonAttempts, detail, ended)
	case verdict.state == corp.RunSucceeded:
		return w.settle(ctx, tx, task, corp.TaskSucceeded, verdict.reason, verdict.detail, ended)
	case verdict.state == corp.RunCancelled && verdict.reason != corp.ReasonDeadline:
		return w.settle(ctx, tx, task, corp.TaskCancelled, verdict.reason, verdict.detail, ended)
	default:
		return w.settle(ctx, tx, task, corp.TaskFailed, verdict.reason, verdict.detail, ended)
	}
}

func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// attemptsLeft returns how many more attempts a task may have, redrives counted in.
func (w WorkspaceDB) attemptsLeft(ctx context.Context, tx pgx.Tx, task corp.TaskID) (left int, err error) {
	err = tx.QueryRow(ctx, `
		SELECT greatest(coalesce(attempts_granted, max_attempts) - attempts, 0) FROM tasks WHERE workspace_id = $1 AND id = $2`, w.ws, task).Scan(&left)
	return left, err
}

// settle makes a task final, and carries that on to those that follow it and, if
// it is cancelled, to those beneath it.
func (w WorkspaceDB) settle(ctx context.Context, tx pgx.Tx, task corp.Task, state corp.TaskState, reason corp.Reason, detail string, before ...event) error {
	var others bool // has anybody to hear of it?
	err := tx.QueryRow(ctx, `
		UPDATE tasks t SET state = $3, reason = $4, detail = $5, finished_at = clock_timestamp() WHERE workspace_id = $1 AND id = $2
		RETURNING EXISTS (SELECT FROM task_dependencies d WHERE d.workspace_id = $1 AND d.depends_on = $2)
			OR t.state = 'cancelled' AND EXISTS (SELECT FROM tasks c WHERE c.workspace_id = $1 AND c.parent_id = $2)`,
		w.ws, task.ID, state, reason, detail).Scan(&others)
	if err != nil {
		return err
	}
	said := append(before, event{"task." + string(state), task.ID, task.RunID, why{task.Attempts, reason, detail}})
	if others {
		return w.ended(ctx, tx, task.ID, said)
	}
	return w.emit(ctx, tx, said...)
}

// nextRun queues another attempt at a task, not before the delay has passed.
func (w WorkspaceDB) nextRun(ctx context.Context, tx pgx.Tx, task corp.Task, actor corp.Actor, delay time.Duration, because why, before ...event) error {
	run, attempt := corp.NewID[corp.RunID](), task.Attempts+1
	var delayMS *int64
	if delay > 0 {
		delayMS = new(delay.Milliseconds())
	}
	var b batch
	b.Queue(`
		UPDATE tasks SET state = 'queued', reason = $3, detail = $4, attempts = $5, run_id = $6,
			cancel_requested_at = NULL, cancel_requested_by = NULL, finished_at = NULL
		WHERE workspace_id = $1 AND id = $2`, w.ws, task.ID, because.Reason, because.Detail, attempt, run)
	queueRuns(&b, w.ws, []corp.TaskID{task.ID}, actor, delayMS)
	because.Attempt = attempt
	queueEvents(&b, w.ws, append(before, event{"task.queued", task.ID, run, because}, event{"run.queued", task.ID, run, because})...)
	return send(ctx, tx, &b)
}

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
	"github.com/genericcorp/corp/postgres/door"
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
	err = w.door.Routine(ctx, door.LaneOfRuns, func(tx pgx.Tx) error {
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
	var b door.Batch
	b.Queue(`
		UPDATE runs r SET state = $3, reason = $4, detail = $5, branch = $6, commit_hash = $7, diffstat = $8::text::json, check_result = $9::text::json,
			result_id = $10, patch_id = $11, pushed = $12, sandbox = $13, run_key_hash = NULL, lease_expires_at = NULL, not_before = NULL, finished_at = clock_timestamp()
		WHERE workspace_id = $1 AND id = $2 RETURNING `+runFields,
		w.door.ID, h.ID, e.state, e.reason, e.detail, storable(o.Branch, maxName), storable(o.Commit, maxName), diffstat, check,
		o.ResultID, o.PatchID, o.Pushed, storable(o.Sandbox, maxName)).Query(func(rows pgx.Rows) (err error) {
		*ended, err = pgx.CollectExactlyOneRow(rows, scanRun)
		return err
	})
	b.Say(Notice{Kind: NoticeQueue, Workspace: w.door.ID, Run: h.ID, Ended: true})
	door.Later(tx, &b)
	return w.moveOn(ctx, tx, task, h, e, door.Event{Kind: "run." + string(e.state), Task: task.ID, Run: h.ID, Data: door.Why{Attempt: h.Attempt, Reason: e.reason, Detail: e.detail}})
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
func (w WorkspaceDB) moveOn(ctx context.Context, tx pgx.Tx, task corp.Task, h held, e ending, ended door.Event) error {
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
		return w.nextRun(ctx, tx, task, corp.ActorSystem, delay, door.Why{Reason: corp.ReasonRetry, Detail: verdict.detail}, ended)
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
		SELECT greatest(coalesce(attempts_granted, max_attempts) - attempts, 0) FROM tasks WHERE workspace_id = $1 AND id = $2`, w.door.ID, task).Scan(&left)
	return left, err
}

// settle makes a task final, and carries that on to those that follow it and, if
// it is cancelled, to those beneath it.
func (w WorkspaceDB) settle(ctx context.Context, tx pgx.Tx, task corp.Task, state corp.TaskState, reason corp.Reason, detail string, before ...door.Event) error {
	var others bool // has anybody to hear of it?
	err := tx.QueryRow(ctx, `
		UPDATE tasks t SET state = $3, reason = $4, detail = $5, finished_at = clock_timestamp() WHERE workspace_id = $1 AND id = $2
		RETURNING EXISTS (SELECT FROM task_dependencies d WHERE d.workspace_id = $1 AND d.depends_on = $2)
			OR t.state = 'cancelled' AND EXISTS (SELECT FROM tasks c WHERE c.workspace_id = $1 AND c.parent_id = $2)`,
		w.door.ID, task.ID, state, reason, detail).Scan(&others)
	if err != nil {
		return err
	}
	said := append(before, door.Event{Kind: "task." + string(state), Task: task.ID, Run: task.RunID, Data: door.Why{Attempt: task.Attempts, Reason: reason, Detail: detail}})
	if others {
		return w.ended(ctx, tx, task.ID, said)
	}
	w.door.Emit(tx, said...)
	return nil
}

// nextRun queues another attempt at a task, not before the delay has passed.
func (w WorkspaceDB) nextRun(ctx context.Context, tx pgx.Tx, task corp.Task, actor corp.Actor, delay time.Duration, because door.Why, before ...door.Event) error {
	run, attempt := corp.NewID[corp.RunID](), task.Attempts+1
	var delayMS *int64
	if delay > 0 {
		delayMS = new(delay.Milliseconds())
	}
	var b door.Batch
	b.Queue(`
		UPDATE tasks SET state = 'queued', reason = $3, detail = $4, attempts = $5, run_id = $6,
			cancel_requested_at = NULL, cancel_requested_by = NULL, finished_at = NULL
		WHERE workspace_id = $1 AND id = $2`, w.door.ID, task.ID, because.Reason, because.Detail, attempt, run)
	queueRuns(&b, w.door.ID, []corp.TaskID{task.ID}, actor, delayMS)
	because.Attempt = attempt
	door.QueueEvents(&b, w.door.ID, append(before, door.Event{Kind: "task.queued", Task: task.ID, Run: run, Data: because}, door.Event{Kind: "run.queued", Task: task.ID, Run: run, Data: because})...)
	return door.Send(ctx, tx, &b)
}

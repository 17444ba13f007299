package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// AckRun begins the lease of an offered run: from now on its loss uses up an
// attempt. Repeating it changes nothing. Another epoch, or an offer that was
// taken back, is lease_lost.
func (w WorkspaceDB) AckRun(ctx context.Context, run corp.RunID, epoch int64) error {
	// One statement, as every task needs it: its event is written as writeEvents does.
	begun, err := door.RoutineQuery(ctx, w.door, pgx.RowTo[int64], `
		WITH ack AS (
			UPDATE runs SET state = 'running', started_at = clock_timestamp(), lease_expires_at = clock_timestamp() + lease_ttl_ms * interval '1 millisecond'
			WHERE workspace_id = $1 AND id = $2 AND epoch = $3 AND state = 'leased' RETURNING task_id, attempt
		), head AS (
			SELECT number_events($1, 1) AS seq, task_id, attempt FROM ack
		), said AS (
			INSERT INTO events (workspace_id, seq, at, kind, task_id, run_id, data)
			SELECT $1, seq, clock_timestamp(), 'run.running', task_id, $2, json_build_object('attempt', attempt) FROM head
		)
		SELECT seq FROM head`, run, epoch)
	if err != nil {
		return err
	}
	if len(begun) == 1 {
		w.door.DB.Say(Notice{Kind: NoticeEvent, Workspace: w.door.ID, Seq: begun[0]}) //nolint:contextcheck // who listens is told also when the caller has gone
		return nil
	}
	r, err := w.Run(ctx, run)
	if err != nil {
		return err
	}
	if r.Epoch != epoch || r.State != corp.RunRunning && r.State != corp.RunWaiting {
		return corp.LeaseLost()
	}
	return nil
}

// ReleaseRun gives a run back to the queue without using up an attempt: its
// runner drains. A run that was told to stop ends instead. Repeating it changes
// nothing; another epoch is lease_lost.
func (w WorkspaceDB) ReleaseRun(ctx context.Context, run corp.RunID, epoch int64, detail string) error {
	return w.door.InLane(ctx, door.LaneOfRuns, func(tx pgx.Tx) error {
		task, h, err := w.lockBoth(ctx, tx, run)
		if err != nil {
			return err
		}
		if h.Epoch != epoch || h.State.Final() && h.StopReason == "" {
			return corp.LeaseLost()
		}
		if !h.State.Leased() {
			return nil
		}
		return w.giveBack(ctx, tx, task, h, corp.ReasonReleased, storable(detail, 1000))
	})
}

// RequeueRun takes back an offer that was not acknowledged in time, without using
// up an attempt. If that is not so (any more), it changes nothing.
func (w WorkspaceDB) RequeueRun(ctx context.Context, run corp.RunID, epoch int64) error {
	return w.reclaim(ctx, run, epoch, `r.state = 'leased' AND r.lease_expires_at < clock_timestamp()`, func(tx pgx.Tx, task corp.Task, h held) error {
		return w.giveBack(ctx, tx, task, h, corp.ReasonNotAcknowledged, "The runner "+h.RunnerName+" did not take up the offer.")
	})
}

// LoseRun ends a run whose lease ran out without a word: the task gets its next
// run, or is dead. If the lease was renewed or ended meanwhile, it changes nothing.
func (w WorkspaceDB) LoseRun(ctx context.Context, run corp.RunID, epoch int64) error {
	return w.reclaim(ctx, run, epoch, `r.state IN ('running', 'waiting') AND r.lease_expires_at < clock_timestamp()`, func(tx pgx.Tx, task corp.Task, h held) error {
		return w.end(ctx, tx, task, h, ending{state: corp.RunLost, reason: corp.ReasonRunnerLost, detail: "The runner " + h.RunnerName + " fell silent."})
	})
}

// ExpireRun ends a run that used up its time, or was told to stop, and that its
// runner did not end. If that is not so (any more), it changes nothing.
func (w WorkspaceDB) ExpireRun(ctx context.Context, run corp.RunID, epoch int64) error {
	const due = `r.state IN ('running', 'waiting') AND (r.stop_reason <> '' OR ` + usedUp + `)`
	return w.reclaim(ctx, run, epoch, due, func(tx pgx.Tx, task corp.Task, h held) error {
		return w.end(ctx, tx, task, h, stopped(h, ending{state: corp.RunFailed, reason: corp.ReasonTimeout, detail: timeoutDetail(task.TimeoutSeconds)}))
	})
}

// reclaim locks task and run, and does what is due if it still is, by the
// database's clock.
func (w WorkspaceDB) reclaim(ctx context.Context, run corp.RunID, epoch int64, due string, do func(tx pgx.Tx, task corp.Task, h held) error) error {
	return w.door.In(ctx, func(tx pgx.Tx) error {
		task, h, err := w.lockBoth(ctx, tx, run)
		if err != nil || h.Epoch != epoch {
			return err
		}
		var still bool
		err = tx.QueryRow(ctx, `
			SELECT count(*) = 1 FROM runs r JOIN tasks t ON t.workspace_id = r.workspace_id AND t.id = r.task_id
			WHERE r.workspace_id = $1 AND r.id = $2 AND `+due, w.door.ID, run).Scan(&still)
		if err != nil || !still {
			return err
		}
		return do(tx, task, h)
	})
}

// giveBack returns a leased run to the queue. Its epoch stays until the next
// claim, its entries and costs remain, its time starts anew.
func (w WorkspaceDB) giveBack(ctx context.Context, tx pgx.Tx, task corp.Task, h held, reason corp.Reason, detail string) error {
	if h.StopReason != "" {
		return w.end(ctx, tx, task, h, stopped(h, ending{}))
	}
	var b door.Batch
	queueChanges(&b, w.door.ID, `
		UPDATE runs r SET state = 'queued', reason = $3, detail = $4, runner_id = NULL, runner_name = '', run_key_hash = NULL, lease_expires_at = NULL,
			leased_at = NULL, started_at = NULL, waiting_since = NULL, waited_ms = 0
		WHERE workspace_id = $1 AND id = $2
		RETURNING `+queuedColumns, w.door.ID, h.ID, reason, detail)
	b.Queue(`UPDATE tasks SET state = 'queued', reason = $3, detail = $4 WHERE workspace_id = $1 AND id = $2`, w.door.ID, task.ID, reason, detail)
	because := door.Why{Attempt: h.Attempt, Reason: reason, Detail: detail}
	door.QueueEvents(&b, w.door.ID, door.Event{Kind: "run.queued", Task: task.ID, Run: h.ID, Data: because}, door.Event{Kind: "task.queued", Task: task.ID, Run: h.ID, Data: because})
	return door.Send(ctx, tx, &b)
}

// StopRun tells the runner of a run to stop it, through the answer to its next
// heartbeat, and refuses further model calls. The first reason stands. A run that
// nobody holds is left as it is.
func (w WorkspaceDB) StopRun(ctx context.Context, run corp.RunID, reason corp.Reason, detail string) error {
	return w.door.In(ctx, func(tx pgx.Tx) error {
		if _, err := w.lockRun(ctx, tx, run); err != nil {
			return err
		}
		return w.stop(ctx, tx, run, reason, detail)
	})
}

func (w WorkspaceDB) stop(ctx context.Context, tx pgx.Tx, run corp.RunID, reason corp.Reason, detail string) error {
	_, err := tx.Exec(ctx, `
		UPDATE runs SET stop_reason = $3, stop_detail = $4, stop_at = clock_timestamp()
		WHERE workspace_id = $1 AND id = $2 AND stop_reason = '' AND state IN ('leased', 'running', 'waiting')`, w.door.ID, run, reason, storable(detail, 1000))
	return err
}

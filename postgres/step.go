package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// SaveSteps adds steps to a journal of the run's task, under the epoch of its
// lease. A key that is there already keeps what it has, so a batch may be sent
// again. Another epoch is lease_lost; a journal that is neither the newest nor
// the one after it is a conflict; one that is full is a limit error.
func (w WorkspaceDB) SaveSteps(ctx context.Context, run corp.RunID, epoch int64, journal int, steps []corp.Step) error {
	rows, err := stepRows(steps)
	if err != nil {
		return err
	}
	return w.door.In(ctx, func(tx pgx.Tx) error {
		var task corp.TaskID
		// FOR SHARE: no next epoch can begin, and read the journal, while this one writes.
		err := tx.QueryRow(ctx, `
			SELECT task_id FROM runs WHERE workspace_id = $1 AND id = $2 AND epoch = $3 AND state IN ('leased', 'running', 'waiting') FOR SHARE`,
			w.door.ID, run, epoch).Scan(&task)
		if err != nil {
			return w.leaseLost(ctx, tx, run, err)
		}
		if err := w.roomFor(ctx, tx, task, journal, rows); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			INSERT INTO steps (workspace_id, task_id, journal, key, run_id, epoch, output, bytes, at)
			SELECT $1, $2, $3, x.key, $4, $5, x.output::json, x.bytes, clock_timestamp()
			FROM unnest($6::text[], $7::text[], $8::bigint[]) AS x (key, output, bytes) ON CONFLICT DO NOTHING`,
			w.door.ID, task, journal, run, epoch, rows.keys, rows.outputs, rows.bytes)
		return err
	})
}

// roomFor says whether the journal may be written to, and has room.
func (w WorkspaceDB) roomFor(ctx context.Context, tx pgx.Tx, task corp.TaskID, journal int, rows stepColumns) error {
	var newest, count int
	var bytes int64
	err := tx.QueryRow(ctx, `
		SELECT (SELECT coalesce(max(journal), 0) FROM steps WHERE workspace_id = $1 AND task_id = $2), count(*), coalesce(sum(bytes), 0)
		FROM steps WHERE workspace_id = $1 AND task_id = $2 AND journal = $3`, w.door.ID, task, journal).Scan(&newest, &count, &bytes)
	switch {
	case err != nil:
		return fmt.Errorf("look at a journal: %w", err)
	case journal < newest || journal > newest+1:
		return corp.Conflict("That is not the journal that this run writes to.", fmt.Sprintf("The newest is number %d; write to it, or begin the next.", newest))
	case count+len(rows.keys) > corp.MaxJournalSteps || bytes+rows.total > corp.MaxJournalBytes:
		return &corp.Error{Kind: corp.KindLimit, Code: "journal_full", Message: "The journal has as many steps as one may have.", Hint: "Go on without saving them."}
	default:
		return nil
	}
}

// Steps returns the journal that a run goes on with, under the epoch of its
// lease: the steps after the key, at most so many bytes of them but at least one.
// It is a new, empty one when the attempt before it ended in a way that the next
// would only repeat. Another epoch is lease_lost.
func (w WorkspaceDB) Steps(ctx context.Context, run corp.RunID, epoch int64, after string, atMost int64) (journal corp.Journal, err error) {
	err = w.door.In(ctx, func(tx pgx.Tx) error {
		task, number, goesOn, err := w.journalOf(ctx, tx, run, epoch)
		if err != nil {
			return err
		}
		journal = corp.Journal{Number: number, Steps: []corp.Step{}}
		if !goesOn {
			return nil
		}
		type row struct {
			corp.Step
			Left bool
		}
		found, err := door.Collect(ctx, tx, pgx.RowToStructByName[row], `
			SELECT key, output, key < (SELECT max(key) FROM steps WHERE workspace_id = $1 AND task_id = $2 AND journal = $3) AS left FROM (
				SELECT key, output, bytes, sum(bytes) OVER (ORDER BY key) AS total FROM steps
				WHERE workspace_id = $1 AND task_id = $2 AND journal = $3 AND key > $4
			) s WHERE total - bytes < $5 OR total = bytes ORDER BY key`, w.door.ID, task, number, after, atMost)
		for _, r := range found {
			journal.Steps, journal.More = append(journal.Steps, r.Step), r.Left
		}
		return err
	})
	return journal, err
}

// journalOf decides which journal a run goes on with, and whether there is one.
func (w WorkspaceDB) journalOf(ctx context.Context, tx pgx.Tx, run corp.RunID, epoch int64) (task corp.TaskID, number int, goesOn bool, err error) {
	var newest int
	var reason *corp.Reason // of the attempt before; nil on the first
	var own, progress bool
	err = tx.QueryRow(ctx, `
		SELECT r.task_id, j.newest, before.reason,
			EXISTS (SELECT FROM steps s WHERE s.workspace_id = $1 AND s.task_id = r.task_id AND s.journal = j.newest AND s.run_id = r.id),
			EXISTS (SELECT FROM steps s WHERE s.workspace_id = $1 AND s.task_id = r.task_id AND s.journal = j.newest AND s.run_id = before.id)
		FROM runs r
		CROSS JOIN LATERAL (SELECT coalesce(max(journal), 0) AS newest FROM steps s WHERE s.workspace_id = $1 AND s.task_id = r.task_id) j
		LEFT JOIN LATERAL (
			SELECT b.id, b.reason FROM runs b WHERE b.workspace_id = $1 AND b.task_id = r.task_id AND b.attempt < r.attempt ORDER BY b.attempt DESC LIMIT 1
		) before ON true
		WHERE r.workspace_id = $1 AND r.id = $2 AND r.epoch = $3 AND r.state IN ('leased', 'running', 'waiting')`, w.door.ID, run, epoch).
		Scan(&task, &newest, &reason, &own, &progress)
	if errors.Is(err, pgx.ErrNoRows) {
		return task, 0, false, w.leaseLost(ctx, tx, run, err)
	}
	switch {
	case err != nil:
		return task, 0, false, fmt.Errorf("find a journal: %w", err)
	case newest == 0:
		return task, 1, false, nil
	case own || reason != nil && reason.Resumes(progress):
		return task, newest, true, nil
	default:
		return task, newest + 1, false, nil
	}
}

// columns of steps, for unnest.
type stepColumns struct {
	keys, outputs []string
	bytes         []int64
	total         int64
}

func stepRows(steps []corp.Step) (c stepColumns, err error) {
	for i, s := range steps {
		output := strings.ToValidUTF8(string(s.Output), "\uFFFD")
		switch {
		case len(output) > corp.MaxStep:
			return c, corp.Invalid(fmt.Sprintf("steps[%d].output", i), fmt.Sprintf("A step has at most %d bytes.", corp.MaxStep), "Leave it out: what follows cannot be resumed from then.")
		case s.Key == "" || len(s.Key) > 40 || !json.Valid([]byte(output)):
			return c, corp.Invalid(fmt.Sprintf("steps[%d]", i), "A step has a key of 1 to 40 characters, and its output is JSON.", "See the API's description.")
		}
		c.keys, c.outputs = append(c.keys, s.Key), append(c.outputs, output)
		c.bytes = append(c.bytes, int64(len(output)))
		c.total += int64(len(output))
	}
	return c, nil
}

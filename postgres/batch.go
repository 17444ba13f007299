package postgres

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

const opSubmitBatch = "batch.submit"

// batchEvent is the data of the event that precedes a batch's tasks.
type batchEvent struct {
	ID    corp.BatchID `json:"batch_id"`
	Tasks int          `json:"tasks"`
	By    corp.Actor   `json:"by"`
}

// Object returns what the event is about.
func (e batchEvent) Object() string { return e.ID.String() }

// SubmitBatch submits many tasks as SubmitTask would, all or none, in few
// statements. Fields of its errors read tasks[3].prompt. With an idempotency key
// the same request returns the batch that it made before, with the tasks' present
// states, replayed.
func (w WorkspaceDB) SubmitBatch(ctx context.Context, actor corp.Actor, spec corp.BatchSpec, idem Idempotency) (batch corp.Batch, replayed bool, err error) {
	s, err := newBatch(actor, spec)
	if err != nil {
		return batch, false, err
	}
	err = w.door.InLane(ctx, door.LaneOfTasks, func(tx pgx.Tx) error {
		made, err := remember(ctx, tx, w.door.ID, opSubmitBatch, idem, s.batch)
		if err != nil {
			return err
		}
		if replayed = made != s.batch; replayed {
			batch, err = w.replay(ctx, tx, made, spec)
			return err
		}
		if err := w.submit(ctx, tx, s); err != nil {
			return err
		}
		batch = corp.Batch{ID: s.batch, Tasks: make([]corp.BatchItem, len(s.tasks))}
		for i, t := range s.tasks {
			batch.Tasks[i] = corp.BatchItem{Ref: spec.Tasks[i].Ref, TaskID: t.id, State: t.state}
		}
		return nil
	})
	return batch, replayed, err
}

// newBatch checks many tasks and gives them ids in the order of the spec.
func newBatch(actor corp.Actor, spec corp.BatchSpec) (*submission, error) {
	if len(spec.Tasks) == 0 || len(spec.Tasks) > corp.MaxBatch {
		return nil, corp.Invalid("tasks", fmt.Sprintf("A batch has between 1 and %d tasks.", corp.MaxBatch), "Send several batches.")
	}
	order, err := spec.Order()
	if err != nil {
		return nil, err
	}
	s := &submission{actor: actor, batch: corp.NewID[corp.BatchID](), order: order}
	ids, places := sortedIDs[corp.TaskID](len(spec.Tasks)), map[string]int{}
	for i, t := range spec.Tasks {
		made, err := newSubmitted(t.TaskSpec, fmt.Sprintf("tasks[%d].", i), ids[i])
		if err != nil {
			return nil, err
		}
		s.tasks = append(s.tasks, made)
		if t.Ref != "" {
			places[t.Ref] = i
		}
	}
	for _, t := range s.tasks {
		for _, d := range t.After {
			f := follow{d.TaskID, -1, onFailure(d)}
			if d.Ref != "" {
				f.inside = places[d.Ref]
				f.on = ids[f.inside]
			}
			t.follow = append(t.follow, f)
		}
	}
	return s, nil
}

// CancelBatch cancels the tasks of a batch that have not ended, and all beneath
// any of its tasks, as CancelTask would, together.
func (w WorkspaceDB) CancelBatch(ctx context.Context, actor corp.Actor, id corp.BatchID) (status corp.BatchStatus, err error) {
	err = w.door.InLane(ctx, door.LaneOfTasks, func(tx pgx.Tx) error {
		tasks, err := door.Collect(ctx, tx, pgx.RowTo[corp.TaskID], `SELECT id FROM tasks WHERE workspace_id = $1 AND batch_id = $2`, w.door.ID, id)
		if err != nil {
			return err
		}
		if len(tasks) > 0 {
			if err := w.cancel(ctx, tx, actor, tasks); err != nil {
				return err
			}
		}
		status, err = door.CollectOne(ctx, tx, "batch", scanBatch, selectBatch, w.door.ID, id)
		return err
	})
	return status, err
}

// Batch returns how far a batch has come.
func (w WorkspaceDB) Batch(ctx context.Context, id corp.BatchID) (corp.BatchStatus, error) {
	return door.QueryOne(ctx, w.door, "batch", scanBatch, selectBatch, id)
}

// A batch is its tasks: it has no row of its own.
const selectBatch = `
	SELECT batch_id, sum(n)::bigint, json_object_agg(state, n), min(created_by), min(created_at) FROM (
		SELECT batch_id, state, count(*) AS n, min(created_by) AS created_by, min(created_at) AS created_at
		FROM tasks WHERE workspace_id = $1 AND batch_id = $2 GROUP BY batch_id, state
	) s GROUP BY batch_id`

func scanBatch(row pgx.CollectableRow) (b corp.BatchStatus, err error) {
	if err := row.Scan(&b.ID, &b.Total, &b.States, &b.CreatedBy, &b.CreatedAt); err != nil {
		return b, fmt.Errorf("read a batch: %w", err)
	}
	for state, n := range b.States {
		if !state.Final() {
			b.Open += n
		}
	}
	return b, nil
}

// replay returns a batch as it stands now. Its tasks' ids are in the order of the
// spec, which is the one that it was made of.
func (w WorkspaceDB) replay(ctx context.Context, tx pgx.Tx, id corp.BatchID, spec corp.BatchSpec) (corp.Batch, error) {
	type row struct {
		ID    corp.TaskID
		State corp.TaskState
	}
	found, err := door.Collect(ctx, tx, pgx.RowToStructByName[row], `SELECT id, state FROM tasks WHERE workspace_id = $1 AND batch_id = $2 ORDER BY id`, w.door.ID, id)
	batch := corp.Batch{ID: id, Tasks: make([]corp.BatchItem, len(found))}
	for i, t := range found {
		batch.Tasks[i] = corp.BatchItem{Ref: spec.Tasks[i].Ref, TaskID: t.ID, State: t.State}
	}
	return batch, err
}

// sortedIDs makes fresh ids that sort in the order of the list.
func sortedIDs[I corp.AnyID](n int) []I {
	ids := make([]I, n)
	for i := range ids {
		ids[i] = corp.NewID[I]()
	}
	slices.SortFunc(ids, compareIDs)
	return ids
}

// compareIDs orders ids as the database does.
func compareIDs[I corp.AnyID](a, b I) int {
	x, y := [16]byte(a), [16]byte(b)
	return bytes.Compare(x[:], y[:])
}

package postgres

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// spreading is how the end of some tasks reaches others. Who follows a task that
// did not succeed is cancelled, unless its dependency says to continue; who is
// beneath a cancelled task is cancelled; both go on from there. Whoever then
// follows nobody that has not ended is queued.
//
// Nothing is counted: all of it is read from states, under locks. Two
// transactions that end the last two of the tasks that a third one follows both
// lock the third one before they look, so the second one sees the first one's end.
type spreading struct {
	w      WorkspaceDB
	tx     pgx.Tx
	actor  corp.Actor // who asked for it; the system when a run's end is the cause
	asked  bool       // the origins are to be cancelled themselves; else they have ended already
	origin []corp.TaskID

	locked map[corp.TaskID]lockedTask
	fallen []fallen
	b      door.Batch
	events []door.Event
}

// lockedTask is what stands in a task's row under our lock.
type lockedTask struct {
	ID       corp.TaskID
	State    corp.TaskState
	RunID    corp.RunID
	Attempts int
	ParentID corp.TaskID
}

// fallen is a task that the spreading reached.
type fallen struct {
	ID   corp.TaskID
	Ends bool // nobody carries it out: it ends here and now, or it is an origin that did not succeed
	Tree bool // what is beneath it falls too
}

// cancel cancels tasks and all beneath them: what nobody carries out ends at
// once, the runners of the rest are asked to stop.
func (w WorkspaceDB) cancel(ctx context.Context, tx pgx.Tx, actor corp.Actor, roots []corp.TaskID) error {
	s := spreading{w: w, tx: tx, actor: actor, asked: true, origin: roots}
	if err := s.run(ctx); err != nil {
		return err
	}
	return s.finish(ctx)
}

// ended carries on the end of a task that was made final in this transaction, and
// writes the events of both.
func (w WorkspaceDB) ended(ctx context.Context, tx pgx.Tx, task corp.TaskID, said []door.Event) error {
	s := spreading{w: w, tx: tx, actor: corp.ActorSystem, origin: []corp.TaskID{task}, events: said}
	if err := s.run(ctx); err != nil {
		return err
	}
	return s.finish(ctx)
}

func (s *spreading) run(ctx context.Context) error {
	if err := s.reach(ctx); err != nil {
		return err
	}
	ends, stops, err := s.sort(ctx)
	if err != nil {
		return err
	}
	s.queueEnds(ends)
	s.queueStops(stops)
	ended := make([]corp.TaskID, 0, len(ends)+len(s.origin))
	if !s.asked {
		ended = append(ended, s.origin...)
	}
	for _, e := range ends {
		ended = append(ended, e.ID)
	}
	if err := s.flush(ctx); err != nil {
		return err
	}
	return s.unblock(ctx, ended)
}

// flush sends what was queued so far, so that later statements see it.
func (s *spreading) flush(ctx context.Context) error {
	err := door.Send(ctx, s.tx, &s.b)
	s.b = door.Batch{}
	return err
}

func (s *spreading) finish(ctx context.Context) error {
	door.QueueEvents(&s.b, s.w.door.ID, s.events...)
	return s.flush(ctx)
}

// reach finds and locks all tasks that fall. It looks, locks what it found in the
// order of the ids, and looks again: once a task is locked nobody can add to what
// follows it or is beneath it, so in the end nothing is missed.
func (s *spreading) reach(ctx context.Context) (err error) {
	s.locked = map[corp.TaskID]lockedTask{}
	for {
		s.fallen, err = door.Collect(ctx, s.tx, pgx.RowToStructByName[fallen], `
			WITH RECURSIVE hit (id, ends, tree) AS (
				SELECT t.id, CASE WHEN $3 THEN t.state IN ('queued', 'blocked') ELSE t.state <> 'succeeded' END, $3 OR t.state = 'cancelled'
				FROM tasks t WHERE t.workspace_id = $1 AND t.id = ANY($2)
				UNION
				SELECT n.id, n.ends, true FROM hit
				CROSS JOIN LATERAL (
					SELECT t.id, true AS ends FROM task_dependencies d
					CROSS JOIN LATERAL (SELECT t.id, t.state FROM tasks t WHERE t.workspace_id = $1 AND t.id = d.task_id LIMIT 1) t
					WHERE hit.ends AND d.workspace_id = $1 AND d.depends_on = hit.id AND d.on_failure = 'cancel' AND t.state = 'blocked'
					UNION ALL
					SELECT t.id, t.state IN ('queued', 'blocked') FROM tasks t WHERE hit.tree AND t.workspace_id = $1 AND t.parent_id = hit.id
				) n
			)
			SELECT id, ends, tree FROM hit`, s.w.door.ID, s.origin, s.asked)
		if err != nil {
			return fmt.Errorf("find what falls: %w", err)
		}
		var fresh []corp.TaskID
		for _, f := range s.fallen {
			if _, held := s.locked[f.ID]; !held {
				fresh = append(fresh, f.ID)
			}
		}
		if len(fresh) == 0 {
			return nil
		}
		rows, err := door.Collect(ctx, s.tx, pgx.RowToStructByName[lockedTask], `
			SELECT id, state, run_id, attempts, parent_id FROM tasks
			WHERE workspace_id = $1 AND id = ANY($2) ORDER BY id FOR NO KEY UPDATE`, s.w.door.ID, fresh)
		if err != nil {
			return fmt.Errorf("lock what falls: %w", err)
		}
		for _, t := range rows {
			s.locked[t.ID] = t
		}
	}
}

// falling is a task that falls and why.
type falling struct {
	lockedTask
	reason corp.Reason
	detail string
}

// sort tells the tasks that end from those whose runners are asked to stop, and
// says why each falls. What has ended already stays as it is.
func (s *spreading) sort(ctx context.Context) (ends, stops []falling, err error) {
	origins, tree, failed := map[corp.TaskID]bool{}, map[corp.TaskID]bool{}, []corp.TaskID{}
	for _, id := range s.origin {
		origins[id] = true
	}
	for _, f := range s.fallen {
		tree[f.ID] = tree[f.ID] || f.Tree
		if f.Ends {
			failed = append(failed, f.ID)
		}
	}
	var follow []corp.TaskID
	for _, f := range s.fallen {
		t := falling{lockedTask: s.locked[f.ID], reason: corp.ReasonCancelled}
		origin := origins[f.ID]
		switch {
		case origin && !s.asked, t.State.Final():
			continue
		case origin:
			t.detail = "Cancelled by " + string(s.actor) + "."
		case tree[t.ParentID]:
			t.detail = fmt.Sprintf("Cancelled together with task %s, which it is a part of.", t.ParentID)
		default:
			t.reason = corp.ReasonDependencyFailed
			follow = append(follow, t.ID)
		}
		if f.Ends {
			ends = append(ends, t)
		} else {
			stops = append(stops, t)
		}
	}
	causes, err := s.causes(ctx, follow, failed)
	for i := range ends {
		if on, there := causes[ends[i].ID]; there {
			ends[i].detail = dependencyFailed(on)
		}
	}
	byID := func(a, b falling) int { return compareIDs(a.ID, b.ID) }
	slices.SortFunc(ends, byID)
	slices.SortFunc(stops, byID)
	return ends, stops, err
}

// causes returns for tasks that fall because of one that they follow which one that is.
func (s *spreading) causes(ctx context.Context, tasks, failed []corp.TaskID) (map[corp.TaskID]corp.TaskID, error) {
	if len(tasks) == 0 {
		return nil, nil
	}
	type link struct{ TaskID, DependsOn corp.TaskID }
	links, err := door.Collect(ctx, s.tx, pgx.RowToStructByName[link], `
		SELECT DISTINCT ON (task_id) task_id, depends_on FROM task_dependencies
		WHERE workspace_id = $1 AND task_id = ANY($2) AND depends_on = ANY($3) AND on_failure = 'cancel' ORDER BY task_id, depends_on`, s.w.door.ID, tasks, failed)
	causes := make(map[corp.TaskID]corp.TaskID, len(links))
	for _, l := range links {
		causes[l.TaskID] = l.DependsOn
	}
	return causes, err
}

// queueEnds makes tasks cancelled, with the runs of those that are queued. What
// differs from row to row is looked up by id and not joined: the planner's guess
// at a workspace's size may be off by any factor.
func (s *spreading) queueEnds(tasks []falling) {
	if len(tasks) == 0 {
		return
	}
	var ids []corp.TaskID
	var runs []corp.RunID
	reasons, details := map[string]string{}, map[string]string{} // of tasks and of runs
	for _, t := range tasks {
		ids = append(ids, t.ID)
		reasons[t.ID.UUID()], details[t.ID.UUID()] = string(t.reason), t.detail
		because := door.Why{Attempt: t.Attempts, Reason: t.reason, Detail: t.detail}
		if t.State == corp.TaskQueued {
			runs = append(runs, t.RunID)
			reasons[t.RunID.UUID()], details[t.RunID.UUID()] = string(t.reason), t.detail
			s.events = append(s.events, door.Event{Kind: "run.cancelled", Task: t.ID, Run: t.RunID, Data: because})
		}
		s.events = append(s.events, door.Event{Kind: "task.cancelled", Task: t.ID, Run: t.RunID, Data: because})
	}
	const cancelled = `state = 'cancelled', reason = $3::jsonb ->> id::text, detail = $4::jsonb ->> id::text, finished_at = clock_timestamp()`
	s.b.Queue(`
		UPDATE tasks SET `+cancelled+`, cancel_requested_at = coalesce(cancel_requested_at, now()), cancel_requested_by = coalesce(cancel_requested_by, $5)
		WHERE workspace_id = $1 AND id = ANY($2)`, s.w.door.ID, ids, reasons, details, s.actor)
	if len(runs) == 0 {
		return
	}
	s.b.Queue(`UPDATE runs SET `+cancelled+`, not_before = NULL WHERE workspace_id = $1 AND id = ANY($2)`, s.w.door.ID, runs, reasons, details)
	if len(runs) > fewRuns {
		queueWake(&s.b, s.w.door.ID)
		return
	}
	for _, run := range runs {
		s.b.Say(Notice{Kind: NoticeQueue, Workspace: s.w.door.ID, Run: run, Ended: true})
	}
}

// queueStops asks the runners of tasks to stop. The first reason for that stands.
func (s *spreading) queueStops(tasks []falling) {
	if len(tasks) == 0 {
		return
	}
	var ids []corp.TaskID
	var runs []corp.RunID
	details := map[string]string{}
	for _, t := range tasks {
		ids, runs = append(ids, t.ID), append(runs, t.RunID)
		details[t.RunID.UUID()] = storable(t.detail, 1000)
	}
	s.b.Queue(`
		UPDATE tasks SET cancel_requested_at = now(), cancel_requested_by = $3
		WHERE workspace_id = $1 AND id = ANY($2) AND cancel_requested_at IS NULL`, s.w.door.ID, ids, s.actor)
	s.b.Queue(`SELECT FROM runs WHERE workspace_id = $1 AND id = ANY($2) ORDER BY id FOR NO KEY UPDATE`, s.w.door.ID, runs)
	s.b.Queue(`
		UPDATE runs SET stop_reason = 'cancelled', stop_detail = $3::jsonb ->> id::text, stop_at = clock_timestamp()
		WHERE workspace_id = $1 AND id = ANY($2) AND stop_reason = '' AND state IN ('leased', 'running', 'waiting')`, s.w.door.ID, runs, details)
}

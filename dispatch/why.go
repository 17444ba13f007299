package dispatch

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/scheduler"
)

// why is a question what a run waits for. The owner of the memory answers it.
type why struct {
	queued  postgres.QueuedRun
	runners []scheduler.Runner
	reply   chan scheduler.Explanation // holds one
}

// Wait says what a task waits for, and about how long. It returns an unavailable
// error when only the leader knows and another server leads: the caller passes
// the question on.
func (d *Dispatcher) Wait(ctx context.Context, ws corp.WorkspaceID, task corp.TaskID) (corp.Wait, error) {
	found, err := d.db.In(ws).Waiting(ctx, task)
	if err != nil {
		return corp.Wait{}, err
	}
	w := corp.Wait{TaskID: task, State: found.Task.State, Cause: corp.WaitNothing}
	switch q := found.Queued; {
	case found.Task.State == corp.TaskBlocked:
		w.Cause, w.Detail = corp.WaitDependency, follows(found.After)
	case q == nil:
		w.Detail = "It " + found.Task.State.Phrase() + "."
	case q.DueInMS != nil && *q.DueInMS > 0:
		w.Cause, w.Until, w.AboutMS = corp.WaitTime, q.NotBefore, q.DueInMS
		w.Detail = fmt.Sprintf("It is not to start before %s.", q.NotBefore.UTC().Format(time.RFC3339))
	default:
		err = d.inQueue(ctx, &w, found)
	}
	return w, err
}

func follows(tasks []corp.TaskID) string {
	names := make([]string, len(tasks))
	for i, t := range tasks {
		names[i] = t.String()
	}
	if len(names) == 0 {
		return "What it followed has ended: it is about to be queued."
	}
	return "It follows " + strings.Join(names, ", ") + "."
}

// inQueue asks the leader's memory.
func (d *Dispatcher) inQueue(ctx context.Context, w *corp.Wait, found postgres.Waiting) error {
	s := d.seat.Load()
	if s == nil {
		return notLeading()
	}
	runners, err := d.runners(ctx, found.Queued.Workspace)
	if err != nil {
		return err
	}
	x, err := s.whyWaits(ctx, *found.Queued, runners)
	if err != nil {
		return err
	}
	w.Cause, w.Limit, w.InUse, w.Position = x.Cause, x.Limit, x.InUse, found.Ahead+1
	if x.Cause == corp.WaitNothing { // it was leased meanwhile
		w.Position = 0
	}
	if x.Known && x.Cause != corp.WaitNothing {
		about := x.About
		if x.Position > 0 && w.Position > x.Position { // the memory holds the head of the queue only
			about = time.Duration(float64(about) * float64(w.Position) / float64(x.Position))
		}
		w.AboutMS = new(about.Milliseconds())
	}
	w.Detail = sentence(*w, found.Task)
	return nil
}

func (d *Dispatcher) runners(ctx context.Context, ws corp.WorkspaceID) ([]scheduler.Runner, error) {
	rows, err := d.db.System("dispatch").PlacingRunners(ctx, ws)
	runners := make([]scheduler.Runner, len(rows))
	for i, r := range rows {
		runners[i] = scheduler.Runner{Workspace: r.WorkspaceID, Labels: r.Labels, Runtimes: r.Runtimes, Slots: r.Slots, Free: r.Free}
	}
	return runners, err
}

// sentence says for people what the cause says for programs.
func sentence(w corp.Wait, task corp.Task) string {
	limit := fmt.Sprintf("%d of %d runs are under way", w.InUse, w.Limit)
	switch w.Cause {
	case corp.WaitWorkspaceLimit:
		return "The workspace is at its limit: " + limit + "."
	case corp.WaitAgentLimit:
		return "The agent " + task.Agent + " is at its limit: " + limit + "."
	case corp.WaitRepositoryLimit:
		return "The repository is at its limit: " + limit + "."
	case corp.WaitNoRunner:
		if len(task.Labels) > 0 {
			return "No runner that was heard of lately has all its labels: " + strings.Join(task.Labels, ", ") + "."
		}
		return "No runner was heard of lately that can carry it out."
	case corp.WaitRunnersBusy:
		return "Every runner that fits is busy."
	case corp.WaitTurn:
		if w.AboutMS != nil && *w.AboutMS > 0 {
			return "A runner is free, and others go before it."
		}
		return "It is about to be offered to a runner."
	default:
		return "It has just been offered to a runner."
	}
}

// whyWaits puts a question to the owner of the memory.
func (s *seat) whyWaits(ctx context.Context, q postgres.QueuedRun, runners []scheduler.Runner) (scheduler.Explanation, error) {
	w := &why{queued: q, runners: runners, reply: make(chan scheduler.Explanation, 1)}
	select {
	case s.whys <- w:
		return <-w.reply, nil
	case <-s.done:
		return scheduler.Explanation{}, notLeading()
	case <-ctx.Done():
		return scheduler.Explanation{}, gone(ctx)
	}
}

// explain answers a question. A run that is behind the known part of its queue
// takes its place in it while that is looked at.
func (s *seat) explain(w *why) {
	q := w.queued
	stranger := false
	if rm := s.rooms[q.Workspace]; rm == nil {
		s.wanted.look(q.Workspace)
	} else if epoch, held := rm.held[q.RunID]; !held || epoch <= q.Epoch {
		stranger = s.queue.Add(item(q))
	}
	x := s.queue.Explain(q.RunID, w.runners, time.Now())
	if stranger {
		s.queue.Remove(q.RunID)
		s.wanted.run(postgres.RunRef{Workspace: q.Workspace, RunID: q.RunID})
	}
	w.reply <- x
}

package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

const (
	defaultAgent = "default"
	opSubmitTask = "task.submit"
)

// SubmitTask queues a task and its first run, with the newest version of its
// agent. A task that follows others which have not ended is blocked and has no
// run yet; one that follows a task that did not succeed is cancelled at once,
// unless its spec says otherwise. With an idempotency key the same request
// returns the task that it made before, replayed; another request under that key
// is a conflict. What the spec names and the workspace does not have is not found.
func (w WorkspaceDB) SubmitTask(ctx context.Context, actor corp.Actor, spec corp.TaskSpec, idem Idempotency) (task corp.Task, replayed bool, err error) {
	s, err := newSubmission(actor, spec)
	if err != nil {
		return task, false, err
	}
	err = w.door.Routine(ctx, door.LaneOfTasks, func(tx pgx.Tx) error {
		made, err := remember(ctx, tx, w.door.ID, opSubmitTask, idem, s.tasks[0].id)
		if err != nil {
			return err
		}
		if replayed = made != s.tasks[0].id; !replayed {
			if err := w.submitLater(ctx, tx, s); err != nil {
				return err
			}
		}
		w.taskLater(tx, made, &task)
		return nil
	})
	return task, replayed, err
}

// submission is tasks on their way into the database, together; one task is a
// submission of one.
type submission struct {
	actor    corp.Actor
	batch    corp.BatchID    // zero: no batch
	schedule corp.ScheduleID // zero: submitted by somebody
	tasks    []*submitted
	trial    bool  // it will be taken back: no limit counts it
	order    []int // of the tasks, those that others follow before these
}

// submitted is one task of a submission and what becomes of it.
type submitted struct {
	corp.TaskSpec
	field  string // before the names of its fields in errors: "" or "tasks[3]."
	id     corp.TaskID
	follow []follow
	agent  corp.Agent
	run    corp.RunID // zero unless it is queued
	state  corp.TaskState
	reason corp.Reason
	detail string
}

// follow is a dependency whose ref, if it had one, is resolved.
type follow struct {
	on        corp.TaskID
	inside    int // index of the task in the submission; -1 for an older one
	onFailure string
}

// newSubmission checks one task and gives it its id.
func newSubmission(actor corp.Actor, spec corp.TaskSpec) (*submission, error) {
	if err := corp.CheckAfter("", spec.After, false); err != nil {
		return nil, err
	}
	t, err := newSubmitted(spec, "", corp.NewID[corp.TaskID]())
	if err != nil {
		return nil, err
	}
	for _, d := range spec.After {
		t.follow = append(t.follow, follow{d.TaskID, -1, onFailure(d)})
	}
	return &submission{actor: actor, tasks: []*submitted{t}, order: []int{0}}, nil
}

func newSubmitted(spec corp.TaskSpec, field string, id corp.TaskID) (*submitted, error) {
	spec, err := complete(spec)
	if err != nil {
		return nil, inField(field, err)
	}
	return &submitted{TaskSpec: spec, field: field, id: id}, nil
}

func onFailure(d corp.Dependency) string { return cmp.Or(d.OnFailure, corp.OnFailureCancel) }

// submit writes tasks with their dependencies, first runs, budgets and events.
// Nothing that it does depends on how many there are.
func (w WorkspaceDB) submit(ctx context.Context, tx pgx.Tx, s *submission) error {
	if err := w.submitLater(ctx, tx, s); err != nil {
		return err
	}
	return door.Send(ctx, tx, &door.Batch{})
}

// submitLater is submit, but for waiting until it is done.
func (w WorkspaceDB) submitLater(ctx context.Context, tx pgx.Tx, s *submission) error {
	known, err := w.lookUp(ctx, tx, s)
	if err != nil {
		return err
	}
	for _, t := range s.tasks {
		if err := known.check(t); err != nil {
			return err
		}
	}
	if known.quota.full(len(s.tasks)) {
		return noRoomForTasks(known.quota, len(s.tasks))
	}
	runs := sortedIDs[corp.RunID](len(s.tasks))
	for _, i := range s.order {
		s.place(s.tasks[i], runs[i], known)
	}
	var b door.Batch
	s.queueRows(&b, w.door.ID)
	door.QueueEvents(&b, w.door.ID, s.events()...)
	door.Later(tx, &b)
	return nil
}

// place decides in which state a task begins, from the states of those that it
// follows. run is its first run's id if it can have one.
func (s *submission) place(t *submitted, run corp.RunID, known *named) {
	open, failed := 0, corp.TaskID{}
	for _, f := range t.follow {
		state := known.tasks[f.on].State
		if f.inside >= 0 {
			state = s.tasks[f.inside].state
		}
		switch {
		case !state.Final():
			open++
		case state != corp.TaskSucceeded && f.onFailure == corp.OnFailureCancel && failed.IsZero():
			failed = f.on
		}
	}
	t.run = corp.RunID{}
	switch {
	case !failed.IsZero():
		t.state, t.reason, t.detail = corp.TaskCancelled, corp.ReasonDependencyFailed, dependencyFailed(failed)
	case open > 0:
		t.state, t.reason, t.detail = corp.TaskBlocked, corp.ReasonDependency, blockedBy(open)
	default:
		t.state, t.reason, t.detail, t.run = corp.TaskQueued, corp.ReasonNone, "", run
	}
}

func dependencyFailed(on corp.TaskID) string {
	return fmt.Sprintf("Task %s, which it follows, did not succeed.", on)
}

func blockedBy(open int) string {
	if open == 1 {
		return "A task that it follows has not ended."
	}
	return fmt.Sprintf("%d tasks that it follows have not ended.", open)
}

func (s *submission) events() []door.Event {
	events := make([]door.Event, 0, 2*len(s.tasks)+1)
	if !s.batch.IsZero() {
		events = append(events, door.Event{Kind: "batch.submitted", Data: batchEvent{s.batch, len(s.tasks), s.actor}})
	}
	for _, t := range s.tasks {
		if t.state == corp.TaskQueued {
			events = append(events, door.Event{Kind: "task.queued", Task: t.id, Run: t.run, Data: nil}, door.Event{Kind: "run.queued", Task: t.id, Run: t.run, Data: door.Why{Attempt: 1}})
		} else {
			events = append(events, door.Event{Kind: "task." + string(t.state), Task: t.id, Run: corp.RunID{}, Data: door.Why{Reason: t.reason, Detail: t.detail}})
		}
	}
	return events
}

// complete fills in the defaults and refuses what no database row could hold.
func complete(spec corp.TaskSpec) (corp.TaskSpec, error) {
	sources := 0
	for _, given := range []bool{spec.RepositoryID != nil, spec.RepositoryURL != "", spec.SourceID != nil} {
		if given {
			sources++
		}
	}
	switch {
	case spec.Prompt == "" || len(spec.Prompt) > corp.MaxPrompt:
		return spec, corp.Invalid("prompt", "The prompt is empty or longer than 256 KiB.", "Say what to do; put long material into the repository.")
	case sources != 1:
		return spec, corp.Invalid("repository_id", "A task needs exactly one source of code.", "Give one of repository_id, repository_url and source_id.")
	case spec.SourceID != nil && spec.BaseCommit == "":
		return spec, corp.Invalid("base_commit", "An uploaded source needs the commit to start from.", "Send base_commit with source_id.")
	case spec.Budget != nil && *spec.Budget < 0:
		return spec, corp.Invalid("budget_nanodollars", "A budget cannot be negative.", "Leave it out for none.")
	case spec.TimeoutSeconds < 0 || spec.TimeoutSeconds > int(corp.MaxTimeout.Seconds()):
		return spec, corp.Invalid("timeout_seconds", "The time limit is not between 1 second and 24 hours.", "Leave it out for five minutes.")
	case spec.MaxAttempts < 0 || spec.MaxAttempts > 20:
		return spec, corp.Invalid("max_attempts", "The number of attempts is not between 1 and 20.", "Leave it out for three.")
	}
	if spec.Agent == "" {
		spec.Agent = defaultAgent
	}
	if spec.TimeoutSeconds == 0 {
		spec.TimeoutSeconds = int(corp.DefaultTimeout.Seconds())
	}
	if spec.MaxAttempts == 0 {
		spec.MaxAttempts = corp.DefaultMaxAttempts
	}
	retry := orZero(spec.Retry).Complete()
	spec.Retry = &retry
	return spec, checkRetry(retry)
}

func checkRetry(p corp.RetryPolicy) error {
	const most = 24 * 60 * 60 * 1000
	switch {
	case p.BaseMS < 0 || p.BaseMS > most:
		return corp.Invalid("retry.base_ms", "The first pause is not between 0 and 24 hours.", "Leave it out for 2000.")
	case p.CapMS < 0 || p.CapMS > most:
		return corp.Invalid("retry.cap_ms", "The longest pause is not between 0 and 24 hours.", "Leave it out for 300000.")
	case p.CapMS < p.BaseMS:
		return corp.Invalid("retry.cap_ms", "The longest pause is shorter than the first one.", "Raise cap_ms, which is 300000 when it is left out, to at least base_ms.")
	}
	return nil
}

// inField puts the place of a task before the field that an error names.
func inField(place string, err error) error {
	if e, ok := errors.AsType[*corp.Error](err); ok && place != "" {
		moved := *e
		moved.Field = place + e.Field
		return &moved
	}
	return err
}

package postgres

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
)

const (
	defaultAgent = "default"
	opSubmitTask = "task.submit"
)

// SubmitTask queues a task and its first run, with the newest version of its
// agent. With an idempotency key the same request returns the task that it made
// before, replayed; another request under that key is a conflict. What the spec
// names and the workspace does not have is not found.
func (w WorkspaceDB) SubmitTask(ctx context.Context, actor corp.Actor, spec corp.TaskSpec, idem Idempotency) (task corp.Task, replayed bool, err error) {
	if spec, err = complete(spec); err != nil {
		return task, false, err
	}
	id, run := corp.NewID[corp.TaskID](), corp.NewID[corp.RunID]()
	err = w.in(ctx, func(tx pgx.Tx) error {
		made, err := w.remember(ctx, tx, idem, id)
		if err != nil {
			return err
		}
		if replayed = made != id; !replayed {
			if err := w.queueTask(ctx, tx, actor, spec, id, run); err != nil {
				return err
			}
		}
		task, err = w.task(ctx, tx, made)
		return err
	})
	return task, replayed, err
}

// remember takes the key for a new object, or returns the object that has it.
func (w WorkspaceDB) remember(ctx context.Context, tx pgx.Tx, idem Idempotency, id corp.TaskID) (corp.TaskID, error) {
	if idem.Key == "" {
		return id, nil
	}
	hash := idem.RequestHash
	if hash == nil {
		hash = []byte{}
	}
	// Whoever else is submitting under this key is waited for here.
	tag, err := tx.Exec(ctx, `
		INSERT INTO idempotency_keys (workspace_id, operation, key, request_hash, object_id) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT DO NOTHING`, w.ws, opSubmitTask, idem.Key, hash, id)
	if err != nil || tag.RowsAffected() == 1 {
		return id, err
	}
	type known struct {
		RequestHash []byte
		ObjectID    corp.TaskID
	}
	first, err := collectOne(ctx, tx, "idempotency key", pgx.RowToStructByName[known], `
		SELECT request_hash, object_id FROM idempotency_keys WHERE workspace_id = $1 AND operation = $2 AND key = $3`, w.ws, opSubmitTask, idem.Key)
	if err == nil && !bytes.Equal(first.RequestHash, hash) {
		err = corp.Conflict("This idempotency key was used for another request.", "Use a new key for each new request.")
	}
	return first.ObjectID, err
}

func (w WorkspaceDB) queueTask(ctx context.Context, tx pgx.Tx, actor corp.Actor, spec corp.TaskSpec, id corp.TaskID, run corp.RunID) error {
	agent, err := w.agentFor(ctx, tx, spec.Agent)
	if err != nil {
		return err
	}
	if err := w.checkSource(ctx, tx, spec); err != nil {
		return err
	}
	var b batch
	b.Queue(`
		INSERT INTO tasks (workspace_id, id, agent_id, agent_version, repository_id, repository_url, source_id, base, base_commit, prompt, check_command,
			timeout_seconds, max_attempts, retry_base_ms, retry_cap_ms, priority, labels, state, run_id, created_by)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, 'queued', $18, $19)`,
		w.ws, id, agent.ID, agent.Version, spec.RepositoryID, spec.RepositoryURL, spec.SourceID, spec.Base, spec.BaseCommit, spec.Prompt, spec.Check,
		spec.TimeoutSeconds, spec.MaxAttempts, corp.RetryBase.Milliseconds(), corp.RetryCap.Milliseconds(), spec.Priority, orEmpty(spec.Labels), run, actor)
	queueRun(&b, w.ws, run, id, 1, actor, nil)
	b.Queue(`INSERT INTO budgets (workspace_id, id, task_id, limit_nanodollars) VALUES ($1, $2, $3, $4)`, w.ws, corp.NewID[corp.BudgetID](), id, spec.Budget)
	queueEvents(&b, w.ws, event{"task.queued", id, run, nil}, event{"run.queued", id, run, why{Attempt: 1}})
	return send(ctx, tx, &b)
}

// queueRun adds a run of a task to a batch. The task's row must be there: the run
// takes over what the leader needs to place it.
func queueRun(b *batch, ws corp.WorkspaceID, run corp.RunID, task corp.TaskID, attempt int, actor corp.Actor, delayMS *int64) {
	queueChange(b, ws, run, `
		INSERT INTO runs AS r (workspace_id, id, task_id, attempt, state, agent_id, repository_id, runtime, priority, labels, not_before, trace_id, created_by)
		SELECT $1, $2, t.id, $4, 'queued', t.agent_id, t.repository_id, v.runtime, t.priority, t.labels, clock_timestamp() + $5::bigint * interval '1 millisecond', $6, $7
		FROM tasks t JOIN agent_versions v ON v.workspace_id = t.workspace_id AND v.agent_id = t.agent_id AND v.version = t.agent_version
		WHERE t.workspace_id = $1 AND t.id = $3
		RETURNING `+queuedColumns, ws, run, task, attempt, delayMS, newTrace(), actor)
}

// newTrace makes a W3C trace id.
func newTrace() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // crypto/rand.Read never fails
	id[0] |= 1              // all zeros is not a trace
	return hex.EncodeToString(id[:])
}

func (w WorkspaceDB) agentFor(ctx context.Context, tx pgx.Tx, nameOrID string) (corp.Agent, error) {
	id, _ := corp.ParseID[corp.AgentID](nameOrID) // a name: the zero id, which is nobody's
	found, err := collect(ctx, tx, scanAgent, selectAgents+`
		WHERE a.workspace_id = $1 AND v.version = a.version AND a.archived_at IS NULL AND (a.id = $2 OR a.name = $3)`, w.ws, id, nameOrID)
	if err != nil {
		return corp.Agent{}, err
	}
	if len(found) == 0 {
		missing := corp.NotFound("agent")
		missing.Field = "agent"
		if nameOrID == defaultAgent {
			missing.Hint = "This workspace has no agent named default: create one, or name another."
		}
		return corp.Agent{}, missing
	}
	return found[0], nil
}

// checkSource refuses a repository that was put away and a file that is not a
// source. Foreign keys look after those that are not there.
func (w WorkspaceDB) checkSource(ctx context.Context, tx pgx.Tx, spec corp.TaskSpec) error {
	var ok bool
	var err error
	switch {
	case spec.RepositoryID != nil:
		err = tx.QueryRow(ctx, `SELECT count(*) = 1 FROM repositories WHERE workspace_id = $1 AND id = $2 AND archived_at IS NULL`, w.ws, spec.RepositoryID).Scan(&ok)
		if err == nil && !ok {
			return missing("repository", "repository_id")
		}
	case spec.SourceID != nil:
		err = tx.QueryRow(ctx, `SELECT count(*) = 1 FROM blobs WHERE workspace_id = $1 AND id = $2 AND kind = 'source'`, w.ws, spec.SourceID).Scan(&ok)
		if err == nil && !ok {
			return missing("file", "source_id")
		}
	}
	return err
}

func missing(noun, field string) error {
	e := corp.NotFound(noun)
	e.Field = field
	return e
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
	return spec, nil
}

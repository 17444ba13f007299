package postgres

import (
	"crypto/rand"
	"encoding/hex"
	"strings"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// taskColumns is the rows of a submission's tasks, a list for each column: so
// many tasks are one statement.
type taskColumns struct {
	ids, parents                             []corp.TaskID
	agents                                   []corp.AgentID
	versions, timeouts, attempts, priorities []int
	repositories                             []corp.RepositoryID
	sources                                  []corp.BlobID
	urls, bases, commits, prompts, checks    []string
	labels                                   []string // each an array as PostgreSQL writes one
	retryBases, retryCaps                    []int64  // ms
	notBefore, deadlines                     []*time.Time
	states, reasons, details                 []string
	runs                                     []corp.RunID
}

func columnsOf(tasks []*submitted) (c taskColumns) {
	for _, t := range tasks {
		c.ids, c.parents = append(c.ids, t.id), append(c.parents, orZero(t.ParentID))
		c.agents, c.versions = append(c.agents, t.agent.ID), append(c.versions, t.agent.Version)
		c.timeouts, c.attempts, c.priorities = append(c.timeouts, t.TimeoutSeconds), append(c.attempts, t.MaxAttempts), append(c.priorities, t.Priority)
		c.repositories, c.sources = append(c.repositories, orZero(t.RepositoryID)), append(c.sources, orZero(t.SourceID))
		c.urls, c.bases, c.commits = append(c.urls, t.RepositoryURL), append(c.bases, t.Base), append(c.commits, t.BaseCommit)
		c.prompts, c.checks, c.labels = append(c.prompts, t.Prompt), append(c.checks, t.Check), append(c.labels, arrayText(t.Labels))
		c.retryBases, c.retryCaps = append(c.retryBases, t.Retry.BaseMS), append(c.retryCaps, t.Retry.CapMS)
		c.notBefore, c.deadlines = append(c.notBefore, t.NotBefore), append(c.deadlines, t.DeadlineAt)
		c.states, c.reasons, c.details = append(c.states, string(t.state)), append(c.reasons, string(t.reason)), append(c.details, t.detail)
		c.runs = append(c.runs, t.run)
	}
	return c
}

// queueRows adds the tasks with what belongs to each to a batch of statements.
func (s *submission) queueRows(b *door.Batch, ws corp.WorkspaceID) {
	c := columnsOf(s.tasks)
	b.Queue(`
		INSERT INTO tasks (workspace_id, batch_id, schedule_id, created_by, id, parent_id, agent_id, agent_version, timeout_seconds, max_attempts, priority,
			repository_id, source_id, repository_url, base, base_commit, prompt, check_command, labels, retry_base_ms, retry_cap_ms,
			not_before, deadline_at, state, reason, detail, attempts, run_id, finished_at)
		SELECT $1, $2, $3, $4, u.id, u.parent, u.agent, u.version, u.timeout, u.attempts, u.priority,
			u.repository, u.source, u.url, u.base, u.commit, u.prompt, u.check_command, u.labels::text[], u.retry_base, u.retry_cap,
			u.not_before, u.deadline, u.state, u.reason, u.detail, num_nonnulls(u.run), u.run, CASE WHEN u.state = 'cancelled' THEN clock_timestamp() END
		FROM unnest($5::uuid[], $6::uuid[], $7::uuid[], $8::integer[], $9::integer[], $10::integer[], $11::integer[],
			$12::uuid[], $13::uuid[], $14::text[], $15::text[], $16::text[], $17::text[], $18::text[], $19::text[], $20::bigint[], $21::bigint[],
			$22::timestamptz[], $23::timestamptz[], $24::text[], $25::text[], $26::text[], $27::uuid[])
			AS u (id, parent, agent, version, timeout, attempts, priority, repository, source, url, base, commit, prompt, check_command, labels, retry_base, retry_cap,
			not_before, deadline, state, reason, detail, run)`,
		ws, s.batch, s.schedule, s.actor, c.ids, c.parents, c.agents, c.versions, c.timeouts, c.attempts, c.priorities,
		c.repositories, c.sources, c.urls, c.bases, c.commits, c.prompts, c.checks, c.labels, c.retryBases, c.retryCaps,
		c.notBefore, c.deadlines, c.states, c.reasons, c.details, c.runs)
	s.queueDependencies(b, ws)
	var queued []corp.TaskID
	budgets, limits := make([]corp.BudgetID, len(s.tasks)), make([]*int64, len(s.tasks))
	for i, t := range s.tasks {
		if t.state == corp.TaskQueued {
			queued = append(queued, t.id)
		}
		budgets[i], limits[i] = corp.NewID[corp.BudgetID](), (*int64)(t.Budget)
	}
	queueRuns(b, ws, queued, s.actor, nil)
	b.Queue(`
		INSERT INTO budgets (workspace_id, id, task_id, limit_nanodollars)
		SELECT $1, u.* FROM unnest($2::uuid[], $3::uuid[], $4::bigint[]) u`, ws, budgets, c.ids, limits)
}

func (s *submission) queueDependencies(b *door.Batch, ws corp.WorkspaceID) {
	var tasks, on []corp.TaskID
	var policies []string
	for _, t := range s.tasks {
		for _, f := range t.follow {
			tasks, on, policies = append(tasks, t.id), append(on, f.on), append(policies, f.onFailure)
		}
	}
	if len(tasks) == 0 {
		return
	}
	b.Queue(`
		INSERT INTO task_dependencies (workspace_id, task_id, depends_on, on_failure)
		SELECT $1, u.* FROM unnest($2::uuid[], $3::uuid[], $4::text[]) u`, ws, tasks, on, policies)
}

// fewRuns is up to how many runs the leader is told of one by one. Of more it
// is told once, and reads them.
const fewRuns = 32

// queueRuns adds the runs that tasks' rows say are their latest. A run takes over
// what the leader needs to place it. delayMS is how long it waits at least; nil
// is not at all.
func queueRuns(b *door.Batch, ws corp.WorkspaceID, tasks []corp.TaskID, actor corp.Actor, delayMS *int64) {
	if len(tasks) == 0 {
		return
	}
	const insert = `
		INSERT INTO runs AS r (workspace_id, id, task_id, attempt, state, agent_id, repository_id, runtime, priority, labels, not_before, trace_id, created_by)
		SELECT $1, t.run_id, t.id, t.attempts, 'queued', t.agent_id, t.repository_id, v.runtime, t.priority, t.labels,
			greatest(CASE WHEN t.not_before > clock_timestamp() THEN t.not_before END, clock_timestamp() + $4::bigint * interval '1 millisecond'), `
	if len(tasks) == 1 { // by far the most frequent case, and much quicker to plan
		queueChanges(b, ws, insert+`$3, $5
			FROM tasks t JOIN agent_versions v ON v.workspace_id = t.workspace_id AND v.agent_id = t.agent_id AND v.version = t.agent_version
			WHERE t.workspace_id = $1 AND t.id = $2
			RETURNING `+queuedColumns, ws, tasks[0], newTrace(), delayMS, actor)
		return
	}
	traces := make([]string, len(tasks))
	for i := range traces {
		traces[i] = newTrace()
	}
	// LIMIT 1: row by row through the index, whatever the statistics say.
	const many = insert + `u.trace, $5
		FROM unnest($2::uuid[], $3::text[]) AS u (id, trace)
		CROSS JOIN LATERAL (SELECT * FROM tasks t WHERE t.workspace_id = $1 AND t.id = u.id LIMIT 1) t
		CROSS JOIN LATERAL (
			SELECT v.runtime FROM agent_versions v WHERE v.workspace_id = $1 AND v.agent_id = t.agent_id AND v.version = t.agent_version LIMIT 1) v`
	if len(tasks) > fewRuns {
		b.Queue(many, ws, tasks, traces, delayMS, actor)
		queueWake(b, ws)
		return
	}
	queueChanges(b, ws, many+` RETURNING `+queuedColumns, ws, tasks, traces, delayMS, actor)
}

// newTrace makes a W3C trace id.
func newTrace() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // crypto/rand.Read never fails
	id[0] |= 1              // all zeros is not a trace
	return hex.EncodeToString(id[:])
}

// arrayText writes a list as PostgreSQL reads one: lists of lists of different
// lengths cannot be a parameter.
func arrayText(list []string) string {
	if len(list) == 0 {
		return "{}"
	}
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = `"` + quote.Replace(s) + `"`
	}
	return "{" + strings.Join(quoted, ",") + "}"
}

func orZero[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

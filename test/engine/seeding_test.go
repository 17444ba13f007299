//go:build engine || soak

package engine

import (
	"time"

	"github.com/genericcorp/corp"
)

// seeding is how long a statement may take that fills the tables: it is no promise
// of the product, and no test's patience bears on it.
const seeding = 5 * time.Minute

// seedTenants makes workspaces with an agent, past the product and quickly.
func (s *site) seedTenants(n int, plan string, weight int) (ids []corp.WorkspaceID) {
	s.t.Helper()
	type one struct{ ID corp.WorkspaceID }
	for _, made := range ask[one](s.oracle, `
		WITH w AS (
			INSERT INTO workspaces (workspace_id, slug, name, plan, weight, created_by)
			SELECT id, 'w-' || left(replace(id::text, '-', ''), 30), 'Seeded', $2, $3, 'system' FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, $1)) x
			RETURNING workspace_id
		), h AS (INSERT INTO event_heads (workspace_id) SELECT workspace_id FROM w
		), b AS (INSERT INTO budgets (workspace_id, id) SELECT workspace_id, gen_random_uuid() FROM w
		), a AS (INSERT INTO agents (workspace_id, id, name, created_by) SELECT workspace_id, workspace_id, 'default', 'system' FROM w
		), v AS (
			INSERT INTO agent_versions (workspace_id, agent_id, version, runtime, model, instructions, max_turns, max_tokens, created_by)
			SELECT workspace_id, workspace_id, 1, 'builtin', 'anthropic/claude-sonnet-4-5', '', 0, 0, 'system' FROM w
		) SELECT workspace_id FROM w`, n, plan, weight) {
		ids = append(ids, made.ID)
	}
	return ids
}

// seedTasks queues so many tasks for each of these workspaces, with the orders as
// prompt, past the product and its oracle.
func (s *site) seedTasks(each int, orders string, tenants ...corp.WorkspaceID) {
	s.t.Helper()
	s.oracle.execWithin(seeding, `
		WITH off AS (SELECT set_config('session_replication_role', 'replica', true)
		), t AS (
			SELECT ws, gen_random_uuid() AS id, gen_random_uuid() AS run, n FROM off, unnest($1::uuid[]) AS ws, generate_series(1, $2) AS n
		), made AS (
			INSERT INTO tasks (workspace_id, id, agent_id, agent_version, repository_url, prompt, timeout_seconds, max_attempts, state, run_id, created_by)
			SELECT ws, id, ws, 1, $4, $3, 600, 3, 'queued', run, 'system' FROM t
		), paid AS (INSERT INTO budgets (workspace_id, id, task_id) SELECT ws, gen_random_uuid(), id FROM t
		) INSERT INTO runs (workspace_id, id, task_id, attempt, state, agent_id, trace_id, created_by, created_at)
		SELECT ws, run, id, 1, 'queued', ws, '1', 'system', now() - interval '1 hour' + n * interval '1 millisecond' FROM t`, tenants, each, orders, nowhere)
}

// readAnew has the queue be read, all of it: nobody said that what was seeded is
// there, and the sweep would take half a minute to come across it.
func (s *site) readAnew() {
	for _, v := range s.servers {
		v.ear.drop()
	}
}

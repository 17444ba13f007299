package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/embedded"
	"github.com/genericcorp/corp/postgres/schema"
)

// seed makes workspaces and tasks as the superuser, past the product. One task in
// twenty is queued, one has failed, the others are done. Those of a workspace lie
// apart from each other, as they do where a thousand workspaces submit in turn.
func (s *stage) seed(ctx context.Context) (err error) {
	if err := schema.Prepare(ctx, s.pg.SuperURL(embedded.Database), nil); err != nil {
		return err
	}
	if _, _, err := schema.Migrate(ctx, s.pg.OwnerURL()); err != nil {
		return err
	}
	if s.super, err = pgx.Connect(ctx, s.pg.SuperURL(embedded.Database)); err != nil {
		return err
	}
	made := strings.NewReplacer("WORKSPACES", fmt.Sprint(s.workspaces), "TASKS", fmt.Sprint(s.tasks), "WS(", "pg_temp.ws(", "TASK(", "pg_temp.task(")
	for _, statement := range []string{
		`SET session_replication_role = replica`, // no look-ups of foreign keys: all of it fits
		`CREATE FUNCTION pg_temp.ws(n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$ SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid $$`,
		`CREATE FUNCTION pg_temp.task(n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$ SELECT ('00000000-0001-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid $$`,
		`INSERT INTO workspaces (workspace_id, slug, name, plan, created_by) SELECT WS(n), 'w-' || n, 'Seeded', 'unlimited', 'system' FROM generate_series(0, WORKSPACES - 1) n`,
		`INSERT INTO event_heads (workspace_id) SELECT workspace_id FROM workspaces`,
		`INSERT INTO budgets (workspace_id, id) SELECT workspace_id, gen_random_uuid() FROM workspaces`,
		`INSERT INTO agents (workspace_id, id, name, created_by) SELECT workspace_id, workspace_id, 'default', 'system' FROM workspaces`,
		`INSERT INTO agent_versions (workspace_id, agent_id, version, runtime, model, instructions, max_turns, max_tokens, created_by)
			SELECT workspace_id, workspace_id, 1, 'builtin', 'anthropic/claude-sonnet-4-5', '', 0, 0, 'system' FROM workspaces`,
		`INSERT INTO tasks (workspace_id, id, agent_id, agent_version, repository_url, prompt, timeout_seconds, max_attempts, state, run_id, created_by, created_at)
			SELECT WS(n % WORKSPACES), TASK(n), WS(n % WORKSPACES), 1, 'https://git.example.com/x.git', 'Mend the failing test of the calendar.', 600, 3,
				CASE n / WORKSPACES % 20 WHEN 0 THEN 'queued' WHEN 1 THEN 'failed' ELSE 'succeeded' END, TASK(n), 'system', now() - (TASKS - n) / WORKSPACES * interval '40 minutes'
			FROM generate_series(0, TASKS - 1) n`,
		`INSERT INTO budgets (workspace_id, id, task_id) SELECT workspace_id, id, id FROM tasks`,
		`INSERT INTO runs (workspace_id, id, task_id, attempt, state, agent_id, trace_id, created_by, created_at)
			SELECT workspace_id, run_id, id, 1, 'queued', agent_id, '1', 'system', created_at FROM tasks WHERE state = 'queued'`,
		`SET session_replication_role = origin`,
		`VACUUM ANALYZE`,
	} {
		if _, err := s.super.Exec(ctx, made.Replace(statement)); err != nil {
			return fmt.Errorf("%.60s: %w", statement, err)
		}
	}
	return nil
}

// workspace is the one whose turn it is, in an order that jumps.
func (s *stage) workspace(turn int) (ws corp.WorkspaceID) {
	ws[6], ws[8] = 0x70, 0x80
	binary.BigEndian.PutUint32(ws[12:], uint32(turn*379%s.workspaces))
	return ws
}

// task is one of its tasks.
func (s *stage) task(turn int) (id corp.TaskID) {
	n := turn*379%s.workspaces + turn*7919%(s.tasks/s.workspaces)*s.workspaces
	id[3+2], id[6], id[8] = 1, 0x70, 0x80
	binary.BigEndian.PutUint32(id[12:], uint32(n))
	return id
}

// enforce switches the policies of all tables on or off.
func (s *stage) enforce(ctx context.Context, on bool) error {
	verb := "DISABLE"
	if on {
		verb = "ENABLE"
	}
	_, err := s.super.Exec(ctx, `
		DO $$ DECLARE t regclass; BEGIN
			FOR t IN SELECT c.oid FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND c.relforcerowsecurity LOOP
				EXECUTE format('ALTER TABLE %s `+verb+` ROW LEVEL SECURITY', t);
			END LOOP;
		END $$`)
	return err
}

package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/embedded"
	"github.com/genericcorp/corp/postgres/schema"
)

// plans are those of the workspaces, in turn.
var plans = []string{"free", "starter", "pro", "enterprise"}

// seed makes the workspaces and their queues as the superuser, past the product.
// A run's id holds its workspace's number, so that nobody need look it up.
func (s *stage) seed(ctx context.Context, workspaces, tasks int) (err error) {
	if err := schema.Prepare(ctx, s.pg.SuperURL(embedded.Database), nil); err != nil {
		return err
	}
	if _, _, err := schema.Migrate(ctx, s.pg.OwnerURL()); err != nil {
		return err
	}
	if s.super, err = pgx.Connect(ctx, s.pg.SuperURL(embedded.Database)); err != nil {
		return err
	}
	for _, statement := range []string{
		`SET session_replication_role = replica`, // no look-ups of foreign keys: all of it fits
		`UPDATE plans SET concurrency = 0`,
		`INSERT INTO workspaces (workspace_id, slug, name, plan, created_by)
			SELECT ` + workspaceOf("n") + `, 'w-' || n, 'Seeded', (ARRAY['free', 'starter', 'pro', 'enterprise'])[1 + n % 4], 'system' FROM generate_series(0, $1 - 1) n`,
		`INSERT INTO event_heads (workspace_id) SELECT workspace_id FROM workspaces WHERE $1 > 0`,
		`INSERT INTO budgets (workspace_id, id) SELECT workspace_id, gen_random_uuid() FROM workspaces WHERE $1 > 0`,
		`INSERT INTO agents (workspace_id, id, name, created_by) SELECT workspace_id, workspace_id, 'default', 'system' FROM workspaces WHERE $1 > 0`,
		`INSERT INTO agent_versions (workspace_id, agent_id, version, runtime, model, instructions, max_turns, max_tokens, created_by)
			SELECT workspace_id, workspace_id, 1, 'builtin', 'anthropic/claude-sonnet-4-5', '', 0, 0, 'system' FROM workspaces WHERE $1 > 0`,
	} {
		if err := s.exec(ctx, statement, workspaces); err != nil {
			return err
		}
	}
	owner := fmt.Sprintf("CASE WHEN n %% 2 = 0 THEN 0 ELSE n / 2 %% %d END", workspaces)
	for _, statement := range []string{
		`INSERT INTO tasks (workspace_id, id, agent_id, agent_version, repository_url, prompt, timeout_seconds, max_attempts, state, run_id, created_by)
			SELECT ` + workspaceOf(owner) + `, ` + id("n") + `, ` + workspaceOf(owner) + `, 1, 'https://git.example.com/x.git', 'x', 600, 3, 'queued', ` + runOf(owner) + `, 'system' FROM generate_series(0, $1 - 1) n`,
		`INSERT INTO budgets (workspace_id, id, task_id) SELECT workspace_id, gen_random_uuid(), id FROM tasks WHERE $1 > 0`,
		`INSERT INTO runs (workspace_id, id, task_id, attempt, state, agent_id, trace_id, created_by, created_at)
			SELECT workspace_id, run_id, id, 1, 'queued', agent_id, '1', 'system', created_at FROM tasks WHERE $1 > 0`,
	} {
		if err := s.exec(ctx, statement, tasks); err != nil {
			return err
		}
	}
	return s.exec(ctx, `VACUUM ANALYZE`)
}

func (s *stage) exec(ctx context.Context, statement string, args ...any) error {
	if _, err := s.super.Exec(ctx, statement, argsFor(statement, args)...); err != nil {
		return fmt.Errorf("%.60s: %w", statement, err)
	}
	return nil
}

// argsFor leaves the argument out of a statement that does not use it.
func argsFor(statement string, args []any) []any {
	for i := range len(statement) - 1 {
		if statement[i:i+2] == "$1" {
			return args
		}
	}
	return nil
}

// Ids with numbers in them: a workspace's is its number, a task's its own, a
// run's that of its workspace and its own.
func workspaceOf(n string) string {
	return "('00000000-0000-7000-8000-' || lpad(to_hex(" + n + "), 12, '0'))::uuid"
}

func id(n string) string {
	return "('00000000-0001-7000-8000-' || lpad(to_hex(" + n + "), 12, '0'))::uuid"
}

func runOf(owner string) string {
	return "(lpad(to_hex(" + owner + "), 8, '0') || '-0002-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid"
}

func (s *stage) workspaceOf(_ context.Context, run corp.RunID) (ws corp.WorkspaceID) {
	ws[6], ws[8] = 0x70, 0x80
	copy(ws[12:], run[:4])
	return ws
}

// shares compares the slot-seconds that each plan got with its weight.
func (s *stage) shares(r *round) {
	weights := map[string]float64{"free": 1, "starter": 3, "pro": 6, "enterprise": 12}
	got, all := map[string]float64{}, 0.0
	for ws, n := range r.of {
		got[plans[int(binary.BigEndian.Uint32(ws[12:]))%4]] += n
		all += n
	}
	worst := 0.0
	for plan, weight := range weights {
		want := weight / 22 * all
		worst = max(worst, math.Abs(got[plan]-want)/want)
		fmt.Printf("| slot-seconds of %s, wanted %.0f | %.0f |\n", plan, want, got[plan])
	}
	fmt.Printf("| greatest difference from a plan's weight, %% | %.1f |\n| slot-seconds of the workspace that owns half of all | %.0f |\n", 100*worst, r.of[s.workspaceOf(context.Background(), corp.RunID{})])
}

package postgres_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// Each of these is asked every second, or by whoever wonders, while a million runs
// may be queued: it must not go through those that it is not about.
func TestWhatIsSoughtInALongQueueIsFoundThroughAnIndexAndTheRestIsNotRead(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ws := env.Workspace(t)
	old := env.Submit(t, ws, corp.TaskSpec{})
	const many = 5000
	clone := func(created, notBefore string, priority int) {
		env.Exec(t, `
			INSERT INTO runs (workspace_id, id, task_id, attempt, state, agent_id, runtime, priority, created_at, not_before, trace_id, created_by)
			SELECT workspace_id, gen_random_uuid(), task_id, n + coalesce((SELECT max(attempt) FROM runs), 0), 'queued', agent_id, runtime, $2, `+created+`, `+notBefore+`, trace_id, created_by
			FROM runs, generate_series(1, $3::int) n WHERE id = $1`, old.RunID, priority, many)
	}
	clone(`now() - interval '1 hour'`, `NULL`, 0)
	clone(`now()`, `now() + interval '1 day'`, 0)
	env.Exec(t, `ANALYZE runs`)
	conn := connect(t, env.SuperURL)
	for name, of := range map[string]struct {
		sql  string
		args []any
	}{
		"lately": {postgres.SelectLately, []any{int64(5000), 2000}},
		"soon":   {postgres.SelectSoon, []any{int64(5000), 2000}},
		"ready":  {postgres.MakeReady, []any{int64(10_000), 1000}},
		"ahead":  {postgres.CountAhead, []any{ws, 0, time.Now().Add(-2 * time.Hour), old.RunID, 10_000}},
	} {
		if plan := explain(t, conn, of.sql, of.args...); strings.Contains(plan, "Rows Removed by Filter") || strings.Contains(plan, "Seq Scan") {
			t.Errorf("%s goes through what it is not about:\n%s", name, plan)
		}
	}
}

func explain(t *testing.T, conn *pgx.Conn, sql string, args ...any) string {
	t.Helper()
	rows, err := conn.Query(t.Context(), `EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF) `+sql, args...)
	ok(t, err)
	return strings.Join(must(pgx.CollectRows(rows, pgx.RowTo[string]))(t), "\n")
}

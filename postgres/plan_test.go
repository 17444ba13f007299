package postgres_test

import (
	"context"
	"regexp"
	"strconv"
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

var actualRows = regexp.MustCompile(`actual rows=(\d+)`)

// An agent belongs to one workspace, which the planner does not know: it thinks
// that few tasks are of both.
func TestAPageOfTasksIsReadWithoutTheOthersOfTheWorkspace(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	const workspaces, each = 60, 600
	var ws corp.WorkspaceID
	for range workspaces {
		ws = env.Workspace(t)
	}
	conn := connect(t, env.SuperURL)
	for _, statement := range []string{
		`SET session_replication_role = replica`, // all keys fit: nothing is looked up
		`INSERT INTO tasks (workspace_id, id, agent_id, agent_version, repository_url, prompt, timeout_seconds, max_attempts, state, created_by, created_at)
			SELECT workspace_id, gen_random_uuid(), id, 1, 'https://git.example.com/x.git', 'p', 600, 3, 'succeeded', 'test', now() - n * interval '1 minute' FROM agents, generate_series(1, ` + strconv.Itoa(each) + `) n`,
		`INSERT INTO budgets (workspace_id, id, task_id) SELECT workspace_id, id, id FROM tasks`,
		`ANALYZE`,
	} {
		must(conn.Exec(t.Context(), statement))(t)
	}
	plan := explain(t, conn, postgres.PageOfTasks, ws, time.Now().Add(time.Hour), corp.TaskID{}, 51)
	for _, read := range actualRows.FindAllStringSubmatch(plan, -1) {
		if n, err := strconv.Atoi(read[1]); err != nil || n > max(51, workspaces) { // an agent each
			t.Fatalf("a page of 51 reads more than that (%v):\n%s", err, plan)
		}
	}
}

func explain(t *testing.T, conn *pgx.Conn, sql string, args ...any) string {
	t.Helper()
	rows, err := conn.Query(t.Context(), `EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF) `+sql, args...)
	ok(t, err)
	return strings.Join(must(pgx.CollectRows(rows, pgx.RowTo[string]))(t), "\n")
}

// A million may be queued within the minute in which nobody counts them.
func TestTheHeadOfAQueueIsReadWithoutTheRestThoughNoStatisticsTellItsLength(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ws, ctx, system := env.Workspace(t), t.Context(), env.DB.System("test")
	first := env.Submit(t, ws, corp.TaskSpec{})
	env.Exec(t, `ALTER TABLE runs SET (autovacuum_enabled = off)`)
	env.Exec(t, `
		INSERT INTO runs (workspace_id, id, task_id, attempt, state, agent_id, runtime, created_at, trace_id, created_by)
		SELECT workspace_id, gen_random_uuid(), task_id, n, 'queued', agent_id, runtime, created_at + interval '1 second', trace_id, created_by
		FROM runs, generate_series(2, 30000) n`)
	// Connections tell what they read when they end.
	read := func() int64 {
		pids := pgtest.Value[[]int32](t, env, `SELECT coalesce(array_agg(pid), '{}') FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
		env.KillConnections(t)
		pgtest.Eventually(t, 20*time.Second, "the end of the connections", func(context.Context) bool {
			return pgtest.Value[bool](t, env, `SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = ANY($1))`, pids)
		})
		pgtest.Eventually(t, 20*time.Second, "new connections", func(ctx context.Context) bool { return env.DB.Ping(ctx) == nil })
		return pgtest.Value[int64](t, env, `
			SELECT (SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'runs') + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = 'runs')::bigint`)
	}
	before := read()
	for name, head := range map[string]func() int{
		"a page": func() int { return len(must(system.WorkspaceQueues(ctx, corp.WorkspaceID{}, 100, 32))(t)[0].Head) },
		"a look": func() int { return len(must(system.WorkspaceQueuesOf(ctx, []corp.WorkspaceID{ws}, 32))(t)[0].Head) },
		"what comes after": func() int {
			return len(must(system.QueueAfter(ctx, []postgres.Place{{Workspace: ws, RunID: first.RunID, CreatedAt: first.CreatedAt}}, 32))(t)[0])
		},
	} {
		if n := head(); n != 32 {
			t.Errorf("%s brings %d runs", name, n)
		}
		after := read()
		if after-before > 100 {
			t.Errorf("%s reads %d rows for 32", name, after-before)
		}
		before = after
	}
}

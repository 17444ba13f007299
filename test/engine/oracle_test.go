//go:build engine || soak

package engine

import (
	"context"
	_ "embed"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/genericcorp/corp"
)

//go:embed audit.sql
var auditSQL string

// oracle asks the database as its superuser, past the product.
type oracle struct {
	t    testing.TB
	pool *pgxpool.Pool
}

func newOracle(t testing.TB, url string) *oracle {
	t.Helper()
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = 4
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return &oracle{t, pool}
}

// exec runs a statement and returns how many rows it touched.
func (o *oracle) exec(sql string, args ...any) int64 {
	o.t.Helper()
	return o.execWithin(patience, sql, args...)
}

// execWithin is exec for what may take longer, or must not be hurried.
func (o *oracle) execWithin(within time.Duration, sql string, args ...any) int64 {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	tag, err := o.pool.Exec(ctx, sql, args...)
	if err != nil {
		o.t.Fatalf("as superuser: %v\n%s", err, sql)
	}
	return tag.RowsAffected()
}

// ask returns rows; while PostgreSQL is down it asks again.
func ask[T any](o *oracle, sql string, args ...any) []T {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var err error
	for {
		var rows pgx.Rows
		if rows, err = o.pool.Query(ctx, sql, args...); err == nil {
			var found []T
			if found, err = pgx.CollectRows(rows, pgx.RowToStructByPos[T]); err == nil {
				return found
			}
		}
		if !pauseFor(ctx, 50*time.Millisecond) {
			o.t.Fatalf("as superuser: %v\n%s", err, sql)
		}
	}
}

// value returns the one value that a query answers.
func value[T any](o *oracle, sql string, args ...any) T {
	o.t.Helper()
	type one struct{ V T }
	found := ask[one](o, sql, args...)
	if len(found) != 1 {
		o.t.Fatalf("%d rows, want 1\n%s", len(found), sql)
	}
	return found[0].V
}

// transition is a change of state as the database saw it.
type transition struct {
	At        time.Time
	Kind      string
	ID        string
	Was       *string
	Became    string
	Epoch     *int64
	Attempt   *int
	Reason    string
	Runner    *string
	NotBefore *time.Time
}

// history returns what became of a task and its runs, in order.
func (o *oracle) history(task corp.TaskID) []transition {
	o.t.Helper()
	return ask[transition](o, `
		SELECT at, kind, id::text, was, became, epoch, attempt, reason, runner, not_before FROM audit.transitions WHERE task_id = $1 ORDER BY n`, task)
}

// firstRun returns the first transition of the task's run of this attempt to a state.
func (o *oracle) firstRun(task corp.TaskID, attempt int, state corp.RunState) (transition, bool) {
	o.t.Helper()
	for _, tr := range o.history(task) {
		if tr.Kind == "run" && *tr.Attempt == attempt && tr.Became == string(state) {
			return tr, true
		}
	}
	return transition{}, false
}

// limitLag is how long after a limit was lowered the leader may still go by the
// old one: it hears of it, or sees it at its next sweep.
const limitLag = 1500 * time.Millisecond

// admissions holds every claim against the limits, and returns how many there
// were. It may be asked at any time.
func (o *oracle) admissions() (claims int, broken []string) {
	o.t.Helper()
	type claim struct {
		At                 time.Time
		Run                string
		InUse, Allowed     int
		Since              time.Duration // of the limit
		AgentUse, AgentMay int
		RepoUse, RepoMay   int
		Open, Failed       int
		EarlyMS            float64
		Cancelled          bool
	}
	type total struct{ N int }
	n := ask[total](o, `SELECT count(*)::int FROM audit.admissions`)
	bad := ask[claim](o, `
		SELECT at, run_id::text, in_use, allowed, CASE WHEN limit_since = '-infinity' THEN interval '1 day' ELSE at - limit_since END,
			agent_in_use, agent_allowed, repo_in_use, repo_allowed, open_parents, failed_parents, early_ms, task_cancelled
		FROM audit.admissions
		WHERE allowed > 0 AND in_use > allowed AND (limit_since = '-infinity' OR at - limit_since > $1::bigint * interval '1 millisecond')
			OR agent_allowed > 0 AND agent_in_use > agent_allowed OR repo_allowed > 0 AND repo_in_use > repo_allowed
			OR open_parents > 0 OR failed_parents > 0 OR early_ms > 0 OR task_cancelled
		ORDER BY n`, limitLag.Milliseconds())
	for _, c := range bad {
		broken = append(broken, fmt.Sprintf("run %s claimed at %s: workspace %d of %d (limit %v old), agent %d of %d, repository %d of %d, %d parents open, %d failed, %.0f ms early, cancelled %v",
			c.Run, c.At.Format("15:04:05.000"), c.InUse, c.Allowed, c.Since, c.AgentUse, c.AgentMay, c.RepoUse, c.RepoMay, c.Open, c.Failed, c.EarlyMS, c.Cancelled))
	}
	return n[0].N, broken
}

// balance is one look at all tasks and runs, in one snapshot.
type balance struct {
	Tasks, Open, Final int
	Twice              int // tasks with more than one run that is not final
	Idle               int // open tasks that no run is working for
	Zombie             int // final tasks with a run that is not
	Mirror             int // tasks whose state is not that of their run
	Doubled            int // tasks with two runs that succeeded
}

const balanceSQL = `
	WITH r AS (
		SELECT workspace_id, task_id,
			count(*) FILTER (WHERE state IN ('queued', 'leased', 'running', 'waiting')) AS open,
			count(*) FILTER (WHERE state IN ('leased', 'running', 'waiting')) AS held,
			count(*) FILTER (WHERE state = 'succeeded') AS good
		FROM runs GROUP BY 1, 2
	), t AS (
		SELECT t.state, t.state IN ('succeeded', 'failed', 'cancelled', 'dead') AS final, coalesce(r.open, 0) AS open, coalesce(r.held, 0) AS held, coalesce(r.good, 0) AS good
		FROM tasks t LEFT JOIN r ON r.workspace_id = t.workspace_id AND r.task_id = t.id
	)
	SELECT count(*)::int, count(*) FILTER (WHERE NOT final)::int, count(*) FILTER (WHERE final)::int,
		count(*) FILTER (WHERE open > 1)::int,
		count(*) FILTER (WHERE NOT final AND state <> 'blocked' AND open = 0)::int,
		count(*) FILTER (WHERE final AND open > 0)::int,
		count(*) FILTER (WHERE state = 'queued' AND held > 0 OR state = 'running' AND held = 0 OR state = 'blocked' AND held > 0)::int,
		count(*) FILTER (WHERE good > 1)::int
	FROM t`

func (o *oracle) balance() balance {
	o.t.Helper()
	return ask[balance](o, balanceSQL)[0]
}

// wrong says what of a balance cannot be.
func (b balance) wrong() string {
	if b.Twice+b.Idle+b.Zombie+b.Mirror+b.Doubled > 0 || b.Tasks != b.Open+b.Final {
		return fmt.Sprintf("%+v", b)
	}
	return ""
}

// watch samples the balance until the test ends or stop is called, and returns
// how many samples there were.
func (o *oracle) watch(every time.Duration) (stop func() (samples int)) {
	ctx, cancel := context.WithCancel(context.Background())
	var samples int
	var watching sync.WaitGroup
	watching.Go(func() {
		for pauseFor(ctx, every) {
			rows, err := o.pool.Query(ctx, balanceSQL)
			if err != nil {
				continue
			}
			b, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[balance])
			if err != nil {
				continue // PostgreSQL is down
			}
			samples++
			if wrong := b.wrong(); wrong != "" {
				o.t.Errorf("not conserved: %s", wrong)
			}
		}
	})
	end := sync.OnceValue(func() int {
		cancel()
		watching.Wait()
		return samples
	})
	o.t.Cleanup(func() { end() })
	return end
}

// completions returns the tasks that ended more than once without having been
// tried again by somebody in between.
func (o *oracle) completions() (tasks int, broken []string) {
	o.t.Helper()
	type bad struct {
		Task string
		Ends string
	}
	n := value[int](o, `SELECT count(DISTINCT task_id)::int FROM audit.transitions WHERE kind = 'task' AND became IN ('succeeded', 'failed', 'cancelled', 'dead')`)
	for _, b := range ask[bad](o, `
		SELECT task_id::text, string_agg(became, ' ' ORDER BY n) FROM (
			SELECT n, task_id, became, was FROM audit.transitions WHERE kind = 'task'
		) x WHERE became IN ('succeeded', 'failed', 'cancelled', 'dead')
		GROUP BY task_id HAVING count(*) FILTER (WHERE was IN ('succeeded', 'failed', 'cancelled', 'dead')) > 0 OR count(*) FILTER (WHERE became = 'succeeded') > 1`) {
		broken = append(broken, b.Task+": "+b.Ends)
	}
	return n, broken
}

// eventsGapless returns the workspaces whose events have a gap or are out of order.
func (o *oracle) eventsGapless() (workspaces int, broken []string) {
	o.t.Helper()
	type stream struct {
		Workspace         string
		Seen, First, Last int64
		Head              int64
	}
	streams := ask[stream](o, `
		SELECT h.workspace_id::text, count(e.seq), coalesce(min(e.seq), 1), coalesce(max(e.seq), 0), h.seq
		FROM event_heads h LEFT JOIN events e ON e.workspace_id = h.workspace_id GROUP BY h.workspace_id, h.seq`)
	for _, s := range streams {
		if s.Seen != s.Head || s.Last != s.Head || s.First != 1 {
			broken = append(broken, fmt.Sprintf("%+v", s))
		}
	}
	return len(streams), broken
}

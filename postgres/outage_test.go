package postgres_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
	"github.com/genericcorp/corp/postgres/schema"
)

// labour is many that work through the doors whatever happens to the database.
type labour struct {
	env    *pgtest.Env
	ws     corp.WorkspaceID
	done   atomic.Int64 // tasks brought to their end
	enough atomic.Bool

	mu    sync.Mutex
	tasks []corp.TaskID // that are known to be done
	wrong []string      // errors that nobody should see
}

// try repeats an operation that says that the database is not there, as every
// caller may, and notes every other error.
func (l *labour) try(ctx context.Context, what string, do func() error) bool {
	pause := time.NewTicker(5 * time.Millisecond)
	defer pause.Stop()
	for {
		err := do()
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		if corp.KindOf(err) != corp.KindUnavailable {
			l.mu.Lock()
			l.wrong = append(l.wrong, fmt.Sprintf("%s: %v", what, err))
			l.mu.Unlock()
			return false
		}
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
	}
}

// seat is the leader's, by which runs are claimed.
type seat struct {
	server corp.ServerID
	term   int64
}

// claim leases a task's run. When the answer was lost, the next try finds the run
// leased: nobody else wants it.
func (l *labour) claim(ctx context.Context, at seat, task corp.Task) (epoch int64, ok bool) {
	system, db := l.env.DB.System("test"), l.env.DB.In(l.ws)
	c := claimOf(postgres.QueuedRun{Workspace: l.ws, RunID: task.RunID})
	ok = l.try(ctx, "claim", func() error {
		claimed, err := system.ClaimRuns(ctx, at.server, at.term, []postgres.Claim{c})
		if err != nil || len(claimed) == 1 {
			return err
		}
		run, err := db.Run(ctx, task.RunID)
		if err == nil && (run.State != corp.RunLeased || run.Epoch != c.Epoch) {
			err = fmt.Errorf("nobody could claim a run that is %s", run.State)
		}
		return err
	})
	return c.Epoch, ok
}

// work submits a task and brings it to its end, again and again. Each step is
// one that may be repeated when its answer was lost.
func (l *labour) work(ctx context.Context, at seat, worker int) {
	db := l.env.DB.In(l.ws)
	for n := 0; !l.enough.Load(); n++ {
		var task corp.Task
		key := postgres.Idempotency{Key: fmt.Sprint(worker, "-", n), RequestHash: []byte{1}}
		ok := l.try(ctx, "submit", func() (err error) {
			task, _, err = db.SubmitTask(ctx, actor, corp.TaskSpec{Prompt: "p", RepositoryURL: "git://x", Budget: new(corp.Dollar)}, key)
			return err
		})
		if !ok {
			return
		}
		epoch, ok := l.claim(ctx, at, task)
		call := postgres.CallRecord{Call: aCall(task, epoch, 7)}
		for _, step := range []struct {
			what string
			do   func() error
		}{
			{"acknowledge", func() error { return db.AckRun(ctx, task.RunID, epoch) }},
			{"entries", func() error { _, err := db.AppendEntries(ctx, task.RunID, epoch, entries(0, 3)); return err }},
			{"calls", func() error { return db.RecordCalls(ctx, []postgres.CallRecord{call}) }},
			{"finish", func() error { _, err := db.FinishRun(ctx, task.RunID, epoch, succeeded); return err }},
		} {
			ok = ok && l.try(ctx, step.what, step.do)
		}
		if !ok {
			return
		}
		l.mu.Lock()
		l.tasks = append(l.tasks, task.ID)
		l.mu.Unlock()
		l.done.Add(1)
	}
}

// The pools, the doors and whoever repeats what was "unavailable" get over every
// outage without a restart: nothing is lost, doubled or reported as our fault.
func TestWorkGoesOnAfterEveryOutageAndLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	env, cluster := pgtest.Cluster(t)
	l := &labour{env: env, ws: env.Workspace(t)}
	at := seat{server: corp.NewID[corp.ServerID]()}
	var won bool
	var err error
	if at.term, won, err = env.DB.System("test").TakeLeadership(t.Context(), at.server, "here", time.Hour); err != nil || !won {
		t.Fatal(won, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var workers sync.WaitGroup
	for i := range 4 {
		workers.Go(func() { l.work(ctx, at, i) })
	}
	defer workers.Wait()
	defer cancel()
	more := func(what string) {
		t.Helper()
		target, began := l.done.Load()+20, time.Now()
		pgtest.Eventually(t, time.Minute, "work goes on after "+what, func(context.Context) bool { return l.done.Load() >= target })
		t.Logf("20 tasks in %s after %s", time.Since(began).Round(time.Millisecond), what)
	}
	more("the start")
	for range 3 {
		env.KillConnections(t)
		more("the end of all connections")
		for _, sig := range []syscall.Signal{syscall.SIGQUIT, syscall.SIGKILL} { // pg_ctl stop -m immediate; a crash
			restarts, pid := cluster.Restarts(), cluster.Pid()
			ok(t, syscall.Kill(pid, sig))
			pgtest.Eventually(t, time.Minute, "PostgreSQL runs again", func(context.Context) bool { return cluster.Restarts() > restarts && cluster.Pid() != 0 })
			more("a " + sig.String())
		}
	}
	l.enough.Store(true) // each finishes what it has begun: nothing is cut off that is still being committed
	workers.Wait()
	for _, w := range l.wrong {
		t.Error(w)
	}
	l.check(t)
}

// check compares what was acknowledged with what is there.
func (l *labour) check(t *testing.T) {
	t.Helper()
	db := l.env.DB.In(l.ws)
	gapless(t, db)
	for _, id := range l.tasks {
		task := must(db.Task(t.Context(), id))(t)
		run := must(db.Run(t.Context(), task.RunID))(t)
		if task.State != corp.TaskSucceeded || task.Attempts != 1 || run.Calls != 1 || run.Cost != 7 {
			t.Errorf("task %s is %s after %d attempts, with %d calls for %d", id, task.State, task.Attempts, run.Calls, run.Cost)
		}
	}
	for what, query := range map[string]string{
		"tasks of one submission":               `SELECT count(*) - count(DISTINCT object_id) FROM idempotency_keys`,
		"tasks that nobody submitted":           `SELECT count(*) FROM tasks t WHERE NOT EXISTS (SELECT FROM idempotency_keys k WHERE k.object_id = t.id)`,
		"transcripts with a doubled entry":      `SELECT count(*) FROM (SELECT FROM entries GROUP BY run_id HAVING count(*) <> 3) x`,
		"calls that are in no run's sum":        `SELECT (SELECT count(*) FROM calls) - (SELECT sum(calls) FROM runs)::bigint`,
		"money that is in no budget":            `SELECT (SELECT sum(cost_nanodollars) FROM calls)::bigint - (SELECT spent_nanodollars FROM budgets WHERE task_id IS NULL)`,
		"ends that were said more or less once": `SELECT count(*) FROM (SELECT FROM tasks t LEFT JOIN events e ON e.task_id = t.id AND e.kind = 'task.succeeded' WHERE t.state = 'succeeded' GROUP BY t.id HAVING count(e.seq) <> 1) x`,
	} {
		if n := pgtest.Value[int64](t, l.env, query); n != 0 {
			t.Errorf("%d %s", n, what)
		}
	}
}

// A migration that was cut short anywhere is gone on with.
func TestMigratingIsGoneOnWithWhereverItWasCutShort(t *testing.T) {
	t.Parallel()
	const objects = `SELECT string_agg(x, ' ' ORDER BY x) FROM (
		SELECT relname || relkind::text FROM pg_class WHERE relnamespace = 'public'::regnamespace UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace) o (x)`
	want, last := pgtest.Value[string](t, pgtest.Database(t), objects), newest(t)
	for at := range last {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			t.Parallel()
			env := pgtest.Empty(t)
			cut := make(chan struct{})
			ctx, stop := context.WithCancel(t.Context())
			go func() {
				defer close(cut)
				cutShort(ctx, t, env, at)
			}()
			_, _, err := schema.Migrate(t.Context(), env.OwnerURL)
			stop()
			<-cut
			if err != nil && corp.KindOf(err) != corp.KindUnavailable {
				t.Errorf("cut short: %v", err)
			}
			if _, to, err := schema.Migrate(t.Context(), env.OwnerURL); err != nil || to != last {
				t.Errorf("the next time: to %d, %v", to, err)
			}
			if pgtest.Value[string](t, env, objects) != want {
				t.Error("the schema is another one")
			}
		})
	}
}

// cutShort ends the connections of a migration as soon as it has reached a version.
func cutShort(ctx context.Context, t *testing.T, env *pgtest.Env, version int64) {
	t.Helper()
	conn, err := pgx.Connect(ctx, env.SuperURL)
	if err != nil {
		return // it was faster
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	pause := time.NewTicker(time.Millisecond)
	defer pause.Stop()
	for ctx.Err() == nil {
		var reached bool
		// The table is not there at first: that is an answer too.
		err := conn.QueryRow(ctx, `SELECT max(version_id) >= $1 FROM schema_versions`, version).Scan(&reached)
		if err == nil && reached {
			_, _ = conn.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
			return
		}
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
	}
}

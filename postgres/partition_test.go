package postgres_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
	"github.com/genericcorp/corp/postgres/schema"
)

const keep90 = 90 * 24 * time.Hour

// past makes the months since so many ago, so that rows can be moved into them.
func past(t *testing.T, env *pgtest.Env, months int) {
	t.Helper()
	must(env.DB.System("test").EnsurePartitions(t.Context(), firstOfMonth().AddDate(0, -months, 0), months))(t)
}

func firstOfMonth() time.Time {
	now := time.Now().UTC()
	return time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
}

// monthsOf lists the months that a table has a partition for, like 202611.
func monthsOf(t *testing.T, env *pgtest.Env, table postgres.Kept) []string {
	t.Helper()
	return strings.Split(pgtest.Value[string](t, env, `
		SELECT coalesce(string_agg(right(inhrelid::regclass::text, 6), ' ' ORDER BY inhrelid::regclass::text), '') FROM pg_inherits WHERE inhparent = $1::text::regclass`, string(table)), " ")
}

func TestOnlyMonthsThatEndedLongerAgoThanTheyAreKeptAreDropped(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	system, ctx := env.DB.System("test"), t.Context()
	past(t, env, 14)
	before := monthsOf(t, env, postgres.KeptCalls)
	dropped := must(system.DropPartitions(ctx, postgres.KeptEvents, keep90))(t)
	cutoff := time.Now().UTC().Add(-keep90)
	var want []string
	for _, m := range before {
		if start := must(time.Parse("200601", m))(t); start.AddDate(0, 1, 0).After(cutoff) {
			want = append(want, m)
		}
	}
	if diff := cmp.Diff(want, monthsOf(t, env, postgres.KeptEvents)); diff != "" || dropped != len(before)-len(want) || dropped < 10 {
		t.Errorf("%d dropped:\n%s", dropped, diff)
	}
	for _, other := range []postgres.Kept{postgres.KeptCalls, postgres.KeptEntries} {
		if diff := cmp.Diff(before, monthsOf(t, env, other)); diff != "" {
			t.Errorf("%s lost months too:\n%s", other, diff)
		}
	}
	// However short the time: the month that it is now stays.
	must(system.DropPartitions(ctx, postgres.KeptEvents, 0))(t)
	if left := monthsOf(t, env, postgres.KeptEvents); left[0] != firstOfMonth().Format("200601") {
		t.Errorf("the months left are %v", left)
	}
	for _, finding := range gateFindings(t, connect(t, env.SuperURL), "") {
		t.Error(finding)
	}
}

func TestTheSystemDoorCanDropOldMonthsAndNothingElse(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	past(t, env, 2)
	conn := connect(t, env.SystemURL)
	for _, refused := range []string{
		`SELECT drop_partition('events', now()::date)`,
		`SELECT drop_partition('events', (now() + interval '1 month')::date)`,
		`SELECT drop_partition('runs', '2020-01-01')`,
		`SELECT drop_partition('events; DROP TABLE runs', '2020-01-01')`,
		`SELECT drop_partition(NULL, '2020-01-01')`,
		`SELECT drop_partition('events', 'infinity')`,
		`SELECT drop_partition('events', NULL)`,
		`DROP TABLE events_` + firstOfMonth().AddDate(0, -2, 0).Format("200601"),
	} {
		if _, err := conn.Exec(t.Context(), refused); err == nil {
			t.Errorf("%s was done", refused)
		}
	}
	if _, err := connect(t, env.AppURL).Exec(t.Context(), `SELECT drop_partition('events', '2020-01-01')`); sqlState(err) != "42501" {
		t.Errorf("the application may drop months: %v", err)
	}
	var done bool
	ok(t, conn.QueryRow(t.Context(), `SELECT drop_partition('events', $1)`, firstOfMonth().AddDate(0, -2, 0)).Scan(&done))
	if !done {
		t.Error("an old month was not dropped")
	}
}

func TestManyThatDropTogetherDropEachMonthOnce(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	past(t, env, 12)
	months := len(monthsOf(t, env, postgres.KeptCalls))
	var dropped atomic.Int64
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			n, err := env.DB.System("test").DropPartitions(t.Context(), postgres.KeptCalls, keep90)
			if err != nil {
				t.Error(err)
			}
			dropped.Add(int64(n))
		})
	}
	all.Wait()
	if left := len(monthsOf(t, env, postgres.KeptCalls)); dropped.Load() != int64(months-left) || dropped.Load() < 8 {
		t.Errorf("%d of %d months were dropped, %d are left", dropped.Load(), months, left)
	}
}

// aged makes a run that was made a year ago, with a transcript.
func aged(t *testing.T, env *pgtest.Env, ws corp.WorkspaceID) (corp.Task, pgtest.Lease) {
	t.Helper()
	task := env.Submit(t, ws, corp.TaskSpec{})
	env.Exec(t, `UPDATE runs SET created_at = now() - interval '1 year' WHERE id = $1`, task.RunID)
	lease := env.Running(t, ws, task.RunID)
	must(env.DB.In(ws).AppendEntries(t.Context(), task.RunID, lease.Epoch, entries(0, 3)))(t)
	return task, lease
}

func TestATranscriptIsKeptFromTheEndOfItsRunAndThenSaysThatItIsGone(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	past(t, env, 13)
	ws := env.Workspace(t)
	db, ctx := env.DB.In(ws), t.Context()
	task, lease := aged(t, env, ws)
	drop := func() { must(env.DB.System("test").DropPartitions(ctx, postgres.KeptEntries, keep90))(t) }
	there := func(want int) {
		t.Helper()
		if got := must(db.Entries(ctx, task.RunID, -1, 10))(t); len(got) != want {
			t.Errorf("%d entries, want %d", len(got), want)
		}
	}
	drop()
	there(3) // it is at work
	must(db.AppendEntries(ctx, task.RunID, lease.Epoch, entries(0, 5)))(t)
	must(db.FinishRun(ctx, task.RunID, lease.Epoch, succeeded))(t)
	drop()
	there(5) // it ended just now
	env.Exec(t, `UPDATE runs SET finished_at = now() - interval '91 days' WHERE id = $1`, task.RunID)
	drop()
	_, err := db.Entries(ctx, task.RunID, -1, 10)
	wantCode(t, err, postgres.CodeEntriesGone)
	wantKind(t, err, corp.KindNotFound)
	_, err = db.AppendEntries(ctx, task.RunID, lease.Epoch, entries(3, 6)) // a runner that repeats itself
	wantKind(t, err, corp.KindLeaseLost)
	if len(must(db.Entries(ctx, env.Submit(t, ws, corp.TaskSpec{}).RunID, -1, 10))(t)) != 0 {
		t.Error("a run that said nothing has entries")
	}
}

func TestACursorOlderThanTheEventsThatAreKeptIsToldSo(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	past(t, env, 6)
	ws := env.Workspace(t)
	db, ctx := env.DB.In(ws), t.Context()
	for range 5 {
		env.Submit(t, ws, corp.TaskSpec{})
	}
	last := must(db.LastEvent(ctx))(t)
	env.Exec(t, `UPDATE events SET at = at - interval '5 months' WHERE seq <= 6`)
	must(env.DB.System("test").DropPartitions(ctx, postgres.KeptEvents, keep90))(t)
	numbers := func(after int64, limit int) (seqs []int64) {
		t.Helper()
		for _, e := range must(db.Events(ctx, after, limit))(t) {
			seqs = append(seqs, e.Seq)
		}
		return seqs
	}
	for _, after := range []int64{1, 5} {
		_, err := db.Events(ctx, after, 10)
		wantCode(t, err, "events_gone")
		wantKind(t, err, corp.KindInvalid)
	}
	for _, after := range []int64{0, 6} { // 0 asks for all there are; who has seen 6 missed nothing
		if got := numbers(after, 2); !slices.Equal(got, []int64{7, 8}) {
			t.Errorf("after %d: %v", after, got)
		}
	}
	if got := numbers(last, 5); len(got) != 0 {
		t.Errorf("after the last: %v", got)
	}
	past(t, env, 6)
	env.Exec(t, `UPDATE events SET at = at - interval '5 months' WHERE seq > 6`)
	must(env.DB.System("test").DropPartitions(ctx, postgres.KeptEvents, keep90))(t)
	if got := append(numbers(0, 5), numbers(last, 5)...); len(got) != 0 {
		t.Errorf("all is dropped, and there is %v", got)
	}
	_, err := db.Events(ctx, last-1, 5)
	wantCode(t, err, "events_gone")
	env.Submit(t, ws, corp.TaskSpec{})
	if got := numbers(last, 5); got[0] != last+1 {
		t.Errorf("the numbers go on with %v after %d", got, last)
	}
}

func TestWhatWasSpentStaysWhenTheLedgersOldMonthsGo(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ws := env.Workspace(t)
	db, ctx := env.DB.In(ws), t.Context()
	task := env.Submit(t, ws, corp.TaskSpec{Budget: new(corp.Dollar)})
	lease := env.Running(t, ws, task.RunID)
	old, recent := aCall(task, lease.Epoch, 700), aCall(task, lease.Epoch, 41)
	old.At = time.Now().UTC().AddDate(-2, 0, 0)
	ok(t, db.RecordCalls(ctx, []postgres.CallRecord{{Call: old}, {Call: recent}}))
	if n := must(env.DB.System("test").DropPartitions(ctx, postgres.KeptCalls, 400*24*time.Hour))(t); n != 1 {
		t.Fatalf("%d months dropped", n)
	}
	calls := must(db.Calls(ctx, postgres.CallFilter{Task: task.ID}, corp.Page{}))(t)
	if len(calls.Items) != 1 || calls.Items[0].ID != recent.ID {
		t.Errorf("the calls left are %+v", calls.Items)
	}
	if run := must(db.Run(ctx, task.RunID))(t); run.Cost != 741 || run.Calls != 2 {
		t.Errorf("the run cost %d in %d calls", run.Cost, run.Calls)
	}
	for _, b := range must(db.Budgets(ctx, task.ID))(t) {
		if b.Spent != 741 {
			t.Errorf("%+v", b)
		}
	}
}

// Who drops or makes a month waits for everybody who reads the table, and
// everybody else waits behind it: so it may wait only briefly.
func TestDroppingAndMakingMonthsNeverHoldsUpTrafficForLong(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	past(t, env, 12)
	ws := env.Workspace(t)
	ctx, stop := context.WithCancel(t.Context())
	pin := pinned(t, env) // a long report that reads all three tables
	late := make(chan time.Duration, 1)
	go func() { late <- lateness(ctx, t, env) }()
	var slowest atomic.Int64
	var writes atomic.Int64
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for ctx.Err() == nil {
				began := time.Now()
				task, _, err := env.DB.In(ws).SubmitTask(t.Context(), actor, corp.TaskSpec{Prompt: "p", RepositoryURL: "git://x"}, postgres.Idempotency{})
				if err == nil {
					_, err = env.DB.In(ws).CancelTask(t.Context(), actor, task.ID)
				}
				if err != nil {
					t.Error(err)
					return
				}
				for took := time.Since(began).Nanoseconds(); took > slowest.Load(); {
					slowest.Store(took)
				}
				writes.Add(1)
			}
		})
	}
	system := env.DB.System("test")
	_, err := system.DropPartitions(t.Context(), postgres.KeptEvents, keep90)
	wantKind(t, err, corp.KindUnavailable)                                        // it gave way all the time
	must(system.EnsurePartitions(t.Context(), time.Now().AddDate(0, 7, 0), 1))(t) // gives way to writers only
	ok(t, pin.Rollback(t.Context()))
	for _, table := range []postgres.Kept{postgres.KeptEvents, postgres.KeptEntries, postgres.KeptCalls} {
		n, err := system.DropPartitions(t.Context(), table, keep90)
		if err != nil || n < 5 {
			t.Errorf("%d months of %s dropped: %v", n, table, err)
		}
	}
	stop()
	writers.Wait()
	bound := 3*time.Second + 2*<-late // a write is a submission and its cancelling
	t.Logf("%d writes, the slowest %s, at most %s", writes.Load(), time.Duration(slowest.Load()), bound)
	if worst := time.Duration(slowest.Load()); worst > bound {
		t.Errorf("a write took %s", worst)
	}
}

// lateness is how long asking the database one thing that nobody holds up takes
// at worst, as long as ctx lasts: what this machine adds to everything just now.
func lateness(ctx context.Context, t *testing.T, env *pgtest.Env) (worst time.Duration) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		began := time.Now()
		_ = pgtest.Value[int](t, env, `SELECT 1`)
		worst = max(worst, time.Since(began))
		select {
		case <-ctx.Done():
			return worst
		case <-tick.C:
		}
	}
}

func pinned(t *testing.T, env *pgtest.Env) pgx.Tx {
	t.Helper()
	tx := must(connect(t, env.SuperURL).Begin(t.Context()))(t)
	for _, table := range []string{"events", "entries", "calls"} {
		_ = must(tx.Exec(t.Context(), `SELECT count(*) FROM `+table))(t)
	}
	return tx
}

func TestAServerThatWasOffForMonthsWorksAtOnce(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ws := env.Workspace(t)
	task := env.Submit(t, ws, corp.TaskSpec{}) // before it was switched off
	for _, table := range []string{"events", "entries", "calls"} {
		for _, m := range monthsOf(t, env, postgres.Kept(table)) {
			env.Exec(t, fmt.Sprintf(`DROP TABLE %s_%s`, table, m))
		}
	}
	must(env.DB.System("test").EnsurePartitions(t.Context(), firstOfMonth().AddDate(0, -7, 0), 3))(t)
	env.Exec(t, `UPDATE runs SET created_at = created_at - interval '5 months'`)
	lease := env.Running(t, ws, task.RunID)
	must(env.DB.In(ws).AppendEntries(t.Context(), task.RunID, lease.Epoch, entries(0, 2)))(t)
	ok(t, env.DB.In(ws).RecordCalls(t.Context(), []postgres.CallRecord{{Call: aCall(task, lease.Epoch, 5)}}))
	env.Submit(t, ws, corp.TaskSpec{})
}

// The months of a database whose clock is set to another zone begin in UTC too.
func TestMonthsBeginInUTCWhateverTheServersTimeZone(t *testing.T) {
	t.Parallel()
	for _, zone := range []string{"America/Los_Angeles", "Pacific/Kiritimati"} {
		env := pgtest.Empty(t)
		env.Exec(t, `ALTER DATABASE `+env.Name+` SET timezone = '`+zone+`'`)
		if _, _, err := schema.Migrate(t.Context(), env.OwnerURL); err != nil {
			t.Fatal(err)
		}
		db := must(postgres.Open(t.Context(), postgres.Config{AppURL: env.AppURL, SystemURL: env.SystemURL}))(t)
		must(db.System("test").EnsurePartitions(t.Context(), time.Now(), 12))(t)
		db.Close()
		must(connect(t, env.SystemURL).Exec(t.Context(), `SELECT ensure_partitions(now()::date, 18)`))(t)
		if n := pgtest.Value[int](t, env, `
			SELECT count(*) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid, set_config('timezone', 'UTC', false)
			WHERE i.inhparent IN ('events'::regclass, 'calls'::regclass) AND pg_get_expr(c.relpartbound, c.oid) NOT LIKE '%-01 00:00:00+00''%-01 00:00:00+00''%'`); n != 0 {
			t.Errorf("%s: %d months do not begin at midnight in UTC", zone, n)
		}
	}
}

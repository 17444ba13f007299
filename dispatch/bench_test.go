package dispatch_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/dispatch"
	"github.com/genericcorp/corp/feed"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// BenchmarkSubmitToOffer measures from the commit of a task until a runner that
// waits has its offer, beside one bare commit on the same machine at the same time.
func BenchmarkSubmitToOffer(b *testing.B) {
	w := &world{Env: pgtest.Database(b), ring: newRing(b)}
	b.Log(pgtest.Value[string](b, w.Env, `SHOW fsync`))
	w.Exec(b, `CREATE TABLE bare (n bigint)`)
	d, stop := benchDispatcher(b, w)
	defer stop()
	ws := w.Workspace(b)
	bare, err := pgx.Connect(b.Context(), w.SuperURL)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = bare.Close(context.Background()) }()
	got := make(chan time.Time)
	ctx, done := context.WithCancel(b.Context())
	var runner sync.WaitGroup
	runner.Go(func() {
		r := poolRunner()
		for seq := int64(1); ctx.Err() == nil; seq++ {
			answer, err := d.Poll(ctx, r, corp.Poll{Seq: seq, Free: 1, WaitMS: 1000})
			for range answer.Offers {
				got <- time.Now()
			}
			if err != nil && ctx.Err() == nil {
				b.Error(err)
			}
		}
	})
	var waited, commits []time.Duration
	for b.Loop() {
		w.Submit(b, ws, corp.TaskSpec{})
		submitted := time.Now()
		waited = append(waited, (<-got).Sub(submitted))
		begun := time.Now()
		if _, err := bare.Exec(b.Context(), `INSERT INTO bare VALUES (1)`); err != nil {
			b.Fatal(err)
		}
		commits = append(commits, time.Since(begun))
	}
	done()
	runner.Wait()
	for name, of := range map[string][]time.Duration{"offer": waited, "commit": commits} {
		slices.Sort(of)
		b.ReportMetric(float64(of[len(of)/2].Microseconds()), name+"-p50-us")
		b.ReportMetric(float64(of[len(of)*99/100].Microseconds()), name+"-p99-us")
	}
}

// benchDispatcher starts a dispatcher that hears what is said.
func benchDispatcher(b *testing.B, w *world) (*dispatch.Dispatcher, func()) {
	b.Helper()
	d := dispatch.New(w.DB, w.ring, corp.NewID[corp.ServerID](), "", dispatch.DefaultTimes(), slog.New(slog.DiscardHandler))
	hub := feed.New(w.DB, slog.New(slog.DiscardHandler))
	hub.OnQueue(d.Wake)
	ctx, cancel := context.WithCancel(b.Context())
	var parts sync.WaitGroup
	parts.Go(func() { _ = d.Run(ctx) })
	parts.Go(func() { _ = hub.Run(ctx) })
	pgtest.Eventually(b, 20*time.Second, "the lead", func(context.Context) bool { return d.Leading() })
	return d, func() { cancel(); parts.Wait() }
}

// BenchmarkTakeover measures, with so many workspaces that have so many runs
// queued together, from the start of a server until it has given out its first
// run, and until it knows the head of every queue.
func BenchmarkTakeover(b *testing.B) {
	for _, size := range []struct{ workspaces, runs int }{{1_000, 100_000}, {10_000, 1_000_000}} {
		b.Run(fmt.Sprintf("%dx%d", size.workspaces, size.runs), func(b *testing.B) {
			w := &world{Env: pgtest.Database(b), ring: newRing(b)}
			fill(b, w, size.workspaces, size.runs)
			for b.Loop() {
				begun := time.Now()
				d, stop := benchDispatcher(b, w)
				if _, err := d.Poll(b.Context(), poolRunner(), corp.Poll{Seq: 1, Free: 1, WaitMS: 60_000}); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(time.Since(begun).Seconds(), "first-offer-s")
				pgtest.Eventually(b, time.Minute, "all heads", func(context.Context) bool { return d.Knows() })
				b.ReportMetric(time.Since(begun).Seconds(), "all-heads-s")
				stop()
			}
		})
	}
}

// fill makes workspaces with runs, half of them in one, past the doors: a million
// submissions would take a quarter of an hour.
func fill(b *testing.B, w *world, workspaces, runs int) {
	b.Helper()
	first := w.Workspace(b)
	w.Exec(b, `SET session_replication_role = replica; -- no checks`)
	w.Exec(b, `
		WITH w AS (
			INSERT INTO workspaces (workspace_id, slug, name, plan, created_by)
			SELECT gen_random_uuid(), 'bench-' || n, 'x', 'unlimited', 'bench' FROM generate_series(2, $1::int) n RETURNING workspace_id)
		INSERT INTO event_heads (workspace_id) SELECT workspace_id FROM w`, workspaces)
	w.Exec(b, `
		INSERT INTO agents (workspace_id, id, name, created_by) SELECT workspace_id, gen_random_uuid(), 'default', 'bench' FROM workspaces WHERE workspace_id <> $1`, first)
	w.Exec(b, `
		INSERT INTO agent_versions (workspace_id, agent_id, version, runtime, model, instructions, max_turns, max_tokens, created_by)
		SELECT workspace_id, id, 1, 'builtin', 'a/b', '', 0, 0, 'bench' FROM agents WHERE workspace_id <> $1`, first)
	w.Exec(b, `
		CREATE TABLE picked AS SELECT a.workspace_id, a.id AS agent_id, gen_random_uuid() AS task_id, gen_random_uuid() AS run_id
		FROM (SELECT *, row_number() OVER (ORDER BY workspace_id) AS k FROM agents) a
		CROSS JOIN LATERAL generate_series(1, CASE WHEN a.workspace_id = $1 THEN $3::int / 2 ELSE $3::int / 2 / ($2::int - 1) END) n`, first, workspaces, runs)
	w.Exec(b, `
		INSERT INTO tasks (workspace_id, id, agent_id, agent_version, repository_url, prompt, timeout_seconds, max_attempts, state, run_id, created_by)
		SELECT workspace_id, task_id, agent_id, 1, 'git://x', 'x', 300, 3, 'queued', run_id, 'bench' FROM picked`)
	w.Exec(b, `
		INSERT INTO runs (workspace_id, id, task_id, attempt, state, agent_id, trace_id, created_by)
		SELECT workspace_id, run_id, task_id, 1, 'queued', agent_id, '', 'bench' FROM picked`)
	w.Exec(b, `INSERT INTO budgets (workspace_id, id, task_id) SELECT workspace_id, gen_random_uuid(), task_id FROM picked`)
	w.Exec(b, `ANALYZE`)
}

// BenchmarkClaimsWithAPinnedXmin claims 20,000 runs while a forgotten transaction
// keeps every dead row: the last ones must cost what the first ones did.
func BenchmarkClaimsWithAPinnedXmin(b *testing.B) {
	w := &world{Env: pgtest.Database(b), ring: newRing(b)}
	const runs, rounds = 20_000, 10
	fill(b, w, 2, 2*runs)
	pin, err := pgx.Connect(b.Context(), w.SuperURL)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = pin.Close(context.Background()) }()
	if _, err := pin.Exec(b.Context(), `BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM plans`); err != nil {
		b.Fatal(err)
	}
	d, stop := benchDispatcher(b, w)
	defer stop()
	r, seq := poolRunner(), int64(0)
	for b.Loop() {
		var took []float64
		for range rounds {
			begun, got := time.Now(), 0
			for got < runs/rounds {
				seq++
				answer, err := d.Poll(b.Context(), r, corp.Poll{Seq: seq, Free: 100, WaitMS: 10_000})
				if err != nil || len(answer.Offers) == 0 {
					b.Fatal(len(answer.Offers), err)
				}
				got += len(answer.Offers)
			}
			took = append(took, time.Since(begun).Seconds()*1e6/float64(got))
		}
		b.ReportMetric(took[0], "first-us/run")
		b.ReportMetric(took[rounds-1], "last-us/run")
	}
}

// Command queue compares what a task costs on its way through the queue: ours,
// by its real path, beside BullMQ, River, Asynq and bare PostgreSQL. Each round
// measures all of them one after the other, so that what else the machine does
// falls on all alike.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/genericcorp/corp/bench/measure"
)

// engine is one queue. What it starts ends with stop.
type engine interface {
	name() string
	start(ctx context.Context, dir string) error
	pids() []int // of its servers; this process is counted too
	// drain submits n tasks that do nothing and carries them out, n known beforehand.
	drain(ctx context.Context, n int) (submit, work time.Duration, err error)
	// trickle submits n tasks at 40 a second while workers wait, and returns how
	// long each took from the call to the worker's hands.
	trickle(ctx context.Context, n int) ([]time.Duration, error)
	stop()
}

// result is one engine's figures over the rounds.
type result struct {
	Engine string         `json:"engine"`
	Tasks  int            `json:"tasks"`
	Submit measure.Spread `json:"submitted_per_second"`
	Work   measure.Spread `json:"worked_per_second"`
	CPU    measure.Spread `json:"cpu_us_per_task"`
	P50    measure.Spread `json:"submit_to_start_p50_ms"`
	P99    measure.Spread `json:"submit_to_start_p99_ms"`
}

func main() {
	rounds := flag.Int("rounds", 3, "how often to measure each")
	only := flag.String("only", "", "measure just the engines whose names hold this")
	latency := flag.Int("latency", 300, "tasks for the latency")
	scale := flag.Float64("scale", 1, "multiplies the number of tasks")
	out := flag.String("out", "", "write the figures to this file")
	corp := flag.String("corp", "../bin/corp", "the program to measure")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	if err := compare(ctx, engines(*corp), *only, *rounds, *latency, *scale, *out); err != nil {
		log.Fatal(err)
	}
}

// plan is an engine and how many tasks one round of it takes.
type plan struct {
	engine
	tasks  int
	settle time.Duration // after the warm-up
}

// analyzed is how long PostgreSQL takes to notice that tables are empty no longer.
// A statement that was planned before may read all of them.
const analyzed = 25 * time.Second

func engines(corp string) []plan {
	return []plan{
		{&raw{batch: 100}, 20_000, analyzed},
		{&raw{batch: 1}, 3000, analyzed},
		{&ours{program: corp, batch: true}, 3000, analyzed},
		{&ours{program: corp}, 3000, analyzed},
		{&floor{ours{program: corp}}, 3000, 0},
		{&river{}, 10_000, analyzed},
		{&bullmq{redis: redis{appendfsync: "everysec"}}, 8000, 0},
		{&bullmq{redis: redis{appendfsync: "always"}}, 3000, 0},
		{&hibiken{redis{appendfsync: "everysec"}}, 8000, 0},
	}
}

func compare(ctx context.Context, plans []plan, only string, rounds, latency int, scale float64, out string) error {
	dir, err := os.MkdirTemp("", "corp-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // PostgreSQL runs as another user
		return err
	}
	results := []*result{}
	of := map[string]*result{}
	for round := range rounds {
		for _, p := range plans {
			if !strings.Contains(p.name(), only) {
				continue
			}
			r := of[p.name()]
			if r == nil {
				r = &result{Engine: p.name(), Tasks: int(float64(p.tasks) * scale)}
				of[p.name()], results = r, append(results, r)
			}
			if err := once(ctx, p, r, filepath.Join(dir, fmt.Sprint(round, p.name())), latency); err != nil {
				return fmt.Errorf("%s: %w", p.name(), err)
			}
			fmt.Fprintf(os.Stderr, "%d %-28s cpu %7.1f us/task  work %8.0f/s  p50 %6.2f  p99 %6.2f ms\n", round+1, p.name(), last(r.CPU), last(r.Work), last(r.P50), last(r.P99))
		}
	}
	unit, err := commit(ctx, filepath.Join(dir, "commit"))
	if err != nil {
		return err
	}
	show(results, unit)
	return save(out, results, unit)
}

func last(s measure.Spread) float64 { return s[len(s)-1] }

// once starts an engine on an empty folder, measures it and stops it.
func once(ctx context.Context, p plan, r *result, dir string, latency int) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // as above
		return err
	}
	if err := p.start(ctx, dir); err != nil {
		return err
	}
	defer p.stop()
	if _, _, err := p.drain(ctx, min(500, r.Tasks)); err != nil { // warm connections and plans
		return err
	}
	select {
	case <-time.After(p.settle):
	case <-ctx.Done():
		return ctx.Err()
	}
	m := measure.Start(p.pids()...)
	submit, work, err := p.drain(ctx, r.Tasks)
	if err != nil {
		return err
	}
	_, cpu := m.Stop()
	n := float64(r.Tasks)
	r.Submit, r.Work = append(r.Submit, n/submit.Seconds()), append(r.Work, n/work.Seconds())
	r.CPU = append(r.CPU, float64(cpu.Microseconds())/n)
	waits, err := p.trickle(ctx, latency)
	r.P50, r.P99 = append(r.P50, measure.Percentile(waits, 0.5)), append(r.P99, measure.Percentile(waits, 0.99))
	return err
}

func show(results []*result, unit measure.Spread) {
	fmt.Printf("\none commit of one row, p50: %s ms\n\n", unit)
	fmt.Println("| queue | CPU per task, us | submitted /s | carried out /s | submit to start p50, ms | p99, ms | p99 in commits |")
	fmt.Println("|---|---|---|---|---|---|---|")
	for _, r := range results {
		fmt.Printf("| %s | %s | %s | %s | %s | %s | %.1f |\n", r.Engine, r.CPU, r.Submit, r.Work, r.P50, r.P99, r.P99.Median()/unit.Median())
	}
}

func save(file string, results []*result, unit measure.Spread) error {
	if file == "" {
		return nil
	}
	text, err := json.MarshalIndent(map[string]any{"commit_p50_ms": unit, "engines": results}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o600)
}

// Command rls measures what row-level security costs: a million tasks in a thousand
// workspaces, and the product's own reads and writes (package postgres, the role
// corp_app, a workspace named in each statement), with the policies in force and
// switched off, in turn, in one database. Beside them stands one statement by
// itself, also as a superuser sends it: with no policy, no setting and no product.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp/bench/measure"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/embedded"
)

func main() {
	workspaces := flag.Int("workspaces", 1000, "how many")
	tasks := flag.Int("tasks", 1_000_000, "how many tasks they have together")
	rounds := flag.Int("rounds", 5, "how often to measure each")
	times := flag.Int("times", 500, "how often to do each in a round; a fifth of that for what writes")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	if err := run(ctx, *workspaces, *tasks, *rounds, *times); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, workspaces, tasks, rounds, times int) error {
	dir, err := os.MkdirTemp("", "corp-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // PostgreSQL runs as another user
		return err
	}
	pg, err := embedded.Start(ctx, embedded.Config{Dir: dir, Durable: true})
	if err != nil {
		return err
	}
	defer func() { _ = pg.Stop(context.Background()) }()
	s := &stage{pg: pg, workspaces: workspaces, tasks: tasks}
	begun := time.Now()
	if err := s.seed(ctx); err != nil {
		return err
	}
	fmt.Printf("\n%d tasks in %d workspaces, made in %.0f s.\n\n", tasks, workspaces, time.Since(begun).Seconds())
	if s.db, err = postgres.Open(ctx, postgres.Config{AppURL: pg.AppURL(), SystemURL: pg.SystemURL(), MaxConns: 4}); err != nil {
		return err
	}
	defer s.db.Close()
	return s.compare(ctx, rounds, times)
}

// stage is the database.
type stage struct {
	pg                *embedded.Server
	super             *pgx.Conn
	db                *postgres.DB
	workspaces, tasks int
	turn              int
}

// figures are those of one thing that is done: the median of its times, and the
// processor time of PostgreSQL, with the policies and without.
type figures struct {
	with, without, ratio          measure.Spread // ms
	cpuWith, cpuWithout, cpuRatio measure.Spread // us
}

func (s *stage) compare(ctx context.Context, rounds, times int) error {
	things := s.things()
	of := make([]figures, len(things))
	for round := range rounds {
		for half := range 2 {
			enforced := (round+half)%2 == 0 // each is first in turn
			if err := s.enforce(ctx, enforced); err != nil {
				return err
			}
			for i, t := range things {
				n := times
				if t.writes {
					n /= 5
				}
				if _, _, err := s.repeat(ctx, t, n/5); err != nil { // plans are made anew
					return fmt.Errorf("%s: %w", t.name, err)
				}
				median, cpu, err := s.repeat(ctx, t, n)
				if err != nil {
					return fmt.Errorf("%s: %w", t.name, err)
				}
				of[i].add(enforced, median, cpu)
			}
		}
	}
	fmt.Println("| one at a time | with policies, ms | without, ms | ratio | processor time of PostgreSQL with, us | without, us | ratio |\n|---|---|---|---|---|---|---|")
	for i, t := range things {
		f := of[i]
		for n := range f.with {
			f.ratio, f.cpuRatio = append(f.ratio, f.with[n]/f.without[n]), append(f.cpuRatio, f.cpuWith[n]/f.cpuWithout[n])
		}
		fmt.Printf("| %s | %s | %s | %s | %s | %s | %s |\n", t.name, f.with, f.without, f.ratio, f.cpuWith, f.cpuWithout, f.cpuRatio)
	}
	return nil
}

func (f *figures) add(enforced bool, median, cpu float64) {
	if enforced {
		f.with, f.cpuWith = append(f.with, median), append(f.cpuWith, cpu)
		return
	}
	f.without, f.cpuWithout = append(f.without, median), append(f.cpuWithout, cpu)
}

// repeat does a thing n times, each for another workspace, and returns the median
// in milliseconds and the processor time of one in microseconds.
func (s *stage) repeat(ctx context.Context, t thing, n int) (median, cpu float64, err error) {
	took := make([]time.Duration, n)
	before := measure.Of(s.pg.Pid())
	for i := range took {
		s.turn++
		if took[i], err = t.do(ctx, s.turn); err != nil {
			return 0, 0, err
		}
	}
	return measure.Percentile(took, 0.5), float64((measure.Of(s.pg.Pid()) - before).Microseconds()) / float64(n), nil
}

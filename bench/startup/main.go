// Command startup measures how long "corp up" takes to be ready, on an empty
// folder and on one that it made before, and what it takes when nobody asks
// anything of it.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/genericcorp/corp/bench/measure"
	"github.com/genericcorp/corp/bench/site"
)

func main() {
	rounds := flag.Int("rounds", 5, "how often to start")
	idle := flag.Duration("idle", time.Minute, "how long to leave it alone")
	corp := flag.String("corp", "../bin/corp", "the program to measure")
	flag.Parse()
	if err := run(context.Background(), *corp, *rounds, *idle); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, program string, rounds int, idle time.Duration) error {
	dir, err := os.MkdirTemp("", "corp-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // PostgreSQL runs as another user
		return err
	}
	var cold, warm measure.Spread
	for round := range rounds {
		data := filepath.Join(dir, fmt.Sprint(round))
		for _, times := range []*measure.Spread{&cold, &warm} {
			s, err := site.Start(ctx, program, data)
			if err != nil {
				return err
			}
			s.Stop()
			*times = append(*times, s.Ready.Seconds())
		}
	}
	s, err := site.Start(ctx, program, filepath.Join(dir, "0"))
	if err != nil {
		return err
	}
	defer s.Stop()
	<-time.After(idle / 2)
	m := measure.Start(s.Pid())
	<-time.After(idle / 2)
	wall, cpu := m.Stop()
	fmt.Println("| figure | |\n|---|---|")
	fmt.Printf("| cold start, empty folder, s | %s |\n| warm start, s | %s |\n", cold, warm)
	fmt.Printf("| idle memory with PostgreSQL (PSS), MB | %.0f |\n| idle processor, %% of a core | %.2f |\n", float64(measure.PSS(s.Pid()))/1e6, 100*cpu.Seconds()/wall.Seconds())
	return nil
}

// Command auth measures what it costs a request that the server asks who makes it,
// whether they may and how often they did: the processor time of "corp up" for a
// request that reads nothing, by an API key, an access token and a cookie, beside
// the same server's answer to a request of which nothing is asked, and a bare
// handler of net/http.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/genericcorp/corp/bench/measure"
	"github.com/genericcorp/corp/bench/site"
)

func main() {
	bare := flag.String("bare", "", "be a bare handler at this address, and nothing else")
	rounds := flag.Int("rounds", 5, "how often to measure each")
	requests := flag.Int("requests", 15_000, "requests of each way in a round")
	corp := flag.String("corp", "../bin/corp", "the program to measure")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	if *bare != "" {
		if err := serveBare(ctx, *bare); !errors.Is(err, http.ErrServerClosed) {
			log.Fatal(err)
		}
		return
	}
	if err := run(ctx, *corp, *rounds, *requests); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, program string, rounds, requests int) error {
	dir, err := os.MkdirTemp("", "corp-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // PostgreSQL runs as another user
		return err
	}
	s, err := site.Start(ctx, program, dir+"/data", "--sign-up", "open", "--trusted-proxies", "127.0.0.1")
	if err != nil {
		return err
	}
	defer s.Stop()
	ways, stop, err := build(ctx, s)
	defer stop()
	if err != nil {
		return err
	}
	return compare(ctx, ways, rounds, requests)
}

// figures are those of one way: of its requests' time, of the server's processor
// time, and how much more that is than with nothing asked.
type figures struct{ p50, p99, cpu, more, times measure.Spread }

// The ways that the others are compared with.
const (
	wayBare = iota
	wayOpen
)

func compare(ctx context.Context, ways []way, rounds, requests int) error {
	of := make([]figures, len(ways))
	for range rounds {
		var cpu []float64
		for i, w := range ways {
			if _, err := w.load(ctx, max(100, requests/10)); err != nil { // warm
				return fmt.Errorf("%s: %w", w.name, err)
			}
			before := measure.Of(w.pid)
			took, err := w.load(ctx, requests)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			cpu = append(cpu, float64((measure.Of(w.pid)-before)/time.Microsecond)/float64(requests))
			f := &of[i]
			f.p50, f.p99 = append(f.p50, measure.Percentile(took, 0.5)), append(f.p99, measure.Percentile(took, 0.99))
			f.cpu, f.times = append(f.cpu, cpu[i]), append(f.times, cpu[i]/cpu[wayBare])
			if i > wayOpen {
				f.more = append(f.more, cpu[i]-cpu[wayOpen])
			}
		}
	}
	fmt.Println("| request | processor time of the server, us | times the bare handler's | more than with nothing asked, us | p50, ms | p99, ms |")
	fmt.Println("|---|---|---|---|---|---|")
	for i, w := range ways {
		f := of[i]
		fmt.Printf("| %s | %s | %s | %s | %s | %s |\n", w.name, f.cpu, f.times, f.more, f.p50, f.p99)
	}
	return nil
}

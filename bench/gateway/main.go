// Command gateway measures what a model call costs on its way: straight to the
// vendor, through nginx, through a bare proxy in Go, and through our gateway with its run key, budget,
// metering and journal. The vendor is a lean one of our own, so that what stands
// in between shows.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/genericcorp/corp/bench/measure"
)

// way is one way to the vendor.
type way struct {
	name, url, key string
	pids           []int // of what stands in between
}

// figures are those of one way and one kind of answer.
type figures struct{ p50, p99, cpu measure.Spread }

func main() {
	upstream := flag.String("upstream", "", "play the vendor at this address, and nothing else")
	proxy := flag.String("proxy", "", "be a bare proxy at this address to the vendor named as an argument, and nothing else")
	rounds := flag.Int("rounds", 3, "how often to measure each")
	calls := flag.Int("calls", 1500, "calls of 1 KB in a round; a tenth of that of 200 KB")
	corp := flag.String("corp", "../bin/corp", "the program to measure")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	if *upstream != "" || *proxy != "" {
		serving := serveUpstream
		if *proxy != "" {
			serving = func(ctx context.Context, _ string) error { return serveProxy(ctx, *proxy, flag.Arg(0)) }
		}
		if err := serving(ctx, *upstream); !errors.Is(err, http.ErrServerClosed) {
			log.Fatal(err)
		}
		return
	}
	if err := compare(ctx, *corp, *rounds, *calls); err != nil {
		log.Fatal(err)
	}
}

func compare(ctx context.Context, program string, rounds, calls int) error {
	ways, stop, err := build(ctx, program)
	defer stop()
	if err != nil {
		return err
	}
	fmt.Println("| answer | way | p50, ms | p99, ms | processor in between, us a call |")
	fmt.Println("|---|---|---|---|---|")
	for _, size := range sizes {
		for _, stream := range []bool{false, true} {
			n := calls
			if size > 100<<10 {
				n /= 10
			}
			if err := compareOne(ctx, ways, size, stream, rounds, n); err != nil {
				return err
			}
		}
	}
	return nil
}

func compareOne(ctx context.Context, ways []way, size int, stream bool, rounds, n int) error {
	kind := fmt.Sprintf("%d KB whole", size>>10)
	if stream {
		kind = fmt.Sprintf("%d KB streamed", size>>10)
	}
	of := make([]figures, len(ways))
	for range rounds {
		for i, w := range ways {
			if _, err := w.load(ctx, size, stream, max(10, n/10)); err != nil { // warm
				return fmt.Errorf("%s: %w", w.name, err)
			}
			before := measure.Of(w.pids...)
			took, err := w.load(ctx, size, stream, n)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			spent := measure.Of(w.pids...) - before
			of[i].p50, of[i].p99 = append(of[i].p50, measure.Percentile(took, 0.5)), append(of[i].p99, measure.Percentile(took, 0.99))
			of[i].cpu = append(of[i].cpu, float64(spent.Microseconds())/float64(n))
		}
	}
	for i, w := range ways {
		fmt.Printf("| %s | %s | %s | %s | %s |\n", kind, w.name, of[i].p50, of[i].p99, of[i].cpu)
	}
	return nil
}

var web = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}

// load makes n calls, four at a time, and returns how long each took to its last byte.
func (w way) load(ctx context.Context, size int, stream bool, n int) ([]time.Duration, error) {
	body := fmt.Appendf(nil, `{"model":"claude-sonnet-4-5","max_tokens":1024,"stream":%v,"system":"%d","messages":[{"role":"user","content":"%s"}]}`, stream, size, bytes.Repeat([]byte("x"), 900))
	took := make([]time.Duration, n)
	failed := make(chan error, 4)
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for i := worker; i < n; i += 4 {
				begun := time.Now()
				if err := w.call(ctx, body, size); err != nil {
					failed <- err
					return
				}
				took[i] = time.Since(begun)
			}
		})
	}
	all.Wait()
	select {
	case err := <-failed:
		return nil, err
	default:
		return took, nil
	}
}

func (w way) call(ctx context.Context, body []byte, size int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url+"/v1/messages", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Anthropic-Version", "2023-06-01")
	req.Header.Set("X-Api-Key", w.key)
	resp, err := web.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	n, err := io.Copy(io.Discard, resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || n < int64(size)) {
		err = fmt.Errorf("status %d, %d bytes", resp.StatusCode, n)
	}
	return err
}

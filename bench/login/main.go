// Command login measures signing in with a password: how many a second by the whole
// way (HTTP, pauses, look-up, hash, session, tokens, audit log) beside the bare hash
// with the same parameters on the same processors, and what a flood of attempts
// does to everybody else.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/bench/measure"
	"github.com/genericcorp/corp/bench/site"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/identity/password"
)

func main() {
	rounds := flag.Int("rounds", 3, "how often to measure each")
	logins := flag.Int("logins", 120, "sign-ins in a round; more than 100 for each processor at once the server does not admit")
	flood := flag.Duration("flood", 6*time.Second, "how long each flood lasts")
	rate := flag.Int("rate", 1000, "attempts a second of a flood")
	program := flag.String("corp", "../bin/corp", "the program to measure")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	if err := run(ctx, *program, *rounds, *logins, *flood, *rate); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, program string, rounds, logins int, flood time.Duration, rate int) error {
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
	if err := compare(ctx, s, rounds, logins); err != nil {
		return err
	}
	return floods(ctx, s, rounds, flood, rate)
}

const people = 16

// figures are those of one way to be sure of a password.
type figures struct{ rate, cpu, p50, p99 measure.Spread }

func (f *figures) add(n int, wall, cpu time.Duration, took []time.Duration) {
	f.rate, f.cpu = append(f.rate, float64(n)/wall.Seconds()), append(f.cpu, cpu.Seconds()*1000/float64(n))
	f.p50, f.p99 = append(f.p50, measure.Percentile(took, 0.5)), append(f.p99, measure.Percentile(took, 0.99))
}

func compare(ctx context.Context, s *site.Site, rounds, logins int) error {
	email := func(i int) string { return fmt.Sprintf("person-%d@example.com", i%people) }
	for i := range people {
		if _, err := s.Person(ctx, email(i)); err != nil {
			return err
		}
	}
	stranger := client.New(s.URL, "", client.Options{})
	var raw, all, full figures
	var ratio measure.Spread
	for range rounds {
		for _, f := range []*figures{&raw, &all} {
			at := password.Places()
			if f == &all {
				at = runtime.GOMAXPROCS(0)
			}
			m := measure.Start()
			took, err := together(at, logins, hash)
			if err != nil {
				return err
			}
			wall, cpu := m.Stop()
			f.add(logins, wall, cpu, took)
		}
		pause(ctx, refill(logins))
		begun, before := time.Now(), measure.Of(s.Pid())
		took, err := together(2*password.Places(), logins, func(i int) error { // one is on its way while another is hashed
			_, err := stranger.SignIn(ctx, client.LoginRequest{Email: email(i), Password: site.Password, Session: corp.SessionCLI})
			return err
		})
		if err != nil {
			return err
		}
		full.add(logins, time.Since(begun), measure.Of(s.Pid())-before, took)
		last := len(full.rate) - 1
		ratio = append(ratio, full.rate[last]/raw.rate[last])
	}
	fmt.Printf("\n%d processors; the server hashes %d at a time.\n\n| way | a second | of the bare hash's rate | processor time, ms | p50, ms | p99, ms |\n|---|---|---|---|---|---|\n", runtime.GOMAXPROCS(0), password.Places())
	fmt.Printf("| argon2id alone (%d MiB, %d pass), %d at a time | %s | 1 | %s | %s | %s |\n", password.Default.Memory>>10, password.Default.Passes, password.Places(), raw.rate, raw.cpu, raw.p50, raw.p99)
	if password.Places() < runtime.GOMAXPROCS(0) {
		fmt.Printf("| the same, %d at a time | %s | | %s | %s | %s |\n", runtime.GOMAXPROCS(0), all.rate, all.cpu, all.p50, all.p99)
	}
	fmt.Printf("| a whole sign-in | %s | %s | %s | %s | %s |\n", full.rate, ratio, full.cpu, full.p50, full.p99)
	return nil
}

// hash is what stands in a sign-in that nothing can be saved of.
func hash(int) error {
	c := password.Default
	if key := argon2.IDKey([]byte(site.Password), make([]byte, 16), c.Passes, c.Memory, c.Lanes, 32); len(key) != 32 {
		return errors.New("no hash")
	}
	return nil
}

// refill is how long it takes until the server admits so many again: ten a second
// for each processor.
func refill(logins int) time.Duration {
	return time.Duration(logins) * time.Second / time.Duration(10*runtime.GOMAXPROCS(0))
}

// together does n things, some at a time, and returns how long each took.
func together(workers, n int, do func(i int) error) ([]time.Duration, error) {
	took := make([]time.Duration, n)
	failed := make(chan error, workers)
	var all sync.WaitGroup
	for worker := range workers {
		all.Go(func() {
			for i := worker; i < n; i += workers {
				begun := time.Now()
				if err := do(i); err != nil {
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

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/bench/measure"
	"github.com/genericcorp/corp/bench/site"
)

// flood is requests at a steady rate, whatever becomes of them.
type flood struct {
	name string
	ask  func(ctx context.Context, i int) (status int, err error) // nil: none
	p50  measure.Spread
	p99  measure.Spread
	more measure.Spread // times the p99 without a flood
	cpu  measure.Spread // of the server, in processors
	took map[int]int    // how many were answered by which status
}

// bystanderEvery is how often somebody reads a list meanwhile.
const bystanderEvery = 20 * time.Millisecond

func floods(ctx context.Context, s *site.Site, rounds int, lasts time.Duration, rate int) error {
	all := []*flood{
		{name: "none"},
		{name: "requests of which nothing is asked", ask: func(ctx context.Context, _ int) (int, error) {
			return send(ctx, http.MethodGet, s.URL+"/health", "", "")
		}},
		{name: "sign-ins as nobody, from everywhere", ask: func(ctx context.Context, i int) (int, error) {
			body := fmt.Sprintf(`{"email":"nobody-%d@example.com","password":"wrong-%d"}`, i, i)
			return send(ctx, http.MethodPost, s.URL+"/v1/auth/login", fmt.Sprintf("198.%d.%d.%d", 18+i>>16&1, i&255, i>>8&255), body) // each from another network than the one before
		}},
	}
	most := measure.PSS(s.Pid())
	fmt.Printf("\n| %d a second beside it | list of agents, p50, ms | p99, ms | times the p99 without | processors of the server | answers |\n|---|---|---|---|---|---|\n", rate)
	before := most
	for range rounds {
		for _, f := range all {
			if f.took == nil {
				f.took = map[int]int{}
			}
			used := measure.Of(s.Pid())
			took, err := f.beside(ctx, s, lasts, rate)
			if err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
			f.cpu = append(f.cpu, (measure.Of(s.Pid())-used).Seconds()/lasts.Seconds())
			f.p50, f.p99 = append(f.p50, measure.Percentile(took, 0.5)), append(f.p99, measure.Percentile(took, 0.99))
			f.more = append(f.more, f.p99[len(f.p99)-1]/all[0].p99[len(f.p99)-1])
			most = max(most, measure.PSS(s.Pid()))
		}
		pause(ctx, refill(200)) // what is admitted at once is to be there again
	}
	for _, f := range all {
		fmt.Printf("| %s | %s | %s | %s | %s | %s |\n", f.name, f.p50, f.p99, f.more, f.cpu, f.answers())
	}
	fmt.Printf("\nMemory of the server with PostgreSQL: %.0f MB before the floods, at most %.0f MB at the end of one.\n", float64(before)/1e6, float64(most)/1e6)
	return nil
}

func (f *flood) answers() string {
	var parts []string
	for status := range 600 {
		if n := f.took[status]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d x %d", n, status))
		}
	}
	if n := f.took[-1]; n > 0 {
		parts = append(parts, fmt.Sprintf("%d not sent: too many were waiting", n))
	}
	return strings.Join(parts, ", ")
}

// beside measures how long a list takes while the flood lasts.
func (f *flood) beside(ctx context.Context, s *site.Site, lasts time.Duration, rate int) (took []time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, lasts)
	defer cancel()
	var all sync.WaitGroup
	if f.ask != nil {
		all.Go(func() { f.pour(ctx, rate) })
	}
	turn := time.NewTicker(bystanderEvery)
	defer turn.Stop()
	for {
		select {
		case <-ctx.Done():
			all.Wait()
			return took, nil
		case <-turn.C:
		}
		begun := time.Now()
		if _, err := s.Customer.Agents(ctx, corp.Page{}); err != nil && ctx.Err() == nil {
			return nil, err
		}
		if ctx.Err() == nil {
			took = append(took, time.Since(begun))
		}
	}
}

// waiting is how many requests of a flood may be without an answer.
const waiting = 600

// pour asks at the rate, ten milliseconds' worth at a time, until ctx ends.
func (f *flood) pour(ctx context.Context, rate int) {
	var mu sync.Mutex
	var all sync.WaitGroup
	var open atomic.Int64
	note := func(status int) {
		mu.Lock()
		defer mu.Unlock()
		f.took[status]++
	}
	turn := time.NewTicker(10 * time.Millisecond)
	defer turn.Stop()
	begun, sent := time.Now(), 0
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-turn.C:
		}
		for ; sent < int(time.Since(begun).Seconds()*float64(rate)); sent++ {
			if open.Load() >= waiting {
				note(-1)
				continue
			}
			open.Add(1)
			i := int(serial.Add(1))
			all.Go(func() {
				defer open.Add(-1)
				if status, err := f.ask(ctx, i); err == nil {
					note(status)
				}
			})
		}
	}
	all.Wait()
}

var (
	serial atomic.Int64 // so that no attempt is like another
	web    = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: waiting}}
)

func send(ctx context.Context, method, url, from, body string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	if from != "" {
		req.Header.Set("X-Forwarded-For", from)
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := web.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

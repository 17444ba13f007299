//go:build engine || soak

package engine

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/gateway/pricebook"
	"github.com/genericcorp/corp/vendorsim"
)

// model is what the simulated vendor plays and the price book knows.
const model = "claude-sonnet-4-5"

// vendor is a simulated vendor.
type vendor struct {
	*vendorsim.Server
	url string
}

func newVendor(t testing.TB, scenario string) *vendor {
	t.Helper()
	loaded, err := vendorsim.Load(strings.NewReader(scenario))
	if err != nil {
		t.Fatal(err)
	}
	sim := vendorsim.New(vendorsim.Options{}, loaded)
	web := httptest.NewServer(sim)
	t.Cleanup(web.Close)
	return &vendor{sim, web.URL}
}

// billed prices the vendor's own books.
func (v *vendor) billed(t testing.TB) (sum corp.Nanodollars) {
	t.Helper()
	prices, err := pricebook.Prices()
	if err != nil {
		t.Fatal(err)
	}
	priced := pricebook.New(prices)
	for _, call := range v.Books().Calls {
		quote, _ := priced.Lookup(corp.DialectAnthropic, call.Model, time.Now())
		u := corp.Usage{FreshInput: call.Usage.Input, CacheRead: call.Usage.CacheRead, CacheWriteShort: call.Usage.CacheWrite5m, CacheWriteLong: call.Usage.CacheWrite1h, Output: call.Usage.Output}
		cost, _, _ := quote.Cost(u)
		sum += cost
	}
	return sum
}

// with makes the vendor the workspace's provider, and its default agent one of
// its model.
func (w *tenant) with(v *vendor) {
	w.site.t.Helper()
	ctx := w.site.t.Context()
	_, err := w.clients[0].CreateProvider(ctx, client.ProviderRequest{ProviderSpec: corp.ProviderSpec{Name: "sim", Dialect: corp.DialectAnthropic, BaseURL: v.url}, Key: "sim-secret"})
	if err != nil {
		w.site.t.Fatal(err)
	}
	agent, err := w.clients[0].Agent(ctx, "default")
	if err != nil {
		w.site.t.Fatal(err)
	}
	agent.Model = "sim/" + model
	if _, err := w.clients[0].UpdateAgent(ctx, "default", agent.AgentSpec); err != nil {
		w.site.t.Fatal(err)
	}
}

// talker answers every prompt with a sentence or two.
const talker = `
name: talker
pace: {chunk: 4000}
rules:
  - name: rule-1
    reply:
      text_bytes: 2000
      usage: {output: 500}
`

// cancelRunning cancels tasks and waits for their ends.
func (s *site) cancelRunning(w *tenant, ids []corp.TaskID) {
	s.t.Helper()
	for _, id := range ids {
		w.cancel(id)
	}
	s.awaitFinal(patience, ids...)
}

// purse is what a workspace's money comes to.
type purse struct {
	Spent, Granted, Ledger int64
	Calls                  int
}

func (s *site) purse(w *tenant) purse {
	s.t.Helper()
	return ask[purse](s.oracle, `
		SELECT b.spent_nanodollars, b.granted_nanodollars, coalesce((SELECT sum(cost_nanodollars) FROM calls c WHERE c.workspace_id = b.workspace_id), 0)::bigint,
			(SELECT count(*) FROM calls c WHERE c.workspace_id = b.workspace_id)::int
		FROM budgets b WHERE b.workspace_id = $1 AND b.task_id IS NULL`, w.ID)[0]
}

// watchMoney samples all budgets.
func (s *site) watchMoney(r *row) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() {
		for pauseFor(ctx, 20*time.Millisecond) {
			var over int
			err := s.oracle.pool.QueryRow(ctx, `SELECT count(*) FROM budgets WHERE spent_nanodollars + granted_nanodollars > limit_nanodollars`).Scan(&over)
			if err == nil {
				r.must(over == 0, "%d budgets are passed", over)
			}
		}
	})
	stop = sync.OnceFunc(func() { cancel(); watching.Wait() })
	s.t.Cleanup(stop)
	return stop
}

// callModel asks a server's gateway for an answer, and returns the status; 0 when
// it was not reached.
func (s *site) callModel(at *server, key string) int {
	body := fmt.Sprintf(`{"model":"sim/%s","max_tokens":1100,"messages":[{"role":"user","content":"Say something about %s."}]}`, model, randomName())
	ctx, cancel := context.WithTimeout(context.Background(), patience/3)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+at.gateway+"/v1/messages", strings.NewReader(body))
	if err != nil {
		return 0
	}
	req.Header.Set("X-Api-Key", key)
	req.Header.Set("Anthropic-Version", "2023-06-01")
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		pauseFor(ctx, 50*time.Millisecond)
		return 0
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

package gateway_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/gateway"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// Attack case 47. Control: the same call succeeds before the run's end.
func TestKeyWorksNoMoreWhenTheRunHasEnded(t *testing.T) {
	t.Parallel()
	vendor := &recording{answer: plainAnswer}
	w := newWorld(t, vendor, func(c *gateway.Config) { c.Times.Identity = time.Hour })
	a := w.run(corp.Dollar)
	body := message("sim/claude-sonnet-4-5", "hi", "100", false)
	if got := a.call(body); got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if _, err := w.env.DB.In(w.ws).FinishRun(t.Context(), a.lease.RunID, a.lease.Epoch, corp.Outcome{State: corp.RunSucceeded, Reason: corp.ReasonCompleted}); err != nil {
		t.Fatal(err)
	}
	w.gateway.Forget(a.lease.RunID)
	if got := a.call(body); got.status != 401 {
		t.Errorf("%d %s", got.status, got.body)
	}
	a.settled()
}

func TestOneRunMayNotHaveEndlesslyManyCallsUnderWay(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	vendor := &recording{answer: func(w http.ResponseWriter, r *http.Request) { <-release; plainAnswer(w, r) }}
	a := newWorld(t, vendor).run(0)
	const many = 70
	done := make(chan int, many)
	for range many {
		go func() { done <- a.call(message("sim/claude-sonnet-4-5", "hi", "100", false)).status }()
	}
	count := map[int]int{}
	for range many - 64 { // the others are let through and wait
		count[<-done]++
	}
	close(release)
	for range 64 {
		count[<-done]++
	}
	if count[429] != many-64 || count[200] != 64 {
		t.Errorf("%v", count)
	}
}

func TestFlushMakesARunsSumsWhole(t *testing.T) {
	t.Parallel()
	vendor := &recording{answer: plainAnswer}
	w := newWorld(t, vendor, func(c *gateway.Config) { c.Times.Flush = time.Hour })
	a := w.run(0)
	a.call(message("sim/claude-sonnet-4-5", "hi", "100", false))
	if err := w.gateway.Flush(t.Context(), a.task.RunID); err != nil {
		t.Fatal(err)
	}
	run, err := w.env.DB.In(w.ws).Run(t.Context(), a.task.RunID)
	if err != nil || run.Calls != 1 || run.Cost != 10*sonnetIn+20*sonnetOut {
		t.Errorf("%+v, %v", run, err)
	}
}

func TestStoppingLetsCallsEndAndGivesEverythingBack(t *testing.T) {
	t.Parallel()
	release, arrived := make(chan struct{}), make(chan struct{}, 1)
	vendor := &recording{answer: func(w http.ResponseWriter, r *http.Request) { arrived <- struct{}{}; <-release; plainAnswer(w, r) }}
	w := newWorld(t, vendor, func(c *gateway.Config) { c.Times.Idle = time.Hour })
	a := w.run(corp.Dollar)
	done := make(chan reply, 1)
	go func() { done <- a.call(message("sim/claude-sonnet-4-5", "hi", "100", false)) }()
	<-arrived
	stopped := make(chan struct{})
	go func() { w.stop(); close(stopped) }()
	pgtest.Eventually(t, patience, "new calls are refused", func(context.Context) bool {
		return a.call("{").status == 503 // no call either way: 400 until then
	})
	close(release)
	if got := <-done; got.status != 200 {
		t.Errorf("%d %s", got.status, got.body)
	}
	<-stopped
	task, workspace := a.budgets()
	if c := a.only(); c.Cost != task.Spent || workspace.Spent != c.Cost || task.Granted != 0 || workspace.Granted != 0 {
		t.Errorf("%+v %+v %+v", c, task, workspace)
	}
}

func TestStoppingEndsCallsThatTakeTooLong(t *testing.T) {
	t.Parallel()
	arrived, never := make(chan struct{}, 1), make(chan struct{})
	vendor := &recording{answer: func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		select {
		case <-never:
		case <-r.Context().Done():
		}
	}}
	w := newWorld(t, vendor, func(c *gateway.Config) { c.Times.Shutdown = 100 * time.Millisecond })
	a := w.run(corp.Dollar)
	done := make(chan reply, 1)
	go func() { done <- a.call(message("sim/claude-sonnet-4-5", "hi", "100", false)) }()
	<-arrived
	w.stop()
	<-done
	if c := a.only(); c.Outcome != corp.CallCut || !c.Estimated || c.Cost != c.Reserved {
		t.Errorf("%+v", c)
	}
}

func TestNothingPassesBeforeRecovery(t *testing.T) {
	t.Parallel()
	w := newWorld(t, http.NotFoundHandler())
	c := w.config
	c.JournalPath = t.TempDir() + "/journal"
	g, err := gateway.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Run(t.Context()); err == nil {
		t.Error("it ran without recovery")
	}
	c.JournalPath = w.config.JournalPath
	second, err := gateway.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Recover(t.Context()); corp.KindOf(err) != corp.KindConflict || !strings.Contains(err.Error(), fmt.Sprintf("another process (%d)", os.Getpid())) {
		t.Errorf("two gateways share one journal: %v", err)
	}
	for _, broken := range []gateway.Config{{}, {DB: c.DB}, {DB: c.DB, Ring: c.Ring}, {DB: c.DB, Ring: c.Ring, Server: c.Server}} {
		if _, err := gateway.New(broken); err == nil {
			t.Errorf("%+v was accepted", broken)
		}
	}
}

func TestManyKeysAtOnceAreAllAnswered(t *testing.T) {
	t.Parallel()
	vendor := &recording{answer: plainAnswer}
	w := newWorld(t, vendor)
	const runs = 10
	type result struct {
		a      *agent
		status int
	}
	results := make(chan result, runs*5)
	for range runs {
		a := w.run(corp.Dollar)
		for range 5 {
			go func() {
				results <- result{a, a.call(message("sim/claude-sonnet-4-5", "hi", "100", false)).status}
			}()
		}
	}
	agents := map[*agent]int{}
	for range runs * 5 {
		r := <-results
		if r.status != 200 {
			t.Errorf("status %d", r.status)
		}
		agents[r.a]++
	}
	for a := range agents {
		if calls := a.calls(5); fmt.Sprint(calls[0].RunID) != a.task.RunID.String() {
			t.Error("a call went to another run")
		}
	}
}

func TestMetricsTellWhatHappened(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	a := newWorld(t, &recording{answer: plainAnswer}, func(c *gateway.Config) { c.Registerer = registry }).run(corp.Dollar)
	a.call(message("sim/claude-sonnet-4-5", "hi", "100", false))
	a.only()
	got := metrics(t, registry)
	for name, want := range map[string]float64{
		"corp_gateway_calls_total": 1, "corp_gateway_call_seconds": 1, "corp_gateway_open_calls": 0, "corp_gateway_reserved_nanodollars": 0,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %v (%v), want %v", name, v, ok, want)
		}
	}
}

// metrics returns the present value of each metric's first series.
func metrics(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		m := f.GetMetric()[0]
		got[f.GetName()] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	return got
}

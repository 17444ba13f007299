package gateway_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/gateway"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// A call that waited is not sent for a run that has ended meanwhile.
func TestCallThatWaitedIsNotSentForARunThatEnded(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	var served atomic.Int64
	vendor := &recording{answer: func(w http.ResponseWriter, r *http.Request) { served.Add(1); <-release; plainAnswer(w, r) }}
	w := newWorld(t, vendor, unhurried)
	a := w.run(40_000_000)
	first, second := make(chan reply, 1), make(chan reply, 1)
	go func() { first <- a.call(message("sim/claude-sonnet-4-5", "hi", "2400", false)) }()
	pgtest.Eventually(t, patience, "the first call is under way", func(context.Context) bool { return served.Load() == 1 })
	go func() { second <- a.call(message("sim/claude-sonnet-4-5", "hi", "2400", false)) }()
	pgtest.Eventually(t, patience, "the second call is with the gateway", func(context.Context) bool { return w.gateway.UnderWay(a.task.RunID) == 2 })
	select {
	case got := <-second:
		t.Fatalf("it did not wait: %d %s", got.status, got.body)
	case <-time.After(100 * time.Millisecond):
	}
	if _, err := w.env.DB.In(w.ws).FinishRun(t.Context(), a.lease.RunID, a.lease.Epoch, corp.Outcome{State: corp.RunSucceeded, Reason: corp.ReasonCompleted}); err != nil {
		t.Fatal(err)
	}
	w.gateway.Forget(a.lease.RunID)
	close(release)
	<-first
	if got := <-second; got.status != http.StatusUnauthorized || served.Load() != 1 {
		t.Errorf("%d %s; %d calls reached the vendor", got.status, got.body, served.Load())
	}
	a.settled()
}

// A client that hangs up while its money is being fetched has sent nothing yet,
// and pays for nothing.
func TestClientThatLeavesBeforeItsCallIsSentPaysNothing(t *testing.T) {
	t.Parallel()
	vendor := &recording{answer: plainAnswer}
	w := newWorldIn(t, pgtest.Database(t), vendor)
	a := w.run(corp.Dollar)
	gone, answered := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		defer close(answered)
		go func() { <-r.Context().Done(); close(gone) }()
		w.gateway.ServeHTTP(rw, r)
	}))
	t.Cleanup(server.Close)
	elsewhere := *w
	elsewhere.url = server.URL
	a.world = &elsewhere
	locked := make(chan struct{})
	go func() {
		defer close(locked)
		w.env.Exec(t, `DO $$ BEGIN
			PERFORM FROM budgets WHERE task_id = '`+a.task.ID.UUID()+`' FOR UPDATE;
			WHILE NOT EXISTS (SELECT FROM workspaces WHERE name = 'go on') LOOP PERFORM pg_sleep(0.01); END LOOP;
		END $$`)
	}()
	waits := func(least int64) func(context.Context) bool {
		return func(context.Context) bool {
			return pgtest.Value[int64](t, w.env, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event IN ('PgSleep', 'transactionid')`) >= least
		}
	}
	pgtest.Eventually(t, patience, "the budget is locked", waits(1))
	ctx, hangUp := context.WithCancel(t.Context())
	go a.do(a.request(ctx, message("sim/claude-sonnet-4-5", "hi", "100", false)))
	pgtest.Eventually(t, patience, "the gateway waits for it", waits(2))
	hangUp()
	<-gone
	w.env.Exec(t, `UPDATE workspaces SET name = 'go on' WHERE workspace_id = $1`, w.ws)
	<-locked
	<-answered
	vendor.mu.Lock()
	sent := len(vendor.got)
	vendor.mu.Unlock()
	if sent != 0 {
		t.Errorf("%d calls were sent", sent)
	}
	if task, _ := a.settled(); task.Spent != 0 {
		t.Errorf("%+v", task)
	}
}

// A gateway that could not give its allowances back leaves that to the next
// start: nobody is charged for what nobody spent.
func TestAllowancesThatAStopCouldNotGiveBackComeBackAtTheNextStart(t *testing.T) {
	t.Parallel()
	w := newWorldIn(t, pgtest.Database(t), &recording{answer: plainAnswer})
	a := w.run(corp.Dollar)
	c := w.config
	c.Server, c.JournalPath, c.Times.Idle = corp.NewID[corp.ServerID](), filepath.Join(t.TempDir(), "journal"), time.Hour
	first, err := gateway.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- first.Run(ctx) }()
	server := httptest.NewServer(first)
	defer server.Close()
	elsewhere := *w
	elsewhere.url = server.URL
	a.world = &elsewhere
	if got := a.call(message("sim/claude-sonnet-4-5", "hi", "100", false)); got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	w.env.Exec(t, `REVOKE ALL ON allowances FROM corp_system`)
	cancel()
	if err := <-done; err == nil {
		t.Fatal("everything was given back")
	}
	if task, _ := a.budgets(); task.Granted == 0 {
		t.Fatal("nothing was left granted")
	}
	w.env.Exec(t, `GRANT SELECT (workspace_id, id, budget_id, server_id, closed_at) ON allowances TO corp_system`)
	c.Server = corp.NewID[corp.ServerID]()
	second, err := gateway.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if task, _ := a.budgets(); task.Granted != 0 || task.Spent != a.only().Cost {
		t.Errorf("%+v", task)
	}
}

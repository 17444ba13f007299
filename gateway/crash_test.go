package gateway_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/gateway"
	"github.com/genericcorp/corp/outbound"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
	"github.com/genericcorp/corp/seal"
)

// orders are what a gateway in a process of its own is told.
type orders struct {
	AppURL, SystemURL, Journal string
	Server                     corp.ServerID
}

// child is a gateway in a process of its own: this test binary, started again. It
// prints its address when it is ready, and runs until it is killed.
func child(path string) int {
	if err := serveChild(path); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func serveChild(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var o orders
	if err := json.Unmarshal(text, &o); err != nil {
		return err
	}
	ctx := context.Background()
	db, err := postgres.Open(ctx, postgres.Config{AppURL: o.AppURL, SystemURL: o.SystemURL})
	if err != nil {
		return err
	}
	ring, err := seal.New(secret)
	if err != nil {
		return err
	}
	times := quick()
	times.Idle = time.Hour // nothing is given back but by recovery
	g, err := gateway.New(gateway.Config{DB: db, Ring: ring, Server: o.Server, JournalPath: o.Journal, Times: times, Outbound: outbound.Policy{AllowPrivate: true}})
	if err != nil {
		return err
	}
	if err := g.Recover(ctx); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() { _ = http.Serve(listener, g) }()
	fmt.Println(listener.Addr())
	return g.Run(ctx)
}

// startChild starts a gateway in a process of its own and returns its address
// and how to kill it. The child dies with the test.
func (w *world) startChild(server corp.ServerID, journal string) (url string, kill func()) {
	w.t.Helper()
	text, err := json.Marshal(orders{w.env.AppURL, w.env.SystemURL, journal, server})
	if err != nil {
		w.t.Fatal(err)
	}
	path := filepath.Join(w.t.TempDir(), "orders")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "CORP_TEST_GATEWAY="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill() // SIGKILL: it gets no chance to tidy up
		_ = cmd.Wait()
	})
	w.t.Cleanup(kill)
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		w.t.Fatalf("the child gateway did not start: %v", err)
	}
	return "http://" + strings.TrimSpace(address), kill
}

// Killed in the middle of twenty streams, a gateway loses no money: after
// recovery the ledger says at least what the vendor billed and never more than
// the limit, and nothing stays granted.
func TestKilledGatewayLosesNoMoney(t *testing.T) {
	t.Parallel()
	for round := range 3 {
		const clients = 20
		vendor := &greedy{slow: 10 * time.Millisecond, hold: make(chan struct{}), after: 30 + 10*round}
		w := newWorld(t, vendor)
		limit := corp.Nanodollars(4_000_000_003)
		w.limitWorkspace(limit)
		journal := filepath.Join(t.TempDir(), "journal")
		server := corp.NewID[corp.ServerID]()
		url, kill := w.startChild(server, journal)
		agents := make([]*agent, 4)
		for i := range agents {
			agents[i] = w.run(2 * corp.Dollar)
			elsewhere := *w
			elsewhere.url = url
			agents[i].world = &elsewhere
		}
		killed := make(chan struct{})
		go func() {
			defer close(killed)
			pgtest.Eventually(t, patience, "every client is in the middle of a call", func(context.Context) bool {
				_, served := vendor.books()
				return served == vendor.after+clients
			})
			kill()
			close(vendor.hold)
		}()
		hammer(t, agents, clients, 30, false)
		<-killed
		before := w.sum()
		billed, served := vendor.books()

		again, err := os.ReadFile(journal)
		if err != nil {
			t.Fatal(err)
		}
		_, stop := w.startChild(corp.NewID[corp.ServerID](), journal) // recovers
		stop()
		after := w.sum()
		if after < billed || after > limit || after < before {
			t.Errorf("limit %v: the vendor billed %v for %d calls, the ledger said %v and now says %v", limit, billed, served, before, after)
		}
		for _, a := range agents {
			task, workspace := a.budgets()
			if task.Granted != 0 || workspace.Granted != 0 || workspace.Spent != after {
				t.Errorf("%+v %+v, the calls cost %v", task, workspace, after)
			}
		}
		unsettled := pgtest.Value[int64](t, w.env, `SELECT count(*) FROM calls WHERE workspace_id = $1 AND outcome = 'unsettled' AND estimated AND cost_nanodollars = reserved_nanodollars`, w.ws)
		if unsettled != clients {
			t.Errorf("%d calls were under way and are estimated", unsettled)
		}
		w.recoverAgain(journal, again, after)
	}
}

// recoverAgain recovers from the same journal once more, as if the first
// recovery had been killed at its end: nothing may change.
func (w *world) recoverAgain(journal string, text []byte, sum corp.Nanodollars) {
	w.t.Helper()
	if err := os.WriteFile(journal, text, 0o600); err != nil {
		w.t.Fatal(err)
	}
	_, stop := w.startChild(corp.NewID[corp.ServerID](), journal)
	stop()
	if again := w.sum(); again != sum {
		w.t.Errorf("the second recovery made %v of %v", again, sum)
	}
}

// A journal that may be missing something (its machine was restarted, or a line
// is damaged) is not believed to the nanodollar: what its server held and did not
// account for counts as spent, and never more than the limit.
func TestJournalOfAnotherBootIsSettledByEstimate(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	defer close(release)
	vendor := &recording{answer: func(w http.ResponseWriter, r *http.Request) { <-release; plainAnswer(w, r) }}
	w := newWorld(t, vendor)
	limit := corp.Nanodollars(100_000_000)
	a := w.run(limit)
	journal := filepath.Join(t.TempDir(), "journal")
	url, kill := w.startChild(corp.NewID[corp.ServerID](), journal)
	elsewhere := *w
	elsewhere.url = url
	a.world = &elsewhere
	done := make(chan struct{})
	go func() { defer close(done); a.call(message("sim/claude-sonnet-4-5", "hi", "1000", false)) }()
	pgtest.Eventually(t, patience, "a call is under way", func(context.Context) bool {
		vendor.mu.Lock()
		defer vendor.mu.Unlock()
		return len(vendor.got) == 1
	})
	kill()
	<-done
	text, err := os.ReadFile(journal)
	if err != nil {
		t.Fatal(err)
	}
	// The machine went down before this line reached the disk.
	first, rest, ok := strings.Cut(string(text), "\n")
	if !ok || rest == "" {
		t.Fatalf("the journal holds %q", text)
	}
	if err := os.WriteFile(journal, []byte(first+"\n00000000 {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stop := w.startChild(corp.NewID[corp.ServerID](), journal)
	stop()
	task, workspace := a.budgets()
	if task.Granted != 0 || task.Spent > limit || task.Spent < 15_000_000 || workspace.Spent != task.Spent || w.sum() != task.Spent {
		t.Errorf("%+v %+v, the calls cost %v", task, workspace, w.sum())
	}
	if c := a.only(); c.Outcome != corp.CallUnsettled || !c.Estimated {
		t.Errorf("%+v", c)
	}
}

func TestUnreadableJournalIsPutAside(t *testing.T) {
	t.Parallel()
	w := newWorld(t, http.NotFoundHandler())
	dir := t.TempDir()
	journal := filepath.Join(dir, "journal")
	if err := os.WriteFile(journal, []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stop := w.startChild(corp.NewID[corp.ServerID](), journal)
	stop()
	aside, err := filepath.Glob(filepath.Join(dir, "journal.unreadable-*"))
	if err != nil || len(aside) != 1 {
		t.Errorf("%v, %v", aside, err)
	}
	if _, err := os.Stat(journal); err != nil {
		t.Error(errors.New("no new journal was begun"), err)
	}
}

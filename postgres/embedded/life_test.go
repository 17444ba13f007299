package embedded

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
)

func TestColdStartMakesAClusterThatAnswers(t *testing.T) {
	t.Parallel()
	s := startServer(t, Config{Dir: newDir(t), Durable: true, Logger: logger(t)})
	got := map[string]string{}
	for _, name := range []string{"server_version_num", "fsync", "data_checksums", "listen_addresses", "server_encoding", "allow_alter_system", "TimeZone"} {
		got[name] = query[string](t, s.AppURL(), "SHOW "+name)
	}
	if !strings.HasPrefix(got["server_version_num"], "18") || s.Version() == "" || !strings.HasPrefix(s.Version(), "18.") {
		t.Errorf("version: server says %s, Version says %q", got["server_version_num"], s.Version())
	}
	delete(got, "server_version_num")
	want := map[string]string{"fsync": "on", "data_checksums": "on", "listen_addresses": "", "server_encoding": "UTF8", "allow_alter_system": "off", "TimeZone": "UTC"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	locale := query[string](t, s.AppURL(), "SELECT datlocprovider::text || ' ' || datlocale FROM pg_database WHERE datname = 'corp'")
	if locale != "b C.UTF-8" {
		t.Errorf("collation is %q, want the builtin C.UTF-8", locale)
	}
}

func TestWarmStartKeepsDataAndIsIdempotent(t *testing.T) {
	t.Parallel()
	cfg := quick(t, newDir(t))
	s := startServer(t, cfg)
	execute(t, s.OwnerURL(), "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (42)")
	stopServer(t, s)
	s = startServer(t, cfg)
	if n := query[int](t, s.OwnerURL(), "SELECT n FROM kept"); n != 42 {
		t.Errorf("kept row is %d, want 42", n)
	}
}

func TestStopLeavesNoProcessAndFreesTheFolder(t *testing.T) {
	t.Parallel()
	cfg := quick(t, newDir(t))
	s := startServer(t, cfg)
	// Sessions, one of them busy, must not delay a fast shutdown.
	conn := connect(t, s.AppURL())
	busy := make(chan error, 1)
	go func() {
		_, err := conn.Exec(context.Background(), "SELECT pg_sleep(600)")
		busy <- err
	}()
	eventually(t, "the query runs", func() bool {
		return query[int](t, s.SuperURL("postgres"), "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)' AND state = 'active'") == 1
	})
	stopServer(t, s)
	if err := <-busy; err == nil {
		t.Error("the busy session ended without an error")
	}
	if left := residents(s.folder.data()); len(left) > 0 {
		t.Errorf("processes %v outlived Stop", left)
	}
	if s.Pid() != 0 {
		t.Errorf("Pid is %d after Stop", s.Pid())
	}
	stopServer(t, s) // a second call is harmless
	startServer(t, cfg)
}

func TestStopIsBoundedByItsContext(t *testing.T) {
	t.Parallel()
	cfg := quick(t, newDir(t))
	cfg.Durable = true
	s := startServer(t, cfg)
	execute(t, s.OwnerURL(), "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (7)")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = s.Stop(ctx) // fast or at once: which of the two depends on the machine
	if left := residents(s.folder.data()); len(left) > 0 {
		t.Errorf("processes %v outlived Stop", left)
	}
	s = startServer(t, cfg)
	if n := query[int](t, s.OwnerURL(), "SELECT n FROM kept"); n != 7 {
		t.Errorf("kept row is %d, want 7", n)
	}
}

func TestSecondServerOnAFolderIsRefused(t *testing.T) {
	t.Parallel()
	cfg := quick(t, newDir(t))
	startServer(t, cfg)
	_, err := Start(deadline(t), cfg)
	if corp.KindOf(err) != corp.KindConflict || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("second start: %v, want a conflict that says the folder is in use", err)
	}
}

func TestOfManyStartsOnOneFolderExactlyOneWins(t *testing.T) {
	t.Parallel()
	cfg := quick(t, newDir(t))
	var mu sync.Mutex
	var won []*Server
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			s, err := Start(deadline(t), cfg)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won = append(won, s)
			} else if corp.KindOf(err) != corp.KindConflict {
				t.Errorf("a loser got %v", err)
			}
		})
	}
	wg.Wait()
	for _, s := range won {
		t.Cleanup(func() { _ = s.Stop(context.Background()) })
	}
	if len(won) != 1 {
		t.Fatalf("%d servers started, want 1", len(won))
	}
}

func TestCancelledStartLeavesNothingRunning(t *testing.T) {
	t.Parallel()
	for _, after := range []time.Duration{0, 50 * time.Millisecond, 300 * time.Millisecond, 700 * time.Millisecond} {
		t.Run(after.String(), func(t *testing.T) {
			t.Parallel()
			cfg := Config{Dir: newDir(t), Logger: logger(t)}
			ctx, cancel := context.WithTimeout(t.Context(), after)
			defer cancel()
			s, err := Start(ctx, cfg)
			if err == nil {
				stopServer(t, s) // the machine was faster
			} else if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("cancelled start: %v, want the deadline as the cause", err)
			}
			if left := residents(cfg.Dir + "/data"); len(left) > 0 {
				t.Errorf("processes %v outlived the start", left)
			}
			startServer(t, quick(t, cfg.Dir))
		})
	}
}

func TestDataOfAnotherMajorVersionIsRefused(t *testing.T) {
	t.Parallel()
	cfg := quick(t, newDir(t))
	s := startServer(t, cfg)
	stopServer(t, s)
	if err := os.WriteFile(s.folder.data()+"/PG_VERSION", []byte("17\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Start(deadline(t), cfg)
	if corp.KindOf(err) != corp.KindConflict || !strings.Contains(err.Error(), "PostgreSQL 17") {
		t.Errorf("start on data of 17: %v, want a conflict that names it", err)
	}
	if err := os.WriteFile(s.folder.data()+"/PG_VERSION", []byte("18\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	startServer(t, cfg) // nothing was done to it
}

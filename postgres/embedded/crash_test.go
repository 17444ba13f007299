package embedded

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestKilledParentTakesPostgresAlongAndLosesNoRow(t *testing.T) {
	t.Parallel()
	cfg := quick(t, newDir(t))
	cfg.Durable, cfg.Logger, cfg.BinDir = true, nil, binDir(t)
	c := startChild(t, childTask{Config: cfg, Write: true}, nil)
	if !strings.HasPrefix(c.line(), "pid ") {
		t.Fatal("the child did not start a server")
	}
	acked := 0
	for acked < 200 {
		acked = number(t, c.line())
	}
	for _, line := range c.kill(t) {
		acked = number(t, line)
	}
	data := filepath.Join(cfg.Dir, "data")
	eventually(t, "postgres follows its parent", func() bool { return len(residents(data)) == 0 })
	cfg.Logger = logger(t)
	s := startServer(t, cfg)
	if rows := query[int](t, s.OwnerURL(), "SELECT count(*) FROM ledger"); rows < acked {
		t.Errorf("%d rows were acknowledged, %d are there", acked, rows)
	}
}

// number reads a line of writeRows. A line that the kill cut short counts as
// nothing, as nobody saw it whole.
func number(t *testing.T, line string) int {
	t.Helper()
	n, err := strconv.Atoi(line)
	if err != nil {
		t.Fatalf("the child said %q, want a number", line)
	}
	return n
}

func TestKilledPostmasterIsStartedAgainAndLosesNoRow(t *testing.T) {
	t.Parallel()
	for _, durable := range []bool{true, false} {
		t.Run(fmt.Sprintf("durable=%t", durable), func(t *testing.T) {
			t.Parallel()
			cfg := quick(t, newDir(t))
			cfg.Durable = durable
			s := startServer(t, cfg)
			execute(t, s.OwnerURL(), "CREATE TABLE ledger (writer int, n int, PRIMARY KEY (writer, n))")
			w := startWriters(t, s.OwnerURL(), 4)
			for kill := 1; kill <= 3; kill++ {
				w.waitFor(t, kill*100)
				before := s.Pid()
				if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				eventually(t, "the server runs again", func() bool { return s.Restarts() == kill && s.Pid() != 0 })
				if s.Pid() == before {
					t.Errorf("Pid is still %d", before)
				}
			}
			w.waitFor(t, w.total()+100)
			acked := w.stop()
			for writer, rows := range acked {
				got := query[int](t, s.OwnerURL(), fmt.Sprintf("SELECT count(*) FROM ledger WHERE writer = %d AND n < %d", writer, rows))
				if got != rows {
					t.Errorf("writer %d: %d rows were acknowledged, %d are there", writer, rows, got)
				}
			}
			stopServer(t, s)
			if left := residents(s.folder.data()); len(left) > 0 {
				t.Errorf("processes %v outlived Stop", left)
			}
		})
	}
}

// writers insert rows, each its own numbers in order, through every crash.
type writers struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	mu     sync.Mutex
	acked  []int // by writer: all numbers below are acknowledged
}

func startWriters(t *testing.T, url string, count int) *writers {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &writers{cancel: cancel, acked: make([]int, count)}
	for i := range count {
		w.wg.Go(func() {
			for ctx.Err() == nil {
				w.write(ctx, url, i)
			}
		})
	}
	t.Cleanup(func() { w.stop() })
	return w
}

// write inserts until the connection breaks. The row whose acknowledgement was
// lost may be there or not, so it is inserted again.
func (w *writers) write(ctx context.Context, url string, writer int) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close(context.Background()) }()
	for {
		w.mu.Lock()
		n := w.acked[writer]
		w.mu.Unlock()
		if _, err := conn.Exec(ctx, "INSERT INTO ledger VALUES ($1, $2) ON CONFLICT DO NOTHING", writer, n); err != nil {
			return
		}
		w.mu.Lock()
		w.acked[writer]++
		w.mu.Unlock()
	}
}

func (w *writers) total() (sum int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.acked {
		sum += n
	}
	return sum
}

func (w *writers) waitFor(t *testing.T, total int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d rows", total), func() bool { return w.total() >= total })
}

func (w *writers) stop() []int {
	w.cancel()
	w.wg.Wait()
	return w.acked
}

func TestBackendsThatOutliveThePostmasterDoNotStopTheRestart(t *testing.T) {
	t.Parallel()
	s := startServer(t, quick(t, newDir(t)))
	conn := connect(t, s.AppURL())
	var backend int
	if err := conn.QueryRow(deadline(t), "SELECT pg_backend_pid()").Scan(&backend); err != nil {
		t.Fatal(err)
	}
	// A stopped process notices nothing, like one deep in a long computation.
	if err := syscall.Kill(backend, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(s.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server runs again", func() bool { return s.Restarts() == 1 })
	if query[int](t, s.AppURL(), "SELECT 1") != 1 {
		t.Error("the server does not answer")
	}
	if slices.Contains(residents(s.folder.data()), backend) {
		t.Errorf("backend %d still lives", backend)
	}
}

func TestStopDuringARestartStops(t *testing.T) {
	t.Parallel()
	moments := map[string]func(s *Server, killed int) bool{
		"at once":                    func(*Server, int) bool { return true },
		"when the death is noticed":  func(s *Server, _ int) bool { return s.Pid() == 0 },
		"when the next one is there": func(s *Server, killed int) bool { return readPidFile(s.folder.data()).pid != killed },
		"when it runs again":         func(s *Server, _ int) bool { return s.Restarts() == 1 },
	}
	for name, reached := range moments {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, quick(t, newDir(t)))
			killed := s.Pid()
			if err := syscall.Kill(killed, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			eventually(t, name, func() bool { return reached(s, killed) })
			// A server that ended by the kill did not end well; Stop may say so.
			if err := s.Stop(deadline(t)); err != nil && !strings.Contains(err.Error(), "killed") {
				t.Errorf("stop: %v", err)
			}
			if left := residents(s.folder.data()); len(left) > 0 {
				t.Errorf("processes %v outlived Stop", left)
			}
			stopServer(t, startServer(t, quick(t, string(s.folder))))
		})
	}
}

func TestARestartGivesSharedMemoryBack(t *testing.T) {
	t.Parallel()
	s := startServer(t, quick(t, newDir(t)))
	maps, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(s.Pid()), "maps"))
	if err != nil {
		t.Fatal(err)
	}
	var segments []string
	for line := range strings.Lines(string(maps)) {
		if _, name, ok := strings.Cut(line, " /dev/shm/PostgreSQL."); ok {
			segments = append(segments, "/dev/shm/PostgreSQL."+strings.TrimSpace(name))
		}
	}
	if len(segments) == 0 {
		t.Fatal("the server has no shared memory")
	}
	if err := syscall.Kill(s.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server runs again", func() bool { return s.Restarts() == 1 })
	for _, segment := range segments {
		if _, err := os.Stat(segment); err == nil {
			t.Errorf("%s of the killed server remains", segment)
		}
	}
}

func TestOrphanIsStoppedAtTheNextStart(t *testing.T) {
	t.Parallel()
	cfg := quick(t, newDir(t))
	s := startServer(t, cfg)
	execute(t, s.OwnerURL(), "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (1)")
	stopServer(t, s)
	// A server whose parent left it no death signal, as on other systems.
	cmd := command(s.binaries.program("postgres"), s.as, cfg.Dir, fixed(s.folder, s.socket)...)
	orphan, err := spawn(cmd)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.awaitReady(deadline(t), orphan); err != nil {
		t.Fatal(err)
	}
	again := startServer(t, cfg)
	select {
	case <-orphan.done:
	default:
		t.Error("the orphan still runs")
	}
	if again.Pid() == orphan.pid() || query[int](t, again.OwnerURL(), "SELECT n FROM kept") != 1 {
		t.Error("the new server is the orphan, or has lost its row")
	}
}

func TestStaleLockFilesNamingALiveProcessDoNotStopTheStart(t *testing.T) {
	t.Parallel()
	cfg := quick(t, newDir(t))
	s := startServer(t, cfg)
	execute(t, s.OwnerURL(), "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (1)")
	// The files as they are while the server runs, kept beyond its life.
	pidFile, err := os.ReadFile(filepath.Join(s.folder.data(), "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid := strconv.Itoa(s.Pid())
	stopServer(t, s)
	stranger := strangerOf(t, s.as)
	stale := strings.Replace(string(pidFile), pid, strconv.Itoa(stranger), 1)
	for _, file := range []string{filepath.Join(s.folder.data(), "postmaster.pid"), filepath.Join(s.socket, ".s.PGSQL.5432.lock")} {
		if err := os.WriteFile(file, []byte(stale), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.as.own(file); err != nil {
			t.Fatal(err)
		}
	}
	s = startServer(t, cfg)
	if query[int](t, s.OwnerURL(), "SELECT n FROM kept") != 1 {
		t.Error("the row is lost")
	}
	if err := syscall.Kill(stranger, 0); err != nil {
		t.Errorf("the stranger was harmed: %v", err)
	}
}

// strangerOf starts a process of the account that has nothing to do with
// PostgreSQL, and returns its id.
func strangerOf(t *testing.T, as account) int {
	t.Helper()
	program, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	p, err := spawn(command(program, as, "/", "600"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
	})
	return p.pid()
}

func TestKillDuringTheFirstStartIsHealedByTheNext(t *testing.T) {
	t.Parallel()
	// What can be seen of a start, in order. A later sign stands for an earlier
	// one that was too short to be seen.
	signs := []string{
		"lock", newPrefix + "*", newPrefix + "*/global/pg_control", newPrefix + "*/base/4", newPrefix + "*/base/5",
		"data/PG_VERSION", "conf/pg_hba.conf", "data/postmaster.pid", "run/.s.PGSQL.5432",
	}
	for i, sign := range signs {
		t.Run(strings.ReplaceAll(sign, "/", "_"), func(t *testing.T) {
			t.Parallel()
			cfg := Config{Dir: newDir(t), BinDir: binDir(t), Durable: true}
			c := startChild(t, childTask{Config: cfg}, nil)
			eventually(t, sign, func() bool {
				return slices.ContainsFunc(signs[i:], func(sign string) bool {
					seen, err := filepath.Glob(filepath.Join(cfg.Dir, sign))
					return err == nil && len(seen) > 0
				})
			})
			c.kill(t)
			s := startServer(t, quick(t, cfg.Dir))
			if query[int](t, s.AppURL(), "SELECT 1") != 1 {
				t.Error("the server does not answer")
			}
			left, err := filepath.Glob(filepath.Join(cfg.Dir, newPrefix+"*"))
			if err != nil || len(left) > 0 {
				t.Errorf("unfinished folders %v remain (%v)", left, err)
			}
		})
	}
}

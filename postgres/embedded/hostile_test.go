package embedded

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/embedded/bundle"
)

// started starts a server in a process of its own that writes rows, and returns
// the server's id once some are acknowledged.
func started(t *testing.T, cfg Config) (c *childProcess, pid int) {
	t.Helper()
	cfg.Logger, cfg.BinDir, cfg.Durable = nil, binDir(t), true
	c = startChild(t, childTask{Config: cfg, Write: true}, nil)
	line, found := strings.CutPrefix(c.line(), "pid ")
	if !found {
		t.Fatalf("the child said %q", line)
	}
	for range 20 {
		number(t, c.line())
	}
	return c, number(t, line)
}

func send(t *testing.T, pid int, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatalf("send %v to %d: %v", sig, pid, err)
	}
}

// A server that hears nothing when its parent dies outlives it, until somebody
// starts the next one.
func TestAnOrphanThatIsStoppedIsEndedAtTheNextStartAndLosesNoRow(t *testing.T) {
	t.Parallel()
	cfg := quick(t, newDir(t))
	c, pid := started(t, cfg)
	send(t, pid, syscall.SIGSTOP)
	acked := 0
	for _, line := range c.kill(t) {
		acked = number(t, line)
	}
	began := time.Now()
	s := startServer(t, cfg)
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("the start took %s", took)
	}
	if s.Pid() == pid {
		t.Error("the new server is the orphan")
	}
	if rows := query[int](t, s.OwnerURL(), "SELECT count(*) FROM ledger"); rows < acked {
		t.Errorf("%d rows were acknowledged, %d are there", acked, rows)
	}
}

func TestASecondProcessIsToldWhoHasTheFolderAndHarmsNothing(t *testing.T) {
	t.Parallel()
	for name, sig := range map[string]syscall.Signal{"which works": 0, "which is stopped": syscall.SIGSTOP} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := quick(t, newDir(t))
			c, pid := started(t, cfg)
			send(t, c.cmd.Process.Pid, sig)
			for range 3 {
				_, err := Start(deadline(t), cfg)
				if corp.KindOf(err) != corp.KindConflict || !strings.Contains(err.Error(), "in use by another process ("+strconv.Itoa(c.cmd.Process.Pid)+")") || !strings.Contains(err.Error(), cfg.Dir) {
					t.Errorf("a second start: %v, want a conflict that names the folder and process %d", err, c.cmd.Process.Pid)
				}
			}
			// Another process, with another way in.
			other := startChild(t, childTask{Config: Config{Dir: cfg.Dir, BinDir: binDir(t)}}, nil)
			if line := other.line(); !strings.Contains(line, "in use by another process") {
				t.Errorf("a second process: %q", line)
			}
			send(t, c.cmd.Process.Pid, syscall.SIGCONT)
			for range 1000 { // more than a pipe may have held
				number(t, c.line())
			}
			if f := readPidFile(filepath.Join(cfg.Dir, "data")); f.pid != pid || !f.ready {
				t.Errorf("the server is %+v, it was %d", f, pid)
			}
			c.kill(t)
			startServer(t, cfg)
		})
	}
}

func TestKillWhileTheBundleIsUnpackedIsHealedByTheNextStart(t *testing.T) {
	t.Parallel()
	archive := filepath.Join(shared, "bundle-of-"+t.Name())
	var packed bytes.Buffer
	if err := bundle.Pack(&packed, npmPackage(t), zstd.SpeedFastest); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(archive, packed.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	signs := []string{"unpack.lock", storePrefix + "*.new", storePrefix + "*.new/bin/postgres", storePrefix + "*.new/lib/*", storePrefix + "*.new/share/*", storePrefix + "*[!w]/bin", newPrefix + "*"}
	for i, sign := range signs {
		t.Run(strings.ReplaceAll(sign, "/", "_"), func(t *testing.T) {
			t.Parallel()
			cfg := Config{Dir: newDir(t), Durable: true}
			c := startChild(t, childTask{Config: cfg, Archive: archive}, nil)
			eventually(t, sign, func() bool { return anyOf(cfg.Dir, signs[i:]) })
			c.kill(t)
			cfg.Logger = logger(t)
			s, err := start(deadline(t), cfg, finder{archive: packed.Bytes()})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Stop(context.Background()) })
			if s.Source() != SourceBundle || query[int](t, s.AppURL(), "SELECT 1") != 1 {
				t.Errorf("the server of %s does not answer", s.Source())
			}
			if anyOf(cfg.Dir, []string{newPrefix + "*", storePrefix + "*.new"}) {
				t.Error("unfinished folders remain")
			}
		})
	}
}

// anyOf says whether something in dir looks like one of the signs.
func anyOf(dir string, signs []string) bool {
	for _, sign := range signs {
		if seen, err := filepath.Glob(filepath.Join(dir, sign)); err == nil && len(seen) > 0 {
			return true
		}
	}
	return false
}

func TestRightsThatPostgresRefusesAreExplained(t *testing.T) {
	t.Parallel()
	cfg := quick(t, newDir(t))
	s := startServer(t, cfg)
	execute(t, s.OwnerURL(), "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (5)")
	stopServer(t, s)
	data := s.folder.data()
	for _, mode := range []fs.FileMode{0o777, 0o755, 0o770, 0o500} {
		if err := os.Chmod(data, mode); err != nil {
			t.Fatal(err)
		}
		_, err := Start(deadline(t), cfg)
		if corp.KindOf(err) != corp.KindInvalid || !strings.Contains(err.Error(), data) || !strings.Contains(err.Error(), fmt.Sprintf("%04o", mode)) {
			t.Errorf("start with rights %04o: %v", mode, err)
		}
	}
	for _, mode := range []fs.FileMode{0o750, 0o700} {
		if err := os.Chmod(data, mode); err != nil {
			t.Fatal(err)
		}
		s = startServer(t, cfg)
		if query[int](t, s.OwnerURL(), "SELECT n FROM kept") != 5 {
			t.Error("the row is lost")
		}
		stopServer(t, s)
	}
}

// A machine's clock may have been anywhere when a file was written.
func TestNoClockKeepsItFromStarting(t *testing.T) {
	t.Parallel()
	for _, year := range []int{1980, 2095} {
		t.Run(strconv.Itoa(year), func(t *testing.T) {
			t.Parallel()
			cfg := quick(t, newDir(t))
			s := startServer(t, cfg)
			execute(t, s.OwnerURL(), "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (5)")
			pidFile, err := os.ReadFile(filepath.Join(s.folder.data(), "postmaster.pid"))
			if err != nil {
				t.Fatal(err)
			}
			stopServer(t, s)
			when := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
			lines := strings.Split(string(pidFile), "\n")
			lines[0], lines[2] = strconv.Itoa(strangerOf(t, s.as)), strconv.FormatInt(when.Unix(), 10) // who, and since when
			stale := filepath.Join(s.folder.data(), "postmaster.pid")
			if err := os.WriteFile(stale, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := s.as.own(stale); err != nil {
				t.Fatal(err)
			}
			err = filepath.WalkDir(cfg.Dir, func(name string, _ fs.DirEntry, err error) error {
				if err == nil {
					err = os.Chtimes(name, when, when)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			s = startServer(t, cfg)
			if query[int](t, s.OwnerURL(), "SELECT n FROM kept") != 5 {
				t.Error("the row is lost")
			}
		})
	}
}

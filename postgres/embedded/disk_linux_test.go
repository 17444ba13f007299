package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
)

// roomScripts are what a process does in its room, where the test cannot look.
var roomScripts = map[string]func(context.Context, Config) error{"full disk": fullDisk}

// fullDisk starts a server on a disk that is full, then with room, then fills the
// disk while it works, and makes room again.
func fullDisk(ctx context.Context, cfg Config) error {
	filler := filepath.Join(filepath.Dir(cfg.Dir), "filler")
	fill := func() error {
		f, err := os.OpenFile(filler, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		block := make([]byte, 64<<10)
		for err == nil {
			_, err = f.Write(block)
		}
		return f.Close()
	}
	if err := errors.Join(fill(), os.Truncate(filler, 240<<20)); err != nil { // enough is left to begin
		return err
	}
	_, err := Start(ctx, cfg)
	if e, ok := errors.AsType[*corp.Error](err); !ok || e.Code != "disk_full" || !strings.Contains(e.Message, cfg.Dir) {
		return fmt.Errorf("start on a full disk: %w", err)
	}
	if left, err := filepath.Glob(filepath.Join(cfg.Dir, newPrefix+"*")); err != nil || len(left) > 0 {
		return fmt.Errorf("unfinished folders %v remain", left)
	}
	if err := os.Remove(filler); err != nil {
		return err
	}
	s, err := Start(ctx, cfg)
	if err != nil {
		return fmt.Errorf("start with room: %w", err)
	}
	acked, err := insertUntilItFails(ctx, s, 0, fill)
	if err != nil {
		return err
	}
	if err := os.Remove(filler); err != nil {
		return err
	}
	more, err := insertUntilItFails(ctx, s, acked, nil)
	if err != nil {
		return err
	}
	fmt.Printf("%d rows before, %d after, %d restarts\n", acked, more-acked, s.Restarts())
	return s.Stop(ctx)
}

// insertUntilItFails inserts large rows from number n on, and returns the number
// that comes next. With fill it fills the disk on the way and goes on to the first
// failure; without, it waits until the server works and inserts a hundred.
func insertUntilItFails(ctx context.Context, s *Server, n int, fill func() error) (int, error) {
	const first = 50
	end := n + 100
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(ctx, s.OwnerURL())
		if err == nil {
			_, err = conn.Exec(ctx, "CREATE TABLE IF NOT EXISTS ledger (n bigint PRIMARY KEY, text text)")
		}
		for err == nil && (fill != nil || n < end) {
			if n == first && fill != nil {
				if err := fill(); err != nil {
					return n, err
				}
			}
			// What was not acknowledged may be there all the same.
			if _, err = conn.Exec(ctx, "INSERT INTO ledger VALUES ($1, $2) ON CONFLICT DO NOTHING", n, strings.Repeat(strconv.Itoa(n), 20_000)); err == nil {
				n++
			}
		}
		if err == nil {
			var rows int
			err = conn.QueryRow(ctx, "SELECT count(*) FROM ledger WHERE n < $1", n).Scan(&rows)
			if err == nil && rows != n {
				return n, fmt.Errorf("%d rows were acknowledged, %d are there", n, rows)
			}
		}
		if conn != nil {
			_ = conn.Close(ctx)
		}
		if fill != nil && n > first || err == nil {
			return n, nil
		}
		select {
		case <-ctx.Done():
			return n, fmt.Errorf("the server does not come back: %w", err)
		case <-tick.C:
		}
	}
}

func TestAFullDiskIsExplainedAndLosesNoRow(t *testing.T) {
	t.Parallel()
	cfg := Config{Dir: roomDir(t), BinDir: binDir(t), Durable: true, Settings: map[string]string{"min_wal_size": "32MB"}}
	c := startChild(t, childTask{Config: cfg, Room: room{UID: nobody, Disk: 256 << 20}, Script: "full disk"}, nil)
	if line := c.line(); !strings.Contains(line, "rows before, 100 after") {
		t.Errorf("the child said %q", line)
	} else {
		t.Log(line)
	}
}

func TestAReadOnlyDiskIsExplained(t *testing.T) {
	t.Parallel()
	cfg := Config{Dir: roomDir(t), BinDir: binDir(t), Durable: true}
	c := startChild(t, childTask{Config: cfg, Room: room{UID: nobody, Disk: 1 << 20, ReadOnly: true}}, nil)
	if line := c.line(); !strings.Contains(line, cfg.Dir) || !strings.Contains(line, "is on a file system that is read-only") {
		t.Errorf("start on a disk that can only be read: %q", line)
	}
}

func TestAUserWithoutAnEntryIsExplained(t *testing.T) {
	t.Parallel()
	const unknown = 48_613
	dir := roomDir(t)
	in := room{UID: unknown}
	c := startChild(t, childTask{Config: Config{Dir: dir, BinDir: binDir(t)}, Room: in}, nil)
	if line := c.line(); !strings.HasPrefix(line, "error: ") || !strings.Contains(line, "no entry in the user database") {
		t.Errorf("start as an unknown user: %q, want an explanation", line)
	}
	// An initialised cluster is all that such a user lacks.
	made := startServer(t, Config{Dir: newDir(t), BinDir: binDir(t)})
	stopServer(t, made)
	cache := filepath.Join(filepath.Dir(dir), "cache")
	kept := filepath.Join(cache, "cluster-"+made.Version()+"-"+strconv.Itoa(unknown))
	if err := os.MkdirAll(kept, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := copyTree(made.folder.data(), kept); err != nil {
		t.Fatal(err)
	}
	uid, gid := hostUser()
	if err := (account{uid: uid, gid: gid, drop: os.Geteuid() == 0}).own(cache); err != nil {
		t.Fatal(err)
	}
	c = startChild(t, childTask{Config: Config{Dir: dir, BinDir: binDir(t), Cache: cache}, Room: in}, nil)
	if line := c.line(); !strings.HasPrefix(line, "pid ") {
		t.Errorf("start of a copied cluster as an unknown user: %q", line)
	}
}

func TestAStrangersDataIsRefused(t *testing.T) {
	t.Parallel()
	const daemon = 1
	cfg := Config{Dir: roomDir(t), BinDir: binDir(t)}
	c := startChild(t, childTask{Config: cfg, Room: room{UID: daemon, Stranger: "/usr"}}, nil)
	if line := c.line(); !strings.HasPrefix(line, "error: ") || !strings.Contains(line, "belongs to user") || !strings.Contains(line, cfg.Dir) {
		t.Errorf("start on another user's data: %q, want an error that names the owner", line)
	}
}

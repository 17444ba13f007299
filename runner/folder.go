package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/runner/sandbox"
)

// fullBelow is how little space is left on a disk that counts as full.
const fullBelow = 1 << 20

// takeFolder makes the work folder this process's own, and removes what a dead
// one has left there. The lock dies with the process, however it ends.
func (r *Runner) takeFolder(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(r.WorkDir, 0o700); err != nil {
		return nil, fmt.Errorf("make work folder: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(r.WorkDir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock work folder: %w", err)
	}
	if err := flock(ctx, lock); err != nil {
		_ = lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, corp.Conflict(fmt.Sprintf("Another runner works in %s.", r.WorkDir), "Give this one a work folder of its own.")
		}
		return nil, fmt.Errorf("lock work folder: %w", err)
	}
	r.removeLeftovers()
	return func() { _ = lock.Close() }, nil
}

// deathTakes is how long a process that was killed may still hold its lock: until
// its last thread has ended, and a child that it was about to start.
const deathTakes = 5 * time.Second

func flock(ctx context.Context, f *os.File) error {
	ctx, cancel := context.WithTimeout(ctx, deathTakes)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

// removeLeftovers removes the folders of runs that nobody carries out any more.
func (r *Runner) removeLeftovers() {
	entries, err := os.ReadDir(r.WorkDir)
	if err != nil {
		r.Logger.Warn("the work folder cannot be read", slog.Any("error", err))
		return
	}
	for _, e := range entries {
		id, err := corp.ParseID[corp.RunID](e.Name())
		if err != nil || !e.IsDir() {
			continue
		}
		if err := sandbox.FolderOf(r.WorkDir, id).Remove(); err != nil {
			r.Logger.Warn("what a dead run left behind cannot be removed", slog.String("run_id", id.String()), slog.Any("error", err))
		}
	}
}

// full says whether the disk under the work folder is.
func (r *Runner) full() bool {
	var st unix.Statfs_t
	if err := unix.Statfs(r.WorkDir, &st); err != nil {
		return false
	}
	return st.Bavail*uint64(st.Bsize) < fullBelow
}

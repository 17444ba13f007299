package gateway

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/genericcorp/corp"
)

// lock keeps a second process from using, and from recovering, the journal of
// one that lives. It goes with the process, however that ends.
type lock struct{ f *os.File }

func takeLock(path string) (*lock, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the journal's lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer func() { _ = f.Close() }()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, corp.Conflict("The folder "+filepath.Dir(path)+" is in use by another process"+holder(f)+".", "Stop the other corp, or use another folder with --data.")
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	// For people only: the lock itself is what counts, also on a full disk.
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0)
	}
	return &lock{f}, nil
}

// holder names the process that has the lock, if it can be read.
func holder(f *os.File) string {
	pid := make([]byte, 20)
	n, _ := f.ReadAt(pid, 0)
	if n == 0 {
		return ""
	}
	return " (" + string(pid[:n]) + ")"
}

func (l *lock) close() error { return l.f.Close() }

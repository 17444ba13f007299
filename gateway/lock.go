package gateway

import (
	"errors"
	"fmt"
	"os"
	"syscall"
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
		return nil, fmt.Errorf("another process uses the journal beside %s: stop it, or give this one a data folder of its own: %w", path, errors.Join(err, f.Close()))
	}
	return &lock{f}, nil
}

func (l *lock) close() error { return l.f.Close() }

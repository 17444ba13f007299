package pgtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// lock is this process's on its folder. It is held until the process is gone,
// however it goes; then the next process removes the folder.
var lock *os.File

// place is where the clusters of this process are.
type place struct{ dir, cache string }

// folders makes a folder for this process's clusters, in memory if there is such a
// place, and names the one that all test processes of this user share.
func folders() (place, error) {
	top := os.TempDir()
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		top = "/dev/shm"
	}
	root := filepath.Join(top, fmt.Sprintf("corp-pgtest-%d", os.Geteuid()))
	if err := os.Mkdir(root, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return place{}, err
	}
	cache := filepath.Join(root, "cache")
	if err := os.Mkdir(cache, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return place{}, err
	}
	if err := sweep(root); err != nil {
		return place{}, err
	}
	dir, err := os.MkdirTemp(root, "run-")
	if err != nil {
		return place{}, err
	}
	// PostgreSQL runs as another user when this is root.
	if err := os.Chmod(dir, 0o755); err != nil {
		return place{}, err
	}
	// Under its name only once it is locked, else another process might sweep it away.
	if lock, err = os.Create(dir + ".new"); err != nil {
		return place{}, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return place{}, err
	}
	return place{dir, cache}, os.Rename(dir+".new", dir+".lock")
}

// sweep removes the folders of processes that are gone.
func sweep(root string) error {
	locks, err := filepath.Glob(filepath.Join(root, "run-*.lock"))
	if err != nil {
		return err
	}
	for _, name := range locks {
		f, err := os.Open(name)
		if errors.Is(err, os.ErrNotExist) {
			continue // another process is faster
		}
		if err != nil {
			return err
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			err = errors.Join(os.RemoveAll(name[:len(name)-len(".lock")]), os.Remove(name))
		}
		if err = errors.Join(err, f.Close()); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

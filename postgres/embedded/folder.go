package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/genericcorp/corp"
)

// folder is the cluster's folder. Everything in it but data and run belongs to
// this program; PostgreSQL's user owns those two and can write nowhere else.
type folder string

func (f folder) path(name string) string { return filepath.Join(string(f), name) }
func (f folder) data() string            { return f.path("data") }
func (f folder) conf() string            { return f.path("conf") }
func (f folder) log() string             { return f.path("postgres.log") }

// forkGrace is how long a lock may outlive the process that held it.
const forkGrace = time.Second

// claim makes the folder and locks it. The kernel gives the lock back when this
// program ends, however it ends; no child inherits it.
func (f folder) claim(root bool) (*os.File, error) {
	mode := fs.FileMode(0o700)
	if root {
		mode = 0o711 // PostgreSQL's user has to pass through
	}
	if err := os.MkdirAll(string(f), mode); err != nil {
		if disk := diskError(string(f), err); disk != nil {
			return nil, disk
		}
		return nil, corp.Invalid("dir", "The database's folder cannot be made: "+err.Error()+".", "Choose another folder, or change the rights of this one.")
	}
	lock, err := os.OpenFile(f.path("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		if disk := diskError(string(f), err); disk != nil {
			return nil, disk
		}
		return nil, corp.Invalid("dir", "The database's folder cannot be written: "+err.Error()+".", "Run as the user that owns it, or choose another folder.")
	}
	// A child between fork and exec still holds what its parent had open, for a
	// moment even when the parent is gone.
	await(forkGrace, func() bool {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		return err == nil
	})
	if err != nil {
		defer func() { _ = lock.Close() }()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, corp.Conflict("The database in "+string(f)+" is in use by another process"+holder(lock)+".", "Stop the other corp, or use another folder with --data.")
		}
		return nil, fmt.Errorf("lock %s: %w", f, err)
	}
	// For people only: the lock itself is what counts.
	if err := errors.Join(lock.Truncate(0), writeAt(lock, strconv.Itoa(os.Getpid())+"\n")); err != nil {
		return nil, errors.Join(explain(string(f), fmt.Errorf("write %s: %w", lock.Name(), err)), lock.Close())
	}
	return lock, nil
}

func writeAt(f *os.File, text string) error {
	_, err := f.WriteAt([]byte(text), 0)
	return err
}

// holder names the process that has the lock, if it can be read.
func holder(lock *os.File) string {
	text := make([]byte, 20)
	n, _ := lock.ReadAt(text, 0)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text[:n])))
	if err != nil {
		return ""
	}
	return " (" + strconv.Itoa(pid) + ")"
}

// letThrough lets other users pass through the folder itself, never list it.
func (f folder) letThrough() error {
	info, err := os.Stat(string(f))
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o001 != 0 {
		return nil
	}
	return os.Chmod(string(f), info.Mode().Perm()|0o011)
}

// whileLocked runs do while no other process runs it for the same lock file.
func whileLocked(file string, do func() error) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	lock, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	for {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("lock %s: %w", file, err)
		}
		return do()
	}
}

// syncDir makes a rename in dir last through a loss of power.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

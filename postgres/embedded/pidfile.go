package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// pidFile is what a server writes about itself into its data folder.
type pidFile struct {
	pid   int
	ready bool // it takes connections
}

// readPidFile returns the zero value if there is no such file, or no sense in it.
func readPidFile(data string) pidFile {
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return pidFile{}
	}
	lines := strings.Split(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(lines[0]))
	if err != nil || pid <= 1 {
		return pidFile{}
	}
	const status = 7 // the eighth line
	return pidFile{pid: pid, ready: len(lines) > status && strings.TrimSpace(lines[status]) == "ready"}
}

// vacate makes sure that nobody uses the data folder before a server starts
// there, and that nothing left behind makes PostgreSQL believe so. It returns
// whether it had to stop a server that outlived its parent.
func vacate(data, socket string, wait time.Duration) (stopped bool, err error) {
	owner := readPidFile(data).pid
	if owner != 0 && slices.Contains(residents(data), owner) {
		stopped = true
		for _, pid := range residents(data) {
			_ = syscall.Kill(pid, syscall.SIGCONT) // what is stopped hears nothing
		}
		if err := syscall.Kill(owner, syscall.SIGINT); err != nil && !errors.Is(err, syscall.ESRCH) {
			return false, fmt.Errorf("stop orphaned postgres %d: %w", owner, err)
		}
		await(wait, func() bool { return !slices.Contains(residents(data), owner) })
	}
	if left := evict(data); len(left) > 0 {
		return stopped, fmt.Errorf("postgres processes %v on %s do not end", left, data)
	}
	// A process of the same user that by chance has the id in a lock file stops
	// PostgreSQL from starting. An id that is free does not, and then the file
	// is better left: PostgreSQL checks its shared memory by it.
	files := []string{filepath.Join(socket, ".s.PGSQL."+port), filepath.Join(socket, ".s.PGSQL."+port+".lock")}
	if owner != 0 && !errors.Is(syscall.Kill(owner, 0), syscall.ESRCH) {
		files = append(files, filepath.Join(data, "postmaster.pid"))
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return stopped, fmt.Errorf("remove stale lock: %w", err)
		}
	}
	return stopped, nil
}

// evict ends all processes that work in a data folder without being asked
// nicely, first so that they can tell their clients. It returns those that
// remain. Backends whose server was killed may go on with a long query, and
// hold the shared memory without which no new server starts.
func evict(data string) (left []int) {
	for _, sig := range []syscall.Signal{syscall.SIGQUIT, syscall.SIGKILL} {
		left = residents(data)
		for _, pid := range left {
			_ = syscall.Kill(pid, sig) // one that is gone is what we want
		}
		if len(left) == 0 || await(2*time.Second, func() bool { left = residents(data); return len(left) == 0 }) {
			return nil
		}
	}
	return left
}

// await polls until ok or until the time is up; it returns the last answer.
func await(limit time.Duration, ok func() bool) bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.NewTimer(limit)
	defer end.Stop()
	for {
		if ok() {
			return true
		}
		select {
		case <-tick.C:
		case <-end.C:
			return ok()
		}
	}
}

//go:build !linux

package embedded

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// dieWithParent does nothing: no such signal here. A server that outlives this
// program is stopped by the next start.
func dieWithParent(*syscall.SysProcAttr, syscall.Signal) {}

// residents returns the id of the server of the data folder dir. Its children
// change their names, and are not found here.
func residents(dir string) []int {
	out, err := exec.Command("ps", "-axo", "pid=,command=").Output()
	if err != nil {
		return nil
	}
	var pids []int
	for line := range strings.Lines(string(out)) {
		id, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		pid, err := strconv.Atoi(id)
		program, args, _ := strings.Cut(text, " -D ")
		if err == nil && filepath.Base(program) == "postgres" && strings.HasPrefix(args+" ", dir+" ") {
			pids = append(pids, pid)
		}
	}
	return pids
}

// syncTree starts writing everything that is not on disk yet.
func syncTree(string) error {
	unix.Sync()
	return nil
}

var initdbSync []string

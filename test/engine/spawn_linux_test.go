//go:build engine || soak

package engine

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// forks are started by one thread that lives as long as this process: the kernel
// kills what a thread started when the thread ends, and with it whatever a test
// run that was broken off would leave behind.
var forks = sync.OnceValue(func() chan func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for do := range work {
			do()
		}
	}()
	return work
})

// spawn starts a process that dies with this one.
func spawn(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	failed := make(chan error)
	forks() <- func() { failed <- cmd.Start() }
	return <-failed
}

//go:build (engine || soak) && !linux

package engine

import (
	"os/exec"
	"syscall"
)

// spawn starts a process of its own group.
func spawn(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd.Start()
}

//go:build !linux

package child

import "syscall"

// DieWithParent needs Linux: elsewhere an orphaned runner ends by itself when
// its leases and the server are gone.
func DieWithParent(*syscall.SysProcAttr) {}

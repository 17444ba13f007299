//go:build !linux

package main

import "syscall"

// dieWithParent needs Linux: elsewhere an orphaned runner ends by itself when
// its leases and the server are gone.
func dieWithParent(*syscall.SysProcAttr) {}

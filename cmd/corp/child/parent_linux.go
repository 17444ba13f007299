package child

import "syscall"

// DieWithParent has the kernel kill a child when the thread that started it ends.
func DieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }

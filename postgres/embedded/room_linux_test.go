package embedded

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func init() { enterRoom, roomAttr, scripts = enter, rootOfNothing, roomScripts }

// hostUser is whom the machine takes a process in a room for. It is never root, so
// that a test proves the same for everybody.
func hostUser() (uid, gid int) {
	if os.Geteuid() == 0 {
		return nobody, nobody
	}
	return os.Geteuid(), os.Getegid()
}

// rootOfNothing makes a child the root of namespaces of its own: it can mount, and
// nothing of it is seen outside.
func rootOfNothing() *syscall.SysProcAttr {
	uid, gid := hostUser()
	return &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}},
		Credential:  &syscall.Credential{Uid: 0, Gid: 0, NoSetGroups: true},
	}
}

// roomDir is newDir for a process in a room.
func roomDir(t *testing.T) string {
	t.Helper()
	dir := newDir(t)
	uid, gid := hostUser()
	if err := os.Lchown(filepath.Dir(dir), uid, gid); err != nil {
		t.Fatal(err)
	}
	return dir
}

// enter is the child as root of its namespaces: it prepares the room, becomes
// an ordinary user in it, and hands input and output on.
func enter(task childTask) int {
	if err := task.Room.prepare(task.Config.Dir); err != nil {
		fmt.Println("error: prepare the room:", err)
		return 1
	}
	uid := task.Room.UID
	task.Room.Inside = true
	text, err := json.Marshal(task)
	if err != nil {
		return 1
	}
	runtime.LockOSThread() // the death signal is this thread's
	cmd := exec.Command(os.Args[0])
	cmd.Env, cmd.Dir = os.Environ(), "/"
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Stdin = bytes.NewReader(text)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		Pdeathsig:   syscall.SIGKILL,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: uid, HostID: 0, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: uid, HostID: 0, Size: 1}},
		Credential:  &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid), NoSetGroups: true},
	}
	if err := cmd.Run(); err != nil {
		return 1
	}
	return 0
}

func (r room) prepare(dir string) error {
	above := filepath.Dir(dir)
	if r.Disk > 0 {
		flags := uintptr(0)
		if r.ReadOnly {
			flags = unix.MS_RDONLY
		}
		if err := unix.Mount("tmpfs", above, "tmpfs", flags, fmt.Sprintf("size=%d,mode=0777", r.Disk)); err != nil {
			return err
		}
	}
	if r.Stranger == "" {
		return nil
	}
	data := filepath.Join(dir, "data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}
	return unix.Mount(r.Stranger, data, "", unix.MS_BIND|unix.MS_REC, "")
}

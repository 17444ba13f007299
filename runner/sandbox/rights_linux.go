package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// keepDescriptors sees to it that the command inherits its three streams and
// nothing else, whatever the programs before us left open.
func keepDescriptors() error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("list descriptors: %w", err)
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
	return nil
}

// Conceal keeps other processes of the same user from this one's memory,
// environment and descriptors: what an agent runs must not read its key or
// speak in its name. A program that is started from here is as open as any.
func Conceal() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("close the process to others: %w", err)
	}
	return nil
}

// dropRights becomes the order's user and gives up every capability, for this
// thread and so for what it forks. It fails rather than going on with more
// rights than ordered.
func (o order) dropRights() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	if o.UID != 0 {
		if err := o.becomeUser(); err != nil {
			return err
		}
	}
	if !o.Isolated {
		return nil
	}
	// The runner's session keyring would come along; an empty one takes its place.
	// Where the kernel forbids keyrings altogether there is nothing to hide.
	if _, err := unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0); err != nil && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("leave the keyring: %w", err)
	}
	// A change of user has cleared the parent-death signal that bubblewrap set.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("set parent-death signal: %w", err)
	}
	return holdsNothing()
}

func (o order) becomeUser() error {
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	if err := syscall.Setgroups(nil); err != nil {
		return fmt.Errorf("leave groups: %w", err)
	}
	if err := syscall.Setgid(o.UID); err != nil {
		return fmt.Errorf("change group: %w", err)
	}
	if err := syscall.Setuid(o.UID); err != nil {
		return fmt.Errorf("change user: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return fmt.Errorf("clear capabilities: %w", err)
	}
	return nil
}

// holdsNothing reads back what the kernel thinks this thread may do.
func holdsNothing() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have [2]unix.CapUserData
	if err := unix.Capget(&header, &have[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	if have != ([2]unix.CapUserData{}) {
		return errors.New("capabilities are left over")
	}
	return nil
}

// apply sets the limits of this process, which the command inherits.
func (l Limits) apply(isolated bool) error {
	limits := map[int]uint64{unix.RLIMIT_NOFILE: l.OpenFiles, unix.RLIMIT_FSIZE: l.FileBytes, unix.RLIMIT_CORE: 0}
	if l.MemoryBytes > 0 {
		limits[unix.RLIMIT_DATA] = l.MemoryBytes
	}
	if isolated {
		// Counted per user name space; outside one it would count all of the
		// user's other processes too.
		limits[unix.RLIMIT_NPROC] = l.Processes
	}
	for resource, value := range limits {
		var have unix.Rlimit
		if err := unix.Getrlimit(resource, &have); err != nil {
			return fmt.Errorf("read limit %d: %w", resource, err)
		}
		value = min(value, have.Max)
		most := value
		if resource == unix.RLIMIT_NPROC {
			most = min(value+spareThreads, have.Max)
		}
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: value, Max: most}); err != nil {
			return fmt.Errorf("set limit %d: %w", resource, err)
		}
	}
	return nil
}

// spareThreads are those that the first process may still start when the command
// has used up its own: the Go runtime cannot live without.
const spareThreads = 64

// keepSpare takes the spare threads for this process, once the command has
// inherited the limit without them.
func (l Limits) keepSpare(isolated bool) error {
	if !isolated {
		return nil
	}
	var have unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NPROC, &have); err != nil {
		return fmt.Errorf("read limit of processes: %w", err)
	}
	have.Cur = have.Max
	if err := unix.Setrlimit(unix.RLIMIT_NPROC, &have); err != nil {
		return fmt.Errorf("set limit of processes: %w", err)
	}
	return nil
}

// childrenOf returns the processes whose parent is pid, the dead ones left out.
func childrenOf(pid int) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var children []int
	for _, e := range entries {
		child, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		// pid (name) state parent …; the name may hold spaces and brackets
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) > 1 && string(fields[1]) == strconv.Itoa(pid) && string(fields[0]) != "Z" {
			children = append(children, child)
		}
	}
	return children
}

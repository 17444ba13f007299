package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

const (
	// ownUID is the user that a sandbox runs as when the runner is root: a
	// number that no distribution assigns. As root a process would be exempt from
	// the process limit and would own every file that it is shown.
	ownUID = 60999

	// insideUID is the user that an ordinary runner's processes see themselves as.
	insideUID = 1000

	shmBytes = 256 << 20
)

// systemFolders are shown read-only. Where the host has a link (/bin on a
// merged system), the sandbox gets the same link.
var systemFolders = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"}

// systemFiles are what programs need from /etc: how to load libraries, which
// certificates to trust, what time it is. No account, no key, no host name.
var systemFiles = []string{
	"/etc/alternatives", "/etc/ca-certificates", "/etc/ca-certificates.conf", "/etc/crypto-policies", "/etc/fonts",
	"/etc/ld-musl-x86_64.path", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime",
	"/etc/mime.types", "/etc/os-release", "/etc/pki/ca-trust", "/etc/pki/tls/certs", "/etc/protocols", "/etc/services",
	"/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/timezone",
}

// give hands a path to the user that sandboxes of this runner run as.
func give(path string, level Level) error {
	if os.Geteuid() != 0 || level != Bubblewrap {
		return nil
	}
	if err := os.Lchown(path, ownUID, ownUID); err != nil {
		return fmt.Errorf("give %s to the sandbox user: %w", path, err)
	}
	return nil
}

// generatedFiles are the files of /etc that would tell about the host, and so
// are written anew.
func generatedFiles(uid int) []struct{ path, content string } {
	return []struct{ path, content string }{
		{"/etc/passwd", fmt.Sprintf("root:x:0:0:root:/:/bin/sh\nagent:x:%d:%d:agent:%s:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n", uid, uid, HomePath)},
		{"/etc/group", fmt.Sprintf("root:x:0:\nagent:x:%d:\nnogroup:x:65534:\n", uid)},
		{"/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"},
		{"/etc/hostname", "sandbox\n"},
		{"/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\nservices: files\nprotocols: files\n"},
		{"/etc/resolv.conf", ""},
	}
}

// bubblewrapArguments returns the arguments up to the "--". Generated files are
// read from the descriptors that begin at firstFile.
func (p Profile) bubblewrapArguments(uid int, asRoot bool, firstFile int) []string {
	args := []string{
		"--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try",
		"--die-with-parent", "--new-session", "--as-pid-1", "--hostname", "sandbox",
		"--cap-drop", "ALL",
	}
	if asRoot {
		// Needed by the first process to become ownUID, and given up on the way.
		args = append(args, "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP")
	} else {
		args = append(args, "--unshare-user", "--uid", strconv.Itoa(uid), "--gid", strconv.Itoa(uid))
	}
	for _, dir := range []string{"/etc", "/run", "/var", "/corp", "/corp/bin"} { // otherwise closed to ownUID
		args = append(args, "--perms", "0755", "--dir", dir)
	}
	args = append(args, systemArguments()...)
	for i, f := range generatedFiles(uid) {
		args = append(args, "--perms", "0644", "--file", strconv.Itoa(firstFile+i), f.path)
	}
	for _, path := range p.ReadOnly {
		args = append(append(args, openParents(path)...), "--ro-bind", path, path)
	}
	args = append(args, "--symlink", TmpPath, "/var/tmp", "--ro-bind", p.Binary, BinaryPath)
	if p.Tmp == "" {
		args = append(args, "--perms", "1777", "--size", strconv.Itoa(shmBytes), "--tmpfs", TmpPath)
	}
	for _, m := range p.mounts() {
		args = append(args, bind(m.Writable), m.Source, m.Target)
	}
	if p.Gateway != "" {
		args = append(args, "--bind", p.Gateway, gatewayPath)
	}
	return append(args, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/")
}

func bind(writable bool) string {
	if writable {
		return "--bind"
	}
	return "--ro-bind"
}

// openParents makes the folders above path, which would else be closed to ownUID.
func openParents(path string) []string {
	var args []string
	for dir := filepath.Dir(path); dir != "/"; dir = filepath.Dir(dir) {
		args = append([]string{"--perms", "0755", "--dir", dir}, args...)
	}
	return args
}

func systemArguments() []string {
	var args []string
	for _, dir := range systemFolders {
		if target, err := os.Readlink(dir); err == nil {
			args = append(args, "--symlink", target, dir)
		} else {
			args = append(args, "--ro-bind-try", dir, dir)
		}
	}
	for _, file := range systemFiles {
		args = append(args, "--ro-bind-try", file, file)
	}
	return append(args,
		"--proc", "/proc", "--dev", "/dev",
		"--perms", "1777", "--size", strconv.Itoa(shmBytes), "--tmpfs", "/dev/shm")
}

// rootNamespace puts bubblewrap into a user name space in which every id means
// itself. There the first process can change to ownUID, and the process limit
// counts this sandbox alone; outside it root's capabilities are worth nothing.
func rootNamespace() *syscall.SysProcAttr {
	const everyID = 1<<32 - 1
	same := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: everyID}}
	return &syscall.SysProcAttr{
		Cloneflags:                 syscall.CLONE_NEWUSER,
		UidMappings:                same,
		GidMappings:                same,
		GidMappingsEnableSetgroups: true,
	}
}

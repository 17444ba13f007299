package sandbox

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/genericcorp/corp"
)

// The paths that a process sees under bubblewrap. They are the same on every
// machine because agents write absolute paths into the state that a later run
// resumes from.
const (
	CheckoutPath = "/corp/checkout"
	HomePath     = "/corp/home"
	TmpPath      = "/tmp"
	BinaryPath   = "/corp/bin/corp"
	gatewayPath  = "/corp/gateway.sock"
)

// GatewayPort is the loopback port that leads to the gateway from inside.
const GatewayPort = 7077

// defaultPath is the PATH of a process whose profile does not set one.
const defaultPath = "/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Mount shows one host path to the process. Source is absolute on the host,
// Target is absolute inside; under the level none the process uses Source.
type Mount struct {
	Source   string
	Target   string
	Writable bool
}

// Profile describes one process and everything it may touch. Paths are
// absolute host paths; what is not named here is not there.
type Profile struct {
	Level  Level
	Binary string // corp itself: it is the first process inside

	Checkout string  // writable
	Home     string  // writable; HOME
	Tmp      string  // writable; TMPDIR, and /tmp and /var/tmp under bubblewrap
	Mounts   []Mount // more of the run's own folders; targets are under /corp/

	// ReadOnly are host paths that the operator adds, such as a module cache or
	// a tool chain outside /usr. They keep their path inside.
	ReadOnly []string

	// Env is the whole environment besides HOME, TMPDIR and PATH, which it may
	// override. Nothing is inherited from the caller.
	Env []string

	Dir     string // working directory as the process sees it; empty is the checkout, or / without one
	Gateway string // host path of the gateway's unix socket; empty means no way out at all
	Limits  Limits
}

// Limits bounds what one process may use. A zero field takes the default.
type Limits struct {
	OpenFiles   uint64 // file descriptors of one process; default 4,096
	Processes   uint64 // processes and threads of the whole sandbox; default 4,096; not enforced under none
	FileBytes   uint64 // size of one file; default 8 GiB
	MemoryBytes uint64 // private memory of one process; default unlimited
}

// withDefaults fills in the zero fields; zero memory stays "unlimited".
func (l Limits) withDefaults() Limits {
	return Limits{
		OpenFiles:   orDefault(l.OpenFiles, 4096),
		Processes:   orDefault(l.Processes, 4096),
		FileBytes:   orDefault(l.FileBytes, 8<<30),
		MemoryBytes: l.MemoryBytes,
	}
}

func orDefault(v, otherwise uint64) uint64 {
	if v == 0 {
		return otherwise
	}
	return v
}

// Inside returns the path at which the process sees a host path of its
// profile: the mount's path under bubblewrap, the same path under none. A path
// that the profile does not show comes back unchanged.
func (p Profile) Inside(host string) string {
	if p.Level == None {
		return host
	}
	for _, m := range p.mounts() {
		if rest, ok := below(m.Source, host); ok {
			return filepath.Join(m.Target, rest)
		}
	}
	return host
}

// GatewayURL returns the base URL of the gateway for the process: its loopback
// port under bubblewrap, and direct, the gateway's own URL, under none.
func (p Profile) GatewayURL(direct string) string {
	if p.Level == None {
		return direct
	}
	return fmt.Sprintf("http://127.0.0.1:%d", GatewayPort)
}

// below returns what follows dir in path, if path is dir or under it.
func below(dir, path string) (string, bool) {
	if dir == path {
		return "", true
	}
	return strings.CutPrefix(path, dir+"/")
}

func (p Profile) mounts() []Mount {
	var all []Mount
	for _, m := range []Mount{
		{p.Checkout, CheckoutPath, true},
		{p.Home, HomePath, true},
		{p.Tmp, TmpPath, true},
	} {
		if m.Source != "" {
			all = append(all, m)
		}
	}
	return append(all, p.Mounts...)
}

func (p Profile) environment() []string {
	env := []string{"PATH=" + defaultPath}
	if p.Home != "" {
		env = append(env, "HOME="+p.Inside(p.Home))
	}
	if p.Tmp != "" {
		env = append(env, "TMPDIR="+p.Inside(p.Tmp))
	}
	for _, kv := range p.Env {
		key, _, _ := strings.Cut(kv, "=")
		env = slices.DeleteFunc(env, func(have string) bool { return strings.HasPrefix(have, key+"=") })
		env = append(env, kv)
	}
	return env
}

func (p Profile) directory() string {
	switch {
	case p.Dir != "":
		return p.Dir
	case p.Checkout != "":
		return p.Inside(p.Checkout)
	default:
		return "/"
	}
}

// reserved are the trees that an operator's read-only path must neither be nor
// hide: the sandbox makes them itself.
var reserved = []string{"/corp", "/dev", "/etc", "/proc", "/run", "/sys", "/tmp", "/var/tmp"}

func (p Profile) check() error {
	if p.Level != Bubblewrap && p.Level != None {
		return corp.Invalid("sandbox", fmt.Sprintf("%q is not a sandbox level.", string(p.Level)), "Use bubblewrap or none.")
	}
	if !filepath.IsAbs(p.Binary) {
		return corp.Invalid("binary", "The sandbox needs the absolute path of the corp binary.", "Pass the path of the running program.")
	}
	for _, m := range p.mounts() {
		inCorp := strings.HasPrefix(m.Target, "/corp/") || m.Target == TmpPath
		if !plain(m.Source) || !plain(m.Target) || !inCorp {
			return corp.Invalid("mounts", fmt.Sprintf("%q cannot be shown as %q.", m.Source, m.Target), "Use clean absolute paths; targets lie under /corp.")
		}
	}
	for _, path := range p.ReadOnly {
		if err := p.checkReadOnly(path); err != nil {
			return err
		}
	}
	for _, kv := range p.Env {
		if key, _, ok := strings.Cut(kv, "="); !ok || key == "" || strings.ContainsRune(kv, 0) {
			return corp.Invalid("env", "An environment entry is not of the form NAME=value.", "Give each variable a name and an equals sign.")
		}
	}
	return nil
}

func (p Profile) checkReadOnly(path string) error {
	hint := "Name a folder of its own, such as /opt/tools or a module cache."
	if !plain(path) || path == "/" {
		return corp.Invalid("read_only", fmt.Sprintf("%q cannot be shown to agents.", path), hint)
	}
	for _, m := range p.mounts() {
		if _, over := below(path, m.Source); over {
			return corp.Invalid("read_only", fmt.Sprintf("%q holds the folders of runs, and would show them to every agent.", path), hint)
		}
	}
	for _, r := range reserved {
		_, in := below(r, path)
		_, over := below(path, r)
		if in || over {
			return corp.Invalid("read_only", fmt.Sprintf("%q is in %s, which every sandbox has for itself.", path, r), hint)
		}
	}
	return nil
}

// plain says whether a path is absolute and clean, so that it means the same to
// everybody who reads it.
func plain(path string) bool {
	return filepath.IsAbs(path) && filepath.Clean(path) == path && !strings.ContainsRune(path, 0)
}

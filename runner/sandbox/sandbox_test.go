//go:build linux

package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/genericcorp/corp"
)

// The test binary plays corp (the first process in a sandbox) and the few
// programs that no shell offers.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case Subcommand:
			syscall.Exit(Init()) // os.Exit waits a second under the race detector
		case "dial":
			os.Exit(dialRole(os.Args[2]))
		case "bridge":
			os.Exit(bridgeRole(os.Args[2]))
		case "get":
			n, _ := strconv.Atoi(os.Args[3])
			os.Exit(getRole(os.Args[2], n))
		case "runner":
			os.Exit(runnerRole(Level(os.Args[2]), os.Args[3]))
		}
	}
	os.Exit(m.Run())
}

func dialRole(address string) int {
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		fmt.Println("refused:", err)
		return 1
	}
	_ = conn.Close()
	fmt.Println("connected")
	return 0
}

// runnerRole is a runner that is going to be killed. Its process tree holds
// this process's output open.
func runnerRole(level Level, work string) int {
	folder := FolderOf(work, corp.RunID{7})
	if err := folder.Make(level); err != nil {
		fmt.Println(err)
		return 1
	}
	binary, err := os.Executable()
	if err != nil {
		return 1
	}
	p, err := Command(context.Background(), profileOf(folder, level, binary), "sh", "-c", "setsid sh -c 'trap : TERM HUP; while :; do sleep 100; done' & echo ready; sleep 1000")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	p.Stdout = os.Stdout
	if err := p.Start(); err != nil {
		fmt.Println(err)
		return 1
	}
	_, _ = p.Wait()
	return 0
}

func profileOf(f Folder, level Level, binary string) Profile {
	return Profile{Level: level, Binary: binary, Checkout: f.Checkout(), Home: f.Home(), Tmp: f.Tmp()}
}

func binaryPath(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// place makes a run's folder and the profile of its agent.
func place(t *testing.T, level Level) (Folder, Profile) {
	t.Helper()
	f := FolderOf(t.TempDir(), corp.RunID{1})
	if err := f.Make(level); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Remove(); err != nil {
			t.Error(err)
		}
	})
	return f, profileOf(f, level, binaryPath(t))
}

// run runs argv to its end and returns what it printed and how it ended.
func run(t *testing.T, p Profile, argv ...string) (string, Exit) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	process, err := Command(ctx, p, argv...)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	process.Stdout, process.Stderr = &out, &out
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	exit, err := process.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if ctx.Err() != nil {
		t.Fatalf("%q did not end; it printed %q", argv, out.String())
	}
	return out.String(), exit
}

func shell(t *testing.T, p Profile, script string) (string, Exit) {
	t.Helper()
	return run(t, p, "sh", "-c", script)
}

func bothLevels(t *testing.T, test func(t *testing.T, level Level)) {
	t.Helper()
	for _, level := range []Level{Bubblewrap, None} {
		t.Run(string(level), func(t *testing.T) {
			t.Parallel()
			test(t, level)
		})
	}
}

func write(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEveryTestHoldsForAnOrdinaryUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		return // this whole run is that
	}
	const nobody = 65534
	dir, err := os.MkdirTemp("", "corp-nobody-") //nolint:usetesting // t.TempDir is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	binary, tmp := filepath.Join(dir, "corp.test"), filepath.Join(dir, "tmp")
	for _, err := range []error{
		os.Chmod(dir, 0o755), os.Mkdir(tmp, 0o700), os.Chown(tmp, nobody, nobody),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	// Copied by another process: a descriptor of ours that is open for writing
	// would be inherited by the tests beside this one, and the file be "busy".
	if out, err := exec.CommandContext(t.Context(), "cp", binaryPath(t), binary).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.Chmod(binary, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, "-test.v", "-test.skip=OrdinaryUser")
	cmd.Dir = tmp
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + tmp, "HOME=" + tmp}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil || bytes.Count(out, []byte("--- PASS")) < 20 {
		t.Fatalf("as uid %d: %v\n%s", nobody, err, out)
	}
}

func TestDetectFindsBubblewrapByRunningIt(t *testing.T) {
	t.Parallel()
	level, err := Detect(t.Context(), binaryPath(t))
	if err != nil || level != Bubblewrap {
		t.Fatalf("got %q, %v", level, err)
	}
}

func TestDetectSaysWhatToInstallWhereNothingStarts(t *testing.T) {
	t.Parallel()
	// A binary that is not corp: the sandbox is made, and nobody answers in it.
	_, err := Detect(t.Context(), "/usr/bin/false")
	e, ok := errors.AsType[*corp.Error](err)
	if !ok || e.Kind != corp.KindUnavailable || e.Code != string(corp.ReasonSandbox) || !strings.Contains(e.Hint, "apt install bubblewrap") {
		t.Fatalf("got %#v", err)
	}
}

func TestPathsAndIdentityAreTheSameOnEveryMachine(t *testing.T) {
	t.Parallel()
	_, p := place(t, Bubblewrap)
	out, exit := shell(t, p, "pwd; echo $HOME $TMPDIR; id -un; hostname; id -u")
	uid := strconv.Itoa(insideUID)
	if os.Geteuid() == 0 {
		uid = strconv.Itoa(ownUID)
	}
	want := "/corp/checkout\n/corp/home /tmp\nagent\nsandbox\n" + uid + "\n"
	if out != want || !exit.OK() {
		t.Fatalf("got %q, %s", out, exit)
	}
}

func TestLevelNoneUsesTheRealPaths(t *testing.T) {
	t.Parallel()
	f, p := place(t, None)
	out, exit := shell(t, p, "pwd; echo $HOME $TMPDIR")
	if want := f.Checkout() + "\n" + f.Home() + " " + f.Tmp() + "\n"; out != want || !exit.OK() {
		t.Fatalf("got %q, want %q", out, want)
	}
}

func TestTheEnvironmentIsOnlyWhatTheProfileSays(t *testing.T) {
	t.Setenv("CORP_CANARY_SECRET", "leaked")
	t.Setenv("LD_PRELOAD", "")
	for _, level := range []Level{Bubblewrap, None} {
		_, p := place(t, level)
		p.Env = []string{"RUN_KEY=k 1\nx", "PATH=/usr/bin:/bin"}
		out, _ := run(t, p, "env", "-0")
		keys := map[string]string{}
		for kv := range strings.SplitSeq(strings.TrimSuffix(out, "\x00"), "\x00") {
			key, value, _ := strings.Cut(kv, "=")
			keys[key] = value
		}
		want := map[string]string{"RUN_KEY": "k 1\nx", "PATH": "/usr/bin:/bin", "HOME": p.Inside(p.Home), "TMPDIR": p.Inside(p.Tmp)}
		for key, value := range want {
			if keys[key] != value {
				t.Errorf("%s: %s is %q, want %q", level, key, keys[key], value)
			}
			delete(keys, key)
		}
		if len(keys) > 0 {
			t.Errorf("%s: leaked %v", level, keys)
		}
	}
}

func TestTheEnvironmentIsOnNoArgumentListAndInNoOuterProcess(t *testing.T) {
	t.Parallel()
	bothLevels(t, func(t *testing.T, level Level) {
		t.Helper()
		_, p := place(t, level)
		p.Env = []string{"RUN_KEY=gc_run_canary"}
		process, err := Command(t.Context(), p, "sh", "-c", "echo ready; sleep 1000")
		if err != nil {
			t.Fatal(err)
		}
		out, err := process.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := process.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"cmdline", "environ"} {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", process.cmd.Process.Pid, name))
			if errors.Is(err, fs.ErrPermission) && name == "environ" {
				continue // closed even to the user that started it
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(b) == 0 || bytes.Contains(b, []byte("canary")) {
				t.Errorf("%s of the outer process is %q", name, b)
			}
		}
		process.Kill()
		if exit, err := process.Wait(); err != nil || !exit.Killed {
			t.Errorf("got %v, %v", exit, err)
		}
	})
}

func TestExitCodesAndSignalsComeBackExactly(t *testing.T) {
	t.Parallel()
	bothLevels(t, func(t *testing.T, level Level) {
		t.Helper()
		_, p := place(t, level)
		for script, want := range map[string]Exit{
			"exit 0":                 {},
			"exit 3":                 {Code: 3},
			"exit 255":               {Code: 255},
			"kill -SEGV $$":          {Code: 139, Signal: "segmentation fault"},
			"kill -KILL $$":          {Code: 137, Signal: "killed"},
			"(sleep 600 &) ; exit 4": {Code: 4},
		} {
			if _, got := shell(t, p, script); got != want {
				t.Errorf("%s: got %+v, want %+v", script, got, want)
			}
		}
	})
}

func TestAMissingProgramIsAnInputErrorAndNotASandboxError(t *testing.T) {
	t.Parallel()
	bothLevels(t, func(t *testing.T, level Level) {
		t.Helper()
		_, p := place(t, level)
		for _, name := range []string{"no-such-program", "/no/such/program", "./nothing"} {
			process, err := Command(t.Context(), p, name)
			if err != nil {
				t.Fatal(err)
			}
			if err := process.Start(); corp.KindOf(err) != corp.KindInvalid {
				t.Errorf("%s: got %v", name, err)
			}
		}
	})
}

func TestASenselessProfileIsRefused(t *testing.T) {
	t.Parallel()
	_, good := place(t, Bubblewrap)
	for name, change := range map[string]func(*Profile){
		"level":            func(p *Profile) { p.Level = "chroot" },
		"relative binary":  func(p *Profile) { p.Binary = "corp" },
		"relative folder":  func(p *Profile) { p.Home = "home" },
		"dotted folder":    func(p *Profile) { p.Home += "/../home" },
		"whole system":     func(p *Profile) { p.ReadOnly = []string{"/"} },
		"etc":              func(p *Profile) { p.ReadOnly = []string{"/etc/ssh"} },
		"over proc":        func(p *Profile) { p.ReadOnly = []string{"/proc"} },
		"over temp":        func(p *Profile) { p.ReadOnly = []string{"/var"} },
		"target elsewhere": func(p *Profile) { p.Mounts = []Mount{{Source: p.Home, Target: "/usr"}} },
		"own run's parent": func(p *Profile) { p.ReadOnly = []string{filepath.Dir(filepath.Dir(p.Checkout))} },
		"nameless env":     func(p *Profile) { p.Env = []string{"=x"} },
		"env with NUL":     func(p *Profile) { p.Env = []string{"A=x\x00B=y"} },
	} {
		p := good
		change(&p)
		if _, err := Command(t.Context(), p, "true"); corp.KindOf(err) != corp.KindInvalid {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

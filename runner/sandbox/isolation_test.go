//go:build linux

package sandbox

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/genericcorp/corp"
)

// attempt runs a script under both levels: under none it must succeed, which
// proves that the attack itself works, and under bubblewrap it must fail.
func attempt(t *testing.T, prepare func(t *testing.T, f Folder) (script string)) {
	t.Helper()
	bothLevels(t, func(t *testing.T, level Level) {
		t.Helper()
		f, p := place(t, level)
		out, exit := shell(t, p, prepare(t, f))
		if level == None && !exit.OK() {
			t.Errorf("the positive control failed with %s: %q", exit, out)
		}
		if level == Bubblewrap && (exit.OK() || strings.Contains(out, "canary")) {
			t.Errorf("the attack succeeded: %q", out)
		}
	})
}

func TestCannotReadTheRealHome(t *testing.T) {
	t.Parallel()
	attempt(t, func(t *testing.T, _ Folder) string {
		t.Helper()
		return "cat " + write(t, filepath.Join(t.TempDir(), "home", ".ssh", "id_ed25519"), "canary")
	})
}

func TestCannotReadTheDataFolder(t *testing.T) {
	t.Parallel()
	attempt(t, func(t *testing.T, f Folder) string {
		t.Helper()
		return "cat " + write(t, filepath.Join(filepath.Dir(filepath.Dir(f.Root())), "data", "postgres", "key"), "canary")
	})
}

func TestCannotReadAnotherRunsFolderNorItsOwnTrustedRepository(t *testing.T) {
	t.Parallel()
	attempt(t, func(t *testing.T, f Folder) string {
		t.Helper()
		other := FolderOf(filepath.Dir(f.Root()), corp.RunID{2})
		if err := other.Make(None); err != nil {
			t.Fatal(err)
		}
		own := write(t, filepath.Join(f.Git(), "config"), "canary")
		return "cat " + write(t, filepath.Join(other.Checkout(), "secret"), "canary") + " && cat " + own
	})
}

func TestALinkFromTheCheckoutToTheHostShowsNothing(t *testing.T) {
	t.Parallel()
	attempt(t, func(t *testing.T, f Folder) string {
		t.Helper()
		secret := write(t, filepath.Join(t.TempDir(), "secret"), "canary")
		if err := os.Symlink(secret, filepath.Join(f.Checkout(), "link")); err != nil {
			t.Fatal(err)
		}
		return "cat link"
	})
}

func TestCannotWriteOutsideItsFolders(t *testing.T) {
	t.Parallel()
	attempt(t, func(t *testing.T, f Folder) string {
		t.Helper()
		return "echo x > " + filepath.Join(f.Root(), "planted")
	})
	_, p := place(t, Bubblewrap)
	out, exit := shell(t, p, `for d in / /usr /etc /corp /corp/bin /dev /run /var /usr/local/bin /proc/sys/kernel; do
		if touch $d/planted 2>/dev/null; then echo wrote $d; fi; done
		echo x > /proc/sys/kernel/core_pattern && echo wrote core_pattern
		echo x > /corp/bin/corp && echo wrote corp
		for d in /corp/checkout /corp/home /tmp /var/tmp /dev/shm; do touch $d/mine || echo cannot write $d; done`)
	if strings.Contains(out, "wrote") || strings.Contains(out, "cannot write") {
		t.Fatalf("got %q, %s", out, exit)
	}
}

func TestCannotSeeOrSignalProcessesOfTheHost(t *testing.T) {
	t.Parallel()
	attempt(t, func(*testing.T, Folder) string {
		return fmt.Sprintf("kill -0 %d && test -d /proc/%d && echo canary", os.Getpid(), os.Getpid())
	})
}

func TestHoldsNoCapabilityAndCannotGainOne(t *testing.T) {
	t.Parallel()
	_, p := place(t, Bubblewrap)
	out, _ := run(t, p, "cat", "/proc/self/status")
	for _, want := range []string{"CapInh:\t0000000000000000", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapAmb:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
}

func TestSeesNoAccountAndNoKeyOfTheHost(t *testing.T) {
	t.Parallel()
	_, p := place(t, Bubblewrap)
	out, _ := shell(t, p, `for f in /etc/shadow /etc/ssh /etc/sudoers /etc/machine-id /etc/gitconfig /root /home /var/lib /sys /boot /mnt /srv /opt; do
		if test -e $f; then echo there: $f; fi; done; cat /etc/resolv.conf; wc -l < /etc/passwd`)
	if strings.TrimSpace(out) != "3" {
		t.Fatalf("got %q", out)
	}
}

func TestInheritsNoDescriptorButItsThreeStreams(t *testing.T) {
	t.Parallel()
	bothLevels(t, func(t *testing.T, level Level) {
		t.Helper()
		_, p := place(t, level)
		out, _ := shell(t, p, "ls /proc/self/fd | wc -l") // ls opens the fourth
		if strings.TrimSpace(out) != "4" {
			t.Fatalf("got %q", out)
		}
	})
}

func TestReachesNoAddress(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	attempt(t, func(*testing.T, Folder) string {
		return "test -e /corp/bin/corp && exec /corp/bin/corp dial " + listener.Addr().String() + " || exec " + binaryPath(t) + " dial " + listener.Addr().String()
	})
	_, p := place(t, Bubblewrap)
	for _, address := range []string{"169.254.169.254:80", "10.0.0.1:443", "[fd00:ec2::254]:80", "example.com:80", "192.0.2.1:53"} {
		start := time.Now()
		if out, exit := run(t, p, BinaryPath, "dial", address); exit.Code != 1 {
			t.Errorf("%s: %s after %v: %q", address, exit, time.Since(start), out)
		}
	}
}

func TestAForkBombIsBounded(t *testing.T) {
	t.Parallel()
	_, p := place(t, Bubblewrap)
	p.Limits.Processes = 60
	out, _ := shell(t, p, `i=0; while [ $i -lt 200 ]; do sleep 60 & i=$((i+1)); done; echo all 200 started`)
	if strings.Contains(out, "all 200") {
		t.Fatalf("no limit: %q", out)
	}
	p.Limits.Processes = 400 // the same script within its limit
	if out, _ := shell(t, p, `i=0; while [ $i -lt 200 ]; do sleep 60 & i=$((i+1)); done; echo all 200 started`); !strings.Contains(out, "all 200") {
		t.Fatalf("the positive control failed: %q", out)
	}
}

func TestLimitsHold(t *testing.T) {
	t.Parallel()
	bothLevels(t, func(t *testing.T, level Level) {
		t.Helper()
		_, p := place(t, level)
		p.Limits = Limits{OpenFiles: 64, FileBytes: 1 << 20, MemoryBytes: 2 << 30}
		out, _ := shell(t, p, `ulimit -n; ulimit -c; ulimit -d; { head -c 2000000 /dev/zero > big; } 2>/dev/null || echo too big; wc -c < big`)
		if got := strings.Join(strings.Fields(strings.ReplaceAll(out, "File size limit exceeded", "")), " "); got != "64 0 2097152 too big 1048576" {
			t.Fatalf("got %q", out)
		}
	})
}

func TestKillingTheRunnerKillsTheWholeTree(t *testing.T) {
	t.Parallel()
	bothLevels(t, func(t *testing.T, level Level) {
		t.Helper()
		runner := exec.CommandContext(t.Context(), binaryPath(t), "runner", string(level), t.TempDir())
		out, err := runner.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := runner.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(out)
		if line, err := lines.ReadString('\n'); err != nil || line != "ready\n" {
			t.Fatalf("got %q, %v", line, err)
		}
		if err := runner.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		expectEnd(t, lines)
		_ = runner.Wait()
	})
}

// expectEnd waits until nobody holds the other end of r any more.
func expectEnd(t *testing.T, r io.Reader) {
	t.Helper()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = io.Copy(io.Discard, r) // however it ends
	}()
	select {
	case <-gone:
	case <-time.After(20 * time.Second):
		t.Fatal("processes are left over")
	}
}

func TestStopAsksFirstAndKillsAfterTheGraceTime(t *testing.T) {
	t.Parallel()
	bothLevels(t, func(t *testing.T, level Level) {
		t.Helper()
		for script, check := range map[string]func(Exit) bool{
			"trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done": func(e Exit) bool { return e.Code == 9 && !e.Killed },
			"trap '' TERM; echo ready; while :; do sleep 0.01; done":       func(e Exit) bool { return e.Killed },
		} {
			_, p := place(t, level)
			process, err := Command(t.Context(), p, "sh", "-c", script)
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
			grace := time.Minute
			if strings.HasPrefix(script, "trap ''") {
				grace = 50 * time.Millisecond
			}
			process.Stop(grace)
			exit, err := process.Wait()
			if err != nil || !check(exit) {
				t.Errorf("%s: got %+v, %v", script, exit, err)
			}
			expectEnd(t, out)
		}
	})
}

func TestTheEndOfTheContextKillsTheWholeTree(t *testing.T) {
	t.Parallel()
	bothLevels(t, func(t *testing.T, level Level) {
		t.Helper()
		_, p := place(t, level)
		ctx, cancel := context.WithCancel(t.Context())
		process, err := Command(ctx, p, "sh", "-c", "setsid sleep 1000 & (setsid sh -c 'trap : TERM; sleep 1000; sleep 1000' &) ; echo ready; sleep 1000")
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
		cancel()
		if exit, err := process.Wait(); err != nil || !exit.Killed {
			t.Errorf("got %+v, %v", exit, err)
		}
		expectEnd(t, out)
	})
}

func TestReadOnlyFoldersOfTheOperatorAreShownAndCannotBeChanged(t *testing.T) {
	t.Parallel()
	_, p := place(t, Bubblewrap)
	p.ReadOnly = []string{"/var/lib/dpkg"}
	out, exit := shell(t, p, "test -d /var/lib/dpkg && ! touch /var/lib/dpkg/x 2>/dev/null && ls /var/lib")
	if !exit.OK() || out != "dpkg\n" {
		t.Fatalf("got %q, %s", out, exit)
	}
}

package builtin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// eventually polls until the condition holds.
func eventually(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			tb.Fatalf("waited in vain until %s", what)
		}
	}
}

// gone says whether a process has ended. One whose parent has not looked yet (a
// zombie) has.
func gone(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || bytes.Contains(stat, []byte(") Z "))
}

// pids reads the process numbers that a command wrote to a file, once there are n.
func pids(tb testing.TB, w *workbench, name string, n int) []int {
	tb.Helper()
	var found []int
	eventually(tb, "the command has started", func() bool {
		raw, err := os.ReadFile(filepath.Join(w.checkout.dir, name))
		found = nil
		for field := range strings.FieldsSeq(string(raw)) {
			if pid, err := strconv.Atoi(field); err == nil {
				found = append(found, pid)
			}
		}
		return err == nil && len(found) == n
	})
	return found
}

func TestRunReturnsOutputAndExitCode(t *testing.T) {
	t.Parallel()
	w := bench(t, map[string]string{"a.txt": "hello\n"})
	w.cfg.Env = append(w.cfg.Env, "GIVEN=yes")
	for _, c := range []struct {
		name, command, want string
		failed              bool
	}{
		{"output", "cat a.txt", "hello\n[exit code 0]", false},
		{"both streams in order", "echo one; echo two >&2; echo three", "one\ntwo\nthree\n[exit code 0]", false},
		{"exit code", "echo no >&2; exit 7", "no\n[exit code 7]", true},
		{"nothing", "true", "(no output)\n[exit code 0]", false},
		{"no line end", "printf x", "x\n[exit code 0]", false},
		{"not UTF-8", `printf 'a\377b'`, "a\ufffdb\n[exit code 0]", false},
		{"unknown", "no_such_program_at_all", "[exit code 127]", true},
		{"syntax", "if", "[exit code 2]", true},
		{"signal", "kill -TERM $$", "[ended by signal: terminated]", true},
		{"no input", "cat", "(no output)\n[exit code 0]", false},
		{"folder", "cd / && pwd", "/\n[exit code 0]", false},
		{"the next command is back in the checkout", "ls", "a.txt\n[exit code 0]", false},
		{"only the given environment", "env | grep -c '^HOME=' ; echo $GIVEN", "0\nyes\n[exit code 0]", false},
		{"empty", "  ", "command must be", true},
		{"NUL", "a\x00b", "command must be", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := use(t, w, "run", obj{"command": c.command})
			if !strings.HasSuffix(r.text, c.want) && !strings.HasPrefix(r.text, c.want) || r.failed != c.failed {
				t.Errorf("run = failed %t, %q; want failed %t, %q", r.failed, r.text, c.failed, c.want)
			}
		})
	}
}

func TestRunKillsTheWholeGroupAtItsTimeLimit(t *testing.T) {
	t.Parallel()
	w := bench(t, nil)
	started := time.Now()
	r := use(t, w, "run", obj{"timeout_seconds": 5, "command": "trap '' TERM INT; sleep 600 & echo $$ $! > pids; (sleep 600 & echo $! >> pids); echo before; wait"})
	if !r.failed || !strings.Contains(r.text, "before\n[stopped after its time limit of 5s") {
		t.Errorf("run = %+v", r)
	}
	if took := time.Since(started); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
	for _, pid := range pids(t, w, "pids", 3) {
		eventually(t, fmt.Sprintf("process %d is gone", pid), func() bool { return gone(pid) })
	}
}

func TestRunEndsAtOnceWhenTheTurnIsCancelledAndLeavesNoProcess(t *testing.T) {
	t.Parallel()
	w := bench(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan result, 1)
	go func() { done <- useIn(ctx, t, w, "run", obj{"command": "sleep 600 & echo $$ $! > pids; wait"}) }()
	found := pids(t, w, "pids", 2)
	cancel()
	if r := <-done; !r.failed || !strings.Contains(r.text, "[cancelled]") {
		t.Errorf("run = %+v", r)
	}
	for _, pid := range found {
		eventually(t, fmt.Sprintf("process %d is gone", pid), func() bool { return gone(pid) })
	}
	if r := useIn(ctx, t, w, "run", obj{"command": "touch late"}); !r.failed {
		t.Errorf("a command began after the cancel: %+v", r)
	}
	if _, err := os.Stat(filepath.Join(w.checkout.dir, "late")); err == nil {
		t.Error("a command ran after the cancel")
	}
}

func TestWhatACommandLeavesInTheBackgroundEndsWithIt(t *testing.T) {
	t.Parallel()
	w := bench(t, nil)
	r := use(t, w, "run", obj{"command": "sleep 600 & echo $! > pids; echo started"})
	if r.failed || r.text != "started\n[exit code 0]" {
		t.Errorf("run = %+v", r)
	}
	pid := pids(t, w, "pids", 1)[0]
	eventually(t, "the background process is gone", func() bool { return gone(pid) })
}

func TestAProcessThatLeftTheGroupCannotKeepTheToolWaiting(t *testing.T) {
	t.Parallel()
	w := bench(t, nil)
	started := time.Now()
	r := use(t, w, "run", obj{"command": "setsid sh -c 'echo $$ > pids; exec sleep 60' & while [ ! -s pids ]; do :; done; echo started"})
	if r.failed || !strings.Contains(r.text, "started") || time.Since(started) > 30*time.Second {
		t.Errorf("after %s: %+v", time.Since(started), r)
	}
	_ = syscall.Kill(pids(t, w, "pids", 1)[0], syscall.SIGKILL)
}

func TestAHundredMegabytesOfOutputDoNotGrowMemory(t *testing.T) {
	w := bench(t, nil)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	r := use(t, w, "run", obj{"command": "echo first; yes 'a line that is printed again and again' | head -c 100000000; echo last"})
	runtime.ReadMemStats(&after)
	if !strings.HasPrefix(r.text, "first\n") || !strings.HasSuffix(r.text, "last\n[exit code 0]") || !strings.Contains(r.text, "bytes left out") {
		t.Errorf("run = %q … %q", clip(r.text, 100), r.text[max(0, len(r.text)-100):])
	}
	if len(r.text) > maxRunText+200 {
		t.Errorf("%d bytes for the model", len(r.text))
	}
	if grown := int64(after.TotalAlloc) - int64(before.TotalAlloc); grown > 4<<20 {
		t.Errorf("allocated %d bytes", grown)
	}
}

func TestAKeeperKeepsTheHeadAndTheTailOfAnyStream(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(5, 6))
	for range 2000 {
		head, tail := random.IntN(20), 1+random.IntN(20)
		k := newKeeper(head, tail)
		var all []byte
		for range random.IntN(10) {
			p := make([]byte, random.IntN(30))
			for i := range p {
				p[i] = byte('a' + random.IntN(26))
			}
			all = append(all, p...)
			if n, err := k.Write(p); n != len(p) || err != nil {
				t.Fatalf("Write = %d, %v", n, err)
			}
		}
		want := string(all)
		if left := len(all) - head - tail; left > 0 {
			want = fmt.Sprintf("%s\n[… %d bytes left out …]\n%s", all[:head], left, all[len(all)-tail:])
		}
		if got := strings.TrimSuffix(k.String(), "\n"); got != want {
			t.Fatalf("head %d, tail %d, %q = %q, want %q", head, tail, all, got, want)
		}
	}
}

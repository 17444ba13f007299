//go:build linux

package sandbox

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/genericcorp/corp"
)

func TestCappedKeepsHeadAndTailAndCountsTheRest(t *testing.T) {
	t.Parallel()
	all := []byte(strings.Repeat("0123456789", 10))
	for _, chunk := range []int{1, 3, 7, 33, 100} {
		for _, size := range []int{0, 1, 9, 10, 11, 25, 100} {
			c := NewCapped(4, 6)
			for rest := all[:size]; len(rest) > 0; rest = rest[min(chunk, len(rest)):] {
				_, _ = c.Write(rest[:min(chunk, len(rest))])
			}
			left := max(size-10, 0)
			if c.Omitted() != int64(left) || c.Total() != int64(size) {
				t.Errorf("%d by %d: omitted %d of %d", size, chunk, c.Omitted(), c.Total())
			}
			want := string(all[:size])
			if left > 0 {
				want = string(all[:4]) + "\n[" + itoa(left) + " bytes left out]\n" + string(all[size-6:size])
			}
			if got := c.String(); got != want {
				t.Errorf("%d by %d: got %q, want %q", size, chunk, got, want)
			}
		}
	}
	for _, c := range []*Capped{NewCapped(0, 0), NewCapped(-1, -5), NewCapped(3, 0), NewCapped(0, 3)} {
		if n, err := c.Write(all); n != len(all) || err != nil {
			t.Errorf("got %d, %v", n, err)
		}
	}
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}

func TestAProcessThatPrintsAHundredMegabytesCostsBoundedMemory(t *testing.T) {
	t.Parallel()
	_, p := place(t, Bubblewrap)
	process, err := Command(t.Context(), p, "sh", "-c", "echo first; head -c 100000000 /dev/zero; echo last")
	if err != nil {
		t.Fatal(err)
	}
	c := NewCapped(1<<10, 1<<10)
	process.Stdout = c
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	if exit, err := process.Wait(); err != nil || !exit.OK() {
		t.Fatalf("%v, %v", exit, err)
	}
	runtime.ReadMemStats(&after)
	if c.Total() != 100_000_011 || !strings.HasPrefix(c.String(), "first\n") || !strings.HasSuffix(c.String(), "last\n") {
		t.Errorf("kept %d of %d", len(c.String()), c.Total())
	}
	if cap(c.head) > 4<<10 || cap(c.tail) > 4<<10 {
		t.Errorf("kept %d and %d bytes", cap(c.head), cap(c.tail))
	}
}

func TestAFolderIsPrivateAndIsMadeOnce(t *testing.T) {
	t.Parallel()
	f := FolderOf(filepath.Join(t.TempDir(), "work"), corp.RunID{3})
	if err := f.Make(None); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(f.Root()); err != nil || info.Mode().Perm() != 0o700 {
		t.Fatalf("got %v, %v", info, err)
	}
	if err := f.Make(None); corp.KindOf(err) != corp.KindConflict {
		t.Fatalf("got %v", err)
	}
	for range 2 {
		if err := f.Remove(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRemoveCopesWithWhatAnAgentLeavesAndFollowsNoLink(t *testing.T) {
	t.Parallel()
	bothLevels(t, func(t *testing.T, level Level) {
		t.Helper()
		f, p := place(t, level)
		outside := t.TempDir()
		kept := write(t, filepath.Join(outside, "kept"), "kept")
		if err := os.Chmod(outside, 0o555); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Chmod(outside, 0o755) })
		out, exit := shell(t, p, `mkdir -p a/b/c && echo x > a/b/c/f && ln -s `+outside+` a/b/out && ln -s `+outside+` top && ln -s / root &&
			mkfifo a/fifo && touch -- -rf "new
line" && chmod 400 a/b/c/f && mkdir -p $HOME/go/pkg/mod && touch $HOME/go/pkg/mod/x && chmod -R a-w $HOME/go &&
			chmod 0 a/b/c && chmod 0 a/b && chmod 0 a && cd $TMPDIR &&
			i=0; while [ $i -lt 150 ]; do mkdir dddddddddddddddddddd && cd dddddddddddddddddddd || exit 1; i=$((i+1)); done; touch deep; chmod 0 .`)
		if !exit.OK() {
			t.Fatalf("%s: %s", exit, out)
		}
		if err := f.Remove(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(f.Root()); !os.IsNotExist(err) {
			t.Errorf("left over: %v", err)
		}
		if b, err := os.ReadFile(kept); err != nil || !bytes.Equal(b, []byte("kept")) {
			t.Errorf("a link was followed: %q, %v", b, err)
		}
		if info, err := os.Stat(outside); err != nil || info.Mode().Perm() != 0o555 {
			t.Errorf("the mode behind a link was changed: %v, %v", info, err)
		}
	})
}

package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
)

func journalLine(cost corp.Nanodollars) line {
	return line{Workspace: corp.WorkspaceID{1}, Record: postgres.CallRecord{
		Call: corp.Call{
			ID: corp.NewID[corp.CallID](), At: time.Now().UTC().Truncate(time.Microsecond), RunID: corp.RunID{2}, TaskID: corp.TaskID{3},
			ModelAsked: "m\nn", Cost: cost, Reserved: 100, RawUsage: json.RawMessage(`{"input_tokens":1}`), Outcome: corp.CallOK, Edits: []string{"credential"},
		},
		Charges: []postgres.Charge{{AllowanceID: corp.AllowanceID{4}, BudgetID: corp.BudgetID{5}}},
	}}
}

func newJournal(t *testing.T) (*journal, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journal")
	j, err := createJournal(path, header{Version: journalVersion, Boot: "boot", Server: corp.ServerID{9}})
	if err != nil {
		t.Fatal(err)
	}
	return j, path
}

func mustRead(t *testing.T, path string) *past {
	t.Helper()
	p, err := readJournal(path)
	if err != nil || p == nil {
		t.Fatalf("%+v, %v", p, err)
	}
	return p
}

func TestJournalSaysWhatWasWritten(t *testing.T) {
	t.Parallel()
	j, path := newJournal(t)
	var want []line
	for i := range 10 {
		l := journalLine(corp.Nanodollars(i))
		if err := j.write(l); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			l.Settled, l.Record.Cost = true, 77
			if err := j.write(l); err != nil {
				t.Fatal(err)
			}
		}
		want = append(want, l)
	}
	p := mustRead(t, path) // as after kill -9: nothing was closed
	if !p.whole || p.Boot != "boot" || p.Server != (corp.ServerID{9}) {
		t.Errorf("%+v", p.header)
	}
	if diff := cmp.Diff(want, p.lines); diff != "" {
		t.Error(diff)
	}
	if none, err := readJournal(path + "x"); none != nil || err != nil {
		t.Errorf("%+v, %v", none, err)
	}
}

func TestTornEndIsForgivenAndAHoleIsNoticed(t *testing.T) {
	t.Parallel()
	j, path := newJournal(t)
	first, second := journalLine(1), journalLine(2)
	for _, l := range []line{first, second} {
		if err := j.write(l); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	for cut := len(lines[0]) + len(lines[1]); cut < len(text); cut++ {
		torn := filepath.Join(t.TempDir(), "torn")
		if err := os.WriteFile(torn, text[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		if p := mustRead(t, torn); !p.whole || len(p.lines) != 1 || p.lines[0].Record.ID != first.Record.ID {
			t.Fatalf("cut at %d: %d lines, whole %v", cut, len(p.lines), p.whole)
		}
	}
	for i := range len(lines[1]) - 1 { // any change within a line, its end apart
		broken := bytes.Clone(text)
		broken[len(lines[0])+i] ^= 1
		if broken[len(lines[0])+i] == '\n' {
			continue
		}
		hole := filepath.Join(t.TempDir(), "hole")
		if err := os.WriteFile(hole, broken, 0o600); err != nil {
			t.Fatal(err)
		}
		if p := mustRead(t, hole); p.whole || len(p.lines) != 1 {
			t.Fatalf("byte %d changed: %d lines, whole %v", i, len(p.lines), p.whole)
		}
	}
	for _, head := range []string{"", "\n", "x\n", "00000000 {}\n"} {
		bad := filepath.Join(t.TempDir(), "bad")
		if err := os.WriteFile(bad, []byte(head), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readJournal(bad); err == nil {
			t.Errorf("the first line %q was accepted", head)
		}
	}
}

func TestJournalStaysSmallAndKeepsWhatIsLive(t *testing.T) {
	t.Parallel()
	j, path := newJournal(t)
	kept := journalLine(1)
	if err := j.write(kept); err != nil {
		t.Fatal(err)
	}
	var largest int64
	for range 30_000 {
		l := journalLine(2)
		if err := j.write(l); err != nil {
			t.Fatal(err)
		}
		if err := j.forget(l.Record.ID); err != nil {
			t.Fatal(err)
		}
		largest = max(largest, j.size)
	}
	if largest > rotateAt+4096 {
		t.Errorf("it grew to %d bytes", largest)
	}
	if p := mustRead(t, path); !p.whole || p.lines[0].Record.ID != kept.Record.ID {
		t.Error("the live call is gone")
	}
	if err := j.close(false); err != nil {
		t.Fatal(err)
	}
	if p := mustRead(t, path); p == nil {
		t.Error("a journal with a live call was removed")
	}
	if err := j.write(kept); err == nil {
		t.Error("a closed journal was written to")
	}
	done, path := newJournal(t)
	if err := done.close(false); err != nil {
		t.Fatal(err)
	}
	if p, err := readJournal(path); p != nil || err != nil {
		t.Errorf("an empty journal was left: %v, %v", p, err)
	}
}

// Whatever many writers do, and whenever the process dies, each call's last line
// is there or the call is in the database.
func TestJournalHoldsAtEveryMoment(t *testing.T) {
	t.Parallel()
	j, path := newJournal(t)
	var mu sync.Mutex
	live := map[corp.CallID]bool{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				l := journalLine(1)
				if err := j.write(l); err != nil {
					t.Error(err)
					return
				}
				l.Settled = true
				if err := j.write(l); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				live[l.Record.ID] = true
				mu.Unlock()
				if rand.IntN(2) == 0 {
					mu.Lock()
					delete(live, l.Record.ID)
					mu.Unlock()
					if err := j.forget(l.Record.ID); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	seen := map[corp.CallID]bool{}
	for _, l := range mustRead(t, path).lines {
		seen[l.Record.ID] = l.Settled
	}
	for id := range live {
		if !seen[id] {
			t.Fatalf("%v is missing", id)
		}
	}
	if j.bytes < 0 || int64(len(j.live)) < int64(len(live)) {
		t.Errorf("%d bytes of %d calls", j.bytes, len(j.live))
	}
}

func TestFullDiskLeavesTheJournalWhole(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	j, path := newJournal(t)
	good := j.f
	j.f = full
	if err := j.write(journalLine(1)); err == nil {
		t.Fatal("a full disk was not noticed")
	}
	if err := good.Close(); err != nil {
		t.Fatal(err)
	}
	// /dev/full cannot be cut, so the next write makes a new file.
	if err := j.write(journalLine(2)); err != nil {
		t.Fatal(err)
	}
	if p := mustRead(t, path); !p.whole || len(p.lines) != 1 || p.lines[0].Record.Cost != 2 {
		t.Errorf("%+v", p)
	}
}

// A disk that fills up takes the beginning of a line, which is then cut off.
func TestHalfALineThatWasCutOffHidesNoOther(t *testing.T) {
	t.Parallel()
	j, path := newJournal(t)
	first, second := journalLine(1), journalLine(2)
	if err := j.write(first); err != nil {
		t.Fatal(err)
	}
	if _, err := j.f.Seek(0, io.SeekEnd); err != nil {
		t.Fatal(err)
	}
	if _, err := j.f.WriteString("00000000 half a line"); err != nil {
		t.Fatal(err)
	}
	if err := j.f.Truncate(j.size); err != nil {
		t.Fatal(err)
	}
	if err := j.write(second); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]line{first, second}, mustRead(t, path).lines); diff != "" {
		t.Error(diff)
	}
}

func BenchmarkJournal(b *testing.B) {
	path := filepath.Join(b.TempDir(), "journal")
	j, err := createJournal(path, header{Version: journalVersion})
	if err != nil {
		b.Fatal(err)
	}
	l := journalLine(1)
	for i := 0; b.Loop(); i++ {
		l.Record.ID = corp.NewID[corp.CallID]()
		if err := j.write(l); err != nil {
			b.Fatal(err)
		}
		if err := j.forget(l.Record.ID); err != nil {
			b.Fatal(fmt.Errorf("call %d: %w", i, err))
		}
	}
}

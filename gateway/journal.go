package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
)

// journal is a file that knows, at every moment, which calls are under way and
// which are counted but not yet in the database. A line is one pwrite(2), so
// after kill -9 of this process it is there or it is not; only a machine that
// stops can lose more, and the next start can tell by the boot id.
type journal struct {
	path string

	mu    sync.Mutex
	f     *os.File
	head  []byte // the first line
	size  int64
	live  map[corp.CallID][]byte // the newest line of each call that is not in the database
	bytes int64                  // of live
	dead  error                  // why nothing more may be written
}

// rotateAt is the size from which on a journal is written anew, in bytes.
const rotateAt = 4 << 20

// header is the first line: whose journal it is, and since when its machine runs.
type header struct {
	Version int           `json:"version"`
	Boot    string        `json:"boot"`
	Server  corp.ServerID `json:"server"`
}

// line is one further line. Of a call, the last one counts.
type line struct {
	Workspace corp.WorkspaceID    `json:"workspace"`
	Settled   bool                `json:"settled"` // else it is about to be sent
	Record    postgres.CallRecord `json:"record"`
}

const journalVersion = 1

// createJournal puts a fresh journal in place of whatever is at path.
func createJournal(path string, h header) (*journal, error) {
	head, err := makeLine(h)
	if err != nil {
		return nil, err
	}
	j := &journal{path: path, head: head, live: map[corp.CallID][]byte{}}
	if err := j.rewrite(); err != nil {
		return nil, err
	}
	return j, nil
}

// makeLine writes a value as one line with a checksum before it.
func makeLine(v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("write a journal line: %w", err)
	}
	out := make([]byte, 0, len(text)+10)
	out = fmt.Appendf(out, "%08x ", crc32.ChecksumIEEE(text))
	return append(append(out, text...), '\n'), nil
}

// readLine reads one line without its newline.
func readLine(text []byte, v any) error {
	sum, body, ok := bytes.Cut(text, []byte(" "))
	want, err := strconv.ParseUint(string(sum), 16, 32)
	if !ok || err != nil || uint32(want) != crc32.ChecksumIEEE(body) {
		return errors.New("a journal line is torn")
	}
	return json.Unmarshal(body, v)
}

// write notes that a call is about to be sent, or what came of it. When it
// returns nil the line survives the death of this process.
func (j *journal) write(l line) error {
	text, err := makeLine(l)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.dead != nil && j.f != nil {
		if err := j.rewrite(); err != nil {
			return err
		}
	}
	if j.f == nil {
		return j.dead
	}
	// At its place, not at the file's offset, which a line cut off has moved on.
	n, err := j.f.WriteAt(text, j.size)
	if err != nil || n != len(text) {
		// A part of a line in the middle of the file would hide the next one.
		if cut := j.f.Truncate(j.size); cut != nil {
			j.dead = fmt.Errorf("the journal cannot be repaired: %w", cut)
		}
		return fmt.Errorf("write to the journal: %w", errors.Join(err, errShort(n, len(text))))
	}
	j.size += int64(n)
	j.bytes += int64(n - len(j.live[l.Record.ID]))
	j.live[l.Record.ID] = text
	return nil
}

func errShort(n, want int) error {
	if n == want {
		return nil
	}
	return fmt.Errorf("%d of %d bytes written", n, want)
}

// forget notes that calls are in the database, or were never sent, and makes the
// file smaller when most of it is no longer needed.
func (j *journal) forget(ids ...corp.CallID) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, id := range ids {
		j.bytes -= int64(len(j.live[id]))
		delete(j.live, id)
	}
	if j.f == nil || j.size < rotateAt || j.bytes > j.size/2 {
		return nil
	}
	return j.rewrite()
}

// rewrite puts a new file in place that holds what is live. The old one stands
// until the new one is whole.
func (j *journal) rewrite() error {
	text := slices.Clone(j.head)
	for _, l := range j.live {
		text = append(text, l...)
	}
	f, err := os.CreateTemp(filepath.Dir(j.path), ".journal-*")
	if err != nil {
		return fmt.Errorf("make the journal: %w", err)
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(f.Name(), j.path)
	}
	if err != nil {
		return fmt.Errorf("make the journal: %w", errors.Join(err, f.Close(), os.Remove(f.Name())))
	}
	old := j.f
	j.f, j.size, j.dead = f, int64(len(text)), nil
	if old != nil {
		return old.Close()
	}
	return nil
}

// close ends the journal. With nothing left in it, and nothing else to keep it
// for, the file is removed: the next start has nothing to do.
func (j *journal) close(keep bool) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.f == nil {
		return nil
	}
	err := j.f.Close()
	j.f = nil
	j.dead = errors.New("the journal is closed")
	if len(j.live) == 0 && !keep {
		err = errors.Join(err, os.Remove(j.path))
	}
	return err
}

// past is what a journal of a process that is gone says.
type past struct {
	header
	lines []line // one for each call, in the order in which they first appear
	whole bool   // nothing but a line torn at the end is missing
}

// readJournal reads the journal at path; nil when there is none.
func readJournal(path string) (*past, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil //nolint:nilnil // no journal is nothing to do and no error
	}
	if err != nil {
		return nil, fmt.Errorf("read the journal: %w", err)
	}
	p := &past{whole: true}
	first, rest, ok := bytes.Cut(text, []byte("\n"))
	if !ok || readLine(first, &p.header) != nil || p.Version != journalVersion {
		return nil, fmt.Errorf("the journal %s cannot be read: its first line is torn or of another version", path)
	}
	at := map[corp.CallID]int{}
	for len(rest) > 0 {
		var l line
		var text []byte
		text, rest, ok = bytes.Cut(rest, []byte("\n"))
		if !ok { // torn by the end of the process: it was never acted upon
			break
		}
		if readLine(text, &l) != nil {
			p.whole = false
			continue
		}
		if i, seen := at[l.Record.ID]; seen {
			p.lines[i] = l
			continue
		}
		at[l.Record.ID] = len(p.lines)
		p.lines = append(p.lines, l)
	}
	return p, nil
}

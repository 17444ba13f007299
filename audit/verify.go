package audit

import (
	"bufio"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/genericcorp/corp"
)

// maxLine is the longest line of an export, in bytes.
const maxLine = 4 << 20

var errSpelling = errors.New("it is not spelled as it was written")

// Fault is what is wrong with a log.
type Fault string

// The faults.
const (
	FaultChanged    Fault = "changed"           // the row's contents, or its place, are not what was sealed
	FaultMissing    Fault = "missing"           // a row is not there, and later ones are
	FaultReordered  Fault = "reordered"         // a row stands elsewhere, or twice
	FaultCut        Fault = "cut"               // the log ends before it should
	FaultRewritten  Fault = "rewritten"         // the chain is not the one that a checkpoint is of
	FaultCheckpoint Fault = "forged checkpoint" // a checkpoint is not signed by the key
	FaultPersonal   Fault = "personal data"     // it was changed; that it was erased is no fault
	FaultUnreadable Fault = "unreadable"        // a line is not what an export holds
	FaultKey        Fault = "unknown key"       // a checkpoint is signed by a key that is not among the given ones
	FaultChain      Fault = "another log"       // the log is not of the workspace that was expected
)

// TamperError is the first row of a log that is not what it was.
type TamperError struct {
	Fault  Fault
	Line   int          // of the export, from 1; 0 after its end
	Seq    int64        // of the row, or the checkpoint's; 0 when it has none
	Event  corp.AuditID // zero when it is not there or not readable
	Detail string       // a sentence
}

// Error names the row and what is wrong.
func (t *TamperError) Error() string {
	where := fmt.Sprintf("row %d", t.Seq)
	switch {
	case t.Seq == 0:
		where = fmt.Sprintf("line %d", t.Line)
	case !t.Event.IsZero():
		where += " (" + t.Event.String() + ")"
	}
	return fmt.Sprintf("the log is not intact: %s: %s: %s", where, t.Fault, t.Detail)
}

// Expect is what a log is held against besides itself. The zero value expects nothing.
type Expect struct {
	Keys        []ed25519.PublicKey // that may have signed; none: the one that the log names, which proves little
	Checkpoints []Checkpoint        // kept elsewhere; those of other workspaces do not count
	WorkspaceID *corp.WorkspaceID   // nil: any
	Now         time.Time           // when it was exported, or now when nobody can say; zero: rows of any age may be no longer kept
}

// keptAtLeast is how old rows are before they may be no longer kept: a month less than
// the database keeps them, for those that were sealed late.
const keptAtLeast = 60 * 24 * time.Hour

// Report is what an intact log, or the intact part of one, holds.
type Report struct {
	WorkspaceID corp.WorkspaceID    `json:"workspace_id,omitzero"`
	After       int64               `json:"after"` // the rows up to this number are no longer kept
	Last        int64               `json:"last"`  // number of the last row; After without any
	Rows        int64               `json:"rows"`
	Erased      int64               `json:"erased"` // rows whose personal data was erased
	Checkpoints int                 `json:"checkpoints"`
	Hash        Hash                `json:"hash"` // of the last row
	Keys        []ed25519.PublicKey `json:"-"`    // that were trusted
}

// Verify reads an export and returns what it holds. The error is a *TamperError
// that names the first wrong row, or what went wrong with reading. It keeps one
// line in memory.
func Verify(r io.Reader, expect Expect) (Report, error) {
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 0, 64<<10), maxLine)
	v := verifier{in: in, expect: expect, wanted: map[int64][]Checkpoint{}}
	err := v.run()
	if scan := in.Err(); scan != nil {
		if errors.Is(scan, bufio.ErrTooLong) {
			return v.report, &TamperError{Fault: FaultUnreadable, Line: v.line + 1, Detail: "The line is longer than any of an export."}
		}
		return v.report, fmt.Errorf("read the log: %w", scan)
	}
	return v.report, err
}

// verifier walks through an export.
type verifier struct {
	in     *bufio.Scanner
	expect Expect
	wanted map[int64][]Checkpoint // of this log, kept elsewhere
	line   int
	report Report
	sealed int64 // the newest number that a checkpoint covers
}

func (v *verifier) run() error {
	if err := v.head(); err != nil {
		return err
	}
	for v.in.Scan() {
		v.line++
		l, err := read[line](v.in.Bytes())
		switch {
		case err != nil:
			return v.unreadable(err)
		case l.Row != nil && l.Checkpoint == nil:
			err = v.row(*l.Row)
		case l.Checkpoint != nil && l.Row == nil:
			err = v.checkpoint(*l.Checkpoint)
		default:
			return v.unreadable(errors.New("it is neither a row nor a checkpoint"))
		}
		if err != nil {
			return err
		}
	}
	return v.end()
}

func (v *verifier) unreadable(err error) *TamperError {
	return &TamperError{Fault: FaultUnreadable, Line: v.line, Seq: v.report.Last + 1, Detail: "The line cannot be read as what was written: " + err.Error() + "."}
}

// head reads the first line, which says whose log it is and where it begins.
func (v *verifier) head() error {
	v.line = 1
	if !v.in.Scan() {
		return &TamperError{Fault: FaultUnreadable, Line: 1, Detail: "The log is empty; not even its head is there."}
	}
	h, err := read[Head](v.in.Bytes())
	if err == nil && h.Format != Format {
		err = fmt.Errorf("its format is %q and not %q", h.Format, Format)
	}
	var key ed25519.PublicKey
	if err == nil {
		key, err = ParsePublicKey(h.PublicKey)
	}
	if err != nil {
		return &TamperError{Fault: FaultUnreadable, Line: 1, Detail: "The head cannot be read: " + err.Error() + "."}
	}
	if want := v.expect.WorkspaceID; want != nil && *want != h.WorkspaceID {
		return &TamperError{Fault: FaultChain, Line: 1, Detail: "The log is of another workspace than expected."}
	}
	v.report.WorkspaceID, v.report.Keys = h.WorkspaceID, v.expect.Keys
	switch {
	case len(v.report.Keys) == 0:
		v.report.Keys = []ed25519.PublicKey{key}
	case !slices.ContainsFunc(v.report.Keys, func(k ed25519.PublicKey) bool { return k.Equal(key) }):
		return &TamperError{Fault: FaultKey, Line: 1, Detail: "The log names the public key " + h.PublicKey + ", which is not among the given ones."}
	}
	for _, c := range v.expect.Checkpoints {
		if c.WorkspaceID == h.WorkspaceID {
			v.wanted[c.Seq] = append(v.wanted[c.Seq], c)
		}
	}
	if h.After == nil {
		return nil
	}
	v.report.After, v.report.Last, v.report.Hash = h.After.Seq, h.After.Seq, h.After.Hash
	if h.After.Seq < 1 {
		return &TamperError{Fault: FaultCheckpoint, Line: 1, Detail: "The checkpoint that the log begins with is of no row."}
	}
	if err := v.checkpoint(*h.After); err != nil {
		return err
	}
	if now := v.expect.Now; !now.IsZero() && h.After.At.After(now.Add(-keptAtLeast)) {
		return &TamperError{Fault: FaultMissing, Line: 1, Seq: h.After.Seq, Detail: fmt.Sprintf("The rows up to this one are said to be no longer kept, but it was sealed on %s: nobody drops what is so young.", h.After.At.Format("2006-01-02"))}
	}
	return nil
}

// row checks the next row of the chain.
func (v *verifier) row(r Row) error {
	next := v.report.Last + 1
	bad := TamperError{Fault: FaultChanged, Line: v.line, Seq: r.Seq}
	if r.Event != nil {
		bad.Event = r.Event.ID
	}
	switch {
	case r.Seq < next:
		bad.Fault, bad.Detail = FaultReordered, fmt.Sprintf("It comes after row %d.", v.report.Last)
		return &bad
	case r.Seq > next:
		return v.gap(next, r.Seq)
	case r.Event == nil:
		bad.Fault, bad.Detail = FaultMissing, "Its event is not there, though it was sealed."
		return &bad
	}
	if Next(v.report.Hash, v.report.WorkspaceID, r.Seq, *r.Event) != r.Hash {
		bad.Detail = "Its contents and its predecessor do not give its hash: it was changed, or it is not the row that stood here."
		return &bad
	}
	switch p := r.Event.Personal; {
	case p == nil && r.Event.PersonalHash != "":
		v.report.Erased++
	case PersonalHash(p) != r.Event.PersonalHash:
		bad.Fault, bad.Detail = FaultPersonal, "The address, user agent or e-mail address beside it is not what was written down."
		return &bad
	}
	v.report.Last, v.report.Hash = r.Seq, r.Hash
	v.report.Rows++
	return v.held(r.Seq, r.Hash)
}

// gap says of a row that is not in its place whether it comes later.
func (v *verifier) gap(want, got int64) error {
	bad := TamperError{Fault: FaultMissing, Line: v.line, Seq: want, Detail: fmt.Sprintf("After row %d comes row %d.", want-1, got)}
	for v.in.Scan() {
		if l, err := read[line](v.in.Bytes()); err == nil && l.Row != nil && l.Row.Seq == want {
			bad.Fault, bad.Detail = FaultReordered, fmt.Sprintf("It stands after row %d.", got)
			if l.Row.Event != nil {
				bad.Event = l.Row.Event.ID
			}
			break
		}
	}
	return &bad
}

// checkpoint checks a signed statement about the row before it.
func (v *verifier) checkpoint(c Checkpoint) error {
	bad := TamperError{Fault: FaultCheckpoint, Line: v.line, Seq: c.Seq}
	known, valid := c.signedBy(v.report.Keys)
	switch {
	case c.WorkspaceID != v.report.WorkspaceID:
		bad.Detail = "The checkpoint is of another workspace."
		return &bad
	case !known:
		bad.Fault, bad.Detail = FaultKey, "The checkpoint is signed with the key "+c.KeyID+", which is not among the known ones. If the installation's secret was changed, name the old public key as well."
		return &bad
	case !valid:
		bad.Detail = "The checkpoint's signature does not hold."
		return &bad
	case c.Seq > v.report.Last:
		return &TamperError{Fault: FaultMissing, Line: v.line, Seq: v.report.Last + 1, Detail: fmt.Sprintf("A checkpoint of row %d follows row %d.", c.Seq, v.report.Last)}
	case c.Seq < v.report.Last:
		bad.Fault, bad.Detail = FaultReordered, fmt.Sprintf("The checkpoint of row %d comes after row %d.", c.Seq, v.report.Last)
		return &bad
	case c.Hash != v.report.Hash:
		return v.rewritten(c)
	}
	v.sealed = c.Seq
	v.report.Checkpoints++
	return v.held(c.Seq, c.Hash)
}

// rewritten says between which rows a chain was computed anew.
func (v *verifier) rewritten(c Checkpoint) error {
	return &TamperError{
		Fault: FaultRewritten, Line: v.line, Seq: v.sealed + 1,
		Detail: fmt.Sprintf("The chain up to row %d is not the one that was signed there on %s: at least one of the rows %d to %d was changed, and the hashes with it.",
			c.Seq, c.At.Format("2006-01-02 15:04:05"), v.sealed+1, c.Seq),
	}
}

// held compares a row with the checkpoints that were kept elsewhere.
func (v *verifier) held(seq int64, hash Hash) error {
	for _, c := range v.wanted[seq] {
		if err := v.kept(c); err != nil {
			return err
		}
		if c.Hash != hash {
			return v.rewritten(c)
		}
	}
	delete(v.wanted, seq)
	return nil
}

// kept checks that a checkpoint which was kept elsewhere is one.
func (v *verifier) kept(c Checkpoint) error {
	switch known, valid := c.signedBy(v.report.Keys); {
	case !known:
		return &TamperError{Fault: FaultKey, Seq: c.Seq, Detail: "The checkpoint that was kept is signed with the key " + c.KeyID + ", which is not among the known ones."}
	case !valid:
		return &TamperError{Fault: FaultCheckpoint, Seq: c.Seq, Detail: "The signature of the checkpoint that was kept does not hold."}
	}
	return nil
}

// end checks that the log goes as far as it should.
func (v *verifier) end() error {
	for _, seq := range slices.Sorted(maps.Keys(v.wanted)) {
		for _, c := range v.wanted[seq] {
			if err := v.kept(c); err != nil {
				return err
			}
		}
		if seq > v.report.Last {
			return &TamperError{Fault: FaultCut, Seq: v.report.Last + 1, Detail: fmt.Sprintf("The log ends with row %d; a checkpoint that was kept is of row %d.", v.report.Last, seq)}
		}
	}
	if v.report.Last > v.sealed {
		return &TamperError{Fault: FaultCut, Seq: v.sealed + 1, Detail: fmt.Sprintf("The log ends with row %d, and its last checkpoint is of row %d: the end is not there.", v.report.Last, v.sealed)}
	}
	return nil
}

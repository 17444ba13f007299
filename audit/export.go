package audit

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"

	"github.com/genericcorp/corp"
)

// Format names the form of an export, in its first line.
const Format = "corp audit 1"

// Head is the first line of an export. The log begins after the checkpoint After;
// without one it begins with the first event there was.
type Head struct {
	Format      string           `json:"format"`
	WorkspaceID corp.WorkspaceID `json:"workspace_id,omitzero"` // left out: the installation's
	PublicKey   string           `json:"public_key"`
	After       *Checkpoint      `json:"after,omitempty"`
}

// Row is an event and its place in the chain. Event is nil when it should be
// there and is not.
type Row struct {
	Seq   int64            `json:"seq"`
	Hash  Hash             `json:"hash"`
	Event *corp.AuditEvent `json:"event"`
}

// line is one line of an export after its first: a row or a checkpoint.
type line struct {
	Row        *Row        `json:"row,omitempty"`
	Checkpoint *Checkpoint `json:"checkpoint,omitempty"`
}

// spelled is a line in its one spelling.
type spelled interface{ spell() any }

func (h Head) spell() any {
	if h.After != nil {
		h.After = new(h.After.spell())
	}
	return h
}

func (c Checkpoint) spell() Checkpoint {
	c.At = exact(c.At)
	return c
}

func (l line) spell() any {
	if l.Checkpoint != nil {
		l.Checkpoint = new(l.Checkpoint.spell())
	}
	if l.Row != nil && l.Row.Event != nil {
		r, e := *l.Row, *l.Row.Event
		e.At, e.Changes = exact(e.At), compact(e.Changes)
		r.Event, l.Row = &e, &r
	}
	return l
}

// Writer writes an export as JSON lines. After an error it writes no more.
type Writer struct {
	w   io.Writer
	err error
}

// NewWriter writes the first line and returns the writer of the rest.
func NewWriter(w io.Writer, ws corp.WorkspaceID, key ed25519.PublicKey, after *Checkpoint) (*Writer, error) {
	out := &Writer{w: w}
	return out, out.write(Head{Format, ws, PublicKeyText(key), after})
}

// Row writes a row; they come in the order of their numbers.
func (w *Writer) Row(r Row) error { return w.write(line{Row: &r}) }

// Checkpoint writes a checkpoint; it comes after the row that it is of.
func (w *Writer) Checkpoint(c Checkpoint) error { return w.write(line{Checkpoint: &c}) }

func (w *Writer) write(v spelled) error {
	if w.err != nil {
		return w.err
	}
	b, err := json.Marshal(v.spell())
	if err == nil {
		_, err = w.w.Write(append(b, '\n'))
	}
	w.err = err
	return err
}

// read reads a line strictly: only what a Writer would have written for what is
// in it. Any other spelling of the same could mean something else to another reader.
func read[T spelled](text []byte) (v T, err error) {
	decode := json.NewDecoder(bytes.NewReader(text))
	decode.DisallowUnknownFields()
	if err := decode.Decode(&v); err != nil {
		return v, fmt.Errorf("it is not a line of an export: %w", err)
	}
	again, err := json.Marshal(v.spell())
	if err != nil {
		return v, fmt.Errorf("it is not a line of an export: %w", err)
	}
	if !bytes.Equal(again, text) {
		return v, errSpelling
	}
	return v, nil
}

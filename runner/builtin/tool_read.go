package builtin

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	maxLineBytes   = 2000     // of a shown line
	maxReadLines   = 2000     // of one read
	maxReadText    = 64 << 10 // bytes of one read
	binaryLookedAt = 8000     // bytes; git looks at as many
)

type readInput struct {
	Path   string `json:"path"`
	Offset int    `json:"offset"`
	Limit  int    `json:"limit"`
}

func readTool() tool {
	return define("read",
		"Read a text file. Lines come numbered: the number and the tab after it are not part of the file. A long file comes in parts; go on with offset.",
		`{"type":"object","properties":{"path":{"type":"string","description":"Path relative to the checkout."},"offset":{"type":"integer","minimum":1,"description":"First line, from 1."},"limit":{"type":"integer","minimum":1,"maximum":2000,"description":"Number of lines."}},"required":["path"]}`,
		func(w *workbench, in readInput) call {
			c := call{title: "Read " + clip(in.Path, 200), kind: kindRead, reads: true, do: func(ctx context.Context) result { return read(ctx, w, in) }}
			if rel, err := w.checkout.rel(in.Path); err == nil {
				c.title = "Read " + clip(rel, 200)
				c.locations = []location{{Path: w.checkout.abs(rel), Line: max(in.Offset, 0)}}
			}
			return c
		})
}

func read(ctx context.Context, w *workbench, in readInput) result {
	rel, err := w.checkout.rel(in.Path)
	if err != nil {
		return failure(err)
	}
	f, info, err := w.checkout.open(rel)
	if err != nil {
		return failure(err)
	}
	defer func() { _ = f.Close() }() // opened for reading only
	if info.Size() > maxReadBytes {
		return failure(misused("%s has %d MiB; read shows files up to %d MiB. Look at it with a command, as head, sed -n or grep.", rel, info.Size()>>20, maxReadBytes>>20))
	}
	r := bufio.NewReaderSize(io.LimitReader(f, maxReadBytes), 64<<10)
	if start, err := r.Peek(binaryLookedAt); isBinary(start) {
		return failure(misused("%s is a binary file of %d bytes.", rel, info.Size()))
	} else if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
		return failure(w.checkout.explain(rel, err))
	}
	first := max(in.Offset, 1)
	count := maxReadLines
	if in.Limit > 0 {
		count = min(in.Limit, maxReadLines)
	}
	return window(ctx, r, rel, first, count)
}

func isBinary(start []byte) bool {
	return bytes.IndexByte(start[:min(len(start), binaryLookedAt)], 0) >= 0
}

// window reads through a file and keeps only the wanted lines.
func window(ctx context.Context, r *bufio.Reader, rel string, first, count int) result {
	var out strings.Builder
	line, last := 0, 0
	full := false
	for {
		text, more, err := readLine(r)
		if err != nil && !errors.Is(err, io.EOF) {
			return failure(fmt.Errorf("read %s: %w", rel, err))
		}
		if err != nil && len(text) == 0 {
			break
		}
		line++
		if line%10_000 == 0 && ctx.Err() != nil {
			return failure(context.Cause(ctx))
		}
		if line < first || line >= first+count || full {
			continue
		}
		if out.Len()+len(text) > maxReadText {
			full = true
			continue
		}
		last = line
		fmt.Fprintf(&out, "%6d\t%s", line, strings.ToValidUTF8(string(text), "\ufffd"))
		if more > 0 {
			fmt.Fprintf(&out, "… [%d more bytes]", more)
		}
		out.WriteByte('\n')
	}
	switch {
	case line == 0:
		return result{text: fmt.Sprintf("%s is empty.", rel)}
	case last == 0:
		return failure(misused("%s has %d lines; line %d is past its end.", rel, line, first))
	case last < line:
		fmt.Fprintf(&out, "[lines %d to %d of %d; go on with offset %d]\n", first, last, line, last+1)
	}
	return result{text: out.String()}
}

// readLine returns a line without its end, cut at maxLineBytes, and how many
// bytes were left out. A file without line ends costs no memory.
func readLine(r *bufio.Reader) ([]byte, int, error) {
	var line []byte
	more := 0
	for {
		part, err := r.ReadSlice('\n')
		end := bytes.HasSuffix(part, []byte("\n"))
		part = bytes.TrimRight(part, "\r\n")
		if end && len(part) == 0 && line == nil {
			return []byte{}, 0, nil
		}
		room := max(0, maxLineBytes-len(line))
		line = append(line, part[:min(room, len(part))]...)
		more += len(part) - min(room, len(part))
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil && len(line) > 0 {
			return line, more, nil // the last line has no end
		}
		return line, more, err
	}
}

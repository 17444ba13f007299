package acp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// lines cuts a stream into the lines that may be messages. Agents, and the
// libraries in them, print banners and warnings among their messages; a line
// that does not begin like a message is passed to junk and never held whole.
type lines struct {
	r     *bufio.Reader
	limit int                 // of a message, in bytes
	junk  func(prefix []byte) // gets the first bytes of a junk line
}

func newLines(r io.Reader, limit int, junk func([]byte)) *lines {
	return &lines{r: bufio.NewReaderSize(r, 64<<10), limit: limit, junk: junk}
}

// next returns the next line that begins with a brace, without its end. The
// slice is the caller's. At the end it returns io.EOF.
func (l *lines) next() ([]byte, error) {
	for {
		part, more, err := l.fragment()
		if err != nil && len(part) == 0 {
			return nil, err
		}
		part = bytes.TrimLeft(part, " \t\r\n\ufeff")
		switch {
		case len(part) == 0:
			continue // an empty line, or one that begins with a long run of blanks
		case part[0] != '{':
			l.junk(part)
			if err := l.skip(more); err != nil {
				return nil, err
			}
		default:
			return l.rest(bytes.Clone(part), more)
		}
	}
}

// fragment returns what is buffered of the line, and whether more of it follows.
func (l *lines) fragment() ([]byte, bool, error) {
	part, err := l.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return part, true, nil
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("read message: %w", err)
	}
	return part, false, err
}

func (l *lines) skip(more bool) error {
	for more {
		var err error
		if _, more, err = l.fragment(); err != nil {
			return err
		}
	}
	return nil
}

func (l *lines) rest(line []byte, more bool) ([]byte, error) {
	for more {
		var part []byte
		var err error
		if part, more, err = l.fragment(); err != nil && len(part) == 0 {
			if errors.Is(err, io.EOF) {
				break // a last line without its end is still a line
			}
			return nil, err
		}
		line = append(line, part...)
		if len(line) > l.limit {
			break
		}
	}
	line = bytes.TrimRight(line, "\r\n")
	if len(line) > l.limit {
		return nil, fmt.Errorf("read a message of more than %d bytes: %w", l.limit, ErrTooLong)
	}
	return line, nil
}

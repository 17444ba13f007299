// Package terminal writes text for people: what agents, repositories and vendors wrote
// must not drive the terminal that shows it, nor the one that shows a log.
//
// It knows no command and no server.
package terminal

import (
	"bufio"
	"errors"
	"io"
	"strings"
)

// OneLine keeps what agents and repositories wrote from moving the cursor:
// control characters become spaces.
func OneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if Steers(r) {
			return ' '
		}
		return r
	}, s)
}

// Clean is OneLine for text that keeps its lines.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && Steers(r) {
			return ' '
		}
		return r
	}, s)
}

// Steers says whether a terminal takes a character for a command, or shows what
// follows in another order than it is read in.
func Steers(r rune) bool {
	return r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

// CleanTo copies text for a terminal, cleaned line by line.
func CleanTo(w io.Writer, from io.Reader) error {
	lines := bufio.NewReaderSize(from, 64<<10)
	for {
		piece, err := lines.ReadSlice('\n')
		if _, failed := io.WriteString(w, Clean(string(piece))); failed != nil {
			return failed
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

// Shorten cuts text to n runes.
func Shorten(s string, n int) string {
	r := []rune(strings.TrimSpace(OneLine(s)))
	if len(r) <= n {
		return string(r)
	}
	return string(r[:n-1]) + "…"
}

// LastLines returns the end of a text, n lines at most.
func LastLines(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

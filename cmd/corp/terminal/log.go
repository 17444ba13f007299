package terminal

import (
	"bytes"
	"fmt"
	"io"
	"unicode/utf8"
)

// Escaping returns a writer of JSON lines, one a call, whose strings act on no terminal
// that shows them.
func Escaping(to io.Writer) io.Writer { return escaping{to} }

// escaping knows that JSON's own rules escape line breaks and ESC; the other control
// characters (a single one may begin a command, too) and those that turn writing round
// they let pass.
type escaping struct{ to io.Writer }

func (e escaping) Write(line []byte) (int, error) {
	if bytes.IndexFunc(line, unsafeInLog) < 0 {
		return e.to.Write(line)
	}
	var out []byte
	for _, r := range string(line) {
		if unsafeInLog(r) {
			out = fmt.Appendf(out, "\\u%04x", r) // all of them are below U+10000
			continue
		}
		out = utf8.AppendRune(out, r)
	}
	if _, err := e.to.Write(out); err != nil {
		return 0, err
	}
	return len(line), nil
}

// unsafeInLog leaves the line's own end alone: within a string it is escaped already.
func unsafeInLog(r rune) bool { return r != '\n' && Steers(r) && r < 0x10000 }

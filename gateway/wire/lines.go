package wire

import "bytes"

const (
	maxLine   = 1 << 20 // of a stream; a longer line is passed over, and its usage is not seen
	maxAnswer = 8 << 20 // of an answer that is not streamed, likewise
)

// IsStream says whether a content type is that of server-sent events.
func IsStream(contentType string) bool {
	const stream = "text/event-stream"
	return len(contentType) >= len(stream) && bytes.EqualFold([]byte(contentType[:len(stream)]), []byte(stream))
}

// Lines takes a stream apart, which comes in pieces of any size, and remembers no
// more of it than the line it is in.
type Lines struct {
	line     []byte
	overlong bool
}

// Take shows each line that p ends. A line is valid until each returns.
func (l *Lines) Take(p []byte, each func(line []byte)) {
	for len(p) > 0 {
		end := LineEnd(p)
		if end < 0 {
			l.keep(p)
			return
		}
		if len(l.line) == 0 && !l.overlong {
			each(p[:end])
		} else {
			l.keep(p[:end])
			if !l.overlong {
				each(l.line)
			}
		}
		l.line, l.overlong = l.line[:0], false
		p = p[end+1:]
	}
}

func (l *Lines) keep(p []byte) {
	if l.overlong || len(l.line)+len(p) > maxLine {
		l.overlong = true
		return
	}
	l.line = append(l.line, p...)
}

// Rest shows the line that the stream ended in, if it did not end with a line's end.
func (l *Lines) Rest(each func(line []byte)) {
	if len(l.line) > 0 && !l.overlong {
		each(l.line)
	}
	l.line = l.line[:0]
}

// LineEnd returns where the first line ends, at either of the two characters
// that may end one; -1 when it does not.
func LineEnd(p []byte) int {
	end := bytes.IndexByte(p, '\n')
	if end < 0 {
		return bytes.IndexByte(p, '\r')
	}
	if earlier := bytes.IndexByte(p[:end], '\r'); earlier >= 0 {
		return earlier
	}
	return end
}

// Data returns what an event's data line holds.
func Data(line []byte) (data []byte, ok bool) {
	data, ok = bytes.CutPrefix(line, []byte("data:"))
	return bytes.TrimLeft(data, " "), ok
}

// Body gathers an answer that comes in one piece, up to a bound.
type Body struct {
	b        []byte
	overlong bool
}

// Write adds a piece. It never fails.
func (b *Body) Write(p []byte) (int, error) {
	if b.overlong = b.overlong || len(b.b)+len(p) > maxAnswer; !b.overlong {
		b.b = append(b.b, p...)
	}
	return len(p), nil
}

// Bytes returns what was gathered; nil when that was too much.
func (b *Body) Bytes() []byte {
	if b.overlong {
		return nil
	}
	return b.b
}

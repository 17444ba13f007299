package openai

import (
	"bytes"

	"github.com/tidwall/gjson"

	"github.com/genericcorp/corp/gateway/wire"
)

// Filter takes the usage out of a stream again that the gateway has asked for
// and the client has not: the one event without a choice that tells it. Every
// other byte passes as it came. It holds back no more than the line that it is
// in, since half of one is of no use to anybody.
type Filter struct {
	line  []byte
	open  bool // the line is too long to be held and passes as it comes
	skip  bool // the event that is being read is taken out
	fresh bool // the event has no line yet
	cr    bool // the last line ended with \r, so a \n belongs to its end
	gone  bool // and that line was taken out
	out   []byte
}

// maxHeld is the longest line that is held, in bytes. The usage is far shorter.
const maxHeld = 64 << 10

// NewFilter returns a filter at the beginning of a stream.
func NewFilter() *Filter { return &Filter{fresh: true} }

// Pass takes the next piece and returns what of the stream may go on. It is valid
// until the next call.
func (f *Filter) Pass(p []byte) []byte {
	f.out = f.out[:0]
	if f.cr && len(p) > 0 {
		f.cr = false
		if p[0] == '\n' {
			f.emit(p[:1], f.gone)
			p = p[1:]
		}
	}
	for len(p) > 0 {
		end := wire.LineEnd(p)
		if end < 0 {
			f.hold(p)
			break
		}
		after := end + 1
		if p[end] == '\r' {
			if after == len(p) {
				f.cr = true
			} else if p[after] == '\n' {
				after++
			}
		}
		f.hold(p[:end])
		f.end(p[end:after])
		p = p[after:]
	}
	return f.out
}

func (f *Filter) emit(p []byte, not bool) {
	if !not {
		f.out = append(f.out, p...)
	}
}

// hold keeps a piece of a line, or lets it go when it cannot be the usage.
func (f *Filter) hold(p []byte) {
	if !f.open && len(f.line)+len(p) <= maxHeld {
		f.line = append(f.line, p...)
		return
	}
	f.out = append(append(f.out, f.line...), p...)
	f.line, f.open = f.line[:0], true
}

// end decides what becomes of a line: terminator is what ended it.
func (f *Filter) end(terminator []byte) {
	line := f.line
	blank := len(line) == 0 && !f.open
	switch {
	case blank && f.skip: // the end of the event that was taken out
		f.skip, f.gone = false, true
	case !f.open && isUsage(line):
		f.skip, f.gone = f.fresh, true // with other lines before it, the event must still end
	default:
		f.out = append(append(f.out, line...), terminator...)
		f.skip, f.gone = false, false
	}
	f.fresh = blank
	f.line, f.open = f.line[:0], false
}

// Rest returns what is held when the stream has ended.
func (f *Filter) Rest() []byte {
	f.out = f.out[:0]
	if len(f.line) > 0 && !isUsage(f.line) {
		f.out = append(f.out, f.line...)
	}
	f.line = f.line[:0]
	return f.out
}

// isUsage says whether a line is the event that only tells the usage.
func isUsage(line []byte) bool {
	data, ok := wire.Data(line)
	if !ok || !bytes.Contains(data, usageKey) || !wire.Valid(data) {
		return false
	}
	choices := gjson.GetBytes(data, "choices")
	return choices.IsArray() && len(choices.Array()) == 0 && gjson.GetBytes(data, "usage").IsObject()
}

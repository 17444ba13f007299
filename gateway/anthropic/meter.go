package anthropic

import (
	"bytes"

	"github.com/tidwall/gjson"

	"github.com/genericcorp/corp"
)

// Reading is what an answer says about itself, as far as it has been seen.
type Reading struct {
	Usage      corp.Usage
	Input      bool // the counts of the prompt were reported
	Final      bool // the final count of the answer was reported
	Complete   bool // the answer ended as it should
	Extra      []Part
	Model      string // that served
	StopReason string
	Raw        []byte // the usage as the vendor wrote it, a JSON object; nil when none
	Error      string // "type: message" of an error inside the answer
	Unpriced   string // what it used that the counts do not cover; "" when nothing
}

// Part is what one call of another model inside the same answer used.
type Part struct {
	Model string // empty for the answer's own model
	Usage corp.Usage
}

const (
	maxLine   = 1 << 20 // of an event; a longer one is passed over, and its usage is not seen
	maxAnswer = 8 << 20 // of an answer that is not streamed, likewise
	maxError  = 8 << 10 // of an error body
)

// Meter reads an answer as it passes, in pieces of any size, and remembers no
// more of it than the line it is in.
type Meter struct {
	stream   bool
	line     []byte
	overlong bool
	longTTL  bool

	counts  counts
	start   []byte // raw usage of message_start
	delta   []byte // and of the last message_delta, or of the whole answer
	reading Reading
}

// NewMeter makes a meter for an answer of a content type. r is the request that
// was asked; its cache lifetime is where a write goes that the answer does not
// place.
func NewMeter(r Request, contentType string) *Meter {
	return &Meter{stream: isStream(contentType), longTTL: r.LongCache}
}

func isStream(contentType string) bool {
	return len(contentType) >= 17 && bytes.EqualFold([]byte(contentType[:17]), []byte("text/event-stream"))
}

// Write takes the next piece. It never fails and never keeps the piece.
func (m *Meter) Write(p []byte) (int, error) {
	n := len(p)
	if !m.stream {
		if len(m.line)+n > maxAnswer {
			m.overlong = true
		} else {
			m.line = append(m.line, p...)
		}
		return n, nil
	}
	for len(p) > 0 {
		end := lineEnd(p)
		if end < 0 {
			m.keep(p)
			break
		}
		if len(m.line) == 0 && !m.overlong {
			m.event(p[:end])
		} else {
			m.keep(p[:end])
			if !m.overlong {
				m.event(m.line)
			}
		}
		m.line, m.overlong = m.line[:0], false
		p = p[end+1:]
	}
	return n, nil
}

// lineEnd returns where the first line ends, at either of the two characters
// that may end one; -1 when it does not.
func lineEnd(p []byte) int {
	end := bytes.IndexByte(p, '\n')
	if end < 0 {
		return bytes.IndexByte(p, '\r')
	}
	if earlier := bytes.IndexByte(p[:end], '\r'); earlier >= 0 {
		return earlier
	}
	return end
}

func (m *Meter) keep(p []byte) {
	if len(m.line)+len(p) > maxLine {
		m.overlong = true
		return
	}
	m.line = append(m.line, p...)
}

// commonest is how nearly every event begins; none of those says what was used.
var commonest = []byte(`{"type":"content_block_delta"`)

// event reads one line of the stream. The vendor puts each event's data on one.
func (m *Meter) event(line []byte) {
	data, ok := bytes.CutPrefix(line, []byte("data:"))
	if !ok {
		return
	}
	data = bytes.TrimLeft(data, " ")
	if bytes.HasPrefix(data, commonest) {
		return
	}
	switch gjson.GetBytes(data, "type").Str {
	case "message_start":
		message := gjson.GetBytes(data, "message")
		m.message(message)
		m.start = m.usage(message.Get("usage"))
	case "message_delta":
		if reason := gjson.GetBytes(data, "delta.stop_reason"); reason.Type == gjson.String {
			m.reading.StopReason = reason.Str
		}
		if raw := m.usage(gjson.GetBytes(data, "usage")); raw != nil {
			m.delta = raw
			m.reading.Final = m.counts.output != nil
		}
	case "message_stop":
		m.reading.Complete = true
	case "error":
		m.reading.Error = problem(data)
	}
}

func (m *Meter) message(message gjson.Result) {
	if model := message.Get("model"); model.Type == gjson.String {
		m.reading.Model = model.Str
	}
}

// usage takes the counts of a usage object and returns it as it was written.
func (m *Meter) usage(u gjson.Result) []byte {
	if !u.IsObject() || !gjson.Valid(u.Raw) {
		return nil
	}
	m.counts.take(u)
	return []byte(u.Raw)
}

// Reading returns what the answer has said so far.
func (m *Meter) Reading() Reading {
	if !m.stream && !m.overlong {
		m.whole()
	}
	out := m.reading
	out.Usage, out.Extra = m.counts.disjoint(m.longTTL)
	out.Input = m.counts.input != nil
	out.Unpriced = m.counts.unpriced()
	switch {
	case m.start != nil && m.delta != nil:
		out.Raw = bytes.Join([][]byte{[]byte(`{"message_start":`), m.start, []byte(`,"message_delta":`), m.delta, []byte(`}`)}, nil)
	case m.delta != nil:
		out.Raw = m.delta
	case m.start != nil:
		out.Raw = m.start
	}
	return out
}

// whole reads an answer that came in one piece.
func (m *Meter) whole() {
	if !gjson.ValidBytes(m.line) {
		return
	}
	body := gjson.ParseBytes(m.line)
	m.message(body)
	if body.Get("type").Str == "error" {
		m.reading.Error = problem(m.line)
	}
	m.reading.StopReason = body.Get("stop_reason").Str
	m.delta = m.usage(body.Get("usage"))
	m.reading.Final = m.counts.output != nil
	m.reading.Complete = m.reading.Final
	m.line = nil
	m.overlong = true // read once
}

// problem returns what an error body or event says.
func problem(data []byte) string {
	kind, message := gjson.GetBytes(data, "error.type").String(), gjson.GetBytes(data, "error.message").String()
	if kind == "" && message == "" {
		return ""
	}
	return kind + ": " + message
}

// Problem returns what the beginning of an error body says, as "type: message",
// or "" when it is not in the vendor's form.
func Problem(body []byte) string {
	if len(body) > maxError || !gjson.ValidBytes(body) {
		return ""
	}
	return problem(body)
}

package anthropic

import (
	"bytes"

	"github.com/tidwall/gjson"

	"github.com/genericcorp/corp/gateway/wire"
)

// Reading is what an answer says about itself, as far as it has been seen.
type Reading = wire.Reading

// Part is what one call of another model inside the same answer used.
type Part = wire.Part

const maxError = 8 << 10 // of an error body

// Meter reads an answer as it passes, in pieces of any size, and remembers no
// more of it than the line it is in.
type Meter struct {
	stream  bool
	lines   wire.Lines
	body    wire.Body
	longTTL bool

	counts  counts
	start   []byte // raw usage of message_start
	delta   []byte // and of the last message_delta, or of the whole answer
	reading Reading
}

// NewMeter makes a meter for an answer of a content type. r is the request that
// was asked; its cache lifetime is where a write goes that the answer does not
// place.
func NewMeter(r Request, contentType string) *Meter {
	return &Meter{stream: wire.IsStream(contentType), longTTL: r.LongCache}
}

// Write takes the next piece. It never fails and never keeps the piece.
func (m *Meter) Write(p []byte) (int, error) {
	if !m.stream {
		return m.body.Write(p)
	}
	m.lines.Take(p, m.event)
	return len(p), nil
}

// commonest is how nearly every event begins; none of those says what was used.
var commonest = []byte(`{"type":"content_block_delta"`)

// event reads one line of the stream. The vendor puts each event's data on one.
func (m *Meter) event(line []byte) {
	data, ok := wire.Data(line)
	if !ok || bytes.HasPrefix(data, commonest) {
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
	if !u.IsObject() || !wire.Valid([]byte(u.Raw)) {
		return nil
	}
	m.counts.take(u)
	return []byte(u.Raw)
}

// Reading returns what the answer has said so far.
func (m *Meter) Reading() Reading {
	if !m.stream {
		m.whole(m.body.Bytes())
	}
	out := m.reading
	out.Usage, out.Extra = m.counts.disjoint(m.longTTL)
	out.Input = out.Usage.Input() > 0 // no prompt has none: some servers write zeros until they know
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
func (m *Meter) whole(text []byte) {
	if !wire.Valid(text) {
		return
	}
	body := gjson.ParseBytes(text)
	m.message(body)
	if body.Get("type").Str == "error" {
		m.reading.Error = problem(text)
	}
	m.reading.StopReason = body.Get("stop_reason").Str
	m.delta = m.usage(body.Get("usage"))
	m.reading.Final = m.counts.output != nil
	m.reading.Complete = m.reading.Final
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
	if len(body) > maxError || !wire.Valid(body) {
		return ""
	}
	return problem(body)
}

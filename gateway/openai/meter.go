package openai

import (
	"bytes"

	"github.com/tidwall/gjson"

	"github.com/genericcorp/corp/gateway/wire"
)

// Meter reads an answer as it passes, in pieces of any size, and remembers no
// more of it than the line it is in.
type Meter struct {
	stream  bool
	lines   wire.Lines
	body    wire.Body
	longTTL bool
	choices int64 // answers that were asked for

	counts  counts
	raw     []byte // the last usage, as it was written
	tier    string
	ends    map[int64]bool // of which answers the end was seen
	ended   bool           // and so the end of all of them
	done    bool           // the stream's end was seen
	reading wire.Reading
}

// NewMeter makes a meter for an answer of a content type to a request.
func NewMeter(r Request, contentType string) *Meter {
	return &Meter{stream: wire.IsStream(contentType), longTTL: r.LongCache, choices: max(r.Choices, 1), ends: map[int64]bool{}}
}

// Write takes the next piece. It never fails and never keeps the piece.
func (m *Meter) Write(p []byte) (int, error) {
	if !m.stream {
		return m.body.Write(p)
	}
	m.lines.Take(p, m.event)
	return len(p), nil
}

var (
	end         = []byte("[DONE]")
	usageKey    = []byte(`"usage"`)
	errorKey    = []byte(`"error"`)
	finishKey   = []byte(`"finish_reason"`)
	notFinished = []byte(`"finish_reason":null`)
)

// event reads one line of the stream. Nearly every one is a piece of text, which
// says nothing that matters here and is not taken apart.
func (m *Meter) event(line []byte) {
	data, ok := wire.Data(line)
	switch {
	case !ok:
		return
	case bytes.Equal(bytes.TrimSpace(data), end):
		m.done = true
		return
	}
	if m.reading.Model == "" {
		m.reading.Model = gjson.GetBytes(data, "model").String()
	}
	if bytes.Contains(data, usageKey) {
		m.usage(gjson.GetBytes(data, "usage"))
		m.served(gjson.GetBytes(data, "service_tier"))
	}
	if bytes.Contains(data, finishKey) && (m.choices > 1 || !bytes.Contains(data, notFinished)) {
		m.finish(gjson.GetBytes(data, "choices"))
	}
	if bytes.Contains(data, errorKey) {
		if e := gjson.GetBytes(data, "error"); e.Type != gjson.Null {
			m.reading.Error = problem(gjson.ParseBytes(data))
		}
	}
}

// finish notes which answers have ended. An index that was not asked for is none.
func (m *Meter) finish(choices gjson.Result) {
	for _, choice := range choices.Array() {
		if reason := choice.Get("finish_reason"); reason.Type == gjson.String {
			m.reading.StopReason = reason.Str
			if i := choice.Get("index").Int(); i >= 0 && i < m.choices {
				m.ends[i] = true
			}
		}
	}
	m.ended = int64(len(m.ends)) == m.choices
}

func (m *Meter) served(tier gjson.Result) {
	if tier.Type == gjson.String {
		m.tier = tier.Str
	}
}

// usage takes the counts of a usage object. Servers send it once at the end, or
// again and again: the last one stands.
func (m *Meter) usage(u gjson.Result) {
	if !u.IsObject() || !wire.Valid([]byte(u.Raw)) {
		return
	}
	m.counts = counts{}
	m.counts.take(u)
	m.raw = append(m.raw[:0:0], u.Raw...)
}

// Reading returns what the answer has said so far.
func (m *Meter) Reading() wire.Reading {
	if m.stream {
		m.lines.Rest(m.event)
	} else {
		m.whole(m.body.Bytes())
	}
	out := m.reading
	out.Usage = m.counts.disjoint(m.longTTL)
	told := m.counts.completion != nil || m.counts.total != nil
	out.Input = said(m.counts.prompt) > 0   // no prompt has none: some servers write zeros until they know
	out.Final = told && (m.ended || m.done) // some servers count aloud while they go
	out.Raw, out.Unpriced = m.raw, m.unpriced()
	// A stream that says why it ended and what it used is whole, also when its
	// server does not know the mark that ends one.
	out.Complete = m.ended && !m.stream || out.Error == "" && (m.done || out.Final)
	return out
}

// whole reads an answer that came in one piece.
func (m *Meter) whole(text []byte) {
	if !wire.Valid(text) {
		return
	}
	body := gjson.ParseBytes(text)
	m.reading.Model = body.Get("model").String()
	m.finish(body.Get("choices"))
	m.usage(body.Get("usage"))
	m.served(body.Get("service_tier"))
	m.ended = m.raw != nil || body.Get("choices").IsArray()
	if body.Get("error").Type != gjson.Null {
		m.reading.Error = problem(body)
	}
}

// unpriced says what makes the cost something else than tokens times prices.
func (m *Meter) unpriced() string {
	switch {
	case m.counts.audio:
		return "tokens of audio are not in the price book"
	case m.counts.searches:
		return "web searches are not in the price book"
	}
	switch m.tier {
	case "", "auto", "default", "standard", "on_demand":
		return ""
	default:
		return "service tier " + m.tier + " is not in the price book"
	}
}

package vendorsim

import (
	"iter"
	"strconv"
)

// event is one server-sent event as it goes on the wire. data is valid until
// the next event is taken.
type event struct {
	data  []byte
	out   int  // bytes of output that are out once this event is
	delta bool // it carries text, so the pace applies
	final bool // with it the client has the final usage, or all that it will get
	last  bool // nothing follows
}

// framer builds the events of an answer in one buffer.
type framer struct {
	a   *answer
	buf []byte
	out int
}

func (f *framer) open(name string) {
	f.buf = append(f.buf[:0], "event: "...)
	f.buf = append(f.buf, name...)
	f.buf = append(f.buf, "\ndata: {\"type\":\""...)
	f.buf = append(f.buf, name...)
	f.buf = append(f.buf, '"')
}

func (f *framer) text(parts ...string) {
	for _, p := range parts {
		f.buf = append(f.buf, p...)
	}
}

func (f *framer) close(name string, delta bool) event {
	f.text(f.a.fields.event, "}\n\n")
	return event{data: f.buf, out: f.out, delta: delta, final: name == "message_delta", last: name == "message_stop"}
}

// events returns the stream of the answer, in the vendor's grammar.
func (a *answer) events() iter.Seq[event] {
	return func(yield func(event) bool) {
		f := &framer{a: a, buf: make([]byte, 0, 1024)}
		if !yield(f.messageStart()) {
			return
		}
		for i := range a.blocks {
			if !f.block(i, yield) {
				return
			}
		}
		if yield(f.messageDelta()) {
			f.open("message_stop")
			yield(f.close("message_stop", false))
		}
	}
}

func (f *framer) messageStart() event {
	f.open("message_start")
	f.text(`,"message":{`)
	f.buf = f.a.appendHead(f.buf)
	f.text(`,"content":[],"stop_reason":null,"stop_sequence":null`)
	f.buf = f.a.appendUsage(f.buf, min(1, f.a.usage.Output))
	f.text(f.a.fields.message, "}")
	return f.close("message_start", false)
}

// block yields the events of one block, a ping after the first start.
func (f *framer) block(i int, yield func(event) bool) bool {
	b := &f.a.blocks[i]
	f.out += len(b.name)
	if !yield(f.blockStart(i, b)) || (i == 0 && !yield(pingEvent(f.out))) {
		return false
	}
	kind, field := "text_delta", "text"
	switch b.kind {
	case "thinking":
		kind, field = "thinking_delta", "thinking"
	case "tool_use":
		kind, field = "input_json_delta", "partial_json"
		if !yield(f.blockDelta(i, kind, field, "", false)) {
			return false
		}
	}
	for rest := b.body; rest != ""; {
		n := chunkEnd(rest, f.a.chunk)
		f.out += n
		if !yield(f.blockDelta(i, kind, field, rest[:n], true)) {
			return false
		}
		rest = rest[n:]
	}
	if b.kind == "thinking" && !b.partial && !yield(f.blockDelta(i, "signature_delta", "signature", sign(b.body), false)) {
		return false
	}
	f.open("content_block_stop")
	f.text(`,"index":`, strconv.Itoa(i))
	return yield(f.close("content_block_stop", false))
}

func pingEvent(out int) event {
	return event{data: []byte("event: ping\ndata: {\"type\": \"ping\"}\n\n"), out: out}
}

func (f *framer) blockStart(i int, b *outBlock) event {
	f.open("content_block_start")
	f.text(`,"index":`, strconv.Itoa(i), `,"content_block":{"type":"`, b.kind, `"`)
	switch b.kind {
	case "thinking":
		f.text(`,"thinking":"","signature":""`)
	case "tool_use":
		f.text(`,"id":`)
		f.buf = appendString(f.buf, b.id)
		f.text(`,"name":`)
		f.buf = appendString(f.buf, b.name)
		f.text(`,"input":{}`)
	default:
		f.text(`,"text":""`)
	}
	f.text(f.a.fields.block, "}")
	return f.close("content_block_start", false)
}

func (f *framer) blockDelta(i int, kind, field, text string, paced bool) event {
	f.open("content_block_delta")
	f.text(`,"index":`, strconv.Itoa(i), `,"delta":{"type":"`, kind, `","`, field, `":`)
	f.buf = appendString(f.buf, text)
	f.text(f.a.fields.delta, "}")
	return f.close("content_block_delta", paced)
}

func (f *framer) messageDelta() event {
	u := &f.a.usage
	f.open("message_delta")
	f.text(`,"delta":{`)
	f.buf = f.a.appendStop(f.buf)
	f.text(f.a.fields.delta, `},"usage":{"input_tokens":`)
	f.buf = strconv.AppendInt(f.buf, u.Input, 10)
	f.text(`,"cache_creation_input_tokens":`)
	f.buf = strconv.AppendInt(f.buf, u.CacheWrite5m+u.CacheWrite1h, 10)
	f.text(`,"cache_read_input_tokens":`)
	f.buf = strconv.AppendInt(f.buf, u.CacheRead, 10)
	f.text(`,"output_tokens":`)
	f.buf = strconv.AppendInt(f.buf, u.Output, 10)
	f.buf = f.a.appendThinking(f.buf)
	f.text(f.a.fields.usage, "}")
	return f.close("message_delta", false)
}

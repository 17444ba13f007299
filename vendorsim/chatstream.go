package vendorsim

import (
	"iter"
	"strconv"
)

// chatFramer builds the chunks of an answer in one buffer.
type chatFramer struct {
	a      *answer
	buf    []byte
	out    int
	choice int
}

// events returns the stream of the answer: for each choice its role, its text, its
// calls and why it ended; then the usage, if it was asked for, and the end.
func (chatDialect) events(a *answer) iter.Seq[event] {
	return func(yield func(event) bool) {
		f := &chatFramer{a: a, buf: make([]byte, 0, 1024)}
		choices := max(1, a.conv.choices)
		tells := a.conv.chat.includeUsage && !a.hidden
		for f.choice = range choices {
			if !f.answer(yield) {
				return
			}
			end := f.chunk("", a.chatFinish(), false)
			end.final = f.choice == choices-1 && !tells
			if !yield(end) {
				return
			}
		}
		if tells && !yield(f.usage()) {
			return
		}
		yield(event{data: []byte("data: [DONE]\n\n"), out: f.out, last: true})
	}
}

// answer yields one choice but for its end.
func (f *chatFramer) answer(yield func(event) bool) bool {
	if !yield(f.head()) {
		return false
	}
	calls := 0
	for i := range f.a.blocks {
		b := &f.a.blocks[i]
		f.out += len(b.name)
		switch b.kind {
		case "text":
			if !f.pieces(b.body, `"`+f.a.chatField()+`":`, "", yield) {
				return false
			}
		case "tool_use":
			at := `"tool_calls":[{"index":` + strconv.Itoa(calls)
			if !yield(f.call(at, b)) || !f.pieces(b.body, at+`,"function":{"arguments":`, "}}]", yield) {
				return false
			}
			calls++
		default: // the vendor bills what the model thinks and does not tell it
			f.out += len(b.body)
		}
	}
	return true
}

// head is the first chunk of a choice. The content is there, if empty, unless the
// answer is calls alone.
func (f *chatFramer) head() event {
	content := "null"
	for i := range f.a.blocks {
		if f.a.blocks[i].kind == "text" && f.a.stopReason != "refusal" {
			content = `""`
		}
	}
	if f.a.stopReason != "tool_use" && f.a.stopReason != "refusal" {
		content = `""`
	}
	return f.chunk(`"role":"assistant","content":`+content+`,"refusal":null`, "", false)
}

// call is the chunk that begins a call.
func (f *chatFramer) call(at string, b *outBlock) event {
	head := appendString([]byte(at+`,"id":`), b.id)
	head = appendString(append(head, `,"type":"function","function":{"name":`...), b.name)
	head = append(append(head, `,"arguments":""}`...), f.a.fields.block...)
	return f.chunk(string(head)+"}]", "", false)
}

// pieces yields a text, piece by piece, between what comes before and after it in
// the delta.
func (f *chatFramer) pieces(text, before, after string, yield func(event) bool) bool {
	for rest := text; rest != ""; {
		n := chunkEnd(rest, f.a.chunk)
		f.out += n
		if !yield(f.piece(rest[:n], before, after)) {
			return false
		}
		rest = rest[n:]
	}
	return true
}

func (f *chatFramer) piece(text, before, after string) event {
	f.open()
	f.buf = append(appendString(append(f.buf, before...), text), after...)
	return f.close("", true)
}

// chunk is one piece of a choice; finish is why it ended, empty before that.
func (f *chatFramer) chunk(delta, finish string, paced bool) event {
	f.open()
	f.buf = append(f.buf, delta...)
	return f.close(finish, paced)
}

func (f *chatFramer) open() {
	f.buf = appendChatHead(append(f.buf[:0], "data: "...), f.a, "chat.completion.chunk")
	f.buf = append(f.buf, `,"service_tier":"`+f.a.chatTier()+`","system_fingerprint":"`+chatFingerprint+`","choices":[{"index":`...)
	f.buf = append(strconv.AppendInt(f.buf, int64(f.choice), 10), `,"delta":{`...)
}

func (f *chatFramer) close(finish string, paced bool) event {
	fields := f.a.fields.delta
	if f.buf[len(f.buf)-1] == '{' && fields != "" {
		fields = fields[1:] // nothing before it, so no comma
	}
	f.buf = append(append(f.buf, fields...), `},"logprobs":null,"finish_reason":`...)
	if finish == "" {
		f.buf = append(f.buf, "null}]"...)
	} else {
		f.buf = append(appendString(f.buf, finish), "}]"...)
	}
	if f.a.conv.chat.includeUsage && !f.a.hidden {
		f.buf = append(f.buf, `,"usage":null`...)
	}
	f.buf = append(append(f.buf, f.a.fields.event...), "}\n\n"...)
	return event{data: f.buf, out: f.out, delta: paced}
}

// usage is the chunk with no choice that ends a stream that was asked for it.
func (f *chatFramer) usage() event {
	f.buf = appendChatHead(append(f.buf[:0], "data: "...), f.a, "chat.completion.chunk")
	f.buf = append(f.buf, `,"service_tier":"`+f.a.chatTier()+`","system_fingerprint":"`+chatFingerprint+`","choices":[],"usage":`...)
	f.buf = append(append(f.a.appendChatUsage(f.buf), f.a.fields.event...), "}\n\n"...)
	return event{data: f.buf, out: f.out, final: true}
}

func (chatDialect) endless(a *answer) (head []byte, piece func(text string) []byte) {
	a.blocks, a.stopReason = []outBlock{{kind: "text"}}, "end_turn"
	f := &chatFramer{a: a}
	head = append(head, f.head().data...)
	return head, func(text string) []byte { return f.piece(text, `"content":`, "").data }
}

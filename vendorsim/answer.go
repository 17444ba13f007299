package vendorsim

import (
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"math"
	"strings"
)

// answer is one rendered reply, cut to the request's max_tokens.
type answer struct {
	id           string
	created      int64 // seconds since 1970
	model        string
	conv         *conversation
	blocks       []outBlock
	stopReason   string
	stopSequence string
	usage        Usage
	bytes        int // of output over all blocks, after the cut
	thinking     int // of those, bytes of thinking
	fields       *fields
	chunk        int
	hidden       bool // the usage is billed and not told
}

// outBlock is one content block. A partial block was cut by max_tokens.
type outBlock struct {
	kind    string // thinking, text or tool_use
	id      string
	name    string
	body    string // thinking, text or the input's JSON
	partial bool
}

// cost returns the bytes of output that the block counts.
func (b *outBlock) cost() int { return len(b.name) + len(b.body) }

// compose renders the reply of a hit for a conversation.
func compose(h *hit, c *conversation, d speaker, newID func(string) string) (*answer, error) {
	r := &h.rule.reply
	sc := c.scene(h.capture)
	answerPrefix, callPrefix := d.prefixes()
	a := &answer{
		id: newID(answerPrefix), model: c.model, conv: c, hidden: r.usage.Hidden, stopReason: r.stopReason, stopSequence: r.stopSequence,
		fields: &r.fields, chunk: r.pace.chunk,
	}
	for _, x := range []struct {
		kind string
		text snippet
	}{{"thinking", r.thinking}, {"text", r.text}} {
		body, err := x.text.render(sc)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", x.kind, err)
		}
		if x.kind == "text" && r.textBytes > 0 {
			body = generate(r.textBytes)
		}
		if body != "" {
			a.blocks = append(a.blocks, outBlock{kind: x.kind, body: body})
		}
	}
	calls := r.toolCalls[:min(len(r.toolCalls), c.callLimit())]
	if err := a.addCalls(calls, sc, func() string { return newID(callPrefix) }); err != nil {
		return nil, err
	}
	if a.stopReason == "" {
		a.stopReason = "end_turn"
		if len(calls) > 0 {
			a.stopReason = "tool_use"
		}
	}
	var scripted bool
	if a.usage, scripted = r.usage.input(); !scripted {
		a.usage = d.promptUsage(c)
	}
	a.limit(r.usage.Output, c.maxTokens)
	a.multiply(c.choices)
	return a, nil
}

func (a *answer) addCalls(calls []toolCall, sc *scene, newID func() string) error {
	for i := range calls {
		call := &calls[i]
		name, err := call.name.render(sc)
		if err != nil {
			return fmt.Errorf("tool_calls[%d].name: %w", i, err)
		}
		input, err := call.render(sc)
		if err != nil {
			return fmt.Errorf("tool_calls[%d].input: %w", i, err)
		}
		id := call.id
		if id == "" {
			id = newID()
		}
		a.blocks = append(a.blocks, outBlock{kind: "tool_use", id: id, name: name, body: input})
	}
	return nil
}

// limit counts the output and cuts it to maxTokens: a lower cap lowers the bill.
// A scripted count stands for the whole output, so the cut takes its share.
func (a *answer) limit(scripted *int64, maxTokens int64) {
	a.measure()
	a.usage.Output = max(1, tokensOf(a.bytes))
	if scripted != nil {
		a.usage.Output = *scripted
	}
	if a.usage.Output <= maxTokens {
		return
	}
	keep := bytesPerToken * maxTokens
	if scripted != nil {
		keep = int64(float64(a.bytes) * float64(maxTokens) / float64(*scripted))
	}
	a.cut(int(min(keep, math.MaxInt32)))
	a.measure()
	a.usage.Output = maxTokens
	a.stopReason, a.stopSequence = "max_tokens", ""
}

// multiply makes the answer the bill of n choices, each of which is the same.
func (a *answer) multiply(n int) {
	if n > 1 {
		a.bytes, a.thinking, a.usage.Output = n*a.bytes, n*a.thinking, int64(n)*a.usage.Output
	}
}

func (a *answer) measure() {
	a.bytes, a.thinking = 0, 0
	for i := range a.blocks {
		a.bytes += a.blocks[i].cost()
		if a.blocks[i].kind == "thinking" {
			a.thinking += len(a.blocks[i].body)
		}
	}
}

// cut keeps the first n bytes of output. A tool call of which not even the name
// fits is dropped; one cut within its input stays, as a partial block.
func (a *answer) cut(n int) {
	for i := range a.blocks {
		b := &a.blocks[i]
		if n >= b.cost() {
			n -= b.cost()
			continue
		}
		end := runeFloor(b.body, n-len(b.name))
		if end == 0 {
			a.blocks = a.blocks[:i]
			return
		}
		b.body, b.partial = b.body[:end], true
		a.blocks = a.blocks[:i+1]
		return
	}
}

// generated returns the tokens billed when n bytes of output are out: a share of
// the whole, rounded up.
func (a *answer) generated(n int) int64 {
	if n >= a.bytes {
		return a.usage.Output
	}
	share := float64(a.usage.Output) * float64(n) / float64(a.bytes)
	return min(a.usage.Output, int64(math.Ceil(share)))
}

// generate returns n bytes of text.
func generate(n int) string {
	return strings.Repeat(filler, n/len(filler)+1)[:n]
}

// sign returns the signature of a thinking block. It depends on nothing but the
// text, so that a later request can be checked without memory.
func sign(thinking string) string {
	sum := sha512.Sum512([]byte("vendorsim\x00" + thinking))
	return base64.StdEncoding.EncodeToString(sum[:])
}

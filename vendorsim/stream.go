package vendorsim

import (
	"net/http"
	"time"
)

// player plays the events of an answer to one client.
type player struct {
	c      *call
	rc     *http.ResponseController
	pace   *pace
	n      int // the answer's own events played so far; inserted ones do not count
	sent   int // bytes written
	out    int // bytes of output that are out
	insert int // inserts done
	gone   bool
}

// stream sends the answer as server-sent events.
func (c *call) stream() {
	p := &player{c: c, rc: http.NewResponseController(c.x.w), pace: &c.hit.rule.reply.pace}
	if !c.wait(p.pace.firstByte) {
		c.hungUp(0, 0)
		return
	}
	h := c.x.w.Header()
	h["Content-Type"] = []string{"text/event-stream; charset=utf-8"}
	h["Cache-Control"] = []string{"no-cache"}
	if c.fault != nil && c.fault.kind == faultEndless {
		p.endless()
		return
	}
	for ev := range c.x.dialect.events(c.answer) {
		if !p.play(ev) {
			return
		}
	}
	p.insertDue()
	p.flush()
}

// play sends one event with what must come before it, and tells whether to go on.
func (p *player) play(ev event) bool {
	p.insertDue()
	if p.strikes() && !p.strike() {
		return false
	}
	if ev.delta && p.pace.between > 0 && !p.c.wait(p.pace.between) {
		p.c.hungUp(p.n, p.out)
		return false
	}
	p.cutWithin(ev)
	if ev.last || (ev.final && !p.endAhead()) {
		p.c.book(OutcomeComplete, http.StatusOK, p.c.answer.usage.Output)
	}
	p.write(ev.data)
	p.n++
	p.out = ev.out
	if p.n == 1 || p.pace.between > 0 {
		p.flush()
	}
	if p.gone {
		p.c.hungUp(p.n, p.out)
		return false
	}
	return true
}

// write sends bytes. Without a pace they gather in the server's buffer, as
// frames gather in one packet.
func (p *player) write(b []byte) {
	n, err := p.c.x.w.Write(b)
	p.sent += n
	p.gone = p.gone || err != nil
}

func (p *player) flush() {
	p.gone = p.rc.Flush() != nil || p.gone
}

func (p *player) insertDue() {
	inserts := p.c.hit.rule.reply.inserts
	for ; p.insert < len(inserts) && inserts[p.insert].after <= p.n; p.insert++ {
		p.write([]byte(inserts[p.insert].raw))
	}
}

// strikes tells whether the fault comes before the next event.
func (p *player) strikes() bool {
	f := p.c.fault
	return f != nil && f.afterEvents == p.n
}

// endAhead tells whether the fault may still end the stream, so that the call
// cannot yet be booked as complete.
func (p *player) endAhead() bool {
	f := p.c.fault
	return f != nil && f.kind != faultMalformed && (f.afterEvents > p.n || f.afterBytes >= 0)
}

// strike lets the fault happen and tells whether the stream goes on.
func (p *player) strike() bool {
	c := p.c
	switch c.fault.kind {
	case faultCut:
		c.book(OutcomeCut, http.StatusOK, c.billed(p.n, p.out))
		c.abort()
	case faultMalformed:
		p.write([]byte(orText(c.fault.raw, c.x.dialect.broken())))
		return true
	case faultError:
		c.book(OutcomeError, http.StatusOK, c.billed(p.n, p.out))
		p.write(c.x.dialect.errorEvent(c.fault, c.x.id))
		p.flush()
	case faultHang:
		p.flush()
		p.silence(c.fault.pingEvery)
		c.book(OutcomeHungUp, http.StatusOK, c.billed(p.n, p.out))
	default:
	}
	return false
}

// billed is what a stream costs that ends after n events with out bytes of output.
func (c *call) billed(n, out int) int64 {
	if n == 0 {
		return 0
	}
	return c.answer.generated(max(out, min(1, c.answer.bytes)))
}

// cutWithin breaks the stream off inside the event, if that is where the cut is.
func (p *player) cutWithin(ev event) {
	f := p.c.fault
	if f == nil || f.afterBytes < 0 || p.sent+len(ev.data) <= f.afterBytes {
		return
	}
	p.c.book(OutcomeCut, http.StatusOK, p.c.billed(p.n, p.out))
	p.write(ev.data[:max(0, f.afterBytes-p.sent)])
	p.c.abort()
}

// silence sends nothing but pings, if any, until the client goes.
func (p *player) silence(pingEvery time.Duration) {
	if pingEvery <= 0 {
		untilGone(p.c.x.r.Context())
		return
	}
	for !p.gone && p.c.wait(pingEvery) {
		p.write(p.c.x.dialect.ping())
		p.flush()
	}
}

// endless sends text until max_tokens are out and pings from then on, until the
// client goes. It bills what came out, whatever the scenario says of hang-ups.
func (p *player) endless() {
	c := p.c
	a := *c.answer
	text := c.endlessText()
	head, piece := c.x.dialect.endless(&a)
	p.write(head)
	limit := bytesPerToken * c.conv.maxTokens
	for rest := text; !p.gone && int64(p.out) < limit && c.wait(p.pace.between); {
		n := min(chunkEnd(rest, p.pace.chunk), int(limit)-p.out)
		n = chunkEnd(rest, n)
		p.write(piece(rest[:n]))
		if p.out += n; p.pace.between > 0 {
			p.flush()
		}
		if rest = rest[n:]; rest == "" {
			rest = text
		}
	}
	p.flush()
	if int64(p.out) >= limit {
		p.silence(c.fault.pingEvery)
	}
	c.book(OutcomeHungUp, http.StatusOK, min(c.conv.maxTokens, max(1, tokensOf(p.out))))
}

// endlessText is the text that is sent over and over.
func (c *call) endlessText() string {
	for i := range c.answer.blocks {
		if b := &c.answer.blocks[i]; b.kind == "text" && b.body != "" {
			return b.body
		}
	}
	return filler
}

package vendorsim

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"time"
)

// call is one call of a model on its way through.
type call struct {
	s      *Server
	x      *exchange
	conv   *conversation
	hit    hit
	fault  *fault
	answer *answer
	entry  Call
	booked bool
}

// serve answers a call of a model.
func (s *Server) serve(x *exchange) {
	c := &call{s: s, x: x, entry: Call{Time: x.at, RequestID: x.id, Dialect: x.dialect.name()}}
	if err := c.prepare(); err != nil {
		c.refuse(err)
		return
	}
	for name, value := range c.hit.rule.reply.headers {
		x.w.Header().Set(name, value)
	}
	if c.conv.stream {
		c.stream()
	} else {
		c.whole()
	}
}

// prepare does all that can still end in a refusal: it checks the request, finds
// the rule, lets a fault strike and renders the answer.
func (c *call) prepare() *vendorError {
	err := c.x.dialect.admit(c.s, c.x)
	c.entry.KeySuffix = suffix(c.x.key)
	if err != nil {
		return err
	}
	if c.conv, err = c.x.dialect.parse(c.x.body); err != nil {
		return err
	}
	c.entry.Model, c.entry.Stream, c.entry.MaxTokens = c.conv.model, c.conv.stream, max(0, c.conv.maxTokens)
	if err = c.x.dialect.check(c.conv, c.s); err != nil {
		return err
	}
	c.entry.Turn = c.conv.turn()
	var ok bool
	if c.hit, ok = find(c.s.scenarios, c.conv); !ok {
		return invalid("vendorsim: no rule matches this conversation (model %s, turn %d, %d tool results)", c.conv.model, c.conv.turn(), c.conv.toolResults)
	}
	c.entry.Scenario, c.entry.Rule = c.hit.scenario.name, c.hit.rule.name
	return c.prepareAnswer()
}

func (c *call) prepareAnswer() *vendorError {
	if c.fault = c.s.counters.take(&c.hit, c.conv, c.x.key); c.fault != nil {
		c.entry.Fault = string(c.fault.kind)
		if c.fault.kind == faultReset {
			c.reset()
		}
		if c.fault.kind == faultStatus || (c.fault.kind == faultError && !c.conv.stream) {
			return c.x.dialect.refusal(c.fault)
		}
	}
	var err error
	if c.answer, err = compose(&c.hit, c.conv, c.x.dialect, c.s.options.NewID); err != nil {
		return refuse(http.StatusInternalServerError, "vendorsim: scenario %q, rule %q: %v", c.entry.Scenario, c.entry.Rule, err)
	}
	c.answer.created = c.x.at.Unix()
	c.entry.MessageID, c.entry.StopReason = c.answer.id, c.answer.stopReason
	c.entry.Usage = c.answer.usage
	return nil
}

// refuse books the refusal, at no cost, and sends it.
func (c *call) refuse(err *vendorError) {
	c.entry.Usage, c.entry.StopReason = Usage{}, ""
	c.book(OutcomeRefused, err.status, 0)
	c.x.refuse(err)
}

// book writes the entry, billing the output given, unless that has been done. If
// the books cannot be written the connection is broken off: a client must not
// hold an answer that the books lack.
func (c *call) book(o Outcome, status int, output int64) {
	if c.booked {
		return
	}
	c.booked = true
	c.entry.Outcome, c.entry.Status = o, status
	c.entry.Usage.Output = output
	if o != OutcomeComplete {
		c.entry.StopReason = ""
	}
	if err := c.s.books.add(c.entry); err != nil {
		c.s.log.Error("keep books failed", "request_id", c.x.id, "error", err)
		panic(http.ErrAbortHandler)
	}
	c.s.log.Debug("call served", "request_id", c.x.id, "model", c.entry.Model, "rule", c.entry.Rule, "status", status, "outcome", string(o))
}

// hungUp books a call whose client went when n events with out bytes of output were
// sent. The vendor goes on to the end, and bills it, unless the scenario says
// that it stops.
func (c *call) hungUp(n, out int) {
	output := c.answer.usage.Output
	if c.hit.rule.reply.stopOnHangup {
		output = c.billed(n, out)
	}
	c.book(OutcomeHungUp, http.StatusOK, output)
}

// reset drops the connection with an RST and does not return.
func (c *call) reset() {
	c.book(OutcomeReset, 0, 0)
	conn, _, err := http.NewResponseController(c.x.w).Hijack()
	if err != nil { // HTTP/2, or a recorder in a test: the stream is reset instead
		panic(http.ErrAbortHandler)
	}
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok { // below TLS
		conn = t.NetConn()
	}
	if t, ok := conn.(*net.TCPConn); ok {
		//nolint:errcheck // without it the client sees an orderly end, which is also no answer
		t.SetLinger(0)
	}
	conn.Close()
	panic(http.ErrAbortHandler)
}

// wait lets d pass and tells whether the client is still there.
func (c *call) wait(d time.Duration) bool {
	ctx := c.x.r.Context()
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// whole sends the answer as one message, after the time that generating it takes.
func (c *call) whole() {
	p := &c.hit.rule.reply.pace
	deltas := 0
	for i := range c.answer.blocks {
		deltas += (len(c.answer.blocks[i].body) + p.chunk - 1) / p.chunk
	}
	if !c.wait(p.firstByte + time.Duration(deltas)*p.between) {
		c.hungUp(0, 0)
		return
	}
	body := c.x.dialect.body(c.answer)
	sent := body
	outcome := OutcomeComplete
	if c.fault != nil {
		switch c.fault.kind {
		case faultHang, faultEndless:
			untilGone(c.x.r.Context())
			c.book(OutcomeHungUp, http.StatusOK, c.answer.usage.Output)
			return
		case faultMalformed:
			body = body[:len(body)/2]
			sent = body
		case faultCut:
			outcome, sent = OutcomeCut, body[:min(len(body), c.wholeCut(len(body)))]
		default:
		}
	}
	if len(sent) == len(body) {
		outcome = OutcomeComplete
	}
	c.book(outcome, http.StatusOK, c.answer.usage.Output)
	h := c.x.w.Header()
	h["Content-Type"] = []string{"application/json"}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	//nolint:errcheck // the client may be gone; the call is booked as served
	c.x.w.Write(sent)
	if len(sent) < len(body) {
		c.abort()
	}
}

// wholeCut returns where an answer of n bytes in one piece is cut: a cut counted
// in events, of which it has none, falls in its middle.
func (c *call) wholeCut(n int) int {
	if c.fault.afterBytes >= 0 {
		return c.fault.afterBytes
	}
	return n / 2
}

func untilGone(ctx context.Context) { <-ctx.Done() }

// abort sends what was written and then breaks the connection off.
func (c *call) abort() {
	http.NewResponseController(c.x.w).Flush()
	panic(http.ErrAbortHandler)
}

package gateway

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/gateway/pricebook"
	"github.com/genericcorp/corp/postgres"
)

// call is one model call that the agent asks for.
type call struct {
	*exchange
	body    *buffer
	request Request
	to      route
	model   string // as the vendor is asked for it
	quote   pricebook.Quote
	priced  bool
	hard    bool  // a limit applies
	output  int64 // tokens of answer that are paid for at most; 0 when unknown
	limit   int64 // tokens that one answer is cut to; 0 when the request's own cap stands

	reservation *reservation
	record      postgres.CallRecord
}

// The longest texts of a call that are kept, in bytes.
const (
	maxRaw    = 64 << 10 // of the usage as the vendor wrote it: not cut, but left out
	maxDetail = 1_000
	maxName   = 200
)

// clean makes a text from outside fit for the ledger: cut, valid, without zero bytes.
func clean(s string, longest int) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s[:min(len(s), longest)], ""), "\x00", "")
}

// message carries out a model call: reserve, forward, relay, settle.
func (x *exchange) message(ctx context.Context) {
	body, r := x.read()
	if r != nil {
		x.refuse(ctx, r, nil)
		return
	}
	defer body.release()
	c := &call{exchange: x, body: body}
	c.record.Call = corp.Call{
		ID: x.id, At: x.began.UTC().Truncate(time.Microsecond), TaskID: x.run.TaskID, RunID: x.run.RunID, AgentID: x.run.AgentID,
		Epoch: x.run.Epoch, Dialect: x.dialect.Name(), TraceID: x.run.TraceID,
	}
	if r := c.understand(ctx); r != nil {
		x.refuse(ctx, r, &c.record)
		return
	}
	money, err := x.g.purse.open(ctx, x.run.Workspace, x.run.TaskID)
	if err != nil {
		x.refuse(ctx, refused(err), nil)
		return
	}
	defer x.g.purse.leave(money)
	c.hard = x.g.purse.hard(money)
	if r := c.allowed(ctx); r != nil {
		x.refuse(ctx, r, &c.record)
		return
	}
	if r := c.reserve(ctx, money); r != nil {
		x.refuse(ctx, r, &c.record)
		return
	}
	if r := c.late(ctx); r != nil {
		x.g.purse.release(c.reservation)
		x.refuse(ctx, r, nil)
		return
	}
	if err := c.begin(); err != nil {
		x.g.purse.release(c.reservation)
		r := unavailable("The gateway could not write its journal.")
		r.cause = err
		x.refuse(ctx, r, nil)
		return
	}
	c.carry(ctx)
}

// understand reads what is asked and finds where it goes.
func (c *call) understand(ctx context.Context) *refusal {
	request, err := c.dialect.Parse(c.body.b, c.r.Header)
	if err != nil {
		return refused(err)
	}
	c.request = request
	asked := request.Asked()
	c.record.ModelAsked, c.record.Streamed = clean(asked.Model, maxName), asked.Stream
	c.to, c.model, err = c.g.directory.resolve(ctx, c.run, asked.Model)
	if err != nil {
		return refused(err)
	}
	c.record.ProviderID, c.record.Provider, c.record.Dialect = c.to.ID, c.to.Name, c.to.Dialect
	if r := c.speaks(c.to); r != nil {
		return r
	}
	c.lookUpPrice()
	return nil
}

func (c *call) lookUpPrice() {
	c.quote, c.priced = price(c.g.book.Load(), c.to, c.model, c.began)
	if c.priced {
		c.record.PriceID = c.quote.ID
	}
}

// allowed refuses, under a hard limit, what the limit could not be kept with.
func (c *call) allowed(ctx context.Context) *refusal {
	if !c.hard {
		return nil
	}
	if !c.priced {
		c.g.readPricesAgain(ctx)
		c.lookUpPrice()
	}
	if !c.priced {
		return &refusal{
			status: http.StatusNotFound, stop: corp.ReasonModelUnknown, record: true,
			message: fmt.Sprintf("The model %q of %s has no known price, so it cannot be used under a budget. Use a model of the price book, have the operator add its price (corp price add), or remove the budget.", c.model, c.to.vendor()),
		}
	}
	if why := c.request.BoundNeeds(c.quote.ContextWindow); why != "" {
		return &refusal{
			status: http.StatusBadRequest, record: true,
			message: fmt.Sprintf("Under a budget the cost of a call must be known before it is sent, and this one asks for %s. Send the content itself, or remove the budget.", why),
		}
	}
	if c.request.Asked().LongCache && !c.quote.LongPriced() {
		return &refusal{
			status: http.StatusBadRequest, record: true,
			message: fmt.Sprintf("The model %q has no known price for keeping the cache longer than five minutes, so a budget cannot allow it. Ask for the default lifetime.", c.model),
		}
	}
	return nil
}

// reserve sets the call's bound aside, and lowers its output cap where the
// budgets hold less.
func (c *call) reserve(ctx context.Context, money *taskMoney) *refusal {
	asked := c.request.Asked()
	n := need{quote: c.quote, input: c.request.InputBound(len(c.body.b), c.quote.ContextWindow), want: asked.MaxTokens}
	if ceiling := c.quote.MaxOutput; ceiling > 0 && (n.want == 0 || n.want > ceiling) {
		n.want = ceiling
	}
	if c.hard && n.want == 0 {
		return &refusal{status: http.StatusBadRequest, message: "max_tokens: Field required"}
	}
	n.least = asked.Choices * min(c.request.LeastOutput(leastOutput), n.want)
	n.want *= asked.Choices
	reservation, output, err := c.g.purse.reserve(ctx, money, n)
	if err != nil {
		r := refused(err)
		if r.status == http.StatusPaymentRequired {
			r.stop, r.record = corp.ReasonBudget, true
		}
		return r
	}
	c.reservation, c.output = reservation, output
	c.record.Reserved, c.record.Charges = reservation.amount, reservation.charges()
	c.record.Edits = append(c.record.Edits, "credential")
	if c.model != asked.Model {
		c.record.Edits = append(c.record.Edits, "model")
	}
	if limit := output / asked.Choices; len(reservation.parts) > 0 && (limit != asked.MaxTokens || !c.request.Capped(c.to.vendor())) {
		c.limit = limit
		c.record.Edits = append(c.record.Edits, "output_cap")
	}
	if asked.AddsUsage {
		c.record.Edits = append(c.record.Edits, "usage")
	}
	return nil
}

// late refuses a call that took so long to read and to pay for that nobody waits
// for it any more, or that its run has ended meanwhile.
func (c *call) late(ctx context.Context) *refusal {
	if err := ctx.Err(); err != nil {
		r := unavailable("The call was given up before it was sent.")
		r.cause = err
		return r
	}
	if time.Since(c.began) <= c.g.Times.Identity {
		return nil
	}
	run, err := c.g.directory.run(ctx, c.dialect.Key(c.r.Header))
	if err != nil {
		return refused(err)
	}
	return stopped(run.StopReason)
}

// begin notes in the journal that the call is about to be sent.
func (c *call) begin() error {
	c.g.metrics.open.Inc()
	c.g.metrics.reserved.Add(float64(c.reservation.amount))
	err := c.g.journal.Load().write(line{Workspace: c.run.Workspace, Record: c.record})
	if err != nil {
		c.end()
	}
	return err
}

func (c *call) end() {
	c.g.metrics.open.Dec()
	c.g.metrics.reserved.Sub(float64(c.reservation.amount))
}

// carry sends the call, relays the answer and settles, whatever happens.
func (c *call) carry(client context.Context) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(client))
	defer cancel(nil)
	defer c.g.endable(c.id, cancel)()
	f := &flight{exchange: c.exchange, cancel: cancel}
	defer f.watch()()
	defer context.AfterFunc(client, f.leave)()

	a := answer{}
	defer func() { c.settle(client, &a) }()
	body := c.request.Rewrite(c.body.b, Edits{Model: c.model, MaxTokens: c.limit, Vendor: c.to.vendor()})
	response, err := c.g.way(c.to).RoundTrip(c.upstream(f.trace(ctx), c.to, c.body, body))
	if err != nil {
		a.err, a.sent, a.hungUp = because(ctx, err), f.written.Load(), f.gone.Load()
		c.unanswered(&a)
		return
	}
	defer func() { _ = response.Body.Close() }()
	a.take(response)
	a.meter = c.meter(response)
	f.relay(response, a.meter, c.filter(response))
	a.first, a.hungUp = f.first, f.missed
	if f.err != nil {
		a.err = because(ctx, f.err)
		c.abort = !a.hungUp
	}
}

// because prefers the reason for which the gateway itself ended a request.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// unanswered tells the agent that the vendor gave no answer.
func (c *call) unanswered(a *answer) {
	r := silent(c.to, a.err)
	a.status = r.status
	if !a.hungUp {
		r.write(c.w, c.dialect, c.id.String())
	}
}

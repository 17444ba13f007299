package gateway

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/gateway/pricebook"
)

// answer is what came of a call that was sent, or was about to be.
type answer struct {
	status    int   // as the client got it
	sent      bool  // the vendor may have had the whole request
	answered  bool  // its answer began
	page      bool  // it is a web page
	hungUp    bool  // the client left before the end
	err       error // why it broke off
	first     time.Time
	requestID string
	simulated bool
	meter     meterOrError
}

// take reads the head of the vendor's answer.
func (a *answer) take(r *http.Response) {
	a.sent, a.answered, a.status = true, true, r.StatusCode
	a.page = strings.HasPrefix(strings.ToLower(r.Header.Get("Content-Type")), "text/html")
	a.requestID = r.Header.Get("Request-Id")
	if a.requestID == "" {
		a.requestID = r.Header.Get("X-Request-Id")
	}
	a.simulated = r.Header.Get("X-Simulated") != ""
}

func (a *answer) succeeded() bool { return a.status >= 200 && a.status < 300 }

// meterOrError looks at what passes: it counts an answer, and of an error it
// keeps the beginning, to say what it was.
type meterOrError interface{ io.Writer }

// head keeps the beginning of what is written to it.
type head struct{ b []byte }

const maxHead = 8 << 10

func (h *head) Write(p []byte) (int, error) {
	h.b = append(h.b, p[:min(len(p), maxHead-len(h.b))]...)
	return len(p), nil
}

func (c *call) meter(r *http.Response) meterOrError {
	if r.StatusCode >= 200 && r.StatusCode < 300 {
		return c.request.Meter(r.Header.Get("Content-Type"))
	}
	return &head{}
}

// filter is what takes the gateway's own question out of an answer; an error passes
// as it is.
func (c *call) filter(r *http.Response) Filter {
	if r.StatusCode >= 200 && r.StatusCode < 300 {
		return c.request.Filter(r.Header.Get("Content-Type"))
	}
	return nil
}

// settle counts the call, gives back what it did not use and writes it down. It
// runs exactly once for every call that the journal knows of.
func (c *call) settle(ctx context.Context, a *answer) {
	c.end()
	r := &c.record
	r.Status, r.Simulated, r.UpstreamRequestID = a.status, a.simulated, clean(a.requestID, maxName)
	r.LatencyMS = time.Since(c.began).Milliseconds()
	if !a.first.IsZero() {
		r.FirstByteMS = a.first.Sub(c.began).Milliseconds()
	}
	c.judge(a)
	if a.err != nil {
		c.note(a.err.Error())
	}
	if len(r.Charges) > 0 && r.Cost > r.Reserved {
		c.note("The vendor billed more than the request can cost by its own rules.")
		c.g.Logger.WarnContext(ctx, "a vendor billed past the bound of its call", slog.String("run_id", r.RunID.String()), slog.Int64("reserved_nanodollars", int64(r.Reserved)), slog.Int64("cost_nanodollars", int64(r.Cost)))
	}
	c.g.metrics.count(r.Call)
	c.g.purse.settle(c.reservation, r.Cost)
	if err := c.g.journal.Load().write(line{Workspace: c.run.Workspace, Settled: true, Record: *r}); err != nil {
		// The line that says it was sent still stands: a crash before the next flush
		// would settle the call at its bound.
		c.g.Logger.ErrorContext(ctx, "settled call not journaled", "request_id", r.ID, "error", err)
	}
	c.g.ledger.add(c.run.Workspace, settled{record: *r, reservation: c.reservation, journaled: true})
	c.g.Logger.LogAttrs(ctx, slog.LevelDebug, "model call settled", slog.Any("request_id", r.ID), slog.Any("workspace_id", c.run.Workspace),
		slog.Any("run_id", r.RunID), slog.String("trace_id", r.TraceID), slog.String("outcome", string(r.Outcome)), slog.Int64("cost_nanodollars", int64(r.Cost)))
}

// judge decides the outcome and the cost.
func (c *call) judge(a *answer) {
	r := &c.record
	switch {
	case !a.sent:
		r.Outcome = corp.CallError
	case !a.answered: // it may have been answered and billed all the same
		r.Outcome = broken(a)
		c.estimate(Reading{})
	case !a.succeeded():
		r.Outcome = corp.CallError
		if h, ok := a.meter.(*head); ok {
			c.note(c.dialect.Problem(h.b))
		}
	default:
		c.judgeAnswer(a)
	}
	c.bound()
}

// What is beyond any call. A vendor that reports more is broken, and its numbers
// must not add up to sums that the ledger cannot hold.
const (
	maxTokens = 1 << 40
	maxCost   = 1_000_000 * corp.Dollar
)

// bound keeps a broken vendor's numbers within what can be written down.
func (c *call) bound() {
	r := &c.record
	u := &r.Usage
	for _, n := range []*int64{&u.FreshInput, &u.CacheRead, &u.CacheWriteShort, &u.CacheWriteLong, &u.Output} {
		*n = min(max(*n, 0), maxTokens)
	}
	if r.Cost < 0 || r.Cost > maxCost {
		r.Cost, r.Estimated = maxCost, true
		c.note("the vendor reported more than any call can use")
	}
}

func (c *call) judgeAnswer(a *answer) {
	r := &c.record
	m, ok := a.meter.(Meter)
	if !ok { // the relay never began
		r.Outcome = broken(a)
		c.estimate(Reading{})
		return
	}
	reading := m.Reading()
	r.Usage, r.ModelServed, r.StopReason, r.RawUsage = reading.Usage, clean(reading.Model, maxName), clean(reading.StopReason, maxName), reading.Raw
	c.note(reading.Error)
	if len(r.RawUsage) > maxRaw {
		r.RawUsage = nil
		c.note("the vendor's own words on the usage are too long to be kept")
	}
	switch {
	case reading.Complete:
		r.Outcome = corp.CallOK
		if a.hungUp {
			r.Outcome = corp.CallHungUp
		}
		if !reading.Final || !reading.Input {
			c.note("the answer came without its count")
			c.estimate(reading)
			return
		}
		c.bill(reading)
	case a.page && a.err == nil: // a wrong address answers like that, a vendor does not
		r.Outcome = corp.CallError
		c.note("the answer is a web page")
	default:
		r.Outcome = broken(a)
		c.estimate(reading)
	}
}

func broken(a *answer) corp.CallOutcome {
	if a.hungUp {
		return corp.CallHungUp
	}
	return corp.CallCut
}

// bill prices what a whole answer says was used.
func (c *call) bill(reading Reading) {
	r := &c.record
	quote, known := c.served(reading.Model)
	if !known {
		r.Estimated = true
		c.note("the model has no known price")
	}
	cost, row, exact := quote.Cost(reading.Usage)
	r.Cost, r.PriceID = cost, row.ID
	if !exact {
		r.Estimated = true
		c.note("long cache writes have no known price and are billed as short ones")
	}
	for _, extra := range reading.Extra {
		q, known := quote, true
		if extra.Model != "" && extra.Model != reading.Model {
			q, known = price(c.g.book.Load(), c.to, extra.Model, c.began)
		}
		cost, _, exact := q.Cost(extra.Usage)
		r.Cost = corp.AddMoney(r.Cost, cost)
		r.Usage = r.Usage.Add(extra.Usage)
		r.Estimated = r.Estimated || !known || !exact
	}
	if reading.Unpriced != "" {
		r.Estimated = true
		c.note(reading.Unpriced)
	}
}

// estimate prices an answer that did not come to its end: the prompt as
// reported, the answer as large as it was allowed to be. Without a report of the
// prompt it is the whole bound. It never says less than the vendor may bill.
func (c *call) estimate(reading Reading) {
	r := &c.record
	r.Estimated = true
	if !reading.Input {
		r.Cost = c.reservation.amount
		return
	}
	if !reading.Final {
		r.Usage.Output = max(r.Usage.Output, c.output)
		if c.output == 0 {
			c.note("how long the answer would have been is not known")
		}
	}
	reading.Usage = r.Usage
	c.bill(reading)
}

// served returns the price of the model that answered. Vendors answer an alias
// with a dated name: where both are known and charge alike, the row of the name
// that was asked for stands, and so it does for a name that is not in the book.
func (c *call) served(model string) (q pricebook.Quote, known bool) {
	if model == "" || model == c.model {
		return c.quote, c.priced
	}
	q, known = price(c.g.book.Load(), c.to, model, c.began)
	switch {
	case known && (!c.priced || !c.quote.SameRates(q)):
		return q, true
	case c.priced:
		if !known && !strings.HasPrefix(model, c.model) {
			c.record.Estimated = true
			c.note("answered by " + clean(model, maxName) + ", which has no known price")
		}
		return c.quote, true
	default:
		return c.quote, false
	}
}

// note adds to what the call says for people.
func (c *call) note(text string) {
	if text == "" {
		return
	}
	if c.record.Detail != "" {
		text = c.record.Detail + "; " + text
	}
	c.record.Detail = clean(text, maxDetail)
}

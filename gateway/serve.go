package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/limit"
	"github.com/genericcorp/corp/postgres"
)

// exchange is one request of an agent and its answer.
type exchange struct {
	g     *Gateway
	w     http.ResponseWriter
	r     *http.Request
	ctl   *http.ResponseController
	id    corp.CallID
	began time.Time
	run   postgres.RunIdentity
	held  int64 // bytes of memory that the request may take
	taken bool  // its body was read to the end
	abort bool  // the answer broke off, and the client must see that it did

	dialect Dialect
}

// The paths of the dialects.
const (
	pathMessages = "/v1/messages"
	pathCount    = "/v1/messages/count_tokens"
	pathChat     = "/v1/chat/completions"
	pathModels   = "/v1/models"
)

// ServeHTTP is the gateway listener's whole handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	x := &exchange{g: g, w: w, r: r, ctl: http.NewResponseController(w), id: corp.NewID[corp.CallID](), began: time.Now(), dialect: spoken(r)}
	switch r.URL.Path {
	case "/": // agents look whether anybody is there before they call
		if x.allows(ctx, http.MethodHead, http.MethodGet) {
			w.WriteHeader(http.StatusOK)
		}
	case pathMessages, pathChat:
		if x.allows(ctx, http.MethodPost) {
			x.admitted(ctx, x.message)
		}
	case pathCount:
		if x.allows(ctx, http.MethodPost) {
			x.admitted(ctx, x.count)
		}
	case pathModels:
		if x.allows(ctx, http.MethodGet) {
			x.admitted(ctx, x.models)
		}
	default:
		x.refuse(ctx, &refusal{status: http.StatusNotFound, message: "The gateway has no such address."}, nil)
	}
	if x.abort {
		panic(http.ErrAbortHandler) // the server's own way to break a connection off
	}
}

func (x *exchange) allows(ctx context.Context, methods ...string) bool {
	if slices.Contains(methods, x.r.Method) {
		return true
	}
	x.w.Header().Set("Allow", methods[0])
	x.refuse(ctx, &refusal{status: http.StatusMethodNotAllowed, message: "Method not allowed."}, nil)
	return false
}

// admitted finds out whose call it is and carries it out if it may begin.
func (x *exchange) admitted(ctx context.Context, carry func(context.Context)) {
	if x.g.journal.Load() == nil {
		x.refuse(ctx, unavailable("This server is starting."), nil)
		return
	}
	run, err := x.g.directory.run(ctx, x.dialect.Key(x.r.Header))
	if err != nil {
		x.refuse(ctx, refused(err), nil)
		return
	}
	x.run = run
	if r := stopped(run.StopReason); r != nil {
		x.refuse(ctx, r, nil)
		return
	}
	if r := x.g.enter(run.Workspace, run.RunID); r != nil {
		x.refuse(ctx, r, nil)
		return
	}
	defer x.g.exit(run.RunID)
	defer func() { x.g.hold(run.RunID, -x.held) }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer x.g.endable(x.id, cancel)()
	carry(ctx)
}

// speaks refuses a request whose dialect the provider does not speak.
func (x *exchange) speaks(to route) *refusal {
	if to.Dialect == x.dialect.Name() {
		return nil
	}
	return &refusal{status: http.StatusBadRequest, message: fmt.Sprintf("The provider %q speaks another dialect (%s).", to.Name, to.Dialect), record: true}
}

// stopped refuses the calls of a run that must end.
func stopped(reason corp.Reason) *refusal {
	switch reason {
	case corp.ReasonNone:
		return nil
	case corp.ReasonBudget:
		return &refusal{status: http.StatusPaymentRequired, message: "The budget of this run is used up, and the run is being stopped."}
	default:
		return &refusal{status: http.StatusForbidden, message: fmt.Sprintf("This run is being stopped (%s).", reason)}
	}
}

// refuse answers in the vendor's place. record is what the ledger shows of it,
// nil when nothing is known of the call.
func (x *exchange) refuse(ctx context.Context, r *refusal, record *postgres.CallRecord) {
	x.g.metrics.refusals.WithLabelValues(strconv.Itoa(r.status)).Inc()
	level := slog.LevelInfo
	if r.cause != nil && !errors.Is(r.cause, context.Canceled) { // a client that left is no failure
		level = slog.LevelError
	}
	x.g.Logger.LogAttrs(ctx, level, "model call refused", slog.String("request_id", x.id.String()),
		slog.Any("workspace_id", x.run.Workspace), slog.Any("run_id", x.run.RunID), slog.String("trace_id", x.run.TraceID),
		slog.Int("status", r.status), slog.String("detail", r.message), slog.Any("error", r.cause))
	if r.stop != corp.ReasonNone {
		x.stopRun(ctx, r.stop, r.message)
	}
	if r.record && record != nil && x.worthRecording(ctx) {
		record.Outcome, record.Status, record.Detail = corp.CallRefused, r.status, clean(r.message, maxDetail)
		record.LatencyMS = time.Since(x.began).Milliseconds()
		x.g.ledger.add(x.run.Workspace, settled{record: *record})
		x.g.metrics.calls.WithLabelValues(string(corp.CallRefused)).Inc()
	}
	x.unread()
	r.write(x.w, x.dialect, x.id.String())
}

// recordedRefusals bounds what an agent that repeats a refused call without end
// adds to the ledger. Every refusal is answered, logged and counted.
var recordedRefusals = limit.Policy{Name: "recorded refusals of a run", Quota: 600, Window: time.Hour, Burst: 200}

func (x *exchange) worthRecording(ctx context.Context) bool {
	states, err := x.g.refused.Take(ctx, []limit.Ask{{Key: limit.WorkspaceKey(x.run.Workspace, "run", x.run.RunID.String()), Policy: recordedRefusals, Cost: 1}})
	return err == nil && !states[0].Denied
}

// unread sees to it that an answer does not wait for a body that nobody reads: the
// server would take what is left of it first, however slowly it comes, to use the
// connection again.
func (x *exchange) unread() {
	if !x.taken && x.r.ContentLength != 0 {
		x.w.Header().Set("Connection", "close")
	}
}

// stopRun marks the run before the agent hears of the refusal, so that whatever
// the agent makes of it, the run ends for the true reason.
func (x *exchange) stopRun(ctx context.Context, reason corp.Reason, detail string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), databaseTime)
	defer cancel()
	if err := x.g.DB.In(x.run.Workspace).StopRun(ctx, x.run.RunID, reason, clean(detail, maxDetail)); err != nil {
		x.g.Logger.ErrorContext(ctx, "run not stopped", "run_id", x.run.RunID, "workspace_id", x.run.Workspace, "reason", reason, "error", err)
	}
	x.g.directory.forget(x.run.RunID)
}

// read takes the request's body.
func (x *exchange) read() (*buffer, *refusal) {
	if x.r.Header.Get("Content-Encoding") != "" {
		return nil, &refusal{status: http.StatusUnsupportedMediaType, message: "The gateway reads requests that are not compressed."}
	}
	most := int64(maxBody)
	if n := x.r.ContentLength; n >= 0 && n < most {
		most = n
	}
	if !x.g.hold(x.run.RunID, most) {
		return nil, &refusal{status: http.StatusTooManyRequests, message: "This run has too large requests under way at the same time.", retryAfter: 1}
	}
	x.held = most
	_ = x.ctl.SetReadDeadline(time.Now().Add(x.g.Times.BodyRead)) // not every writer has deadlines
	b := newBuffer()
	tooLarge, err := b.fill(x.r.Body, x.r.ContentLength)
	_ = x.ctl.SetReadDeadline(time.Time{})
	switch {
	case tooLarge:
		b.release()
		return nil, &refusal{status: http.StatusRequestEntityTooLarge, message: fmt.Sprintf("Request exceeds the maximum size of %d MB.", maxBody>>20)}
	case err != nil:
		b.release()
		return nil, &refusal{status: http.StatusBadRequest, message: "The request broke off."}
	}
	x.taken, x.held = true, int64(len(b.b))
	x.g.hold(x.run.RunID, x.held-most)
	return b, nil
}

// count passes a question for the size of a prompt through. Vendors answer it
// free of charge, so nothing is reserved or recorded.
func (x *exchange) count(ctx context.Context) {
	body, r := x.read()
	if r != nil {
		x.refuse(ctx, r, nil)
		return
	}
	defer body.release()
	request, err := x.dialect.Parse(body.b, x.r.Header)
	if err != nil {
		x.refuse(ctx, refused(err).harmless(), nil)
		return
	}
	to, model, err := x.g.directory.resolve(ctx, x.run, request.Asked().Model)
	if err != nil {
		x.refuse(ctx, refused(err).harmless(), nil)
		return
	}
	if r := x.speaks(to); r != nil {
		x.refuse(ctx, r.harmless(), nil)
		return
	}
	x.pass(ctx, to, body, request.Rewrite(body.b, Edits{Model: model}))
}

// models passes the vendor's list of models through.
func (x *exchange) models(ctx context.Context) {
	name, err := x.g.directory.ownProvider(ctx, x.run)
	var to route
	if err == nil {
		to, err = x.g.directory.provider(ctx, x.run.Workspace, name)
	}
	if err != nil {
		x.refuse(ctx, refused(err).harmless(), nil)
		return
	}
	if r := x.speaks(to); r != nil {
		x.refuse(ctx, r.harmless(), nil)
		return
	}
	x.pass(ctx, to, nil, nil)
}

// pass carries out a request that costs nothing.
func (x *exchange) pass(ctx context.Context, to route, held *buffer, body [][]byte) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer x.g.endable(x.id, cancel)()
	f := &flight{exchange: x, cancel: cancel}
	defer f.watch()()
	response, err := x.g.way(to).RoundTrip(x.upstream(ctx, to, held, body))
	if err != nil {
		x.refuse(ctx, silent(to, err), nil)
		return
	}
	defer func() { _ = response.Body.Close() }()
	f.relay(response, io.Discard, nil)
	x.abort = f.err != nil && !f.gone.Load()
}

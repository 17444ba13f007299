package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/genericcorp/corp"
)

// problem is an answer of type application/problem+json (RFC 9457).
type problem struct {
	Type      string    `json:"type" doc:"about:blank, or the registered type of a request that came too early: kind and code say what it is."`
	Title     string    `json:"title" doc:"The status in words."`
	Status    int       `json:"status"`
	Detail    string    `json:"detail" doc:"What is wrong, in a sentence for people."`
	Kind      corp.Kind `json:"kind" enum:"invalid,unauthenticated,forbidden,not_found,conflict,lease_lost,limit_reached,unavailable,internal"`
	Code      string    `json:"code" doc:"Narrower than kind, for programs; the kind itself when there is nothing narrower."`
	Field     string    `json:"field,omitempty" doc:"The input that is wrong."`
	Hint      string    `json:"hint,omitempty" doc:"What to do next."`
	RequestID string    `json:"request_id" doc:"What to look for in the server's log."`
	Violated  []string  `json:"violated-policies,omitempty" doc:"The limits that a request was over which came too early."`

	retryAfter string
}

// Error makes a problem an error, so that huma writes it as it is.
func (p *problem) Error() string { return p.Detail }

// GetStatus returns the HTTP status, for huma.
func (p *problem) GetStatus() int { return p.Status }

// ContentType returns the media type, for huma.
func (p *problem) ContentType(string) string { return "application/problem+json" }

func (p *problem) setStatus(status int) { p.Status, p.Title = status, http.StatusText(status) }

// headers go with the answer.
func (p *problem) headers() map[string]string {
	if p.retryAfter == "" {
		return nil
	}
	return map[string]string{"Retry-After": p.retryAfter}
}

// GetHeaders returns them, for huma.
func (p *problem) GetHeaders() http.Header {
	h := http.Header{}
	for name, value := range p.headers() {
		h.Set(name, value)
	}
	return h
}

func (p *problem) write(w http.ResponseWriter) {
	for name, value := range p.headers() {
		w.Header().Set(name, value)
	}
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(p) // the client is gone, or the server is; nobody is left to tell
}

// statusOf is the one table of kinds and HTTP statuses.
func statusOf(kind corp.Kind) int {
	switch kind {
	case corp.KindInvalid:
		return http.StatusUnprocessableEntity
	case corp.KindUnauthenticated:
		return http.StatusUnauthorized
	case corp.KindForbidden:
		return http.StatusForbidden
	case corp.KindNotFound:
		return http.StatusNotFound
	case corp.KindConflict, corp.KindLeaseLost:
		return http.StatusConflict
	case corp.KindLimit:
		return http.StatusPaymentRequired
	case corp.KindUnavailable:
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}

// problem turns an error into what the caller may know of it. The error itself
// is kept for the log.
func (x *exchange) problem(ctx context.Context, err error) *problem {
	x.err = err
	known, ok := errors.AsType[*corp.Error](err)
	switch {
	case ctx.Err() != nil && !ok:
		known = &corp.Error{Kind: corp.KindUnavailable, Code: "cancelled", Message: "The request was given up.", Hint: "Try again."}
	case !ok && errors.Is(err, context.DeadlineExceeded):
		known = &corp.Error{Kind: corp.KindUnavailable, Code: "timeout", Message: "This took too long.", Hint: "Try again in a moment."}
	case !ok || known.Kind == corp.KindInternal || statusOf(known.Kind) == http.StatusInternalServerError:
		known = &corp.Error{Kind: corp.KindInternal, Message: "Something went wrong on the server.", Hint: "Try again; if it stays, give the operator the request_id."}
	}
	p := &problem{Type: "about:blank", Detail: known.Message, Kind: known.Kind, Code: known.Code, Field: known.Field, Hint: known.Hint, RequestID: x.id}
	if p.Code == "" {
		p.Code = string(p.Kind)
	}
	p.setStatus(statusOf(p.Kind))
	if p.Kind == corp.KindLimit && p.Code == codeRateLimited {
		p.Type = quotaExceeded
		p.setStatus(http.StatusTooManyRequests)
		if o, ok := errors.AsType[*overrun](err); ok {
			p.Violated, p.retryAfter = o.violated, o.retryAfter()
		}
	}
	if status, ok := edgeStatus[p.Code]; ok {
		p.setStatus(status)
	}
	return p
}

// fail is problem as the error that huma writes.
func (x *exchange) fail(ctx context.Context, err error) error { return x.problem(ctx, err) }

// write answers a request that never reached an operation.
func (x *exchange) write(w http.ResponseWriter, r *http.Request, err error) {
	x.problem(r.Context(), err).write(w)
}

// refusal is what huma calls for every error that it finds by itself: input that
// does not fit the operation's description, and a body that cannot be read.
func refusal(ctx huma.Context, status int, message string, errs ...error) huma.StatusError {
	x := &exchange{}
	if ctx != nil {
		x = exchangeOf(ctx.Context())
	}
	background := context.Background()
	if status >= http.StatusInternalServerError {
		return x.problem(background, errors.Join(append([]error{errors.New(message)}, errs...)...))
	}
	p := x.problem(background, explain(status, message, errs))
	if status != http.StatusUnprocessableEntity && status != 0 {
		p.setStatus(status)
	}
	return p
}

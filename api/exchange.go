package api

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/genericcorp/corp"
)

// exchange is one request and its answer: what the log line and the problem say.
// It belongs to the request's goroutine.
type exchange struct {
	id      string
	pattern string // of the route: "POST /v1/tasks"
	presented
	who      corp.Identity
	hash     string           // of the credential
	ws       corp.WorkspaceID // whose things were touched, when that is not the credential's own
	run      corp.RunID
	agent    string // the User-Agent
	target   string // what its path names first
	passedOn bool   // by another server, which takes this one for the leader
	control  *http.ResponseController
	slug     string // of the workspace that the host name names, if it does
	err      error  // why the answer is no success
}

type exchangeKey struct{}

// exchangeOf returns the exchange of a request that came through exchanges.
func exchangeOf(ctx context.Context) *exchange {
	x, ok := ctx.Value(exchangeKey{}).(*exchange)
	if !ok {
		panic("a request reached its handler past the exchange")
	}
	return x
}

// exchanges is the outermost handler: it names the request, answers panics, and
// writes the one log line and the metrics of every request.
func (a *API) exchanges(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		x := &exchange{presented: a.present(r), id: requestID(r.Header.Get("X-Request-ID")), passedOn: r.Header.Get(passedOnHeader) != ""}
		r = r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
		rec := &recorder{ResponseWriter: w}
		x.control = http.NewResponseController(rec)
		h := rec.Header()
		h.Set("X-Request-ID", x.id)
		a.edge.secure(h)
		defer a.finish(rec, r, x, start)
		if a.edge.admit(rec, r, x) {
			return
		}
		if err := a.limitAddress(r, x); err != nil {
			x.write(rec, r, err)
			return
		}
		x.address = a.passedFrom(r, x)
		_, x.pattern = mux.Handler(r)
		if err := checkURL(r, a.Pages.has(x.pattern)); err != nil {
			x.write(rec, r, err)
			return
		}
		mux.ServeHTTP(rec, r)
	})
}

// finish is deferred by exchanges.
func (a *API) finish(w *recorder, r *http.Request, x *exchange, start time.Time) {
	thrown := recover()
	if thrown != nil && x.err == nil {
		x.err = fmt.Errorf("panic: %v\n%s", thrown, debug.Stack())
	}
	begun := w.status != 0
	if thrown != nil && !begun {
		x.write(w, r, x.err)
	}
	if r.ContentLength != 0 { // the server takes what is left of a body before it answers, whoever sends it, however slowly
		_ = x.control.SetReadDeadline(time.Now().Add(a.rest)) // not every writer has deadlines
	}
	took := time.Since(start)
	a.metrics.observe(x.pattern, w.status, took)
	level, attrs := slog.LevelInfo, []slog.Attr{
		slog.String("method", r.Method), slog.String("route", x.pattern), slog.Int("status", w.status),
		slog.Float64("ms", float64(took.Microseconds())/1000), slog.String("request_id", x.id),
	}
	if ws := x.workspace(); !ws.IsZero() {
		attrs = append(attrs, slog.String("workspace_id", ws.String()))
	}
	if x.who.Actor != "" {
		attrs = append(attrs, slog.String("actor", string(x.who.Actor)))
	}
	if x.who.Via != x.who.Actor {
		attrs = append(attrs, slog.String("via", string(x.who.Via)))
	}
	if !x.run.IsZero() {
		attrs = append(attrs, slog.String("run_id", x.run.String()))
	}
	if x.err != nil && (w.status >= http.StatusInternalServerError || thrown != nil) {
		attrs = append(attrs, slog.String("error", x.err.Error()))
		switch {
		case r.Context().Err() != nil: // the client left, or the server stops: nobody's fault
		case corp.KindOf(x.err) == corp.KindInternal:
			level = slog.LevelError
		case codeOf(x.err) == notLeading, codeOf(x.err) == codeStopping: // every start and stop has them; who asks goes on asking
			level = slog.LevelDebug
		default:
			level = slog.LevelWarn
		}
	}
	a.Logger.LogAttrs(r.Context(), level, "request", attrs...)
	if thrown != nil && begun {
		panic(http.ErrAbortHandler) // cutting the connection tells the reader that the answer is not whole
	}
}

func (x *exchange) workspace() corp.WorkspaceID {
	if !x.ws.IsZero() {
		return x.ws
	}
	return x.who.Workspace
}

// requestID keeps a caller's own name of the request if it is harmless in a log.
func requestID(given string) string {
	ok := len(given) >= 8 && len(given) <= 64 && strings.IndexFunc(given, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '-' && r != '_' && r != '.'
	}) < 0
	if ok {
		return given
	}
	return "req_" + strings.ToLower(rand.Text())
}

// checkURL refuses what no client of ours sends: text that the database cannot
// hold, and credentials where every proxy writes them into its log. What a mail's
// link to a page proves is one, too, but used once.
func checkURL(r *http.Request, page bool) error {
	query := r.URL.Query()
	for name, values := range query {
		for _, v := range values {
			if prefix, _ := corp.SecretPrefix(v); prefix != "" && (!page || prefix != corp.KeyPrefixLink) {
				return &corp.Error{Kind: corp.KindUnauthenticated, Code: "key_in_url", Field: name, Message: "A key must not be part of an address.", Hint: "Send it as \"Authorization: Bearer KEY\", and revoke this one: addresses end up in logs."}
			}
			if !plainText(v) || !plainText(name) {
				return corp.Invalid(name, "The address holds text that is not valid.", "Use UTF-8 without the zero character.")
			}
		}
	}
	if !plainText(r.URL.Path) {
		return corp.Invalid("path", "The address holds text that is not valid.", "Use UTF-8 without the zero character.")
	}
	if len(r.URL.RawQuery) > 0 && strings.Contains(r.URL.RawQuery, ";") {
		return corp.Invalid("query", "The address separates parameters with a semicolon.", "Use &.")
	}
	return nil
}

func plainText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

// unknownRoute answers what no other pattern matches: an unknown path, or a
// known one with another method.
func (a *API) unknownRoute(mux *http.ServeMux) http.HandlerFunc {
	methods := []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}
	return func(w http.ResponseWriter, r *http.Request) {
		var allowed []string
		for _, m := range methods {
			other := r.Clone(r.Context())
			other.Method = m
			if _, pattern := mux.Handler(other); pattern != "/" {
				allowed = append(allowed, m)
			}
		}
		x := exchangeOf(r.Context())
		if len(allowed) == 0 {
			x.write(w, r, &corp.Error{Kind: corp.KindNotFound, Code: "no_such_route", Message: "There is nothing at this address.", Hint: "The API is described at /openapi.yaml."})
			return
		}
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		p := x.problem(r.Context(), &corp.Error{Kind: corp.KindInvalid, Code: "method", Message: "This address does not take " + r.Method + ".", Hint: "Use " + strings.Join(allowed, " or ") + "."})
		p.setStatus(http.StatusMethodNotAllowed)
		p.write(w)
	}
}

// recorder remembers the status for the log.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach deadlines and flushing.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

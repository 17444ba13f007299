package vendorsim

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Defaults of Options.
const (
	DefaultKeepCalls        = 100_000
	DefaultKeepRequests     = 64
	DefaultKeepRequestBytes = 16 << 20
)

// maxBody is the vendor's own limit on a request, in bytes.
const maxBody = 32 << 20

// SimulatedHeader is on every answer, with the value SimulatedBy.
const (
	SimulatedHeader = "X-Simulated"
	SimulatedBy     = "vendorsim"
)

// Options configure a server. The zero value serves, accepts any key and logs
// nothing.
type Options struct {
	Logger           *slog.Logger
	Keys             []string  // accepted API keys; none means any that is not empty
	Journal          io.Writer // gets one JSON line per call before its last byte leaves; nil for none
	KeepCalls        int       // calls kept in the books
	KeepRequests     int       // requests kept for inspection
	KeepRequestBytes int       // bytes of their bodies
	Now              func() time.Time
	NewID            func(prefix string) string // unique per call, with that prefix
}

// Server is the simulated vendor, an http.Handler; safe for concurrent use.
type Server struct {
	scenarios []*Scenario
	models    []Model
	combine   bool
	options   Options
	log       *slog.Logger
	mux       *http.ServeMux
	books     books
	ring      ring
	counters  counters
}

// New returns a server that plays the scenarios: the first rule of the first
// scenario that matches answers. The models of all scenarios make one list.
func New(o Options, scenarios ...*Scenario) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.NewID == nil {
		o.NewID = newID
	}
	o.KeepCalls = orDefault(o.KeepCalls, DefaultKeepCalls)
	s := &Server{
		scenarios: slices.Clone(scenarios), options: o, log: o.Logger,
		books: books{keep: o.KeepCalls, models: map[string]Total{}, dialects: map[Dialect]Total{}, journal: o.Journal},
		ring: ring{
			max:      orDefault(o.KeepRequests, DefaultKeepRequests),
			maxBytes: orDefault(o.KeepRequestBytes, DefaultKeepRequestBytes),
		},
	}
	for _, scenario := range scenarios {
		s.combine = s.combine || scenario.combine
		for _, m := range scenario.models {
			if !slices.ContainsFunc(s.models, func(have Model) bool { return have.ID == m.ID }) {
				s.models = append(s.models, m)
			}
		}
	}
	s.routes()
	return s
}

func orDefault(n, other int) int {
	if n <= 0 {
		return other
	}
	return n
}

const idLength = 22

func newID(prefix string) string { return prefix + rand.Text()[:idLength] }

func (s *Server) routes() {
	s.mux = http.NewServeMux()
	s.mux.HandleFunc("POST /v1/messages", s.vendor(s.serve))
	s.mux.HandleFunc("POST /v1/chat/completions", s.vendor(s.serve))
	s.mux.HandleFunc("POST /v1/messages/count_tokens", s.vendor(s.countTokens))
	s.mux.HandleFunc("GET /v1/models", s.vendor(s.listModels))
	s.mux.HandleFunc("GET /v1/models/{id}", s.vendor(s.showModel))
	s.mux.HandleFunc("GET /{$}", s.vendor(hello))
	s.mux.HandleFunc("GET /api/hello", s.vendor(hello))
	s.mux.HandleFunc("GET /_sim/books", s.showBooks)
	s.mux.HandleFunc("DELETE /_sim/books", s.clearBooks)
	s.mux.HandleFunc("GET /_sim/requests", s.showRequests)
	s.mux.HandleFunc("/", s.vendor(func(x *exchange) { x.refuse(refuse(http.StatusNotFound, "Not Found")) }))
}

// ServeHTTP answers as the vendor does, and under /_sim/ as itself.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(SimulatedHeader, SimulatedBy)
	s.mux.ServeHTTP(w, r)
}

// Books returns a snapshot of the books.
func (s *Server) Books() Books { return s.books.snapshot(-1) }

// ClearBooks empties the books. The journal keeps its lines.
func (s *Server) ClearBooks() { s.books.clear() }

// Requests returns the newest n requests that are kept, oldest first, with
// headers and bodies as they arrived; all if n is negative.
func (s *Server) Requests(n int) []Request { return s.ring.last(n) }

// exchange is one request to the vendor's side with its way to answer.
type exchange struct {
	w    http.ResponseWriter
	r    *http.Request
	body []byte
	id   string
	at   time.Time
	key  string

	dialect speaker
}

func (x *exchange) refuse(e *vendorError) { x.dialect.writeError(e, x.w, x.id) }

// dialectOf tells which dialect a request speaks. Both have a list of models
// under one path: there the credential's form tells.
func dialectOf(r *http.Request) speaker {
	models := strings.HasPrefix(r.URL.Path, "/v1/models") && r.Header.Get("X-Api-Key") == "" && r.Header.Get("Anthropic-Version") == ""
	if models || strings.HasPrefix(r.URL.Path, "/v1/chat/") {
		return chatDialect{}
	}
	return messagesDialect{}
}

// vendor reads the body, keeps the request and sets the headers that every
// answer of the vendor has.
func (s *Server) vendor(handle func(*exchange)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		x := &exchange{w: w, r: r, id: s.options.NewID("req_011"), at: s.options.Now().UTC(), dialect: dialectOf(r)}
		x.dialect.setHeaders(x)
		body, err := readBody(w, r)
		s.ring.add(Request{
			Time: x.at, ID: x.id, Method: r.Method, URL: r.URL.RequestURI(), Host: r.Host, Header: r.Header.Clone(), Body: body,
		})
		if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
			x.refuse(&vendorError{status: http.StatusRequestEntityTooLarge, message: "Request exceeds the maximum size"})
			return
		}
		if err != nil {
			s.log.Debug("request body broke off", "request_id", x.id, "error", err)
			panic(http.ErrAbortHandler)
		}
		x.body = body
		handle(x)
	}
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	const trusted = 1 << 20 // a length is believed this far before the bytes are there
	var b bytes.Buffer
	if r.ContentLength > 0 { // and room to see the end without growing
		b.Grow(int(min(r.ContentLength, trusted)) + bytes.MinRead)
	}
	_, err := b.ReadFrom(http.MaxBytesReader(w, r.Body, maxBody))
	return b.Bytes(), err
}

func (messagesDialect) setHeaders(x *exchange) {
	h := x.w.Header()
	h["Request-Id"] = []string{x.id}
	h["Anthropic-Organization-Id"] = []string{"00000000-0000-4000-8000-000000000000"} //nolint:misspell // the vendor's spelling
	reset := []string{x.at.Add(time.Minute).Format(time.RFC3339)}
	for i := range rateLimits {
		l := &rateLimits[i]
		h[l.limit] = []string{l.amount}
		h[l.remaining] = []string{l.left}
		h[l.reset] = reset
	}
}

// rateLimits are what the vendor says of its limits. They do not count down: a
// scenario that needs a limit to bite uses a status fault.
var rateLimits = []struct{ limit, remaining, reset, amount, left string }{
	rateLimit("Requests", "4000", "3999"),
	rateLimit("Tokens", "2400000", "2399000"),
	rateLimit("Input-Tokens", "2000000", "1999000"),
	rateLimit("Output-Tokens", "400000", "400000"),
}

func rateLimit(what, amount, left string) struct{ limit, remaining, reset, amount, left string } {
	name := "Anthropic-Ratelimit-" + what
	return struct{ limit, remaining, reset, amount, left string }{name + "-Limit", name + "-Remaining", name + "-Reset", amount, left}
}

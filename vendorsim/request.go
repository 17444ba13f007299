package vendorsim

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"
	"unicode/utf8"
)

// Request is one request as it arrived, for tests of fidelity. Header and
// Body are exact; over HTTP the credentials are shortened to their ends.
type Request struct {
	Time   time.Time
	ID     string // the request-id of the answer
	Method string
	URL    string // path and query, as sent
	Host   string
	Header http.Header
	Body   []byte
}

// MarshalJSON writes the body as a text, or as base64 if it is no UTF-8.
func (r Request) MarshalJSON() ([]byte, error) {
	header := r.Header.Clone()
	for _, name := range []string{"X-Api-Key", "Authorization"} {
		for i, v := range header[name] {
			header[name][i] = "…" + suffix(v)
		}
	}
	out := struct {
		Time   time.Time   `json:"time"`
		ID     string      `json:"request_id"`
		Method string      `json:"method"`
		URL    string      `json:"url"`
		Host   string      `json:"host"`
		Header http.Header `json:"header"`
		Body   *string     `json:"body,omitempty"`
		Base64 []byte      `json:"body_base64,omitempty"`
	}{Time: r.Time, ID: r.ID, Method: r.Method, URL: r.URL, Host: r.Host, Header: header}
	if utf8.Valid(r.Body) {
		out.Body = new(string(r.Body))
	} else {
		out.Base64 = r.Body
	}
	return json.Marshal(out)
}

// suffix returns the end of a credential: enough to tell two apart, never most of it.
func suffix(key string) string {
	const shown = 4
	return key[len(key)-min(shown, len(key)/2):]
}

// ring keeps the newest requests, bounded in number and in bytes; safe for
// concurrent use.
type ring struct {
	mu       sync.Mutex
	max      int
	maxBytes int
	bytes    int
	requests []Request
}

func (g *ring) add(r Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.requests = append(g.requests, r)
	g.bytes += len(r.Body)
	drop := 0
	for len(g.requests)-drop > g.max || (g.bytes > g.maxBytes && drop < len(g.requests)) {
		g.bytes -= len(g.requests[drop].Body)
		g.requests[drop] = Request{} // lets the body go, though the array stays
		drop++
	}
	g.requests = g.requests[drop:]
}

// last returns the newest n requests, oldest first; all that are kept if n < 0.
func (g *ring) last(n int) []Request {
	g.mu.Lock()
	defer g.mu.Unlock()
	skip := 0
	if n >= 0 {
		skip = max(0, len(g.requests)-n)
	}
	return append([]Request{}, g.requests[skip:]...)
}

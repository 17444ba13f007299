//go:build engine || soak

package engine

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// gate stands between callers and one server's API. It understands requests, so
// that a fault strikes at an exact point: before a request is carried out, or
// after it was and before its caller hears of it.
type gate struct {
	url     string
	target  *url.URL
	through http.RoundTripper

	mu     sync.Mutex
	faults []*fault
	hits   int           // how often a fault struck
	shut   bool          // every connection is broken off
	frozen chan struct{} // not nil: requests hang until it is closed
}

// fault is what happens to the next requests whose path ends so.
type fault struct {
	path   string // the end of the request's path; "" is any
	times  int    // how many it strikes
	before func() // before the request is passed on
	refuse bool   // it is not passed on: the connection breaks
	after  func() // it was carried out, the caller does not know yet
	lose   bool   // the answer is lost: the connection breaks
}

func newGate(t testing.TB, target string) *gate {
	t.Helper()
	u, err := url.Parse("http://" + target)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{url: "http://" + l.Addr().String(), target: u, through: &http.Transport{MaxIdleConnsPerHost: 64}}
	srv := &http.Server{Handler: g, ReadHeaderTimeout: time.Minute}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() {
		g.freeze(false)
		_ = srv.Close()
	})
	return g
}

// strike has a fault happen to the next requests that it matches.
func (g *gate) strike(f fault) {
	f.times = max(f.times, 1)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.faults = append(g.faults, &f)
}

// clear forgets the faults that have not struck, and returns how often any did
// since the last time.
func (g *gate) clear() (hits int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	hits, g.hits, g.faults = g.hits, 0, nil
	return hits
}

// close breaks every request off until it is opened.
func (g *gate) close(on bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = on
}

// freeze has every request hang, as if the other side had vanished.
func (g *gate) freeze(on bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case on && g.frozen == nil:
		g.frozen = make(chan struct{})
	case !on && g.frozen != nil:
		close(g.frozen)
		g.frozen = nil
	}
}

func (g *gate) find(path string) (f *fault, shut bool, frozen chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, f := range g.faults {
		if f.times > 0 && strings.HasSuffix(path, f.path) {
			f.times--
			g.hits++
			return f, g.shut, g.frozen
		}
	}
	return nil, g.shut, g.frozen
}

func (g *gate) state() (shut bool, frozen chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut, g.frozen
}

// ServeHTTP passes a request on, unless a fault has it otherwise.
func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, shut, frozen := g.find(r.URL.Path)
	g.stand(r, shut, frozen)
	if f != nil {
		if f.before != nil {
			f.before()
		}
		if f.refuse {
			panic(http.ErrAbortHandler)
		}
	}
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host, out.RequestURI = g.target.Scheme, g.target.Host, ""
	resp, err := g.through.RoundTrip(out)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if f != nil {
		if f.after != nil {
			f.after()
		}
		if f.lose {
			panic(http.ErrAbortHandler)
		}
	}
	shut, frozen = g.state()
	g.stand(r, shut, frozen)
	for name, values := range resp.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(resp.StatusCode)
	_, _ = w.Write(body)
}

// stand keeps a request at a gate that is shut or frozen.
func (g *gate) stand(r *http.Request, shut bool, frozen chan struct{}) {
	if frozen != nil {
		select {
		case <-frozen:
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}
	if shut {
		panic(http.ErrAbortHandler)
	}
}

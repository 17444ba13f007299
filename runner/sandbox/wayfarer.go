package sandbox

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
)

// wayfarer sends a request to the first gateway that can be reached. Only one that
// certainly reached nobody is sent to another: a vendor could bill both.
type wayfarer struct{ *Ways }

func newTransport() *http.Transport {
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		DisableCompression:  true, // so that no Accept-Encoding is added and no body unpacked
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     idleTimeout,
		TLSHandshakeTimeout: dialTimeout,
	}
}

// RoundTrip sends the request on, for httputil.
func (f wayfarer) RoundTrip(req *http.Request) (*http.Response, error) {
	err := errors.New("no gateway is known")
	body := &untouched{body: req.Body}
	for round := 0; round < 2 && (round == 0 || f.others()); round++ {
		for _, a := range f.all() {
			var resp *http.Response
			if resp, err = f.send(req, a, body); err == nil {
				return resp, nil
			}
			dial, ok := errors.AsType[*net.OpError](err)
			if !ok || dial.Op != "dial" || body.touched() || req.Context().Err() != nil {
				return nil, err
			}
			f.mu.Lock()
			f.failed(a)
			f.mu.Unlock()
		}
	}
	return nil, err
}

// send tries one gateway. The call ends when that is given up.
func (f wayfarer) send(req *http.Request, a *way, body *untouched) (*http.Response, error) {
	ctx, cancel := context.WithCancel(req.Context())
	f.mu.Lock()
	a.open++
	unstay := context.AfterFunc(a.stay, cancel) //nolint:contextcheck // it belongs to the gateway, not to the request
	f.mu.Unlock()
	end := sync.OnceFunc(func() {
		unstay()
		cancel()
		f.mu.Lock()
		defer f.mu.Unlock()
		a.open--
	})
	resp, err := f.transport.RoundTrip(address(req.WithContext(ctx), a, body))
	if err != nil {
		end()
		return nil, err
	}
	resp.Body = &ending{resp.Body, end}
	return resp, nil
}

func address(req *http.Request, a *way, body *untouched) *http.Request {
	out := req.Clone(req.Context())
	out.URL.Scheme, out.URL.Host, out.Host = a.url.Scheme, a.url.Host, ""
	out.URL.Opaque, out.URL.User = "", nil // whatever the sandbox wrote into the request line
	if base := strings.TrimSuffix(a.url.Path, "/"); base != "" {
		if out.URL.RawPath != "" {
			out.URL.RawPath = strings.TrimSuffix(a.url.EscapedPath(), "/") + out.URL.RawPath
		}
		out.URL.Path = base + out.URL.Path
	}
	if req.Body != nil && req.Body != http.NoBody {
		out.Body = body
	}
	return out
}

// ending is an answer's body that tells when it is closed.
type ending struct {
	io.ReadCloser
	end func()
}

// Close closes the body and ends the call.
func (e *ending) Close() error {
	defer e.end()
	return e.ReadCloser.Close()
}

// untouched is a request's body that a transport may close without reading it, so
// that another attempt can still send it. Once it has ended it stays so: a
// transport looks for more after the last byte, and by then the server that took
// the request may have closed it, which would cut the answer's connection.
type untouched struct {
	body io.ReadCloser

	mu    sync.Mutex
	read  bool
	ended bool
}

// Read reads on.
func (u *untouched) Read(p []byte) (int, error) {
	if u.begin() {
		return 0, io.EOF
	}
	n, err := u.body.Read(p)
	if errors.Is(err, io.EOF) {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.ended = true
	}
	return n, err
}

// begin says whether the body has ended.
func (u *untouched) begin() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.read = true
	return u.ended
}

// Close keeps the body for the next attempt; the server that took the request
// closes it in any case.
func (u *untouched) Close() error { return nil }

func (u *untouched) touched() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.read
}

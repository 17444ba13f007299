package sandbox

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/genericcorp/corp"
)

// askAgain is the least time between two questions for other ways.
const askAgain = time.Second

// Ways are the URLs under which gateways can be reached, the one in use first.
// All sandboxes of a runner share them. It is safe for concurrent use.
type Ways struct {
	lost func() // called when none can be reached; may Set others

	mu    sync.Mutex
	urls  []*url.URL
	asked time.Time
}

// NewWays makes an empty list. lost is called, at most once a second, when no
// gateway of the list can be reached; nil does nothing.
func NewWays(lost func()) *Ways { return &Ways{lost: lost} }

// Set replaces the list. The gateway in use stays so if it is in the new list.
// Each must be an absolute http or https URL; another one is an invalid error.
func (w *Ways) Set(texts []string) error {
	urls := make([]*url.URL, 0, len(texts))
	for _, text := range texts {
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return corp.Invalid("gateway", "The gateway's URL is not an absolute http or https URL.", "Write it like http://127.0.0.1:7401; set the server's gateway-url.")
		}
		urls = append(urls, u)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.urls) > 0 {
		if i := slices.IndexFunc(urls, func(u *url.URL) bool { return u.String() == w.urls[0].String() }); i > 0 {
			urls = slices.Concat(urls[i:], urls[:i])
		}
	}
	w.urls = urls
	return nil
}

func (w *Ways) all() []*url.URL {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.urls
}

// failed puts the next one first, unless somebody has done so already.
func (w *Ways) failed(u *url.URL) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.urls) > 1 && w.urls[0] == u {
		w.urls = slices.Concat(w.urls[1:], w.urls[:1])
	}
}

// others asks for other ways, and says whether there may be some now.
func (w *Ways) others() bool {
	w.mu.Lock()
	due := w.lost != nil && time.Since(w.asked) >= askAgain
	if due {
		w.asked = time.Now()
	}
	w.mu.Unlock()
	if due {
		w.lost()
	}
	return due
}

// wayfarer sends a request to the first gateway that can be reached. Only one that
// certainly reached nobody is sent to another: a vendor could bill both.
type wayfarer struct {
	ways      *Ways
	transport http.RoundTripper
}

// RoundTrip sends the request on, for httputil.
func (f *wayfarer) RoundTrip(req *http.Request) (*http.Response, error) {
	err := errors.New("no gateway is known")
	body := &untouched{body: req.Body}
	for round := 0; round < 2 && (round == 0 || f.ways.others()); round++ {
		for _, way := range f.ways.all() {
			var resp *http.Response
			if resp, err = f.transport.RoundTrip(f.address(req, way, body)); err == nil {
				return resp, nil
			}
			dial, ok := errors.AsType[*net.OpError](err)
			if !ok || dial.Op != "dial" || body.touched() || req.Context().Err() != nil {
				return nil, err
			}
			f.ways.failed(way)
		}
	}
	return nil, err
}

func (f *wayfarer) address(req *http.Request, way *url.URL, body *untouched) *http.Request {
	out := req.Clone(req.Context())
	out.URL.Scheme, out.URL.Host, out.Host = way.Scheme, way.Host, ""
	out.URL.Opaque, out.URL.User = "", nil // whatever the sandbox wrote into the request line
	if base := strings.TrimSuffix(way.Path, "/"); base != "" {
		if out.URL.RawPath != "" {
			out.URL.RawPath = strings.TrimSuffix(way.EscapedPath(), "/") + out.URL.RawPath
		}
		out.URL.Path = base + out.URL.Path
	}
	if req.Body != nil && req.Body != http.NoBody {
		out.Body = body
	}
	return out
}

// untouched is a request's body that a transport may close without reading it, so
// that another attempt can still send it.
type untouched struct {
	body io.ReadCloser

	mu   sync.Mutex
	read bool
}

// Read reads on.
func (u *untouched) Read(p []byte) (int, error) {
	u.mu.Lock()
	u.read = true
	u.mu.Unlock()
	return u.body.Read(p)
}

// Close keeps the body for the next attempt; the server that took the request
// closes it in any case.
func (u *untouched) Close() error { return nil }

func (u *untouched) touched() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.read
}

package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// Headers that belong to one connection (RFC 9110, 7.6.1) and never pass.
var hopByHop = map[string]bool{
	"Connection": true, "Keep-Alive": true, "Proxy-Authenticate": true, "Proxy-Authorization": true, "Proxy-Connection": true,
	"Te": true, "Trailer": true, "Transfer-Encoding": true, "Upgrade": true,
}

// Headers of a request that the gateway sets itself or that end with it.
var notForwarded = map[string]bool{
	"Authorization": true, "X-Api-Key": true, "Accept-Encoding": true, "Content-Length": true, "Host": true, "Expect": true,
}

// upstream makes the request to the vendor. held is the buffer that body may lie in.
func (x *exchange) upstream(ctx context.Context, to route, held *buffer, body [][]byte) *http.Request {
	up := &http.Request{
		Method: x.r.Method, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Host: to.base.Host,
		URL:    &url.URL{Scheme: to.base.Scheme, Host: to.base.Host, Path: x.dialect.Path(to.base, x.r.URL.Path), RawQuery: x.r.URL.RawQuery},
		Header: make(http.Header, len(x.r.Header)+3),
	}
	dropped := named(x.r.Header)
	for k, v := range x.r.Header {
		if !hopByHop[k] && !notForwarded[k] && !dropped[k] && !steers(k) {
			up.Header[k] = v
		}
	}
	// The answer is counted as it passes, so it must not be packed.
	up.Header["Accept-Encoding"] = []string{"identity"}
	if _, ok := up.Header["User-Agent"]; !ok {
		up.Header["User-Agent"] = []string{""} // keeps Go from adding its own
	}
	x.dialect.Authorize(up.Header, to.key)
	if held != nil {
		up.Body = held.reader(body)
		for _, piece := range body {
			up.ContentLength += int64(len(piece))
		}
		// With GetBody a request can be sent again that the vendor has certainly not
		// taken up. With an idempotency key Go would also send one again that it may
		// have: the vendor could bill both.
		if up.Header["Idempotency-Key"] == nil && up.Header["X-Idempotency-Key"] == nil {
			up.GetBody = func() (io.ReadCloser, error) { return held.reader(body), nil }
		}
	}
	return up.WithContext(ctx)
}

// named returns the headers that a Connection header makes hop-by-hop.
func named(h http.Header) map[string]bool {
	var out map[string]bool
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			if out == nil {
				out = map[string]bool{}
			}
			out[http.CanonicalHeaderKey(strings.TrimSpace(name))] = true
		}
	}
	return out
}

// flight is a request on its way to the vendor and its answer on the way back.
type flight struct {
	*exchange
	cancel func(error) // ends the request to the vendor

	written atomic.Bool // the vendor may have the whole request
	gone    atomic.Bool // the client takes no more
	idle    *time.Timer
	drain   atomic.Pointer[time.Timer]

	first  time.Time // when the vendor's answer began
	missed bool      // a piece of it did not reach the client
	err    error     // why it broke off
}

var (
	errSilent  = errors.New("the vendor sent nothing for too long")
	errDrained = errors.New("the client left, and the answer took too long or was too large to be read to its end")
)

// watch ends the request when the vendor falls silent. It returns how to stop watching.
func (f *flight) watch() (stop func()) {
	f.idle = time.AfterFunc(f.g.Times.UpstreamIdle, func() { f.cancel(errSilent) })
	return func() {
		f.idle.Stop()
		if t := f.drain.Load(); t != nil {
			t.Stop()
		}
	}
}

// trace notes when the vendor may have the whole request.
func (f *flight) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			if info.Err == nil {
				f.written.Store(true)
			}
		},
	})
}

// leave notes that the client is gone. Its answer is read on for a while: what its
// end costs at the vendor is less than what must be booked for an answer whose
// count never came. One that takes longer is cut off, so that a vendor who stops
// then bills no more of it, and the run has its place again.
func (f *flight) leave() {
	if f.gone.Swap(true) {
		return
	}
	f.drain.Store(time.AfterFunc(f.g.Times.Drain, func() { f.cancel(errDrained) }))
}

// relay passes the answer on, each piece as it comes, and shows it to meter. A
// filter, if there is one, decides what of it the client gets.
func (f *flight) relay(response *http.Response, meter io.Writer, filter Filter) {
	f.first = time.Now()
	f.head(response, filter != nil)
	// Else the next answer on this connection would find a deadline that is over.
	defer func() { _ = f.ctl.SetWriteDeadline(time.Time{}) }()
	piece, _ := relays.Get().(*[32 << 10]byte)
	defer relays.Put(piece)
	for drained := 0; ; {
		n, err := response.Body.Read(piece[:])
		f.idle.Reset(f.g.Times.UpstreamIdle)
		if n > 0 {
			if !f.give(piece[:n], filter) {
				drained += n
			}
			_, _ = meter.Write(piece[:n]) // meters never fail
		}
		if drained > maxDrain {
			f.cancel(errDrained)
			err = errDrained
		}
		if err == nil {
			continue
		}
		if filter != nil {
			f.finish(filter)
		}
		if err != io.EOF {
			f.err = err
		}
		return
	}
}

// head passes the beginning of the answer on.
func (f *flight) head(response *http.Response, filtered bool) {
	h := f.w.Header()
	dropped := named(response.Header)
	for k, v := range response.Header {
		if !hopByHop[k] && !dropped[k] {
			h[k] = v
		}
	}
	if filtered {
		delete(h, "Content-Length") // it is that of the answer before the filter
	}
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // keeps Go from guessing one
	}
	if !f.gone.Load() {
		f.w.WriteHeader(response.StatusCode)
	}
}

// give sends the client a piece, as far as the filter lets it, and says whether
// the client is still there.
func (f *flight) give(piece []byte, filter Filter) bool {
	if filter != nil {
		piece = filter.Pass(piece)
	}
	if f.gone.Load() || len(piece) > 0 && !f.send(piece) {
		f.missed = true
		return false
	}
	return true
}

// finish sends what the filter held back when the answer ended.
func (f *flight) finish(filter Filter) {
	if rest := filter.Rest(); len(rest) > 0 {
		f.give(rest, nil)
	}
}

// send gives the client one piece at once. One who takes nothing for too long
// counts as gone.
func (f *flight) send(piece []byte) bool {
	_ = f.ctl.SetWriteDeadline(time.Now().Add(f.g.Times.ClientStall)) // not every writer has deadlines
	if _, err := f.w.Write(piece); err != nil {
		f.leave()
		return false
	}
	if err := f.ctl.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		f.leave()
		return false
	}
	return true
}

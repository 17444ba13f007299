package outbound

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/genericcorp/corp"
)

const (
	handshakeTime  = 10 * time.Second
	headerTime     = 20 * time.Second
	clientTime     = 30 * time.Second
	maxHeaderBytes = 64 << 10
	maxRedirects   = 3
)

type plainKey struct{}

// NewTransport returns a transport that dials by the policy. It takes no proxy
// from the environment, changes nothing in what passes and follows nothing; time
// and size are the caller's to limit. Errors of refused addresses have the code
// CodeRefused.
func NewTransport(p Policy) http.RoundTripper {
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		plain, _ := ctx.Value(plainKey{}).(bool)
		return p.dial(ctx, network, address, plain)
	}
	return &transport{p, &http.Transport{
		DialContext: dial, ForceAttemptHTTP2: true, DisableCompression: true,
		MaxIdleConns: 4096, MaxIdleConnsPerHost: 1024, IdleConnTimeout: 60 * time.Second,
		TLSHandshakeTimeout: handshakeTime, MaxResponseHeaderBytes: maxHeaderBytes, WriteBufferSize: 64 << 10, ReadBufferSize: 32 << 10,
	}}
}

// transport tells the dialler what sort of connection is wanted. Connections are
// kept by scheme and host, so one that was dialled for https carries nothing plain.
type transport struct {
	policy Policy
	under  *http.Transport
}

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	var err error
	switch r.URL.Scheme {
	case "https", "http":
		err = t.policy.checkURL("", r.URL)
	default:
		err = refused("", "Only http and https go out.")
	}
	if err != nil {
		if r.Body != nil {
			_ = r.Body.Close() // the contract of a RoundTripper
		}
		return nil, err
	}
	if r.URL.Scheme == "http" {
		r = r.WithContext(context.WithValue(r.Context(), plainKey{}, true))
	}
	return t.under.RoundTrip(r)
}

// CloseIdleConnections closes what is kept open, for http.Client.
func (t *transport) CloseIdleConnections() { t.under.CloseIdleConnections() }

// NewClient returns a client for short exchanges, such as the documents of an
// identity provider: by the policy, within 30 s, answers of at most maxBytes (a
// longer one fails while it is read), redirects within the same origin only.
func NewClient(p Policy, maxBytes int64) *http.Client {
	under, _ := NewTransport(p).(*transport)
	under.under.ResponseHeaderTimeout = headerTime
	return &http.Client{Transport: &capped{under, maxBytes}, Timeout: clientTime, CheckRedirect: sameOrigin}
}

func sameOrigin(next *http.Request, via []*http.Request) error {
	first := via[0].URL
	if len(via) > maxRedirects || next.URL.Scheme != first.Scheme || next.URL.Host != first.Host {
		return &corp.Error{Kind: corp.KindInvalid, Code: CodeRefused, Message: "The address redirects to another one.", Hint: "Use the address that it leads to, if that is the one you mean."}
	}
	return nil
}

// capped bounds how much of an answer is read.
type capped struct {
	*transport
	most int64
}

func (c *capped) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := c.transport.RoundTrip(r)
	if err == nil {
		response.Body = &cappedBody{response.Body, c.most}
	}
	return response, err
}

type cappedBody struct {
	io.ReadCloser
	left int64
}

func (b *cappedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left+1)])
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("read answer: %w", &corp.Error{Kind: corp.KindUnavailable, Code: "answer_too_large", Message: "The answer is larger than expected.", Hint: "Check that the address is the right one."})
	}
	return n, err
}

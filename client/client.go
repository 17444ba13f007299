// Package client is the Go client of the API: one method per operation, in the
// words of package corp. The command line, the runner and the end-to-end tests
// use it, and nothing else knows the routes.
//
// It turns the server's problems back into *corp.Error, so that a kind, a field
// and a hint survive the wire, and it repeats requests that are safe to repeat.
// It may know several servers of one installation: it stays with one until that
// one fails. It keeps no other state than that and its connections, reads no
// environment and never prints.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/genericcorp/corp"
)

// Options are what a client may be given. The zero Options are usable.
type Options struct {
	// HTTP carries the requests; nil means a client of its own without a
	// timeout over a whole request, because polls and streams are long.
	HTTP *http.Client
	// Patience is how long a request that is safe to repeat is repeated while
	// the server cannot be reached. Zero means one attempt.
	Patience time.Duration
	// Credential is what the client signs in with, in place of a key, when that
	// changes; nil means the key.
	Credential Credential
	// UserAgent names the program, for the server's log.
	UserAgent string
}

// Credential is one that is exchanged from time to time: a session's. It is safe for
// concurrent use.
type Credential interface {
	// Key returns what to send now.
	Key(ctx context.Context) (string, error)
	// Renew returns what to send in place of one that was refused.
	Renew(ctx context.Context, refused string) (string, error)
}

// fixed is a key that stays.
type fixed string

func (f fixed) Key(context.Context) (string, error) { return string(f), nil }

// Renew returns the same: there is no other.
func (f fixed) Renew(context.Context, string) (string, error) { return string(f), nil }

// Client speaks to one installation with one credential. It is safe for concurrent use.
type Client struct {
	servers    *roster
	credential Credential
	http       *http.Client
	patience   time.Duration
	userAgent  string
	silence    time.Duration // how long a stream may say nothing
	slow       time.Duration // how long one of several servers may take to answer
}

// New makes a client of the server at baseURL ("http://127.0.0.1:7400"), or of
// several servers of one installation, with commas between their URLs, that signs
// in with key. A wrong URL is reported by the first request.
func New(baseURL, key string, opts Options) *Client {
	c := &Client{servers: newRoster(baseURL), credential: fixed(key), http: opts.HTTP, patience: opts.Patience, userAgent: opts.UserAgent, silence: streamSilence, slow: slowAnswer}
	if opts.Credential != nil {
		c.credential = opts.Credential
	}
	if c.http == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.MaxIdleConnsPerHost = 64
		transport.ResponseHeaderTimeout = 2 * time.Minute // longer than the longest poll
		if c.servers.several() {
			transport.DialContext = (&net.Dialer{Timeout: 3 * time.Second, KeepAlive: 15 * time.Second}).DialContext
		}
		c.http = &http.Client{Transport: transport, CheckRedirect: refuseRedirect}
	}
	if c.userAgent == "" {
		c.userAgent = "corp"
	}
	return c
}

// URL returns the address of the server that the client speaks to, as it was
// given, without a slash at its end.
func (c *Client) URL() string {
	url, _ := c.servers.now()
	return url
}

// A redirect would carry the key to another address.
func refuseRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// request is one call of an operation. Everything but a stream body can be sent again.
type request struct {
	method, path string
	query        url.Values
	header       map[string]string
	body         any           // sent as JSON
	stream       io.Reader     // sent as it is; such a request is never repeated once it was begun
	repeatable   bool          // a second execution changes nothing, whatever became of the first
	expect       int           // a status that is an answer although it is no success
	waits        time.Duration // how long the server waits before it answers, at most
}

// safe says whether sending it twice does what sending it once does.
func (r request) safe() bool {
	return r.repeatable || r.method == http.MethodGet || r.method == http.MethodPut || r.method == http.MethodDelete
}

// fetch sends r and returns what it was answered with.
func fetch[T any](ctx context.Context, c *Client, r request) (T, error) {
	var out T
	err := c.call(ctx, r, &out)
	return out, err
}

// call sends r and reads the answer's JSON into out, unless out is nil.
func (c *Client) call(ctx context.Context, r request, out any) error {
	resp, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if out == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	} else {
		err = json.NewDecoder(resp.Body).Decode(out)
	}
	if err != nil {
		c.servers.move(serverOf(resp), false)
		return c.broken(ctx, serverOf(resp), fmt.Errorf("read the answer to %s %s: %w", r.method, r.path, err))
	}
	return nil
}

// send sends r, repeating it while that is safe and there is patience left, and
// returns a response whose status says success.
func (c *Client) send(ctx context.Context, r request) (*http.Response, error) {
	var payload []byte
	if r.body != nil {
		var err error
		if payload, err = json.Marshal(r.body); err != nil {
			return nil, fmt.Errorf("write the request to %s %s: %w", r.method, r.path, err)
		}
	}
	begun := func() bool { return false }
	if r.stream != nil {
		body := &unread{Reader: r.stream}
		r.stream, begun = body, body.begun.Load
	}
	wait := newBackoff(c.patience)
	for asked := 1; ; asked++ {
		resp, err := c.signed(ctx, r, payload, begun)
		if err == nil {
			return resp, nil
		}
		// A connection that was never made carried nothing, so even what must not happen twice may be sent again.
		again := !begun() && (unreachable(err) || r.stream == nil && r.safe() && corp.KindOf(err) == corp.KindUnavailable)
		early, isEarly := errors.AsType[tooEarlyError](err)
		switch {
		case isEarly && !begun() && wait.sleep(ctx, early.wait): // nothing of it was carried out
		case !again || ctx.Err() != nil:
			return nil, err
		case asked%len(c.servers.urls) != 0: // there is one that was not asked yet
		case !wait.next(ctx):
			return nil, err
		}
	}
}

// unread is a stream that was not begun as long as no connection was made: then
// it can go to another server. It is not closed by a transport.
type unread struct {
	io.Reader
	begun atomic.Bool
}

// Read reads on.
func (u *unread) Read(p []byte) (int, error) {
	u.begun.Store(true)
	return u.Reader.Read(p)
}

// unreachable says that a request certainly reached no server.
func unreachable(err error) bool {
	dial, ok := errors.AsType[*net.OpError](err)
	return errors.Is(err, syscall.ECONNREFUSED) || ok && dial.Op == "dial"
}

// signed is once with the credential of now, and with another one if that is refused:
// then nothing was carried out.
func (c *Client) signed(ctx context.Context, r request, payload []byte, begun func() bool) (*http.Response, error) {
	key, err := c.credential.Key(ctx)
	if err != nil {
		return nil, err
	}
	resp, err := c.once(ctx, r, payload, key)
	if corp.KindOf(err) != corp.KindUnauthenticated || begun() {
		return resp, err
	}
	fresh, failed := c.credential.Renew(ctx, key)
	switch {
	case failed != nil:
		return nil, failed
	case fresh == key:
		return nil, err
	}
	return c.once(ctx, r, payload, fresh)
}

func (c *Client) once(ctx context.Context, r request, payload []byte, key string) (*http.Response, error) {
	try := c.try(ctx, r)
	target := try.server + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	var body io.Reader
	switch {
	case payload != nil:
		body = bytes.NewReader(payload)
	case r.stream != nil:
		body = &upload{r.stream, try}
	}
	req, err := http.NewRequestWithContext(try.ctx, r.method, target, body) //nolint:contextcheck // the attempt's, made from ctx
	if err != nil || req.URL.Host == "" {
		try.end()
		return nil, &corp.Error{Kind: corp.KindInvalid, Field: "server", Message: fmt.Sprintf("%q is not the address of a server.", try.server), Hint: "Write it like http://127.0.0.1:7400.", Err: err}
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", c.userAgent)
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	switch {
	case payload != nil:
		req.Header.Set("Content-Type", "application/json")
	case r.stream != nil:
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.failed(ctx, try, err)
	}
	resp = try.hold(resp)
	if resp.StatusCode >= 200 && resp.StatusCode < 300 || resp.StatusCode == r.expect {
		return resp, nil
	}
	err = readProblem(resp)
	if corp.KindOf(err) == corp.KindUnavailable {
		c.servers.move(try.server, false)
	}
	return nil, err
}

// broken reports that no whole answer arrived. The caller's own cancellation
// stays what it is.
func (c *Client) broken(ctx context.Context, server string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("ask %s: %w", server, ctx.Err())
	}
	var dial *net.OpError
	message := fmt.Sprintf("The connection to %s broke off.", server)
	if errors.As(err, &dial) && dial.Op == "dial" {
		message = fmt.Sprintf("The server at %s cannot be reached.", server)
	}
	return &corp.Error{Kind: corp.KindUnavailable, Code: "unreachable", Message: message, Hint: "Check the address, and that the server runs: corp up starts one.", Err: err}
}

package outbound

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/genericcorp/corp"
)

// Proxy is a forward proxy on this machine's loopback, for a program that dials by
// itself, such as git. It serves who knows its password, and reaches what the
// policy allows.
type Proxy struct {
	policy   Policy
	parent   func(*url.URL) (*url.URL, error) // the operator's own proxy for a URL, or nil
	password string
	listener net.Listener
	server   *http.Server
	open     http.RoundTripper
	chained  *http.Transport
	cancel   context.CancelFunc
	serving  sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	refused error
}

// proxyUser is the name in a proxy's URL; its password is what counts.
const proxyUser = "corp"

// ListenProxy starts a proxy that serves until it is closed. Variables like
// HTTPS_PROXY=http://10.0.0.1:3128 among env name a proxy of the operator's behind it, which
// then resolves names and decides about them; addresses in the URL's text are checked here.
func ListenProxy(ctx context.Context, p Policy, env []string) (*Proxy, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for git: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	x := &Proxy{policy: p, parent: parentOf(env), password: rand.Text(), listener: l, open: NewTransport(p), cancel: cancel}
	x.chained = &http.Transport{Proxy: func(r *http.Request) (*url.URL, error) { return x.parent(r.URL) }, DisableCompression: true, TLSHandshakeTimeout: handshakeTime}
	x.server = &http.Server{Handler: x, ReadHeaderTimeout: dialTime, MaxHeaderBytes: maxHeaderBytes, BaseContext: func(net.Listener) context.Context { return ctx }}
	go func() { _ = x.server.Serve(l) }() // it ends by Close, which has nothing to report
	return x, nil
}

// URL returns the proxy's address with its password, as http.proxy has it.
func (x *Proxy) URL() string {
	return (&url.URL{Scheme: "http", User: url.UserPassword(proxyUser, x.password), Host: x.listener.Addr().String()}).String()
}

// Close ends the proxy and what passes through it.
func (x *Proxy) Close() {
	x.mu.Lock()
	x.closed = true
	x.mu.Unlock()
	x.cancel()
	_ = x.server.Close() // everything is given up anyway
	x.serving.Wait()
	x.chained.CloseIdleConnections()
	if t, ok := x.open.(*transport); ok {
		t.CloseIdleConnections()
	}
}

// Refused returns why the proxy first refused an address, or nil: the program
// behind it only sees a status.
func (x *Proxy) Refused() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.refused
}

// ServeHTTP answers one request to the proxy.
func (x *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !x.enter() {
		return
	}
	defer x.serving.Done()
	if !x.knows(r.Header.Get("Proxy-Authorization")) {
		w.Header().Set("Proxy-Authenticate", `Basic realm="corp"`)
		http.Error(w, "This proxy is for one program.", http.StatusProxyAuthRequired)
		return
	}
	if r.Method == http.MethodConnect {
		x.connect(w, r)
		return
	}
	x.forward(w, r)
}

func (x *Proxy) enter() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.closed {
		x.serving.Add(1)
	}
	return !x.closed
}

func (x *Proxy) knows(header string) bool {
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte(proxyUser+":"+x.password))
	return subtle.ConstantTimeCompare([]byte(header), []byte(want)) == 1
}

// fail answers a request that cannot be carried out, and remembers a refusal.
func (x *Proxy) fail(w http.ResponseWriter, err error) {
	known, ok := errors.AsType[*corp.Error](err)
	if !ok || known.Code != CodeRefused {
		http.Error(w, "The address could not be reached.", http.StatusBadGateway)
		return
	}
	x.mu.Lock()
	if x.refused == nil {
		x.refused = known
	}
	x.mu.Unlock()
	http.Error(w, known.Message, http.StatusForbidden)
}

// connect makes a tunnel.
func (x *Proxy) connect(w http.ResponseWriter, r *http.Request) {
	far, err := x.reach(r.Context(), r.Host)
	if err != nil {
		x.fail(w, err)
		return
	}
	defer func() { _ = far.Close() }()
	near, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		x.fail(w, err)
		return
	}
	defer func() { _ = near.Close() }()
	stop := context.AfterFunc(r.Context(), func() { _, _ = near.Close(), far.Close() })
	defer stop()
	if _, err := io.WriteString(near, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(far, buffered) // an end that is gone is the other's end too
		halfClose(far)
	}()
	_, _ = io.Copy(near, far)
	halfClose(near)
	<-done
}

func halfClose(c net.Conn) {
	if h, ok := c.(interface{ CloseWrite() error }); ok && h.CloseWrite() == nil {
		return
	}
	_ = c.Close() // the other direction is over as well
}

// reach dials HOST:PORT, through the operator's proxy if there is one for it.
func (x *Proxy) reach(ctx context.Context, address string) (net.Conn, error) {
	to := &url.URL{Scheme: "https", Host: address}
	if err := x.policy.checkURL("", to); err != nil {
		return nil, err
	}
	parent, err := x.parent(to)
	if err != nil {
		return nil, fmt.Errorf("choose a proxy: %w", err)
	}
	if parent != nil {
		return through(ctx, parent, address)
	}
	return x.policy.Dial(ctx, "tcp", address)
}

// forward carries out a request that is not encrypted.
func (x *Proxy) forward(w http.ResponseWriter, r *http.Request) {
	if r.URL.Scheme != "http" || r.URL.Host == "" {
		http.Error(w, "This is a forward proxy.", http.StatusBadRequest)
		return
	}
	out := r.Clone(r.Context())
	out.RequestURI, out.Host = "", r.URL.Host
	for _, h := range []string{"Proxy-Authorization", "Proxy-Connection", "Connection", "Keep-Alive", "Te", "Trailer", "Upgrade"} {
		out.Header.Del(h)
	}
	way := x.open
	if parent, err := x.parent(r.URL); err != nil || parent != nil {
		way = x.chained
		if err == nil {
			err = x.policy.checkURL("", r.URL)
		}
		if err != nil {
			x.fail(w, err)
			return
		}
	}
	response, err := way.RoundTrip(out)
	if err != nil {
		x.fail(w, err)
		return
	}
	defer func() { _ = response.Body.Close() }()
	for k, v := range response.Header {
		if k != "Connection" && k != "Keep-Alive" && k != "Transfer-Encoding" {
			w.Header()[k] = v
		}
	}
	w.WriteHeader(response.StatusCode)
	_, _ = io.Copy(w, response.Body) // who broke off sees it by itself
}

// through opens a tunnel through the operator's proxy, which is the operator's
// own address and needs no policy.
func through(ctx context.Context, parent *url.URL, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	near, err := dialParent(ctx, parent, address)
	if err != nil || parent.Scheme == "socks5" || parent.Scheme == "socks5h" {
		return near, err
	}
	if at, ok := ctx.Deadline(); ok {
		_ = near.SetDeadline(at)
	}
	ask := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: address}, Host: address, Header: http.Header{}}
	if parent.User != nil {
		password, _ := parent.User.Password()
		ask.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(parent.User.Username()+":"+password)))
	}
	if err := ask.Write(near); err != nil {
		_ = near.Close()
		return nil, fmt.Errorf("ask the proxy: %w", err)
	}
	r := bufio.NewReader(near)
	answer, err := http.ReadResponse(r, ask)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("it answered %s", answer.Status)
	}
	if err != nil {
		_ = near.Close()
		return nil, fmt.Errorf("ask the proxy: %w", err)
	}
	_ = answer.Body.Close() // a tunnel's answer has none
	_ = near.SetDeadline(time.Time{})
	return &early{near, r}, nil
}

// early is a connection of which something may have been read already.
type early struct {
	net.Conn
	r *bufio.Reader
}

func (c *early) Read(p []byte) (int, error) { return c.r.Read(p) }

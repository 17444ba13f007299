package outbound

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/stage"
)

// serveOn answers HTTP on an address of this machine and counts the connections.
func serveOn(t *testing.T, address string, h http.HandlerFunc) (port string, connections *atomic.Int64) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	connections = new(atomic.Int64)
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: h, ConnState: func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}}}
	s.Start()
	t.Cleanup(s.Close)
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port, connections
}

func hello(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }

func get(t *testing.T, c *http.Client, url string) (string, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := c.Do(r)
	if err != nil {
		return "", err
	}
	defer func() { _ = answer.Body.Close() }()
	b, err := io.ReadAll(answer.Body)
	return string(b), err
}

func isRefused(err error) bool {
	e, ok := errors.AsType[*corp.Error](err)
	return ok && e.Code == CodeRefused
}

// 127.0.0.2 stands for the public address: it is the only one that is listed.
const standsForPublic = "127.0.0.2"

// Attack case 50. Control: while the name is public it is reached; a client without the check is led inside.
func TestANameThatChangesItsMeaningIsNotFollowedInside(t *testing.T) {
	t.Parallel()
	port, outer := serveOn(t, "127.0.0.2:0", hello)
	_, inner := serveOn(t, "127.0.0.1:"+port, hello)
	p := Policy{Private: []netip.Prefix{netip.MustParsePrefix(standsForPublic + "/32")}, Resolver: stage.Resolver(t, standsForPublic, "127.0.0.1")}
	url := "http://rebind.example.com:" + port + "/"
	if err := p.CheckURL("url", url); err != nil {
		t.Fatal(err)
	}
	client := NewClient(p, 1<<10)
	if got, err := get(t, client, url); err != nil || got != "hello" {
		t.Fatalf("while the name means a public address: %q, %v", got, err)
	}
	client.CloseIdleConnections()
	_, err := get(t, client, url)
	if !isRefused(err) {
		t.Fatalf("after it means another: %v, want a refusal", err)
	}
	if strings.Contains(err.Error(), "127.0.0.1:") {
		t.Errorf("the refusal tells what the name means in here: %v", err)
	}
	if outer.Load() != 1 || inner.Load() != 0 {
		t.Errorf("%d connections outside and %d inside, want 1 and 0", outer.Load(), inner.Load())
	}
	naive := &http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{Resolver: p.Resolver}).DialContext}}
	if got, err := get(t, naive, url); err != nil || got != "hello" || inner.Load() != 1 {
		t.Errorf("a client without the check: %q, %v, %d connections inside; the test proves nothing", got, err, inner.Load())
	}
}

func TestAListedHostMayBeInside(t *testing.T) {
	t.Parallel()
	port, _ := serveOn(t, "127.0.0.1:0", hello)
	p := Policy{Hosts: []string{"git.example.com"}, Resolver: stage.Resolver(t, "127.0.0.1")}
	if got, err := get(t, NewClient(p, 1<<10), "http://GIT.example.com:"+port); err != nil || got != "hello" {
		t.Errorf("the listed host: %q, %v", got, err)
	}
	if _, err := get(t, NewClient(p, 1<<10), "http://other.example.com:"+port); !isRefused(err) {
		t.Errorf("another host at the same address: %v, want a refusal", err)
	}
	p.Resolver = stage.Resolver(t, "169.254.169.254")
	if _, err := get(t, NewClient(p, 1<<10), "http://git.example.com/"); !isRefused(err) {
		t.Errorf("the listed host with a metadata address: %v, want a refusal", err)
	}
}

// Attack case 50. Control: a redirect within its origin is followed.
func TestRedirectsStayWithTheirOrigin(t *testing.T) {
	t.Parallel()
	otherPort, other := serveOn(t, "127.0.0.1:0", hello)
	port, _ := serveOn(t, "127.0.0.1:0", func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/same":
			http.Redirect(w, r, "/", http.StatusFound)
		case "/other":
			http.Redirect(w, r, "http://127.0.0.1:"+otherPort+"/", http.StatusFound)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		default:
			hello(w, r)
		}
	})
	c := NewClient(Policy{AllowPrivate: true}, 1<<10)
	if got, err := get(t, c, "http://127.0.0.1:"+port+"/same"); err != nil || got != "hello" {
		t.Errorf("to the same origin: %q, %v", got, err)
	}
	for _, path := range []string{"/other", "/loop"} {
		if _, err := get(t, c, "http://127.0.0.1:"+port+path); !isRefused(err) {
			t.Errorf("%s: %v, want a refusal", path, err)
		}
	}
	if other.Load() != 0 {
		t.Error("the other origin was called")
	}
}

func TestAnswersAreReadUpToACap(t *testing.T) {
	t.Parallel()
	port, _ := serveOn(t, "127.0.0.1:0", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("x", len(r.URL.Query().Get("n"))))
	})
	c := NewClient(Policy{AllowPrivate: true}, 10)
	if got, err := get(t, c, "http://127.0.0.1:"+port+"/?n=0123456789"); err != nil || len(got) != 10 {
		t.Errorf("an answer of the cap's size: %q, %v", got, err)
	}
	if _, err := get(t, c, "http://127.0.0.1:"+port+"/?n=0123456789a"); err == nil {
		t.Error("an answer above the cap was read")
	}
}

func TestWhatIsNotEncryptedGoesOnlyWhereItIsListed(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"ftp", "file", "gopher", "unix"} {
		r := &http.Request{Method: http.MethodGet, URL: mustURL(t, scheme+"://example.com/"), Header: http.Header{}}
		answer, err := NewTransport(Policy{AllowPrivate: true}).RoundTrip(r.WithContext(t.Context()))
		if err == nil {
			_ = answer.Body.Close()
		}
		if !isRefused(err) {
			t.Errorf("scheme %q: %v, want a refusal", scheme, err)
		}
	}
	p := Policy{Private: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Resolver: stage.Resolver(t, "8.8.8.8")}
	if _, err := get(t, NewClient(p, 10), "http://public.example.com/"); !isRefused(err) {
		t.Errorf("plain http to a public address: %v, want a refusal", err)
	}
	if _, err := p.Resolve(t.Context(), "public.example.com", true); !isRefused(err) {
		t.Errorf("a plain protocol to a public address: %v, want a refusal", err)
	}
	if a, err := p.Resolve(t.Context(), "public.example.com", false); err != nil || a != netip.MustParseAddr("8.8.8.8") {
		t.Errorf("an encrypted one: %v, %v", a, err)
	}
}

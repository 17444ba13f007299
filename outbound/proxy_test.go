package outbound

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"github.com/genericcorp/corp/stage"
)

func mustURL(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// behind returns a client that goes through the proxy as git would.
func behind(t *testing.T, proxy string, trusts *x509.Certificate) *http.Client {
	t.Helper()
	u, pool := mustURL(t, proxy), x509.NewCertPool()
	if trusts != nil {
		pool.AddCert(trusts)
	}
	way := &http.Transport{Proxy: func(*http.Request) (*url.URL, error) { return u, nil }, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	t.Cleanup(way.CloseIdleConnections)
	return &http.Client{Transport: way}
}

func listenProxy(t *testing.T, p Policy, env ...string) *Proxy {
	t.Helper()
	x, err := ListenProxy(t.Context(), p, env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.Close)
	return x
}

func TestTheProxyReachesWhatThePolicyAllows(t *testing.T) {
	t.Parallel()
	plain := httptest.NewServer(http.HandlerFunc(hello))
	t.Cleanup(plain.Close)
	secure := httptest.NewTLSServer(http.HandlerFunc(hello))
	t.Cleanup(secure.Close)
	for name, u := range map[string]string{"forwarded": plain.URL, "tunnelled": secure.URL} {
		open := listenProxy(t, Policy{AllowPrivate: true})
		if got, err := get(t, behind(t, open.URL(), secure.Certificate()), u); err != nil || got != "hello" || open.Refused() != nil {
			t.Errorf("%s: %q, %v, refused %v", name, got, err, open.Refused())
		}
		closed := listenProxy(t, Policy{})
		if got, err := get(t, behind(t, closed.URL(), secure.Certificate()), u); got == "hello" || !isRefused(closed.Refused()) {
			t.Errorf("%s by a closed policy: %q, %v, refused %v", name, got, err, closed.Refused())
		}
	}
}

func TestTheProxyServesNobodyWithoutItsPassword(t *testing.T) {
	t.Parallel()
	target := httptest.NewServer(http.HandlerFunc(hello))
	t.Cleanup(target.Close)
	x := listenProxy(t, Policy{AllowPrivate: true})
	u := mustURL(t, x.URL())
	for _, user := range []*url.Userinfo{nil, url.User("corp"), url.UserPassword("corp", "wrong")} {
		u.User = user
		if got, err := get(t, behind(t, u.String(), nil), target.URL); got == "hello" {
			t.Errorf("as %v: %q, %v", user, got, err)
		}
	}
}

// Attack case 50. Control: while the name is public it is reached through the proxy.
func TestANameThatChangesItsMeaningIsNotTunnelledInside(t *testing.T) {
	t.Parallel()
	port, outer := serveOn(t, "127.0.0.2:0", hello)
	_, inner := serveOn(t, "127.0.0.1:"+port, hello)
	x := listenProxy(t, Policy{Private: []netip.Prefix{netip.MustParsePrefix(standsForPublic + "/32")}, Resolver: stage.Resolver(t, standsForPublic, "127.0.0.1")})
	c := behind(t, x.URL(), nil)
	// Not encrypted inside the tunnel: it is the tunnel that is tried.
	for i, want := range []string{"200", "403"} {
		if got := tunnel(t, x, "rebind.example.com:"+port); got != want {
			t.Errorf("tunnel %d: %s, want %s", i, got, want)
		}
	}
	if _, err := get(t, c, "http://rebind.example.com:"+port); err != nil {
		t.Error(err)
	}
	if outer.Load() != 1 || inner.Load() != 0 {
		t.Errorf("%d connections outside and %d inside, want 1 and 0", outer.Load(), inner.Load())
	}
}

// tunnel asks for one and returns the status.
func tunnel(t *testing.T, x *Proxy, address string) string {
	t.Helper()
	u := mustURL(t, x.URL())
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	r := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: address}, Host: address, Header: http.Header{}}
	password, _ := u.User.Password()
	r.SetBasicAuth(u.User.Username(), password)
	r.Header["Proxy-Authorization"] = r.Header["Authorization"]
	if err := r.Write(conn); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), r)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	return answer.Status[:3]
}

func TestTheOperatorsProxyIsChainedBehindOurs(t *testing.T) {
	t.Parallel()
	secure := httptest.NewTLSServer(http.HandlerFunc(hello))
	t.Cleanup(secure.Close)
	_, port, _ := net.SplitHostPort(secure.Listener.Addr().String())
	operators := listenProxy(t, Policy{AllowPrivate: true, Resolver: stage.Resolver(t, "127.0.0.1")}) // stands for it: it decides by itself
	ours := listenProxy(t, Policy{}, "HTTPS_PROXY="+operators.URL(), "no_proxy=direct.example.com")
	c := behind(t, ours.URL(), secure.Certificate())
	if got, err := get(t, c, "https://example.com:"+port); err != nil || got != "hello" {
		t.Errorf("through both: %q, %v", got, err)
	}
	if _, err := get(t, c, secure.URL); err == nil || !isRefused(ours.Refused()) {
		t.Errorf("a loopback address in the text: %v, refused %v", err, ours.Refused())
	}
	direct := listenProxy(t, Policy{Resolver: stage.Resolver(t, "127.0.0.1")}, "HTTPS_PROXY="+operators.URL(), "no_proxy=direct.example.com")
	if _, err := get(t, behind(t, direct.URL(), secure.Certificate()), "https://direct.example.com:"+port); err == nil || !isRefused(direct.Refused()) {
		t.Errorf("past the operator's proxy, inside: %v, refused %v", err, direct.Refused())
	}
}

func TestAClosedProxyEndsWhatPassesThrough(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	x := listenProxy(t, Policy{AllowPrivate: true})
	got := make(chan error, 1)
	go func() {
		far, err := l.Accept()
		if err == nil {
			x.Close()
			_ = far.SetReadDeadline(time.Now().Add(10 * time.Second))
			_, err = io.Copy(io.Discard, far)
			_ = far.Close()
		}
		got <- err
	}()
	_, _ = get(t, behind(t, x.URL(), nil), "https://"+l.Addr().String())
	if err := <-got; err != nil {
		t.Errorf("the far end was not told: %v", err)
	}
}

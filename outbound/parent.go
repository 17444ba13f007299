package outbound

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpproxy"
	"golang.org/x/net/proxy"
)

// IsProxyVariable says whether a variable of the environment tells programs which
// proxy to use.
func IsProxyVariable(name string) bool {
	switch strings.ToUpper(name) {
	case "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY":
		return true
	default:
		return false
	}
}

// parentOf reads which proxy the operator wants for which URL.
func parentOf(env []string) func(*url.URL) (*url.URL, error) {
	given := map[string]string{}
	for _, pair := range env {
		name, value, _ := strings.Cut(pair, "=")
		given[name] = value
	}
	first := func(names ...string) string {
		for _, n := range names {
			if given[n] != "" {
				return given[n]
			}
		}
		return ""
	}
	config := httpproxy.Config{
		HTTPProxy:  first("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"),
		HTTPSProxy: first("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"),
		NoProxy:    first("no_proxy", "NO_PROXY"),
	}
	return config.ProxyFunc()
}

// dialParent connects to the operator's proxy; through SOCKS that is already the
// way to address.
func dialParent(ctx context.Context, parent *url.URL, address string) (net.Conn, error) {
	plain := &net.Dialer{Timeout: dialTime, KeepAlive: keepAlive}
	port := parent.Port()
	switch parent.Scheme {
	case "http":
		if port == "" {
			port = "80"
		}
		return plain.DialContext(ctx, "tcp", net.JoinHostPort(parent.Hostname(), port))
	case "https":
		if port == "" {
			port = "443"
		}
		secure := &tls.Dialer{NetDialer: plain, Config: &tls.Config{MinVersion: tls.VersionTLS12}}
		return secure.DialContext(ctx, "tcp", net.JoinHostPort(parent.Hostname(), port))
	case "socks5", "socks5h":
		socks, err := proxy.FromURL(parent, plain)
		if err != nil {
			return nil, fmt.Errorf("use the proxy: %w", err)
		}
		if with, ok := socks.(proxy.ContextDialer); ok {
			return with.DialContext(ctx, "tcp", address)
		}
		return nil, fmt.Errorf("use the proxy: %s", parent.Redacted())
	default:
		return nil, fmt.Errorf("use the proxy: its scheme %q is not known", parent.Scheme)
	}
}

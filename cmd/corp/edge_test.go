package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/genericcorp/corp"
)

func TestTheSettingsOfTheEdgeAreRead(t *testing.T) {
	t.Parallel()
	laptop := edgeSettings{}
	if err := laptop.check(); err != nil || !laptop.outbound.Allows(netip.MustParseAddr("10.0.0.1")) || laptop.outbound.Allows(netip.MustParseAddr("169.254.169.254")) {
		t.Errorf("a laptop: %v, %+v", err, laptop.outbound)
	}
	installed := edgeSettings{
		PublicURL: "https://corp.example.com/", AllowPrivate: []string{"10.1.0.0/16", "git.example.com"}, Domain: "Example.com", Hosts: []string{"Corp.lan", "10.0.0.1"},
		Origins: []string{"https://tools.example.org"}, Proxies: []string{"127.0.0.1", "10.0.0.0/8"},
	}
	if err := installed.check(); err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]bool{"10.1.0.1": true, "10.2.0.1": false, "127.0.0.1": false, "8.8.8.8": true} {
		if got := installed.outbound.Allows(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s is reached: %t, want %t", address, got, want)
		}
	}
	if in := installed.in; in.Public.Host != "corp.example.com" || in.Domain != "example.com" || len(in.Hosts) != 2 || in.Hosts[0] != "corp.lan" || len(in.Proxies) != 2 || in.Proxies[0].Bits() != 32 {
		t.Errorf("%+v", in)
	}
	for field, bad := range map[string][]edgeSettings{
		"public-url":      {{PublicURL: "corp.example.com"}, {PublicURL: "https://corp.example.com/path"}, {PublicURL: "https://u:p@corp.example.com"}, {PublicURL: "ftp://x"}, {PublicURL: "https://"}},
		"domain":          {{Domain: "*.example.com"}, {Domain: "https://example.com"}, {Domain: "..."}},
		"hosts":           {{Hosts: []string{"https://x"}}, {Hosts: []string{"x:1"}}, {Hosts: []string{"*"}}, {Hosts: []string{""}}},
		"cors-origins":    {{Origins: []string{"*"}}, {Origins: []string{"null"}}, {Origins: []string{"https://x/"}}, {Origins: []string{"https://*.x"}, PublicURL: "x:y"}, {Origins: []string{"example.com"}}},
		"trusted-proxies": {{Proxies: []string{"0.0.0.0/0"}}, {Proxies: []string{"::/0"}}, {Proxies: []string{"proxy.example.com"}}, {Proxies: []string{"*"}}},
		"allow-private":   {{AllowPrivate: []string{"169.254.0.0/16"}}, {AllowPrivate: []string{"0.0.0.0/0"}}, {AllowPrivate: []string{"x y"}}},
	} {
		for _, e := range bad {
			err := e.check()
			known, ok := errors.AsType[*corp.Error](err)
			if !ok || known.Hint == "" || known.Field != field && e.PublicURL != "x:y" {
				t.Errorf("%s: %+v: %v", field, e, err)
			}
		}
	}
}

// listening serves as the API's listener does.
func listening(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- serve(ctx, t.Context(), l, h, time.Second) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// Attack case 54. Control: an ordinary request is answered.
func TestAFloodOfHeadersAndASlowOneAreCutOff(t *testing.T) {
	t.Parallel()
	address := listening(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "fine") })
	for name, c := range map[string]struct{ request, want string }{
		"an ordinary one": {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK"},
		"a long header":   {"GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 200<<10) + "\r\n\r\n", "HTTP/1.1 431 "},
		"many headers":    {"GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: y\r\n", 50_000) + "\r\n", "HTTP/1.1 431 "},
		"a long address":  {"GET /" + strings.Repeat("x", 200<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 431 "},
		"two lengths":     {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "HTTP/1.1 400 "},
		"two hosts":       {"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "HTTP/1.1 400 "},
		"no host":         {"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "},
		"a split header":  {"GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n b\x00\r\n\r\n", "HTTP/1.1 400 "},
	} {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.WriteString(conn, c.request) }()
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		line, err := bufio.NewReader(conn).ReadString('\n')
		_ = conn.Close()
		if !strings.HasPrefix(line, c.want) {
			t.Errorf("%s: %q, %v, want %q", name, line, err, c.want)
		}
	}
	slow, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = slow.Close() }()
	began := time.Now()
	if _, err := fmt.Fprintf(slow, "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "); err != nil {
		t.Fatal(err)
	}
	go func() { // a byte now and then does not help
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if _, err := io.WriteString(slow, "x"); err != nil {
				return
			}
		}
	}()
	_ = slow.SetReadDeadline(time.Now().Add(time.Minute))
	_, _ = io.Copy(io.Discard, slow) // it may be told why
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("a slow header was waited for for %s", took)
	}
}

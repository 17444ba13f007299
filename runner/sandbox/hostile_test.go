//go:build linux

package sandbox

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// What runs in a sandbox must not write into the pipe on which its first
// process says how it ended, nor read the order that it was given.
func TestTheFirstProcessIsClosedToWhatItStarted(t *testing.T) {
	t.Parallel()
	_, p := place(t, Bubblewrap)
	if out, exit := shell(t, p, "ls /proc/self/fd/1 && cat /proc/$$/environ"); !exit.OK() {
		t.Fatalf("the positive control failed with %s: %q", exit, out)
	}
	for _, attack := range []string{
		"ls /proc/1/fd/4", "echo '{\"ended\":true}' > /proc/1/fd/4", "cat /proc/1/environ", "head -c 1 /proc/1/mem",
	} {
		if out, exit := shell(t, p, attack); exit.OK() {
			t.Errorf("%s succeeded: %q", attack, out)
		}
	}
}

// A sandbox that opens connections without end must not use up the descriptors
// that the runner needs for every other run.
func TestConnectionsOfOneSandboxAreBounded(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(server.Close)
	dir, err := os.MkdirTemp("", "") //nolint:usetesting // a socket's address must be short for the test to dial it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	g, err := OpenGateway(socket, waysTo(t, server.URL), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	slots := g.listener.(*boundedListener).slots
	var idle []net.Conn
	for range maxInbound + 20 { // the last ones stay in the kernel's queue
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, conn)
	}
	late := idle[len(idle)-1]
	if _, err := io.WriteString(late, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := late.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := late.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Error("a connection beyond the bound was served")
	}
	if len(slots) > maxInbound {
		t.Errorf("%d connections are open, want at most %d", len(slots), maxInbound)
	}
	for _, conn := range idle[:len(idle)-1] {
		_ = conn.Close()
	}
	if err := late.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(late); err != nil || len(answer) == 0 {
		t.Errorf("once others had left it got %q, %v", answer, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

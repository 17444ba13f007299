// Package redistest gives tests a real Redis (or Valkey) of their own: on a free
// port of the loopback, with a password, without files, ended with the test.
//
// It is for tests only. It never uses a server that somebody else runs, and a
// machine without the program fails the test, which says what to install.
package redistest

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Server is a running Redis, or a stopped one.
type Server struct {
	t        testing.TB
	program  string
	dir      string
	password string
	address  string
	extra    []string
	ended    func()
}

// A shell waits beside the server for the end of its input, which comes also when
// the test's process is killed.
const guard = `"$@" >redis.log 2>&1 & server=$!; read -r _; kill -9 $server; wait $server 2>/dev/null`

// Start starts a server. extra are further settings, as on its command line.
func Start(tb testing.TB, extra ...string) *Server {
	tb.Helper()
	s := &Server{t: tb, dir: tb.TempDir(), password: rand.Text(), extra: extra}
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil {
			s.program = path
			break
		}
	}
	if s.program == "" {
		tb.Fatal("this test needs redis-server or valkey-server: run scripts/setup, or install the package redis-server")
	}
	tb.Cleanup(s.Stop)
	for range 5 { // the free port may be taken by somebody else meanwhile
		listener, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		s.address = listener.Addr().String()
		_ = listener.Close()
		if s.run() {
			return s
		}
	}
	tb.Fatal("redis-server does not start on any port")
	return nil
}

// URL returns how clients reach the server.
func (s *Server) URL() string { return "redis://:" + s.password + "@" + s.address + "/0" }

// Address returns host and port.
func (s *Server) Address() string { return s.address }

// Stop kills the server. Stopping it twice changes nothing.
func (s *Server) Stop() {
	if s.ended != nil {
		s.ended()
		s.ended = nil
	}
}

// Restart starts a stopped server again, where it was, empty.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	if !s.run() {
		s.t.Fatal("redis-server does not start again")
	}
}

func (s *Server) run() bool {
	_, port, _ := net.SplitHostPort(s.address)
	args := append([]string{
		"-c", guard, "redistest", s.program, "--port", port, "--bind", "127.0.0.1", "--requirepass", s.password,
		"--save", "", "--appendonly", "no", "--dir", s.dir, "--daemonize", "no",
	}, s.extra...)
	cmd := exec.CommandContext(context.Background(), "sh", args...)
	cmd.Dir = s.dir
	input, err := cmd.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.ended = func() {
		_ = input.Close()
		_ = cmd.Wait() // it was killed
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		if answer, err := s.Command("PING"); err == nil && answer == "+PONG" {
			return true
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	s.Stop()
	return false
}

// Command sends one command of plain words and returns the first line of the answer.
func (s *Server) Command(words ...string) (string, error) {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "tcp", s.address)
	if err != nil {
		return "", fmt.Errorf("reach redis: %w", err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(conn, "AUTH "+s.password+"\r\n"+strings.Join(words, " ")+"\r\n"); err != nil {
		return "", fmt.Errorf("ask redis: %w", err)
	}
	lines := bufio.NewReader(conn)
	if line, err := lines.ReadString('\n'); err != nil || line != "+OK\r\n" {
		return "", fmt.Errorf("redis is not the test's own: %q %w", line, err)
	}
	line, err := lines.ReadString('\n')
	return strings.TrimSpace(line), err
}

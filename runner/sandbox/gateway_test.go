//go:build linux

package sandbox

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
)

func waysTo(t *testing.T, urls ...string) *Ways {
	t.Helper()
	ways := NewWays(nil)
	if err := ways.Set(urls); err != nil {
		t.Fatal(err)
	}
	return ways
}

// openGateway runs a gateway to handler and returns the profile of a process
// that may use it.
func openGateway(t *testing.T, server *httptest.Server) (Folder, Profile) {
	t.Helper()
	f, p := place(t, Bubblewrap)
	g, err := OpenGateway(f.Socket(), waysTo(t, server.URL), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	p.Gateway = f.Socket()
	return f, p
}

// bridge lets the test speak through a sandbox: one process inside copies its
// streams to and from the forwarded port, as netcat would.
func bridge(t *testing.T, p Profile) net.Conn {
	t.Helper()
	process, err := Command(t.Context(), p, BinaryPath, "bridge", fmt.Sprintf("127.0.0.1:%d", GatewayPort))
	if err != nil {
		t.Fatal(err)
	}
	in, err := process.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	go func() { _, _ = io.Copy(in, far); _ = in.Close() }()
	go func() { _, _ = io.Copy(far, out); _ = far.Close() }()
	t.Cleanup(func() { process.Kill(); _, _ = process.Wait(); _ = near.Close() })
	return near
}

func bridgeRole(address string) int {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return 1
	}
	go func() { _, _ = io.Copy(conn, os.Stdin); closeWrite(conn) }()
	_, _ = io.Copy(os.Stdout, conn)
	return 0
}

// getRole makes n requests at once and checks that each brings its own body back.
func getRole(base string, n int) int {
	var wg sync.WaitGroup
	failed := make(chan error, n)
	for i := range n {
		wg.Go(func() {
			want := bytes.Repeat([]byte{byte(i)}, 100_000+i)
			resp, err := http.Post(base+"/echo", "application/octet-stream", bytes.NewReader(want))
			if err != nil {
				failed <- err
				return
			}
			defer func() { _ = resp.Body.Close() }()
			if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(got, want) {
				failed <- fmt.Errorf("request %d: %d of %d bytes, %w", i, len(got), len(want), err)
			}
		})
	}
	wg.Wait()
	close(failed)
	for err := range failed {
		fmt.Println(err)
		return 1
	}
	return 0
}

func TestEventsOfAStreamArriveOneByOne(t *testing.T) {
	t.Parallel()
	next := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 5 {
			_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
			_ = http.NewResponseController(w).Flush()
			select { // the next event is sent only when this one has been seen
			case <-next:
			case <-r.Context().Done():
				return
			}
		}
	}))
	t.Cleanup(server.Close)
	_, p := openGateway(t, server)
	conn := bridge(t, p)
	if _, err := io.WriteString(conn, "GET /v1/messages HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	events := bufio.NewReader(resp.Body)
	for i := range 5 {
		line, err := events.ReadString('\n')
		if err != nil || line != fmt.Sprintf("data: %d\n", i) {
			t.Fatalf("got %q, %v", line, err)
		}
		_, _ = events.ReadString('\n')
		next <- struct{}{}
	}
}

func TestAHundredConnectionsAtOnceKeepTheirBodies(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
	}))
	t.Cleanup(server.Close)
	_, p := openGateway(t, server)
	if out, exit := run(t, p, BinaryPath, "get", p.GatewayURL(""), "100"); !exit.OK() {
		t.Fatalf("%s: %s", exit, out)
	}
}

func TestRequestsPassUnchangedAndOnlyToTheGateway(t *testing.T) {
	t.Parallel()
	body := make([]byte, 8<<20)
	_, _ = rand.Read(body)
	type seen struct {
		URI    string
		Header http.Header
		Same   bool
	}
	got := make(chan seen, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- seen{r.RequestURI, r.Header, bytes.Equal(b, body)}
		w.Header()["Content-Encoding"] = []string{"gzip"} // and it is not: nobody may unpack it
		w.WriteHeader(http.StatusTeapot)
		_, _ = w.Write(b)
	}))
	t.Cleanup(server.Close)
	_, p := openGateway(t, server)
	conn := bridge(t, p)
	go func() {
		_, _ = fmt.Fprintf(conn, "POST http://evil.example/v1/messages?a=1;b&%%zz HTTP/1.1\r\nHost: evil.example\r\nX-Odd:  two  words \r\nX-Odd: again\r\nContent-Length: %d\r\n\r\n", len(body))
		_, _ = conn.Write(body)
	}()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	back, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusTeapot || !bytes.Equal(back, body) {
		t.Errorf("answer: %d, %d bytes, %v", resp.StatusCode, len(back), err)
	}
	want := seen{"/v1/messages?a=1;b&%zz", http.Header{"X-Odd": {"two  words", "again"}, "Content-Length": {fmt.Sprint(len(body))}}, true}
	if diff := cmp.Diff(want, <-got); diff != "" {
		t.Error(diff)
	}
}

func TestTheSocketIsPrivateAndALongPathWorks(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	path := filepath.Join(t.TempDir(), strings.Repeat("d", 120), "gateway.sock")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time over what a killed runner left
		g, err := OpenGateway(path, waysTo(t, server.URL), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("got %v, %v", info, err)
		}
		if err := g.close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAGatewayThatIsDownAnswersWithAProblem(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	_, p := openGateway(t, server)
	conn := bridge(t, p)
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != http.StatusBadGateway {
		t.Fatalf("got %v, %v", resp, err)
	}
	_ = resp.Body.Close()
}

func TestAGatewayURLWithoutHostIsRefused(t *testing.T) {
	t.Parallel()
	for _, u := range []string{"", "file://x", "http://", "http:x", "://"} {
		if err := NewWays(nil).Set([]string{"http://127.0.0.1:1", u}); corp.KindOf(err) != corp.KindInvalid {
			t.Errorf("%q: got %v", u, err)
		}
	}
}

func TestWithoutAGatewayThereIsNoWayOut(t *testing.T) {
	t.Parallel()
	_, p := place(t, Bubblewrap)
	if out, exit := run(t, p, BinaryPath, "dial", fmt.Sprintf("127.0.0.1:%d", GatewayPort)); exit.Code != 1 {
		t.Fatalf("got %q, %s", out, exit)
	}
}

func TestTheEndOfRunCutsOpenStreams(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	path := filepath.Join(t.TempDir(), "s")
	g, err := OpenGateway(path, waysTo(t, server.URL), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("Run did not end")
	}
	expectEnd(t, conn)
}

// A vendor bills for an answer as long as somebody seems to wait for it.
func TestWhoHangsUpInsideIsGoneAtTheGateway(t *testing.T) {
	t.Parallel()
	for name, speaks := range map[string]bool{"before the answer": false, "in the middle of it": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began, gone := make(chan struct{}), make(chan struct{})
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if speaks {
					_, _ = io.WriteString(w, "data: 1\n\n")
					_ = http.NewResponseController(w).Flush()
				}
				close(began)
				<-r.Context().Done()
				close(gone)
			}))
			t.Cleanup(server.Close)
			_, p := openGateway(t, server)
			conn := bridge(t, p)
			if _, err := io.WriteString(conn, "POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"); err != nil {
				t.Fatal(err)
			}
			<-began
			if speaks {
				if _, err := conn.Read(make([]byte, 1)); err != nil {
					t.Fatal(err)
				}
			}
			_ = conn.Close()
			select {
			case <-gone:
			case <-time.After(time.Minute):
				t.Fatal("the gateway still waits for somebody who left")
			}
		})
	}
}

package sandbox

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func gone(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	return server.URL
}

// through opens a way out over ways and returns a client of it.
func through(t *testing.T, ways *Ways) *http.Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	g, err := OpenGateway(path, ways, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- g.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func say(t *testing.T, c *http.Client, text string) (int, string) {
	t.Helper()
	resp, err := c.Post("http://gateway/v1/x?q=%zz", "text/plain", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func echo(t *testing.T, name string, asked *atomic.Int64) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		b, _ := io.ReadAll(r.Body)
		_, _ = w.Write(append([]byte(name+" "+r.URL.Path+" "), b...))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestAGatewayThatCannotBeReachedIsPassedOver(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	large := string(bytes.Repeat([]byte("x"), 3<<20))
	c := through(t, waysTo(t, gone(t), gone(t), echo(t, "third", &asked)+"/base/"))
	for range 2 {
		if status, text := say(t, c, large); status != http.StatusOK || text != "third /base/v1/x "+large {
			t.Fatalf("%d, %d bytes", status, len(text))
		}
	}
	if asked.Load() != 2 {
		t.Errorf("%d calls", asked.Load())
	}
}

// What may have reached a gateway reaches no other: a vendor could bill both.
func TestACallThatWasBegunIsNeverRepeated(t *testing.T) {
	t.Parallel()
	var cut, asked atomic.Int64
	cutting := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		cut.Add(1)
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(cutting.Close)
	c := through(t, waysTo(t, cutting.URL, echo(t, "other", &asked)))
	if status, _ := say(t, c, "once"); status != http.StatusBadGateway || cut.Load() != 1 || asked.Load() != 0 {
		t.Errorf("%d, the first was asked %d times, the other %d times", status, cut.Load(), asked.Load())
	}
}

func TestWithoutAWayOtherGatewaysAreAskedFor(t *testing.T) {
	t.Parallel()
	var asked, lost atomic.Int64
	there := echo(t, "new", &asked)
	var ways *Ways
	ways = NewWays(func() {
		lost.Add(1)
		if err := ways.Set([]string{there}); err != nil {
			t.Error(err)
		}
	})
	if err := ways.Set([]string{gone(t)}); err != nil {
		t.Fatal(err)
	}
	if status, text := say(t, through(t, ways), "hello"); status != http.StatusOK || text != "new /v1/x hello" || lost.Load() != 1 {
		t.Errorf("%d %q, asked %d times", status, text, lost.Load())
	}
}

// A paused gateway takes connections and never answers: its calls are cut, and
// the next ones go elsewhere.
func TestAGatewayThatFallsSilentIsGivenUp(t *testing.T) {
	t.Parallel()
	release, waiting := make(chan struct{}), make(chan struct{}, 8)
	paused := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		waiting <- struct{}{}
		select {
		case <-r.Context().Done():
		case <-release:
		}
	}))
	t.Cleanup(func() { close(release); paused.Close() })
	var asked atomic.Int64
	ways := waysTo(t, paused.URL, echo(t, "other", &asked))
	watched := make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { defer close(watched); ways.Watch(ctx, 20*time.Millisecond) }()
	c := through(t, ways)
	if status, _ := say(t, c, "first"); status != http.StatusBadGateway || asked.Load() != 0 {
		t.Errorf("%d, the other was asked %d times", status, asked.Load())
	}
	stop() // on a busy machine the other one, too, may seem silent for so short a time
	<-watched
	if status, text := say(t, c, "second"); status != http.StatusOK || !strings.HasPrefix(text, "other") {
		t.Errorf("%d %q", status, text)
	}
}

// A runner may know one gateway only, for instance since the others came later.
func TestTheOnlyGatewayThatFallsSilentIsGivenUp(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	paused := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(func() { close(release); paused.Close() })
	var asked, lost atomic.Int64
	there := echo(t, "new", &asked)
	var ways *Ways
	ways = NewWays(func() {
		if lost.Add(1) < 2 { // nobody knows another one yet
			return
		}
		if err := ways.Set([]string{paused.URL, there}); err != nil {
			t.Error(err)
		}
	})
	if err := ways.Set([]string{paused.URL}); err != nil {
		t.Fatal(err)
	}
	watched := make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { defer close(watched); ways.Watch(ctx, 20*time.Millisecond) }()
	c := through(t, ways)
	if status, _ := say(t, c, "first"); status != http.StatusBadGateway || lost.Load() != 2 {
		t.Errorf("%d, others were asked for %d times", status, lost.Load())
	}
	stop()
	<-watched
	if status, text := say(t, c, "second"); status != http.StatusOK || !strings.HasPrefix(text, "new") {
		t.Errorf("%d %q", status, text)
	}
}

// A slow vendor is no silent gateway.
func TestACallThatTakesLongIsNotCutWhileItsGatewayAnswers(t *testing.T) {
	t.Parallel()
	release, probes := make(chan struct{}), make(chan struct{}, 100)
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" {
			probes <- struct{}{}
			return
		}
		<-release
		_, _ = w.Write([]byte("at last"))
	}))
	t.Cleanup(slow.Close)
	var asked atomic.Int64
	ways := waysTo(t, slow.URL, echo(t, "other", &asked))
	watched := make(chan struct{})
	go func() { defer close(watched); ways.Watch(t.Context(), 2*time.Second) }()
	t.Cleanup(func() { <-watched })
	go func() {
		for range misses + 1 {
			<-probes
		}
		close(release)
	}()
	if status, text := say(t, through(t, ways), "x"); status != http.StatusOK || text != "at last" || asked.Load() != 0 {
		t.Errorf("%d %q", status, text)
	}
}

// The server that took a request closes its body as soon as its answer begins; a
// transport that then looks for more must not find an error.
func TestABodyThatHasEndedStaysEndedWhenItIsClosed(t *testing.T) {
	t.Parallel()
	type reads struct{ sent, after, plain error }
	got := make(chan reads, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var is reads
		body := &untouched{body: r.Body}
		_, is.sent = io.CopyN(io.Discard, body, r.ContentLength)
		_ = r.Body.Close()
		_, is.after = body.Read(make([]byte, 1))
		_, is.plain = r.Body.Read(make([]byte, 1))
		got <- is
	}))
	t.Cleanup(server.Close)
	resp, err := http.Post(server.URL, "text/plain", strings.NewReader("all of it"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if is := <-got; is.sent != nil || !errors.Is(is.after, io.EOF) || !errors.Is(is.plain, http.ErrBodyReadAfterClose) {
		t.Errorf("got %+v", is)
	}
}

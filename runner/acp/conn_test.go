package acp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// pair connects two Conns; setup registers handlers before they run. Inside a
// synctest bubble a goroutine that is left behind fails the test.
func pair(t *testing.T, maxMessage int, setup func(a, b *Conn)) (a, b *Conn, end func() (errA, errB error)) {
	t.Helper()
	ar, bw := io.Pipe()
	br, aw := io.Pipe()
	a, b = NewConn(ar, aw, maxMessage, quiet()), NewConn(br, bw, maxMessage, quiet())
	if setup != nil {
		setup(a, b)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ea, eb := make(chan error, 1), make(chan error, 1)
	go func() { ea <- a.Run(ctx) }()
	go func() { eb <- b.Run(ctx) }()
	return a, b, func() (error, error) {
		cancel()
		return <-ea, <-eb
	}
}

func echo(_ context.Context, params json.RawMessage) Work {
	return func() (any, error) { return params, nil }
}

func TestEveryConcurrentCallGetsItsOwnAnswerInBothDirections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b, end := pair(t, 0, func(a, b *Conn) { a.Handle("echo", echo); b.Handle("echo", echo) })
		var wg sync.WaitGroup
		for side, c := range []*Conn{a, b} {
			for g := range 20 { // below maxHandlers, so that none is refused
				wg.Go(func() {
					for i := range 20 {
						want := fmt.Sprintf(`{"n":"%d/%d/%d <&>"}`, side, g, i)
						got, err := c.Call(t.Context(), "echo", json.RawMessage(want))
						if err != nil || string(got) != want {
							t.Errorf("Call = %s, %v; want %s", got, err, want)
						}
					}
				})
			}
		}
		wg.Wait()
		_, _ = end()
	})
}

func TestNotificationsArriveInOrderAndBeforeTheAnswerThatFollowsThem(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n = 2000
		var seen []int
		a, _, end := pair(t, 0, func(a, b *Conn) {
			a.HandleNotification("n", func(_ context.Context, p json.RawMessage) {
				var i int
				if err := json.Unmarshal(p, &i); err != nil {
					t.Error(err)
				}
				seen = append(seen, i)
			})
			b.Handle("go", func(ctx context.Context, _ json.RawMessage) Work {
				return func() (any, error) {
					for i := range n {
						if err := b.Notify(ctx, "n", i); err != nil {
							return nil, err
						}
					}
					return "done", nil
				}
			})
		})
		if _, err := a.Call(t.Context(), "go", nil); err != nil {
			t.Fatal(err)
		}
		if len(seen) != n {
			t.Fatalf("%d notifications before the answer, want %d", len(seen), n)
		}
		for i, v := range seen {
			if i != v {
				t.Fatalf("notification %d came at place %d", v, i)
			}
		}
		_, _ = end()
	})
}

func TestASlowReceiverHoldsTheSenderBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		var sent, handled atomic.Int64
		_, b, end := pair(t, 0, func(a, _ *Conn) {
			a.HandleNotification("n", func(context.Context, json.RawMessage) { <-gate; handled.Add(1) })
		})
		payload := strings.Repeat("x", 64<<10) // larger than the reader's buffer
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			for b.Notify(ctx, "n", payload) == nil {
				sent.Add(1)
			}
		})
		synctest.Wait()
		if n := sent.Load(); n > 4 {
			t.Errorf("%d notifications were taken while none was handled; want a bounded few", n)
		}
		cancel()
		wg.Wait()
		close(gate)
		_, _ = end()
	})
}

func TestACancelledCallReturnsAtOnceAndCancelsThePeersWork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stopped := make(chan struct{})
		a, _, end := pair(t, 0, func(_, b *Conn) {
			b.Handle("wait", func(ctx context.Context, _ json.RawMessage) Work {
				return func() (any, error) { <-ctx.Done(); close(stopped); return nil, ctx.Err() }
			})
			b.Handle("echo", echo)
		})
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() { _, err := a.Call(ctx, "wait", nil); result <- err }()
		synctest.Wait()
		cancel()
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Errorf("Call = %v, want cancelled", err)
		}
		<-stopped
		if _, err := a.Call(t.Context(), "echo", 1); err != nil {
			t.Errorf("the connection did not survive the late answer: %v", err)
		}
		_, _ = end()
	})
}

func TestAnUnknownMethodAndAHandlersErrorComeBackAsRPCErrors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, _, end := pair(t, 0, func(_, b *Conn) {
			b.Handle("bad", func(context.Context, json.RawMessage) Work {
				return func() (any, error) { return nil, Refuse(CodeInvalidParams, "no %s", "way") }
			})
			b.Handle("unencodable", func(context.Context, json.RawMessage) Work {
				return func() (any, error) { return func() {}, nil }
			})
		})
		for method, code := range map[string]int{"bad": CodeInvalidParams, "nothing": CodeMethodNotFound, "unencodable": CodeInternal} {
			_, err := a.Call(t.Context(), method, nil)
			if e, ok := errors.AsType[*RPCError](err); !ok || e.Code != code {
				t.Errorf("Call(%s) = %v, want code %d", method, err, code)
			}
		}
		_, _ = end()
	})
}

func TestCallsFailWhenThePeerEndsAndSoDoLaterOnes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, peer := io.Pipe()
		c := NewConn(r, io.Discard, 0, quiet())
		run := make(chan error, 1)
		go func() { run <- c.Run(t.Context()) }()
		result := make(chan error, 1)
		go func() { _, err := c.Call(t.Context(), "x", nil); result <- err }()
		synctest.Wait()
		_ = peer.Close()
		if err := <-result; !errors.Is(err, ErrClosed) {
			t.Errorf("Call = %v, want closed", err)
		}
		if err := <-run; err != nil {
			t.Errorf("Run = %v, want nil at the end of input", err)
		}
		if _, err := c.Call(t.Context(), "x", nil); !errors.Is(err, ErrClosed) {
			t.Errorf("a later Call = %v, want closed", err)
		}
		if err := c.Notify(t.Context(), "x", nil); !errors.Is(err, ErrClosed) {
			t.Errorf("a later Notify = %v, want closed", err)
		}
	})
}

// answers feeds a Conn the input, and returns what it wrote and how it ended.
func answers(t *testing.T, input io.Reader, maxMessage int) (string, *Conn, error) {
	t.Helper()
	var out bytes.Buffer
	c := NewConn(input, &out, maxMessage, quiet())
	c.Handle("echo", echo)
	err := c.Run(t.Context())
	return out.String(), c, err
}

func TestJunkLinesAreCountedAndMessagesAroundThemAreServed(t *testing.T) {
	t.Parallel()
	input := strings.Join([]string{
		"Welcome to the agent!", "", "   ", "[INFO] starting", `{"level":"info","msg":"hi"}`, `{"jsonrpc":"2.0"`, "\x00\xff\xfe", "null", `"s"`, "123",
		`{"jsonrpc":"1.0","id":1,"method":"echo"}`, `{"jsonrpc":"2.0"}`, `{"jsonrpc":"2.0","method":5,"id":1}`,
		"\ufeff" + `{"jsonrpc":"2.0","id":"a","method":"echo","params":{"x":1}}` + "\r",
		`{"jsonrpc":"2.0","id":99,"result":{}}`, `{"jsonrpc":"2.0","id":"zz","result":{}}`, `{"jsonrpc":"2.0","method":"unknown/notice"}`,
		`[{"jsonrpc":"2.0","id":2,"method":"echo"}]`,
		`{"jsonrpc":"2.0","id":null,"method":"nothing"}`, // the last line has no end
	}, "\n")
	out, c, err := answers(t, strings.NewReader(input), 0)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSpace(out), "\n")
	want := []string{
		`{"jsonrpc":"2.0","id":"a","result":{"x":1}}`,
		`{"jsonrpc":"2.0","id":null,"error":{"code":-32601,"message":"There is no method \"nothing\" here."}}`,
	}
	if len(got) == 2 && got[0] > got[1] { // the two are answered side by side
		got[0], got[1] = got[1], got[0]
	}
	if len(want) == 2 && want[0] > want[1] {
		want[0], want[1] = want[1], want[0]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	if c.Junk() != 12 {
		t.Errorf("junk = %d, want 12", c.Junk())
	}
}

// endless yields n bytes of x and then the rest.
type endless struct {
	n    int
	rest io.Reader
}

func (e *endless) Read(p []byte) (int, error) {
	if e.n <= 0 {
		return e.rest.Read(p)
	}
	n := min(len(p), e.n)
	for i := range n {
		p[i] = 'x'
	}
	e.n -= n
	return n, nil
}

func TestAHundredMegabytesOfJunkInOneLineCostNoMemory(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	out, c, err := answers(t, &endless{n: 100 << 20, rest: strings.NewReader("\n" + `{"jsonrpc":"2.0","id":1,"method":"echo","params":[1]}` + "\n")}, 1<<20)
	runtime.ReadMemStats(&after)
	if err != nil || out != `{"jsonrpc":"2.0","id":1,"result":[1]}`+"\n" || c.Junk() != 1 {
		t.Fatalf("out = %q, junk = %d, err = %v", out, c.Junk(), err)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 4<<20 {
		t.Errorf("allocated %d bytes for a line that nobody reads", grown)
	}
}

func TestAMessageOverTheLimitEndsTheConnectionClearlyAndOneBelowItPasses(t *testing.T) {
	t.Parallel()
	message := func(n int) string {
		return `{"jsonrpc":"2.0","id":1,"method":"echo","params":["` + strings.Repeat("y", n) + `"]}` + "\n"
	}
	const limit = 300 << 10
	if out, _, err := answers(t, strings.NewReader(message(200<<10)), limit); err != nil || len(out) < 200<<10 {
		t.Errorf("a long message: %d bytes answered, %v", len(out), err)
	}
	_, _, err := answers(t, strings.NewReader(message(limit)+message(1)), limit)
	if !errors.Is(err, ErrTooLong) {
		t.Errorf("Run = %v, want too long", err)
	}
	c := NewConn(strings.NewReader(""), io.Discard, limit, quiet())
	if _, err := c.Call(t.Context(), "x", strings.Repeat("y", limit)); !errors.Is(err, ErrTooLong) {
		t.Errorf("Call = %v, want too long", err)
	}
}

func TestAPeerThatFloodsWithoutReadingIsCutOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var flood strings.Builder
		for i := range maxHandlers + maxRefusals + 10 {
			fmt.Fprintf(&flood, `{"jsonrpc":"2.0","id":%d,"method":"wait"}`+"\n", i)
		}
		stuckRead, stuck := io.Pipe() // nobody reads it
		defer func() { _ = stuckRead.Close() }()
		c := NewConn(strings.NewReader(flood.String()), stuck, 0, quiet())
		c.Handle("wait", func(ctx context.Context, _ json.RawMessage) Work {
			return func() (any, error) { <-ctx.Done(); return nil, ctx.Err() }
		})
		ctx, cancel := context.WithCancel(t.Context())
		run := make(chan error, 1)
		go func() { run <- c.Run(ctx) }()
		<-c.Done()
		cancel()
		if err := <-run; err == nil || !strings.Contains(err.Error(), "does not read") {
			t.Errorf("Run = %v, want a broken peer", err)
		}
	})
}

func TestARequestIDThatIsInHandIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		in, peer := io.Pipe()
		out, w := io.Pipe()
		c := NewConn(in, w, 0, quiet())
		c.Handle("wait", func(ctx context.Context, _ json.RawMessage) Work {
			return func() (any, error) { <-ctx.Done(); return nil, ctx.Err() }
		})
		go func() { _ = c.Run(t.Context()) }()
		line := []byte(`{"jsonrpc":"2.0","id":7,"method":"wait"}` + "\n")
		_, _ = peer.Write(append(line, line...))
		buf := make([]byte, 4096)
		n, err := out.Read(buf)
		if err != nil || !strings.Contains(string(buf[:n]), "in hand already") {
			t.Errorf("answer = %s, %v", buf[:n], err)
		}
		go func() { _, _ = io.Copy(io.Discard, out) }()
		_ = peer.Close()
		synctest.Wait()
		_ = out.Close()
	})
}

func TestRunEndsWithItsContextEvenWhileAWriteIsStuck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		in, peer := io.Pipe()
		_, w := io.Pipe()
		defer func() { _ = peer.Close() }()
		c := NewConn(in, w, 0, quiet())
		ctx, cancel := context.WithCancelCause(t.Context())
		run := make(chan error, 1)
		go func() { run <- c.Run(ctx) }()
		if err := c.Notify(ctx, "n", nil); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		why := errors.New("shutting down")
		cancel(why)
		if err := <-run; !errors.Is(err, why) {
			t.Errorf("Run = %v, want %v", err, why)
		}
	})
}

func FuzzConn(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"method":"echo","params":{}}` + "\n"))
	f.Add([]byte(`{"jsonrpc":"2.0","method":"$/cancel_request","params":{"requestId":1}}` + "\n{}\n"))
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"result":null}` + "\n\xff\n[]\n"))
	f.Add([]byte("{" + strings.Repeat(" ", 70<<10) + "\n" + strings.Repeat("[", 2000)))
	f.Fuzz(func(t *testing.T, input []byte) {
		out, _, err := answers(t, bytes.NewReader(input), 1<<10)
		if err != nil && !errors.Is(err, ErrTooLong) && !strings.Contains(err.Error(), "does not read") {
			t.Errorf("Run = %v", err)
		}
		for line := range strings.Lines(out) {
			if m, ok := decode([]byte(line)); !ok || m.Method != nil {
				t.Errorf("wrote %q, which is no answer", line)
			}
		}
	})
}

package client

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/genericcorp/corp"
)

func answering(t *testing.T, asked *atomic.Int64, status int, body string) string {
	t.Helper()
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		asked.Add(1)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

const stoppingProblem = `{"kind":"unavailable","code":"stopping","detail":"This server is stopping."}`

func TestTheNextServerIsAskedAndStayedWith(t *testing.T) {
	t.Parallel()
	var stopping, good atomic.Int64
	one, two := answering(t, &stopping, http.StatusServiceUnavailable, stoppingProblem), answering(t, &good, http.StatusOK, `{}`)
	c := New(nobody(t)+", "+one+"/,"+two, "", Options{})
	for range 3 {
		if _, err := c.Workspace(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if stopping.Load() != 1 || good.Load() != 3 || c.URL() != two {
		t.Errorf("the one that stops was asked %d times, the good one %d times, now at %s", stopping.Load(), good.Load(), c.URL())
	}
}

func TestWithNoServerLeftItEndsAfterOneRound(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	one, two := answering(t, &asked, http.StatusServiceUnavailable, stoppingProblem), answering(t, &asked, http.StatusServiceUnavailable, stoppingProblem)
	_, err := New(one+","+two, "", Options{}).Workspace(t.Context())
	if corp.KindOf(err) != corp.KindUnavailable || asked.Load() != 2 {
		t.Errorf("%v after %d requests", err, asked.Load())
	}
}

// What may have been carried out is not sent to another server.
func TestARequestThatMayHaveBeenCarriedOutIsNotSentElsewhere(t *testing.T) {
	t.Parallel()
	var good atomic.Int64
	cut := serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	c := New(cut+","+answering(t, &good, http.StatusOK, `{}`), "", Options{Patience: time.Minute})
	if _, err := c.RetryTask(t.Context(), corp.NewID[corp.TaskID]()); corp.KindOf(err) != corp.KindUnavailable || good.Load() != 0 {
		t.Errorf("%v, and the other server was asked %d times", err, good.Load())
	}
	if _, err := c.RetryTask(t.Context(), corp.NewID[corp.TaskID]()); err != nil || good.Load() != 1 {
		t.Errorf("the next request: %v", err)
	}
	// One that certainly was not, is.
	c = New(nobody(t)+","+answering(t, &good, http.StatusOK, `{}`), "", Options{})
	if _, err := c.RetryTask(t.Context(), corp.NewID[corp.TaskID]()); err != nil || good.Load() != 2 {
		t.Errorf("after a server that cannot be reached: %v", err)
	}
}

func TestAnUploadThatWasNotBegunGoesToTheNextServer(t *testing.T) {
	t.Parallel()
	var got atomic.Value
	good := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got.Store(string(b))
		_, _ = io.WriteString(w, `{}`)
	})
	if _, err := New(nobody(t)+","+good, "", Options{}).UploadSource(t.Context(), strings.NewReader("a bundle")); err != nil || got.Load() != "a bundle" {
		t.Errorf("%v, %v", got.Load(), err)
	}
	cut := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = r.Body.Read(make([]byte, 1))
		panic(http.ErrAbortHandler)
	})
	got.Store("")
	if _, err := New(cut+","+good, "", Options{Patience: time.Second}).UploadSource(t.Context(), strings.NewReader("a bundle")); err == nil || got.Load() != "" {
		t.Errorf("an upload that broke off was sent on from its middle: %v, %v", got.Load(), err)
	}
}

// A task is submitted under one key, however many servers hear of it.
func TestASubmissionKeepsItsKeyFromServerToServer(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	keys := map[string]int{}
	note := func(r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		keys[r.Header.Get("Idempotency-Key")]++
	}
	cut := serve(t, func(_ http.ResponseWriter, r *http.Request) { note(r); panic(http.ErrAbortHandler) })
	good := serve(t, func(w http.ResponseWriter, r *http.Request) { note(r); _, _ = io.WriteString(w, `{}`) })
	if _, err := New(cut+","+good, "", Options{}).SubmitTask(t.Context(), corp.TaskSpec{}, ""); err != nil {
		t.Fatal(err)
	}
	for key, n := range keys {
		if len(keys) != 1 || n != 2 || key == "" {
			t.Errorf("keys %v", keys)
		}
	}
}

// One request that a paused server does not answer in time takes the others that
// wait there along.
func TestAPausedServerIsLeftByAllAtOnce(t *testing.T) {
	t.Parallel()
	waiting, release := make(chan struct{}, 2), make(chan struct{})
	paused := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		waiting <- struct{}{}
		select {
		case <-r.Context().Done():
		case <-release:
		}
	}))
	t.Cleanup(func() { close(release); paused.Close() })
	var good atomic.Int64
	c := New(paused.URL+","+answering(t, &good, http.StatusOK, `{}`), "", Options{Patience: time.Minute})
	polled := make(chan error, 1)
	go func() {
		_, err := c.Poll(t.Context(), corp.NewID[corp.RunnerID](), corp.Poll{Seq: 1, Free: 1, WaitMS: 60_000})
		polled <- err
	}()
	<-waiting
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Beat(ctx, corp.NewID[corp.RunnerID](), corp.Beat{}); err == nil {
		t.Error("a paused server answered")
	}
	select {
	case err := <-polled:
		if err != nil || good.Load() != 1 {
			t.Errorf("%v, the good one was asked %d times", err, good.Load())
		}
	case <-time.After(30 * time.Second): // by itself it waits for 70
		t.Error("the poll still waits for a paused server")
	}
}

func TestAServerThatIsTooSlowIsLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var net network
		var good atomic.Int64
		slow := net.serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		quick := net.serve(t, func(w http.ResponseWriter, _ *http.Request) { good.Add(1); _, _ = io.WriteString(w, `{}`) })
		began := time.Now()
		c := New(slow+","+quick, "", Options{HTTP: net.client(t)})
		if _, err := c.Workspace(t.Context()); err != nil || good.Load() != 1 {
			t.Errorf("%v", err)
		}
		if took := time.Since(began); took != slowAnswer || c.URL() != quick { // by the bubble's clock
			t.Errorf("it left after %v, now at %s", took, c.URL())
		}
	})
}

// An upload to a server that takes no more of it, or never answers, is given up: by
// itself, or with the first request that notices.
func TestAnUploadToASilentServerIsGivenUp(t *testing.T) {
	t.Parallel()
	for name, takes := range map[string]func(io.Reader){
		"it takes all of it": func(r io.Reader) { _, _ = io.Copy(io.Discard, r) },
		"it takes a part":    func(r io.Reader) { _, _ = io.CopyN(io.Discard, r, 100_000) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var net network
				end := make(chan struct{})
				defer close(end)
				paused := net.serve(t, func(_ http.ResponseWriter, r *http.Request) { takes(r.Body); <-end })
				good := net.serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{}`) })
				upload := func(c *Client) (time.Duration, error) {
					began := time.Now()
					_, err := c.UploadResult(t.Context(), corp.Lease{RunID: corp.NewID[corp.RunID]()}, corp.BlobPatch, io.LimitReader(endless{}, 1<<20))
					return time.Since(began), err
				}
				c := New(paused+","+good, "", Options{HTTP: net.client(t)})
				if took, err := upload(c); took != slowUpload || corp.KindOf(err) != corp.KindUnavailable || c.URL() != good {
					t.Errorf("alone: after %v: %v, now at %s", took, err, c.URL())
				}
				c = New(paused+","+good, "", Options{HTTP: net.client(t)})
				go func() { _, _ = c.Workspace(t.Context()) }()
				if took, err := upload(c); took != slowAnswer || corp.KindOf(err) != corp.KindUnavailable {
					t.Errorf("beside a request that notices: after %v: %v", took, err)
				}
			})
		})
	}
}

// endless is a source.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// A source that takes its time says nothing about the server, nor does a server
// that takes long for all of it.
func TestAnUploadThatGoesOnIsNotGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var net network
		slow := net.serve(t, func(w http.ResponseWriter, r *http.Request) {
			for err := error(nil); err == nil; {
				<-time.After(slowUpload / 2)
				_, err = io.CopyN(io.Discard, r.Body, 64<<10)
			}
			_, _ = io.WriteString(w, `{}`)
		})
		c := New(slow+","+net.serve(t, nil), "", Options{HTTP: net.client(t)})
		source, writes := io.Pipe()
		go func() {
			for range 4 {
				<-time.After(2 * slowUpload)
				_, _ = writes.Write(make([]byte, 100_000))
			}
			_ = writes.Close()
		}()
		if _, err := c.UploadSource(t.Context(), source); err != nil || c.URL() != slow {
			t.Errorf("%v, now at %s", err, c.URL())
		}
	})
}

// Who gives a request up by himself says nothing about the server.
func TestACallersOwnCancellationKeepsTheServer(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 1)
	server := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	})
	c := New(server+","+nobody(t), "", Options{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	if _, err := c.Workspace(ctx); err == nil || c.URL() != server {
		t.Errorf("%v, now at %s", err, c.URL())
	}
}

func TestAStreamGoesOnAtTheNextServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var net network
		cut := net.serve(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "id: e:1\nevent: event\ndata: {\"seq\":1}\n\n")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		})
		from := make(chan string, 1)
		good := net.serve(t, func(w http.ResponseWriter, r *http.Request) {
			from <- r.Header.Get("Last-Event-ID")
			_, _ = io.WriteString(w, "id: e:2\nevent: event\ndata: {\"seq\":2}\n\nid: e:2\nevent: end\ndata: {}\n\n")
		})
		var seen []int64
		for u, err := range New(cut+","+good, "", Options{Patience: time.Minute, HTTP: net.client(t)}).Stream(t.Context(), StreamQuery{After: "e:0"}) {
			if err != nil {
				t.Fatal(err)
			}
			seen = append(seen, u.Event.Seq)
		}
		if len(seen) != 2 || seen[0] != 1 || seen[1] != 2 || <-from != "e:1" {
			t.Errorf("%v", seen)
		}
	})
}

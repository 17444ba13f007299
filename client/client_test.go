package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
)

// What the server itself answers is tested in package api, against the real one.
// Here is what a network and a stranger's server may answer.

func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL
}

func TestAProblemBecomesTheErrorItWas(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusPaymentRequired)
		_, _ = io.WriteString(w, `{"type":"about:blank","status":402,"title":"Payment Required","detail":"The budget is used up.","kind":"limit_reached","code":"task_budget","field":"budget","hint":"Raise it.","request_id":"req_1","more":1}`)
	})
	_, err := New(url, "", Options{}).Workspace(t.Context())
	e, ok := errors.AsType[*corp.Error](err)
	if !ok {
		t.Fatalf("%v", err)
	}
	cause := e.Err
	e.Err = nil
	if diff := cmp.Diff(&corp.Error{Kind: corp.KindLimit, Code: "task_budget", Message: "The budget is used up.", Field: "budget", Hint: "Raise it."}, e); diff != "" {
		t.Error(diff)
	}
	if cause == nil || cause.Error() != "request req_1" {
		t.Errorf("the request's name is lost: %v", cause)
	}
}

func TestAStrangersAnswerIsAnErrorToo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		body   string
		kind   corp.Kind
	}{
		"a proxy's page":       {502, "<html>Bad Gateway</html>", corp.KindUnavailable},
		"a login page":         {200, "<html>Sign in</html>", corp.KindUnavailable},
		"a redirect":           {302, "", corp.KindInvalid},
		"an empty 404":         {404, "", corp.KindNotFound},
		"half a problem":       {500, `{"kind":"inter`, corp.KindInternal},
		"a problem of no kind": {409, `{"detail":"x"}`, corp.KindConflict},
		"a huge page":          {500, strings.Repeat("x", 1<<20), corp.KindInternal},
		"half an answer":       {200, `{"id":"ws_`, corp.KindUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "http://elsewhere.invalid/")
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})
			_, err := New(url, "", Options{}).Workspace(t.Context())
			if corp.KindOf(err) != c.kind {
				t.Errorf("%v is %s, want %s", err, corp.KindOf(err), c.kind)
			}
			if e, ok := errors.AsType[*corp.Error](err); !ok || e.Hint == "" {
				t.Errorf("no next step: %v", err)
			}
		})
	}
}

func TestTheKeyGoesNowhereElse(t *testing.T) {
	t.Parallel()
	var leaked atomic.Bool
	elsewhere := serve(t, func(_ http.ResponseWriter, r *http.Request) { leaked.Store(r.Header.Get("Authorization") != "") })
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer gc_live_x" {
			t.Errorf("sent %q", r.Header.Get("Authorization"))
		}
		http.Redirect(w, r, elsewhere, http.StatusTemporaryRedirect)
	})
	if _, err := New(url, "gc_live_x", Options{}).Workspace(t.Context()); err == nil || leaked.Load() {
		t.Errorf("a redirect was followed: %v", err)
	}
}

func TestAnAddressThatIsNoneIsSaidSo(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"", "localhost", "http://", "://x", "http://a b"} {
		_, err := New(address, "", Options{}).Workspace(t.Context())
		if corp.KindOf(err) != corp.KindInvalid && corp.KindOf(err) != corp.KindUnavailable {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func TestARefusedConnectionIsRepeatedWithinThePatience(t *testing.T) {
	t.Parallel()
	addr, listen := unheard(t)
	start := time.Now()
	_, err := New("http://"+addr, "", Options{Patience: 300 * time.Millisecond}).CreateAgent(t.Context(), corp.AgentSpec{})
	if corp.KindOf(err) != corp.KindUnavailable || time.Since(start) < 300*time.Millisecond || time.Since(start) > 30*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
	if _, err := New("http://"+addr, "", Options{}).Workspace(t.Context()); corp.KindOf(err) != corp.KindUnavailable {
		t.Errorf("without patience: %v", err)
	}
	late := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"name":"came late"}`) }), ReadHeaderTimeout: time.Minute}
	t.Cleanup(func() { _ = late.Close() })
	time.AfterFunc(200*time.Millisecond, func() { _ = late.Serve(listen()) })
	agent, err := New("http://"+addr, "", Options{Patience: 20 * time.Second}).CreateAgent(t.Context(), corp.AgentSpec{})
	if err != nil || agent.Name != "came late" {
		t.Errorf("%+v, %v", agent, err)
	}
}

// What must not happen twice is not repeated when its answer is lost; what may, is.
func TestOnlyWhatMayHappenTwiceIsRepeated(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		call  func(context.Context, *Client) error
		times int64
	}{
		"create agent": {func(ctx context.Context, c *Client) error { _, err := c.CreateAgent(ctx, corp.AgentSpec{}); return err }, 1},
		"retry task":   {func(ctx context.Context, c *Client) error { _, err := c.RetryTask(ctx, corp.TaskID{1}); return err }, 1},
		"get task":     {func(ctx context.Context, c *Client) error { _, err := c.Task(ctx, corp.TaskID{1}); return err }, 3},
		"submit task": {func(ctx context.Context, c *Client) error {
			_, err := c.SubmitTask(ctx, corp.TaskSpec{}, "")
			return err
		}, 3},
		"entries": {func(ctx context.Context, c *Client) error {
			_, err := c.ReportEntries(ctx, corp.EntryBatch{})
			return err
		}, 3},
		"upload": {func(ctx context.Context, c *Client) error {
			_, err := c.UploadSource(ctx, strings.NewReader("x"))
			return err
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var times atomic.Int64
			var keys [4]string
			url := serve(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				n := times.Add(1)
				keys[n] = r.Header.Get("Idempotency-Key")
				if n < 3 {
					panic(http.ErrAbortHandler) // the answer is lost
				}
				_, _ = io.WriteString(w, `{}`)
			})
			err := c.call(t.Context(), New(url, "", Options{Patience: 20 * time.Second, HTTP: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}))
			if (err == nil) != (c.times == 3) || times.Load() != c.times {
				t.Errorf("it was sent %d times: %v", times.Load(), err)
			}
			if name == "submit task" && (keys[1] == "" || keys[1] != keys[3]) {
				t.Errorf("repeated under other keys: %q", keys)
			}
		})
	}
}

func TestTheCallersCancellationStaysOne(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	if _, err := New(url, "", Options{Patience: time.Minute}).Workspace(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestAStreamResumesAfterItsLastUpdate(t *testing.T) {
	t.Parallel()
	var connections atomic.Int64
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		from := r.Header.Get("Last-Event-ID")
		switch connections.Add(1) {
		case 1:
			_, _ = fmt.Fprint(w, ": connected\nid: e:0\n\n")
		case 2:
			if from != "e:0" {
				t.Errorf("resumed after %q: it was told where the stream begins", from)
			}
			_, _ = fmt.Fprint(w, "event: event\nid: e:1\ndata: {\"seq\":1}\n\nevent: of the future\nid: e:2\ndata: {}\n\nevent: event\nid: e:3\nda")
		case 3:
			if from != "e:2" {
				t.Errorf("resumed after %q", from)
			}
			_, _ = fmt.Fprint(w, "event: event\r\nid: e:3\r\ndata: {\"seq\":3}\r\n\r\n")
		default:
			if from != "e:3" {
				t.Errorf("resumed after %q", from)
			}
			_, _ = fmt.Fprint(w, "event: entry\nid: e:3,run_x:0\ndata: {\"index\":0,\ndata: \"text\":\"x\"}\n\nevent: end\nid: e:3\ndata: {}\n\nevent: event\ndata: {}\n\n")
		}
	})
	var got []string
	for u, err := range New(url, "", Options{Patience: 20 * time.Second}).Stream(t.Context(), StreamQuery{}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, u.Cursor)
	}
	if diff := cmp.Diff([]string{"e:1", "e:3", "e:3,run_x:0"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestAStreamThatFallsSilentIsDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var net network
		var connections atomic.Int64
		url := net.serve(t, func(w http.ResponseWriter, r *http.Request) {
			if connections.Add(1) == 1 {
				_, _ = fmt.Fprint(w, "event: event\nid: e:1\ndata: {\"seq\":1}\n\n")
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
				return
			}
			_, _ = fmt.Fprint(w, "event: end\ndata: {}\n\n")
		})
		began, n := time.Now(), 0
		for _, err := range New(url, "", Options{Patience: 20 * time.Second, HTTP: net.client(t)}).Stream(t.Context(), StreamQuery{}) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != 1 || connections.Load() != 2 {
			t.Errorf("%d updates over %d connections", n, connections.Load())
		}
		if took := time.Since(began); took < streamSilence || took > streamSilence+backoffBase { // by the bubble's clock
			t.Errorf("it was dropped after %v", took)
		}
	})
}

func TestAStreamsErrorEndsIt(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, "event: error\ndata: {\"kind\":\"unauthenticated\",\"code\":\"unauthenticated\",\"detail\":\"This key is not valid.\"}\n\n")
	})
	var last error
	for _, err := range New(url, "", Options{Patience: time.Minute}).Stream(t.Context(), StreamQuery{}) {
		last = err
	}
	if corp.KindOf(last) != corp.KindUnauthenticated {
		t.Errorf("%v", last)
	}
	for _, err := range New(nobody(t), "", Options{}).Stream(t.Context(), StreamQuery{}) {
		last = err
	}
	if corp.KindOf(last) != corp.KindUnavailable {
		t.Errorf("no server: %v", last)
	}
}

// Patience is for a server that is away, however quiet it was before.
func TestAStreamThatWasQuietForLongGoesOnWhenItsConnectionBreaks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var net network
		var connections atomic.Int64
		url := net.serve(t, func(w http.ResponseWriter, r *http.Request) {
			if connections.Add(1) > 1 {
				_, _ = fmt.Fprint(w, "event: end\nid: e:7\ndata: {}\n\n")
				return
			}
			for range 20 { // five minutes
				_, _ = fmt.Fprint(w, ": ping\nid: e:7\n\n")
				_ = http.NewResponseController(w).Flush()
				<-time.After(15 * time.Second)
			}
			panic(http.ErrAbortHandler)
		})
		for _, err := range New(url, "", Options{Patience: 20 * time.Second, HTTP: net.client(t)}).Stream(t.Context(), StreamQuery{}) {
			t.Errorf("it was given up: %v", err)
		}
		if connections.Load() != 2 {
			t.Errorf("%d connections", connections.Load())
		}
	})
}

// A server that is there, says nothing and breaks off is no server.
func TestAStreamFromWhichNothingIsHeardEndsWithThePatience(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var net network
		url := net.serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		began, last := time.Now(), error(nil)
		for _, err := range New(url, "", Options{Patience: 20 * time.Second, HTTP: net.client(t)}).Stream(t.Context(), StreamQuery{}) {
			last = err
		}
		if took := time.Since(began); corp.KindOf(last) != corp.KindUnavailable || took != 20*time.Second {
			t.Errorf("%v after %v", last, took)
		}
	})
}

// Nor is one that can be reached and can never go on.
func TestAStreamThatNeverGetsAnyFurtherEndsWithThePatience(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]string{
		"says that it cannot": "event: error\ndata: {\"kind\":\"unavailable\",\"code\":\"unavailable\",\"detail\":\"Not now.\"}\n\n",
		"breaks off":          "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var net network
				url := net.serve(t, func(w http.ResponseWriter, _ *http.Request) {
					_, _ = fmt.Fprint(w, ": connected\nid: e:7\n\n", after)
					_ = http.NewResponseController(w).Flush()
					panic(http.ErrAbortHandler)
				})
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				began, last := time.Now(), error(nil)
				for _, err := range New(url, "", Options{Patience: 20 * time.Second, HTTP: net.client(t)}).Stream(ctx, StreamQuery{}) {
					last = err
				}
				if took := time.Since(began); corp.KindOf(last) != corp.KindUnavailable || took < 20*time.Second || took > 20*time.Second+backoffBase {
					t.Errorf("%v after %v", last, took)
				}
			})
		})
	}
}

package api

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// two is a leading and a following server on one database, and an office in both.
func two(t *testing.T) (leading, following *office) {
	t.Helper()
	env, dir := pgtest.Database(t), t.TempDir()
	first := houseOn(t, env, dir)
	second := houseOn(t, env, dir)
	leading = first.office(t)
	return leading, leading.at(second)
}

// at is the same office at another server.
func (o *office) at(h *house) *office { return &office{house: h, ws: o.ws, keys: o.keys} }

func TestARunGoesOnAtEveryServer(t *testing.T) {
	t.Parallel()
	one, other := two(t)
	runner := one.register(t, one.keys[corp.RoleRunner])
	task := one.submit(t)
	poll := corp.Poll{Free: 1, WaitMS: 5000}
	var got corp.PollAnswer
	for len(got.Offers) == 0 && poll.Seq < 12 { // a minute
		poll.Seq++
		got = must[corp.PollAnswer](t)(other.runner().Poll(t.Context(), runner, poll))
	}
	if len(got.Offers) != 1 || got.Offers[0].TaskID != task.ID {
		t.Fatalf("the server that follows offers %+v", got)
	}
	again := must[corp.PollAnswer](t)(one.runner().Poll(t.Context(), runner, poll))
	if diff := cmp.Diff(got, again); diff != "" {
		t.Errorf("the same poll at the other server: %s", diff)
	}
	lease := got.Offers[0].Lease
	if err := other.runner().Ack(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	for _, at := range []*office{one, other} {
		answer := must[corp.BeatAnswer](t)(at.runner().Beat(t.Context(), runner, corp.Beat{Leases: []corp.Lease{lease}}))
		if answer.Verdicts[0].Say != corp.VerdictOK {
			t.Errorf("%+v", answer)
		}
	}
	patch := must[corp.Blob](t)(one.runner().UploadResult(t.Context(), lease, corp.BlobPatch, strings.NewReader(somePatch)))
	must[corp.Run](t)(other.runner().Finish(t.Context(), corp.Finish{Lease: lease, Outcome: corp.Outcome{State: corp.RunSucceeded, Reason: corp.ReasonCompleted, PatchID: &patch.ID}}))
	body := must[io.ReadCloser](t)(other.owner().Patch(t.Context(), lease.RunID))
	if text, err := io.ReadAll(body); err != nil || string(text) != somePatch {
		t.Errorf("%q, %v", text, err)
	}
}

func TestAtNoServerMayOneRunnersKeySpeakForAnother(t *testing.T) {
	t.Parallel()
	one, other := two(t)
	stranger := one.office(t)
	second, _ := one.key(t, corp.RoleRunner)
	mine, pool := one.register(t, one.keys[corp.RoleRunner]), one.register(t, one.pool)
	for _, at := range []*office{one, other} {
		for name, c := range map[string]struct {
			key    string
			runner corp.RunnerID
		}{
			"another key of the workspace": {second, mine}, "another workspace's key": {stranger.keys[corp.RoleRunner], mine},
			"the pool's key": {one.pool, mine}, "a workspace's key for the pool's runner": {one.keys[corp.RoleRunner], pool},
			"the other server's pool key": {other.pool, pool}, "nobody's runner": {second, corp.NewID[corp.RunnerID]()},
		} {
			if c.key == at.pool && c.runner == pool {
				continue
			}
			if _, err := at.with(c.key).Poll(t.Context(), c.runner, corp.Poll{Seq: 1}); codeOf(err) != "unknown_runner" {
				t.Errorf("%s polls: %v", name, err)
			}
			if _, err := at.with(c.key).Beat(t.Context(), c.runner, corp.Beat{}); codeOf(err) != "unknown_runner" {
				t.Errorf("%s beats: %v", name, err)
			}
		}
	}
}

// following is a house that takes whoever serves at address for the leader.
func following(t *testing.T, address string, adjust ...func(*API)) *office {
	t.Helper()
	env := pgtest.Database(t)
	if _, ok, err := env.DB.System("test").TakeLeadership(t.Context(), corp.NewID[corp.ServerID](), address, time.Hour); err != nil || !ok {
		t.Fatal(ok, err)
	}
	return houseOn(t, env, t.TempDir(), adjust...).office(t)
}

func (o *office) impatient() *client.Client {
	return client.New(o.url, o.keys[corp.RoleRunner], client.Options{})
}

func TestARequestIsPassedOnOnceAndNeverInCircles(t *testing.T) {
	t.Parallel()
	var passed atomic.Int64
	o := following(t, "http://127.0.0.1:1", func(a *API) {
		next := a.peers
		a.peers = trips(func(r *http.Request) (*http.Response, error) { passed.Add(1); return next.RoundTrip(r) })
	})
	o.env.Exec(t, `UPDATE leaders SET address = $1`, o.url) // it takes itself for another
	_, err := o.impatient().Poll(t.Context(), o.register(t, o.keys[corp.RoleRunner]), corp.Poll{Seq: 1, Free: 1, WaitMS: 5000})
	// Once to where the leader was a moment ago, and once to where it is.
	if n := passed.Load(); codeOf(err) != notLeading || n < 1 || n > 2 {
		t.Errorf("%v after it was passed on %d times", err, n)
	}
}

// What a key's networks are held against is where the runner is, at the leader too, and
// nobody else can say so.
func TestAKeyOfSomeNetworksPollsAtEveryServer(t *testing.T) {
	t.Parallel()
	one, other := two(t)
	secret := corp.NewSecret(corp.KeyPrefixRunner)
	wanted := newKey(corp.ActorSystem, "there", corp.RoleRunner, secret, nil)
	wanted.Addresses = []string{"203.0.113.0/24"}
	must[corp.APIKey](t)(one.env.DB.In(one.ws).CreateAPIKey(t.Context(), corp.ActorSystem, wanted, one.ring.Hash(secret)))
	other.api.edge.Proxies = prefixesOf("127.0.0.1/32")
	header := map[string]string{"X-Forwarded-For": "203.0.113.7", "Content-Type": "application/json"}
	got := other.do(t, secret, http.MethodPost, "/v1/runner/register", header, `{"protocols":[1],"name":"there","instance":"`+unique("i")+`","slots":1,"labels":[],"runtimes":["builtin"],"sandbox":"none","version":"test"}`)
	var runner corp.Registered
	if err := json.Unmarshal([]byte(got.body), &runner); err != nil || got.status != http.StatusOK {
		t.Fatalf("%d %s", got.status, got.body)
	}
	header["Corp-Runner"] = runner.RunnerID.String()
	if got := other.do(t, secret, http.MethodPost, "/v1/runner/poll", header, `{"seq":1,"free":1,"wait_ms":10}`); got.status != http.StatusOK {
		t.Errorf("passed on: %d %s", got.status, got.body)
	}
	header[passedOnHeader] = corp.NewID[corp.ServerID]().String()
	for _, claim := range []string{"203.0.113.7", "203.0.113.7 " + strings.Repeat("0", 64), "203.0.113.7 "} {
		header[callerHeader] = claim
		if got := one.do(t, secret, http.MethodPost, "/v1/runner/poll", header, `{"seq":2,"free":1,"wait_ms":10}`); got.status != http.StatusForbidden {
			t.Errorf("claimed: %d %s", got.status, got.body)
		}
	}
}

func TestABrowserAsksEveryServerWhatATaskWaitsFor(t *testing.T) {
	t.Parallel()
	one, other := two(t)
	task := one.submit(t)
	in := one.do(t, "", http.MethodPost, "/v1/auth/login", map[string]string{"Sec-Fetch-Site": "same-origin"}, `{"email":"`+one.person(t, corp.RoleViewer).email+`","password":"`+goodPassword+`","session":"browser"}`)
	cookie, _, _ := strings.Cut(in.header.Get("Set-Cookie"), ";")
	for _, at := range []*office{one, other} {
		got := at.do(t, "", http.MethodGet, "/v1/tasks/"+task.ID.String()+"/wait", map[string]string{"Cookie": cookie}, "")
		if got.status != http.StatusOK {
			t.Errorf("%d %s", got.status, got.body)
		}
	}
}

// trips is a transport.
type trips func(*http.Request) (*http.Response, error)

func (t trips) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

func TestOnlyWhatTheLeaderNeedsIsSentToIt(t *testing.T) {
	t.Parallel()
	seen := make(chan *http.Request, 1)
	o := following(t, newLocalServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r
		_, _ = w.Write([]byte(`{"offers":[],"of_the_future":{"a":[1]}}`))
	})))
	key := o.keys[corp.RoleRunner]
	header := o.runnerHeader(t, key)
	maps.Copy(header, map[string]string{"Cookie": "a=b", "X-Forwarded-For": "1.2.3.4", "Connection": "close", "X-Request-ID": "request-12345", "Content-Type": "application/json"})
	got := o.do(t, key, http.MethodPost, "/v1/runner/poll", header, `{"seq":7,"free":1,"wait_ms":10}`)
	if got.status != http.StatusOK || !strings.Contains(got.body, `"of_the_future":{"a":[1]}`) {
		t.Errorf("%d %s", got.status, got.body)
	}
	r := <-seen
	want := []string{"Accept", "Authorization", "Content-Length", "Content-Type", "Corp-Caller", "Corp-Passed-On", "Corp-Runner", "User-Agent", "X-Request-Id"}
	var names []string
	for name := range r.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	if diff := cmp.Diff(want, names); diff != "" || r.Header.Get("X-Request-ID") != "request-12345" || r.URL.Path != "/v1/runner/poll" || r.Header.Get("Authorization") != "Bearer "+key {
		t.Errorf("%s %v: %s", r.URL, r.Header, diff)
	}
}

func TestALeaderThatDoesNotAnswerWellIsNobody(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"a page":     func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"a redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		"a fault":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"a hang-up":  func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := following(t, newLocalServer(t, answer))
			_, err := o.impatient().Poll(t.Context(), o.register(t, o.keys[corp.RoleRunner]), corp.Poll{Seq: 1, Free: 1})
			if codeOf(err) != notLeading {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("a refusal is passed back", func(t *testing.T) {
		t.Parallel()
		o := following(t, newLocalServer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`{"kind":"forbidden","code":"role","detail":"No.","hint":"Ask."}`))
		})))
		_, err := o.impatient().Poll(t.Context(), o.register(t, o.keys[corp.RoleRunner]), corp.Poll{Seq: 1, Free: 1})
		if corp.KindOf(err) != corp.KindForbidden || codeOf(err) != "role" {
			t.Errorf("%v", err)
		}
	})
}

func TestALeaderBehindTLSIsAskedOnlyIfItsCertificateHolds(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = w.Write([]byte(`{"offers":[]}`))
	}))
	t.Cleanup(secure.Close)
	for _, trusted := range []bool{true, false} {
		o := following(t, secure.URL, func(a *API) {
			if peers, ok := a.peers.(*http.Transport); ok && trusted {
				peers.TLSClientConfig = secure.Client().Transport.(*http.Transport).TLSClientConfig
			}
		})
		_, err := o.impatient().Poll(t.Context(), o.register(t, o.keys[corp.RoleRunner]), corp.Poll{Seq: 1, Free: 1})
		if trusted != (err == nil) || err != nil && codeOf(err) != notLeading || asked.Load() != 1 {
			t.Errorf("trusted %v: %v, asked %d times", trusted, err, asked.Load())
		}
	}
}

// A leader that was paused takes connections and never answers. Whoever waits for
// it is answered by the next one.
func TestAPollThatWaitsForAPausedLeaderIsAnsweredByTheNext(t *testing.T) {
	t.Parallel()
	asked, release := make(chan struct{}, 1), make(chan struct{})
	paused := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		asked <- struct{}{}
		select {
		case <-r.Context().Done():
		case <-release:
		}
	}))
	t.Cleanup(func() { close(release); paused.Close() })
	o := following(t, paused.URL)
	runner, task := o.register(t, o.keys[corp.RoleRunner]), o.submit(t)
	answered := make(chan error, 1)
	go func() {
		got, err := o.impatient().Poll(t.Context(), runner, corp.Poll{Seq: 1, Free: 1, WaitMS: 30_000})
		if err == nil && (len(got.Offers) != 1 || got.Offers[0].TaskID != task.ID) {
			t.Errorf("offers %+v", got.Offers)
		}
		answered <- err
	}()
	<-asked
	o.env.Exec(t, `UPDATE leaders SET expires_at = now()`)
	select {
	case err := <-answered:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(15 * time.Second):
		t.Error("it waits for a server that does not lead any more")
	}
}

func TestAServerThatLeavesSendsEverybodyElsewhereAtOnce(t *testing.T) {
	t.Parallel()
	h := ownHouse(t)
	o := h.office(t)
	runner := o.register(t, o.keys[corp.RoleRunner])
	offer := o.running(t)
	polled, streamed := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := o.impatient().Poll(t.Context(), runner, corp.Poll{Seq: 1, Free: 1, WaitMS: 30_000})
		polled <- err
	}()
	go func() {
		var last error
		for _, err := range client.New(h.url, o.keys[corp.RoleViewer], client.Options{}).Stream(t.Context(), client.StreamQuery{After: "e:0"}) {
			last = err
		}
		streamed <- last
	}()
	pgtest.Eventually(t, 10*time.Second, "the poll and the stream to wait", func(context.Context) bool { return h.api.streams.total() == 1 })
	h.api.Leave()
	if err := <-polled; codeOf(err) != codeStopping {
		t.Errorf("a poll that waits: %v", err)
	}
	if err := <-streamed; corp.KindOf(err) != corp.KindUnavailable {
		t.Errorf("a stream: %v", err)
	}
	if _, err := o.impatient().Poll(t.Context(), runner, corp.Poll{Seq: 2, Free: 1}); codeOf(err) != codeStopping {
		t.Errorf("a new poll: %v", err)
	}
	if ready := must[client.Readiness](t)(o.owner().Ready(t.Context())); ready.Ready {
		t.Error("it says that it is ready")
	}
	finish := corp.Finish{Lease: offer.Lease, Outcome: corp.Outcome{State: corp.RunFailed, Reason: corp.ReasonAgentFailed}}
	if _, err := o.runner().Finish(t.Context(), finish); err != nil {
		t.Errorf("what is under way cannot be ended: %v", err)
	}
}

package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// cutter is a line to the house that breaks: each answer ends after a random
// number of bytes, until it is told to hold.
type cutter struct {
	url  string
	cuts atomic.Int64
	hold atomic.Bool
}

func newCutter(t *testing.T, h *house) *cutter {
	t.Helper()
	target, err := url.Parse(h.url)
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.FlushInterval = -1
	proxy.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	proxy.ModifyResponse = func(r *http.Response) error {
		if !c.hold.Load() {
			r.Body = &cut{ReadCloser: r.Body, left: 1 + rand.IntN(3000), c: c}
		}
		return nil
	}
	server := newLocalServer(t, proxy)
	c.url = server
	return c
}

type cut struct {
	io.ReadCloser
	left int
	c    *cutter
}

func (r *cut) Read(p []byte) (int, error) {
	if r.left <= 0 {
		r.c.cuts.Add(1)
		return 0, io.ErrUnexpectedEOF
	}
	n, err := r.ReadCloser.Read(p[:min(len(p), r.left)])
	r.left -= n
	return n, err
}

// TestAStreamHasNoGapAndNoDuplicateOverABreakingLine has twenty writers at work
// while one reader loses its connection again and again.
func TestAStreamHasNoGapAndNoDuplicateOverABreakingLine(t *testing.T) {
	t.Parallel()
	o := shared(t).office(t)
	line := newCutter(t, o.house)
	reader := client.New(line.url, o.keys[corp.RoleViewer], client.Options{Patience: 30 * time.Second})
	const writers, each = 20, 10
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				task, err := o.owner().SubmitTask(t.Context(), corp.TaskSpec{Prompt: "x", RepositoryURL: someURL}, "")
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := o.owner().CancelTask(t.Context(), task.ID); err != nil {
					t.Error(err)
				}
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var seen atomic.Int64
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for u, err := range reader.Stream(ctx, client.StreamQuery{After: "e:0"}) {
			n := seen.Load() + 1
			switch {
			case err != nil && ctx.Err() != nil:
				return // it was told to stop
			case err != nil:
				t.Errorf("after %d events: %v", n-1, err)
				return
			case u.Event == nil || u.Event.Seq != n:
				t.Errorf("event %+v came as number %d", u.Event, n)
				return
			}
			if n%100 == 0 && line.cuts.Load() > 40 {
				line.hold.Store(true) // enough is proved; let it go on quickly
			}
			seen.Store(n)
		}
	}()
	wg.Wait()
	last := must[int64](t)(o.env.DB.In(o.ws).LastEvent(t.Context()))
	// The reader may have been faster than whoever asked for the last number, and
	// then nothing follows by which it would notice that it is through.
	pgtest.Eventually(t, 2*time.Minute, "the reader to have seen all", func(context.Context) bool {
		select {
		case <-ended:
			return true
		default:
			return seen.Load() >= last
		}
	})
	cancel()
	<-ended
	if n := seen.Load(); n != last || n < writers*each*4 || line.cuts.Load() < 10 {
		t.Errorf("%d of %d events over %d breaks prove too little", n, last, line.cuts.Load())
	}
	t.Logf("%d events over %d broken connections", seen.Load(), line.cuts.Load())
}

func TestARunIsFollowedToItsEndOverABreakingLine(t *testing.T) {
	t.Parallel()
	o := shared(t).office(t)
	line := newCutter(t, o.house)
	offer := o.running(t)
	const total = 400
	reading, written := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(written)
		for i := int64(0); i < total; i += 10 {
			if i == total/4 {
				<-reading // events come from when the reader is there, entries all
			}
			batch := corp.EntryBatch{Lease: offer.Lease}
			for j := max(0, i-3); j < i+10; j++ { // some again, as after a lost answer
				batch.Entries = append(batch.Entries, corp.Entry{Index: j, At: time.Now(), Kind: corp.EntryMessage, Text: fmt.Sprint(j, strings.Repeat(" x", 40))})
			}
			if _, err := o.runner().ReportEntries(t.Context(), batch); err != nil {
				t.Error(err)
			}
		}
		if _, err := o.runner().Finish(t.Context(), corp.Finish{Lease: offer.Lease, Outcome: corp.Outcome{State: corp.RunSucceeded, Reason: corp.ReasonCompleted}}); err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	reader := client.New(line.url, o.keys[corp.RoleViewer], client.Options{Patience: 30 * time.Second})
	var index int64
	var kinds []string
	for u, err := range reader.Stream(ctx, client.StreamQuery{Tasks: []corp.TaskID{offer.TaskID}, UntilFinal: true}) {
		switch {
		case err != nil:
			t.Fatal(err)
		case u.Entry != nil:
			if u.Entry.Index != index || u.Entry.RunID != offer.RunID || !strings.HasPrefix(u.Entry.Text, fmt.Sprint(index)) {
				t.Fatalf("entry %d of %s came as number %d", u.Entry.Index, u.Entry.RunID, index)
			}
			if index++; index == 1 {
				close(reading)
			}
			if index > total/2 {
				line.hold.Store(true)
			}
		default:
			if strings.HasPrefix(u.Event.Kind, "run.") && index != total {
				t.Errorf("%s was told after %d entries", u.Event.Kind, index)
			}
			kinds = append(kinds, u.Event.Kind)
		}
	}
	<-written // its last answer may come later than the events that it caused
	if diff := cmp.Diff([]string{"run.succeeded", "task.succeeded"}, kinds); diff != "" {
		t.Error(diff)
	}
	if index != total || line.cuts.Load() == 0 {
		t.Errorf("%d entries over %d breaks", index, line.cuts.Load())
	}
}

// The next attempt of a task is followed too.
func TestAStreamOfATaskFollowsItsNextRun(t *testing.T) {
	t.Parallel()
	o := shared(t).office(t)
	first := o.running(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	got := make(chan corp.RunID, 100)
	go func() {
		defer close(got)
		for u, err := range o.as(corp.RoleViewer).Stream(ctx, client.StreamQuery{Tasks: []corp.TaskID{first.TaskID}, UntilFinal: true}) {
			if err != nil {
				t.Error(err)
			} else if u.Entry != nil {
				got <- u.Entry.RunID
			}
		}
	}()
	say := func(offer corp.Offer) {
		must[int64](t)(o.runner().ReportEntries(t.Context(), corp.EntryBatch{Lease: offer.Lease, Entries: []corp.Entry{{Kind: corp.EntryNote, Text: "here"}}}))
	}
	say(first)
	if run := <-got; run != first.RunID {
		t.Errorf("the first entry is of %s", run)
	}
	must[corp.Run](t)(o.runner().Finish(t.Context(), corp.Finish{Lease: first.Lease, Outcome: corp.Outcome{State: corp.RunFailed, Reason: corp.ReasonAgentFailed}}))
	second := o.running(t, must[corp.Task](t)(o.owner().Task(t.Context(), first.TaskID)))
	if second.RunID == first.RunID {
		t.Fatal("no second run")
	}
	say(second)
	if run := <-got; run != second.RunID {
		t.Errorf("the second entry is of %s, want %s", run, second.RunID)
	}
	must[corp.Run](t)(o.runner().Finish(t.Context(), corp.Finish{Lease: second.Lease, Outcome: corp.Outcome{State: corp.RunSucceeded, Reason: corp.ReasonCompleted}}))
	if run, more := <-got; more {
		t.Errorf("an entry of %s after the end", run)
	}
}

func TestARevokedKeysStreamEnds(t *testing.T) {
	t.Parallel()
	o := shared(t).office(t)
	key, id := o.key(t, corp.RoleViewer)
	ended := follow(t, o, key)
	revoked := time.Now()
	// Past the API, as another server of the installation would do it.
	must[corp.APIKey](t)(o.env.DB.In(o.ws).RevokeAPIKey(t.Context(), corp.ActorSystem, corp.UserID{}, id))
	select {
	case err := <-ended:
		if corp.KindOf(err) != corp.KindUnauthenticated {
			t.Errorf("it ended with %v", err)
		}
		t.Logf("%v after the end of the key", time.Since(revoked))
	case <-time.After(time.Minute):
		t.Error("the stream of a revoked key goes on")
	}
}

// raw opens a stream and reads its lines.
func (h *house) raw(t *testing.T, key, target string, header map[string]string) *bufio.Scanner {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.url+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") || resp.Header.Get("X-Accel-Buffering") != "no" {
		t.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	return bufio.NewScanner(resp.Body)
}

func (h *house) waitLine(t *testing.T, lines *bufio.Scanner, prefix string) string {
	t.Helper()
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), prefix) {
			return lines.Text()
		}
	}
	t.Fatalf("no line %q: %v", prefix, lines.Err())
	return ""
}

func TestAQuietStreamGivesSignsOfLife(t *testing.T) {
	t.Parallel()
	h := ownHouse(t, func(a *API) { a.ping = 20 * time.Millisecond })
	o := h.office(t)
	lines := h.raw(t, o.keys[corp.RoleViewer], "/v1/stream", nil)
	h.waitLine(t, lines, ": connected")
	h.waitLine(t, lines, ": ping")
	h.waitLine(t, lines, ": ping")
}

// A reader knows where it stands before anything has happened: what happens
// while its first connection is broken is not lost.
func TestAStreamSaysWhereItBegins(t *testing.T) {
	t.Parallel()
	o := shared(t).office(t)
	offer := o.running(t)
	path := "/v1/stream?until=final&task=" + offer.TaskID.String()
	id := o.waitLine(t, o.raw(t, o.keys[corp.RoleViewer], path, nil), "id: ")
	must[corp.Run](t)(o.runner().Finish(t.Context(), corp.Finish{Lease: offer.Lease, Outcome: corp.Outcome{State: corp.RunSucceeded, Reason: corp.ReasonCompleted}}))
	lines := o.raw(t, o.keys[corp.RoleViewer], path, map[string]string{"Last-Event-ID": strings.TrimPrefix(id, "id: ")})
	for _, kind := range []string{"run.succeeded", "task.succeeded"} {
		if got := o.waitLine(t, lines, "data: "); !strings.Contains(got, `"`+kind+`"`) {
			t.Errorf("%s came, not %s", got, kind)
		}
	}
}

// Last-Event-ID is stronger than after, as a browser sends both.
func TestABrowserResumesByLastEventID(t *testing.T) {
	t.Parallel()
	o := shared(t).office(t)
	o.submit(t)
	all := must[[]corp.Event](t)(o.owner().Events(t.Context(), 0, 0))
	if len(all) < 2 {
		t.Fatalf("%d events", len(all))
	}
	lines := o.raw(t, o.keys[corp.RoleViewer], "/v1/stream?after=e:0", map[string]string{"Last-Event-ID": fmt.Sprint("e:", all[0].Seq)})
	if got := o.waitLine(t, lines, "id: "); got != fmt.Sprint("id: e:", all[0].Seq) {
		t.Errorf("it begins at %q, after %d was seen", got, all[0].Seq)
	}
	if got := o.waitLine(t, lines, "id: "); got != fmt.Sprint("id: e:", all[1].Seq) {
		t.Errorf("it goes on with %q after %d", got, all[0].Seq)
	}
}

// A reader that takes nothing is let go and holds neither memory nor anybody else.
func TestAReaderThatTakesNothingIsLetGo(t *testing.T) {
	t.Parallel()
	h := ownHouse(t, func(a *API) { a.stall = 300 * time.Millisecond })
	o := h.office(t)
	offer := o.running(t)
	const total = 400 // of 64 KiB: more than the buffers of a connection
	for i := range int64(total / 10) {
		batch := corp.EntryBatch{Lease: offer.Lease}
		for j := range int64(10) {
			batch.Entries = append(batch.Entries, corp.Entry{Index: i*10 + j, At: time.Now(), Kind: corp.EntryMessage, Text: strings.Repeat("x", corp.MaxEntryText)})
		}
		must[int64](t)(o.runner().ReportEntries(t.Context(), batch))
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := fmt.Fprintf(conn, "GET /v1/stream?run=%s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n", offer.RunID, o.keys[corp.RoleViewer]); err != nil {
		t.Fatal(err)
	}
	if status, err := bufio.NewReaderSize(conn, 16).ReadString('\n'); err != nil || !strings.Contains(status, "200") { // it is open, and nothing more is taken
		t.Fatal(status, err)
	}
	// Another reader of the same gets everything meanwhile.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	n := 0
	for u, err := range o.as(corp.RoleViewer).Stream(ctx, client.StreamQuery{Runs: []corp.RunID{offer.RunID}}) {
		if err != nil {
			t.Fatal(err)
		}
		if u.Entry != nil {
			if n++; n == total {
				break
			}
		}
	}
	pgtest.Eventually(t, 20*time.Second, "both readers are gone", func(context.Context) bool { return h.api.streams.total() == 0 })
}

func TestTooManyStreamsAreRefused(t *testing.T) {
	t.Parallel()
	for _, of := range []struct {
		plan corp.Plan
		most int
		code string
	}{{corp.Plan{}, maxStreams, "too_many_streams"}, {corp.Plan{Streams: 2}, 2, codeRateLimited}, {corp.Plan{Streams: 1_000_000}, maxStreams, "too_many_streams"}} {
		s, ws := newStreamCount(), corp.NewID[corp.WorkspaceID]()
		for range of.most {
			if err := s.enter(ws, of.plan); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.enter(ws, of.plan); codeOf(err) != of.code || s.enter(corp.NewID[corp.WorkspaceID](), of.plan) != nil {
			t.Errorf("%v: one workspace's streams are limited, and no other's by them", err)
		}
		s.leave(ws)
		if s.enter(ws, of.plan) != nil || s.total() != of.most+1 {
			t.Error("a place that was left is free")
		}
	}
}

// Whoever was away for longer than events are kept must hear that it missed some.
func TestACursorOlderThanTheEventsThatAreKeptIsRefusedAndZeroIsNot(t *testing.T) {
	t.Parallel()
	h := ownHouse(t)
	o := h.office(t)
	o.submit(t)
	all := must[[]corp.Event](t)(o.owner().Events(t.Context(), 0, 0))
	last := all[len(all)-1].Seq
	h.env.Exec(t, `DELETE FROM events WHERE seq < $1`, last)
	for _, target := range []string{"/v1/events?after=1", "/v1/stream?after=e:1"} {
		answer := h.do(t, o.keys[corp.RoleViewer], http.MethodGet, target, nil, "")
		if p := answer.problem(t); p.Code != "events_gone" || p.Status != http.StatusUnprocessableEntity || p.Field != "after" {
			t.Errorf("%s: %+v", target, p)
		}
	}
	header := map[string]string{"Last-Event-ID": "e:1"}
	if p := h.do(t, o.keys[corp.RoleViewer], http.MethodGet, "/v1/stream", header, "").problem(t); p.Code != "events_gone" {
		t.Errorf("a browser that resumes hears %+v", p)
	}
	for _, err := range o.owner().Stream(t.Context(), client.StreamQuery{After: "e:1"}) {
		if corp.KindOf(err) != corp.KindInvalid {
			t.Errorf("the client's stream yields %v", err)
		}
	}
	kept := must[[]corp.Event](t)(o.owner().Events(t.Context(), 0, 0))
	if len(kept) != 1 || kept[0].Seq != last {
		t.Errorf("from the start there is %+v, want number %d", kept, last)
	}
	lines := o.raw(t, o.keys[corp.RoleViewer], "/v1/stream?after=e:0", nil)
	for _, want := range []string{"id: e:0", fmt.Sprint("id: e:", last)} { // where it begins, and the first event
		if got := o.waitLine(t, lines, "id: "); got != want {
			t.Errorf("a stream of all events has %q, want %q", got, want)
		}
	}
}

// A task whose transcripts are gone can still be followed to its end.
func TestATaskWithoutTranscriptIsStillFollowed(t *testing.T) {
	t.Parallel()
	h := ownHouse(t)
	o := h.office(t)
	run := o.done(t)
	h.env.Exec(t, `UPDATE runs SET created_at = created_at - interval '2 years'`)
	_, err := o.owner().Entries(t.Context(), run.ID, -1, 10)
	if e, ok := errors.AsType[*corp.Error](err); !ok || e.Code != postgres.CodeEntriesGone || e.Kind != corp.KindNotFound {
		t.Errorf("its entries: %v", err)
	}
	ended := false
	for u, err := range o.owner().Stream(t.Context(), client.StreamQuery{Tasks: []corp.TaskID{run.TaskID}, After: "e:0", UntilFinal: true}) {
		if err != nil {
			t.Fatal(err)
		}
		ended = ended || u.Event != nil && u.Event.Kind == "task.succeeded"
	}
	if !ended {
		t.Error("its end was not seen")
	}
}

func TestAFileThatIsNoLongerKeptSaysSo(t *testing.T) {
	t.Parallel()
	h := ownHouse(t)
	o := h.office(t)
	run := o.done(t)
	h.env.Exec(t, `UPDATE blobs SET expired_at = now()`)
	_, err := o.owner().Blob(t.Context(), *run.ResultID)
	if e, ok := errors.AsType[*corp.Error](err); !ok || e.Code != "file_gone" || e.Kind != corp.KindNotFound {
		t.Errorf("%v", err)
	}
}

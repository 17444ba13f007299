package vendorsim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheBooksEqualTheSumOfWhatClientsSaw(t *testing.T) {
	t.Parallel()
	var journal bytes.Buffer // Server writes it under one lock
	v := start(t, Options{Journal: &journal}, load(t, `name: mix
rules:
  - {name: cheap, match: {model: haiku}, reply: {thinking: Hm., text: '{{.Prompt}} and so on'}}
  - {name: priced, match: {prompt: priced}, reply: {text: x, usage: {input: 3, cache_read: 700, cache_write_5m: 11, cache_write_1h: 5, output: 90}}}
  - {name: calls, reply: {text_bytes: 3000, tool_calls: [{name: t, input: {a: '{{.Prompt}}'}}]}, faults: [{kind: status, status: 529, times: 1}]}
`))
	var mu sync.Mutex
	seen := map[string]Total{}
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			for j := range 8 {
				prompt := fmt.Sprint([]string{"plain ", "priced "}[j%2], i, j/4)
				body := ask(prompt, fmt.Sprintf(`"stream":%v`, j%3 == 0))
				model := "claude-sonnet-4-5"
				if j%5 == 0 {
					model = "claude-haiku-4-5"
				}
				answer := v.post(t, strings.Replace(body, "claude-sonnet-4-5", model, 1))
				usage := Usage{}
				if answer.status == http.StatusOK {
					decode := decodeWhole
					if j%3 == 0 {
						decode = decodeStream
					}
					usage = decode(t, answer.body).usage()
				}
				mu.Lock()
				seen[model] = Total{seen[model].Calls + 1, seen[model].Usage.Add(usage)}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	books := v.Books()
	if diff := cmp.Diff(seen, books.Models); diff != "" {
		t.Errorf("by model (-seen +books):\n%s", diff)
	}
	var all Total
	for _, total := range seen {
		all = Total{all.Calls + total.Calls, all.Usage.Add(total.Usage)}
	}
	if diff := cmp.Diff(all, books.Total); diff != "" || books.Forgotten != 0 || all.Usage.CacheWrite1h == 0 {
		t.Errorf("total, %d forgotten:\n%s", books.Forgotten, diff)
	}
	if diff := cmp.Diff(books.Calls, journalled(t, journal.Bytes())); diff != "" {
		t.Errorf("the journal differs:\n%s", diff)
	}
}

func journalled(t *testing.T, text []byte) []Call {
	t.Helper()
	var calls []Call
	for line := range bytes.Lines(text) {
		var c Call
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatalf("line %s: %v", line, err)
		}
		calls = append(calls, c)
	}
	return calls
}

// watchedWriter tells what the client had when a line was written.
type watchedWriter struct {
	http.ResponseWriter
	body   *bytes.Buffer
	atLine *string
}

func (w watchedWriter) Write(p []byte) (int, error) { return w.body.Write(p) }
func (w watchedWriter) WriteHeader(int)             {}
func (w watchedWriter) Header() http.Header         { return w.ResponseWriter.Header() }
func (w watchedWriter) FlushError() error           { return nil }
func (w watchedWriter) journal(line []byte) (int, error) {
	*w.atLine = w.body.String()
	return len(line), nil
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

type headerOnly http.Header

func (h headerOnly) Header() http.Header       { return http.Header(h) }
func (h headerOnly) Write([]byte) (int, error) { return 0, errors.New("not used") }
func (h headerOnly) WriteHeader(int)           {}

func TestTheJournalHasTheCallBeforeTheClientHasItsUsage(t *testing.T) {
	t.Parallel()
	for _, more := range []string{streaming, `"stream":false`} {
		var atLine string
		w := watchedWriter{headerOnly{}, &bytes.Buffer{}, &atLine}
		s := New(Options{Journal: writerFunc(w.journal)}, echo(t, "{text: hello}"))
		s.ServeHTTP(w, request(t.Context(), http.MethodPost, "/v1/messages", ask("x", more)))
		if strings.Contains(atLine, "message_delta") || strings.Contains(atLine, "end_turn") {
			t.Errorf("%s: the client already had %s", more, atLine)
		}
		if !strings.Contains(w.body.String(), "end_turn") {
			t.Errorf("%s: the client got %s", more, w.body)
		}
	}
}

func TestACallThatCannotBeBookedIsNotCompleted(t *testing.T) {
	t.Parallel()
	v := start(t, Options{Journal: writerFunc(func([]byte) (int, error) { return 0, errors.New("disk full") })}, echo(t, "{text: hello}"))
	for _, more := range []string{streaming, `"stream":false`} {
		answer := v.post(t, ask("x", more))
		if answer.err == nil || strings.Contains(string(answer.body), "end_turn") {
			t.Errorf("%s: error %v, body %s", more, answer.err, answer.body)
		}
	}
	if got := v.Books(); got.Total.Calls != 0 {
		t.Errorf("books: %+v", got)
	}
}

func TestTheBooksKeepTheNewestCallsAndExactTotals(t *testing.T) {
	t.Parallel()
	b := books{keep: 10, models: map[string]Total{}, dialects: map[Dialect]Total{}}
	for i := range 95 {
		if err := b.add(Call{Model: "m", Turn: i, Usage: Usage{Output: 2}}); err != nil {
			t.Fatal(err)
		}
	}
	got := b.snapshot(-1)
	if len(got.Calls) != 10 || got.Calls[0].Turn != 85 || got.Calls[9].Turn != 94 || got.Forgotten != 85 || got.Total.Calls != 95 || got.Total.Usage.Output != 190 {
		t.Errorf("got %+v", got)
	}
	if few := b.snapshot(3); len(few.Calls) != 3 || few.Calls[2].Turn != 94 || few.Forgotten != 92 {
		t.Errorf("the last three: %+v", few)
	}
	b.clear()
	if got := b.snapshot(-1); len(got.Calls) != 0 || got.Calls == nil || got.Total.Calls != 0 {
		t.Errorf("after clearing: %+v", got)
	}
}

func TestTheBooksAndRequestsAreReadOverHTTP(t *testing.T) {
	t.Parallel()
	v := start(t, Options{}, example(t))
	v.post(t, ask("[priced]"))
	v.post(t, ask("[priced]"))
	sim := func(method, path string) got { return v.do(t, request(t.Context(), method, v.url+path, "")) }
	var books Books
	if err := json.Unmarshal(sim("GET", "/_sim/books").body, &books); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(v.Books(), books); diff != "" || books.Total.Usage != (Usage{24, 2000, 600, 80, 1000}) {
		t.Errorf("books %+v differ:\n%s", books, diff)
	}
	if answer := sim("GET", "/_sim/books?n=1"); strings.Count(string(answer.body), "message_id") != 1 || answer.header.Get(SimulatedHeader) != SimulatedBy {
		t.Errorf("the last call: %s", answer.body)
	}
	for _, bad := range []string{"/_sim/books?n=-1", "/_sim/requests?n=x"} {
		if answer := sim("GET", bad); answer.status != http.StatusBadRequest {
			t.Errorf("%s: status %d", bad, answer.status)
		}
	}
	if answer := sim("DELETE", "/_sim/books"); answer.status != http.StatusNoContent || v.Books().Total.Calls != 0 {
		t.Errorf("clear: status %d, books %+v", answer.status, v.Books())
	}
	if answer := sim("GET", "/_sim/requests?n=1"); strings.Contains(string(answer.body), "sk-test") || !strings.Contains(string(answer.body), `"…6789"`) {
		t.Errorf("requests: %s", answer.body)
	}
}

func TestRequestsAreKeptExactlyAndWithinBounds(t *testing.T) {
	t.Parallel()
	v := start(t, Options{KeepRequests: 3, KeepRequestBytes: 1000}, echo(t, "{text: ok}"))
	odd := "{ \"model\" : \"m\",\"max_tokens\":1 ,\"x\":1.50,\n \"messages\":[{\"content\":\"\\u0041\\/\",\"role\":\"user\"}]}"
	r := request(t.Context(), http.MethodPost, v.url+"/v1/messages?beta=true", odd)
	r.Header.Set("Anthropic-Beta", "a,b")
	r.Header.Add("X-Twice", "1")
	r.Header.Add("X-Twice", "2")
	answer := v.do(t, r)
	kept := v.Requests(-1)[0]
	if string(kept.Body) != odd || kept.URL != "/v1/messages?beta=true" || kept.Header.Get("X-Api-Key") != "sk-test-0123456789" ||
		kept.ID != answer.header.Get("Request-Id") || !cmp.Equal(kept.Header["X-Twice"], []string{"1", "2"}) {
		t.Errorf("kept %+v", kept)
	}
	for range 5 {
		v.post(t, ask("x"))
	}
	if n := len(v.Requests(-1)); n != 3 {
		t.Errorf("%d requests kept", n)
	}
	v.post(t, ask(strings.Repeat("y", 900)))
	if got := v.Requests(-1); len(got) != 1 || len(got[0].Body) < 900 {
		t.Errorf("%d requests kept beside a large one", len(got))
	}
	v.post(t, "\xff")
	if got, err := json.Marshal(v.Requests(1)); err != nil || !strings.Contains(string(got), `"body_base64":"/w=="`) {
		t.Errorf("%s, %v", got, err)
	}
}

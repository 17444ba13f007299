package vendorsim

import (
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/quick"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

const fixTools = `"tools":[{"name":"read","input_schema":{"type":"object"}},{"name":"edit","input_schema":{"type":"object"}}]`

func TestAnswersAreByteForByteAsRecorded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, body string }{
		{"thinking-text-and-two-calls.stream", ask("[fix] main.go", streaming, fixTools)},
		{"thinking-text-and-two-calls.json", ask("[fix] main.go", fixTools)},
		{"priced.stream", ask("[priced]", streaming)},
		{"priced.json", ask("[priced]")},
		{"unknown.stream", ask("[unknown]", streaming)},
		{"unknown.json", ask("[unknown]")},
		{"stopped.stream", ask("[stopped]", streaming)},
		{"malformed.stream", ask("[malformed]", streaming)},
		{"error.stream", ask("[error]", streaming)},
		{"broke.json", ask("[broke]")},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			v := start(t, Options{NewID: numberedIDs()}, example(t))
			answer := v.post(t, c.body)
			if answer.err != nil {
				t.Fatal(answer.err)
			}
			path := filepath.Join("testdata", c.name+".golden")
			if *update {
				if err := os.WriteFile(path, answer.body, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(answer.body)); diff != "" {
				t.Errorf("differs (-want +got):\n%s", diff)
			}
		})
	}
}

// echo is a scenario that says back what it is told, in pieces of n bytes.
func echo(tb testing.TB, reply string) *Scenario {
	tb.Helper()
	s, err := Load(strings.NewReader("name: echo\nrules: [{name: all, reply: " + reply + "}]"))
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestDeltasAddUpToTheTextForAnyPieceSize(t *testing.T) {
	t.Parallel()
	property := func(text string, chunk uint8) bool {
		f := replyFile{Pace: paceFile{Chunk: new(int(chunk) + 1)}}
		r, err := compileReply(&f, &scenarioFile{}, capture{})
		if err != nil {
			t.Fatal(err)
		}
		text = strings.ToValidUTF8(text, "?") + "é\u2028\x00\"\\<&>🙂"
		r.thinking, r.text = snippet{literal: "thought " + text}, snippet{literal: text}
		r.toolCalls = []toolCall{{name: snippet{literal: "say"}, tree: &inputValue{isObj: true, object: []inputMember{{key: text, value: inputValue{text: snippet{literal: text}}}}}}}
		h := &hit{scenario: &Scenario{}, rule: &rule{reply: r}}
		a, err := compose(h, &conversation{maxTokens: maxTokens, messages: []message{{role: "user"}}}, messagesDialect{}, newID)
		if err != nil {
			t.Fatal(err)
		}
		var stream []byte
		for ev := range a.events() {
			if ev.delta && len(ev.data) > 200+6*max(int(chunk)+1, 4) {
				t.Errorf("an event of %d bytes for pieces of %d", len(ev.data), chunk+1)
			}
			stream = append(stream, ev.data...)
		}
		d, whole := decodeStream(t, stream), decodeWhole(t, a.body())
		ignore := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".partial" }, cmp.Ignore())
		return d.ended && d.Content[0].Thinking == "thought "+text && d.Content[1].Text == text &&
			d.Content[0].Signature == sign("thought "+text) &&
			cmp.Equal(whole.Content, d.Content, ignore, cmp.AllowUnexported(content{})) && whole.usage() == d.usage()
	}
	if err := quick.Check(property, &quick.Config{MaxCount: 100}); err != nil {
		t.Error(err)
	}
}

func TestTextWithoutRunesSplitStaysTheSameOnTheWire(t *testing.T) {
	t.Parallel()
	v := start(t, Options{}, echo(t, "{text: '{{.Prompt}}', pace: {chunk: 1}}"))
	text := strings.Repeat("naïve 🙂 \"quoted\" \\ \t <b>&</b> \u2028 ", 50)
	stream, whole := v.post(t, ask(text, streaming)), v.post(t, ask(text))
	if d := decodeStream(t, stream.body); d.Content[0].Text != text {
		t.Error("the stream differs from the text")
	}
	if d := decodeWhole(t, whole.body); d.Content[0].Text != text {
		t.Error("the message differs from the text")
	}
}

func FuzzStringsAreValidJSONAndComeBack(f *testing.F) {
	f.Add("plain", 3)
	f.Add("\xff\xfe \x00\x1f\x7f \\ \" é 🙂", 2)
	f.Fuzz(func(t *testing.T, text string, chunk int) {
		var back strings.Builder
		for rest := text; rest != ""; {
			n := chunkEnd(rest, chunk)
			if n < 1 || n > len(rest) {
				t.Fatalf("a piece of %d bytes of %d", n, len(rest))
			}
			back.WriteString(decodeString(t, appendString(nil, rest[:n])))
			rest = rest[n:]
		}
		if back.String() != strings.ToValidUTF8(text, "\ufffd") && back.String() != toRunes(text) {
			t.Errorf("%q came back as %q", text, back.String())
		}
	})
}

// toRunes replaces each wrong byte on its own, as JSON decoders do.
func toRunes(s string) string { return string([]rune(s)) }

func TestALongAnswerHasItsSize(t *testing.T) {
	t.Parallel()
	v := start(t, Options{}, example(t))
	d := decodeStream(t, v.post(t, ask("[long]", streaming)).body)
	if n := len(d.Content[0].Text); n != 10000 || d.usage().Output != 2500 {
		t.Errorf("%d bytes, %d tokens", n, d.usage().Output)
	}
}

func TestAFirstEventArrivesBeforeTheAnswerIsDone(t *testing.T) {
	t.Parallel()
	v := start(t, Options{}, echo(t, "{text_bytes: 100000, pace: {between: 1h}}"))
	r, cancel := v.cancellable(t, ask("x", streaming))
	resp, err := v.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	buf := make([]byte, 20)
	if _, err := resp.Body.Read(buf); err != nil || string(buf) != "event: message_start" {
		t.Errorf("read %q, %v", buf, err)
	}
	if len(v.Books().Calls) != 0 {
		t.Error("the call is booked before it is done")
	}
	cancel()
	eventually(t, "the call is booked", func() bool { return len(v.Books().Calls) == 1 })
}

func TestThePaceIsKept(t *testing.T) {
	t.Parallel()
	const want = 2*time.Second + 5*500*time.Millisecond // text of 18 bytes in pieces of 4
	for _, more := range []string{streaming, `"stream":false`} {
		synctest.Test(t, func(t *testing.T) {
			s := New(Options{}, example(t))
			w := httptest.NewRecorder()
			begin := time.Now()
			s.ServeHTTP(w, request(t.Context(), http.MethodPost, "/v1/messages", ask("[slow]", more)))
			if took := time.Since(begin); took != want || w.Code != http.StatusOK {
				t.Errorf("%s took %v with status %d, want %v", more, took, w.Code, want)
			}
		})
	}
}

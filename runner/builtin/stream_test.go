package builtin

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/genericcorp/corp"
)

func deaf() hearing { return hearing{text: func(string) {}, thought: func(string) {}} }

func TestEventsAreReadInEveryFormThatTheStandardAllows(t *testing.T) {
	t.Parallel()
	input := ": comment\r\nevent: x\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\n\n\nid: 7\ndata:{\"b\":2}\n\nretry: 5\n\ndata: unfinished\n"
	var got []string
	err := events(strings.NewReader(input), func(data []byte) (bool, error) { got = append(got, string(data)); return false, nil })
	if strings.Join(got, "|") != "{\"a\":\n1}|{\"b\":2}" || !errors.Is(err, errCut) {
		t.Errorf("events = %q, %v", got, err)
	}
}

func TestAnAnswerWithoutEndIsLeftAtABound(t *testing.T) {
	t.Parallel()
	if _, err := readAnswer(&endless{}, deaf()); !errors.Is(err, errCut) {
		t.Errorf("one endless line: %v", err)
	}
	var b bytes.Buffer
	event(&b, "content_block_start", obj{"index": 0, "content_block": obj{"type": "text"}})
	delta := obj{"index": 0, "delta": obj{"type": "text_delta", "text": strings.Repeat("x", 1<<20)}}
	for range 33 {
		event(&b, "content_block_delta", delta)
	}
	if _, err := readAnswer(&b, deaf()); !errors.Is(err, errCut) || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("endless deltas: %v", err)
	}
}

type endless struct{}

// Read never ends.
func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestUnknownEventsAndFieldsAreNoTrouble(t *testing.T) {
	t.Parallel()
	recorder := httptest.NewRecorder()
	begin(recorder)
	event(recorder, "content_block_start", obj{"index": 0, "content_block": obj{"type": "hologram", "new": 1}, "extra": true})
	event(recorder, "content_block_delta", obj{"index": 0, "delta": obj{"type": "hologram_delta", "light": "x"}})
	event(recorder, "weather", obj{"rain": true})
	writeBlock(recorder, 1, block{Type: blockText, Text: "still here"})
	event(recorder, "message_delta", obj{"delta": obj{"stop_reason": "end_turn", "new": 1}, "usage": obj{"output_tokens": 9, "new_tokens": 3}})
	event(recorder, "message_stop", obj{})
	a, err := readAnswer(recorder.Body, deaf())
	if err != nil || len(a.Blocks) != 2 || a.Blocks[1].Text != "still here" || a.StopReason != stoppedEnd {
		t.Errorf("answer = %+v, %v", a, err)
	}
	if want := (corp.Usage{FreshInput: 100, CacheRead: 30, CacheWriteShort: 20, Output: 9}); a.Usage != want {
		t.Errorf("usage = %+v, want %+v", a.Usage, want)
	}
	if _, blocks := sift(a); len(blocks) != 1 {
		t.Errorf("an unknown block would go back to the vendor: %+v", blocks)
	}
}

func TestRetryAfterIsReadInBothForms(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "2": 2 * time.Second, "0.5": 500 * time.Millisecond, "-1": 0, "soon": 0, "1e300": 0, "NaN": 0,
		now.Add(90 * time.Second).Format(http.TimeFormat): 90 * time.Second, now.Add(-time.Hour).Format(http.TimeFormat): 0,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("retryAfter(%q) = %s, want %s", value, got, want)
		}
	}
}

func FuzzReadAnswer(f *testing.F) {
	recorder := httptest.NewRecorder()
	answers(stoppedTools, block{Type: blockText, Text: "hello"}, tu("read", obj{"path": "a"}))(recorder, nil)
	f.Add(recorder.Body.Bytes())
	f.Add([]byte("data: {\"type\":\"content_block_start\",\"index\":-1}\n\n"))
	f.Add([]byte("data: {\"type\":\"message_start\",\"message\":{\"usage\":[]}}\n\ndata: {}\n\n"))
	f.Fuzz(func(t *testing.T, input []byte) {
		a, err := readAnswer(bytes.NewReader(input), deaf())
		if err != nil {
			if _, vendor := errors.AsType[*vendorError](err); !vendor && !errors.Is(err, errCut) {
				t.Errorf("readAnswer = %v", err)
			}
			return
		}
		_, blocks := sift(a)
		if _, err := json.Marshal(message{Role: roleAssistant, Content: blocks}); err != nil {
			t.Errorf("the answer cannot go back to the vendor: %v", err)
		}
	})
}

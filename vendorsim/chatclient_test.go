package vendorsim

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

func chatRequestTo(ctx context.Context, url, body string) *http.Request {
	r := request(ctx, http.MethodPost, url+"/v1/chat/completions", body)
	r.Header.Del("X-Api-Key")
	r.Header.Del("Anthropic-Version")
	r.Header.Set("Authorization", "Bearer sk-test-0123456789")
	return r
}

func (v *vendor) chat(t *testing.T, body string) got {
	t.Helper()
	return v.do(t, chatRequestTo(t.Context(), v.url, body))
}

// chatAsk is the body of a request with one prompt.
func chatAsk(prompt string, more ...string) string {
	return chatWith(`[{"role":"user","content":`+string(appendString(nil, prompt))+`}]`, more...)
}

func chatWith(messages string, more ...string) string {
	return `{"model":"claude-sonnet-4-5",` + strings.Join(append(more, ""), ",") + `"messages":` + messages + `}`
}

const (
	withUsage = `"stream":true,"stream_options":{"include_usage":true}`
	chatFix   = `"tools":[{"type":"function","function":{"name":"read","parameters":{"type":"object"}}},{"type":"function","function":{"name":"edit"}}]`
)

// chatCall is one call of a tool, put together again.
type chatCall struct {
	ID       string
	Type     string
	Function struct{ Name, Arguments string }
}

type chatChoice struct {
	Role, Content, Refusal string
	Calls                  []chatCall
	Finish                 string
}

type chatUsage struct {
	Prompt     int64 `json:"prompt_tokens"`
	Completion int64 `json:"completion_tokens"`
	Total      int64 `json:"total_tokens"`
	Details    struct {
		Cached  int64 `json:"cached_tokens"`
		Written int64 `json:"cache_write_tokens"`
	} `json:"prompt_tokens_details"`
	Completed struct {
		Reasoning int64 `json:"reasoning_tokens"`
	} `json:"completion_tokens_details"`
}

func (u *chatUsage) disjoint() Usage {
	return Usage{Input: u.Prompt - u.Details.Cached - u.Details.Written, CacheRead: u.Details.Cached, CacheWrite5m: u.Details.Written, Output: u.Completion}
}

// chatAnswer is an answer from either form.
type chatAnswer struct {
	choices []chatChoice
	usage   *chatUsage
	tier    string
	chunks  int
	done    bool
	broken  int
	failure string // the type of an error in the stream
}

func (v *vendor) chatWhole(t *testing.T, body string) *chatAnswer {
	t.Helper()
	answer := v.chat(t, body)
	if answer.status != http.StatusOK {
		t.Fatalf("%d %s", answer.status, answer.body)
	}
	var w struct {
		Object  string
		Choices []struct {
			Index   int
			Message struct {
				Role    string
				Content *string
				Refusal *string
				Calls   []chatCall `json:"tool_calls"`
			}
			Finish string `json:"finish_reason"`
		}
		Usage *chatUsage
		Tier  string `json:"service_tier"`
	}
	if err := json.Unmarshal(answer.body, &w); err != nil || w.Object != "chat.completion" {
		t.Fatalf("%v: %s", err, answer.body)
	}
	a := &chatAnswer{usage: w.Usage, tier: w.Tier, done: true}
	for i, c := range w.Choices {
		if c.Index != i {
			t.Errorf("choice %d has index %d", i, c.Index)
		}
		a.choices = append(a.choices, chatChoice{c.Message.Role, orEmpty(c.Message.Content), orEmpty(c.Message.Refusal), c.Message.Calls, c.Finish})
	}
	return a
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func (v *vendor) chatStream(t *testing.T, body string) *chatAnswer {
	t.Helper()
	answer := v.chat(t, body)
	if answer.status != http.StatusOK {
		t.Fatalf("%d %s", answer.status, answer.body)
	}
	return decodeChatStream(t, answer.body)
}

func decodeChatStream(t *testing.T, body []byte) *chatAnswer {
	t.Helper()
	a := &chatAnswer{}
	lines := bufio.NewScanner(bytes.NewReader(body))
	lines.Buffer(nil, 1<<26)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		switch {
		case !ok:
		case a.done:
			t.Errorf("after the end: %s", data)
		case data == "[DONE]":
			a.done = true
		default:
			a.take(t, data)
		}
	}
	return a
}

func (a *chatAnswer) take(t *testing.T, data string) {
	t.Helper()
	var c struct {
		Object  string
		Choices []struct {
			Index int
			Delta struct {
				Role, Content, Refusal string
				Calls                  []struct {
					Index int
					chatCall
				} `json:"tool_calls"`
			}
			Finish string `json:"finish_reason"`
		}
		Usage *chatUsage
		Tier  string `json:"service_tier"`
		Error struct{ Type string }
	}
	if json.Unmarshal([]byte(data), &c) != nil {
		a.broken++
		return
	}
	if c.Error.Type != "" {
		a.failure = c.Error.Type
		return
	}
	a.chunks++
	if c.Usage != nil {
		if len(c.Choices) != 0 || a.usage != nil {
			t.Errorf("usage in the wrong place: %s", data)
		}
		a.usage = c.Usage
	}
	a.tier = c.Tier
	for _, d := range c.Choices {
		for len(a.choices) <= d.Index {
			a.choices = append(a.choices, chatChoice{})
		}
		to := &a.choices[d.Index]
		to.Role += d.Delta.Role
		to.Content += d.Delta.Content
		to.Refusal += d.Delta.Refusal
		to.Finish += d.Finish
		for _, call := range d.Delta.Calls {
			for len(to.Calls) <= call.Index {
				to.Calls = append(to.Calls, chatCall{})
			}
			into := &to.Calls[call.Index]
			into.ID += call.ID
			into.Type += call.Type
			into.Function.Name += call.Function.Name
			into.Function.Arguments += call.Function.Arguments
		}
	}
}

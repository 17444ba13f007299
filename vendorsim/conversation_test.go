package vendorsim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// turns continues a conversation as an agent does: the answer as it came, then
// the results of its calls.
type turns struct {
	messages []map[string]any
	more     string
	cached   bool // put cache_control on the last block, as Claude Code does
}

func (c *turns) say(blocks ...map[string]any) {
	c.messages = append(c.messages, map[string]any{"role": "user", "content": blocks})
}

func text(s string) map[string]any { return map[string]any{"type": "text", "text": s} }

func (c *turns) body(t *testing.T) string {
	t.Helper()
	last := c.messages[len(c.messages)-1]["content"].([]map[string]any)
	if c.cached {
		last[len(last)-1]["cache_control"] = map[string]any{"type": "ephemeral"}
		defer delete(last[len(last)-1], "cache_control")
	}
	list, err := json.Marshal(c.messages)
	if err != nil {
		t.Fatal(err)
	}
	return `{"model":"claude-sonnet-4-5","max_tokens":4096,` + c.more + `,"messages":` + string(list) + `}`
}

// ask sends the conversation and adds the answer to it.
func (c *turns) ask(t *testing.T, v *vendor, stream bool) *decoded {
	t.Helper()
	body := c.body(t)
	if stream {
		body = strings.Replace(body, "{", "{"+streaming+",", 1)
	}
	answer := v.post(t, body)
	if answer.status != http.StatusOK {
		t.Fatalf("status %d: %s", answer.status, answer.body)
	}
	d := decodeWhole
	if stream {
		d = decodeStream
	}
	out := d(t, answer.body)
	var blocks []map[string]any
	for _, b := range out.Content {
		switch b.Type {
		case "thinking":
			blocks = append(blocks, map[string]any{"type": b.Type, "thinking": b.Thinking, "signature": b.Signature})
		case "tool_use":
			blocks = append(blocks, map[string]any{"type": b.Type, "id": b.ID, "name": b.Name, "input": b.Input})
		default:
			blocks = append(blocks, text(b.Text))
		}
	}
	c.messages = append(c.messages, map[string]any{"role": "assistant", "content": blocks})
	return out
}

// results answers the calls of the last answer.
func (c *turns) results(d *decoded, isError bool, contents ...string) {
	var blocks []map[string]any
	for _, b := range d.Content {
		if b.Type == "tool_use" {
			blocks = append(blocks, map[string]any{
				"type": "tool_result", "tool_use_id": b.ID, "content": contents[len(blocks)], "is_error": isError,
			})
		}
	}
	c.say(blocks...)
}

func TestAnAgentIsLedThroughItsTurnsByTheConversationAlone(t *testing.T) {
	t.Parallel()
	for _, stream := range []bool{false, true} {
		t.Run(fmt.Sprintf("stream %v", stream), func(t *testing.T) {
			t.Parallel()
			c := &turns{more: fixTools}
			c.say(text("[fix] main.go please"))
			read := c.ask(t, start(t, Options{}, example(t)), stream)
			if read.StopReason != "tool_use" || len(read.Content) != 4 {
				t.Fatalf("first answer: %+v", read)
			}
			if diff := cmp.Diff([]string{`{"path":"main.go","limit":200}`, `{"path":"main.go_test"}`}, []string{string(read.Content[2].Input), string(read.Content[3].Input)}); diff != "" {
				t.Error(diff)
			}
			c.results(read, false, "a bug, \"here\"\n", "no test")
			// Another server, which has never seen the conversation, goes on with it.
			v := start(t, Options{}, example(t))
			edit := c.ask(t, v, stream)
			if b := edit.Content[1]; b.ID != "toolu_scripted" || string(b.Input) != `{"path": "main.go", "content": "a fixed, \"here\"\n"}` {
				t.Errorf("second answer: %+v %s", b, b.Input)
			}
			c.results(edit, false, "written")
			if done := c.ask(t, v, stream); done.Content[0].Text != "Done after 2 turns with claude-sonnet-4-5." || done.StopReason != "end_turn" {
				t.Errorf("third answer: %+v", done)
			}
			books := v.Books()
			if books.Calls[0].Turn != 1 || books.Calls[1].Turn != 2 || books.Calls[1].Rule != "fix-done" || books.Calls[0].Stream != stream {
				t.Errorf("books: %+v", books.Calls)
			}
		})
	}
}

func TestAFailedToolIsSeen(t *testing.T) {
	t.Parallel()
	v := start(t, Options{}, example(t))
	c := &turns{more: fixTools}
	c.say(text("[fix] main.go"))
	read := c.ask(t, v, true)
	c.results(read, true, "first", "  no such file \n")
	if d := c.ask(t, v, true); d.Content[0].Text != "The tool failed: no such file" {
		t.Errorf("got %+v", d.Content)
	}
}

func TestTheCacheOfATurnIsReadByTheNext(t *testing.T) {
	t.Parallel()
	v := start(t, Options{}, example(t))
	c := &turns{cached: true, more: fixTools + `,"system":[{"type":"text","text":"` + strings.Repeat("Be good. ", 100) + `","cache_control":{"type":"ephemeral","ttl":"1h"}}]`}
	c.say(text("[fix] main.go"))
	first := c.ask(t, v, true)
	u1 := first.usage()
	if d := decodeWhole(t, v.post(t, (&turns{messages: c.messages[:1], cached: true, more: c.more}).body(t)).body); d.usage() != (Usage{Input: u1.Input, CacheWrite5m: first.Usage.CacheCreation.Short, CacheWrite1h: first.Usage.CacheCreation.Long, Output: u1.Output}) {
		t.Errorf("the whole message says %+v, the stream %+v", d.usage(), u1)
	}
	if u1.CacheRead != 0 || u1.CacheWrite1h < 225 || u1.CacheWrite5m == 0 || first.Usage.CacheWrite != u1.CacheWrite1h+u1.CacheWrite5m {
		t.Errorf("first: %+v", u1)
	}
	c.results(first, false, strings.Repeat("bug ", 500), "more")
	second := c.ask(t, v, true)
	u2 := second.usage()
	if u2.CacheRead != u1.CacheWrite1h+u1.CacheWrite5m || u2.CacheWrite1h != 0 || u2.CacheWrite5m < 500 {
		t.Errorf("second: %+v after %+v", u2, u1)
	}
	if u2.Input > 1 {
		t.Errorf("everything is cached, yet %d tokens are fresh", u2.Input)
	}
	c.results(second, false, "written")
	third := c.ask(t, v, true)
	u3 := third.usage()
	if u3.CacheRead != u2.CacheRead+u2.CacheWrite5m {
		t.Errorf("third: %+v after %+v", u3, u2)
	}
}

func TestWithoutCacheControlEverythingIsFresh(t *testing.T) {
	t.Parallel()
	v := start(t, Options{}, echo(t, "{text: ok}"))
	u := decodeWhole(t, v.post(t, ask(strings.Repeat("x", 400))).body).usage()
	if want := (Usage{Input: 100, Output: 1}); u != want {
		t.Errorf("got %+v, want %+v", u, want)
	}
}

func TestASystemBreakpointAloneIsWrittenThenRead(t *testing.T) {
	t.Parallel()
	v := start(t, Options{}, echo(t, "{text: okay}"))
	system := `"system":[{"type":"text","text":"` + strings.Repeat("s", 4000) + `","cache_control":{"type":"ephemeral"}}]`
	c := &turns{more: system}
	for i, want := range []Usage{
		{Input: 10, CacheWrite5m: 1000, Output: 1},
		{Input: 21, CacheRead: 1000, Output: 1},
	} {
		c.say(text(strings.Repeat("u", 40)))
		if got := c.ask(t, v, false).usage(); got != want {
			t.Errorf("turn %d: %+v, want %+v", i, got, want)
		}
	}
}

func TestTheFirstRuleThatMatchesAnswers(t *testing.T) {
	t.Parallel()
	one := load(t, "name: one\nwhen: {model: haiku}\nrules: [{name: a, match: {prompt: special}, reply: {text: one a}}]")
	two := load(t, `name: two
rules:
  - {name: all-tools, match: {tools: [read, edit], tool_count: 2}, reply: {text: two all-tools}}
  - {name: system, match: {system: {equals: "be brief\nand kind"}}, reply: {text: two system}}
  - {name: streamed, match: {stream: true}, reply: {text: two streamed}}
  - {name: last, match: {last_user: {contains: again, lacks: never}}, reply: {text: two last}}
`)
	v := start(t, Options{}, one, two)
	for _, c := range []struct{ name, body, want string }{
		{"first scenario", strings.Replace(ask("special"), "sonnet", "haiku", 1), "one a"},
		{"other model", ask("special again"), "two last"},
		{"tools", ask("special", fixTools), "two all-tools"},
		{"system blocks", ask("x", `"system":[{"type":"text","text":"be brief"},{"type":"text","text":"and kind"}]`), "two system"},
		{"stream", ask("x", streaming), "two streamed"},
		{"none", ask("again and never"), "invalid_request_error"},
	} {
		if got := string(v.post(t, c.body).body); !strings.Contains(got, c.want) {
			t.Errorf("%s: %q is not in %s", c.name, c.want, got)
		}
	}
}

func TestASecondPromptIsTheLastUserTextAndTheFirstStaysThePrompt(t *testing.T) {
	t.Parallel()
	v := start(t, Options{}, echo(t, "{text: '{{.Prompt}} / {{.LastUser}} / {{.Turn}} / {{len .ToolResults}}'}"))
	c := &turns{more: `"temperature":1`}
	c.say(text("one"), text("two"))
	c.ask(t, v, false)
	c.say(text("three"))
	if got := c.ask(t, v, false).Content[0].Text; got != "one\ntwo / three / 1 / 0" {
		t.Errorf("got %q", got)
	}
}

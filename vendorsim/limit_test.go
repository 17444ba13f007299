package vendorsim

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/quick"
	"unicode/utf8"
)

func capped(n int64, more ...string) string {
	return strings.Replace(ask("x", more...), "4096", fmt.Sprint(n), 1)
}

func TestALowerCapLowersTheBillAndTheTextWithIt(t *testing.T) {
	t.Parallel()
	v := start(t, Options{}, echo(t, "{text_bytes: 4000}"))
	scripted := start(t, Options{}, echo(t, "{text_bytes: 4000, usage: {input: 5, output: 2000}}"))
	for _, c := range []struct {
		v            *vendor
		cap, output  int64
		bytes        int
		stop, stream string
	}{
		{v, 5000, 1000, 4000, "end_turn", streaming},
		{v, 1000, 1000, 4000, "end_turn", streaming},
		{v, 999, 999, 3996, "max_tokens", streaming},
		{v, 1, 1, 4, "max_tokens", `"stream":false`},
		{scripted, 2000, 2000, 4000, "end_turn", streaming},
		{scripted, 500, 500, 1000, "max_tokens", streaming},
		{scripted, 1, 1, 2, "max_tokens", `"stream":false`},
	} {
		body := c.v.post(t, capped(c.cap, c.stream)).body
		decode := decodeWhole
		if c.stream == streaming {
			decode = decodeStream
		}
		d := decode(t, body)
		if d.usage().Output != c.output || d.StopReason != c.stop || len(d.Content[0].Text) != c.bytes {
			t.Errorf("cap %d: %d tokens, %s, %d bytes", c.cap, d.usage().Output, d.StopReason, len(d.Content[0].Text))
		}
	}
}

func TestNoAnswerEverPassesItsCap(t *testing.T) {
	t.Parallel()
	property := func(thinking, said, argument string, limit uint16, scripted *uint16) bool {
		a := &answer{stopReason: "tool_use", blocks: []outBlock{
			{kind: "thinking", body: strings.ToValidUTF8(thinking, "é")},
			{kind: "text", body: strings.ToValidUTF8(said, "🙂")},
			{kind: "tool_use", name: "name", body: string(appendString(nil, argument))},
		}}
		var output *int64
		if scripted != nil {
			output = new(int64(*scripted))
		}
		before := a.blocks[1].body
		most := int64(limit)%100 + 1
		a.limit(output, most)
		valid := true
		for _, b := range a.blocks {
			valid = valid && utf8.ValidString(b.body)
			if b.kind == "text" {
				valid = valid && strings.HasPrefix(before, b.body)
			}
		}
		cut := a.stopReason == "max_tokens"
		fits := scripted != nil || tokensOf(a.bytes) <= most
		last := int64(0)
		for n := range a.bytes + 1 { // what is billed grows with what is out
			g := a.generated(n)
			valid = valid && g >= last && g <= a.usage.Output
			last = g
		}
		return valid && fits && a.usage.Output <= most && (!cut || a.usage.Output == most) && last == a.usage.Output
	}
	if err := quick.Check(property, &quick.Config{MaxCount: 2000}); err != nil {
		t.Error(err)
	}
}

func TestACallCutInItsInputIsPartialAndOneWithoutItsNameIsDropped(t *testing.T) {
	t.Parallel()
	v := start(t, Options{}, echo(t, "{text: four, tool_calls: [{name: write, input: {path: main.go, content: package main}}]}"))
	d := decodeStream(t, v.post(t, capped(6, streaming)).body)
	if len(d.Content) != 2 || d.Content[1].partial != `{"path":"main.g` || d.StopReason != "max_tokens" {
		t.Errorf("%+v", d)
	}
	whole := decodeWhole(t, v.post(t, capped(6)).body)
	if string(whole.Content[1].Input) != "{}" || whole.StopReason != "max_tokens" || whole.usage().Output != 6 {
		t.Errorf("%+v", whole)
	}
	if d := decodeStream(t, v.post(t, capped(2, streaming)).body); len(d.Content) != 1 || d.usage().Output != 2 {
		t.Errorf("%+v", d)
	}
}

func TestThinkingCutShortHasNoSignature(t *testing.T) {
	t.Parallel()
	v := start(t, Options{}, echo(t, "{thinking: A long thought that does not fit., text: never}"))
	d := decodeStream(t, v.post(t, capped(4, streaming)).body)
	if len(d.Content) != 1 || d.Content[0].Thinking != "A long thought t" || d.Content[0].Signature != "" {
		t.Errorf("%+v", d.Content)
	}
}

func TestSumsOfTheLargestCountsDoNotOverflow(t *testing.T) {
	t.Parallel()
	u := Usage{maxTokens, maxTokens, maxTokens, maxTokens, maxTokens}
	var sum Usage
	for range 1 << 20 {
		sum = sum.Add(u)
	}
	if sum.Output <= 0 || sum.Output > math.MaxInt64/4 {
		t.Errorf("%d", sum.Output)
	}
}

package vendorsim

import (
	"bytes"
	"encoding/json"
	"strconv"
)

const (
	chatFingerprint = "fp_simulated"
	cacheStep       = 128  // tokens: what is read from the cache is a multiple of it
	cacheLeast      = 1024 // tokens: less is never cached
)

// promptUsage returns what the prompt is billed unless a scenario says it. The
// vendor caches by itself: what the request before this one held is read from the
// cache, in whole steps.
func (chatDialect) promptUsage(c *conversation) Usage {
	read := tokensOf(c.previousEnd()) / cacheStep * cacheStep
	if read < cacheLeast {
		read = 0
	}
	return Usage{Input: c.size.tokens() - read, CacheRead: read}
}

// chatFinish returns the dialect's word for why the answer ended.
func (a *answer) chatFinish() string {
	switch a.stopReason {
	case "end_turn", "stop_sequence", "refusal":
		return "stop"
	case "tool_use":
		return "tool_calls"
	case "max_tokens":
		return "length"
	default:
		return a.stopReason
	}
}

// chatField is the member that text goes into.
func (a *answer) chatField() string {
	if a.stopReason == "refusal" {
		return "refusal"
	}
	return "content"
}

// body returns the answer as one object, laid out as the vendor lays it out.
func (d chatDialect) body(a *answer) []byte {
	dst := appendChatHead(make([]byte, 0, 1024+a.bytes+a.bytes/8), a, "chat.completion")
	dst = append(dst, `,"choices":[`...)
	for i := range max(1, a.conv.choices) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"index":`...)
		dst = strconv.AppendInt(dst, int64(i), 10)
		dst = a.appendChatMessage(append(dst, `,"message":`...))
		dst = append(dst, `,"logprobs":null,"finish_reason":`...)
		dst = append(appendString(dst, a.chatFinish()), '}')
	}
	dst = append(dst, ']')
	if !a.hidden {
		dst = a.appendChatUsage(append(dst, `,"usage":`...))
	}
	dst = append(dst, a.fields.event...)
	dst = appendChatTail(dst, a)
	var out bytes.Buffer
	out.Grow(len(dst) + 1024)
	if json.Indent(&out, dst, "", "  ") != nil { // only a scripted member could break it
		return dst
	}
	return append(out.Bytes(), '\n')
}

func appendChatHead(dst []byte, a *answer, object string) []byte {
	dst = appendString(append(dst, `{"id":`...), a.id)
	dst = append(dst, `,"object":"`...)
	dst = append(dst, object...)
	dst = append(dst, `","created":`...)
	dst = strconv.AppendInt(dst, a.created, 10)
	return appendString(append(dst, `,"model":`...), a.model)
}

func appendChatTail(dst []byte, a *answer) []byte {
	return append(dst, `,"service_tier":"`+a.chatTier()+`","system_fingerprint":"`+chatFingerprint+`"}`...)
}

// chatTier returns the tier that served the call.
func (a *answer) chatTier() string {
	switch a.conv.chat.tier {
	case "flex", "priority":
		return a.conv.chat.tier
	default:
		return "default"
	}
}

func (a *answer) appendChatMessage(dst []byte) []byte {
	text := map[string]string{}
	calls := 0
	for i := range a.blocks {
		switch b := &a.blocks[i]; b.kind {
		case "text":
			text[a.chatField()] += b.body
		case "tool_use":
			calls++
		}
	}
	dst = append(dst, `{"role":"assistant"`...)
	for _, field := range []string{"content", "refusal"} {
		dst = append(dst, `,"`+field+`":`...)
		if body, ok := text[field]; ok || (field == "content" && calls == 0 && a.stopReason != "refusal") {
			dst = appendString(dst, body)
		} else {
			dst = append(dst, "null"...)
		}
	}
	if calls > 0 {
		dst = append(a.appendChatCalls(append(dst, `,"tool_calls":[`...)), ']')
	}
	dst = append(dst, `,"annotations":[]`...)
	return append(append(dst, a.fields.message...), '}')
}

func (a *answer) appendChatCalls(dst []byte) []byte {
	first := true
	for i := range a.blocks {
		b := &a.blocks[i]
		if b.kind != "tool_use" {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = appendString(append(dst, `{"id":`...), b.id)
		dst = appendString(append(dst, `,"type":"function","function":{"name":`...), b.name)
		dst = appendString(append(dst, `,"arguments":`...), b.body)
		dst = append(append(append(dst, '}'), a.fields.block...), '}')
	}
	return dst
}

// appendChatUsage writes the counts as the dialect nests them: what was read from
// the cache or written to it is part of the prompt, and thinking part of the answer.
func (a *answer) appendChatUsage(dst []byte) []byte {
	u := &a.usage
	written := u.CacheWrite5m + u.CacheWrite1h
	prompt := u.Input + u.CacheRead + written
	reasoning := int64(0)
	if a.thinking > 0 {
		reasoning = a.generated(a.thinking)
	}
	for _, x := range []struct {
		before string
		n      int64
	}{
		{`{"prompt_tokens":`, prompt},
		{`,"completion_tokens":`, u.Output},
		{`,"total_tokens":`, prompt + u.Output},
		{`,"prompt_tokens_details":{"cached_tokens":`, u.CacheRead},
	} {
		dst = strconv.AppendInt(append(dst, x.before...), x.n, 10)
	}
	if written > 0 {
		dst = strconv.AppendInt(append(dst, `,"cache_write_tokens":`...), written, 10)
	}
	dst = append(dst, `,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":`...)
	dst = strconv.AppendInt(dst, reasoning, 10)
	dst = append(dst, `,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}`...)
	return append(append(dst, a.fields.usage...), '}')
}

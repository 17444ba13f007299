package vendorsim

import "strconv"

// body returns the answer as one message, for a request that does not stream.
func (a *answer) body() []byte {
	dst := append(make([]byte, 0, 1024+a.bytes+a.bytes/8), '{')
	dst = a.appendHead(dst)
	dst = append(dst, `,"content":[`...)
	for i := range a.blocks {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = a.appendBlock(dst, &a.blocks[i])
	}
	dst = append(dst, `],`...)
	dst = a.appendStop(dst)
	dst = a.appendUsage(dst, a.usage.Output)
	dst = append(dst, a.fields.message...)
	return append(dst, '}')
}

func (a *answer) appendHead(dst []byte) []byte {
	dst = append(dst, `"model":`...)
	dst = appendString(dst, a.model)
	dst = append(dst, `,"id":`...)
	dst = appendString(dst, a.id)
	return append(dst, `,"type":"message","role":"assistant"`...)
}

func (a *answer) appendStop(dst []byte) []byte {
	dst = append(dst, `"stop_reason":`...)
	dst = appendString(dst, a.stopReason)
	dst = append(dst, `,"stop_sequence":`...)
	if a.stopSequence == "" {
		return append(dst, "null"...)
	}
	return appendString(dst, a.stopSequence)
}

// appendUsage appends the full usage with a leading comma, output as given: at
// the start of a stream little of it is there yet.
func (a *answer) appendUsage(dst []byte, output int64) []byte {
	u := &a.usage
	for _, x := range []struct {
		before string
		n      int64
	}{
		{`,"usage":{"input_tokens":`, u.Input},
		{`,"cache_creation_input_tokens":`, u.CacheWrite5m + u.CacheWrite1h},
		{`,"cache_read_input_tokens":`, u.CacheRead},
		{`,"cache_creation":{"ephemeral_5m_input_tokens":`, u.CacheWrite5m},
		{`,"ephemeral_1h_input_tokens":`, u.CacheWrite1h},
		{`},"output_tokens":`, output},
	} {
		dst = append(dst, x.before...)
		dst = strconv.AppendInt(dst, x.n, 10)
	}
	if output == u.Output {
		dst = a.appendThinking(dst)
	}
	dst = append(dst, `,"service_tier":"standard"`...)
	dst = append(dst, a.fields.usage...)
	return append(dst, '}')
}

// appendThinking appends how much of the output was thinking, if any was.
func (a *answer) appendThinking(dst []byte) []byte {
	if a.thinking == 0 {
		return dst
	}
	dst = append(dst, `,"output_tokens_details":{"thinking_tokens":`...)
	dst = strconv.AppendInt(dst, a.generated(a.thinking), 10)
	return append(dst, '}')
}

func (a *answer) appendBlock(dst []byte, b *outBlock) []byte {
	dst = append(dst, `{"type":"`...)
	dst = append(dst, b.kind...)
	switch b.kind {
	case "thinking":
		dst = appendString(append(dst, `","thinking":`...), b.body)
		dst = append(dst, `,"signature":`...)
		signature := ""
		if !b.partial {
			signature = sign(b.body)
		}
		dst = appendString(dst, signature)
	case "tool_use":
		dst = appendString(append(dst, `","id":`...), b.id)
		dst = appendString(append(dst, `,"name":`...), b.name)
		dst = append(dst, `,"input":`...)
		if b.partial { // half an object is none
			dst = append(dst, "{}"...)
		} else {
			dst = append(dst, b.body...)
		}
	default:
		dst = appendString(append(dst, `","text":`...), b.body)
	}
	dst = append(dst, a.fields.block...)
	return append(dst, '}')
}

package anthropic

import (
	"github.com/tidwall/gjson"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/gateway/wire"
)

// counts are the vendor's own counters. They are cumulative: of each, the last
// value that was said is the true one, and one that is not said again stands.
type counts struct {
	input, output, read, written *int64
	short, long                  *int64 // of written, by how long it is kept
	iterations                   []gjson.Result
	searches                     int64
	tier, speed, place           string
}

func (c *counts) take(u gjson.Result) {
	u.ForEach(func(key, v gjson.Result) bool {
		switch key.Str {
		case "input_tokens":
			number(v, &c.input)
		case "output_tokens":
			number(v, &c.output)
		case "cache_read_input_tokens":
			number(v, &c.read)
		case "cache_creation_input_tokens":
			number(v, &c.written)
		case "cache_creation":
			number(v.Get("ephemeral_5m_input_tokens"), &c.short)
			number(v.Get("ephemeral_1h_input_tokens"), &c.long)
		case "iterations":
			if v.IsArray() {
				c.iterations = v.Array()
			}
		case "server_tool_use":
			c.searches = v.Get("web_search_requests").Int()
		case "service_tier":
			c.tier = v.Str
		case "speed":
			c.speed = v.Str
		case "inference_geo":
			c.place = v.Str
		}
		return true
	})
}

func number(v gjson.Result, to **int64) {
	if v.Type == gjson.Number {
		*to = new(min(max(v.Int(), 0), wire.MaxCount))
	}
}

func or(p *int64, other int64) int64 {
	if p == nil {
		return other
	}
	return *p
}

// disjoint returns the counts with each token in exactly one of them, and apart
// from it what other calls inside the same answer used.
func (c *counts) disjoint(longAsked bool) (corp.Usage, []wire.Part) {
	short, long := or(c.short, 0), or(c.long, 0)
	if s, l, ok := c.split(); ok {
		short, long = s, l
	}
	// What is written but not placed goes where the request asked.
	if rest := or(c.written, short+long) - short - long; rest > 0 {
		if longAsked {
			long += rest
		} else {
			short += rest
		}
	}
	u := corp.Usage{
		FreshInput: or(c.input, 0), CacheRead: or(c.read, 0),
		CacheWriteShort: short, CacheWriteLong: long, Output: or(c.output, 0),
	}
	return u, c.extra()
}

// split returns where the answer's own iterations say that writes went, which
// is newer than the beginning of a stream.
func (c *counts) split() (short, long int64, ok bool) {
	for _, it := range c.iterations {
		if kind := it.Get("type").Str; kind != "" && kind != "message" {
			continue
		}
		if made := it.Get("cache_creation"); made.IsObject() {
			var s, l *int64
			number(made.Get("ephemeral_5m_input_tokens"), &s)
			number(made.Get("ephemeral_1h_input_tokens"), &l)
			short, long, ok = short+or(s, 0), long+or(l, 0), true
		}
	}
	return short, long, ok && short+long == or(c.written, short+long)
}

// extra returns the iterations that the counts at the top leave out.
func (c *counts) extra() (parts []wire.Part) {
	for _, it := range c.iterations {
		switch it.Get("type").Str {
		case "compaction", "advisor_message", "fallback_message":
			inner := counts{}
			inner.take(it)
			u, _ := inner.disjoint(false)
			parts = append(parts, wire.Part{Model: it.Get("model").Str, Usage: u})
		}
	}
	return parts
}

// unpriced says what makes the cost something else than tokens times prices.
func (c *counts) unpriced() string {
	switch {
	case c.searches > 0:
		return "web searches are not in the price book"
	case c.tier != "" && c.tier != "standard":
		return "service tier " + c.tier + " is not in the price book"
	case c.speed != "" && c.speed != "standard":
		return "speed " + c.speed + " is not in the price book"
	case c.place != "" && c.place != "global" && c.place != "not_available":
		return "inference in " + c.place + " is not in the price book"
	default:
		return ""
	}
}

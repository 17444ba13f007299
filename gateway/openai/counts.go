package openai

import (
	"github.com/tidwall/gjson"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/gateway/wire"
)

// counts are the vendor's own counters, nested: what was read from the cache or
// written to it is part of the prompt, and reasoning is part of the completion.
type counts struct {
	prompt, completion, total *int64
	read, written             *int64
	audio, searches           bool
}

// take reads a usage object. Others than the vendor have names of their own for
// what was read from the cache.
func (c *counts) take(u gjson.Result) {
	u.ForEach(func(key, v gjson.Result) bool {
		switch key.Str {
		case "prompt_tokens":
			number(v, &c.prompt)
		case "completion_tokens":
			number(v, &c.completion)
		case "total_tokens":
			number(v, &c.total)
		case "prompt_cache_hit_tokens", "cached_tokens":
			if c.read == nil {
				number(v, &c.read)
			}
		case "prompt_tokens_details":
			number(v.Get("cached_tokens"), &c.read)
			number(v.Get("cache_write_tokens"), &c.written)
			c.audio = c.audio || v.Get("audio_tokens").Int() > 0
		case "completion_tokens_details":
			c.audio = c.audio || v.Get("audio_tokens").Int() > 0
		case "num_sources_used", "num_search_queries":
			c.searches = c.searches || v.Int() > 0
		}
		return true
	})
}

func number(v gjson.Result, to **int64) {
	if v.Type == gjson.Number {
		*to = new(min(max(v.Int(), 0), wire.MaxCount))
	}
}

// said returns a count, 0 for one that was not told.
func said(p *int64) int64 {
	if p == nil {
		return 0
	}
	return *p
}

// disjoint returns the counts with each token in exactly one of them. Some
// servers leave reasoning out of the completion, and only the total shows it.
func (c *counts) disjoint(longAsked bool) corp.Usage {
	prompt := said(c.prompt)
	read := min(said(c.read), prompt)
	written := min(said(c.written), prompt-read)
	u := corp.Usage{
		FreshInput: prompt - read - written, CacheRead: read,
		Output: max(said(c.completion), said(c.total)-prompt),
	}
	if longAsked {
		u.CacheWriteLong = written
	} else {
		u.CacheWriteShort = written
	}
	if c.prompt == nil { // then the total says nothing about the completion
		u.Output = said(c.completion)
	}
	return u
}

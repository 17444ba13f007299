package vendorsim

// Usage is what a call was billed for, in tokens, under the vendor's names. The
// five counts are disjoint.
type Usage struct {
	Input        int64 `json:"input_tokens"`
	CacheRead    int64 `json:"cache_read_input_tokens"`
	CacheWrite5m int64 `json:"cache_write_5m_tokens"`
	CacheWrite1h int64 `json:"cache_write_1h_tokens"`
	Output       int64 `json:"output_tokens"`
}

// Add returns the sum of two usages.
func (u Usage) Add(v Usage) Usage {
	return Usage{
		Input:        u.Input + v.Input,
		CacheRead:    u.CacheRead + v.CacheRead,
		CacheWrite5m: u.CacheWrite5m + v.CacheWrite5m,
		CacheWrite1h: u.CacheWrite1h + v.CacheWrite1h,
		Output:       u.Output + v.Output,
	}
}

// bytesPerToken is the rule of thumb by which texts are counted.
const bytesPerToken = 4

// tokensOf returns how many tokens a text of n bytes counts.
func tokensOf(n int) int64 { return (int64(n) + bytesPerToken - 1) / bytesPerToken }

// tokens returns the tokens of the whole prompt, at least one.
func (s *sizes) tokens() int64 { return max(1, tokensOf(s.total)) }

// inputUsage returns what the prompt is billed unless a scenario says it. What the request before this
// one held is taken as cached as far as the last breakpoint of this one reaches; the
// rest up to that breakpoint is written, and what follows it is fresh.
func (c *conversation) inputUsage() Usage {
	s := &c.size
	read := min(c.previousEnd(), s.breakpoint)
	long := min(max(read, s.longPoint), s.breakpoint)
	u := Usage{
		CacheRead:    tokensOf(read),
		CacheWrite1h: tokensOf(long) - tokensOf(read),
		CacheWrite5m: tokensOf(s.breakpoint) - tokensOf(long),
	}
	u.Input = s.tokens() - u.CacheRead - u.CacheWrite1h - u.CacheWrite5m
	return u
}

// previousEnd returns where the prompt of the request before this one ended, in
// bytes; 0 if this is the first.
func (c *conversation) previousEnd() int {
	for i := c.lastUserIndex(); i > 0; i-- {
		if c.messages[i].role == "assistant" {
			return c.size.messageEnds[i-1]
		}
	}
	return 0
}

// input returns the scripted counts; one that is set makes the others zero.
func (f usageFile) input() (u Usage, ok bool) {
	for _, x := range []struct {
		from *int64
		to   *int64
	}{{f.Input, &u.Input}, {f.CacheRead, &u.CacheRead}, {f.CacheWrite5m, &u.CacheWrite5m}, {f.CacheWrite1h, &u.CacheWrite1h}} {
		if x.from != nil {
			*x.to, ok = *x.from, true
		}
	}
	return u, ok
}

package corp

import "math/bits"

// Usage is what one model call consumed, in tokens. The counts are disjoint:
// a token is in exactly one of them, whatever the vendor's own field means.
type Usage struct {
	FreshInput      int64 `json:"fresh_input"`       // read at the full input price
	CacheRead       int64 `json:"cache_read"`        // read from the vendor's prompt cache
	CacheWriteShort int64 `json:"cache_write_short"` // written to the cache for about 5 minutes
	CacheWriteLong  int64 `json:"cache_write_long"`  // written to the cache for about an hour
	Output          int64 `json:"output"`            // answered, reasoning included
}

// Add returns the sum of two usages.
func (u Usage) Add(v Usage) Usage {
	return Usage{
		FreshInput:      u.FreshInput + v.FreshInput,
		CacheRead:       u.CacheRead + v.CacheRead,
		CacheWriteShort: u.CacheWriteShort + v.CacheWriteShort,
		CacheWriteLong:  u.CacheWriteLong + v.CacheWriteLong,
		Output:          u.Output + v.Output,
	}
}

// Input returns all tokens of the prompt, cached or not.
func (u Usage) Input() int64 {
	return u.FreshInput + u.CacheRead + u.CacheWriteShort + u.CacheWriteLong
}

// Total returns all tokens.
func (u Usage) Total() int64 { return u.Input() + u.Output }

// sumCost adds tokens x picodollars exactly, in 128 bits, and rounds the sum up
// once to a nanodollar. A negative count costs nothing: a vendor cannot be owed
// money by a malformed answer.
func sumCost(pairs ...[2]int64) Nanodollars {
	var hi, lo uint64
	for _, p := range pairs {
		if p[0] <= 0 || p[1] <= 0 {
			continue
		}
		h, l := bits.Mul64(uint64(p[0]), uint64(p[1]))
		var carry uint64
		lo, carry = bits.Add64(lo, l, 0)
		hi, _ = bits.Add64(hi, h, carry)
	}
	const picoPerNano = 1000
	if hi >= picoPerNano { // the quotient would not fit
		return maxNanodollars
	}
	q, r := bits.Div64(hi, lo, picoPerNano)
	if r > 0 {
		q++
	}
	if q > uint64(maxNanodollars) {
		return maxNanodollars
	}
	return Nanodollars(q)
}

package pricebook

import "github.com/genericcorp/corp"

// Quote is what one model costs at one time.
type Quote struct {
	corp.Price // of a prompt that reaches no tier
	tiers      []Tier
}

// LongPriced says whether the vendor lists a price for writing to the cache for
// an hour. Where it does not, such writes have no known cost.
func (q Quote) LongPriced() bool {
	if free(q.Price) {
		return true
	}
	for _, t := range q.tiers {
		if t.Price.CacheWriteLong == 0 {
			return false
		}
	}
	return q.CacheWriteLong > 0
}

func free(p corp.Price) bool { return p.Input == 0 && p.CacheWriteShort == 0 }

// For returns the row that applies to a usage, by the size of its prompt.
func (q Quote) For(u corp.Usage) corp.Price {
	row := q.Price
	for _, t := range q.tiers {
		if u.Input() > t.Above {
			row = t.Price
		}
	}
	return row
}

// Cost returns what a usage costs and the row that it was priced by. Where long
// cache writes have no price they cost what short ones do, and exact is false.
func (q Quote) Cost(u corp.Usage) (cost corp.Nanodollars, row corp.Price, exact bool) {
	row = q.For(u)
	exact = true
	if u.CacheWriteLong > 0 && row.CacheWriteLong == 0 && !free(row) {
		u.CacheWriteShort, u.CacheWriteLong = u.CacheWriteShort+u.CacheWriteLong, 0
		exact = false
	}
	return row.Cost(u), row, exact
}

// Bound returns the most that a call can cost whose prompt has at most input
// tokens and whose answer has at most output: of all rows that such a prompt can
// reach, the dearest.
func (q Quote) Bound(input, output int64) corp.Nanodollars {
	bound := q.Price.Bound(input, output)
	for _, t := range q.reachable(input) {
		bound = max(bound, t.Price.Bound(input, output))
	}
	return bound
}

// AffordableOutput returns how many tokens of answer fit into what is left after
// the prompt's bound, whichever row will apply; it may be negative.
func (q Quote) AffordableOutput(left corp.Nanodollars, input int64) int64 {
	fits := q.Price.AffordableOutput(left, input)
	for _, t := range q.reachable(input) {
		fits = min(fits, t.Price.AffordableOutput(left, input))
	}
	return fits
}

func (q Quote) reachable(input int64) []Tier {
	for i, t := range q.tiers {
		if input <= t.Above {
			return q.tiers[:i]
		}
	}
	return q.tiers
}

// SameRates says whether two quotes charge alike. A price for long cache writes
// that one of them lacks makes no difference: vendors list the same model under
// an alias and a dated name.
func (q Quote) SameRates(other Quote) bool {
	a, b := q.Price, other.Price
	long := a.CacheWriteLong == b.CacheWriteLong || a.CacheWriteLong == 0 || b.CacheWriteLong == 0
	return long && a.Input == b.Input && a.Output == b.Output && a.CacheRead == b.CacheRead && a.CacheWriteShort == b.CacheWriteShort && len(q.tiers) == len(other.tiers)
}

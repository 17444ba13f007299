package corp

import "time"

// Price is what a vendor's model costs from a date on. Prices are dated so that
// a ledger can be re-priced; they are never derived from one another, because
// vendors' cache multipliers differ from model to model.
type Price struct {
	ID              PriceID     `json:"id"`
	Vendor          string      `json:"vendor"` // who sells it: anthropic, openai, google, …
	Model           string      `json:"model"`  // the vendor's exact name
	EffectiveFrom   time.Time   `json:"effective_from"`
	Input           Picodollars `json:"input"`
	CacheRead       Picodollars `json:"cache_read"`
	CacheWriteShort Picodollars `json:"cache_write_short"`
	CacheWriteLong  Picodollars `json:"cache_write_long"`
	Output          Picodollars `json:"output"`
	ContextWindow   int64       `json:"context_window"` // tokens; 0 when unknown
	MaxOutput       int64       `json:"max_output"`     // tokens; 0 when unknown
	Source          string      `json:"source"`         // where the row is from
}

// Cost returns the exact sum of tokens x price, rounded up once to a nanodollar.
// It is the only place that multiplies tokens by prices.
func (p Price) Cost(u Usage) Nanodollars {
	return sumCost(
		[2]int64{u.FreshInput, int64(p.Input)},
		[2]int64{u.CacheRead, int64(p.CacheRead)},
		[2]int64{u.CacheWriteShort, int64(p.CacheWriteShort)},
		[2]int64{u.CacheWriteLong, int64(p.CacheWriteLong)},
		[2]int64{u.Output, int64(p.Output)},
	)
}

// DearestInput returns the highest price that a token of the prompt may cost.
func (p Price) DearestInput() Picodollars {
	return max(p.Input, p.CacheRead, p.CacheWriteShort, p.CacheWriteLong)
}

// Bound returns the most that a call can cost: its body's bytes as tokens (at
// most the context window) at the dearest input price, plus its output cap. A
// token is never shorter than a byte, so the bound holds for any tokenizer.
func (p Price) Bound(bodyBytes, outputCap int64) Nanodollars {
	return AddMoney(p.InputBound(bodyBytes), sumCost([2]int64{outputCap, int64(p.Output)}))
}

// InputBound returns the part of Bound that the prompt causes.
func (p Price) InputBound(bodyBytes int64) Nanodollars {
	tokens := bodyBytes
	if p.ContextWindow > 0 {
		tokens = min(tokens, p.ContextWindow)
	}
	return sumCost([2]int64{tokens, int64(p.DearestInput())})
}

// AffordableOutput returns how many output tokens fit into what is left after
// the prompt's bound; it may be negative.
func (p Price) AffordableOutput(free Nanodollars, bodyBytes int64) int64 {
	left := free - p.InputBound(bodyBytes) - 1 // each of the two parts rounds up
	if left < 0 {
		return -1
	}
	if p.Output <= 0 {
		return 1 << 40
	}
	const picoPerNano = 1000
	whole := int64(left) / int64(p.Output) * picoPerNano
	rest := int64(left) % int64(p.Output) * picoPerNano / int64(p.Output)
	return whole + rest
}

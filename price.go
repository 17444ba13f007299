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

// PriceSpec is a price as an operator adds it to the price book, in picodollars
// per token, which is dollars per million tokens times a million. A price of zero
// must be said, because it means that the model is free. What is not said of the
// cache costs what fresh input costs.
type PriceSpec struct {
	Vendor          string       `json:"vendor" minLength:"1" maxLength:"60" doc:"As providers name it."`
	Model           string       `json:"model" minLength:"1" maxLength:"200" doc:"The vendor's exact name."`
	EffectiveFrom   *time.Time   `json:"effective_from,omitempty" doc:"Now when left out."`
	Input           Picodollars  `json:"input" minimum:"0" doc:"Picodollars per token, as are all five."`
	Output          Picodollars  `json:"output" minimum:"0"`
	CacheRead       *Picodollars `json:"cache_read,omitempty" minimum:"0" doc:"The price of input when left out."`
	CacheWriteShort *Picodollars `json:"cache_write_short,omitempty" minimum:"0" doc:"The price of input when left out."`
	CacheWriteLong  *Picodollars `json:"cache_write_long,omitempty" minimum:"0" doc:"Unknown when left out: a budget then refuses to pay for it."`
	ContextWindow   int64        `json:"context_window,omitempty" minimum:"0" maximum:"1000000000" doc:"Tokens; 0 when unknown."`
	MaxOutput       int64        `json:"max_output,omitempty" minimum:"0" maximum:"1000000000" doc:"Tokens; 0 when unknown."`
}

// maxPrice is a thousand dollars per token: beyond any price, and far from overflow.
const maxPrice Picodollars = 1_000_000_000_000_000

// Price makes the row. It refuses, with an invalid error, what no vendor charges.
func (s PriceSpec) Price(now time.Time) (Price, error) {
	or := func(p *Picodollars, other Picodollars) Picodollars {
		if p == nil {
			return other
		}
		return *p
	}
	p := Price{
		ID: NewID[PriceID](), Vendor: s.Vendor, Model: s.Model, EffectiveFrom: now, Input: s.Input, Output: s.Output,
		CacheRead: or(s.CacheRead, s.Input), CacheWriteShort: or(s.CacheWriteShort, s.Input), CacheWriteLong: or(s.CacheWriteLong, 0),
		ContextWindow: s.ContextWindow, MaxOutput: s.MaxOutput, Source: "operator",
	}
	if s.EffectiveFrom != nil {
		p.EffectiveFrom = *s.EffectiveFrom
	}
	for _, x := range []Picodollars{p.Input, p.Output, p.CacheRead, p.CacheWriteShort, p.CacheWriteLong} {
		if x < 0 || x > maxPrice {
			return Price{}, Invalid("input", "A price is between 0 and a thousand dollars per token.", "Prices are picodollars per token: 1,000,000 is a dollar per million tokens.")
		}
	}
	return p, nil
}

// PriceFilter narrows a list of prices; an empty field matches all.
type PriceFilter struct {
	Vendor string
	Model  string
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

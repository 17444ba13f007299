// Package pricebook knows what models cost: rows dated by the day they apply
// from, in integer picodollars per token, and which of them applies to a call.
//
// It carries a list of public prices to seed an installation with. It never
// derives one price from another by a multiplier, because vendors' cache
// discounts differ from model to model, and never guesses a model from the
// beginning of its name: what is not in the book is unknown.
package pricebook

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/genericcorp/corp"
)

// A model whose whole call is dearer once its prompt passes a size has one more
// row for that tier, under the model's name with the condition behind it.
var tierName = regexp.MustCompile(`^(.+) \(input > ([0-9]{1,12})\)$`)

// TierName returns the name under which the price of a model's calls with more
// than above tokens of prompt is kept.
func TierName(model string, above int64) string {
	return fmt.Sprintf("%s (input > %d)", model, above)
}

// Book answers what a model costs. It never changes after New, so any number of
// goroutines may read it.
type Book struct {
	models map[name][]dated // by date, oldest first
	rows   int
}

type name struct{ vendor, model string }

// dated is the prices of one model from a day on.
type dated struct {
	from  time.Time
	plain corp.Price
	tiers []Tier
}

// Tier is the row that applies to calls with more than Above tokens of prompt.
type Tier struct {
	Above int64
	Price corp.Price
}

// New makes a book of the rows, in any order. A tier's row without the model's
// own row of the same date is left out.
func New(rows []corp.Price) *Book {
	b := &Book{models: map[name][]dated{}, rows: len(rows)}
	for _, p := range rows {
		if tierName.MatchString(p.Model) {
			continue
		}
		key := name{p.Vendor, p.Model}
		b.models[key] = append(b.models[key], dated{from: p.EffectiveFrom, plain: p})
	}
	for _, p := range rows {
		parts := tierName.FindStringSubmatch(p.Model)
		if parts == nil {
			continue
		}
		above, err := strconv.ParseInt(parts[2], 10, 64)
		if err != nil {
			continue // the pattern allows no such name
		}
		list := b.models[name{p.Vendor, parts[1]}]
		for i := range list {
			if list[i].from.Equal(p.EffectiveFrom) {
				list[i].tiers = append(list[i].tiers, Tier{above, p})
			}
		}
	}
	for _, list := range b.models {
		slices.SortFunc(list, func(x, y dated) int { return x.from.Compare(y.from) })
		for i := range list {
			slices.SortFunc(list[i].tiers, func(x, y Tier) int { return int(x.Above - y.Above) })
			list[i].widen()
		}
	}
	return b
}

// widen forgets a context window that a tier begins at or beyond: lists give the
// part of the window that has the plain price, and a bound that stopped there would
// be too low for the rest.
func (d *dated) widen() {
	beyond := func(t Tier) bool { return t.Above >= d.plain.ContextWindow }
	if !slices.ContainsFunc(d.tiers, beyond) {
		return
	}
	d.plain.ContextWindow = 0
	for i := range d.tiers {
		d.tiers[i].Price.ContextWindow = 0
	}
}

// Len returns how many rows the book was made of.
func (b *Book) Len() int { return b.rows }

// Lookup returns what the vendor's model costs at a time: its newest row that
// applies by then, or its first row before that. The names must match exactly.
func (b *Book) Lookup(vendor, model string, at time.Time) (Quote, bool) {
	list := b.models[name{vendor, model}]
	if len(list) == 0 {
		return Quote{}, false
	}
	found := list[0]
	for _, d := range list[1:] {
		if d.from.After(at) {
			break
		}
		found = d
	}
	return Quote{Price: found.plain, tiers: found.tiers}, true
}

package pricebook_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/gateway/pricebook"
)

func seeded(t *testing.T) (*pricebook.Book, []corp.Price) {
	t.Helper()
	rows, err := pricebook.Prices()
	if err != nil {
		t.Fatal(err)
	}
	return pricebook.New(rows), rows
}

func quote(t *testing.T, b *pricebook.Book, vendor, model string, at time.Time) pricebook.Quote {
	t.Helper()
	q, ok := b.Lookup(vendor, model, at)
	if !ok {
		t.Fatalf("%s %s is not in the book", vendor, model)
	}
	return q
}

func TestSeededRowsAreWholeAndTheirIDsSteady(t *testing.T) {
	t.Parallel()
	_, first := seeded(t)
	_, second := seeded(t)
	if len(first) < 168 {
		t.Fatalf("%d rows, want at least one for each of 168 models", len(first))
	}
	ids := map[corp.PriceID]string{}
	for i, p := range first {
		if p != second[i] {
			t.Errorf("row %d differs from one reading to the next", i)
		}
		if was, taken := ids[p.ID]; taken {
			t.Errorf("%s and %s have one id", was, p.Model)
		}
		ids[p.ID] = p.Model
		if p.Input <= 0 || p.Output <= 0 || p.CacheRead <= 0 || p.CacheWriteShort <= 0 || p.ContextWindow <= 0 || p.MaxOutput <= 0 || p.Source == "" {
			t.Errorf("%s %s has a gap: %+v", p.Vendor, p.Model, p)
		}
		if got := p.ID.Time(); !got.Equal(p.EffectiveFrom) {
			t.Errorf("%s: its id carries %v, want its date %v", p.Model, got, p.EffectiveFrom)
		}
	}
}

func TestKnownPricesAreThoseOfTheVendor(t *testing.T) {
	t.Parallel()
	b, _ := seeded(t)
	now := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	q := quote(t, b, "anthropic", "claude-sonnet-4-5", now)
	cost, row, exact := q.Cost(corp.Usage{FreshInput: 1_000_000, CacheRead: 1_000_000, CacheWriteShort: 1_000_000, CacheWriteLong: 1_000_000, Output: 1_000_000})
	// $3 + $0.30 + $3.75 + $6 + $15
	if want := corp.Nanodollars(28_050_000_000); cost != want || !exact || row.ID != q.ID {
		t.Errorf("cost %v (exact %v), want %v", cost, exact, want)
	}
	for _, unknown := range [][2]string{{"anthropic", "claude-sonnet-4-5-x"}, {"anthropic", "claude-sonnet"}, {"openai", "claude-sonnet-4-5"}, {"", ""}} {
		if _, ok := b.Lookup(unknown[0], unknown[1], now); ok {
			t.Errorf("%v is in the book", unknown)
		}
	}
}

func TestDatesDecideWhichRowApplies(t *testing.T) {
	t.Parallel()
	day := func(d int) time.Time { return time.Date(2026, 1, d, 0, 0, 0, 0, time.UTC) }
	b := pricebook.New([]corp.Price{
		{Vendor: "v", Model: "m", EffectiveFrom: day(20), Input: 30, Output: 1},
		{Vendor: "v", Model: "m", EffectiveFrom: day(5), Input: 10, Output: 1},
		{Vendor: "v", Model: "m", EffectiveFrom: day(10), Input: 20, Output: 1},
	})
	for at, want := range map[time.Time]corp.Picodollars{
		day(1): 10, day(5): 10, day(9): 10, day(10).Add(-1): 10, day(10): 20, day(19): 20, day(20): 30, day(25): 30,
	} {
		if q := quote(t, b, "v", "m", at); q.Input != want {
			t.Errorf("at %v the price is %d, want %d", at, q.Input, want)
		}
	}
}

func TestLongWritesWithoutAPriceAreFlaggedAndNeverFree(t *testing.T) {
	t.Parallel()
	b, _ := seeded(t)
	now := time.Now()
	with := quote(t, b, "anthropic", "claude-sonnet-4-5", now)
	without := quote(t, b, "anthropic", "claude-sonnet-4-5-20250929", now)
	if !with.LongPriced() || without.LongPriced() {
		t.Fatalf("long writes priced: %v and %v, want true and false", with.LongPriced(), without.LongPriced())
	}
	cost, _, exact := without.Cost(corp.Usage{CacheWriteLong: 1000})
	if exact || cost != 3_750_000 {
		t.Errorf("cost %d (exact %v), want the short price and not exact", cost, exact)
	}
	if _, _, exact := without.Cost(corp.Usage{CacheWriteShort: 1000}); !exact {
		t.Error("short writes count as estimated")
	}
	if !with.SameRates(without) {
		t.Error("an alias and its dated name charge alike")
	}
}

// A list that gives 272,000 tokens as the window of a model, and a price above
// 272,000 tokens, means the part of the window that has the plain price.
func TestAWindowThatATierBeginsBeyondBoundsNothing(t *testing.T) {
	t.Parallel()
	b, _ := seeded(t)
	q := quote(t, b, "openai", "gpt-6-sol", time.Now())
	usage := corp.Usage{FreshInput: 900_000, Output: 1}
	if cost, row, _ := q.Cost(usage); cost > q.Bound(900_000, 1) || row.ID == q.ID {
		t.Errorf("900,000 tokens cost %v by %s, more than their bound %v", cost, row.Model, q.Bound(900_000, 1))
	}
	if q := quote(t, b, "anthropic", "claude-haiku-5-5", time.Now()); q.ContextWindow == 0 {
		t.Error("a window beyond the tier is forgotten too")
	}
}

func TestTierAppliesToTheWholeCall(t *testing.T) {
	t.Parallel()
	b, _ := seeded(t)
	q := quote(t, b, "anthropic", "claude-haiku-5-5", time.Now())
	at, _, _ := q.Cost(corp.Usage{FreshInput: 50_000, CacheRead: 50_000, Output: 1000})
	above, row, _ := q.Cost(corp.Usage{FreshInput: 50_001, CacheRead: 50_000, Output: 1000})
	if want := corp.Nanodollars(50_000*100 + 50_000*10 + 1000*500); at != want {
		t.Errorf("at the tier: %d, want %d", at, want)
	}
	if want := corp.Nanodollars(50_001*500 + 50_000*50 + 1000*2500); above != want {
		t.Errorf("above the tier: %d, want %d", above, want)
	}
	if row.ID == q.ID || row.Model != pricebook.TierName("claude-haiku-5-5", 100_000) {
		t.Errorf("priced by row %q, want the tier's own", row.Model)
	}
}

func TestBoundIsNeverPassedByAUsageThatFitsIt(t *testing.T) {
	t.Parallel()
	_, rows := seeded(t)
	b := pricebook.New(rows)
	r := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		p := rows[r.IntN(len(rows))]
		q, ok := b.Lookup(p.Vendor, p.Model, time.Now())
		if !ok {
			continue // a tier's own row
		}
		window := q.ContextWindow
		if window == 0 { // not known: then nothing but its bytes bounds a prompt
			window = 2_000_000
		}
		input, output := r.Int64N(2*window), r.Int64N(q.MaxOutput)
		fits := min(input, window)
		var u corp.Usage
		for _, part := range []*int64{&u.FreshInput, &u.CacheRead, &u.CacheWriteShort} {
			*part = r.Int64N(fits + 1)
			fits -= *part
		}
		if q.LongPriced() {
			u.CacheWriteLong = fits
		}
		u.Output = r.Int64N(output + 1)
		bound := q.Bound(input, output)
		if cost, _, _ := q.Cost(u); cost > bound {
			t.Fatalf("%s: %+v costs %d, more than the bound %d of %d and %d tokens", p.Model, u, cost, bound, input, output)
		}
		left := bound + corp.Nanodollars(r.Int64N(1000))
		if n := q.AffordableOutput(left, input); n > 0 && q.Bound(input, n) > left {
			t.Fatalf("%s: %d tokens are said to fit into %d, but their bound is %d", p.Model, n, left, q.Bound(input, n))
		}
	}
}

package pricebook

import (
	"crypto/sha256"
	"embed"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"path"
	"time"

	"github.com/genericcorp/corp"
)

//go:embed data
var files embed.FS

// listing is one file of prices.
type listing struct {
	Schema string  `json:"schema"`
	Models []model `json:"models"`
}

type model struct {
	Provider      string `json:"provider"`
	Model         string `json:"model"`
	EffectiveFrom string `json:"effective_from"`
	rates
	Context   int64  `json:"context"`
	MaxOutput int64  `json:"max_output"`
	Tiers     []tier `json:"tiers"`
}

// rates are picodollars per token; a price that the vendor does not list is nil.
type rates struct {
	Input           *int64 `json:"input"`
	Output          *int64 `json:"output"`
	CacheRead       *int64 `json:"cache_read"`
	CacheWriteShort *int64 `json:"cache_write_5m"`
	CacheWriteLong  *int64 `json:"cache_write_1h"`
}

type tier struct {
	Above int64 `json:"input_tokens_above"`
	rates
}

// Prices returns the rows that this build carries, for seeding an installation.
// Their ids follow from vendor, model and date, so every installation and every
// restart has the same ones.
func Prices() ([]corp.Price, error) {
	entries, err := files.ReadDir("data")
	if err != nil {
		return nil, fmt.Errorf("list the price files: %w", err)
	}
	var all []corp.Price
	for _, e := range entries {
		if path.Ext(e.Name()) != ".json" {
			continue
		}
		text, err := files.ReadFile("data/" + e.Name())
		if err != nil {
			return nil, fmt.Errorf("read the prices: %w", err)
		}
		rows, err := parse(text, e.Name())
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", e.Name(), err)
		}
		all = append(all, rows...)
	}
	return all, nil
}

// parse reads one file of prices.
func parse(text []byte, source string) ([]corp.Price, error) {
	var list listing
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, err
	}
	if list.Schema != "price/v1" {
		return nil, fmt.Errorf("its schema is %q, want price/v1", list.Schema)
	}
	rows := make([]corp.Price, 0, len(list.Models))
	for _, m := range list.Models {
		from, err := time.Parse(time.DateOnly, m.EffectiveFrom)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", m.Provider, m.Model, err)
		}
		base := corp.Price{Vendor: m.Provider, Model: m.Model, EffectiveFrom: from, ContextWindow: m.Context, MaxOutput: m.MaxOutput, Source: source}
		plain, err := m.row(base)
		if err != nil {
			return nil, err
		}
		rows = append(rows, plain)
		for _, t := range m.Tiers {
			base.Model = TierName(m.Model, t.Above)
			dearer, err := t.row(base)
			if err != nil {
				return nil, err
			}
			rows = append(rows, dearer)
		}
	}
	return rows, nil
}

// row fills in the prices. A vendor that lists no price for reading or writing
// its cache bills those tokens as fresh input. A missing price for long writes
// stays 0, which means that there is none: see Quote.LongPriced.
func (r rates) row(p corp.Price) (corp.Price, error) {
	if r.Input == nil || r.Output == nil {
		return p, fmt.Errorf("%s %s has no price for input or output", p.Vendor, p.Model)
	}
	pick := func(v *int64, instead int64) corp.Picodollars {
		if v == nil {
			return corp.Picodollars(instead)
		}
		return corp.Picodollars(*v)
	}
	p.Input, p.Output = corp.Picodollars(*r.Input), corp.Picodollars(*r.Output)
	p.CacheRead = pick(r.CacheRead, *r.Input)
	p.CacheWriteShort = pick(r.CacheWriteShort, *r.Input)
	p.CacheWriteLong = pick(r.CacheWriteLong, 0)
	for _, v := range []corp.Picodollars{p.Input, p.Output, p.CacheRead, p.CacheWriteShort, p.CacheWriteLong} {
		if v < 0 {
			return p, fmt.Errorf("%s %s has a negative price", p.Vendor, p.Model)
		}
	}
	p.ID = rowID(p)
	return p, nil
}

// rowID makes a UUIDv7 from the row's date and, in place of random bits, a hash
// of what the row is for.
func rowID(p corp.Price) corp.PriceID {
	var id corp.PriceID
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(max(p.EffectiveFrom.UnixMilli(), 0)))
	copy(id[:6], ms[2:])
	sum := sha256.Sum256([]byte(p.Vendor + "\x00" + p.Model + "\x00" + p.EffectiveFrom.Format(time.DateOnly)))
	copy(id[6:], sum[:])
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id
}

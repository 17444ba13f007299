package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

const priceColumns = `id, vendor, model, effective_from, input, cache_read, cache_write_short, cache_write_long, output, context_window, max_output, source`

// SeedPrices adds the prices that are not there yet, by vendor, model and date,
// and returns how many. A price that is there is never changed: calls point at it.
func (s SystemDB) SeedPrices(ctx context.Context, prices []corp.Price) (added int, err error) {
	err = s.door.In(ctx, func(tx pgx.Tx) error {
		added = 0
		var b door.Batch
		for _, p := range prices {
			if p.ID.IsZero() {
				p.ID = corp.NewID[corp.PriceID]()
			}
			b.Queue(`
				INSERT INTO prices (`+priceColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING`,
				p.ID, p.Vendor, p.Model, p.EffectiveFrom, p.Input, p.CacheRead, p.CacheWriteShort, p.CacheWriteLong, p.Output, p.ContextWindow, p.MaxOutput, p.Source,
			).Exec(door.CountRows(&added))
		}
		return door.Send(ctx, tx, &b)
	})
	return added, err
}

// AddPrice adds a row to the price book. One of the same vendor, model and date is
// a conflict: rows are never changed, because calls point at them.
func (s SystemDB) AddPrice(ctx context.Context, p corp.Price) (added corp.Price, err error) {
	err = s.door.In(ctx, func(tx pgx.Tx) error {
		added, err = door.CollectOne(ctx, tx, "price", pgx.RowToStructByName[corp.Price], `
			INSERT INTO prices (`+priceColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) RETURNING `+priceColumns,
			p.ID, p.Vendor, p.Model, p.EffectiveFrom, p.Input, p.CacheRead, p.CacheWriteShort, p.CacheWriteLong, p.Output, p.ContextWindow, p.MaxOutput, p.Source)
		return err
	})
	return added, err
}

// PriceList returns the rows of the price book that match, the newest first.
func (s SystemDB) PriceList(ctx context.Context, f corp.PriceFilter, p corp.Page) (corp.List[corp.Price], error) {
	from, limit, err := door.Start(p)
	if err != nil {
		return corp.List[corp.Price]{}, err
	}
	found, err := door.QuerySystem(ctx, s.door, pgx.RowToStructByName[corp.Price], `
		SELECT `+priceColumns+` FROM prices
		WHERE ($1 = '' OR vendor = $1) AND ($2 = '' OR model = $2) AND (effective_from, id) < ($3, $4)
		ORDER BY effective_from DESC, id DESC LIMIT $5`, f.Vendor, f.Model, from.At, from.ID, limit+1)
	return door.Page(found, limit, func(p corp.Price) door.Position { return door.At(p.EffectiveFrom, p.ID) }), err
}

// Prices returns the whole price book, by vendor, model and date.
func (s SystemDB) Prices(ctx context.Context) ([]corp.Price, error) {
	return door.QuerySystem(ctx, s.door, pgx.RowToStructByName[corp.Price], `SELECT `+priceColumns+` FROM prices ORDER BY vendor, model, effective_from`)
}

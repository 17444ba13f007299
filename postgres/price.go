package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
)

const priceColumns = `id, vendor, model, effective_from, input, cache_read, cache_write_short, cache_write_long, output, context_window, max_output, source`

// SeedPrices adds the prices that are not there yet, by vendor, model and date,
// and returns how many. A price that is there is never changed: calls point at it.
func (s SystemDB) SeedPrices(ctx context.Context, prices []corp.Price) (added int, err error) {
	err = s.in(ctx, func(tx pgx.Tx) error {
		added = 0
		var b batch
		for _, p := range prices {
			if p.ID.IsZero() {
				p.ID = corp.NewID[corp.PriceID]()
			}
			b.Queue(`
				INSERT INTO prices (`+priceColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING`,
				p.ID, p.Vendor, p.Model, p.EffectiveFrom, p.Input, p.CacheRead, p.CacheWriteShort, p.CacheWriteLong, p.Output, p.ContextWindow, p.MaxOutput, p.Source,
			).Exec(countRows(&added))
		}
		return send(ctx, tx, &b)
	})
	return added, err
}

// Prices returns the whole price book, by vendor, model and date.
func (s SystemDB) Prices(ctx context.Context) ([]corp.Price, error) {
	return querySystem(ctx, s, pgx.RowToStructByName[corp.Price], `SELECT `+priceColumns+` FROM prices ORDER BY vendor, model, effective_from`)
}

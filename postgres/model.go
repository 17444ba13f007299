package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
)

// modelFacts returns what is known of a model as agents name it. A provider that
// is not there, or a model that has no price, is not an error here: the gateway
// says so, in the words of the call.
func (w WorkspaceDB) modelFacts(ctx context.Context, tx pgx.Tx, name string) (facts corp.ModelFacts, err error) {
	provider, model, ok := corp.SplitModel(name)
	if !ok {
		return facts, nil
	}
	found, err := collect(ctx, tx, pgx.RowToStructByName[corp.ModelFacts], `
		WITH provider AS (
			SELECT dialect, vendor FROM (
				SELECT dialect, vendor, false AS installation FROM providers WHERE workspace_id = $1 AND name = $2 AND archived_at IS NULL
				UNION ALL
				SELECT dialect, vendor, true FROM installation_providers WHERE name = $2 AND archived_at IS NULL
			) usable ORDER BY installation LIMIT 1
		)
		SELECT p.dialect, coalesce(x.context_window, 0) AS context_window, coalesce(x.max_output, 0) AS max_output
		FROM provider p LEFT JOIN LATERAL (
			SELECT context_window, max_output FROM prices
			WHERE vendor = coalesce(nullif(p.vendor, ''), p.dialect) AND model = $3
			ORDER BY effective_from <= now() DESC, CASE WHEN effective_from <= now() THEN effective_from END DESC, effective_from LIMIT 1
		) x ON true`, w.ws, provider, model)
	if err != nil || len(found) == 0 {
		return facts, err
	}
	return found[0], nil
}

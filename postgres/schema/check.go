package schema

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/pgerr"
)

// Check compares the database's version with this build's. An older or newer one
// is an invalid error with the remedy.
func Check(ctx context.Context, pool *pgxpool.Pool) error {
	want, err := newestMigration()
	if err != nil {
		return err
	}
	var have int64
	var made bool
	if err := pool.QueryRow(ctx, `SELECT to_regclass('public.`+versionTable+`') IS NOT NULL`).Scan(&made); err != nil {
		return pgerr.Translate(ctx, err)
	}
	if made {
		if err := pool.QueryRow(ctx, `SELECT coalesce(max(version_id), 0) FROM `+versionTable+` WHERE is_applied`).Scan(&have); err != nil {
			return pgerr.Translate(ctx, err)
		}
	}
	if have > want {
		return newerSchema(have, want)
	}
	if have < want {
		return &corp.Error{Kind: corp.KindInvalid, Code: "old_schema", Message: fmt.Sprintf("The database's schema is version %d; this build needs %d.", have, want), Hint: "Run corp migrate."}
	}
	return nil
}

func newerSchema(have, want int64) error {
	return &corp.Error{Kind: corp.KindInvalid, Code: "newer_schema", Message: fmt.Sprintf("The database's schema is version %d, newer than this build's %d.", have, want), Hint: "Use the newer build of corp; going back needs a backup from before."}
}

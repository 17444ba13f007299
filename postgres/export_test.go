package postgres

import (
	"context"
	"log/slog"
)

// MigrateFiles is Migrate with other files than this build's.
var MigrateFiles = migrate

// Unguarded opens all doors with one role and checks nothing: with a superuser's
// connection string it shows what the doors do without row-level security.
func Unguarded(ctx context.Context, url string) (*DB, error) {
	pool, err := connect(ctx, url, "test", 10)
	if err != nil {
		return nil, err
	}
	return &DB{app: pool, system: pool, listenURL: url, log: slog.New(slog.DiscardHandler)}, nil
}

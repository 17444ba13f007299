// Package schema makes the database what this build needs: its roles, its tables
// and their policies, and nothing that a server does with them. Whoever uses it is
// the database's administrator; a server only asks whether all is done.
package schema

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/migrations"
	"github.com/genericcorp/corp/postgres/pgerr"
)

const (
	versionTable  = "schema_versions"
	migrationLock = "7165062713041926" // any number, as long as it stays
)

// migration is one file.
type migration struct {
	version int64
	hash    []byte
}

func listMigrations(files fs.FS) ([]migration, error) {
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return nil, err
	}
	var list []migration
	for _, name := range names {
		number, _, _ := strings.Cut(path.Base(name), "_")
		version, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("migration %s has no number: %w", name, err)
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(text)
		list = append(list, migration{version, sum[:]})
	}
	slices.SortFunc(list, func(a, b migration) int { return int(a.version - b.version) })
	return list, nil
}

func newestMigration() (int64, error) {
	list, err := listMigrations(migrations.Files)
	if err != nil || len(list) == 0 {
		return 0, fmt.Errorf("read the migrations: %w", err)
	}
	return list[len(list)-1].version, nil
}

// Migrate brings the schema to this build's version and returns the versions
// before and after. Several at once wait for each other. It refuses a schema that
// is newer than this build, and one that was made from other files than this
// build's. adminURL must own the database, after Prepare, and must not go through
// a pooler.
func Migrate(ctx context.Context, adminURL string) (from, to int64, err error) {
	return MigrateWith(ctx, adminURL, migrations.Files)
}

// MigrateWith is Migrate with other files than this build's.
func MigrateWith(ctx context.Context, adminURL string, files fs.FS) (from, to int64, err error) {
	config, err := pgx.ParseConfig(adminURL)
	if err != nil {
		return 0, 0, connectError(ctx, err)
	}
	config.RuntimeParams["timezone"] = "UTC" // months begin at the same moment whoever migrates
	pool := stdlib.OpenDB(*config)
	defer func() { err = errors.Join(err, pool.Close()) }()
	conn, err := pool.Conn(ctx)
	if err != nil {
		return 0, 0, pgerr.Translate(ctx, err)
	}
	defer func() { _ = conn.Close() }() // with the pool it is closed for good
	// The lock is this connection's, and ends with it.
	if _, err := conn.ExecContext(ctx, `SELECT pg_advisory_lock(`+migrationLock+`)`); err != nil {
		return 0, 0, pgerr.Translate(ctx, err)
	}
	from, to, err = apply(ctx, pool, conn, files)
	return from, to, pgerr.Translate(ctx, err)
}

func apply(ctx context.Context, pool *sql.DB, conn *sql.Conn, files fs.FS) (from, to int64, err error) {
	list, err := listMigrations(files)
	if err != nil {
		return 0, 0, err
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, pool, files, goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return 0, 0, fmt.Errorf("read the migrations: %w", err)
	}
	if from, err = provider.GetDBVersion(ctx); err != nil {
		return 0, 0, fmt.Errorf("read the schema's version: %w", err)
	}
	to = list[len(list)-1].version
	if from > to {
		return from, from, newerSchema(from, to)
	}
	if err := rememberHashes(ctx, conn, list, from); err != nil {
		return from, from, err
	}
	if _, err := provider.Up(ctx); err != nil {
		return from, from, fmt.Errorf("migrate: %w", err)
	}
	_, err = conn.ExecContext(ctx, `GRANT SELECT ON `+versionTable+` TO corp_app, corp_system`)
	return from, to, err
}

// rememberHashes refuses files that are not those that were applied, and writes
// down what is about to be: before it happens, so that a crash leaves no applied
// file without its hash.
func rememberHashes(ctx context.Context, conn *sql.Conn, list []migration, applied int64) error {
	_, err := conn.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS migration_hashes (version bigint PRIMARY KEY, hash bytea NOT NULL)`)
	if err != nil {
		return fmt.Errorf("make migration_hashes: %w", err)
	}
	for _, m := range list {
		if m.version > applied {
			_, err = conn.ExecContext(ctx, `INSERT INTO migration_hashes VALUES ($1, $2) ON CONFLICT (version) DO UPDATE SET hash = excluded.hash`, m.version, m.hash)
			if err != nil {
				return fmt.Errorf("remember migration %d: %w", m.version, err)
			}
			continue
		}
		var known []byte
		err := conn.QueryRowContext(ctx, `SELECT hash FROM migration_hashes WHERE version = $1`, m.version).Scan(&known)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("read migration_hashes: %w", err)
		}
		if !bytes.Equal(known, m.hash) {
			return &corp.Error{
				Kind: corp.KindInvalid, Code: "changed_migration",
				Message: fmt.Sprintf("Migration %d is not the one that this database was made with.", m.version),
				Hint:    "Use the build that made it, or one that was released after it.",
			}
		}
	}
	return nil
}

package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

const (
	providerColumns     = `id, name, dialect, base_url, vendor, false AS installation, created_by, created_at, archived_at`
	installationColumns = `id, name, dialect, base_url, vendor, true AS installation, created_by, created_at, archived_at`
)

var scanProvider = pgx.RowToStructByName[corp.Provider]

// CreateProvider adds a vendor account with its sealed key. A name in use is a
// conflict; the name of an installation's provider may be used, and hides it.
func (w WorkspaceDB) CreateProvider(ctx context.Context, actor corp.Actor, id corp.ProviderID, spec corp.ProviderSpec, sealedKey []byte) (made corp.Provider, err error) {
	err = w.door.In(ctx, func(tx pgx.Tx) error {
		made, err = door.CollectOne(ctx, tx, "provider", scanProvider, `
			INSERT INTO providers (workspace_id, id, name, dialect, base_url, vendor, key, created_by)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING `+providerColumns, w.door.ID, id, spec.Name, spec.Dialect, spec.BaseURL, vendorOf(spec), sealedKey, actor)
		if err != nil {
			return err
		}
		w.door.Emit(tx, door.Event{Kind: "provider.created", Data: door.About{ID: id.String(), Name: spec.Name, By: actor}})
		return nil
	})
	return made, err
}

// UpdateProvider changes a vendor account of the workspace. A nil key leaves the
// key as it is, which another address does not allow: the key would be sent to
// whoever listens there.
func (w WorkspaceDB) UpdateProvider(ctx context.Context, actor corp.Actor, id corp.ProviderID, spec corp.ProviderSpec, sealedKey []byte) (changed corp.Provider, err error) {
	err = w.door.In(ctx, func(tx pgx.Tx) error {
		changed, err = door.CollectOne(ctx, tx, "provider", scanProvider, `
			UPDATE providers SET name = $3, dialect = $4, base_url = $5, vendor = $6, key = coalesce($7, key)
			WHERE workspace_id = $1 AND id = $2 AND archived_at IS NULL AND ($7::bytea IS NOT NULL OR base_url = $5)
			RETURNING `+providerColumns, w.door.ID, id, spec.Name, spec.Dialect, spec.BaseURL, vendorOf(spec), sealedKey)
		if corp.KindOf(err) == corp.KindNotFound && sealedKey == nil {
			return w.movedProvider(ctx, tx, id, err)
		}
		if err != nil {
			return err
		}
		w.door.Emit(tx, door.Event{Kind: "provider.updated", Data: door.About{ID: id.String(), Name: spec.Name, By: actor}})
		return nil
	})
	return changed, err
}

// movedProvider tells a provider that is not there from one whose key would have
// been sent to another address.
func (w WorkspaceDB) movedProvider(ctx context.Context, tx pgx.Tx, id corp.ProviderID, notFound error) error {
	var there bool
	err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM providers WHERE workspace_id = $1 AND id = $2 AND archived_at IS NULL)`, w.door.ID, id).Scan(&there)
	switch {
	case err != nil:
		return fmt.Errorf("update provider: %w", err)
	case there:
		return corp.Invalid("key", "Another address needs the vendor's key again: the one that is kept is not sent elsewhere.", "Send the key with the new base_url.")
	default:
		return notFound
	}
}

// vendorOf says whose prices apply: a dialect is named like its own vendor.
func vendorOf(spec corp.ProviderSpec) string {
	if spec.Vendor != "" {
		return spec.Vendor
	}
	return spec.Dialect
}

// Providers lists the vendor accounts that agents of the workspace can use: its
// own and the installation's that they do not hide.
func (w WorkspaceDB) Providers(ctx context.Context, p corp.Page) (corp.List[corp.Provider], error) {
	from, limit, err := door.Start(p)
	if err != nil {
		return corp.List[corp.Provider]{}, err
	}
	found, err := door.Query(ctx, w.door, scanProvider, `
		SELECT * FROM (
			SELECT `+providerColumns+` FROM providers WHERE workspace_id = $1 AND archived_at IS NULL
			UNION ALL
			SELECT `+installationColumns+` FROM installation_providers i WHERE archived_at IS NULL
				AND NOT EXISTS (SELECT FROM providers o WHERE o.workspace_id = $1 AND o.name = i.name AND o.archived_at IS NULL)
		) usable
		WHERE (created_at, id) < ($2, $3) ORDER BY created_at DESC, id DESC LIMIT $4`, from.At, from.ID, limit+1)
	return door.Page(found, limit, func(p corp.Provider) door.Position { return door.At(p.CreatedAt, p.ID) }), err
}

// ArchiveProvider puts a vendor account of the workspace away and forgets its key.
func (w WorkspaceDB) ArchiveProvider(ctx context.Context, actor corp.Actor, id corp.ProviderID) (gone corp.Provider, err error) {
	err = w.door.In(ctx, func(tx pgx.Tx) error {
		changed, err := archive(ctx, tx, w.door.ID, "providers", id)
		if err != nil {
			return err
		}
		gone, err = door.CollectOne(ctx, tx, "provider", scanProvider, `
			UPDATE providers SET key = '' WHERE workspace_id = $1 AND id = $2 RETURNING `+providerColumns, w.door.ID, id)
		if err != nil || !changed {
			return err
		}
		w.door.Emit(tx, door.Event{Kind: "provider.archived", Data: door.About{ID: id.String(), Name: gone.Name, By: actor}})
		return nil
	})
	return gone, err
}

// ResolveProvider returns the vendor account of this name: the workspace's own
// with its sealed key or, failing that, the installation's with the name of the
// environment variable that holds its key.
func (w WorkspaceDB) ResolveProvider(ctx context.Context, name string) (p corp.Provider, sealedKey []byte, keyEnv string, err error) {
	type resolved struct {
		corp.Provider
		Key    []byte
		KeyEnv string
	}
	found, err := door.QueryOne(ctx, w.door, "provider", pgx.RowToStructByName[resolved], `
		SELECT * FROM (
			SELECT `+providerColumns+`, key, '' AS key_env FROM providers WHERE workspace_id = $1 AND name = $2 AND archived_at IS NULL
			UNION ALL
			SELECT `+installationColumns+`, NULL, key_env FROM installation_providers WHERE name = $2 AND archived_at IS NULL
		) usable ORDER BY installation LIMIT 1`, name)
	return found.Provider, found.Key, found.KeyEnv, err
}

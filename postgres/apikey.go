package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
)

const apiKeyColumns = `id, name, role, prefix, created_by, created_at, expires_at, revoked_at, last_used_at` //nolint:gosec // names of columns

var scanAPIKey = pgx.RowToStructByName[corp.APIKey]

// CreateAPIKey adds a credential of the workspace. The hash is all that is kept
// of its secret.
func (w WorkspaceDB) CreateAPIKey(ctx context.Context, actor corp.Actor, key corp.APIKey, hash []byte) (made corp.APIKey, err error) {
	if key.ID.IsZero() {
		key.ID = corp.NewID[corp.APIKeyID]()
	}
	err = w.in(ctx, func(tx pgx.Tx) error {
		made, err = collectOne(ctx, tx, "key", scanAPIKey, `
			INSERT INTO api_keys (workspace_id, id, name, role, prefix, hash, created_by, expires_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING `+apiKeyColumns, w.ws, key.ID, key.Name, key.Role, key.Prefix, hash, actor, key.ExpiresAt)
		if err != nil {
			return err
		}
		return w.emit(ctx, tx, event{kind: "apikey.created", data: about{key.ID.String(), key.Name, actor}})
	})
	return made, err
}

// APIKeys lists the credentials of the workspace, the revoked ones included.
func (w WorkspaceDB) APIKeys(ctx context.Context, p corp.Page) (corp.List[corp.APIKey], error) {
	from, limit, err := start(p)
	if err != nil {
		return corp.List[corp.APIKey]{}, err
	}
	found, err := query(ctx, w, scanAPIKey, `
		SELECT `+apiKeyColumns+` FROM api_keys WHERE workspace_id = $1 AND (created_at, id) < ($2, $3)
		ORDER BY created_at DESC, id DESC LIMIT $4`, from.at, from.id, limit+1)
	return page(found, limit, func(k corp.APIKey) position { return position{k.CreatedAt, k.ID} }), err
}

// RevokeAPIKey makes a credential worthless from now on. Revoking it twice
// changes nothing.
func (w WorkspaceDB) RevokeAPIKey(ctx context.Context, actor corp.Actor, id corp.APIKeyID) (gone corp.APIKey, err error) {
	err = w.in(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `UPDATE api_keys SET revoked_at = now() WHERE workspace_id = $1 AND id = $2 AND revoked_at IS NULL`, w.ws, id)
		if err != nil {
			return err
		}
		gone, err = collectOne(ctx, tx, "key", scanAPIKey, `SELECT `+apiKeyColumns+` FROM api_keys WHERE workspace_id = $1 AND id = $2`, w.ws, id)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		return w.emit(ctx, tx, event{kind: "apikey.revoked", data: about{id.String(), gone.Name, actor}})
	})
	return gone, err
}

// TouchAPIKeys writes down when keys were last used. A key that is not there is
// passed over.
func (w WorkspaceDB) TouchAPIKeys(ctx context.Context, used map[corp.APIKeyID]time.Time) error {
	if len(used) == 0 {
		return nil
	}
	ids, times := make([]corp.APIKeyID, 0, len(used)), make([]time.Time, 0, len(used))
	for id, at := range used {
		ids, times = append(ids, id), append(times, at)
	}
	_, err := query(ctx, w, pgx.RowTo[corp.APIKeyID], `
		UPDATE api_keys k SET last_used_at = greatest(k.last_used_at, u.at)
		FROM unnest($2::uuid[], $3::timestamptz[]) AS u (id, at)
		WHERE k.workspace_id = $1 AND k.id = u.id RETURNING k.id`, ids, times)
	return err
}

package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

const apiKeyColumns = `id, name, user_id, role, scopes, addresses, prefix, replaces, created_by, created_at, expires_at, revoked_at, last_used_at` //nolint:gosec // names of columns

var scanAPIKey = pgx.RowToStructByName[corp.APIKey]

// CreateAPIKey adds a credential of the workspace. The hash is all that is kept
// of its secret.
func (w WorkspaceDB) CreateAPIKey(ctx context.Context, actor corp.Actor, key corp.APIKey, hash []byte) (made corp.APIKey, err error) {
	if key.ID.IsZero() {
		key.ID = corp.NewID[corp.APIKeyID]()
	}
	err = w.door.In(ctx, func(tx pgx.Tx) error {
		if made, err = w.insertAPIKey(ctx, tx, actor, key, hash); err != nil {
			return err
		}
		w.door.Emit(tx, door.Event{Kind: "apikey.created", Data: door.About{ID: key.ID.String(), Name: key.Name, By: actor}})
		return nil
	})
	return made, err
}

func (w WorkspaceDB) insertAPIKey(ctx context.Context, tx pgx.Tx, actor corp.Actor, key corp.APIKey, hash []byte) (corp.APIKey, error) {
	return door.CollectOne(ctx, tx, "key", scanAPIKey, `
		INSERT INTO api_keys (workspace_id, id, name, user_id, role, scopes, addresses, prefix, replaces, hash, created_by, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) RETURNING `+apiKeyColumns,
		w.door.ID, key.ID, key.Name, key.UserID, key.Role, key.Scopes, key.Addresses, key.Prefix, key.Replaces, hash, actor, key.ExpiresAt)
}

// RotateAPIKey makes another key like one that is there, which ends after the
// overlap: at once, with none. It lasts as long as the old one did, and not beyond ends,
// unless that is nil. owner, unless it is zero, must be whose key it is: else
// there is no such key. A key that has ended is a conflict.
func (w WorkspaceDB) RotateAPIKey(ctx context.Context, actor corp.Actor, owner corp.UserID, id corp.APIKeyID, overlap time.Duration, ends *time.Time, prefix string, hash []byte) (made corp.APIKey, err error) {
	err = w.door.In(ctx, func(tx pgx.Tx) error {
		old, err := door.CollectOne(ctx, tx, "key", scanAPIKey, `
			SELECT `+apiKeyColumns+` FROM api_keys WHERE workspace_id = $1 AND id = $2 AND ($3::uuid IS NULL OR user_id = $3) FOR UPDATE`, w.door.ID, id, owner)
		if err != nil {
			return err
		}
		var alive bool
		if err := tx.QueryRow(ctx, `
			UPDATE api_keys SET expires_at = least(expires_at, now() + $3::bigint * interval '1 millisecond')
			WHERE workspace_id = $1 AND id = $2 AND revoked_at IS NULL AND coalesce(expires_at > now(), true) RETURNING true`, w.door.ID, id, overlap.Milliseconds()).Scan(&alive); err != nil {
			if errors.Is(err, pgx.ErrNoRows) {
				return corp.Conflict("This key has ended.", "Make a new one.")
			}
			return err
		}
		next := old
		next.ID, next.Prefix, next.Replaces = corp.NewID[corp.APIKeyID](), prefix, id
		if old.ExpiresAt != nil { // for as long again
			next.ExpiresAt = new(time.Now().Add(old.ExpiresAt.Sub(old.CreatedAt)))
		}
		if ends != nil && (next.ExpiresAt == nil || next.ExpiresAt.After(*ends)) {
			next.ExpiresAt = ends
		}
		if made, err = w.insertAPIKey(ctx, tx, actor, next, hash); err != nil {
			return err
		}
		door.Say(tx, Notice{Kind: NoticeAccess, Workspace: w.door.ID})
		w.door.Emit(tx, door.Event{Kind: "apikey.rotated", Data: door.About{ID: made.ID.String(), Name: made.Name, By: actor}})
		return nil
	})
	return made, err
}

// APIKeys lists the credentials of the workspace, the revoked ones included; with an
// owner, those that are that person's.
func (w WorkspaceDB) APIKeys(ctx context.Context, owner corp.UserID, p corp.Page) (corp.List[corp.APIKey], error) {
	from, limit, err := door.Start(p)
	if err != nil {
		return corp.List[corp.APIKey]{}, err
	}
	found, err := door.Query(ctx, w.door, scanAPIKey, `
		SELECT `+apiKeyColumns+` FROM api_keys WHERE workspace_id = $1 AND (created_at, id) < ($2, $3) AND ($5::uuid IS NULL OR user_id = $5)
		ORDER BY created_at DESC, id DESC LIMIT $4`, from.At, from.ID, limit+1, owner)
	return door.Page(found, limit, func(k corp.APIKey) door.Position { return door.At(k.CreatedAt, k.ID) }), err
}

// APIKey returns one. owner, unless it is zero, must be whose key it is: else there is
// no such key.
func (w WorkspaceDB) APIKey(ctx context.Context, owner corp.UserID, id corp.APIKeyID) (corp.APIKey, error) {
	return door.QueryOne(ctx, w.door, "key", scanAPIKey, `SELECT `+apiKeyColumns+` FROM api_keys WHERE workspace_id = $1 AND id = $2 AND ($3::uuid IS NULL OR user_id = $3)`, id, owner)
}

// RevokeAPIKey makes a credential worthless from now on. Revoking it twice
// changes nothing. owner, unless it is zero, must be whose key it is: else there is no
// such key.
func (w WorkspaceDB) RevokeAPIKey(ctx context.Context, actor corp.Actor, owner corp.UserID, id corp.APIKeyID) (gone corp.APIKey, err error) {
	err = w.door.In(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `UPDATE api_keys SET revoked_at = now() WHERE workspace_id = $1 AND id = $2 AND revoked_at IS NULL AND ($3::uuid IS NULL OR user_id = $3)`, w.door.ID, id, owner)
		if err != nil {
			return err
		}
		gone, err = door.CollectOne(ctx, tx, "key", scanAPIKey, `SELECT `+apiKeyColumns+` FROM api_keys WHERE workspace_id = $1 AND id = $2 AND ($3::uuid IS NULL OR user_id = $3)`, w.door.ID, id, owner)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		door.Say(tx, Notice{Kind: NoticeAccess, Workspace: w.door.ID})
		w.door.Emit(tx, door.Event{Kind: "apikey.revoked", Data: door.About{ID: id.String(), Name: gone.Name, By: actor}})
		return nil
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
	_, err := door.Query(ctx, w.door, pgx.RowTo[corp.APIKeyID], `
		UPDATE api_keys k SET last_used_at = greatest(k.last_used_at, u.at)
		FROM unnest($2::uuid[], $3::timestamptz[]) AS u (id, at)
		WHERE k.workspace_id = $1 AND k.id = u.id RETURNING k.id`, ids, times)
	return err
}

package postgres

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// RevokeKey ends a key of whatever workspace, or of the installation's own, by its id,
// by what is shown of it, or by the key itself. Two keys may look alike: then both end.
// A key that had ended stays as it was. One that inUse says is in use is a conflict,
// and nothing ends; the zero id protects none.
func (s SystemDB) RevokeKey(ctx context.Context, idOrShown string, inUse corp.OperatorID) (gone []corp.RevokedKey, err error) {
	shown := shownOf(idOrShown)
	id, _ := corp.ParseID[corp.APIKeyID](shown)
	own, _ := corp.ParseID[corp.OperatorID](shown)
	err = s.door.In(ctx, func(tx pgx.Tx) error {
		if gone, err = revokeOwn(ctx, tx, `id = $1 OR prefix = $2`, own, shown); err != nil {
			return err
		}
		for _, k := range gone {
			if !inUse.IsZero() && k.ID == corp.Actor(inUse.String()) {
				return &corp.Error{Kind: corp.KindConflict, Code: "key_in_use", Field: "key", Message: "This is the key that you use.", Hint: "Say that it is meant: --this-one."}
			}
		}
		others, err := revokeAny(ctx, tx, id, shown)
		if err != nil {
			return err
		}
		if gone = append(gone, others...); len(gone) == 0 {
			return corp.NotFound("key")
		}
		told(ctx, shown, gone)
		return nil
	})
	return gone, err
}

// RevokeOperatorKeys ends all keys of the installation's own that have a role and, unless
// it is empty, a name; but for one, which may be zero.
func (s SystemDB) RevokeOperatorKeys(ctx context.Context, role corp.Role, name string, but corp.OperatorID) (gone []corp.RevokedKey, err error) {
	err = s.door.In(ctx, func(tx pgx.Tx) error {
		gone, err = revokeOwn(ctx, tx, `revoked_at IS NULL AND role = $1 AND ($2::uuid IS NULL OR id <> $2) AND ($3 = '' OR name = $3)`, role, but, name)
		told(ctx, string(role)+" keys", gone)
		return err
	})
	return gone, err
}

// shownOf is what is shown of a key: of one that is given whole, and of what somebody
// typed with three dots.
func shownOf(text string) string {
	text = strings.TrimSpace(text)
	if _, whole := corp.SecretPrefix(text); whole {
		return corp.ShownSecret(text)
	}
	return strings.ReplaceAll(text, "...", "…")
}

// told has the audit log say which keys ended, and what several were asked for by.
func told(ctx context.Context, by string, gone []corp.RevokedKey) {
	if len(gone) == 1 {
		door.Describe(ctx, string(gone[0].ID), map[string]any{"workspace_id": gone[0].WorkspaceID, "prefix": gone[0].Prefix})
		return
	}
	ids := make([]corp.Actor, len(gone))
	for i, k := range gone {
		ids[i] = k.ID
	}
	door.Describe(ctx, by, map[string]any{"keys": ids})
}

// revokeOwn ends keys of the installation. They are of no workspace: every server asks
// again whom it knows.
func revokeOwn(ctx context.Context, tx pgx.Tx, which string, args ...any) (gone []corp.RevokedKey, err error) {
	type row struct {
		ID           corp.OperatorID
		Name, Prefix string
		Role         corp.Role
		RevokedAt    time.Time
	}
	found, err := door.Collect(ctx, tx, pgx.RowToStructByName[row], `
		UPDATE operator_keys SET revoked_at = coalesce(revoked_at, now()) WHERE `+which+` RETURNING id, name, prefix, role, revoked_at`, args...)
	for _, k := range found {
		door.Say(tx, Notice{Kind: NoticeResync})
		gone = append(gone, corp.RevokedKey{ID: corp.Actor(k.ID.String()), Name: k.Name, Role: k.Role, Prefix: k.Prefix, RevokedAt: k.RevokedAt})
	}
	return gone, err
}

func revokeAny(ctx context.Context, tx pgx.Tx, id corp.APIKeyID, shown string) (gone []corp.RevokedKey, err error) {
	type row struct {
		WorkspaceID  corp.WorkspaceID
		ID           corp.APIKeyID
		Name, Prefix string
		Role         corp.Role
		UserID       corp.UserID
		RevokedAt    time.Time
	}
	found, err := door.Collect(ctx, tx, pgx.RowToStructByName[row], `SELECT workspace_id, id, name, role, user_id, prefix, revoked_at FROM revoke_key($1, $2)`, id, shown)
	for _, k := range found {
		door.Say(tx, Notice{Kind: NoticeAccess, Workspace: k.WorkspaceID})
		gone = append(gone, corp.RevokedKey{ID: corp.Actor(k.ID.String()), Name: k.Name, Role: k.Role, Prefix: k.Prefix, WorkspaceID: k.WorkspaceID, UserID: k.UserID, RevokedAt: k.RevokedAt})
	}
	return gone, err
}

package people

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
	"github.com/genericcorp/corp/postgres/hint"
)

// Users lists the people of the installation, the newest first.
func (s System) Users(ctx context.Context, p corp.Page) (corp.List[corp.User], error) {
	from, limit, err := door.Start(p)
	if err != nil {
		return corp.List[corp.User]{}, err
	}
	found, err := door.QuerySystem(ctx, s.door, scanUser, `
		SELECT user_id AS id, email, name, false AS password, false AS second_factor, created_at, disabled_at, delete_after FROM users
		WHERE (created_at, user_id) < ($1, $2) ORDER BY created_at DESC, user_id DESC LIMIT $3`, from.At, from.ID, limit+1)
	return door.Page(found, limit, func(u corp.User) door.Position { return door.At(u.CreatedAt, u.ID) }), err
}

// Disable keeps somebody out, or lets them in again. It ends their sessions, and takes
// back what they gave in them.
func (s System) Disable(ctx context.Context, id corp.UserID, disabled bool) error {
	return s.door.In(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `UPDATE users SET disabled_at = CASE WHEN $2 THEN coalesce(disabled_at, now()) END WHERE user_id = $1`, id, disabled)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return corp.NotFound("person")
		}
		door.Say(tx, hint.Notice{Kind: hint.Access, User: id})
		if !disabled {
			return nil
		}
		_, err = tx.Exec(ctx, `UPDATE sessions SET ended_at = now(), ended_by = 'disabled' WHERE user_id = $1 AND ended_at IS NULL`, id)
		if err == nil {
			_, err = tx.Exec(ctx, takeBackTheirs, id)
		}
		return err
	})
}

// AddOwner makes somebody the first member of a workspace that was just made.
func (s System) AddOwner(ctx context.Context, ws corp.WorkspaceID, user corp.UserID) error {
	return s.door.In(ctx, func(tx pgx.Tx) error {
		door.Say(tx, hint.Notice{Kind: hint.Access, Workspace: ws})
		_, err := tx.Exec(ctx, `INSERT INTO members (workspace_id, user_id, role, created_by) VALUES ($1, $2, 'owner', $3)`, ws, user, corp.Actor(user.String()))
		return err
	})
}

// DropOver removes what ended long ago and can be asked for by nobody: links and
// devices a day after their end, sessions 90 days after.
func (s System) DropOver(ctx context.Context) (n int64, err error) {
	for _, statement := range []string{
		`DELETE FROM email_links WHERE expires_at < now() - interval '1 day'`,
		`DELETE FROM device_codes WHERE expires_at < now() - interval '1 day'`,
		`DELETE FROM sessions WHERE coalesce(ended_at, least(expires_at, seen_at + idle_ms * interval '1 millisecond')) < now() - interval '90 days'`,
	} {
		gone, err := door.ExecSystem(ctx, s.door, statement)
		if err != nil {
			return n, err
		}
		n += gone
	}
	return n, nil
}

// SigningKey signs access tokens. The private half is sealed.
type SigningKey struct {
	ID         corp.SigningKeyID
	Public     []byte
	Private    []byte
	CreatedAt  time.Time
	ActiveFrom time.Time // published before it signs
	RetiredAt  time.Time // signs until then; published a while longer
}

var scanSigningKey = pgx.RowToStructByName[SigningKey]

// SigningKeys returns all keys that are kept, the oldest first.
func (s System) SigningKeys(ctx context.Context) ([]SigningKey, error) {
	return door.QuerySystem(ctx, s.door, scanSigningKey, `SELECT id, public, private, created_at, active_from, retired_at FROM signing_keys ORDER BY active_from, id`)
}

// KeepSigningKeys brings the keys up to date: next is called with those that are
// there, one server at a time, and returns those to add and to drop.
func (s System) KeepSigningKeys(ctx context.Context, next func(now time.Time, kept []SigningKey) (add []SigningKey, drop []corp.SigningKeyID)) (kept []SigningKey, err error) {
	err = s.door.In(ctx, func(tx pgx.Tx) (err error) {
		kept, err = keepSigningKeys(ctx, tx, next)
		return err
	})
	return kept, err
}

// keepSigningKeys drops before it adds, so that a key may be added with another time.
func keepSigningKeys(ctx context.Context, tx pgx.Tx, next func(now time.Time, kept []SigningKey) (add []SigningKey, drop []corp.SigningKeyID)) ([]SigningKey, error) {
	var now time.Time
	if err := tx.QueryRow(ctx, `SELECT now() FROM pg_advisory_xact_lock(hashtext('corp.signing_keys'))`).Scan(&now); err != nil {
		return nil, err
	}
	const all = `SELECT id, public, private, created_at, active_from, retired_at FROM signing_keys ORDER BY active_from, id`
	there, err := door.Collect(ctx, tx, scanSigningKey, all)
	if err != nil {
		return nil, err
	}
	add, drop := next(now, there)
	var b door.Batch
	b.Queue(`DELETE FROM signing_keys WHERE id = ANY($1)`, drop)
	for _, k := range add {
		b.Queue(`INSERT INTO signing_keys (id, public, private, active_from, retired_at) VALUES ($1, $2, $3, $4, $5)`, k.ID, k.Public, k.Private, k.ActiveFrom, k.RetiredAt)
	}
	if err := door.Send(ctx, tx, &b); err != nil {
		return nil, err
	}
	return door.Collect(ctx, tx, scanSigningKey, all)
}

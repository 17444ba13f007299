package people

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// BeginSecondFactor keeps a sealed secret that the person has been shown and has
// not confirmed. While one is in force that is a conflict.
func (p Person) BeginSecondFactor(ctx context.Context, sealed []byte) error {
	return p.door.In(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `UPDATE users SET totp_pending = $2 WHERE user_id = $1 AND totp_secret IS NULL`, p.door.ID, sealed)
		if err == nil && tag.RowsAffected() == 0 {
			err = corp.Conflict("There is a second factor already.", "Switch it off first.")
		}
		return err
	})
}

// PendingSecondFactor returns the sealed secret that waits to be confirmed, nil
// when none does.
func (p Person) PendingSecondFactor(ctx context.Context) ([]byte, error) {
	return one(door.QueryUser(ctx, p.door, pgx.RowTo[[]byte], `SELECT totp_pending FROM users WHERE user_id = $1`))
}

// ConfirmSecondFactor puts the pending secret in force, with the step of the code
// that confirmed it, and the hashes of its recovery codes. A pending secret that is
// not this one any more is a conflict.
func (p Person) ConfirmSecondFactor(ctx context.Context, sealed []byte, step int64, codes [][]byte) error {
	return p.door.In(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			UPDATE users SET totp_secret = totp_pending, totp_pending = NULL, totp_step = $3 WHERE user_id = $1 AND totp_pending = $2`, p.door.ID, sealed, step)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return corp.Conflict("The second factor that this confirms is not the newest one.", "Begin again, and confirm with the secret that is shown then.")
		}
		return p.replaceCodes(ctx, tx, codes)
	})
}

// DropSecondFactor removes the second factor and its recovery codes.
func (p Person) DropSecondFactor(ctx context.Context) error {
	return p.door.In(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `UPDATE users SET totp_secret = NULL, totp_pending = NULL WHERE user_id = $1`, p.door.ID); err != nil {
			return err
		}
		return p.replaceCodes(ctx, tx, nil)
	})
}

// ReplaceRecoveryCodes makes these the only ones. Without a second factor that is a
// conflict.
func (p Person) ReplaceRecoveryCodes(ctx context.Context, codes [][]byte) error {
	return p.door.In(ctx, func(tx pgx.Tx) error {
		var on bool
		if err := tx.QueryRow(ctx, `SELECT count(*) = 1 FROM users WHERE user_id = $1 AND totp_secret IS NOT NULL`, p.door.ID).Scan(&on); err != nil {
			return err
		}
		if !on {
			return corp.Conflict("There is no second factor.", "Switch one on first.")
		}
		return p.replaceCodes(ctx, tx, codes)
	})
}

func (p Person) replaceCodes(ctx context.Context, tx pgx.Tx, codes [][]byte) error {
	var b door.Batch
	b.Queue(`DELETE FROM recovery_codes WHERE user_id = $1`, p.door.ID)
	b.Queue(`INSERT INTO recovery_codes (user_id, hash) SELECT $1, unnest($2::bytea[])`, p.door.ID, codes)
	p.changed(tx)
	return door.Send(ctx, tx, &b)
}

// RecoveryCodesLeft returns how many are unused.
func (p Person) RecoveryCodesLeft(ctx context.Context) (int, error) {
	return one(door.QueryUser(ctx, p.door, pgx.RowTo[int], `SELECT count(*) FROM recovery_codes WHERE user_id = $1 AND used_at IS NULL`))
}

// Identity is who a person is at an OIDC issuer.
type Identity struct {
	Issuer    string
	Subject   string
	Email     string // as the issuer had it then
	CreatedAt time.Time
}

// Identities lists who the person is elsewhere.
func (p Person) Identities(ctx context.Context) ([]Identity, error) {
	found, err := door.QueryUser(ctx, p.door, pgx.RowToStructByName[Identity], `SELECT issuer, subject, email, created_at FROM identities WHERE user_id = $1 ORDER BY created_at, issuer, subject`)
	return door.OrEmpty(found), err
}

// UnlinkIdentity takes one away. The last way in cannot be: a conflict.
func (p Person) UnlinkIdentity(ctx context.Context, issuer, subject string) error {
	return p.door.In(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT FROM users WHERE user_id = $1 FOR UPDATE`, p.door.ID); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `DELETE FROM identities WHERE user_id = $1 AND issuer = $2 AND subject = $3`, p.door.ID, issuer, subject)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return corp.NotFound("identity")
		}
		var left bool
		err = tx.QueryRow(ctx, `
			SELECT EXISTS (SELECT FROM identities WHERE user_id = $1) OR EXISTS (SELECT FROM users WHERE user_id = $1 AND password_hash IS NOT NULL)`, p.door.ID).Scan(&left)
		if err == nil && !left {
			err = corp.Conflict("You could not sign in any more.", "Set a password first.")
		}
		return err
	})
}

// LinkIdentity makes an OIDC issuer's subject sign this person in. One that signs
// somebody in already is a conflict. The session that asks, unless it is zero, must still
// be there: what ended it ends what it would have linked.
func (p Person) LinkIdentity(ctx context.Context, by corp.SessionID, issuer, subject, email string) error {
	return p.door.In(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `SELECT FROM sessions WHERE user_id = $1 AND id = $2 AND `+openSessions+` FOR SHARE`, p.door.ID, by)
		if err == nil && tag.RowsAffected() == 0 && !by.IsZero() {
			err = signedOut()
		}
		if err != nil {
			return err
		}
		return insertIdentity(ctx, tx, p.door.ID, issuer, subject, email)
	})
}

func insertIdentity(ctx context.Context, tx pgx.Tx, user corp.UserID, issuer, subject, email string) error {
	tag, err := tx.Exec(ctx, `
		INSERT INTO identities (user_id, issuer, subject, email) VALUES ($1, $2, $3, $4) ON CONFLICT (issuer, subject) DO NOTHING`, user, issuer, subject, email)
	if err == nil && tag.RowsAffected() == 0 {
		err = corp.Conflict("That account of the provider signs somebody in already.", "Sign in with it, or use another account of the provider.")
	}
	return err
}

package people

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
	"github.com/genericcorp/corp/postgres/hint"
)

// Known returns a person by their id or e-mail address, in which letter case does not
// count.
func (s System) Known(ctx context.Context, idOrEmail string) (corp.Person, error) {
	id, _ := corp.ParseID[corp.UserID](idOrEmail) // zero: it is an address
	found, err := door.QuerySystem(ctx, s.door, pgx.RowToStructByName[corp.Person], `
		SELECT user_id AS id, email, name, disabled_at, delete_after FROM users WHERE user_id = $1 OR email = $2`, id, strings.ToLower(strings.TrimSpace(idOrEmail)))
	return one(found, err)
}

// takeBackTheirs ends the open invitations that a person, or anybody, made in a session.
const takeBackTheirs = `SELECT take_back_invitations($1)`

// SignOut ends all sessions of a person, or of everybody when it is the zero person,
// and says how many, and takes back the open invitations that they made there. Keys go on.
func (s System) SignOut(ctx context.Context, id corp.UserID) (ended int64, err error) {
	err = s.door.In(ctx, func(tx pgx.Tx) error {
		// A device that comes for its session has this lock, too: it is signed out, or comes too late.
		var err error
		if id.IsZero() {
			door.Say(tx, hint.Notice{Kind: hint.Resync})
			_, err = tx.Exec(ctx, `DELETE FROM device_codes`) // and not everybody's row
		} else {
			door.Say(tx, hint.Notice{Kind: hint.Access, User: id})
			_, err = tx.Exec(ctx, `SELECT FROM users WHERE user_id = $1 FOR NO KEY UPDATE`, id)
		}
		if err != nil {
			return err
		}
		const those = `ended_at IS NULL AND ($1::uuid IS NULL OR user_id = $1)`
		// In one order, so that two who do it at once, or somebody who signs out, do not wait for each other in a circle.
		if _, err := tx.Exec(ctx, `SELECT FROM sessions WHERE `+those+` ORDER BY user_id, id FOR UPDATE`, id); err != nil {
			return err
		}
		// And anew: what was waited for may have been a password's change, which another session follows.
		tag, err := tx.Exec(ctx, `UPDATE sessions SET ended_at = now(), ended_by = 'revoked' WHERE `+those, id)
		ended = tag.RowsAffected()
		if err == nil {
			_, err = tx.Exec(ctx, takeBackTheirs, id)
		}
		return err
	})
	return ended, err
}

// ReplaceSigningKeys is KeepSigningKeys for keys that must be others at once: every
// server is told to read them.
func (s System) ReplaceSigningKeys(ctx context.Context, next func(now time.Time, kept []SigningKey) (add []SigningKey, drop []corp.SigningKeyID)) (kept []SigningKey, err error) {
	err = s.door.In(ctx, func(tx pgx.Tx) (err error) {
		door.Say(tx, hint.Notice{Kind: hint.Resync})
		kept, err = keepSigningKeys(ctx, tx, next)
		return err
	})
	return kept, err
}

package people

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

const selectUser = `
	SELECT user_id AS id, email, name, password_hash IS NOT NULL AS password, totp_secret IS NOT NULL AS second_factor, created_at, disabled_at, delete_after
	FROM users WHERE user_id = $1`

var scanUser = pgx.RowToStructByName[corp.User]

func insertUser(ctx context.Context, tx pgx.Tx, id corp.UserID, u NewUser) error {
	tag, err := tx.Exec(ctx, `
		INSERT INTO users (user_id, email, name, password_hash) VALUES ($1, lower($2), $3, nullif($4, '')) ON CONFLICT (email) DO NOTHING`, id, u.Email, u.Name, u.PasswordHash)
	if err == nil && tag.RowsAffected() == 0 {
		err = addressTaken()
	}
	return err
}

func addressTaken() error {
	return &corp.Error{Kind: corp.KindConflict, Code: "address_taken", Field: "email", Message: "This address has an account already.", Hint: "Sign in with it, or reset its password."}
}

// User returns the person.
func (p Person) User(ctx context.Context) (corp.User, error) {
	return one(door.QueryUser(ctx, p.door, scanUser, selectUser))
}

// Rename changes the person's name.
func (p Person) Rename(ctx context.Context, name string) (changed corp.User, err error) {
	err = p.door.In(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `UPDATE users SET name = $2 WHERE user_id = $1`, p.door.ID, name); err != nil {
			return err
		}
		p.changed(tx)
		changed, err = door.CollectOne(ctx, tx, "person", scanUser, selectUser, p.door.ID)
		return err
	})
	return changed, err
}

// Credentials returns what a password or a code of the person is compared with.
func (p Person) Credentials(ctx context.Context) (Account, error) {
	return one(door.QueryUser(ctx, p.door, pgx.RowToStructByName[Account], `
		SELECT user_id, email, name, coalesce(password_hash, '') AS password_hash, totp_secret, totp_step, disabled_at IS NOT NULL AS disabled, delete_after IS NOT NULL AS leaving
		FROM users WHERE user_id = $1`))
}

// PasswordChange is a new password and what allows it: the hash of the old one that
// was given and found right, or a link.
type PasswordChange struct {
	Was     string // must still be the one in force; empty with a link, or where there was none
	Link    []byte // hash; of purpose reset
	Hash    string
	By      corp.SessionID // in which it was asked for; zero with a link
	Next    NewSession     // that follows it, without a proof of its own
	EndKeys bool           // the person's API keys, too
}

// SetPassword changes the password and ends all sessions, open links and the open
// invitations that were made in any session. The session
// that asked is followed by another one, so that no copy of its credential, and no device
// that it has let in, goes on with the person. A link also ends what signs the person in
// from elsewhere, which whoever read the mails or used the account before may have linked.
// When another change came first the error is a conflict; when the session that asked has
// ended, unauthenticated.
func (p Person) SetPassword(ctx context.Context, c PasswordChange) error {
	return p.door.In(ctx, func(tx pgx.Tx) error {
		if c.Link != nil {
			door.Act(ctx, corp.Actor(p.door.ID.String()), "")
			if err := spend(ctx, tx, c.Link); err != nil {
				return err
			}
		}
		tag, err := tx.Exec(ctx, `UPDATE users SET password_hash = $2 WHERE user_id = $1 AND ($4 OR coalesce(password_hash, '') = $3)`, p.door.ID, c.Hash, c.Was, c.Link != nil)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return corp.Conflict("The password was changed a moment ago.", "Sign in with the new one.")
		}
		// Whoever signs everybody out finds these, in the same order, or what follows them.
		if _, err := tx.Exec(ctx, `SELECT FROM sessions WHERE user_id = $1 AND ended_at IS NULL ORDER BY id FOR UPDATE`, p.door.ID); err != nil {
			return err
		}
		var b door.Batch
		if err := p.follows(ctx, tx, &c); err != nil {
			return err
		}
		p.endAll(&b, "password")
		b.Queue(`SELECT spend_my_links()`)
		b.Queue(takeBackMine, corp.SessionID{})
		if c.Link != nil {
			b.Queue(`DELETE FROM identities WHERE user_id = $1`, p.door.ID)
		}
		if c.EndKeys {
			b.Queue(`SELECT end_my_keys()`)
		}
		p.changed(tx)
		if err := door.Send(ctx, tx, &b); err != nil || c.By.IsZero() {
			return err
		}
		return p.startSession(ctx, tx, c.Next)
	})
}

// follows gives the session to come what the one before it has: its last proof, and
// where it works.
func (p Person) follows(ctx context.Context, tx pgx.Tx, c *PasswordChange) error {
	if c.By.IsZero() {
		return nil
	}
	err := tx.QueryRow(ctx, `SELECT auth_at, works_in FROM sessions WHERE user_id = $1 AND id = $2 AND `+openSessions, p.door.ID, c.By).Scan(&c.Next.proved, &c.Next.WorksIn)
	if errors.Is(err, pgx.ErrNoRows) {
		err = signedOut()
	}
	door.Describe(ctx, "", map[string]corp.SessionID{"followed_by": c.Next.ID})
	return err
}

// ChangeEmail takes the address that a link proves, and spends all other links of
// the person. One that has an account by now is a conflict.
func (p Person) ChangeEmail(ctx context.Context, link []byte, email string) (was string, err error) {
	err = p.door.In(ctx, func(tx pgx.Tx) error {
		if err := spend(ctx, tx, link); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, `SELECT email FROM users WHERE user_id = $1 FOR UPDATE`, p.door.ID).Scan(&was); err != nil {
			return err
		}
		var b door.Batch
		b.Queue(`UPDATE users SET email = lower($2) WHERE user_id = $1`, p.door.ID, email)
		b.Queue(`SELECT spend_my_links()`)
		p.changed(tx)
		return door.Send(ctx, tx, &b)
	})
	if corp.KindOf(err) == corp.KindConflict {
		err = addressTaken()
	}
	return was, err
}

// AskDeletion has the account deleted after the grace period, with the workspaces
// of which the person is the only member, and ends all sessions. Who alone owns a
// workspace that has other members must hand it over first: a conflict, last_owner.
func (p Person) AskDeletion(ctx context.Context, grace time.Duration) (at time.Time, err error) {
	err = p.door.In(ctx, func(tx pgx.Tx) error {
		var owned []string
		var b door.Batch
		b.Queue(`SELECT FROM users WHERE user_id = $1 FOR NO KEY UPDATE`, p.door.ID) // whoever founds a workspace is waited for
		b.Queue(`SELECT leave_behind($1::bigint * interval '1 millisecond')`, milliseconds(grace)).QueryRow(func(row pgx.Row) error { return row.Scan(&owned) })
		b.Queue(`UPDATE users SET delete_after = now() + $2::bigint * interval '1 millisecond' WHERE user_id = $1 RETURNING delete_after`, p.door.ID, milliseconds(grace)).
			QueryRow(func(row pgx.Row) error { return row.Scan(&at) })
		p.endAll(&b, "deleted")
		p.changed(tx)
		if err := door.Send(ctx, tx, &b); err != nil {
			return err
		}
		if err := queueMine(ctx, tx); err != nil {
			return err
		}
		if len(owned) > 0 {
			return &corp.Error{Kind: corp.KindConflict, Code: "last_owner", Message: "You are the only owner of " + strings.Join(owned, ", ") + ", and others work there.", Hint: "Make somebody else an owner first, or delete the workspace."}
		}
		return nil
	})
	return at, err
}

// queueMine is queueAnew of the workspaces that go and come with the person.
func queueMine(ctx context.Context, tx pgx.Tx) error {
	mine, err := door.Collect(ctx, tx, pgx.RowTo[corp.WorkspaceID], `SELECT workspace_id FROM my_workspaces()`)
	queueAnew(tx, mine...)
	return err
}

const selectMemberships = `SELECT workspace_id, slug, name, role, delete_after, suspended_at FROM my_workspaces()`

var scanMembership = pgx.RowToStructByName[corp.Membership]

// Workspaces returns where the person is a member, those that are being deleted
// included.
func (p Person) Workspaces(ctx context.Context) ([]corp.Membership, error) {
	found, err := door.QueryUser(ctx, p.door, scanMembership, selectMemberships+` WHERE $1::uuid IS NOT NULL`)
	return door.OrEmpty(found), err
}

// one is the row of somebody who must be there.
func one[T any](found []T, err error) (T, error) {
	var none T
	if err != nil {
		return none, err
	}
	if len(found) == 0 {
		return none, corp.NotFound("person")
	}
	return found[0], nil
}

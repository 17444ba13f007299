package people

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// NewUser is somebody to make an account for, and exactly one proof that the address
// is theirs: a link of purpose verify, an invitation, or an OIDC issuer's word.
type NewUser struct {
	Email        string // the issuer's; with a link or an invitation theirs counts
	Name         string // empty: the link's
	PasswordHash string // empty: they sign in through the issuer
	Link         []byte // hash
	Invitation   []byte // hash
	Issuer       string
	Subject      string
}

// Join makes the account of a person and signs them in. An address that has an
// account by now is a conflict, address_taken, and nothing is used up; a link or
// invitation that is over is not found.
func (p Person) Join(ctx context.Context, u NewUser, n NewSession) error {
	switch {
	case u.Invitation != nil:
		return p.joinInvited(ctx, u, n)
	case u.Link != nil:
		link, ok, err := (&Store{p.door.DB}).Link(ctx, u.Link)
		if err != nil {
			return err
		}
		if !ok || link.Purpose != PurposeVerify {
			return linkGone()
		}
		u.Email = link.Email
		if u.Name == "" {
			u.Name = link.Name
		}
	}
	return p.door.In(ctx, func(tx pgx.Tx) error {
		if u.Link != nil {
			if err := spend(ctx, tx, u.Link); err != nil {
				return err
			}
		}
		if err := insertUser(ctx, tx, p.door.ID, u); err != nil {
			return err
		}
		if u.Issuer != "" {
			if err := insertIdentity(ctx, tx, p.door.ID, u.Issuer, u.Subject, u.Email); err != nil {
				return err
			}
		}
		return p.startSession(ctx, tx, n)
	})
}

func (p Person) joinInvited(ctx context.Context, u NewUser, n NewSession) error {
	in, ok, err := (&Store{p.door.DB}).Invitation(ctx, u.Invitation)
	if err != nil {
		return err
	}
	if !ok {
		return linkGone()
	}
	u.Email, n.WorksIn = in.Email, in.WorkspaceID
	return p.door.Into(ctx, in.WorkspaceID, func(tx pgx.Tx) error {
		if err := insertUser(ctx, tx, p.door.ID, u); err != nil {
			return err
		}
		if err := p.accept(ctx, tx, in); err != nil {
			return err
		}
		return p.startSession(ctx, tx, n)
	})
}

// Proof is what was found right outside the transaction and is used up inside it:
// what does not hold any more is no proof.
type Proof struct {
	Password string // the stored hash that the password was right for; empty: not by password
	Upgrade  string // a better hash of the same password; empty: none
	Step     int64  // of the one-time code; 0: none
	Recovery []byte // hash of a recovery code
	// An issuer's word instead of a password, which is one while that account is linked:
	// no second factor is asked for.
	Issuer, Subject string
}

// SignIn starts a session for who has proved to be the person. It takes a deletion
// that was asked for back, and says so. A proof that is none any more, or of somebody
// who is kept out, is unauthenticated.
func (p Person) SignIn(ctx context.Context, proof Proof, n NewSession) (tookBack bool, err error) {
	err = p.door.In(ctx, func(tx pgx.Tx) error {
		leaving, err := p.prove(ctx, tx, proof)
		if err != nil {
			return err
		}
		if tookBack = leaving; leaving {
			var b door.Batch
			b.Queue(`SELECT come_back()`) // which asks how long the person's own time is
			b.Queue(`UPDATE users SET delete_after = NULL WHERE user_id = $1`, p.door.ID)
			p.changed(tx)
			door.Later(tx, &b)
			if err := queueMine(ctx, tx); err != nil {
				return err
			}
		}
		return p.startSession(ctx, tx, n)
	})
	return tookBack, err
}

// StepUp notes that the person of a session has proved who they are once more. A
// browser's session gets another cookie with it, by its hash.
func (p Person) StepUp(ctx context.Context, id corp.SessionID, proof Proof, cookie []byte) error {
	return p.door.In(ctx, func(tx pgx.Tx) error {
		if _, err := p.prove(ctx, tx, proof); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `
			UPDATE sessions SET auth_at = now(), secret_hash = CASE WHEN kind = 'browser' THEN $3 END
			WHERE user_id = $1 AND id = $2 AND (kind = 'browser') = ($3::bytea IS NOT NULL) AND `+openSessions, p.door.ID, id, cookie)
		if err == nil && tag.RowsAffected() == 0 {
			err = signedOut()
		}
		p.changed(tx)
		return err
	})
}

// Confirm uses up a proof of somebody who is signed in, for this once.
func (p Person) Confirm(ctx context.Context, proof Proof) error {
	return p.door.In(ctx, func(tx pgx.Tx) error {
		_, err := p.prove(ctx, tx, proof)
		return err
	})
}

// prove locks the person and uses the proof up.
func (p Person) prove(ctx context.Context, tx pgx.Tx, proof Proof) (leaving bool, err error) {
	type state struct {
		Password string
		Factor   bool
		Step     int64
		Disabled bool
		Leaving  bool
	}
	now, err := door.CollectOne(ctx, tx, "person", pgx.RowToStructByName[state], `
		SELECT coalesce(password_hash, '') AS password, totp_secret IS NOT NULL AS factor, totp_step AS step, disabled_at IS NOT NULL AS disabled, delete_after IS NOT NULL AS leaving
		FROM users WHERE user_id = $1 FOR UPDATE`, p.door.ID)
	if corp.KindOf(err) == corp.KindNotFound {
		return false, notProved()
	}
	switch {
	case err != nil:
		return false, err
	case now.Disabled, proof.Step != 0 && proof.Step <= now.Step:
		return false, notProved()
	case proof.Issuer != "":
		return now.Leaving, p.vouched(ctx, tx, proof)
	case proof.Password == "" || proof.Password != now.Password, now.Factor && proof.Step == 0 && proof.Recovery == nil:
		return false, notProved()
	}
	if proof.Recovery != nil {
		tag, err := tx.Exec(ctx, `UPDATE recovery_codes SET used_at = now() WHERE user_id = $1 AND hash = $2 AND used_at IS NULL`, p.door.ID, proof.Recovery)
		if err != nil {
			return false, err
		}
		if tag.RowsAffected() == 0 {
			return false, notProved()
		}
	}
	_, err = tx.Exec(ctx, `
		UPDATE users SET password_hash = coalesce(nullif($2, ''), password_hash), totp_step = greatest(totp_step, $3) WHERE user_id = $1 AND ($2 <> '' OR $3 > totp_step)`,
		p.door.ID, proof.Upgrade, proof.Step)
	return now.Leaving, err
}

// vouched asks whether the account elsewhere still signs the person in, who is locked:
// a new password by mail may have unlinked it since somebody looked.
func (p Person) vouched(ctx context.Context, tx pgx.Tx, proof Proof) error {
	linked, err := door.CollectOne(ctx, tx, "person", pgx.RowTo[bool],
		`SELECT EXISTS (SELECT FROM identities WHERE user_id = $1 AND issuer = $2 AND subject = $3)`, p.door.ID, proof.Issuer, proof.Subject)
	if err == nil && !linked {
		err = notProved()
	}
	return err
}

// CodeNotProved is the code of a proof that is none, or none any more.
const CodeNotProved = "not_proved"

func notProved() error {
	return &corp.Error{Kind: corp.KindUnauthenticated, Code: CodeNotProved, Message: "That is not right, or not any more.", Hint: "Try again; a code can be used once."}
}

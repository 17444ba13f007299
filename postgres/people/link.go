package people

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// Purpose is what a mail's link is for.
type Purpose string

// The purposes. An invitation's link is the invitation's own.
const (
	PurposeVerify Purpose = "verify" // of an address, by somebody who has no account
	PurposeReset  Purpose = "reset"  // of a forgotten password
	PurposeChange Purpose = "change" // to another address
)

// Link is what the secret of a mail proves: that somebody reads the address.
type Link struct {
	Purpose Purpose
	Email   string
	Name    string      // that was given with the address
	Person  corp.UserID // whose password or address is to change; zero to verify
}

// MakeLink keeps a link for so long, by the hash of its secret.
func (s *Store) MakeLink(ctx context.Context, hash []byte, l Link, lasts time.Duration) error {
	return s.door.Auth().In(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			INSERT INTO email_links (hash, purpose, email, name, person, expires_at) VALUES ($1, $2, lower($3), $4, $5, now() + $6::bigint * interval '1 millisecond')`,
			hash, l.Purpose, l.Email, l.Name, l.Person, milliseconds(lasts))
		return err
	})
}

// Link returns what a link that may still be used is for. Nothing is spent.
func (s *Store) Link(ctx context.Context, hash []byte) (Link, bool, error) {
	return door.LookUp(ctx, s.door.Auth(), pgx.RowToStructByName[Link], `SELECT purpose, email, name, person FROM auth_link($1)`, hash)
}

// linkGone says that a link has nothing to prove any more.
func linkGone() error {
	return &corp.Error{Kind: corp.KindNotFound, Code: "link", Field: "token", Message: "This link was used before, or is too old, or is not whole.", Hint: "Ask for another one."}
}

// spend uses a link up within a transaction; only one can.
func spend(ctx context.Context, tx pgx.Tx, hash []byte) error {
	var spent bool
	if hash == nil {
		return linkGone()
	}
	if err := tx.QueryRow(ctx, `SELECT spend_link($1)`, hash).Scan(&spent); err != nil {
		return err
	}
	if !spent {
		return linkGone()
	}
	return nil
}

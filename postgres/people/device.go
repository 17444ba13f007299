package people

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// Device is a command line that waits to be signed in (RFC 8628).
type Device struct {
	Person    corp.UserID // who said yes; zero while nobody has
	WorksIn   corp.WorkspaceID
	Denied    bool
	Expired   bool
	Taken     bool // the session was handed out
	Address   string
	UserAgent string
}

// BeginDevice keeps a device's secret and the code that the person types, hashed.
func (s *Store) BeginDevice(ctx context.Context, secret, code []byte, address, userAgent string, lasts time.Duration) error {
	return s.door.Auth().In(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			INSERT INTO device_codes (hash, code_hash, address, user_agent, expires_at) VALUES ($1, $2, $3, $4, now() + $5::bigint * interval '1 millisecond')`,
			secret, code, address, userAgent, milliseconds(lasts))
		return err
	})
}

// Device returns how far a device has come.
func (s *Store) Device(ctx context.Context, secret []byte) (Device, bool, error) {
	return door.LookUp(ctx, s.door.Auth(), pgx.RowToStructByName[Device], `SELECT person, works_in, denied, expired, taken, address, user_agent FROM auth_device($1)`, secret)
}

// DeviceByCode returns where a device that still waits asked from.
func (s *Store) DeviceByCode(ctx context.Context, code []byte) (address, userAgent string, ok bool, err error) {
	type asker struct{ Address, UserAgent string }
	found, ok, err := door.LookUp(ctx, s.door.Auth(), pgx.RowToStructByName[asker], `SELECT address, user_agent FROM auth_device_code($1)`, code)
	return found.Address, found.UserAgent, ok, err
}

// AnswerDevice lets a device in as this person, to work in a workspace which may be
// zero, or turns it away. The session is the one that says so: with it ends what it let in
// and nobody has taken yet. A code that nobody waits with is not found; neither is a
// workspace where the person is no member; one that is suspended is forbidden.
func (p Person) AnswerDevice(ctx context.Context, code []byte, by corp.SessionID, ws corp.WorkspaceID, yes bool) error {
	return p.door.In(ctx, func(tx pgx.Tx) error {
		var answered, member bool
		if err := tx.QueryRow(ctx, `SELECT $1::uuid IS NULL OR EXISTS (SELECT FROM my_workspaces() m WHERE m.workspace_id = $1 AND m.delete_after IS NULL AND m.suspended_at IS NULL)`, ws).Scan(&member); err != nil {
			return err
		}
		if !member {
			return notWorkedIn(ctx, tx, ws)
		}
		err := tx.QueryRow(ctx, `SELECT answer_device($1, $2, $3, $4)`, code, by, ws, yes).Scan(&answered)
		if err == nil && !answered {
			err = corp.NotFound("code")
		}
		return err
	})
}

// TakeDevice starts the session of a device that was let in, once. It has the last
// proof of the session that let it in, and none of its own.
func (p Person) TakeDevice(ctx context.Context, secret []byte, n NewSession) error {
	return p.door.In(ctx, func(tx pgx.Tx) error {
		// Who ends all sessions of the person has this lock, too: ours is among them, or comes too late.
		if _, err := tx.Exec(ctx, `SELECT FROM users WHERE user_id = $1 FOR UPDATE`, p.door.ID); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, `SELECT take_device($1)`, secret).Scan(&n.proved); err != nil {
			return err
		}
		if n.proved == nil {
			return signedOut()
		}
		return p.startSession(ctx, tx, n)
	})
}

package people

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// NewSession is somebody who has just signed in. A browser's has a cookie, a
// command line's a refresh credential; both come hashed.
type NewSession struct {
	ID        corp.SessionID
	Kind      corp.SessionKind
	Cookie    []byte           // hash; of a browser's
	Refresh   []byte           // hash; of a command line's
	WorksIn   corp.WorkspaceID // zero: one of the person's, if there is any
	Address   string
	UserAgent string
	Idle      time.Duration // without use for so long it ends
	Lasts     time.Duration

	proved *time.Time // when the person last proved who they are; nil: now
}

const selectSessions = `
	SELECT id, kind, works_in AS workspace_id, address, user_agent, created_at, seen_at, expires_at, false AS current
	FROM sessions WHERE user_id = $1 `

const openSessions = `ended_at IS NULL AND expires_at > now() AND seen_at + idle_ms * interval '1 millisecond' > now()`

func (p Person) startSession(ctx context.Context, tx pgx.Tx, n NewSession) error {
	door.Act(ctx, corp.Actor(p.door.ID.String()), corp.Actor(n.ID.String()))
	var b door.Batch
	b.Queue(`
		INSERT INTO sessions (user_id, id, kind, secret_hash, works_in, address, user_agent, idle_ms, expires_at, auth_at)
		VALUES ($1, $2, $3, $4, coalesce($5, (SELECT m.workspace_id FROM my_workspaces() m WHERE m.delete_after IS NULL LIMIT 1)), $6, $7, $8, now() + $9::bigint * interval '1 millisecond', coalesce($10, now()))`,
		p.door.ID, n.ID, n.Kind, n.Cookie, n.WorksIn, n.Address, n.UserAgent, milliseconds(n.Idle), milliseconds(n.Lasts), n.proved)
	if n.Refresh != nil {
		b.Queue(`INSERT INTO refresh_tokens (user_id, hash, session_id) VALUES ($1, $2, $3)`, p.door.ID, n.Refresh, n.ID)
	}
	return door.Send(ctx, tx, &b)
}

// Sessions lists what is signed in, the newest first.
func (p Person) Sessions(ctx context.Context) ([]corp.Session, error) {
	found, err := door.QueryUser(ctx, p.door, pgx.RowToStructByName[corp.Session], selectSessions+`AND `+openSessions+` ORDER BY created_at DESC, id DESC LIMIT 500`)
	return door.OrEmpty(found), err
}

// Session returns what is signed in, and how long ago the person last proved who
// they are. One that has ended is unauthenticated.
func (p Person) Session(ctx context.Context, id corp.SessionID) (corp.Session, time.Duration, error) {
	type row struct {
		corp.Session
		AgeMS int64 `db:"age_ms"`
	}
	found, err := door.QueryUser(ctx, p.door, pgx.RowToStructByName[row], strings.Replace(selectSessions, "FROM", ", (1000 * extract(epoch FROM now() - auth_at))::bigint AS age_ms FROM", 1)+`AND id = $2 AND `+openSessions, id)
	if err == nil && len(found) == 0 {
		err = signedOut()
	}
	if err != nil {
		return corp.Session{}, 0, err
	}
	return found[0].Session, time.Duration(found[0].AgeMS) * time.Millisecond, nil
}

// ByOther is why a session ends that somebody else may have used: what it gave is taken back.
const ByOther = "revoked"

// EndSession signs one out; once it has ended that changes nothing. One that is not
// there is not found.
func (p Person) EndSession(ctx context.Context, id corp.SessionID, by string) error {
	return p.door.In(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			UPDATE sessions SET ended_at = coalesce(ended_at, now()), ended_by = CASE WHEN ended_at IS NULL THEN $3 ELSE ended_by END WHERE user_id = $1 AND id = $2`, p.door.ID, id, by)
		if err == nil && tag.RowsAffected() == 0 {
			err = corp.NotFound("session")
		}
		if err == nil && by == ByOther {
			_, err = tx.Exec(ctx, takeBackMine, id)
		}
		p.changed(tx)
		return err
	})
}

// takeBackMine ends the open invitations that the person made in a session, or in any.
const takeBackMine = `SELECT take_back_my_invitations($1)`

// endAll signs the person out everywhere. Their row is locked.
func (p Person) endAll(b *door.Batch, by string) {
	b.Queue(`UPDATE sessions SET ended_at = now(), ended_by = $2 WHERE user_id = $1 AND ended_at IS NULL`, p.door.ID, by)
}

// Seen notes that a session is in use.
func (p Person) Seen(ctx context.Context, id corp.SessionID) error {
	return p.door.In(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE sessions SET seen_at = now() WHERE user_id = $1 AND id = $2 AND ended_at IS NULL`, p.door.ID, id)
		return err
	})
}

// WorkIn has a session work in another workspace of the person's. One where they
// are no member is not found, one that is suspended forbidden.
func (p Person) WorkIn(ctx context.Context, id corp.SessionID, ws corp.WorkspaceID) error {
	return p.door.In(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			UPDATE sessions SET works_in = $3 WHERE user_id = $1 AND id = $2 AND ended_at IS NULL
				AND EXISTS (SELECT FROM my_workspaces() m WHERE m.workspace_id = $3 AND m.delete_after IS NULL AND m.suspended_at IS NULL)`, p.door.ID, id, ws)
		if err == nil && tag.RowsAffected() == 0 {
			err = notWorkedIn(ctx, tx, ws)
		}
		p.changed(tx)
		return err
	})
}

// notWorkedIn says why a person cannot work in a workspace.
func notWorkedIn(ctx context.Context, tx pgx.Tx, ws corp.WorkspaceID) error {
	var suspended bool
	err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM my_workspaces() m WHERE m.workspace_id = $1 AND m.suspended_at IS NOT NULL AND m.delete_after IS NULL)`, ws).Scan(&suspended)
	switch {
	case err != nil:
		return err
	case suspended:
		return corp.Suspended()
	default:
		return corp.NotFound("workspace")
	}
}

// Refreshed is what became of a refresh credential.
type Refreshed string

// The outcomes.
const (
	RefreshRotated Refreshed = "rotated" // the successor is good from now on
	RefreshRepeat  Refreshed = "repeat"  // used a moment ago: the same successor is good
	RefreshReuse   Refreshed = "reuse"   // used long ago, so somebody has a copy: the session has ended
	RefreshUnknown Refreshed = "unknown" // never issued, or its session has ended
)

// Refresh uses a refresh credential up and issues its successor, both as hashes.
// Whoever repeats that within the grace time gets the same; after it, the session
// ends for everybody.
func (s *Store) Refresh(ctx context.Context, hash, successor []byte, grace time.Duration) (who corp.UserID, session corp.SessionID, outcome Refreshed, err error) {
	type owner struct {
		UserID    corp.UserID
		SessionID corp.SessionID
	}
	found, ok, err := door.LookUp(ctx, s.door.Auth(), pgx.RowToStructByName[owner], `SELECT user_id, session_id FROM auth_refresh($1)`, hash)
	if err != nil || !ok {
		return who, session, RefreshUnknown, err
	}
	who, session = found.UserID, found.SessionID
	door.Act(ctx, corp.Actor(who.String()), corp.Actor(session.String()))
	p := s.Of(who)
	err = p.door.In(ctx, func(tx pgx.Tx) error {
		outcome, err = p.rotate(ctx, tx, session, hash, successor, grace)
		return err
	})
	if corp.KindOf(err) == corp.KindNotFound {
		return who, session, RefreshUnknown, nil
	}
	return who, session, outcome, err
}

func (p Person) rotate(ctx context.Context, tx pgx.Tx, session corp.SessionID, hash, successor []byte, grace time.Duration) (Refreshed, error) {
	type state struct {
		Open   bool
		UsedMS *int64 `db:"used_ms"` // since it was used
	}
	// The session's row is the lock: two who refresh at once come one after the other.
	if _, err := tx.Exec(ctx, `SELECT FROM sessions WHERE user_id = $1 AND id = $2 FOR UPDATE`, p.door.ID, session); err != nil {
		return "", err
	}
	now, err := door.CollectOne(ctx, tx, "session", pgx.RowToStructByName[state], `
		SELECT `+openSessions+` AS open, (1000 * extract(epoch FROM clock_timestamp() - r.used_at))::bigint AS used_ms
		FROM sessions s JOIN refresh_tokens r ON r.user_id = s.user_id AND r.session_id = s.id
		WHERE s.user_id = $1 AND s.id = $2 AND r.hash = $3`, p.door.ID, session, hash)
	var b door.Batch
	switch {
	case err != nil:
		return "", err
	case !now.Open: // as an error: the lock alone would pass for a change, which is an event
		return "", corp.NotFound("session")
	case now.UsedMS == nil:
		b.Queue(`UPDATE refresh_tokens SET used_at = clock_timestamp() WHERE user_id = $1 AND hash = $2`, p.door.ID, hash)
		b.Queue(`INSERT INTO refresh_tokens (user_id, hash, session_id) VALUES ($1, $2, $3)`, p.door.ID, successor, session)
		b.Queue(`UPDATE sessions SET seen_at = now() WHERE user_id = $1 AND id = $2`, p.door.ID, session)
		return RefreshRotated, door.Send(ctx, tx, &b)
	case *now.UsedMS <= milliseconds(grace):
		return RefreshRepeat, nil
	default:
		b.Queue(`UPDATE sessions SET ended_at = now(), ended_by = 'reuse' WHERE user_id = $1 AND id = $2`, p.door.ID, session)
		b.Queue(takeBackMine, session)
		p.changed(tx)
		door.Deny(ctx)
		return RefreshReuse, door.Send(ctx, tx, &b)
	}
}

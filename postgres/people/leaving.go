package people

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
	"github.com/genericcorp/corp/postgres/hint"
)

// inEvidence says of a person that a workspace is suspended that holds something of
// theirs: who is and was in it is part of what may be evidence.
const inEvidence = `EXISTS (SELECT FROM held_in(u.user_id) h JOIN workspaces w ON w.workspace_id = h WHERE w.suspended_at IS NOT NULL)`

// Leaving returns up to n people whose time of grace is over, those first who asked
// first. Who is, or was, in a suspended workspace waits.
func (s System) Leaving(ctx context.Context, n int) ([]corp.UserID, error) {
	return door.QuerySystem(ctx, s.door, pgx.RowTo[corp.UserID], `SELECT u.user_id FROM users u WHERE u.delete_after <= now() AND NOT `+inEvidence+` ORDER BY u.delete_after LIMIT $1`, n)
}

// PurgePerson removes somebody whose time of grace is over, with everything that is
// theirs alone, and what the audit log knows of them beside its events. It says
// whether it did: who has come back stays.
func (s System) PurgePerson(ctx context.Context, id corp.UserID) (gone bool, err error) {
	return s.remove(ctx, "purgePerson", id.String(), func(tx pgx.Tx) (gone bool, err error) {
		door.Say(tx, hint.Notice{Kind: hint.Access, User: id})
		var b door.Batch // in the order of who comes back; whoever suspends one of them is before, and seen, or after
		b.Queue(`SELECT FROM users WHERE user_id = $1 FOR UPDATE`, id)
		b.Queue(`SELECT FROM workspaces w WHERE w.workspace_id IN (SELECT held_in($1)) ORDER BY w.workspace_id FOR NO KEY UPDATE`, id)
		b.Queue(`SELECT coalesce((SELECT purge_person(u.user_id, $2) FROM users u WHERE u.user_id = $1 AND NOT `+inEvidence+`), false)`, id, id.String()).
			QueryRow(func(row pgx.Row) error { return row.Scan(&gone) })
		err = door.Send(ctx, tx, &b)
		return gone, err
	})
}

// Doomed returns up to n workspaces whose time of grace is over, those first that
// were deleted first. One that is suspended waits: it may be evidence.
func (s System) Doomed(ctx context.Context, n int) ([]corp.WorkspaceID, error) {
	return door.QuerySystem(ctx, s.door, pgx.RowTo[corp.WorkspaceID], `SELECT workspace_id FROM workspaces WHERE delete_after <= now() AND suspended_at IS NULL ORDER BY delete_after LIMIT $1`, n)
}

// PurgeWorkspace removes up to n rows of a workspace whose time of grace is over, and
// returns how many: 0 when only its own row is left. Due says false of one that is not
// to be purged, or not yet: a run is under way in it, or it is suspended. Its audit log stays.
func (s System) PurgeWorkspace(ctx context.Context, ws corp.WorkspaceID, n int) (removed int64, due bool, err error) {
	found, err := door.QuerySystem(ctx, s.door, pgx.RowTo[*int64], `SELECT CASE WHEN EXISTS (SELECT FROM workspaces WHERE workspace_id = $1 AND suspended_at IS NULL) THEN purge_workspace($1, $2) END`, ws, n)
	if err != nil || found[0] == nil {
		return 0, false, err
	}
	return *found[0], true, nil
}

// BuryWorkspace removes the row of a workspace of which nothing else is left.
func (s System) BuryWorkspace(ctx context.Context, ws corp.WorkspaceID) (gone bool, err error) {
	return s.remove(ctx, "purgeWorkspace", ws.String(), func(tx pgx.Tx) (gone bool, err error) {
		err = tx.QueryRow(ctx, `SELECT bury_workspace($1)`, ws).Scan(&gone)
		return gone, err
	})
}

// errStays rolls back what removed nothing: who waited for another server to remove the
// same has changed something in the database's eyes, and would be in the log for it.
var errStays = errors.New("it stays, or is gone already")

// remove does what the clock decided, once, and has the installation's audit log say so.
func (s System) remove(ctx context.Context, operation, target string, do func(pgx.Tx) (bool, error)) (gone bool, err error) {
	ctx = door.WithAudit(ctx, door.NewPending(corp.AuditEvent{Actor: corp.ActorSystem, Operation: operation, Action: "purge", Target: target}))
	err = s.door.In(ctx, func(tx pgx.Tx) (err error) {
		if gone, err = do(tx); err == nil && !gone {
			err = errStays
		}
		return err
	})
	if errors.Is(err, errStays) {
		return false, nil
	}
	return gone, err
}

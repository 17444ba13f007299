package people

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

var scanMember = pgx.RowToStructByName[corp.Member]

const selectMembers = `SELECT user_id, email, name, role, created_by, created_at FROM our_people() WHERE $1::uuid IS NOT NULL `

// Members lists the people of the workspace, the newest first.
func (w Workspace) Members(ctx context.Context, p corp.Page) (corp.List[corp.Member], error) {
	from, limit, err := door.Start(p)
	if err != nil {
		return corp.List[corp.Member]{}, err
	}
	found, err := door.Query(ctx, w.door, scanMember, selectMembers+`AND (created_at, user_id) < ($2, $3) ORDER BY created_at DESC, user_id DESC LIMIT $4`, from.At, from.ID, limit+1)
	return door.Page(found, limit, func(m corp.Member) door.Position { return door.At(m.CreatedAt, m.UserID) }), err
}

// Owners returns those who own the workspace.
func (w Workspace) Owners(ctx context.Context) ([]corp.Member, error) {
	return door.Query(ctx, w.door, scanMember, selectMembers+`AND role = 'owner'`)
}

// SetRole changes what a member may do. by is the role of whoever changes it:
// nobody touches a member above themselves or raises one above themselves, and the
// last owner stays one.
func (w Workspace) SetRole(ctx context.Context, actor corp.Actor, by corp.Role, user corp.UserID, role corp.Role) (changed corp.Member, err error) {
	err = w.door.In(ctx, func(tx pgx.Tx) error {
		was, by, err := w.lockMember(ctx, tx, actor, by, user)
		if err != nil {
			return err
		}
		if !role.AtMost(by) {
			return aboveOneself("role")
		}
		if was == corp.RoleOwner && role != corp.RoleOwner {
			if err := w.anotherOwner(ctx, tx, user); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, `UPDATE members SET role = $3 WHERE workspace_id = $1 AND user_id = $2`, w.door.ID, user, role); err != nil {
			return err
		}
		w.changed(tx)
		w.door.Emit(tx, door.Event{Kind: "member.changed", Data: door.About{ID: user.String(), Name: string(role), By: actor}})
		changed, err = w.member(ctx, tx, user)
		return err
	})
	return changed, err
}

// RemoveMember takes somebody out of the workspace, and their keys with them. by is
// the role of whoever does it; who leaves on their own gives their own role.
func (w Workspace) RemoveMember(ctx context.Context, actor corp.Actor, by corp.Role, user corp.UserID) error {
	return w.door.In(ctx, func(tx pgx.Tx) error {
		was, _, err := w.lockMember(ctx, tx, actor, by, user)
		if err != nil {
			return err
		}
		if was == corp.RoleOwner {
			if err := w.anotherOwner(ctx, tx, user); err != nil {
				return err
			}
		}
		var b door.Batch
		b.Queue(`DELETE FROM members WHERE workspace_id = $1 AND user_id = $2`, w.door.ID, user)
		b.Queue(`UPDATE api_keys SET revoked_at = now() WHERE workspace_id = $1 AND user_id = $2 AND revoked_at IS NULL`, w.door.ID, user)
		w.changed(tx)
		w.door.Emit(tx, door.Event{Kind: "member.removed", Data: door.About{ID: user.String(), By: actor}})
		return door.Send(ctx, tx, &b)
	})
}

// HandOver makes another member an owner and the giver an admin. One who is leaving, or
// kept out, is a conflict.
func (w Workspace) HandOver(ctx context.Context, actor corp.Actor, from, to corp.UserID) error {
	return w.door.In(ctx, func(tx pgx.Tx) error {
		if from == to {
			return corp.Invalid("user_id", "That is you.", "Name the member who is to own the workspace.")
		}
		if _, _, err := w.lockMember(ctx, tx, actor, corp.RoleOwner, to); err != nil {
			return err
		}
		was, _, err := w.lockMember(ctx, tx, actor, corp.RoleOwner, from)
		if err != nil {
			return err
		}
		if was != corp.RoleOwner {
			return aboveOneself("user_id")
		}
		var b door.Batch
		b.Queue(`UPDATE members SET role = 'owner' WHERE workspace_id = $1 AND user_id = $2`, w.door.ID, to)
		b.Queue(`UPDATE members SET role = 'admin' WHERE workspace_id = $1 AND user_id = $2`, w.door.ID, from)
		w.changed(tx)
		w.door.Emit(tx, door.Event{Kind: "workspace.handed_over", Data: door.About{ID: to.String(), By: actor}})
		if err := door.Send(ctx, tx, &b); err != nil {
			return err
		}
		var stays bool // who is leaving, or kept out, counts as none
		err = tx.QueryRow(ctx, `SELECT owners_beside($1) > owners_beside($2)`, from, to).Scan(&stays)
		if err == nil && !stays {
			err = &corp.Error{Kind: corp.KindConflict, Code: "heir_leaves", Field: "user_id", Message: "This person's account is being deleted, or may not be used.", Hint: "Name another member; or have them sign in, which takes a deletion back."}
		}
		return err
	})
}

// Deletion is when a workspace is deleted, and whether it was not to be before.
type Deletion struct {
	At    time.Time
	Begun bool
}

// DeleteWorkspace puts the workspace out of use at once, and has it deleted after
// the grace period. Only who owns it then can; asked again it says the same, and
// changes nothing.
func (w Workspace) DeleteWorkspace(ctx context.Context, actor corp.Actor, owner corp.UserID, grace time.Duration) (d Deletion, err error) {
	err = w.door.In(ctx, func(tx pgx.Tx) error {
		was, _, err := w.lockRoles(ctx, tx, actor, corp.RoleOwner, owner) // also of one that is suspended
		if err != nil {
			return err
		}
		if was != corp.RoleOwner {
			return aboveOneself("user")
		}
		tag, err := tx.Exec(ctx, `
			UPDATE workspaces SET archived_at = coalesce(archived_at, now()), delete_after = now() + $2::bigint * interval '1 millisecond'
			WHERE workspace_id = $1 AND delete_after IS NULL`, w.door.ID, milliseconds(grace))
		if err != nil {
			return err
		}
		if d.Begun = tag.RowsAffected() == 1; d.Begun {
			w.changed(tx)
			queueAnew(tx, w.door.ID)
			w.door.Emit(tx, door.Event{Kind: "workspace.deleted", Data: door.About{ID: w.door.ID.String(), By: actor}})
		}
		return tx.QueryRow(ctx, `SELECT delete_after FROM workspaces WHERE workspace_id = $1`, w.door.ID).Scan(&d.At)
	})
	return d, err
}

// Restore takes the deletion of a workspace back. Only an owner of it can, while it
// is there; for others it is not found.
func (p Person) Restore(ctx context.Context, ws corp.WorkspaceID) error {
	w := Workspace{door: p.door.DB.In(ws)}
	return p.door.Into(ctx, ws, func(tx pgx.Tx) error {
		// The clock is asked once the row is ours: a purge may have begun while it was waited for.
		// Who is no owner must not make anybody wait.
		_, err := tx.Exec(ctx, `
			SELECT FROM workspaces w WHERE w.workspace_id = $1 AND EXISTS (SELECT FROM members m WHERE m.workspace_id = $1 AND m.user_id = $2 AND m.role = 'owner')
			FOR NO KEY UPDATE OF w`, ws, p.door.ID)
		if err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `
			UPDATE workspaces SET archived_at = NULL, delete_after = NULL
			WHERE workspace_id = $1 AND delete_after > clock_timestamp() AND EXISTS (SELECT FROM members m WHERE m.workspace_id = $1 AND m.user_id = $2 AND m.role = 'owner')`, ws, p.door.ID)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return corp.NotFound("workspace")
		}
		w.changed(tx)
		queueAnew(tx, ws)
		w.door.Emit(tx, door.Event{Kind: "workspace.restored", Data: door.About{ID: ws.String(), By: corp.Actor(p.door.ID.String())}})
		return nil
	})
}

// lockMember is lockRoles where the workspace is in use: who belongs to a suspended one
// stays as it was.
func (w Workspace) lockMember(ctx context.Context, tx pgx.Tx, actor corp.Actor, by corp.Role, user corp.UserID) (was, may corp.Role, err error) {
	suspended, err := door.CollectOne(ctx, tx, "workspace", pgx.RowTo[bool], `SELECT suspended_at IS NOT NULL FROM workspaces WHERE workspace_id = $1 FOR NO KEY UPDATE`, w.door.ID)
	if err == nil && suspended {
		err = corp.Suspended()
	}
	if err != nil {
		return "", "", err
	}
	return w.lockRoles(ctx, tx, actor, by, user)
}

// lockRoles locks the workspace, as leave_behind does, and all owners, the member and who
// acts, always in the same order, so that of two owners who leave at once the second sees
// that the first has left. It returns the member's role, and the one up to which the actor
// may act: what they came with may be a while old.
func (w Workspace) lockRoles(ctx context.Context, tx pgx.Tx, actor corp.Actor, by corp.Role, user corp.UserID) (was, may corp.Role, err error) {
	type row struct {
		UserID corp.UserID
		Role   corp.Role
	}
	if _, err := tx.Exec(ctx, `SELECT FROM workspaces WHERE workspace_id = $1 FOR NO KEY UPDATE`, w.door.ID); err != nil {
		return "", "", err
	}
	self, _ := corp.ParseID[corp.UserID](string(actor)) // zero: a key's, or nobody's
	found, err := door.Collect(ctx, tx, pgx.RowToStructByName[row], `
		SELECT user_id, role FROM members WHERE workspace_id = $1 AND (role = 'owner' OR user_id IN ($2, $3)) ORDER BY user_id FOR UPDATE`, w.door.ID, user, self)
	if err != nil {
		return "", "", err
	}
	roles := map[corp.UserID]corp.Role{}
	for _, m := range found {
		roles[m.UserID] = m.Role
	}
	if !self.IsZero() && !by.AtMost(roles[self]) {
		by = roles[self]
	}
	switch was = roles[user]; {
	case was == "":
		return "", by, corp.NotFound("member")
	case !was.AtMost(by):
		return "", by, aboveOneself("user")
	}
	return was, by, nil
}

// anotherOwner refuses to leave the workspace without one. Who is leaving, or kept
// out, does not count.
func (w Workspace) anotherOwner(ctx context.Context, tx pgx.Tx, but corp.UserID) error {
	var others int
	err := tx.QueryRow(ctx, `SELECT owners_beside($1)`, but).Scan(&others)
	if err == nil && others == 0 {
		err = &corp.Error{Kind: corp.KindConflict, Code: "last_owner", Message: "A workspace always has an owner, and this is the last one.", Hint: "Make somebody else an owner first, or delete the workspace."}
	}
	return err
}

func (w Workspace) member(ctx context.Context, tx pgx.Tx, user corp.UserID) (corp.Member, error) {
	return door.CollectOne(ctx, tx, "member", scanMember, selectMembers+`AND user_id = $2`, w.door.ID, user)
}

func aboveOneself(field string) error {
	return &corp.Error{Kind: corp.KindForbidden, Field: field, Message: "Nobody gives or takes a role above their own.", Hint: "Ask an owner of the workspace."}
}

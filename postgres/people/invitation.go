package people

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

const invitationColumns = `id, email, role, created_by, created_at, expires_at, accepted_at, revoked_at`

var scanInvitation = pgx.RowToStructByName[corp.Invitation]

// Invite asks somebody into the workspace, by the hash of the secret that the mail
// carries. An open invitation of the same address is replaced, if it may be taken back.
// Somebody who is a member
// already is a conflict; one more than the plan's users, invitations counted, is a limit.
func (w Workspace) Invite(ctx context.Context, actor corp.Actor, email string, role corp.Role, hash []byte, lasts time.Duration) (made corp.Invitation, err error) {
	id := corp.NewID[corp.InvitationID]()
	giver, _ := corp.ParseID[corp.UserID](string(actor))      // zero: a key of the workspace's own
	session, _ := corp.ParseID[corp.SessionID](string(w.via)) // zero: a key
	err = w.door.In(ctx, func(tx pgx.Tx) error {
		if err := w.lockPlaces(ctx, tx); err != nil {
			return err
		}
		replaced, err := door.Collect(ctx, tx, scanInvitation, `
			UPDATE invitations SET revoked_at = now() WHERE workspace_id = $1 AND email = lower($2) AND accepted_at IS NULL AND revoked_at IS NULL
			RETURNING `+invitationColumns, w.door.ID, email)
		if err != nil {
			return err
		}
		replaced = slices.DeleteFunc(replaced, func(i corp.Invitation) bool { return !i.ExpiresAt.After(*i.RevokedAt) }) // it had ended by itself
		if err := w.notYet(ctx, tx, email); err != nil {
			return err
		}
		if err := w.placeToInvite(ctx, tx); err != nil {
			return err
		}
		made, err = door.CollectOne(ctx, tx, "invitation", scanInvitation, `
			INSERT INTO invitations (workspace_id, id, email, role, hash, created_by, via, giver, session, expires_at)
			VALUES ($1, $2, lower($3), $4, $5, $6, $7, $8, $9, now() + $10::bigint * interval '1 millisecond') RETURNING `+invitationColumns,
			w.door.ID, id, email, role, hash, actor, w.via, giver, session, milliseconds(lasts))
		if err != nil {
			return err
		}
		w.door.Emit(tx, door.Event{Kind: "invitation.created", Data: door.About{ID: id.String(), Name: string(role), By: actor}})
		for _, old := range replaced {
			if err := w.takeBack(tx, actor, old); err != nil {
				return err
			}
		}
		return nil
	})
	return made, err
}

// takeBack says that an invitation was revoked, by who could have made it.
func (w Workspace) takeBack(tx pgx.Tx, actor corp.Actor, gone corp.Invitation) error {
	if w.may != nil && !w.may(gone.Role) {
		return &corp.Error{Kind: corp.KindForbidden, Code: "invited_higher", Message: "This address is invited as " + string(gone.Role) + ", which is not yours to give or take back.", Hint: "Ask an owner of the workspace."}
	}
	w.door.Emit(tx, door.Event{Kind: "invitation.revoked", Data: door.About{ID: gone.ID.String(), By: actor}})
	return nil
}

// notYet refuses somebody who is a member already.
func (w Workspace) notYet(ctx context.Context, tx pgx.Tx, email string) error {
	var there bool
	err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM our_people() WHERE email = lower($1))`, email).Scan(&there)
	if err == nil && there {
		err = &corp.Error{Kind: corp.KindConflict, Code: "member_already", Field: "email", Message: "This person is a member already.", Hint: "Change their role instead."}
	}
	return err
}

// Invitations lists the open ones, the newest first.
func (w Workspace) Invitations(ctx context.Context, p corp.Page) (corp.List[corp.Invitation], error) {
	from, limit, err := door.Start(p)
	if err != nil {
		return corp.List[corp.Invitation]{}, err
	}
	found, err := door.Query(ctx, w.door, scanInvitation, `
		SELECT `+invitationColumns+` FROM invitations
		WHERE workspace_id = $1 AND accepted_at IS NULL AND revoked_at IS NULL AND (created_at, id) < ($2, $3) ORDER BY created_at DESC, id DESC LIMIT $4`, from.At, from.ID, limit+1)
	return door.Page(found, limit, func(i corp.Invitation) door.Position { return door.At(i.CreatedAt, i.ID) }), err
}

// RevokeInvitation makes an invitation worthless. Revoking it twice changes nothing;
// one that was accepted is a conflict, and one to more than somebody may give forbidden.
func (w Workspace) RevokeInvitation(ctx context.Context, actor corp.Actor, id corp.InvitationID) (gone corp.Invitation, err error) {
	err = w.door.In(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `UPDATE invitations SET revoked_at = now() WHERE workspace_id = $1 AND id = $2 AND revoked_at IS NULL AND accepted_at IS NULL`, w.door.ID, id)
		if err != nil {
			return err
		}
		gone, err = door.CollectOne(ctx, tx, "invitation", scanInvitation, `SELECT `+invitationColumns+` FROM invitations WHERE workspace_id = $1 AND id = $2`, w.door.ID, id)
		switch {
		case err != nil:
			return err
		case gone.AcceptedAt != nil:
			return corp.Conflict("This invitation was accepted.", "Remove the member instead.")
		case tag.RowsAffected() == 1:
			return w.takeBack(tx, actor, gone)
		}
		return nil
	})
	return gone, err
}

// Invited is what the secret of an invitation stands for.
type Invited struct {
	WorkspaceID corp.WorkspaceID
	ID          corp.InvitationID
	Email       string
	Role        corp.Role
	Workspace   string // its name
}

// Invitation returns what an invitation that may still be accepted is for.
func (s *Store) Invitation(ctx context.Context, hash []byte) (Invited, bool, error) {
	return door.LookUp(ctx, s.door.Auth(), pgx.RowToStructByName[Invited], `SELECT workspace_id, id, email, role, workspace FROM auth_invitation($1)`, hash)
}

// Accept makes the person a member and uses the invitation up, which must be to
// their address, from somebody who may give its role still; else it is not found,
// like one that is over. Somebody who is a member by now keeps the role that they have.
// Without a place in the plan it is a limit, and the invitation stays open.
func (p Person) Accept(ctx context.Context, hash []byte) (joined corp.Membership, err error) {
	in, ok, err := (&Store{p.door.DB}).Invitation(ctx, hash)
	if err != nil {
		return joined, err
	}
	if !ok {
		return joined, linkGone()
	}
	err = p.door.Into(ctx, in.WorkspaceID, func(tx pgx.Tx) error {
		var mine bool
		if err := tx.QueryRow(ctx, `SELECT count(*) = 1 FROM users WHERE user_id = $1 AND email = $2`, p.door.ID, in.Email).Scan(&mine); err != nil {
			return err
		}
		if !mine {
			return linkGone()
		}
		if err := p.accept(ctx, tx, in); err != nil {
			return err
		}
		joined, err = door.CollectOne(ctx, tx, "workspace", scanMembership, selectMemberships+` WHERE workspace_id = $1`, in.WorkspaceID)
		return err
	})
	return joined, err
}

func (p Person) accept(ctx context.Context, tx pgx.Tx, in Invited) error {
	w := Workspace{door: p.door.DB.In(in.WorkspaceID)}
	switch err := w.lockPlaces(ctx, tx); {
	case corp.KindOf(err) == corp.KindNotFound:
		return linkGone()
	case err != nil:
		return err
	}
	found, err := door.Collect(ctx, tx, scanInvitation, `
		UPDATE invitations SET accepted_at = now() WHERE workspace_id = $1 AND id = $2 AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > now()
		RETURNING `+invitationColumns, in.WorkspaceID, in.ID)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return linkGone()
	}
	if ok, err := stillGiven(ctx, tx, in.WorkspaceID, found[0]); err != nil || !ok {
		return cmp.Or(err, linkGone())
	}
	tag, err := tx.Exec(ctx, `
		INSERT INTO members (workspace_id, user_id, role, created_by)
		SELECT $1, $2, i.role, i.created_by FROM invitations i WHERE i.workspace_id = $1 AND i.id = $3
		ON CONFLICT DO NOTHING`, in.WorkspaceID, p.door.ID, in.ID)
	if err != nil {
		return err
	}
	if tag.RowsAffected() == 1 {
		if err := w.placeTaken(ctx, tx); err != nil {
			return err
		}
	}
	w.changed(tx)
	w.door.Emit(tx, door.Event{Kind: "member.joined", Data: door.About{ID: p.door.ID.String(), Name: string(in.Role)}})
	return nil
}

// stillGiven says whether who made an invitation may give its role today: somebody
// who was removed, demoted or kept out must not come back by one that they left behind, and
// a key or session that was stolen, and taken away, must not leave any.
func stillGiven(ctx context.Context, tx pgx.Tx, ws corp.WorkspaceID, i corp.Invitation) (bool, error) {
	via, err := door.CollectOne(ctx, tx, "invitation", pgx.RowTo[corp.Actor], `SELECT via FROM invitations WHERE workspace_id = $1 AND id = $2`, ws, i.ID)
	if err != nil {
		return false, err
	}
	if person, err := corp.ParseID[corp.UserID](string(i.CreatedBy)); err == nil {
		session, _ := corp.ParseID[corp.SessionID](string(via)) // zero: a key
		role, err := door.CollectOne(ctx, tx, "giver", pgx.RowTo[corp.Role], `SELECT coalesce(giver_role($1, $2), '')`, person, session)
		if err != nil || !i.Role.AtMost(role) {
			return false, err
		}
	}
	for _, made := range []corp.Actor{i.CreatedBy, via} { // a workspace's own key is both
		key, err := corp.ParseID[corp.APIKeyID](string(made))
		if err != nil {
			continue
		}
		good, err := door.Collect(ctx, tx, pgx.RowTo[bool], `SELECT revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) FROM api_keys WHERE workspace_id = $1 AND id = $2`, ws, key)
		if err != nil || len(good) == 0 || !good[0] {
			return false, err
		}
	}
	return true, nil
}

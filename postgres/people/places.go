package people

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// places is the plan's number of members of a workspace, and who has one.
type places struct {
	Plan    string
	Most    int // 0: unlimited
	Members int
	Invited int // open invitations
}

// lockPlaces locks the workspace before anything else of it, as whoever changes its
// members does: of two who come for the last place the second sees that it is taken.
// One that is out of use or suspended has none: the error is not found.
func (w Workspace) lockPlaces(ctx context.Context, tx pgx.Tx) error {
	_, err := door.CollectOne(ctx, tx, "workspace", pgx.RowTo[bool], `SELECT true FROM workspaces WHERE workspace_id = $1 AND archived_at IS NULL AND suspended_at IS NULL FOR NO KEY UPDATE`, w.door.ID)
	return err
}

// places counts them; the workspace is locked.
func (w Workspace) places(ctx context.Context, tx pgx.Tx) (places, error) {
	return door.CollectOne(ctx, tx, "workspace", pgx.RowToStructByName[places], `
		SELECT p.name AS plan, p.users AS most, (SELECT count(*) FROM members WHERE workspace_id = $1) AS members,
			(SELECT count(*) FROM invitations WHERE workspace_id = $1 AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > now()) AS invited
		FROM workspaces w JOIN plans p ON p.name = w.plan WHERE w.workspace_id = $1`, w.door.ID)
}

// placeToInvite refuses an invitation for which there will be no place.
func (w Workspace) placeToInvite(ctx context.Context, tx pgx.Tx) error {
	p, err := w.places(ctx, tx)
	if err != nil || p.Most == 0 || p.Members+p.Invited < p.Most {
		return err
	}
	return noPlace(fmt.Sprintf("The plan %s has %d users, and the workspace has %d members and %d open invitations.", p.Plan, p.Most, p.Members, p.Invited),
		"Remove a member, revoke an invitation, or change to a larger plan.")
}

// placeTaken refuses a new member for whom there was no place in the plan, which may
// have become a smaller one since they were invited.
func (w Workspace) placeTaken(ctx context.Context, tx pgx.Tx) error {
	p, err := w.places(ctx, tx)
	if err != nil || p.Most == 0 || p.Members <= p.Most {
		return err
	}
	return noPlace(fmt.Sprintf("The plan of this workspace has %d users, and all places are taken.", p.Most),
		"Ask who invited you to remove a member or to change to a larger plan, and accept then.")
}

func noPlace(message, hint string) error {
	return &corp.Error{Kind: corp.KindLimit, Code: "users", Message: message, Hint: hint}
}

package identity

import (
	"context"
	"fmt"
	"time"

	"github.com/genericcorp/corp"
)

// HandOver makes another member the owner of a workspace in the person's stead, who
// is an admin from then on. It needs a fresh proof. Both get a letter.
func (f *Flows) HandOver(ctx context.Context, who corp.Identity, again Again, ws corp.WorkspaceID, to corp.UserID, from Caller) error {
	name, err := f.owned(ctx, who, again, ws, from)
	if err != nil {
		return err
	}
	if err := f.People.In(ws).HandOver(ctx, who.Actor, who.User, to); err != nil {
		return err
	}
	f.tell(ctx, who, "You handed the workspace "+named(name)+" over to somebody else, and are an admin of it now.", from)
	f.tell(ctx, corp.Identity{User: to}, "The workspace "+named(name)+" was handed over to you: you own it now.", from)
	return nil
}

// DeleteWorkspace puts a workspace out of use at once, and has it deleted after
// DeleteGrace. Until then an owner can restore it. It needs a fresh proof. All owners
// get a letter. Asked again it says the same, and sends none.
func (f *Flows) DeleteWorkspace(ctx context.Context, who corp.Identity, again Again, ws corp.WorkspaceID, from Caller) (time.Time, error) {
	name, err := f.owned(ctx, who, again, ws, from)
	if err != nil {
		return time.Time{}, err
	}
	owners, err := f.People.In(ws).Owners(ctx)
	if err != nil {
		return time.Time{}, err
	}
	d, err := f.People.In(ws).DeleteWorkspace(ctx, who.Actor, who.User, DeleteGrace)
	if err != nil || !d.Begun {
		return d.At, err
	}
	for _, owner := range owners {
		f.notify(ctx, owner.Email, fmt.Sprintf("The workspace %s is out of use, and is going to be deleted on %s. Until then its owners can restore it.", named(name), d.At.UTC().Format("2 January 2006")), from)
	}
	return d.At, nil
}

// owned returns the name of a workspace that the person owns, after a fresh proof.
// One where they are no member looks like one that is not there.
func (f *Flows) owned(ctx context.Context, who corp.Identity, again Again, ws corp.WorkspaceID, from Caller) (name string, err error) {
	m, err := f.membership(ctx, who, ws)
	switch {
	case err != nil:
		return "", err
	case !m.Role.May(corp.WorkspaceOwn):
		return "", &corp.Error{Kind: corp.KindForbidden, Message: "This is its owners' to do.", Hint: "Ask an owner of the workspace."}
	}
	return m.Name, f.Fresh(ctx, who, again, from)
}

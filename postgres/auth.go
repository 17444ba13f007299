package postgres

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// What an Identity of a runner says about where the runner belongs.
const (
	RunnerPool      = "pool"
	RunnerWorkspace = "workspace"
)

// Key returns who holds the API key, runner key or operator key with this hash.
// One that is unknown, expired or revoked, or whose workspace is archived, is
// unauthenticated; one of a suspended workspace says so in the identity.
func (a AuthDB) Key(ctx context.Context, hash []byte) (corp.Identity, error) {
	type key struct {
		WorkspaceID corp.WorkspaceID
		ID          [16]byte
		Name        string
		Role        corp.Role
		Pool        bool
		UserID      corp.UserID
		Scopes      []corp.Action
		Addresses   []string
		Plan, Slug  *string
		Suspended   bool
	}
	found, ok, err := door.LookUp(ctx, a.door, pgx.RowToStructByName[key], `SELECT workspace_id, id, name, role, pool, user_id, scopes, addresses, plan, slug, suspended FROM auth_key($1)`, hash)
	if err != nil {
		return corp.Identity{}, err
	}
	if !ok {
		return corp.Identity{}, &corp.Error{Kind: corp.KindUnauthenticated, Message: "This key is not valid.", Hint: "It may have expired or been revoked: ask an admin of the workspace for another."}
	}
	who := corp.Identity{Workspace: found.WorkspaceID, User: found.UserID, Role: found.Role, Scopes: found.Scopes, Name: found.Name, Suspended: found.Suspended}
	if who.Addresses, err = networks(found.Addresses); err != nil {
		return corp.Identity{}, err
	}
	switch {
	case found.Pool:
		who.Via = corp.Actor(corp.OperatorID(found.ID).String())
	default:
		who.Via = corp.Actor(corp.APIKeyID(found.ID).String())
		who.Plan, who.Slug = *found.Plan, *found.Slug
	}
	if who.Actor = who.Via; !found.UserID.IsZero() {
		who.Actor = corp.Actor(found.UserID.String())
	}
	if found.Role == corp.RoleRunner {
		who.Runner = RunnerWorkspace
		if found.Pool {
			who.Runner = RunnerPool
		}
	}
	return who, nil
}

// networks reads what was checked when the key was made.
func networks(texts []string) (found []netip.Prefix, err error) {
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("read a key's networks: %w", err)
		}
		found = append(found, p)
	}
	return found, nil
}

// Run returns which run's agent makes a model call. A run that is not leased has
// no key any more: unauthenticated. One of a suspended workspace is forbidden.
func (a AuthDB) Run(ctx context.Context, runKeyHash []byte) (RunIdentity, error) {
	type run struct {
		RunIdentity
		Suspended bool
	}
	found, ok, err := door.LookUp(ctx, a.door, pgx.RowToStructByName[run], `
		SELECT workspace_id AS workspace, run_id, task_id, agent_id, agent_version, epoch, trace_id, stop_reason, suspended FROM auth_run($1)`, runKeyHash)
	switch {
	case err != nil:
	case found.Suspended:
		return RunIdentity{}, corp.Suspended()
	case !ok:
		err = &corp.Error{Kind: corp.KindUnauthenticated, Message: "This run key is not valid, or its run has ended.", Hint: "Model calls need the key that the run's agent was started with."}
	}
	return found.RunIdentity, err
}

// Lease returns what a lease's secret proves about a run, also after its finish,
// until the next epoch. A secret of another epoch has lost the lease.
func (a AuthDB) Lease(ctx context.Context, run corp.RunID, secretHash []byte) (LeaseIdentity, error) {
	found, ok, err := door.LookUp(ctx, a.door, pgx.RowToStructByName[LeaseIdentity], `
		SELECT workspace_id AS workspace, epoch, state FROM auth_lease($1, $2)`, run, secretHash)
	if err == nil && !ok {
		err = corp.LeaseLost()
	}
	return found, err
}

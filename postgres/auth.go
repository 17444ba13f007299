package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
)

// What an Identity of a runner says about where the runner belongs.
const (
	RunnerPool      = "pool"
	RunnerWorkspace = "workspace"
)

// Key returns who holds the API key, runner key or operator key with this hash.
// One that is unknown, expired or revoked, or whose workspace is archived, is
// unauthenticated.
func (a AuthDB) Key(ctx context.Context, hash []byte) (corp.Identity, error) {
	type key struct {
		WorkspaceID corp.WorkspaceID
		ID          [16]byte
		Name        string
		Role        corp.Role
		Pool        bool
	}
	found, ok, err := lookUp(ctx, a, pgx.RowToStructByName[key], `SELECT workspace_id, id, name, role, pool FROM auth_key($1)`, hash)
	if err != nil {
		return corp.Identity{}, err
	}
	if !ok {
		return corp.Identity{}, &corp.Error{Kind: corp.KindUnauthenticated, Message: "This key is not valid.", Hint: "It may have expired or been revoked: ask an admin of the workspace for another."}
	}
	who := corp.Identity{Workspace: found.WorkspaceID, Role: found.Role, Name: found.Name}
	if found.Pool {
		who.Actor = corp.Actor(corp.OperatorID(found.ID).String())
	} else {
		who.Actor = corp.Actor(corp.APIKeyID(found.ID).String())
	}
	if found.Role == corp.RoleRunner {
		who.Runner = RunnerWorkspace
		if found.Pool {
			who.Runner = RunnerPool
		}
	}
	return who, nil
}

// Run returns which run's agent makes a model call. A run that is not leased has
// no key any more: unauthenticated.
func (a AuthDB) Run(ctx context.Context, runKeyHash []byte) (RunIdentity, error) {
	found, ok, err := lookUp(ctx, a, pgx.RowToStructByName[RunIdentity], `
		SELECT workspace_id AS workspace, run_id, task_id, agent_id, agent_version, epoch, trace_id, stop_reason FROM auth_run($1)`, runKeyHash)
	if err == nil && !ok {
		err = &corp.Error{Kind: corp.KindUnauthenticated, Message: "This run key is not valid, or its run has ended.", Hint: "Model calls need the key that the run's agent was started with."}
	}
	return found, err
}

// Lease returns what a lease's secret proves about a run, also after its finish,
// until the next epoch. A secret of another epoch has lost the lease.
func (a AuthDB) Lease(ctx context.Context, run corp.RunID, secretHash []byte) (LeaseIdentity, error) {
	found, ok, err := lookUp(ctx, a, pgx.RowToStructByName[LeaseIdentity], `
		SELECT workspace_id AS workspace, epoch, state FROM auth_lease($1, $2)`, run, secretHash)
	if err == nil && !ok {
		err = corp.LeaseLost()
	}
	return found, err
}

// lookUp asks one of the functions that may see past the workspaces. One
// statement needs no settings: the functions read by index.
func lookUp[T any](ctx context.Context, a AuthDB, scan pgx.RowToFunc[T], sql string, args ...any) (found T, ok bool, err error) {
	err = a.db.retry(ctx, func() error {
		rows, err := a.db.app.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		all, err := pgx.CollectRows(rows, scan)
		if err == nil && len(all) > 0 {
			found, ok = all[0], true
		}
		return err
	})
	return found, ok, err
}

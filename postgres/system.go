package postgres

import (
	"context"
	"fmt"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

var slugPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{1,38}[a-z0-9]$`)

// CreateWorkspace makes a tenant with no budget limit. A slug in use, or in use until
// lately, is a conflict; a plan that does not exist is invalid.
func (s SystemDB) CreateWorkspace(ctx context.Context, actor corp.Actor, slug, name, plan string) (made corp.Workspace, err error) {
	return s.createWorkspace(ctx, actor, slug, name, plan, func(context.Context, pgx.Tx, corp.WorkspaceID) error { return nil })
}

// maxOwned is how many workspaces a person may own and still found another.
const maxOwned = 20

// FoundWorkspace makes a tenant whose owner is the person. Who owns 20, those that are
// being deleted included, founds no more: a limit. Who is leaving or kept out is not found.
func (s SystemDB) FoundWorkspace(ctx context.Context, owner corp.UserID, slug, name, plan string) (made corp.Workspace, err error) {
	actor := corp.Actor(owner.String())
	return s.createWorkspace(ctx, actor, slug, name, plan, func(ctx context.Context, tx pgx.Tx, ws corp.WorkspaceID) error {
		if err := mayFound(ctx, tx, owner); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO members (workspace_id, user_id, role, created_by) VALUES ($1, $2, 'owner', $3)`, ws, owner, actor)
		return err
	})
}

// mayFound locks the person, as asking for the account's deletion does, and counts in a
// statement of its own: what was founded while it waited is counted.
func mayFound(ctx context.Context, tx pgx.Tx, owner corp.UserID) error {
	if _, err := door.CollectOne(ctx, tx, "person", pgx.RowTo[bool], `SELECT true FROM users WHERE user_id = $1 AND delete_after IS NULL AND disabled_at IS NULL FOR NO KEY UPDATE`, owner); err != nil {
		return err
	}
	var owned int
	if err := tx.QueryRow(ctx, `SELECT count(*) FROM members WHERE user_id = $1 AND role = 'owner'`, owner).Scan(&owned); err != nil {
		return err
	}
	if owned >= maxOwned {
		return &corp.Error{Kind: corp.KindLimit, Code: "too_many_workspaces", Message: fmt.Sprintf("Who owns %d workspaces makes no more.", maxOwned), Hint: "Hand one over, or delete one: it counts until it is gone."}
	}
	return nil
}

func (s SystemDB) createWorkspace(ctx context.Context, actor corp.Actor, slug, name, plan string, also func(context.Context, pgx.Tx, corp.WorkspaceID) error) (made corp.Workspace, err error) {
	if !slugPattern.MatchString(slug) {
		return made, corp.Invalid("slug", "The short name must be 3 to 40 lower-case letters, digits and dashes, and no dash at its ends.", "Write it like acme-tools.")
	}
	if corp.ReservedSlug(slug) {
		return made, corp.Invalid("slug", fmt.Sprintf("The short name %q is kept for the installation itself.", slug), "Choose another, like "+slug+"-team.")
	}
	ws := corp.NewID[corp.WorkspaceID]()
	door.Describe(ctx, ws.String(), map[string]string{"slug": slug, "plan": plan})
	err = s.door.In(ctx, func(tx pgx.Tx) error {
		var known bool
		if err := tx.QueryRow(ctx, `SELECT count(*) = 1 FROM plans WHERE name = $1`, plan).Scan(&known); err != nil {
			return err
		}
		if !known {
			return corp.Invalid("plan", "There is no plan of this name.", "The plans are free, starter, growth, pro, enterprise and unlimited.")
		}
		var b door.Batch
		b.Queue(`INSERT INTO workspaces (workspace_id, slug, name, plan, created_by) VALUES ($1, $2, $3, $4, $5)`, ws, slug, name, plan, actor)
		b.Queue(`INSERT INTO event_heads (workspace_id) VALUES ($1)`, ws)
		b.Queue(`INSERT INTO budgets (workspace_id, id) VALUES ($1, $2)`, ws, corp.NewID[corp.BudgetID]())
		if err := door.Send(ctx, tx, &b); err != nil {
			return err
		}
		if err := notFormer(ctx, tx, slug); err != nil {
			return err
		}
		if err := also(ctx, tx, ws); err != nil {
			return err
		}
		door.Say(tx, Notice{Kind: NoticeLimits, Workspace: ws})
		made, err = door.CollectOne(ctx, tx, "workspace", scanWorkspace, selectWorkspaces+`WHERE w.workspace_id = $1`, ws)
		return err
	})
	return made, err
}

// notFormer refuses the slug of a workspace that was deleted less than 90 days ago:
// links to it are still around. It is asked once the slug is ours, so that a deletion
// of the same moment is seen.
func notFormer(ctx context.Context, tx pgx.Tx, slug string) error {
	var former bool
	err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM former_slugs WHERE slug = $1 AND since > now() - interval '90 days')`, slug).Scan(&former)
	if err == nil && former {
		err = &corp.Error{Kind: corp.KindConflict, Field: "slug", Message: "A workspace with this short name was deleted lately.", Hint: "Choose another one; this one is free 90 days after the deletion."}
	}
	return err
}

// Workspaces lists the tenants, newest first.
func (s SystemDB) Workspaces(ctx context.Context, p corp.Page) (corp.List[corp.Workspace], error) {
	from, limit, err := door.Start(p)
	if err != nil {
		return corp.List[corp.Workspace]{}, err
	}
	found, err := door.QuerySystem(ctx, s.door, scanWorkspace, selectWorkspaces+`
		WHERE (w.created_at, w.workspace_id) < ($1, $2) ORDER BY w.created_at DESC, w.workspace_id DESC LIMIT $3`, from.At, from.ID, limit+1)
	return door.Page(found, limit, func(w corp.Workspace) door.Position { return door.At(w.CreatedAt, w.ID) }), err
}

// CreateOperatorKey adds a credential of the installation: an operator's or a
// pool runner's. The hash is all that is kept of its secret.
func (s SystemDB) CreateOperatorKey(ctx context.Context, id corp.OperatorID, name string, role corp.Role, prefix string, hash []byte) error {
	if role != corp.RoleOperator && role != corp.RoleRunner {
		return corp.Invalid("role", "An operator key is an operator's or a runner's.", "Keys of other roles belong to a workspace.")
	}
	_, err := door.ExecSystem(ctx, s.door, `
		INSERT INTO operator_keys (id, name, role, prefix, hash, created_by) VALUES ($1, $2, $3, $4, $5, $6)`, id, name, role, prefix, hash, corp.ActorSystem)
	return err
}

// RevokeOperatorKey makes a credential of the installation worthless from now on.
func (s SystemDB) RevokeOperatorKey(ctx context.Context, id corp.OperatorID) error {
	n, err := door.ExecSystem(ctx, s.door, `UPDATE operator_keys SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1`, id)
	if err == nil && n == 0 {
		err = corp.NotFound("key")
	}
	return err
}

// SetInstallationProviders makes these the vendor accounts that every workspace
// may use; one that is not among them is archived. A name keeps its id.
func (s SystemDB) SetInstallationProviders(ctx context.Context, providers []InstallationProvider) error {
	return s.door.In(ctx, func(tx pgx.Tx) error {
		names := make([]string, len(providers))
		var b door.Batch
		for i, p := range providers {
			names[i] = p.Name
			id, actor := p.ID, p.CreatedBy
			if id.IsZero() {
				id = corp.NewID[corp.ProviderID]()
			}
			if actor == "" {
				actor = corp.ActorSystem
			}
			b.Queue(`
				INSERT INTO installation_providers (id, name, dialect, base_url, vendor, key_env, created_by) VALUES ($1, $2, $3, $4, $5, $6, $7)
				ON CONFLICT (name) DO UPDATE SET dialect = excluded.dialect, base_url = excluded.base_url, vendor = excluded.vendor,
					key_env = excluded.key_env, archived_at = NULL`, id, p.Name, p.Dialect, p.BaseURL, vendorOf(p.ProviderSpec), p.KeyEnv, actor)
		}
		b.Queue(`UPDATE installation_providers SET archived_at = now() WHERE archived_at IS NULL AND NOT name = ANY($1)`, names)
		return door.Send(ctx, tx, &b)
	})
}

// OpenAllowances returns what a server holds, of all workspaces: the tasks' before
// the workspace's, the order in which to close them.
func (s SystemDB) OpenAllowances(ctx context.Context, server corp.ServerID) ([]AllowanceRef, error) {
	return door.QuerySystem(ctx, s.door, pgx.RowToStructByName[AllowanceRef], `
		SELECT a.workspace_id AS workspace, a.id AS allowance_id, a.budget_id
		FROM allowances a JOIN budgets b ON b.workspace_id = a.workspace_id AND b.id = a.budget_id
		WHERE a.server_id = $1 AND a.closed_at IS NULL ORDER BY a.workspace_id, b.task_id IS NULL, a.id`, server)
}

// DropIdempotencyKeys forgets requests that are older than this.
func (s SystemDB) DropIdempotencyKeys(ctx context.Context, olderThan time.Duration) (n int, err error) {
	gone, err := door.ExecSystem(ctx, s.door, `DELETE FROM idempotency_keys WHERE created_at < now() - $1::bigint * interval '1 millisecond'`, olderThan.Milliseconds())
	return int(gone), err
}

package postgres

import (
	"context"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
)

var slugPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{1,38}[a-z0-9]$`)

// CreateWorkspace makes a tenant with no budget limit. A slug in use is a
// conflict; a plan that does not exist is invalid.
func (s SystemDB) CreateWorkspace(ctx context.Context, actor corp.Actor, slug, name, plan string) (made corp.Workspace, err error) {
	if !slugPattern.MatchString(slug) {
		return made, corp.Invalid("slug", "The short name must be 3 to 40 lower-case letters, digits and dashes, and no dash at its ends.", "Write it like acme-tools.")
	}
	ws := corp.NewID[corp.WorkspaceID]()
	err = s.in(ctx, func(tx pgx.Tx) error {
		var known bool
		if err := tx.QueryRow(ctx, `SELECT count(*) = 1 FROM plans WHERE name = $1`, plan).Scan(&known); err != nil {
			return err
		}
		if !known {
			return corp.Invalid("plan", "There is no plan of this name.", "The plans are free, starter, growth, pro, enterprise and unlimited.")
		}
		var b batch
		b.Queue(`INSERT INTO workspaces (workspace_id, slug, name, plan, created_by) VALUES ($1, $2, $3, $4, $5)`, ws, slug, name, plan, actor)
		b.Queue(`INSERT INTO event_heads (workspace_id) VALUES ($1)`, ws)
		b.Queue(`INSERT INTO budgets (workspace_id, id) VALUES ($1, $2)`, ws, corp.NewID[corp.BudgetID]())
		if err := send(ctx, tx, &b); err != nil {
			return err
		}
		say(tx, Notice{Kind: NoticeLimits, Workspace: ws})
		made, err = collectOne(ctx, tx, "workspace", scanWorkspace, selectWorkspaces+`WHERE w.workspace_id = $1`, ws)
		return err
	})
	return made, err
}

// Workspaces lists the tenants, newest first.
func (s SystemDB) Workspaces(ctx context.Context, p corp.Page) (corp.List[corp.Workspace], error) {
	from, limit, err := start(p)
	if err != nil {
		return corp.List[corp.Workspace]{}, err
	}
	found, err := querySystem(ctx, s, scanWorkspace, selectWorkspaces+`
		WHERE (w.created_at, w.workspace_id) < ($1, $2) ORDER BY w.created_at DESC, w.workspace_id DESC LIMIT $3`, from.at, from.id, limit+1)
	return page(found, limit, func(w corp.Workspace) position { return position{w.CreatedAt, w.ID} }), err
}

// CreateOperatorKey adds a credential of the installation: an operator's or a
// pool runner's. The hash is all that is kept of its secret.
func (s SystemDB) CreateOperatorKey(ctx context.Context, id corp.OperatorID, name string, role corp.Role, prefix string, hash []byte) error {
	if role != corp.RoleOperator && role != corp.RoleRunner {
		return corp.Invalid("role", "An operator key is an operator's or a runner's.", "Keys of other roles belong to a workspace.")
	}
	_, err := execSystem(ctx, s, `
		INSERT INTO operator_keys (id, name, role, prefix, hash, created_by) VALUES ($1, $2, $3, $4, $5, $6)`, id, name, role, prefix, hash, corp.ActorSystem)
	return err
}

// RevokeOperatorKey makes a credential of the installation worthless from now on.
func (s SystemDB) RevokeOperatorKey(ctx context.Context, id corp.OperatorID) error {
	n, err := execSystem(ctx, s, `UPDATE operator_keys SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1`, id)
	if err == nil && n == 0 {
		err = corp.NotFound("key")
	}
	return err
}

// SetInstallationProviders makes these the vendor accounts that every workspace
// may use; one that is not among them is archived. A name keeps its id.
func (s SystemDB) SetInstallationProviders(ctx context.Context, providers []InstallationProvider) error {
	return s.in(ctx, func(tx pgx.Tx) error {
		names := make([]string, len(providers))
		var b batch
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
		return send(ctx, tx, &b)
	})
}

// OpenAllowances returns what a server holds, of all workspaces: the tasks' before
// the workspace's, the order in which to close them.
func (s SystemDB) OpenAllowances(ctx context.Context, server corp.ServerID) ([]AllowanceRef, error) {
	return querySystem(ctx, s, pgx.RowToStructByName[AllowanceRef], `
		SELECT a.workspace_id AS workspace, a.id AS allowance_id, a.budget_id
		FROM allowances a JOIN budgets b ON b.workspace_id = a.workspace_id AND b.id = a.budget_id
		WHERE a.server_id = $1 AND a.closed_at IS NULL ORDER BY a.workspace_id, b.task_id IS NULL, a.id`, server)
}

// DropIdempotencyKeys forgets requests that are older than this.
func (s SystemDB) DropIdempotencyKeys(ctx context.Context, olderThan time.Duration) (n int, err error) {
	gone, err := execSystem(ctx, s, `DELETE FROM idempotency_keys WHERE created_at < now() - $1::bigint * interval '1 millisecond'`, olderThan.Milliseconds())
	return int(gone), err
}

package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
)

const repositoryColumns = `id, name, url, default_base, concurrency, credential IS NOT NULL AS has_credential, created_by, created_at, archived_at`

var scanRepository = pgx.RowToStructByName[corp.Repository]

// CreateRepository adds a git source with its sealed credential, nil for none. A
// name in use is a conflict.
func (w WorkspaceDB) CreateRepository(ctx context.Context, actor corp.Actor, id corp.RepositoryID, spec corp.RepositorySpec, sealedCredential []byte) (made corp.Repository, err error) {
	err = w.in(ctx, func(tx pgx.Tx) error {
		made, err = collectOne(ctx, tx, "repository", scanRepository, `
			INSERT INTO repositories (workspace_id, id, name, url, default_base, credential, created_by)
			VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING `+repositoryColumns, w.ws, id, spec.Name, spec.URL, spec.DefaultBase, sealedCredential, actor)
		if err != nil {
			return err
		}
		return w.emit(ctx, tx, event{kind: "repository.created", data: about{id.String(), spec.Name, actor}})
	})
	return made, err
}

// Repository returns one git source, archived or not.
func (w WorkspaceDB) Repository(ctx context.Context, id corp.RepositoryID) (corp.Repository, error) {
	return queryOne(ctx, w, "repository", scanRepository, `SELECT `+repositoryColumns+` FROM repositories WHERE workspace_id = $1 AND id = $2`, id)
}

// Repositories lists the git sources that are not archived.
func (w WorkspaceDB) Repositories(ctx context.Context, p corp.Page) (corp.List[corp.Repository], error) {
	from, limit, err := start(p)
	if err != nil {
		return corp.List[corp.Repository]{}, err
	}
	found, err := query(ctx, w, scanRepository, `
		SELECT `+repositoryColumns+` FROM repositories
		WHERE workspace_id = $1 AND archived_at IS NULL AND (created_at, id) < ($2, $3)
		ORDER BY created_at DESC, id DESC LIMIT $4`, from.at, from.id, limit+1)
	return page(found, limit, func(r corp.Repository) position { return position{r.CreatedAt, r.ID} }), err
}

// LimitRepository says how many runs on a git source may be leased at a time; 0 is
// no limit of its own. A lowered limit stops no run. An archived one cannot be
// changed.
func (w WorkspaceDB) LimitRepository(ctx context.Context, actor corp.Actor, id corp.RepositoryID, concurrency int) (changed corp.Repository, err error) {
	err = w.in(ctx, func(tx pgx.Tx) error {
		if err := w.limit(ctx, tx, "repositories", "repository", id, concurrency); err != nil {
			return err
		}
		changed, err = collectOne(ctx, tx, "repository", scanRepository, `SELECT `+repositoryColumns+` FROM repositories WHERE workspace_id = $1 AND id = $2`, w.ws, id)
		if err != nil {
			return err
		}
		return w.emit(ctx, tx, event{kind: "repository.limited", data: about{id.String(), changed.Name, actor}})
	})
	return changed, err
}

// ArchiveRepository puts a git source away and forgets its credential. Tasks that
// name it keep the rest.
func (w WorkspaceDB) ArchiveRepository(ctx context.Context, actor corp.Actor, id corp.RepositoryID) (gone corp.Repository, err error) {
	err = w.in(ctx, func(tx pgx.Tx) error {
		changed, err := archive(ctx, tx, w.ws, "repositories", id)
		if err != nil {
			return err
		}
		gone, err = collectOne(ctx, tx, "repository", scanRepository, `
			UPDATE repositories SET credential = NULL WHERE workspace_id = $1 AND id = $2 RETURNING `+repositoryColumns, w.ws, id)
		if err != nil || !changed {
			return err
		}
		return w.emit(ctx, tx, event{kind: "repository.archived", data: about{id.String(), gone.Name, actor}})
	})
	return gone, err
}

// RepositoryCredential returns the sealed credential of a git source, nil when it
// has none.
func (w WorkspaceDB) RepositoryCredential(ctx context.Context, id corp.RepositoryID) (sealed []byte, err error) {
	return queryOne(ctx, w, "repository", pgx.RowTo[[]byte], `SELECT credential FROM repositories WHERE workspace_id = $1 AND id = $2`, id)
}

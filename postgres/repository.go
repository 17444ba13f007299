package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

const repositoryColumns = `id, name, url, default_base, concurrency, credential IS NOT NULL AS has_credential, created_by, created_at, archived_at`

var scanRepository = pgx.RowToStructByName[corp.Repository]

// CreateRepository adds a git source with its sealed credential, nil for none. A
// name in use is a conflict.
func (w WorkspaceDB) CreateRepository(ctx context.Context, actor corp.Actor, id corp.RepositoryID, spec corp.RepositorySpec, sealedCredential []byte) (made corp.Repository, err error) {
	err = w.door.In(ctx, func(tx pgx.Tx) error {
		made, err = door.CollectOne(ctx, tx, "repository", scanRepository, `
			INSERT INTO repositories (workspace_id, id, name, url, default_base, credential, created_by)
			VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING `+repositoryColumns, w.door.ID, id, spec.Name, spec.URL, spec.DefaultBase, sealedCredential, actor)
		if err != nil {
			return err
		}
		w.door.Emit(tx, door.Event{Kind: "repository.created", Data: door.About{ID: id.String(), Name: spec.Name, By: actor}})
		return nil
	})
	return made, err
}

// Repository returns one git source, archived or not.
func (w WorkspaceDB) Repository(ctx context.Context, id corp.RepositoryID) (corp.Repository, error) {
	return door.QueryOne(ctx, w.door, "repository", scanRepository, `SELECT `+repositoryColumns+` FROM repositories WHERE workspace_id = $1 AND id = $2`, id)
}

// Repositories lists the git sources that are not archived.
func (w WorkspaceDB) Repositories(ctx context.Context, p corp.Page) (corp.List[corp.Repository], error) {
	from, limit, err := door.Start(p)
	if err != nil {
		return corp.List[corp.Repository]{}, err
	}
	found, err := door.Query(ctx, w.door, scanRepository, `
		SELECT `+repositoryColumns+` FROM repositories
		WHERE workspace_id = $1 AND archived_at IS NULL AND (created_at, id) < ($2, $3)
		ORDER BY created_at DESC, id DESC LIMIT $4`, from.At, from.ID, limit+1)
	return door.Page(found, limit, func(r corp.Repository) door.Position { return door.At(r.CreatedAt, r.ID) }), err
}

// LimitRepository says how many runs on a git source may be leased at a time; 0 is
// no limit of its own. A lowered limit stops no run. An archived one cannot be
// changed.
func (w WorkspaceDB) LimitRepository(ctx context.Context, actor corp.Actor, id corp.RepositoryID, concurrency int) (changed corp.Repository, err error) {
	err = w.door.In(ctx, func(tx pgx.Tx) error {
		if err := w.limit(ctx, tx, "repositories", "repository", id, concurrency); err != nil {
			return err
		}
		changed, err = door.CollectOne(ctx, tx, "repository", scanRepository, `SELECT `+repositoryColumns+` FROM repositories WHERE workspace_id = $1 AND id = $2`, w.door.ID, id)
		if err != nil {
			return err
		}
		w.door.Emit(tx, door.Event{Kind: "repository.limited", Data: door.About{ID: id.String(), Name: changed.Name, By: actor}})
		return nil
	})
	return changed, err
}

// ArchiveRepository puts a git source away and forgets its credential. Tasks that
// name it keep the rest.
func (w WorkspaceDB) ArchiveRepository(ctx context.Context, actor corp.Actor, id corp.RepositoryID) (gone corp.Repository, err error) {
	err = w.door.In(ctx, func(tx pgx.Tx) error {
		changed, err := archive(ctx, tx, w.door.ID, "repositories", id)
		if err != nil {
			return err
		}
		gone, err = door.CollectOne(ctx, tx, "repository", scanRepository, `
			UPDATE repositories SET credential = NULL WHERE workspace_id = $1 AND id = $2 RETURNING `+repositoryColumns, w.door.ID, id)
		if err != nil || !changed {
			return err
		}
		w.door.Emit(tx, door.Event{Kind: "repository.archived", Data: door.About{ID: id.String(), Name: gone.Name, By: actor}})
		return nil
	})
	return gone, err
}

// RepositoryCredential returns the sealed credential of a git source, nil when it
// has none.
func (w WorkspaceDB) RepositoryCredential(ctx context.Context, id corp.RepositoryID) (sealed []byte, err error) {
	return door.QueryOne(ctx, w.door, "repository", pgx.RowTo[[]byte], `SELECT credential FROM repositories WHERE workspace_id = $1 AND id = $2`, id)
}

package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
)

const blobColumns = `id, kind, size, sha256, created_by, created_at`

// CreateBlob writes down bytes that are in the blob store already: size in bytes,
// the hash in hexadecimal. The id is the caller's.
func (w WorkspaceDB) CreateBlob(ctx context.Context, actor corp.Actor, blob corp.Blob) (corp.Blob, error) {
	return queryOne(ctx, w, "file", pgx.RowToStructByName[corp.Blob], `
		INSERT INTO blobs (workspace_id, id, kind, size, sha256, created_by) VALUES ($1, $2, $3, $4, $5, $6)
		RETURNING `+blobColumns, blob.ID, blob.Kind, blob.Size, blob.SHA256, actor)
}

// Blob returns the row of stored bytes.
func (w WorkspaceDB) Blob(ctx context.Context, id corp.BlobID) (corp.Blob, error) {
	return queryOne(ctx, w, "file", pgx.RowToStructByName[corp.Blob], `SELECT `+blobColumns+` FROM blobs WHERE workspace_id = $1 AND id = $2`, id)
}

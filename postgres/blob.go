package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

const blobColumns = `id, kind, size, sha256, created_by, created_at`

// CreateBlob writes down bytes that are in the blob store already: size in bytes,
// the hash in hexadecimal. The id is the caller's.
func (w WorkspaceDB) CreateBlob(ctx context.Context, actor corp.Actor, blob corp.Blob) (corp.Blob, error) {
	door.Describe(ctx, blob.ID.String(), nil)
	return door.QueryOne(ctx, w.door, "file", pgx.RowToStructByName[corp.Blob], `
		INSERT INTO blobs (workspace_id, id, kind, size, sha256, created_by) VALUES ($1, $2, $3, $4, $5, $6)
		RETURNING `+blobColumns, blob.ID, blob.Kind, blob.Size, blob.SHA256, actor)
}

// Blob returns the row of stored bytes. When the bytes are no longer kept it is
// not found, file_gone.
func (w WorkspaceDB) Blob(ctx context.Context, id corp.BlobID) (corp.Blob, error) {
	type row struct {
		corp.Blob
		ExpiredAt *time.Time
	}
	found, err := door.QueryOne(ctx, w.door, "file", pgx.RowToStructByName[row], `SELECT `+blobColumns+`, expired_at FROM blobs WHERE workspace_id = $1 AND id = $2`, id)
	if err == nil && found.ExpiredAt != nil {
		return corp.Blob{}, fileGone("This file is no longer kept.", "Your operator decides how long files are kept after the task that they belong to has ended.")
	}
	return found.Blob, err
}

func fileGone(message, hint string) error {
	return &corp.Error{Kind: corp.KindNotFound, Code: "file_gone", Message: message, Hint: hint}
}

// sourceGone says whether the uploaded source of task t is no longer kept.
const sourceGone = `EXISTS (SELECT FROM blobs b WHERE b.workspace_id = t.workspace_id AND b.id = t.source_id AND b.expired_at IS NOT NULL)`

// BlobRef names stored bytes of any workspace.
type BlobRef struct {
	Workspace corp.WorkspaceID
	ID        corp.BlobID
}

// ExpireBlobs makes stored bytes unreadable that are older than keep and that no
// task needs which is open or ended within that time, and no schedule that may
// submit more. It returns how many, at most limit. Their rows stay.
func (s SystemDB) ExpireBlobs(ctx context.Context, keep time.Duration, limit int) (int, error) {
	n, err := door.ExecSystem(ctx, s.door, `
		WITH over AS (
			SELECT clock_timestamp() - $1::bigint * interval '1 millisecond' AS cutoff
		), unneeded AS (
			SELECT b.workspace_id, b.id FROM blobs b, over
			WHERE b.expired_at IS NULL AND b.created_at < over.cutoff
				AND NOT EXISTS (
					SELECT FROM tasks t WHERE t.workspace_id = b.workspace_id AND t.source_id = b.id AND (t.state IN ('queued', 'running', 'blocked') OR t.finished_at >= over.cutoff))
				AND NOT EXISTS (
					SELECT FROM runs r JOIN tasks t ON t.workspace_id = r.workspace_id AND t.id = r.task_id
					WHERE r.workspace_id = b.workspace_id AND r.result_id = b.id AND (t.state IN ('queued', 'running', 'blocked') OR t.finished_at >= over.cutoff))
				AND NOT EXISTS (
					SELECT FROM runs r JOIN tasks t ON t.workspace_id = r.workspace_id AND t.id = r.task_id
					WHERE r.workspace_id = b.workspace_id AND r.patch_id = b.id AND (t.state IN ('queued', 'running', 'blocked') OR t.finished_at >= over.cutoff))
				AND NOT EXISTS (SELECT FROM schedules s WHERE s.workspace_id = b.workspace_id AND s.source_id = b.id AND s.archived_at IS NULL)
			ORDER BY b.created_at LIMIT $2
		)
		UPDATE blobs b SET expired_at = clock_timestamp() FROM unneeded u
		WHERE b.workspace_id = u.workspace_id AND b.id = u.id AND b.expired_at IS NULL`, keep.Milliseconds(), limit)
	return int(n), err
}

// ExpiredBlobs returns stored bytes that nobody can read any more and that were
// not removed yet, at most limit.
func (s SystemDB) ExpiredBlobs(ctx context.Context, limit int) ([]BlobRef, error) {
	return door.QuerySystem(ctx, s.door, pgx.RowToStructByName[BlobRef], `
		SELECT workspace_id AS workspace, id FROM blobs WHERE expired_at IS NOT NULL AND removed_at IS NULL ORDER BY expired_at, id LIMIT $1`, limit)
}

// BlobsRemoved writes down that the bytes of expired blobs are gone.
func (s SystemDB) BlobsRemoved(ctx context.Context, gone []BlobRef) error {
	workspaces, ids := make([]corp.WorkspaceID, len(gone)), make([]corp.BlobID, len(gone))
	for i, b := range gone {
		workspaces[i], ids[i] = b.Workspace, b.ID
	}
	_, err := door.ExecSystem(ctx, s.door, `
		UPDATE blobs b SET removed_at = clock_timestamp() FROM unnest($1::uuid[], $2::uuid[]) AS g (workspace_id, id)
		WHERE b.workspace_id = g.workspace_id AND b.id = g.id AND b.expired_at IS NOT NULL`, workspaces, ids)
	return err
}

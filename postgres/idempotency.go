package postgres

import (
	"bytes"
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// remember takes the key for a new object of an operation, or returns the object
// that has it.
func remember[I corp.AnyID](ctx context.Context, tx pgx.Tx, ws corp.WorkspaceID, operation string, idem Idempotency, id I) (I, error) {
	if idem.Key == "" {
		return id, nil
	}
	hash := idem.RequestHash
	if hash == nil {
		hash = []byte{}
	}
	// Whoever else is submitting under this key is waited for here.
	tag, err := tx.Exec(ctx, `
		INSERT INTO idempotency_keys (workspace_id, operation, key, request_hash, object_id) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT DO NOTHING`, ws, operation, idem.Key, hash, id)
	if err != nil || tag.RowsAffected() == 1 {
		return id, err
	}
	type known struct {
		RequestHash []byte
		ObjectID    I
	}
	first, err := door.CollectOne(ctx, tx, "idempotency key", pgx.RowToStructByName[known], `
		SELECT request_hash, object_id FROM idempotency_keys WHERE workspace_id = $1 AND operation = $2 AND key = $3`, ws, operation, idem.Key)
	if err == nil && !bytes.Equal(first.RequestHash, hash) {
		err = corp.Conflict("This idempotency key was used for another request.", "Use a new key for each new request.")
	}
	if err == nil {
		door.Describe(ctx, fmt.Sprint(first.ObjectID), map[string]bool{"repeated": true})
	}
	return first.ObjectID, err
}

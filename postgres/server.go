package postgres

import (
	"bytes"
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// serverSilence is how long a server may be silent before the others count it as
// offline: three of its signs of life.
const serverSilence = 30 * time.Second

// RegisterServer writes down that a process serves, and where it can be reached.
func (s SystemDB) RegisterServer(ctx context.Context, server corp.Server) error {
	_, err := door.ExecSystem(ctx, s.door, `
		INSERT INTO servers (id, address, gateway, blob_store, version) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (id) DO UPDATE SET address = excluded.address, gateway = excluded.gateway, blob_store = excluded.blob_store,
			version = excluded.version, seen_at = clock_timestamp()`, server.ID, server.Address, server.Gateway, server.BlobStore, server.Version)
	return err
}

// TouchServer says that a server lives.
func (s SystemDB) TouchServer(ctx context.Context, id corp.ServerID) error {
	n, err := door.ExecSystem(ctx, s.door, `UPDATE servers SET seen_at = clock_timestamp() WHERE id = $1`, id)
	if err == nil && n == 0 {
		err = corp.NotFound("server")
	}
	return err
}

// Servers lists the servers that serve or did not leave in good order, newest first.
func (s SystemDB) Servers(ctx context.Context, p corp.Page) (corp.List[corp.Server], error) {
	from, limit, err := door.Start(p)
	if err != nil {
		return corp.List[corp.Server]{}, err
	}
	found, err := door.QuerySystem(ctx, s.door, pgx.RowToStructByName[corp.Server], `
		SELECT id, address, gateway, blob_store, version, started_at, seen_at,
			CASE WHEN seen_at < clock_timestamp() - $4::bigint * interval '1 millisecond' THEN 'offline' ELSE 'online' END AS state,
			EXISTS (SELECT FROM leaders l WHERE l.shard = 0 AND l.holder = s.id AND l.expires_at > clock_timestamp()) AS leading
		FROM servers s WHERE (started_at, id) < ($1, $2) ORDER BY started_at DESC, id DESC LIMIT $3`,
		from.At, from.ID, limit+1, serverSilence.Milliseconds())
	return door.Page(found, limit, func(s corp.Server) door.Position { return door.At(s.StartedAt, s.ID) }), err
}

// Gateways returns where runners reach the gateways of the servers that are
// online, the longest running first.
func (s SystemDB) Gateways(ctx context.Context) ([]string, error) {
	return door.QuerySystem(ctx, s.door, pgx.RowTo[string], `
		SELECT gateway FROM servers WHERE gateway <> '' AND seen_at >= clock_timestamp() - $1::bigint * interval '1 millisecond'
		ORDER BY started_at, id`, serverSilence.Milliseconds())
}

// LeaveServer forgets a server that ends in good order. One that still holds
// money stays until that is settled.
func (s SystemDB) LeaveServer(ctx context.Context, id corp.ServerID) error {
	_, err := door.ExecSystem(ctx, s.door, `
		DELETE FROM servers WHERE id = $1 AND NOT EXISTS (SELECT FROM allowances a WHERE a.server_id = $1 AND a.closed_at IS NULL)`, id)
	return err
}

// DeadServers returns the servers that hold open allowances and that nothing was
// heard of for so long. A server that never registered is among them.
func (s SystemDB) DeadServers(ctx context.Context, silentFor time.Duration) ([]corp.ServerID, error) {
	return door.QuerySystem(ctx, s.door, pgx.RowTo[corp.ServerID], `
		SELECT DISTINCT a.server_id FROM allowances a LEFT JOIN servers s ON s.id = a.server_id
		WHERE a.closed_at IS NULL AND coalesce(s.seen_at, '-infinity') < clock_timestamp() - $1::bigint * interval '1 millisecond'`, silentFor.Milliseconds())
}

// DropServers forgets the servers that were silent for that long and hold
// nothing any more, and returns how many.
func (s SystemDB) DropServers(ctx context.Context, silentFor time.Duration) (n int, err error) {
	gone, err := door.ExecSystem(ctx, s.door, `
		DELETE FROM servers s WHERE seen_at < clock_timestamp() - $1::bigint * interval '1 millisecond'
			AND NOT EXISTS (SELECT FROM allowances a WHERE a.server_id = s.id AND a.closed_at IS NULL)`, silentFor.Milliseconds())
	return int(gone), err
}

// AgreeOnSecret says whether check, a keyed hash, was made with the secret of the
// installation; the first server to ask decides which that is. With replace it is
// this one from now on.
func (s SystemDB) AgreeOnSecret(ctx context.Context, check []byte, replace bool) (ok bool, err error) {
	err = s.door.In(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO installation (secret_check) VALUES ($1) ON CONFLICT DO NOTHING`, check); err != nil {
			return err
		}
		if replace {
			if _, err := tx.Exec(ctx, `UPDATE installation SET secret_check = $1`, check); err != nil {
				return err
			}
		}
		var known []byte
		err := tx.QueryRow(ctx, `SELECT secret_check FROM installation`).Scan(&known)
		ok = bytes.Equal(known, check)
		return err
	})
	return ok, err
}

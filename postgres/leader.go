package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// TakeLeadership makes this server the leader, under a new term, unless another
// one is and its time has not run out. It waits for the claims of the leader
// before to commit, so that none can commit later.
func (s SystemDB) TakeLeadership(ctx context.Context, server corp.ServerID, address string, ttl time.Duration) (term int64, ok bool, err error) {
	terms, err := door.QuerySystem(ctx, s.door, pgx.RowTo[int64], `
		INSERT INTO leaders (shard, term, holder, address, expires_at)
		VALUES (0, 1, $1, $2, clock_timestamp() + $3::bigint * interval '1 millisecond')
		ON CONFLICT (shard) DO UPDATE SET term = leaders.term + 1, holder = excluded.holder, address = excluded.address, expires_at = excluded.expires_at
			WHERE leaders.expires_at <= clock_timestamp() OR leaders.holder = excluded.holder
		RETURNING term`, server, address, ttl.Milliseconds())
	if err != nil || len(terms) == 0 {
		return 0, false, err
	}
	return terms[0], true, nil
}

// RenewLeadership prolongs a term. It also does so after the term's time ran out,
// as long as nobody has begun the next one: then nobody else has led meanwhile.
func (s SystemDB) RenewLeadership(ctx context.Context, server corp.ServerID, term int64, ttl time.Duration) (ok bool, err error) {
	n, err := door.ExecSystem(ctx, s.door, `
		UPDATE leaders SET expires_at = clock_timestamp() + $3::bigint * interval '1 millisecond'
		WHERE shard = 0 AND holder = $1 AND term = $2`, server, term, ttl.Milliseconds())
	return n == 1, err
}

// Resign ends this server's term, so that another one need not wait for it. It
// does nothing to another's.
func (s SystemDB) Resign(ctx context.Context, server corp.ServerID, term int64) error {
	_, err := door.ExecSystem(ctx, s.door, `
		UPDATE leaders SET expires_at = least(expires_at, clock_timestamp()) WHERE shard = 0 AND holder = $1 AND term = $2`, server, term)
	return err
}

// Leader returns where the leader is and its term; "" and 0 when nobody leads.
func (s SystemDB) Leader(ctx context.Context) (address string, term int64, err error) {
	type leader struct {
		Address string
		Term    int64
	}
	found, err := door.QuerySystem(ctx, s.door, pgx.RowToStructByName[leader], `SELECT address, term FROM leaders WHERE shard = 0 AND expires_at > clock_timestamp()`)
	if err != nil || len(found) == 0 {
		return "", 0, err
	}
	return found[0].Address, found[0].Term, nil
}

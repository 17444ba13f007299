package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// timeUsed is how long a run r has been carried out. Waiting does not count.
const timeUsed = `(clock_timestamp() - r.started_at - r.waited_ms * interval '1 millisecond' - coalesce(clock_timestamp() - r.waiting_since, interval '0'))`

// usedUp says whether a run r of a task t has had all its time.
const usedUp = timeUsed + ` > t.timeout_seconds * interval '1 second'`

func timeoutDetail(seconds int) string {
	return fmt.Sprintf("The run used up its time limit of %s.", time.Duration(seconds)*time.Second)
}

// BeatLeases renews a runner's leases, of whatever workspaces, in one statement,
// and answers each with ok, stop (with the reason; also when the run has used up
// its time) or lost. An offer that is not acknowledged yet is ok and not renewed.
func (s SystemDB) BeatLeases(ctx context.Context, runner corp.RunnerID, proofs []LeaseProof, ttl time.Duration) ([]corp.Verdict, error) {
	ids, epochs, hashes := make([]corp.RunID, len(proofs)), make([]int64, len(proofs)), make([][]byte, len(proofs))
	for i, p := range proofs {
		ids[i], epochs[i], hashes[i] = p.RunID, p.Epoch, p.SecretHash
	}
	type beaten struct {
		ID         corp.RunID
		StopReason corp.Reason
		StopDetail string
	}
	found, err := door.QuerySystem(ctx, s.door, pgx.RowToStructByName[beaten], `
		WITH p AS (
			SELECT * FROM unnest($2::uuid[], $3::bigint[], $4::bytea[]) AS p (id, epoch, hash) ORDER BY id
		), mine AS ( -- row by row through the index, whatever the statistics say, and in the order of the locks
			SELECT r.workspace_id, r.id, (r.state <> 'leased' AND `+usedUp+`) AS late, t.timeout_seconds
			FROM p
			CROSS JOIN LATERAL (
				SELECT r.workspace_id, r.id, r.task_id, r.runner_id, r.epoch, r.state, r.started_at, r.waited_ms, r.waiting_since
				FROM runs r WHERE r.id = p.id AND r.lease_hash = p.hash LIMIT 1 FOR NO KEY UPDATE) r
			CROSS JOIN LATERAL (
				SELECT t.timeout_seconds FROM tasks t WHERE t.workspace_id = r.workspace_id AND t.id = r.task_id LIMIT 1) t
			WHERE r.runner_id = $1 AND r.epoch = p.epoch AND r.state IN ('leased', 'running', 'waiting')
			OFFSET 0
		)
		UPDATE runs r SET
			lease_expires_at = CASE WHEN r.state = 'leased' THEN r.lease_expires_at ELSE clock_timestamp() + $5::bigint * interval '1 millisecond' END,
			stop_reason = CASE WHEN late AND r.stop_reason = '' THEN 'timeout' ELSE r.stop_reason END,
			stop_detail = CASE WHEN late AND r.stop_reason = '' THEN 'The run used up its time limit of ' || mine.timeout_seconds || ' seconds.' ELSE r.stop_detail END,
			stop_at = CASE WHEN late AND r.stop_reason = '' THEN clock_timestamp() ELSE r.stop_at END
		FROM mine WHERE r.workspace_id = mine.workspace_id AND r.id = mine.id
		RETURNING r.id, r.stop_reason, r.stop_detail`, runner, ids, epochs, hashes, ttl.Milliseconds())
	if err != nil {
		return nil, err
	}
	alive := make(map[corp.RunID]beaten, len(found))
	for _, b := range found {
		alive[b.ID] = b
	}
	verdicts := make([]corp.Verdict, len(proofs))
	for i, p := range proofs {
		b, ok := alive[p.RunID]
		switch {
		case !ok:
			verdicts[i] = corp.Verdict{RunID: p.RunID, Say: corp.VerdictLost}
		case b.StopReason != "":
			verdicts[i] = corp.Verdict{RunID: p.RunID, Say: corp.VerdictStop, Reason: b.StopReason, Detail: b.StopDetail}
		default:
			verdicts[i] = corp.Verdict{RunID: p.RunID, Say: corp.VerdictOK}
		}
	}
	return verdicts, nil
}

// ExtendLeases gives the leases that runners hold one time-to-live from now, if
// they have less: a new leader must not blame them for a silence that was the
// server's. It does nothing under a term that is over, and returns how many.
func (s SystemDB) ExtendLeases(ctx context.Context, term int64, ttl time.Duration) (n int, err error) {
	touched, err := door.ExecSystem(ctx, s.door, `
		WITH held AS (
			SELECT workspace_id, id FROM runs
			WHERE state IN ('running', 'waiting') AND EXISTS (SELECT FROM leaders WHERE shard = 0 AND term = $1)
			ORDER BY id FOR NO KEY UPDATE
		)
		UPDATE runs r SET lease_expires_at = greatest(r.lease_expires_at, clock_timestamp() + $2::bigint * interval '1 millisecond')
		FROM held WHERE r.workspace_id = held.workspace_id AND r.id = held.id`, term, ttl.Milliseconds())
	return int(touched), err
}

// ExpiredOffers returns the offers that were not acknowledged in time.
func (s SystemDB) ExpiredOffers(ctx context.Context) ([]RunRef, error) {
	return s.refs(ctx, `SELECT workspace_id AS workspace, id AS run_id, epoch FROM runs WHERE state = 'leased' AND lease_expires_at < clock_timestamp() ORDER BY lease_expires_at`)
}

// ExpiredLeases returns the acknowledged runs whose lease ran out more than the
// margin ago.
func (s SystemDB) ExpiredLeases(ctx context.Context, margin time.Duration) ([]RunRef, error) {
	return s.refs(ctx, `
		SELECT workspace_id AS workspace, id AS run_id, epoch FROM runs
		WHERE state IN ('running', 'waiting') AND lease_expires_at < clock_timestamp() - $1::bigint * interval '1 millisecond'
		ORDER BY lease_expires_at`, margin.Milliseconds())
}

// stopPatience is how much longer than the grace time a run that was told to stop
// may take: unlike a timeout, its runner hears of it only with the next heartbeat
// and has a branch to deliver.
const stopPatience = time.Minute

// OverdueRuns returns the runs that used up their time more than the grace time
// ago, or were told to stop long before that, and whose runner did not end them.
func (s SystemDB) OverdueRuns(ctx context.Context, grace time.Duration) ([]RunRef, error) {
	return s.refs(ctx, `
		SELECT r.workspace_id AS workspace, r.id AS run_id, r.epoch
		FROM runs r JOIN tasks t ON t.workspace_id = r.workspace_id AND t.id = r.task_id
		WHERE r.state IN ('running', 'waiting') AND (
			`+timeUsed+` > t.timeout_seconds * interval '1 second' + $1::bigint * interval '1 millisecond'
			OR r.stop_at < clock_timestamp() - $2::bigint * interval '1 millisecond')
		ORDER BY r.started_at`, grace.Milliseconds(), (grace + stopPatience).Milliseconds())
}

func (s SystemDB) refs(ctx context.Context, sql string, args ...any) ([]RunRef, error) {
	return door.QuerySystem(ctx, s.door, pgx.RowToStructByName[RunRef], sql, args...)
}

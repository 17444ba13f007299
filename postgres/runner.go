package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// offlineAfter is how long a runner may be silent before it is shown as offline:
// as long as it takes to lose a lease, and a heartbeat.
const offlineAfter = 45 * time.Second

// negotiate picks the newest protocol that both sides speak.
func negotiate(r corp.Registration) (int, error) {
	if !slices.Contains(r.Protocols, corp.ProtocolVersion) {
		return 0, corp.Invalid("protocols", fmt.Sprintf("This server speaks version %d of the runner protocol, the runner %v.", corp.ProtocolVersion, r.Protocols),
			"Use a runner of the server's release.")
	}
	return corp.ProtocolVersion, nil
}

// RegisterRunner makes a runner of the workspace known. The same process gets the
// same runner again.
func (w WorkspaceDB) RegisterRunner(ctx context.Context, actor corp.Actor, r corp.Registration) (made corp.Runner, err error) {
	protocol, err := negotiate(r)
	if err != nil {
		return made, err
	}
	err = w.door.In(ctx, func(tx pgx.Tx) error {
		type registered struct {
			ID  corp.RunnerID
			New bool
		}
		found, err := door.Collect(ctx, tx, pgx.RowToStructByName[registered], `
			INSERT INTO runners (workspace_id, id, name, instance, slots, labels, runtimes, sandbox, version, protocol, created_by)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
			ON CONFLICT (workspace_id, instance) DO UPDATE SET seen_at = clock_timestamp() WHERE runners.created_by = excluded.created_by
			RETURNING id, xmax = 0 AS new`,
			w.door.ID, corp.NewID[corp.RunnerID](), r.Name, r.Instance, r.Slots, door.OrEmpty(r.Labels), door.OrEmpty(r.Runtimes), r.Sandbox, r.Version, protocol, actor)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return instanceTaken()
		}
		reg := found[0]
		made, err = door.CollectOne(ctx, tx, "runner", pgx.RowToStructByName[corp.Runner], selectRunners+`WHERE id = $3`, w.door.ID, offlineAfter.Milliseconds(), reg.ID)
		if err != nil || !reg.New {
			return err
		}
		w.door.Emit(tx, door.Event{Kind: "runner.registered", Data: door.About{ID: made.ID.String(), Name: made.Name, By: actor}})
		return nil
	})
	return made, err
}

// instanceTaken refuses a process that says it is another one: instances are random.
func instanceTaken() error {
	return &corp.Error{Kind: corp.KindConflict, Code: "instance_taken", Field: "instance", Message: "A runner of this instance has registered with another key.", Hint: "Start the runner anew: each process makes an instance of its own."}
}

const ownRunner = `SELECT id, name, labels, runtimes FROM `

// OwnRunner returns a runner of the workspace that this actor registered. Another
// actor's is not found, like one that never was.
func (w WorkspaceDB) OwnRunner(ctx context.Context, actor corp.Actor, id corp.RunnerID) (KnownRunner, error) {
	return door.QueryOne(ctx, w.door, "runner", pgx.RowToStructByName[KnownRunner], ownRunner+`runners WHERE workspace_id = $1 AND id = $2 AND created_by = $3`, id, actor)
}

// OwnPoolRunner is OwnRunner for a runner of the installation.
func (s SystemDB) OwnPoolRunner(ctx context.Context, actor corp.Actor, id corp.RunnerID) (KnownRunner, error) {
	found, err := door.QuerySystem(ctx, s.door, pgx.RowToStructByName[KnownRunner], ownRunner+`pool_runners WHERE id = $1 AND created_by = $2 AND created_by <> ''`, id, actor)
	if err == nil && len(found) == 0 {
		err = corp.NotFound("runner")
	}
	if err != nil {
		return KnownRunner{}, err
	}
	return found[0], nil
}

// selectRunners reads the workspace's own runners and the pool's. What a pool
// runner holds for other workspaces is not this one's business, and not counted.
const selectRunners = `
	SELECT id, name, pool, CASE WHEN seen_at < clock_timestamp() - $2::bigint * interval '1 millisecond' THEN 'offline' WHEN draining THEN 'draining' ELSE 'online' END AS state,
		slots, labels, sandbox, version, protocol, created_at, seen_at,
		(SELECT count(*) FROM runs r WHERE r.workspace_id = $1 AND r.runner_id = u.id AND r.state IN ('leased', 'running', 'waiting')) AS leased
	FROM (
		SELECT id, name, false AS pool, slots, labels, sandbox, version, protocol, draining, created_at, seen_at FROM runners WHERE workspace_id = $1
		UNION ALL
		SELECT id, name, true, slots, labels, sandbox, version, protocol, draining, created_at, seen_at FROM pool_runners
	) u `

// Runners lists the runners that can carry out the workspace's runs, newest
// first: its own and the pool's.
func (w WorkspaceDB) Runners(ctx context.Context, p corp.Page) (corp.List[corp.Runner], error) {
	from, limit, err := door.Start(p)
	if err != nil {
		return corp.List[corp.Runner]{}, err
	}
	found, err := door.Query(ctx, w.door, pgx.RowToStructByName[corp.Runner], selectRunners+`
		WHERE (created_at, id) < ($3, $4) ORDER BY created_at DESC, id DESC LIMIT $5`, offlineAfter.Milliseconds(), from.At, from.ID, limit+1)
	return door.Page(found, limit, func(r corp.Runner) door.Position { return door.At(r.CreatedAt, r.ID) }), err
}

// RegisterPoolRunner makes a runner of the installation known, which serves every
// workspace. The same process gets the same runner again.
func (s SystemDB) RegisterPoolRunner(ctx context.Context, actor corp.Actor, r corp.Registration) (corp.Runner, error) {
	protocol, err := negotiate(r)
	if err != nil {
		return corp.Runner{}, err
	}
	door.Describe(ctx, r.Instance, nil)
	found, err := door.QuerySystem(ctx, s.door, pgx.RowToStructByName[corp.Runner], `
		INSERT INTO pool_runners (id, name, instance, slots, labels, runtimes, sandbox, version, protocol, created_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
		ON CONFLICT (instance) DO UPDATE SET seen_at = clock_timestamp() WHERE pool_runners.created_by = excluded.created_by
		RETURNING id, name, true AS pool, CASE WHEN draining THEN 'draining' ELSE 'online' END AS state, slots, labels, sandbox, version, protocol, 0 AS leased, created_at, seen_at`,
		corp.NewID[corp.RunnerID](), r.Name, r.Instance, r.Slots, door.OrEmpty(r.Labels), door.OrEmpty(r.Runtimes), r.Sandbox, r.Version, protocol, actor)
	if err == nil && len(found) == 0 {
		err = instanceTaken()
	}
	if err != nil {
		return corp.Runner{}, err
	}
	return found[0], nil
}

// TouchRunner says that a runner lives and what it has free. The zero workspace
// means a pool runner. A runner that is not known is not found: it must register
// again.
func (s SystemDB) TouchRunner(ctx context.Context, runner corp.RunnerID, ws corp.WorkspaceID, free int, draining bool) error {
	sql, args := `UPDATE pool_runners SET seen_at = clock_timestamp(), free = $2, draining = $3 WHERE id = $1`, []any{runner, free, draining}
	if !ws.IsZero() {
		sql, args = `UPDATE runners SET seen_at = clock_timestamp(), free = $2, draining = $3 WHERE id = $1 AND workspace_id = $4`, append(args, ws)
	}
	n, err := door.ExecSystem(ctx, s.door, sql, args...)
	if err == nil && n == 0 {
		err = corp.NotFound("runner")
	}
	return err
}

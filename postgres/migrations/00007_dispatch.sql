-- What the leader reads by, and less to do for every task on its way.

-- +goose Up

-- A check constraint with a function in SQL is parsed anew by every statement
-- that writes the table; one in PL/pgSQL is compiled once by each connection.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION known_reason(reason text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN reason IN ('', 'retry', 'not_acknowledged', 'released', 'dependency', 'approval', 'completed', 'check_failed', 'no_change',
        'cancelled', 'dependency_failed', 'deadline', 'timeout', 'budget', 'step_limit', 'refused', 'model_unknown', 'provider_key', 'provider_rejected',
        'provider_unavailable', 'repository', 'base', 'delivery', 'disk_full', 'sandbox', 'agent_failed', 'runner_lost', 'attempts', 'internal');
END $$;
-- +goose StatementEnd

-- These rows are written beside others that prove the workspace (event_heads,
-- tasks), and a workspace is never deleted. The check would lock its one row for
-- every event.
ALTER TABLE events DROP CONSTRAINT events_workspace_id_fkey;
ALTER TABLE idempotency_keys DROP CONSTRAINT idempotency_keys_workspace_id_fkey;

-- The head of each workspace's queue, in the order in which it is offered; what
-- was queued lately; and what has a time to wait for, until it is long due.
DROP INDEX runs_queue, runs_due;
CREATE INDEX runs_ready ON runs (workspace_id, priority DESC, created_at, id) WHERE state = 'queued' AND not_before IS NULL;
CREATE INDEX runs_lately ON runs (created_at) WHERE state = 'queued' AND not_before IS NULL;
CREATE INDEX runs_soon ON runs (not_before) WHERE state = 'queued' AND not_before IS NOT NULL;

-- Every change of a run's state writes each of its indexes: so few, and each for more.
DROP INDEX runs_open, runs_leased, runs_run_key, tasks_creator;
CREATE INDEX runs_held ON runs (workspace_id, runner_id) WHERE state IN ('leased', 'running', 'waiting');

GRANT UPDATE (not_before) ON runs TO corp_system;
GRANT SELECT (runtimes, free) ON runners TO corp_system;

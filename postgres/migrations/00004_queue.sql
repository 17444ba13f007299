-- What the fair queue and the queue's features need: issue B.

-- +goose Up

CREATE OR REPLACE FUNCTION known_reason(reason text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT reason IN ('', 'retry', 'not_acknowledged', 'released', 'dependency', 'approval', 'completed', 'check_failed', 'no_change',
        'cancelled', 'dependency_failed', 'deadline', 'timeout', 'budget', 'step_limit', 'refused', 'model_unknown', 'provider_key', 'provider_rejected',
        'provider_unavailable', 'repository', 'base', 'delivery', 'disk_full', 'sandbox', 'agent_failed', 'runner_lost', 'attempts', 'internal')
$$;

ALTER TABLE agents ADD COLUMN concurrency integer NOT NULL DEFAULT 0 CHECK (concurrency >= 0);        -- 0 means no limit of its own
ALTER TABLE repositories ADD COLUMN concurrency integer NOT NULL DEFAULT 0 CHECK (concurrency >= 0);

ALTER TABLE tasks
    ADD COLUMN batch_id         uuid,
    ADD COLUMN redrives         integer NOT NULL DEFAULT 0,
    ADD COLUMN attempts_granted integer;  -- how many attempts there may be in all; NULL means max_attempts
CREATE INDEX tasks_parent ON tasks (workspace_id, parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX tasks_batch ON tasks (workspace_id, batch_id, id) WHERE batch_id IS NOT NULL;
CREATE INDEX tasks_schedule ON tasks (workspace_id, schedule_id, id) WHERE schedule_id IS NOT NULL;
CREATE INDEX tasks_deadline ON tasks (deadline_at) WHERE deadline_at IS NOT NULL AND state IN ('queued', 'running', 'blocked');

ALTER TABLE schedules
    ALTER COLUMN spec TYPE json USING spec::json,
    ADD COLUMN last_at      timestamptz,
    ADD COLUMN last_task_id uuid,
    ADD COLUMN last_error   text NOT NULL DEFAULT '';

-- What the leader needs to place a run stands in its row, so that reading the
-- queue reads one table.
ALTER TABLE runs
    ADD COLUMN agent_id      uuid,
    ADD COLUMN repository_id uuid,
    ADD COLUMN runtime       text NOT NULL DEFAULT 'builtin';
UPDATE runs r SET agent_id = t.agent_id, repository_id = t.repository_id FROM tasks t WHERE t.workspace_id = r.workspace_id AND t.id = r.task_id;
ALTER TABLE runs ALTER COLUMN agent_id SET NOT NULL;
CREATE INDEX runs_queue ON runs (workspace_id, priority DESC, created_at, id) WHERE state = 'queued';
CREATE INDEX runs_due ON runs (not_before) WHERE state = 'queued' AND not_before IS NOT NULL;

-- A model's answer may hold \u0000, which jsonb refuses.
ALTER TABLE steps ALTER COLUMN output TYPE json USING output::json;

CREATE POLICY system ON agents TO corp_system USING (true);
CREATE POLICY system ON repositories TO corp_system USING (true);
CREATE POLICY system ON schedules TO corp_system USING (true);
GRANT SELECT (workspace_id, id, concurrency) ON agents, repositories TO corp_system;
GRANT SELECT (workspace_id, id, next_at, paused, archived_at) ON schedules TO corp_system;
GRANT SELECT (deadline_at, not_before, finished_at) ON tasks TO corp_system;
GRANT SELECT (agent_id, repository_id, runtime) ON runs TO corp_system;

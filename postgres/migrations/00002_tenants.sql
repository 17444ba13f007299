-- Everything that belongs to exactly one workspace: workspace_id in every primary
-- key, foreign key and unique constraint, and row-level security forced.

-- +goose Up

CREATE TABLE workspaces (
    workspace_id uuid PRIMARY KEY,
    slug         text NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9][a-z0-9-]{1,38}[a-z0-9]$'),
    name         text NOT NULL,
    plan         text NOT NULL REFERENCES plans (name),
    concurrency  integer NOT NULL DEFAULT 0 CHECK (concurrency >= 0),  -- below the plan's; 0 means the plan's
    weight       integer NOT NULL DEFAULT 1 CHECK (weight > 0),
    created_by   text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    archived_at  timestamptz
);

-- The number of the newest event, apart from the workspace itself because every
-- state change locks it, last in its transaction.
CREATE TABLE event_heads (
    workspace_id uuid PRIMARY KEY REFERENCES workspaces,
    seq          bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

CREATE TABLE api_keys (
    workspace_id uuid NOT NULL REFERENCES workspaces,
    id           uuid NOT NULL,
    name         text NOT NULL,
    role         text NOT NULL CHECK (role IN ('viewer', 'member', 'admin', 'owner', 'runner')),
    prefix       text NOT NULL,
    hash         bytea NOT NULL UNIQUE,  -- a keyed hash of 178 random bits: nothing to probe for
    created_by   text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    revoked_at   timestamptz,
    last_used_at timestamptz,
    PRIMARY KEY (workspace_id, id)
);

CREATE TABLE agents (
    workspace_id uuid NOT NULL REFERENCES workspaces,
    id           uuid NOT NULL,
    name         text NOT NULL,
    version      integer NOT NULL DEFAULT 1,  -- the newest one
    created_by   text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    archived_at  timestamptz,
    PRIMARY KEY (workspace_id, id)
);
-- An archived one gives its name back: here and below.
CREATE UNIQUE INDEX agents_name ON agents (workspace_id, name) WHERE archived_at IS NULL;

CREATE TABLE agent_versions (
    workspace_id uuid NOT NULL,
    agent_id     uuid NOT NULL,
    version      integer NOT NULL,
    runtime      text NOT NULL,
    model        text NOT NULL,
    instructions text NOT NULL,
    max_turns    integer NOT NULL,
    max_tokens   integer NOT NULL,
    created_by   text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace_id, agent_id, version),
    FOREIGN KEY (workspace_id, agent_id) REFERENCES agents (workspace_id, id)
);

CREATE TABLE repositories (
    workspace_id uuid NOT NULL REFERENCES workspaces,
    id           uuid NOT NULL,
    name         text NOT NULL,
    url          text NOT NULL,
    default_base text NOT NULL DEFAULT '',
    credential   bytea,  -- sealed
    created_by   text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    archived_at  timestamptz,
    PRIMARY KEY (workspace_id, id)
);
CREATE UNIQUE INDEX repositories_name ON repositories (workspace_id, name) WHERE archived_at IS NULL;

CREATE TABLE providers (
    workspace_id uuid NOT NULL REFERENCES workspaces,
    id           uuid NOT NULL,
    name         text NOT NULL,
    dialect      text NOT NULL,
    base_url     text NOT NULL,
    vendor       text NOT NULL,
    key          bytea NOT NULL,  -- sealed
    created_by   text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    archived_at  timestamptz,
    PRIMARY KEY (workspace_id, id)
);
CREATE UNIQUE INDEX providers_name ON providers (workspace_id, name) WHERE archived_at IS NULL;

CREATE TABLE blobs (
    workspace_id uuid NOT NULL REFERENCES workspaces,
    id           uuid NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('source', 'result', 'patch', 'state')),
    size         bigint NOT NULL CHECK (size >= 0),
    sha256       text NOT NULL,
    created_by   text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace_id, id)
);

CREATE TABLE runners (
    workspace_id uuid NOT NULL REFERENCES workspaces,
    id           uuid NOT NULL,
    name         text NOT NULL,
    instance     text NOT NULL,
    slots        integer NOT NULL CHECK (slots > 0),
    free         integer NOT NULL DEFAULT 0,
    labels       text[] NOT NULL DEFAULT '{}',
    runtimes     text[] NOT NULL DEFAULT '{}',
    sandbox      text NOT NULL,
    version      text NOT NULL,
    protocol     integer NOT NULL,
    draining     boolean NOT NULL DEFAULT false,
    created_by   text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    seen_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace_id, id),
    UNIQUE (workspace_id, instance)
);

-- A stored request, made into a task when its time comes.
CREATE TABLE schedules (
    workspace_id uuid NOT NULL REFERENCES workspaces,
    id           uuid NOT NULL,
    name         text NOT NULL,
    cron         text NOT NULL,
    time_zone    text NOT NULL DEFAULT 'UTC',
    missed       text NOT NULL DEFAULT 'run_once' CHECK (missed IN ('run_once', 'skip')),
    spec         jsonb NOT NULL,
    paused       boolean NOT NULL DEFAULT false,
    next_at      timestamptz,
    created_by   text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    archived_at  timestamptz,
    PRIMARY KEY (workspace_id, id)
);
CREATE UNIQUE INDEX schedules_name ON schedules (workspace_id, name) WHERE archived_at IS NULL;
CREATE INDEX schedules_due ON schedules (next_at) WHERE NOT paused AND archived_at IS NULL;

CREATE TABLE tasks (
    workspace_id    uuid NOT NULL REFERENCES workspaces,
    id              uuid NOT NULL,
    parent_id       uuid,
    schedule_id     uuid,
    agent_id        uuid NOT NULL,
    agent_version   integer NOT NULL,
    repository_id   uuid,
    repository_url  text NOT NULL DEFAULT '',
    source_id       uuid,
    base            text NOT NULL DEFAULT '',
    base_commit     text NOT NULL DEFAULT '',
    prompt          text NOT NULL,
    check_command   text NOT NULL DEFAULT '',
    timeout_seconds integer NOT NULL CHECK (timeout_seconds > 0),
    max_attempts    integer NOT NULL CHECK (max_attempts > 0),
    retry_base_ms   bigint NOT NULL DEFAULT 2000,
    retry_cap_ms    bigint NOT NULL DEFAULT 300000,
    priority        integer NOT NULL DEFAULT 0,
    labels          text[] NOT NULL DEFAULT '{}',
    not_before      timestamptz,
    deadline_at     timestamptz,
    state           text NOT NULL CHECK (state IN ('queued', 'running', 'blocked', 'succeeded', 'failed', 'cancelled', 'dead')),
    reason          text NOT NULL DEFAULT '' CHECK (known_reason(reason)),
    detail          text NOT NULL DEFAULT '',
    attempts        integer NOT NULL DEFAULT 1,  -- runs made so far
    run_id          uuid,  -- the latest
    cancel_requested_at timestamptz,
    cancel_requested_by text,
    created_by      text NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    started_at      timestamptz,
    finished_at     timestamptz,
    PRIMARY KEY (workspace_id, id),
    FOREIGN KEY (workspace_id, parent_id) REFERENCES tasks (workspace_id, id),
    FOREIGN KEY (workspace_id, schedule_id) REFERENCES schedules (workspace_id, id),
    FOREIGN KEY (workspace_id, agent_id, agent_version) REFERENCES agent_versions (workspace_id, agent_id, version),
    FOREIGN KEY (workspace_id, repository_id) REFERENCES repositories (workspace_id, id),
    FOREIGN KEY (workspace_id, source_id) REFERENCES blobs (workspace_id, id),
    CHECK (num_nonnulls(repository_id, source_id, nullif(repository_url, '')) = 1)
) WITH (fillfactor = 80);
CREATE INDEX tasks_newest ON tasks (workspace_id, created_at DESC, id DESC);
CREATE INDEX tasks_state ON tasks (workspace_id, state, created_at DESC, id DESC);
CREATE INDEX tasks_agent ON tasks (workspace_id, agent_id, created_at DESC, id DESC);
CREATE INDEX tasks_open ON tasks (workspace_id, state) WHERE state IN ('queued', 'running', 'blocked');
CREATE INDEX tasks_creator ON tasks (workspace_id, created_by, created_at DESC);

CREATE TABLE task_dependencies (
    workspace_id uuid NOT NULL,
    task_id      uuid NOT NULL,
    depends_on   uuid NOT NULL,
    on_failure   text NOT NULL DEFAULT 'cancel' CHECK (on_failure IN ('cancel', 'continue')),
    PRIMARY KEY (workspace_id, task_id, depends_on),
    FOREIGN KEY (workspace_id, task_id) REFERENCES tasks (workspace_id, id),
    FOREIGN KEY (workspace_id, depends_on) REFERENCES tasks (workspace_id, id)
);
CREATE INDEX task_dependencies_back ON task_dependencies (workspace_id, depends_on);

-- The hot table: one row per attempt. Its secrets are keyed hashes, new with each
-- epoch. The run key's is gone when the lease ends, so that no model call follows;
-- the lease's stays until the next epoch, so that a finish can be repeated.
CREATE TABLE runs (
    workspace_id     uuid NOT NULL,
    id               uuid NOT NULL,
    task_id          uuid NOT NULL,
    attempt          integer NOT NULL CHECK (attempt > 0),
    state            text NOT NULL CHECK (state IN ('queued', 'leased', 'running', 'waiting', 'succeeded', 'failed', 'cancelled', 'lost')),
    reason           text NOT NULL DEFAULT '' CHECK (known_reason(reason)),
    detail           text NOT NULL DEFAULT '',
    epoch            bigint NOT NULL DEFAULT 0,
    priority         integer NOT NULL DEFAULT 0,
    labels           text[] NOT NULL DEFAULT '{}',
    not_before       timestamptz,
    runner_id        uuid,
    runner_name      text NOT NULL DEFAULT '',
    lease_hash       bytea,
    run_key_hash     bytea,
    lease_expires_at timestamptz,  -- of the offer while leased, of the lease while running
    lease_ttl_ms     bigint NOT NULL DEFAULT 30000,  -- of the lease that the acknowledgement begins
    waiting_since    timestamptz,
    waited_ms        bigint NOT NULL DEFAULT 0,  -- excluded from the timeout
    stop_reason      text NOT NULL DEFAULT '' CHECK (known_reason(stop_reason)),  -- why its runner must stop it
    stop_detail      text NOT NULL DEFAULT '',
    stop_at          timestamptz,
    trace_id         text NOT NULL,
    branch           text NOT NULL DEFAULT '',
    commit_hash      text NOT NULL DEFAULT '',
    diffstat         json,
    check_result     json,  -- not jsonb: output may hold \u0000
    result_id        uuid,
    patch_id         uuid,
    pushed           boolean NOT NULL DEFAULT false,
    sandbox          text NOT NULL DEFAULT '',
    -- Sums of this run's calls, kept in the transaction that records them.
    simulated        boolean NOT NULL DEFAULT false,
    calls            bigint NOT NULL DEFAULT 0,
    fresh_input      bigint NOT NULL DEFAULT 0,
    cache_read       bigint NOT NULL DEFAULT 0,
    cache_write_short bigint NOT NULL DEFAULT 0,
    cache_write_long bigint NOT NULL DEFAULT 0,
    output           bigint NOT NULL DEFAULT 0,
    cost_nanodollars bigint NOT NULL DEFAULT 0,
    created_by       text NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    leased_at        timestamptz,
    started_at       timestamptz,
    finished_at      timestamptz,
    PRIMARY KEY (workspace_id, id),
    UNIQUE (workspace_id, task_id, attempt),
    FOREIGN KEY (workspace_id, task_id) REFERENCES tasks (workspace_id, id),
    FOREIGN KEY (workspace_id, result_id) REFERENCES blobs (workspace_id, id),
    FOREIGN KEY (workspace_id, patch_id) REFERENCES blobs (workspace_id, id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX runs_open ON runs (workspace_id, id) WHERE state IN ('queued', 'leased', 'running', 'waiting');
-- Not by lease_expires_at: heartbeats change it, and change no index this way.
CREATE INDEX runs_leased ON runs (runner_id) WHERE state IN ('leased', 'running', 'waiting');
CREATE UNIQUE INDEX runs_run_key ON runs (workspace_id, run_key_hash) WHERE run_key_hash IS NOT NULL;
CREATE INDEX runs_by_key ON runs USING hash (run_key_hash) WHERE run_key_hash IS NOT NULL;
CREATE INDEX runs_by_id ON runs (id) WHERE lease_hash IS NOT NULL;
CREATE INDEX runs_newest ON runs (workspace_id, created_at DESC, id DESC);

-- What a run has done that must not be done again.
CREATE TABLE steps (
    workspace_id uuid NOT NULL,
    task_id      uuid NOT NULL,
    key          text NOT NULL,
    run_id       uuid NOT NULL,
    epoch        bigint NOT NULL,
    output       jsonb NOT NULL,
    at           timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace_id, task_id, key),
    FOREIGN KEY (workspace_id, task_id) REFERENCES tasks (workspace_id, id),
    FOREIGN KEY (workspace_id, run_id) REFERENCES runs (workspace_id, id)
);

-- A request that must not be carried out twice, and what came of it.
CREATE TABLE idempotency_keys (
    workspace_id uuid NOT NULL REFERENCES workspaces,
    key          text NOT NULL,
    operation    text NOT NULL,
    request_hash bytea NOT NULL,
    object_id    uuid NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace_id, operation, key)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

-- Ceilings on money. The row with no task is the workspace's own.
CREATE TABLE budgets (
    workspace_id        uuid NOT NULL REFERENCES workspaces,
    id                  uuid NOT NULL,
    task_id             uuid,
    limit_nanodollars   bigint CHECK (limit_nanodollars >= 0),  -- NULL means no limit
    spent_nanodollars   bigint NOT NULL DEFAULT 0 CHECK (spent_nanodollars >= 0),
    granted_nanodollars bigint NOT NULL DEFAULT 0 CHECK (granted_nanodollars >= 0),
    PRIMARY KEY (workspace_id, id),
    UNIQUE NULLS NOT DISTINCT (workspace_id, task_id),
    FOREIGN KEY (workspace_id, task_id) REFERENCES tasks (workspace_id, id)
) WITH (fillfactor = 70);

-- A part of a budget that a server may spend without asking again. It is here
-- before it is used; what it does not account for after a crash counts as spent.
CREATE TABLE allowances (
    workspace_id         uuid NOT NULL,
    id                   uuid NOT NULL,
    budget_id            uuid NOT NULL,
    server_id            uuid NOT NULL,
    granted_nanodollars  bigint NOT NULL CHECK (granted_nanodollars >= 0),
    reported_nanodollars bigint NOT NULL DEFAULT 0 CHECK (reported_nanodollars >= 0),
    created_at           timestamptz NOT NULL DEFAULT now(),
    closed_at            timestamptz,
    PRIMARY KEY (workspace_id, id),
    FOREIGN KEY (workspace_id, budget_id) REFERENCES budgets (workspace_id, id),
    CHECK (reported_nanodollars <= granted_nanodollars)
) WITH (fillfactor = 70);
CREATE INDEX allowances_open ON allowances (server_id) WHERE closed_at IS NULL;
CREATE UNIQUE INDEX allowances_one ON allowances (workspace_id, budget_id, server_id) WHERE closed_at IS NULL;

-- Partitioned by the day the run was made, which is the same for every entry of
-- a run: an index written twice meets its first copy.
CREATE TABLE entries (
    workspace_id uuid NOT NULL,
    run_id       uuid NOT NULL,
    run_day      date NOT NULL,
    index        bigint NOT NULL CHECK (index >= 0),
    epoch        bigint NOT NULL,
    at           timestamptz NOT NULL,
    kind         text NOT NULL,
    text         text NOT NULL,
    data         json,  -- as the agent wrote it: jsonb would reorder it
    PRIMARY KEY (workspace_id, run_id, index, run_day),
    FOREIGN KEY (workspace_id, run_id) REFERENCES runs (workspace_id, id)
) PARTITION BY RANGE (run_day);

CREATE TABLE calls (
    workspace_id         uuid NOT NULL REFERENCES workspaces,
    id                   uuid NOT NULL,
    at                   timestamptz NOT NULL,
    task_id              uuid NOT NULL,
    run_id               uuid NOT NULL,
    agent_id             uuid NOT NULL,
    epoch                bigint NOT NULL,
    provider_id          uuid,
    provider             text NOT NULL,
    dialect              text NOT NULL,
    model_asked          text NOT NULL,
    model_served         text NOT NULL,
    price_id             uuid REFERENCES prices,
    fresh_input          bigint NOT NULL CHECK (fresh_input >= 0),
    cache_read           bigint NOT NULL CHECK (cache_read >= 0),
    cache_write_short    bigint NOT NULL CHECK (cache_write_short >= 0),
    cache_write_long     bigint NOT NULL CHECK (cache_write_long >= 0),
    output               bigint NOT NULL CHECK (output >= 0),
    reserved_nanodollars bigint NOT NULL CHECK (reserved_nanodollars >= 0),
    cost_nanodollars     bigint NOT NULL CHECK (cost_nanodollars >= 0),
    outcome              text NOT NULL CHECK (outcome IN ('ok', 'error', 'cut', 'hung_up', 'refused', 'unsettled')),
    status               integer NOT NULL,
    stop_reason          text NOT NULL,
    detail               text NOT NULL,
    streamed             boolean NOT NULL,
    estimated            boolean NOT NULL,
    simulated            boolean NOT NULL,
    edits                text[] NOT NULL DEFAULT '{}',
    raw_usage            json,
    upstream_request_id  text NOT NULL,
    trace_id             text NOT NULL,
    latency_ms           bigint NOT NULL,
    first_byte_ms        bigint NOT NULL,
    PRIMARY KEY (workspace_id, id, at),
    FOREIGN KEY (workspace_id, task_id) REFERENCES tasks (workspace_id, id),
    FOREIGN KEY (workspace_id, run_id) REFERENCES runs (workspace_id, id)
) PARTITION BY RANGE (at);
CREATE INDEX calls_newest ON calls (workspace_id, at DESC, id DESC);
CREATE INDEX calls_run ON calls (workspace_id, run_id, at);
CREATE INDEX calls_task ON calls (workspace_id, task_id, at);

CREATE TABLE events (
    workspace_id uuid NOT NULL REFERENCES workspaces,
    seq          bigint NOT NULL,
    at           timestamptz NOT NULL DEFAULT now(),
    kind         text NOT NULL,
    task_id      uuid,
    run_id       uuid,
    data         json,
    PRIMARY KEY (workspace_id, seq, at)
) PARTITION BY RANGE (at);

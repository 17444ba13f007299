-- What belongs to the installation and not to a workspace. This list is closed:
-- the catalogue gate (postgres/gate_test.go) fails on any other table without a
-- workspace_id.
--
-- The roles are made before the first migration (postgres.Prepare):
--   corp_app     what the server queries as; owns nothing; one workspace at a time
--   corp_system  what dispatch and reconcile query as; explicit policies and column grants only
--   corp_auth    cannot log in; owns the look-ups that run before the workspace is known

-- +goose Up

REVOKE CREATE ON SCHEMA public FROM PUBLIC;

-- The closed list of reasons; a test compares it with the code's.
CREATE FUNCTION known_reason(reason text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT reason IN ('', 'retry', 'not_acknowledged', 'released', 'dependency', 'approval', 'completed', 'check_failed', 'no_change',
        'cancelled', 'timeout', 'budget', 'step_limit', 'refused', 'model_unknown', 'provider_key', 'provider_rejected',
        'provider_unavailable', 'repository', 'base', 'delivery', 'disk_full', 'sandbox', 'agent_failed', 'runner_lost', 'attempts', 'internal')
$$;

CREATE TABLE plans (
    name        text PRIMARY KEY,
    weight      integer NOT NULL CHECK (weight > 0),
    concurrency integer NOT NULL CHECK (concurrency >= 0)  -- 0 means unlimited
);
INSERT INTO plans (name, weight, concurrency) VALUES
    ('free', 1, 1), ('starter', 3, 3), ('growth', 3, 5), ('pro', 6, 10), ('enterprise', 12, 0), ('unlimited', 6, 0);

CREATE TABLE prices (
    id                uuid PRIMARY KEY,
    vendor            text NOT NULL,
    model             text NOT NULL,
    effective_from    timestamptz NOT NULL,
    input             bigint NOT NULL CHECK (input >= 0),              -- picodollars per token, all five
    cache_read        bigint NOT NULL CHECK (cache_read >= 0),
    cache_write_short bigint NOT NULL CHECK (cache_write_short >= 0),
    cache_write_long  bigint NOT NULL CHECK (cache_write_long >= 0),
    output            bigint NOT NULL CHECK (output >= 0),
    context_window    bigint NOT NULL DEFAULT 0,
    max_output        bigint NOT NULL DEFAULT 0,
    source            text NOT NULL,
    UNIQUE (vendor, model, effective_from)
);

-- One row per process that serves: who holds allowances, and whether it still lives.
CREATE TABLE servers (
    id         uuid PRIMARY KEY,
    address    text NOT NULL,
    version    text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz NOT NULL DEFAULT now()
);

-- Who schedules. Term is the leader's fencing number: it grows at every takeover.
CREATE TABLE leaders (
    shard      integer PRIMARY KEY,
    term       bigint NOT NULL,
    holder     uuid NOT NULL,
    address    text NOT NULL,   -- where the other servers pass polls on to
    expires_at timestamptz NOT NULL
);

CREATE TABLE operator_keys (
    id         uuid PRIMARY KEY,
    name       text NOT NULL,
    role       text NOT NULL CHECK (role IN ('operator', 'runner')),
    prefix     text NOT NULL,
    hash       bytea NOT NULL UNIQUE,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);

-- Vendor accounts that every workspace may use; their keys stay in the environment of the servers.
CREATE TABLE installation_providers (
    id          uuid PRIMARY KEY,
    name        text NOT NULL UNIQUE,
    dialect     text NOT NULL,
    base_url    text NOT NULL,
    vendor      text NOT NULL,
    key_env     text NOT NULL,
    created_by  text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    archived_at timestamptz
);

CREATE TABLE pool_runners (
    id         uuid PRIMARY KEY,
    name       text NOT NULL,
    instance   text NOT NULL UNIQUE,
    slots      integer NOT NULL CHECK (slots > 0),
    free       integer NOT NULL DEFAULT 0,
    labels     text[] NOT NULL DEFAULT '{}',
    runtimes   text[] NOT NULL DEFAULT '{}',
    sandbox    text NOT NULL,
    version    text NOT NULL,
    protocol   integer NOT NULL,
    draining   boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz NOT NULL DEFAULT now()
);

GRANT SELECT ON plans, prices, installation_providers TO corp_app, corp_system;
GRANT INSERT ON prices TO corp_system;
GRANT SELECT (id, name, slots, labels, runtimes, sandbox, version, protocol, draining, created_at, seen_at) ON pool_runners TO corp_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON servers TO corp_system;
GRANT SELECT, INSERT, UPDATE ON leaders, operator_keys, installation_providers, pool_runners TO corp_system;

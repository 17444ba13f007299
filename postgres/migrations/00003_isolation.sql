-- Row-level security, grants and the look-ups that run before the workspace is
-- known. See docs/adr/0002-tenancy-in-the-database.md.

-- +goose Up

-- The server's own role: one workspace at a time, by a setting that lasts for one
-- transaction. RESTRICTIVE, so that a second policy added by mistake cannot open
-- the table; the sub-select is evaluated once per statement and not per row.
-- +goose StatementBegin
CREATE FUNCTION protect(target regclass) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    mine CONSTANT text := $p$workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid)$p$;
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', target);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', target);
    EXECUTE format('CREATE POLICY one_workspace ON %s AS RESTRICTIVE TO corp_app USING (%s) WITH CHECK (%s)', target, mine, mine);
    EXECUTE format('CREATE POLICY rows ON %s TO corp_app USING (true) WITH CHECK (true)', target);
END $$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION protect(regclass) FROM PUBLIC;

SELECT protect(c.oid::regclass)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'workspace_id'
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p');

-- Partitions, one a month. The application has no rights on them: it reaches the
-- rows through the parent, and they are protected all the same.
-- +goose StatementBegin
CREATE FUNCTION ensure_partitions(from_day date, months integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    made integer := 0;
    parent text;
    start date;
    part text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('corp.ensure_partitions'));
    FOREACH parent IN ARRAY ARRAY['entries', 'calls', 'events'] LOOP
        FOR i IN 0 .. months LOOP
            start := (date_trunc('month', from_day) + make_interval(months => i))::date;
            part := parent || '_' || to_char(start, 'YYYYMM');
            CONTINUE WHEN to_regclass(part) IS NOT NULL;
            EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', part, parent, start, (start + interval '1 month')::date);
            PERFORM protect(part::regclass);
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION ensure_partitions(date, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ensure_partitions(date, integer) TO corp_system;
-- From a month ago, so that a ledger row of yesterday always has a place.
SELECT ensure_partitions((now() - interval '1 month')::date, 3);

GRANT SELECT, UPDATE (name, concurrency) ON workspaces TO corp_app;
GRANT SELECT, UPDATE ON event_heads TO corp_app;
GRANT SELECT (workspace_id, id, name, role, prefix, created_by, created_at, expires_at, revoked_at, last_used_at),
      INSERT, UPDATE (revoked_at, last_used_at) ON api_keys TO corp_app;
GRANT SELECT, INSERT, UPDATE ON agents, repositories, providers, runners, schedules, tasks, runs, budgets, allowances TO corp_app;
GRANT SELECT, INSERT ON agent_versions, blobs, task_dependencies, steps, idempotency_keys, entries, calls, events TO corp_app;

-- The system role: finding work across workspaces, leasing it, and no prompt,
-- credential or transcript. For anything else it enters a workspace.
CREATE POLICY system ON workspaces TO corp_system USING (true) WITH CHECK (true);
CREATE POLICY system ON event_heads TO corp_system USING (true) WITH CHECK (true);
CREATE POLICY system ON tasks TO corp_system USING (true) WITH CHECK (true);
CREATE POLICY system ON runs TO corp_system USING (true) WITH CHECK (true);
CREATE POLICY system ON events TO corp_system USING (true) WITH CHECK (true);
CREATE POLICY system ON budgets TO corp_system USING (true) WITH CHECK (true);
CREATE POLICY system ON allowances TO corp_system USING (true);
CREATE POLICY system ON runners TO corp_system USING (true) WITH CHECK (true);
CREATE POLICY system ON idempotency_keys TO corp_system USING (true);
GRANT SELECT, INSERT, UPDATE (name, plan, concurrency, weight, archived_at) ON workspaces TO corp_system;
GRANT SELECT, INSERT, UPDATE ON event_heads TO corp_system;
GRANT SELECT (workspace_id, id, state, agent_id, repository_id, timeout_seconds, cancel_requested_at, created_at, started_at), UPDATE (state, reason, detail, started_at) ON tasks TO corp_system;
GRANT SELECT (workspace_id, id, task_id, attempt, state, epoch, priority, labels, not_before, runner_id, lease_hash, lease_expires_at, waiting_since, waited_ms, stop_reason, stop_detail, stop_at, created_at, leased_at, started_at),
      UPDATE (state, reason, detail, epoch, runner_id, runner_name, lease_hash, run_key_hash, lease_expires_at, lease_ttl_ms, leased_at, stop_reason, stop_detail, stop_at) ON runs TO corp_system;
GRANT INSERT, SELECT (workspace_id, seq) ON events TO corp_system;
GRANT INSERT, SELECT (workspace_id, id, task_id, limit_nanodollars, spent_nanodollars) ON budgets TO corp_system;
GRANT SELECT (workspace_id, id, budget_id, server_id, closed_at) ON allowances TO corp_system;
GRANT SELECT (workspace_id, id, labels, slots, draining, seen_at), UPDATE (free, draining, seen_at) ON runners TO corp_system;
GRANT SELECT (created_at), DELETE ON idempotency_keys TO corp_system;

-- The look-ups before the workspace is known. Their owner may read just these
-- columns, cannot log in, and every function answers for one secret at a time.
CREATE POLICY look_up ON api_keys FOR SELECT TO corp_auth USING (true);
CREATE POLICY look_up ON runs FOR SELECT TO corp_auth USING (true);
CREATE POLICY look_up ON tasks FOR SELECT TO corp_auth USING (true);
CREATE POLICY look_up ON workspaces FOR SELECT TO corp_auth USING (true);
GRANT SELECT (workspace_id, id, name, role, hash, expires_at, revoked_at) ON api_keys TO corp_auth;
GRANT SELECT (workspace_id, id, task_id, state, epoch, lease_hash, run_key_hash, trace_id, stop_reason) ON runs TO corp_auth;
GRANT SELECT (workspace_id, id, agent_id, agent_version) ON tasks TO corp_auth;
GRANT SELECT (workspace_id, archived_at) ON workspaces TO corp_auth;
GRANT SELECT (id, name, role, hash, revoked_at) ON operator_keys TO corp_auth;

-- +goose StatementBegin
CREATE FUNCTION auth_key(secret_hash bytea) RETURNS TABLE (workspace_id uuid, id uuid, name text, role text, pool boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT k.workspace_id, k.id, k.name, k.role, false FROM api_keys k JOIN workspaces w USING (workspace_id)
    WHERE k.hash = secret_hash AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now()) AND w.archived_at IS NULL
    UNION ALL
    SELECT NULL, o.id, o.name, o.role, true FROM operator_keys o WHERE o.hash = secret_hash AND o.revoked_at IS NULL
$$;
CREATE FUNCTION auth_run(secret_hash bytea) RETURNS TABLE (workspace_id uuid, run_id uuid, task_id uuid, agent_id uuid, agent_version integer, epoch bigint, trace_id text, stop_reason text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT r.workspace_id, r.id, r.task_id, t.agent_id, t.agent_version, r.epoch, r.trace_id, r.stop_reason
    FROM runs r JOIN tasks t ON t.workspace_id = r.workspace_id AND t.id = r.task_id JOIN workspaces w ON w.workspace_id = r.workspace_id
    WHERE r.run_key_hash = secret_hash AND r.state IN ('leased', 'running', 'waiting') AND w.archived_at IS NULL
$$;
CREATE FUNCTION auth_lease(run uuid, secret_hash bytea) RETURNS TABLE (workspace_id uuid, epoch bigint, state text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT r.workspace_id, r.epoch, r.state FROM runs r WHERE r.id = run AND r.lease_hash = secret_hash
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION auth_key(bytea), auth_run(bytea), auth_lease(uuid, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION auth_key(bytea), auth_run(bytea), auth_lease(uuid, bytea) TO corp_app;
GRANT CREATE ON SCHEMA public TO corp_auth;
ALTER FUNCTION auth_key(bytea) OWNER TO corp_auth;
ALTER FUNCTION auth_run(bytea) OWNER TO corp_auth;
ALTER FUNCTION auth_lease(uuid, bytea) OWNER TO corp_auth;
REVOKE CREATE ON SCHEMA public FROM corp_auth;

-- What the operator does in an emergency: workspaces that are suspended, and keys of
-- any workspace that are revoked. See docs/security/incidents.md.
--
-- Suspending is a time of its own beside archived_at, which is the owner's deletion:
-- neither undoes the other. Only the system door writes it.

-- +goose Up

ALTER TABLE workspaces ADD COLUMN suspended_at timestamptz;
GRANT UPDATE (suspended_at) ON workspaces TO corp_system;
GRANT SELECT (suspended_at) ON workspaces TO corp_auth;
GRANT SELECT (prefix) ON api_keys TO corp_auth;

-- Who has a credential of a suspended workspace is told so, and may do nothing in it.
DROP FUNCTION auth_key(bytea);
DROP FUNCTION auth_session(uuid, bytea);
DROP FUNCTION auth_run(bytea);
DROP FUNCTION my_workspaces();
-- +goose StatementBegin
CREATE FUNCTION auth_key(secret_hash bytea) RETURNS TABLE (workspace_id uuid, id uuid, name text, role text, pool boolean,
    user_id uuid, scopes text[], addresses text[], plan text, slug text, suspended boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT k.workspace_id, k.id, k.name, CASE WHEN k.user_id IS NULL THEN k.role ELSE lower_role(k.role, m.role) END, false,
        k.user_id, k.scopes, k.addresses, w.plan, w.slug, w.suspended_at IS NOT NULL
    FROM api_keys k JOIN workspaces w USING (workspace_id)
    LEFT JOIN members m ON m.workspace_id = k.workspace_id AND m.user_id = k.user_id
    LEFT JOIN users u ON u.user_id = k.user_id
    WHERE k.hash = secret_hash AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now()) AND w.archived_at IS NULL
        AND (k.user_id IS NULL OR m.user_id IS NOT NULL AND u.disabled_at IS NULL AND u.delete_after IS NULL)
    UNION ALL
    SELECT NULL, o.id, o.name, o.role, true, NULL, NULL, NULL, NULL, NULL, false FROM operator_keys o WHERE o.hash = secret_hash AND o.revoked_at IS NULL
$$;
CREATE FUNCTION auth_session(session uuid, cookie_hash bytea) RETURNS TABLE (user_id uuid, session_id uuid, kind text, name text, auth_age_ms bigint, seen_age_ms bigint,
    workspace_id uuid, role text, plan text, slug text, suspended boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT s.user_id, s.id, s.kind, u.name, (1000 * extract(epoch FROM now() - s.auth_at))::bigint, (1000 * extract(epoch FROM now() - s.seen_at))::bigint,
        w.workspace_id, m.role, w.plan, w.slug, w.suspended_at IS NOT NULL
    FROM (
        SELECT c.user_id, c.id, c.kind, c.works_in, c.seen_at, c.auth_at, c.idle_ms, c.expires_at, c.ended_at FROM sessions c WHERE c.id = session AND c.kind = 'cli'
        UNION ALL
        SELECT b.user_id, b.id, b.kind, b.works_in, b.seen_at, b.auth_at, b.idle_ms, b.expires_at, b.ended_at FROM sessions b WHERE b.secret_hash = cookie_hash AND b.kind = 'browser'
    ) s JOIN users u ON u.user_id = s.user_id
    LEFT JOIN (members m JOIN workspaces w ON w.workspace_id = m.workspace_id AND w.archived_at IS NULL) ON m.workspace_id = s.works_in AND m.user_id = s.user_id
    WHERE s.ended_at IS NULL AND s.expires_at > now() AND s.seen_at + s.idle_ms * interval '1 millisecond' > now()
        AND u.disabled_at IS NULL AND u.delete_after IS NULL
$$;
CREATE FUNCTION auth_run(secret_hash bytea) RETURNS TABLE (workspace_id uuid, run_id uuid, task_id uuid, agent_id uuid, agent_version integer, epoch bigint, trace_id text, stop_reason text, suspended boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT r.workspace_id, r.id, r.task_id, t.agent_id, t.agent_version, r.epoch, r.trace_id, r.stop_reason, w.suspended_at IS NOT NULL
    FROM runs r JOIN tasks t ON t.workspace_id = r.workspace_id AND t.id = r.task_id JOIN workspaces w ON w.workspace_id = r.workspace_id
    WHERE r.run_key_hash = secret_hash AND r.state IN ('leased', 'running', 'waiting') AND w.archived_at IS NULL
$$;
-- Those that can be worked in come first.
CREATE FUNCTION my_workspaces() RETURNS TABLE (workspace_id uuid, slug text, name text, role text, delete_after timestamptz, suspended_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT w.workspace_id, w.slug, w.name, m.role, w.delete_after, w.suspended_at FROM members m JOIN workspaces w USING (workspace_id)
    WHERE m.user_id = (SELECT nullif(current_setting('app.user_id', true), '')::uuid) AND (w.archived_at IS NULL OR w.delete_after IS NOT NULL)
    ORDER BY w.suspended_at IS NOT NULL, w.name, w.workspace_id
$$;
-- Nobody joins what is suspended; the invitation is good again when it is resumed.
CREATE OR REPLACE FUNCTION auth_invitation(secret_hash bytea) RETURNS TABLE (workspace_id uuid, id uuid, email text, role text, workspace text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT i.workspace_id, i.id, i.email, i.role, w.name FROM invitations i JOIN workspaces w USING (workspace_id)
    WHERE i.hash = secret_hash AND i.accepted_at IS NULL AND i.revoked_at IS NULL AND i.expires_at > now() AND w.archived_at IS NULL AND w.suspended_at IS NULL
$$;
-- Ends a key of whatever workspace, by its id or by what is shown of it, which may be
-- that of several. One that had ended stays as it was.
CREATE FUNCTION revoke_key(which uuid, shown text) RETURNS TABLE (workspace_id uuid, id uuid, name text, role text, user_id uuid, prefix text, revoked_at timestamptz)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE api_keys k SET revoked_at = coalesce(k.revoked_at, now()) WHERE k.id = which OR k.prefix = shown
    RETURNING k.workspace_id, k.id, k.name, k.role, k.user_id, k.prefix, k.revoked_at
$$;
-- +goose StatementEnd

-- +goose StatementBegin
DO $$
DECLARE
    f regprocedure;
BEGIN
    GRANT CREATE ON SCHEMA public TO corp_auth;
    FOREACH f IN ARRAY ARRAY['auth_key(bytea)', 'auth_session(uuid, bytea)', 'auth_run(bytea)', 'my_workspaces()', 'revoke_key(uuid, text)']::regprocedure[] LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', f, CASE f WHEN 'revoke_key(uuid, text)'::regprocedure THEN 'corp_system' ELSE 'corp_app' END);
        EXECUTE format('ALTER FUNCTION %s OWNER TO corp_auth', f);
    END LOOP;
    REVOKE CREATE ON SCHEMA public FROM corp_auth;
END $$;
-- +goose StatementEnd

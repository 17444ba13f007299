-- What happens when the time of grace is over: people and workspaces that asked to
-- be deleted are. See docs/adr/0020-people-in-the-database.md.
--
-- Nobody who logs in may remove these rows. Functions do, and their owner may remove
-- only rows of what is due: the policies say so, whatever a function does.

-- +goose Up

-- A workspace's table whose rows go with it.
-- +goose StatementBegin
CREATE FUNCTION goes_with_workspace(target regclass) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    named CONSTANT text := (  -- its keys, and those by which it points to itself
        SELECT string_agg(DISTINCT quote_ident(a.attname), ', ') FROM pg_constraint k, unnest(k.conkey) n JOIN pg_attribute a ON a.attnum = n
        WHERE k.conrelid = target AND a.attrelid = target AND (k.contype = 'p' OR k.contype = 'f' AND k.confrelid = target));
BEGIN
    EXECUTE format('CREATE POLICY purge ON %s TO corp_auth USING (workspace_id IN (SELECT w.workspace_id FROM workspaces w WHERE w.delete_after <= now())) WITH CHECK (false)', target);
    EXECUTE format('GRANT SELECT (%s), DELETE ON %s TO corp_auth', named, target);
END $$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION goes_with_workspace(regclass) FROM PUBLIC;
SELECT goes_with_workspace(c.oid::regclass)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'workspace_id'
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname <> 'workspaces' AND c.relname NOT LIKE 'audit%';

CREATE POLICY bury ON workspaces TO corp_auth USING (delete_after <= now()) WITH CHECK (false);
CREATE POLICY leave ON users TO corp_auth USING (delete_after <= now()) WITH CHECK (false);
CREATE POLICY leave ON members TO corp_auth USING (user_id IN (SELECT u.user_id FROM users u WHERE u.delete_after <= now())) WITH CHECK (false);
CREATE POLICY leave ON api_keys TO corp_auth USING (user_id IN (SELECT u.user_id FROM users u WHERE u.delete_after <= now())) WITH CHECK (false);
CREATE POLICY leave ON invitations TO corp_auth USING (email IN (SELECT u.email FROM users u WHERE u.delete_after <= now())) WITH CHECK (false);
GRANT DELETE ON workspaces, users, email_links, device_codes TO corp_auth;
GRANT SELECT (email) ON audit_personal TO corp_auth;
CREATE INDEX users_leaving ON users (delete_after) WHERE delete_after IS NOT NULL;
CREATE INDEX workspaces_leaving ON workspaces (delete_after) WHERE delete_after IS NOT NULL;
CREATE INDEX api_keys_user ON api_keys (user_id) WHERE user_id IS NOT NULL;

-- +goose StatementBegin
-- Removes up to so many rows of a workspace whose time is over, from a table that
-- nothing else points to any more, and says how many: 0 when none are left. Null is
-- a workspace that is not to be purged, or not yet: a run is under way in it.
CREATE FUNCTION purge_workspace(doomed uuid, at_once integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    left_over regclass[] := ARRAY(SELECT p.polrelid::regclass FROM pg_policy p WHERE p.polname = 'purge');
    target regclass;
    keys text;
    leaf text;
    removed bigint;
BEGIN
    PERFORM FROM workspaces w WHERE w.workspace_id = doomed AND w.delete_after <= now() FOR UPDATE;
    IF NOT FOUND OR EXISTS (SELECT FROM runs r WHERE r.workspace_id = doomed AND r.state IN ('leased', 'running', 'waiting')) THEN
        RETURN NULL;
    END IF;
    WHILE cardinality(left_over) > 0 LOOP
        SELECT t INTO STRICT target FROM unnest(left_over) t
        WHERE NOT EXISTS (SELECT FROM pg_constraint f WHERE f.contype = 'f' AND f.confrelid = t AND f.conrelid <> t AND f.conrelid = ANY (left_over)) LIMIT 1;
        SELECT string_agg(quote_ident(a.attname), ', ') INTO keys FROM pg_constraint k, unnest(k.conkey) n JOIN pg_attribute a ON a.attnum = n
        WHERE k.conrelid = target AND k.contype = 'p' AND a.attrelid = target;
        -- Of a table that points to itself, what nothing in it points to.
        SELECT coalesce(string_agg(format(' AND NOT EXISTS (SELECT FROM %s c WHERE %s)', target, pairs), ''), '') INTO leaf FROM (
            SELECT string_agg(format('c.%I = t.%I', x.attname, y.attname), ' AND ') AS pairs
            FROM pg_constraint k, unnest(k.conkey, k.confkey) n (a, b) JOIN pg_attribute x ON x.attnum = n.a JOIN pg_attribute y ON y.attnum = n.b
            WHERE k.conrelid = target AND k.contype = 'f' AND k.confrelid = target AND x.attrelid = target AND y.attrelid = target GROUP BY k.oid) self;
        EXECUTE format('DELETE FROM %s WHERE workspace_id = $1 AND (%s) IN (SELECT %s FROM %s t WHERE workspace_id = $1%s LIMIT $2)', target, keys, keys, target, leaf) USING doomed, at_once;
        GET DIAGNOSTICS removed = ROW_COUNT;
        IF removed > 0 THEN
            RETURN removed;
        END IF;
        left_over := array_remove(left_over, target);
    END LOOP;
    RETURN 0;
END $$;

-- The last of it. While anything else is left, its foreign key refuses.
CREATE FUNCTION bury_workspace(doomed uuid) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH gone AS (DELETE FROM workspaces w WHERE w.workspace_id = doomed AND w.delete_after <= now() RETURNING 1) SELECT EXISTS (SELECT FROM gone)
$$;

-- A person whose time is over, with all that is theirs, in one statement: whoever
-- comes back at the same moment is either there or gone. What the audit log has of
-- them is erased beside it; the events stay.
CREATE FUNCTION purge_person(doomed uuid, known_as text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    found_one boolean;
BEGIN
    WITH gone AS (DELETE FROM users u WHERE u.user_id = doomed AND u.delete_after <= now() RETURNING u.user_id, u.email),
        letters AS (DELETE FROM audit_personal a USING gone WHERE a.email = gone.email),  -- also of sign-ins that failed
        roles AS (DELETE FROM members m USING gone WHERE m.user_id = gone.user_id),
        keys AS (DELETE FROM api_keys k USING gone WHERE k.user_id = gone.user_id),
        links AS (DELETE FROM email_links l USING gone WHERE l.person = gone.user_id OR l.email = gone.email),
        invited AS (DELETE FROM invitations i USING gone WHERE i.email = gone.email),
        devices AS (DELETE FROM device_codes d USING gone WHERE d.person = gone.user_id)
    SELECT EXISTS (SELECT FROM gone) INTO found_one;
    IF found_one THEN
        PERFORM erase_audit(known_as);
    END IF;
    RETURN found_one;
END $$;

-- Who is about to leave, or is kept out, owns nothing that others can rely on. The
-- workspaces are locked, as they are by whoever takes an owner's role: of two owners
-- who leave at once the second sees that the first has left.
CREATE FUNCTION owners_beside(but uuid) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT count(*) FROM members m JOIN users u USING (user_id)
    WHERE m.workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid) AND m.role = 'owner' AND m.user_id <> but
        AND u.delete_after IS NULL AND u.disabled_at IS NULL
$$;
CREATE OR REPLACE FUNCTION leave_behind(grace interval) RETURNS text[]
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    me CONSTANT uuid := nullif(current_setting('app.user_id', true), '')::uuid;
    orphans text[];
BEGIN
    PERFORM FROM workspaces w WHERE w.workspace_id IN (SELECT m.workspace_id FROM members m WHERE m.user_id = me) ORDER BY w.workspace_id FOR NO KEY UPDATE;
    WITH mine AS (
        SELECT m.workspace_id, EXISTS (SELECT FROM members o WHERE o.workspace_id = m.workspace_id AND o.user_id <> m.user_id) AS others,
            EXISTS (SELECT FROM members o JOIN users u USING (user_id) WHERE o.workspace_id = m.workspace_id AND o.user_id <> m.user_id AND o.role = 'owner'
                AND u.delete_after IS NULL AND u.disabled_at IS NULL) AS owners, m.role
        FROM members m WHERE m.user_id = me
    ), alone AS (
        UPDATE workspaces w SET archived_at = coalesce(w.archived_at, now()), delete_after = now() + grace FROM mine
        WHERE w.workspace_id = mine.workspace_id AND NOT mine.others AND w.archived_at IS NULL
    )
    SELECT coalesce(array_agg(w.slug ORDER BY w.slug), '{}') INTO orphans FROM mine JOIN workspaces w USING (workspace_id)
    WHERE mine.role = 'owner' AND mine.others AND NOT mine.owners AND w.archived_at IS NULL;
    RETURN orphans;
END $$;
-- What went along comes back, and nothing that was deleted before for itself. The clock
-- is asked once the rows are ours: a purge may have begun while they were waited for.
CREATE OR REPLACE FUNCTION come_back() RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    me CONSTANT uuid := nullif(current_setting('app.user_id', true), '')::uuid;
BEGIN
    PERFORM FROM workspaces w WHERE w.workspace_id IN (SELECT m.workspace_id FROM members m WHERE m.user_id = me) ORDER BY w.workspace_id FOR NO KEY UPDATE;
    UPDATE workspaces w SET archived_at = NULL, delete_after = NULL FROM members m
    WHERE m.user_id = me AND m.workspace_id = w.workspace_id AND w.delete_after > clock_timestamp()
        AND w.delete_after >= (SELECT u.delete_after FROM users u WHERE u.user_id = me)
        AND NOT EXISTS (SELECT FROM members o WHERE o.workspace_id = m.workspace_id AND o.user_id <> m.user_id);
END $$;
-- +goose StatementEnd

REVOKE ALL ON FUNCTION purge_workspace(uuid, integer), bury_workspace(uuid), purge_person(uuid, text), owners_beside(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION purge_workspace(uuid, integer), bury_workspace(uuid), purge_person(uuid, text) TO corp_system;
GRANT EXECUTE ON FUNCTION owners_beside(uuid) TO corp_app;
GRANT CREATE ON SCHEMA public TO corp_auth;
ALTER FUNCTION purge_workspace(uuid, integer) OWNER TO corp_auth;
ALTER FUNCTION bury_workspace(uuid) OWNER TO corp_auth;
ALTER FUNCTION purge_person(uuid, text) OWNER TO corp_auth;
ALTER FUNCTION owners_beside(uuid) OWNER TO corp_auth;
REVOKE CREATE ON SCHEMA public FROM corp_auth;

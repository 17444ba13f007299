-- Nothing of a suspended workspace is deleted, also when that was decided before it was
-- suspended: it may be evidence. See docs/security/incidents.md.

-- +goose Up

-- A workspace's table whose rows go with it, as in migration 20.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION goes_with_workspace(target regclass) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    named CONSTANT text := (  -- its keys, and those by which it points to itself
        SELECT string_agg(DISTINCT quote_ident(a.attname), ', ') FROM pg_constraint k, unnest(k.conkey) n JOIN pg_attribute a ON a.attnum = n
        WHERE k.conrelid = target AND a.attrelid = target AND (k.contype = 'p' OR k.contype = 'f' AND k.confrelid = target));
BEGIN
    EXECUTE format('CREATE POLICY purge ON %s TO corp_auth USING (workspace_id IN (SELECT w.workspace_id FROM workspaces w WHERE w.delete_after <= now() AND w.suspended_at IS NULL)) WITH CHECK (false)', target);
    EXECUTE format('GRANT SELECT (%s), DELETE ON %s TO corp_auth', named, target);
END $$;

DO $$
DECLARE
    target regclass;
BEGIN
    FOR target IN SELECT p.polrelid::regclass FROM pg_policy p WHERE p.polname = 'purge' LOOP
        EXECUTE format('ALTER POLICY purge ON %s USING (workspace_id IN (SELECT w.workspace_id FROM workspaces w WHERE w.delete_after <= now() AND w.suspended_at IS NULL))', target);
    END LOOP;
END $$;
-- +goose StatementEnd
-- The function asks as well, with the row locked: people who are leaving have policies of their own.
-- +goose StatementBegin
DO $$
DECLARE
    was CONSTANT text := pg_get_functiondef('purge_workspace(uuid, integer)'::regprocedure);
    asks CONSTANT text := replace(was, 'w.delete_after <= now() FOR UPDATE', 'w.delete_after <= now() AND w.suspended_at IS NULL FOR UPDATE');
BEGIN
    IF asks = was THEN
        RAISE EXCEPTION 'purge_workspace is not as migration 20 made it';
    END IF;
    EXECUTE asks;
END $$;
-- +goose StatementEnd
ALTER POLICY bury ON workspaces USING (delete_after <= now() AND suspended_at IS NULL);

-- Whose address a letter went to is looked for when they are forgotten.
GRANT SELECT (recipient), DELETE ON mails TO corp_auth;
CREATE INDEX mails_recipient ON mails (recipient);
CREATE INDEX audit_personal_email ON audit_personal (email) WHERE email <> '';

-- +goose StatementBegin
-- As before, with the letters to them.
CREATE OR REPLACE FUNCTION purge_person(doomed uuid, known_as text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    found_one boolean;
BEGIN
    WITH gone AS (DELETE FROM users u WHERE u.user_id = doomed AND u.delete_after <= now() RETURNING u.user_id, u.email),
        refused AS (DELETE FROM audit_personal a USING gone WHERE a.email = gone.email),  -- also of sign-ins that failed
        letters AS (DELETE FROM mails m USING gone WHERE m.recipient = gone.email),
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
-- +goose StatementEnd

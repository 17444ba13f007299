-- An invitation ends with the key that it was made with, whoever's that is, with the session,
-- if somebody put an end to that, and with its giver's right to be here. Those that are open
-- already say nothing of a key, and end with their giver's right.

-- +goose Up

ALTER TABLE invitations ADD COLUMN via text NOT NULL DEFAULT '';  -- the key, or the session
GRANT SELECT (via) ON invitations TO corp_app;
GRANT SELECT (ended_by) ON sessions TO corp_auth;

-- +goose StatementBegin
-- What a person may give in the workspace whose door is open: their role, unless they are
-- kept out or leaving, or what they gave it in was taken away from them. Null: nothing.
CREATE FUNCTION giver_role(giver uuid, session uuid) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT m.role FROM members m JOIN users u USING (user_id)
    WHERE m.workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid) AND m.user_id = giver
        AND u.disabled_at IS NULL AND u.delete_after IS NULL
        AND NOT EXISTS (SELECT FROM sessions s WHERE s.user_id = giver AND s.id = session AND s.ended_by IN ('revoked', 'reuse', 'disabled'))
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION giver_role(uuid, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION giver_role(uuid, uuid) TO corp_app;
GRANT CREATE ON SCHEMA public TO corp_auth;
ALTER FUNCTION giver_role(uuid, uuid) OWNER TO corp_auth;
REVOKE CREATE ON SCHEMA public FROM corp_auth;

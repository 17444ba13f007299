-- Who had something in a workspace that is suspended since waits to be forgotten, also when
-- they have left it: their key, or the invitation to their address, is there still.

-- +goose Up

-- +goose StatementBegin
-- The workspaces that hold something of a person: a role, a key, an invitation to them.
CREATE FUNCTION held_in(person uuid) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT m.workspace_id FROM members m WHERE m.user_id = person
    UNION SELECT k.workspace_id FROM api_keys k WHERE k.user_id = person
    UNION SELECT i.workspace_id FROM invitations i JOIN users u ON u.email = i.email WHERE u.user_id = person
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION held_in(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION held_in(uuid) TO corp_system;
GRANT CREATE ON SCHEMA public TO corp_auth;
ALTER FUNCTION held_in(uuid) OWNER TO corp_auth;
REVOKE CREATE ON SCHEMA public FROM corp_auth;

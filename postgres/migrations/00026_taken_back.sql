-- Whoever is signed out by force, or sets a new password, may have had a stranger in their
-- session: the open invitations that were made there are taken back, and seen to be.

-- +goose Up

ALTER TABLE invitations ADD COLUMN giver uuid, ADD COLUMN session uuid;  -- null: with a key, or before this
CREATE INDEX invitations_giver ON invitations (giver) WHERE session IS NOT NULL AND accepted_at IS NULL AND revoked_at IS NULL;
CREATE POLICY take_back ON invitations FOR UPDATE TO corp_auth USING (accepted_at IS NULL AND revoked_at IS NULL) WITH CHECK (revoked_at IS NOT NULL);
GRANT SELECT (giver, session), UPDATE (revoked_at) ON invitations TO corp_auth;

-- +goose StatementBegin
-- Of mine: those made in one session, or in every one when that is null.
CREATE FUNCTION take_back_my_invitations(made_in uuid) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH open AS (
        SELECT i.workspace_id, i.id FROM invitations i
        WHERE i.giver = (SELECT nullif(current_setting('app.user_id', true), '')::uuid) AND i.session IS NOT NULL AND (made_in IS NULL OR i.session = made_in)
            AND i.accepted_at IS NULL AND i.revoked_at IS NULL
        ORDER BY i.workspace_id, i.id FOR UPDATE)
    UPDATE invitations i SET revoked_at = now() FROM open WHERE i.workspace_id = open.workspace_id AND i.id = open.id
$$;
-- Of one person, or of everybody when that is null.
CREATE FUNCTION take_back_invitations(whose uuid) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH open AS (
        SELECT i.workspace_id, i.id FROM invitations i
        WHERE i.session IS NOT NULL AND (whose IS NULL OR i.giver = whose) AND i.accepted_at IS NULL AND i.revoked_at IS NULL
        ORDER BY i.workspace_id, i.id FOR UPDATE)
    UPDATE invitations i SET revoked_at = now() FROM open WHERE i.workspace_id = open.workspace_id AND i.id = open.id
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION take_back_my_invitations(uuid), take_back_invitations(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION take_back_my_invitations(uuid) TO corp_app;
GRANT EXECUTE ON FUNCTION take_back_invitations(uuid) TO corp_system;
GRANT CREATE ON SCHEMA public TO corp_auth;
ALTER FUNCTION take_back_my_invitations(uuid) OWNER TO corp_auth;
ALTER FUNCTION take_back_invitations(uuid) OWNER TO corp_auth;
REVOKE CREATE ON SCHEMA public FROM corp_auth;

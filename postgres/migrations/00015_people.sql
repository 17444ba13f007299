-- People: who they are, what signs them in, and in which workspaces they are
-- members. See docs/adr/0020-people-in-the-database.md.
--
-- A person belongs to no workspace. What is theirs alone stands behind a setting
-- of its own, app.user_id, as everything of a workspace does behind
-- app.workspace_id. What is asked before anybody is known is a function that
-- answers for one secret, or one address, at a time.

-- +goose Up

-- +goose StatementBegin
CREATE FUNCTION protect_person(target regclass) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    mine CONSTANT text := $p$user_id = (SELECT nullif(current_setting('app.user_id', true), '')::uuid)$p$;
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', target);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', target);
    EXECUTE format('CREATE POLICY one_person ON %s AS RESTRICTIVE TO corp_app USING (%s) WITH CHECK (%s)', target, mine, mine);
    EXECUTE format('CREATE POLICY rows ON %s TO corp_app USING (true) WITH CHECK (true)', target);
END $$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION protect_person(regclass) FROM PUBLIC;

CREATE TABLE users (
    user_id       uuid PRIMARY KEY,
    email         text NOT NULL UNIQUE CHECK (email = lower(email) AND length(email) BETWEEN 3 AND 254),  -- verified before the row is made
    name          text NOT NULL,
    password_hash text,               -- of argon2id; of bcrypt, where it came from another system; null: none
    totp_secret   bytea,              -- sealed; null: no second factor
    totp_pending  bytea,              -- sealed; shown, and not yet confirmed
    totp_step     bigint NOT NULL DEFAULT 0,  -- the newest that was used: none is used twice
    created_at    timestamptz NOT NULL DEFAULT now(),
    disabled_at   timestamptz,        -- by the operator
    delete_after  timestamptz         -- the person asked for it
);

CREATE TABLE recovery_codes (
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    hash    bytea NOT NULL,
    used_at timestamptz,
    PRIMARY KEY (user_id, hash)
);

-- Who a person is elsewhere (OIDC): issuer and subject, and never the address.
CREATE TABLE identities (
    user_id    uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    issuer     text NOT NULL,
    subject    text NOT NULL,
    email      text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, issuer, subject),
    UNIQUE (issuer, subject)
);

CREATE TABLE sessions (
    user_id     uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    id          uuid NOT NULL UNIQUE,
    kind        text NOT NULL CHECK (kind IN ('browser', 'cli')),
    secret_hash bytea UNIQUE,         -- of a browser's cookie
    works_in    uuid,                 -- the workspace; whether the person is a member there is asked each time
    address     text NOT NULL,
    user_agent  text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    seen_at     timestamptz NOT NULL DEFAULT now(),
    auth_at     timestamptz NOT NULL DEFAULT now(),  -- when they last proved who they are
    idle_ms     bigint NOT NULL CHECK (idle_ms > 0), -- without use for so long it ends
    expires_at  timestamptz NOT NULL,
    ended_at    timestamptz,
    ended_by    text NOT NULL DEFAULT '' CHECK (ended_by IN ('', 'sign_out', 'revoked', 'reuse', 'password', 'disabled', 'deleted')),
    PRIMARY KEY (user_id, id)
);

-- Every refresh credential of a session that ever was, so that an old one is known
-- for what it is: used twice.
CREATE TABLE refresh_tokens (
    user_id    uuid NOT NULL,
    hash       bytea NOT NULL UNIQUE,
    session_id uuid NOT NULL,
    issued_at  timestamptz NOT NULL DEFAULT now(),
    used_at    timestamptz,
    PRIMARY KEY (user_id, hash),
    FOREIGN KEY (user_id, session_id) REFERENCES sessions (user_id, id) ON DELETE CASCADE
);
CREATE INDEX refresh_tokens_session ON refresh_tokens (user_id, session_id);

SELECT protect_person(t) FROM unnest(ARRAY['users', 'recovery_codes', 'identities', 'sessions', 'refresh_tokens']::regclass[]) t;

-- What a mail's link proves: that somebody reads an address. Written before anybody
-- is known, read and spent by whoever has the secret.
CREATE TABLE email_links (
    hash       bytea PRIMARY KEY,
    purpose    text NOT NULL CHECK (purpose IN ('verify', 'reset', 'change')),
    email      text NOT NULL,
    name       text NOT NULL DEFAULT '',
    person     uuid,                  -- whose address is to change, or password to be set
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);
CREATE INDEX email_links_person ON email_links (person) WHERE person IS NOT NULL;
CREATE INDEX email_links_expires ON email_links (expires_at);

-- A command line that waits for a person to say yes in a browser (RFC 8628).
CREATE TABLE device_codes (
    hash       bytea PRIMARY KEY,     -- of the device's secret
    code_hash  bytea NOT NULL UNIQUE, -- of what the person types
    address    text NOT NULL,
    user_agent text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    person     uuid,                  -- who said yes
    session_id uuid,                  -- in which session of theirs
    works_in   uuid,
    denied     boolean NOT NULL DEFAULT false,
    taken_at   timestamptz
);
CREATE INDEX device_codes_expires ON device_codes (expires_at);

-- The keys that sign access tokens. The private half is sealed.
CREATE TABLE signing_keys (
    id          uuid PRIMARY KEY,
    public      bytea NOT NULL,
    private     bytea NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    active_from timestamptz NOT NULL, -- published before it signs
    retired_at  timestamptz NOT NULL  -- signs until then; published a while longer
);

CREATE TABLE members (
    workspace_id uuid NOT NULL REFERENCES workspaces,
    user_id      uuid NOT NULL REFERENCES users,
    role         text NOT NULL CHECK (role IN ('viewer', 'member', 'admin', 'owner')),
    created_by   text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace_id, user_id)
);
CREATE INDEX members_user ON members (user_id);

CREATE TABLE invitations (
    workspace_id uuid NOT NULL REFERENCES workspaces,
    id           uuid NOT NULL,
    email        text NOT NULL CHECK (email = lower(email)),
    role         text NOT NULL CHECK (role IN ('viewer', 'member', 'admin', 'owner')),
    hash         bytea NOT NULL UNIQUE,
    created_by   text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    accepted_at  timestamptz,
    revoked_at   timestamptz,
    PRIMARY KEY (workspace_id, id)
);
CREATE UNIQUE INDEX invitations_open ON invitations (workspace_id, email) WHERE accepted_at IS NULL AND revoked_at IS NULL;

SELECT protect('members'), protect('invitations');

-- A key is somebody's, or the workspace's own.
ALTER TABLE api_keys
    ADD COLUMN user_id   uuid REFERENCES users,
    ADD COLUMN scopes    text[],  -- actions; null: all of the role's
    ADD COLUMN addresses text[],  -- networks it may be used from; null: any
    ADD COLUMN replaces  uuid,    -- the key that it was made in place of
    ADD FOREIGN KEY (workspace_id, replaces) REFERENCES api_keys (workspace_id, id);
ALTER TABLE workspaces ADD COLUMN delete_after timestamptz;

GRANT INSERT, UPDATE (name, email, password_hash, totp_secret, totp_pending, totp_step, delete_after), SELECT ON users TO corp_app;
GRANT SELECT, INSERT, UPDATE (used_at), DELETE ON recovery_codes TO corp_app;
GRANT SELECT, INSERT, DELETE ON identities TO corp_app;
GRANT SELECT (user_id, id, kind, works_in, address, user_agent, created_at, seen_at, auth_at, idle_ms, expires_at, ended_at, ended_by), INSERT,
      UPDATE (secret_hash, works_in, seen_at, auth_at, ended_at, ended_by) ON sessions TO corp_app;
GRANT SELECT, INSERT, UPDATE (used_at) ON refresh_tokens TO corp_app;
GRANT INSERT ON email_links, device_codes TO corp_app;
GRANT SELECT ON signing_keys TO corp_app;
GRANT SELECT, INSERT, UPDATE (role), DELETE ON members TO corp_app;
GRANT SELECT (workspace_id, id, email, role, created_by, created_at, expires_at, accepted_at, revoked_at), INSERT, UPDATE (accepted_at, revoked_at) ON invitations TO corp_app;
GRANT SELECT (user_id, scopes, addresses, replaces), INSERT, UPDATE (expires_at) ON api_keys TO corp_app;
GRANT UPDATE (archived_at, delete_after) ON workspaces TO corp_app;

-- The system door: whom the operator sees, the first owner of a new workspace, and
-- what is over.
CREATE POLICY system ON users TO corp_system USING (true) WITH CHECK (true);
CREATE POLICY system ON sessions TO corp_system USING (true) WITH CHECK (true);
CREATE POLICY system ON refresh_tokens TO corp_system USING (true);
CREATE POLICY system ON members TO corp_system USING (true) WITH CHECK (true);
GRANT SELECT (user_id, email, name, created_at, disabled_at, delete_after), UPDATE (disabled_at) ON users TO corp_system;
GRANT SELECT (user_id, id, seen_at, expires_at, ended_at, idle_ms), UPDATE (ended_at, ended_by), DELETE ON sessions TO corp_system;
GRANT SELECT (workspace_id, user_id, role), INSERT ON members TO corp_system;
GRANT SELECT (hash, expires_at), DELETE ON email_links TO corp_system;
GRANT SELECT (hash, expires_at), DELETE ON device_codes TO corp_system;
GRANT SELECT, INSERT, DELETE ON signing_keys TO corp_system;
GRANT UPDATE (delete_after) ON workspaces TO corp_system;

-- The look-ups.
CREATE POLICY look_up ON users FOR SELECT TO corp_auth USING (true);
CREATE POLICY look_up ON identities FOR SELECT TO corp_auth USING (true);
CREATE POLICY look_up ON sessions FOR SELECT TO corp_auth USING (true);
CREATE POLICY look_up ON refresh_tokens FOR SELECT TO corp_auth USING (true);
CREATE POLICY look_up ON members FOR SELECT TO corp_auth USING (true);
CREATE POLICY look_up ON invitations FOR SELECT TO corp_auth USING (true);
CREATE POLICY end_keys ON api_keys FOR UPDATE TO corp_auth USING (true) WITH CHECK (true);
CREATE POLICY leave ON workspaces FOR UPDATE TO corp_auth USING (true) WITH CHECK (true);
GRANT SELECT (user_id, email, name, password_hash, totp_secret, totp_step, disabled_at, delete_after) ON users TO corp_auth;
GRANT SELECT (user_id, issuer, subject) ON identities TO corp_auth;
GRANT SELECT (user_id, id, kind, secret_hash, works_in, seen_at, auth_at, idle_ms, expires_at, ended_at) ON sessions TO corp_auth;
GRANT SELECT (user_id, hash, session_id, used_at) ON refresh_tokens TO corp_auth;
GRANT SELECT (workspace_id, user_id, role, created_by, created_at) ON members TO corp_auth;
GRANT SELECT (workspace_id, id, email, role, hash, expires_at, accepted_at, revoked_at) ON invitations TO corp_auth;
GRANT SELECT (hash, purpose, email, name, person, expires_at, used_at), UPDATE (used_at) ON email_links TO corp_auth;
GRANT SELECT, UPDATE (person, session_id, works_in, denied, taken_at) ON device_codes TO corp_auth;
GRANT SELECT (user_id, scopes, addresses), UPDATE (revoked_at) ON api_keys TO corp_auth;
GRANT SELECT (slug, name, plan, delete_after), UPDATE (archived_at, delete_after) ON workspaces TO corp_auth;

-- The lower of two roles.
CREATE FUNCTION lower_role(a text, b text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN array_position(ARRAY['viewer', 'member', 'admin', 'owner'], a) <= array_position(ARRAY['viewer', 'member', 'admin', 'owner'], b) THEN a ELSE b END
$$;

DROP FUNCTION auth_key(bytea);
-- +goose StatementBegin
-- A person's key can do what both it and the person may now; without the person, nothing.
CREATE FUNCTION auth_key(secret_hash bytea) RETURNS TABLE (workspace_id uuid, id uuid, name text, role text, pool boolean,
    user_id uuid, scopes text[], addresses text[], plan text, slug text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT k.workspace_id, k.id, k.name, CASE WHEN k.user_id IS NULL THEN k.role ELSE lower_role(k.role, m.role) END, false,
        k.user_id, k.scopes, k.addresses, w.plan, w.slug
    FROM api_keys k JOIN workspaces w USING (workspace_id)
    LEFT JOIN members m ON m.workspace_id = k.workspace_id AND m.user_id = k.user_id
    LEFT JOIN users u ON u.user_id = k.user_id
    WHERE k.hash = secret_hash AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now()) AND w.archived_at IS NULL
        AND (k.user_id IS NULL OR m.user_id IS NOT NULL AND u.disabled_at IS NULL AND u.delete_after IS NULL)
    UNION ALL
    SELECT NULL, o.id, o.name, o.role, true, NULL, NULL, NULL, NULL, NULL FROM operator_keys o WHERE o.hash = secret_hash AND o.revoked_at IS NULL
$$;
-- Who a session is, and what they are in the workspace that it works in; without
-- that, if they are no member any more.
CREATE FUNCTION auth_session(session uuid, cookie_hash bytea) RETURNS TABLE (user_id uuid, session_id uuid, kind text, name text, auth_age_ms bigint, seen_age_ms bigint,
    workspace_id uuid, role text, plan text, slug text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT s.user_id, s.id, s.kind, u.name, (1000 * extract(epoch FROM now() - s.auth_at))::bigint, (1000 * extract(epoch FROM now() - s.seen_at))::bigint,
        w.workspace_id, m.role, w.plan, w.slug
    FROM (
        SELECT c.user_id, c.id, c.kind, c.works_in, c.seen_at, c.auth_at, c.idle_ms, c.expires_at, c.ended_at FROM sessions c WHERE c.id = session AND c.kind = 'cli'
        UNION ALL
        SELECT b.user_id, b.id, b.kind, b.works_in, b.seen_at, b.auth_at, b.idle_ms, b.expires_at, b.ended_at FROM sessions b WHERE b.secret_hash = cookie_hash AND b.kind = 'browser'
    ) s JOIN users u ON u.user_id = s.user_id
    LEFT JOIN (members m JOIN workspaces w ON w.workspace_id = m.workspace_id AND w.archived_at IS NULL) ON m.workspace_id = s.works_in AND m.user_id = s.user_id
    WHERE s.ended_at IS NULL AND s.expires_at > now() AND s.seen_at + s.idle_ms * interval '1 millisecond' > now()
        AND u.disabled_at IS NULL AND u.delete_after IS NULL
$$;
CREATE FUNCTION auth_email(address text) RETURNS TABLE (user_id uuid, email text, name text, password_hash text, totp_secret bytea, totp_step bigint, disabled boolean, leaving boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT u.user_id, u.email, u.name, u.password_hash, u.totp_secret, u.totp_step, u.disabled_at IS NOT NULL, u.delete_after IS NOT NULL
    FROM users u WHERE u.email = lower(address)
$$;
CREATE FUNCTION auth_identity(at_issuer text, its_subject text) RETURNS TABLE (user_id uuid, email text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT u.user_id, u.email FROM identities i JOIN users u USING (user_id) WHERE i.issuer = at_issuer AND i.subject = its_subject
$$;
CREATE FUNCTION auth_refresh(secret_hash bytea) RETURNS TABLE (user_id uuid, session_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT r.user_id, r.session_id FROM refresh_tokens r WHERE r.hash = secret_hash
$$;
CREATE FUNCTION auth_link(secret_hash bytea) RETURNS TABLE (purpose text, email text, name text, person uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT l.purpose, l.email, l.name, l.person FROM email_links l WHERE l.hash = secret_hash AND l.used_at IS NULL AND l.expires_at > now()
$$;
CREATE FUNCTION spend_link(secret_hash bytea) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH spent AS (UPDATE email_links l SET used_at = now() WHERE l.hash = secret_hash AND l.used_at IS NULL AND l.expires_at > now() RETURNING 1)
    SELECT EXISTS (SELECT FROM spent)
$$;
CREATE FUNCTION auth_invitation(secret_hash bytea) RETURNS TABLE (workspace_id uuid, id uuid, email text, role text, workspace text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT i.workspace_id, i.id, i.email, i.role, w.name FROM invitations i JOIN workspaces w USING (workspace_id)
    WHERE i.hash = secret_hash AND i.accepted_at IS NULL AND i.revoked_at IS NULL AND i.expires_at > now() AND w.archived_at IS NULL
$$;
CREATE FUNCTION auth_device(device_hash bytea) RETURNS TABLE (person uuid, works_in uuid, denied boolean, expired boolean, taken boolean, address text, user_agent text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT d.person, d.works_in, d.denied, d.expires_at <= now(), d.taken_at IS NOT NULL, d.address, d.user_agent FROM device_codes d WHERE d.hash = device_hash
$$;
CREATE FUNCTION auth_device_code(typed_hash bytea) RETURNS TABLE (address text, user_agent text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT d.address, d.user_agent FROM device_codes d WHERE d.code_hash = typed_hash AND d.person IS NULL AND NOT d.denied AND d.expires_at > now()
$$;
-- The person who answers is the one whose door is open, in a session that is.
CREATE FUNCTION answer_device(typed_hash bytea, session uuid, workspace uuid, yes boolean) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH answered AS (
        UPDATE device_codes d SET person = CASE WHEN yes THEN s.user_id END, session_id = s.id, works_in = workspace, denied = NOT yes
        FROM sessions s WHERE s.user_id = nullif(current_setting('app.user_id', true), '')::uuid AND s.id = session AND s.ended_at IS NULL
            AND d.code_hash = typed_hash AND d.person IS NULL AND NOT d.denied AND d.expires_at > now() RETURNING 1)
    SELECT EXISTS (SELECT FROM answered)
$$;
-- When the session that said yes last proved who it is; null when that has ended, or
-- nothing is to be taken.
CREATE FUNCTION take_device(device_hash bytea) RETURNS timestamptz
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH taken AS (
        UPDATE device_codes d SET taken_at = now() FROM sessions s
        WHERE d.hash = device_hash AND d.person = nullif(current_setting('app.user_id', true), '')::uuid
            AND NOT d.denied AND d.taken_at IS NULL AND d.expires_at > now()
            AND s.user_id = d.person AND s.id = d.session_id AND s.ended_at IS NULL AND s.expires_at > now() RETURNING s.auth_at)
    SELECT auth_at FROM taken
$$;
-- Of the person whose door is open, and of the workspace whose door is.
CREATE FUNCTION my_workspaces() RETURNS TABLE (workspace_id uuid, slug text, name text, role text, delete_after timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT w.workspace_id, w.slug, w.name, m.role, w.delete_after FROM members m JOIN workspaces w USING (workspace_id)
    WHERE m.user_id = (SELECT nullif(current_setting('app.user_id', true), '')::uuid) AND (w.archived_at IS NULL OR w.delete_after IS NOT NULL)
    ORDER BY w.name, w.workspace_id
$$;
CREATE FUNCTION spend_my_links() RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE email_links l SET used_at = now() WHERE l.person = nullif(current_setting('app.user_id', true), '')::uuid AND l.used_at IS NULL
$$;
CREATE FUNCTION end_my_keys() RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE api_keys k SET revoked_at = now() WHERE k.user_id = nullif(current_setting('app.user_id', true), '')::uuid AND k.revoked_at IS NULL
$$;
-- Puts the workspaces of which the person is the only member out of use, to be deleted
-- after the grace period, and names those where others would be left without an owner.
CREATE FUNCTION leave_behind(grace interval) RETURNS text[]
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH mine AS (
        SELECT m.workspace_id, EXISTS (SELECT FROM members o WHERE o.workspace_id = m.workspace_id AND o.user_id <> m.user_id) AS others,
            EXISTS (SELECT FROM members o WHERE o.workspace_id = m.workspace_id AND o.user_id <> m.user_id AND o.role = 'owner') AS owners, m.role
        FROM members m WHERE m.user_id = (SELECT nullif(current_setting('app.user_id', true), '')::uuid)
    ), alone AS (
        UPDATE workspaces w SET archived_at = coalesce(w.archived_at, now()), delete_after = now() + grace FROM mine
        WHERE w.workspace_id = mine.workspace_id AND NOT mine.others AND w.archived_at IS NULL
    )
    SELECT coalesce(array_agg(w.slug ORDER BY w.slug), '{}') FROM mine JOIN workspaces w USING (workspace_id) WHERE mine.role = 'owner' AND mine.others AND NOT mine.owners
$$;
-- The opposite: those that nobody else could restore.
CREATE FUNCTION come_back() RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE workspaces w SET archived_at = NULL, delete_after = NULL FROM members m
    WHERE m.user_id = (SELECT nullif(current_setting('app.user_id', true), '')::uuid) AND m.workspace_id = w.workspace_id AND w.delete_after > now()
        AND NOT EXISTS (SELECT FROM members o WHERE o.workspace_id = m.workspace_id AND o.user_id <> m.user_id)
$$;
CREATE FUNCTION our_people() RETURNS TABLE (user_id uuid, email text, name text, role text, created_by text, created_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT m.user_id, u.email, u.name, m.role, m.created_by, m.created_at FROM members m JOIN users u USING (user_id)
    WHERE m.workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid)
$$;
-- +goose StatementEnd

-- +goose StatementBegin
DO $$
DECLARE
    f regprocedure;
BEGIN
    GRANT CREATE ON SCHEMA public TO corp_auth;
    FOREACH f IN ARRAY ARRAY['auth_key(bytea)', 'auth_session(uuid, bytea)', 'auth_email(text)', 'auth_identity(text, text)', 'auth_refresh(bytea)', 'auth_link(bytea)', 'spend_link(bytea)',
        'auth_invitation(bytea)', 'auth_device(bytea)', 'auth_device_code(bytea)', 'answer_device(bytea, uuid, uuid, boolean)', 'take_device(bytea)', 'spend_my_links()', 'end_my_keys()', 'leave_behind(interval)', 'come_back()', 'my_workspaces()', 'our_people()']::regprocedure[] LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO corp_app', f);
        EXECUTE format('ALTER FUNCTION %s OWNER TO corp_auth', f);
    END LOOP;
    REVOKE CREATE ON SCHEMA public FROM corp_auth;
END $$;
-- +goose StatementEnd

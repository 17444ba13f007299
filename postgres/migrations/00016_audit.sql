-- Who did what: docs/adr/0022-audit-log.md. The zero uuid is the installation's own
-- chain; hence no foreign key to the workspaces, which the log outlives anyhow.

-- +goose Up

CREATE TABLE audit_events (
    workspace_id  uuid NOT NULL,
    at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    id            uuid NOT NULL,
    xid           xid8 NOT NULL DEFAULT pg_current_xact_id(),  -- sealed once nobody can add one below it
    actor         text NOT NULL,
    via           text NOT NULL,
    operation     text NOT NULL,
    action        text NOT NULL,
    target        text NOT NULL,
    result        text NOT NULL CHECK (result IN ('done', 'denied')),
    request_id    text NOT NULL,
    changes       json,
    personal_hash text NOT NULL,
    PRIMARY KEY (workspace_id, at, id)
) PARTITION BY RANGE (at);
CREATE INDEX audit_events_unsealed ON audit_events (xid);

-- What may identify a person: the only rows here that may be erased.
CREATE TABLE audit_personal (
    workspace_id uuid NOT NULL,
    at           timestamptz NOT NULL,
    event_id     uuid NOT NULL,
    subject      text NOT NULL,  -- whose data it is: the event's actor
    salt         text NOT NULL,
    address      text NOT NULL,
    user_agent   text NOT NULL,
    email        text NOT NULL,
    PRIMARY KEY (workspace_id, at, event_id)
) PARTITION BY RANGE (at);
CREATE INDEX audit_personal_subject ON audit_personal (subject);

CREATE TABLE audit_links (
    workspace_id uuid NOT NULL,
    seq          bigint NOT NULL CHECK (seq > 0),
    event_id     uuid NOT NULL,
    event_at     timestamptz NOT NULL,
    hash         bytea NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (workspace_id, seq),
    UNIQUE (workspace_id, event_id)
);

CREATE TABLE audit_checkpoints (
    workspace_id uuid NOT NULL,
    seq          bigint NOT NULL,
    hash         bytea NOT NULL CHECK (length(hash) = 32),
    at           timestamptz NOT NULL,
    key_id       text NOT NULL,
    signature    bytea NOT NULL,
    PRIMARY KEY (workspace_id, seq)
);

-- One row: all events of transactions below this one are sealed, in this cluster's
-- numbering. Another cluster's begins anew.
CREATE TABLE audit_sealed (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),
    cluster text NOT NULL,
    xid     xid8 NOT NULL
);
INSERT INTO audit_sealed (cluster, xid) VALUES ('', '0');

SELECT protect('audit_events'), protect('audit_personal'), protect('audit_links'), protect('audit_checkpoints');

-- What is written stays, whoever asks. The rows' triggers come to the partitions by
-- themselves, those against TRUNCATE do not.
-- +goose StatementBegin
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is only added to: % of %', lower(TG_OP), TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION refuse_change() FROM PUBLIC;
CREATE TRIGGER stays BEFORE UPDATE OR DELETE ON audit_events FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER stays BEFORE UPDATE OR DELETE ON audit_links FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER stays BEFORE UPDATE OR DELETE ON audit_checkpoints FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER stays_whole BEFORE TRUNCATE ON audit_events FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER stays_whole BEFORE TRUNCATE ON audit_links FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER stays_whole BEFORE TRUNCATE ON audit_checkpoints FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The time and the transaction are the database's to say.
GRANT SELECT (workspace_id, at, id, actor, via, operation, action, target, result, request_id, changes, personal_hash),
      INSERT (workspace_id, id, actor, via, operation, action, target, result, request_id, changes, personal_hash) ON audit_events TO corp_app, corp_system;
GRANT SELECT, INSERT ON audit_personal TO corp_app, corp_system;
GRANT SELECT ON audit_links, audit_checkpoints TO corp_app;

-- The sealer sees all events and no personal data; of the installation's chain the
-- system door sees and writes all.
CREATE POLICY system ON audit_events FOR SELECT TO corp_system USING (true);
CREATE POLICY installation ON audit_events FOR INSERT TO corp_system WITH CHECK (workspace_id = '00000000-0000-0000-0000-000000000000');
CREATE POLICY installation ON audit_personal TO corp_system
    USING (workspace_id = '00000000-0000-0000-0000-000000000000') WITH CHECK (workspace_id = '00000000-0000-0000-0000-000000000000');
CREATE POLICY system ON audit_links TO corp_system USING (true) WITH CHECK (true);
CREATE POLICY system ON audit_checkpoints TO corp_system USING (true) WITH CHECK (true);
GRANT SELECT (xid) ON audit_events TO corp_system;
GRANT SELECT, INSERT ON audit_links, audit_checkpoints TO corp_system;
GRANT SELECT, UPDATE (cluster, xid) ON audit_sealed TO corp_system;

-- What happens outside a workspace, and erasing: nobody who logs in may do either but
-- through these functions.
CREATE POLICY definer ON audit_events FOR INSERT TO corp_auth WITH CHECK (workspace_id = '00000000-0000-0000-0000-000000000000');
CREATE POLICY definer ON audit_personal TO corp_auth USING (true) WITH CHECK (workspace_id = '00000000-0000-0000-0000-000000000000');
GRANT INSERT ON audit_events, audit_personal TO corp_auth;
GRANT SELECT (subject), DELETE ON audit_personal TO corp_auth;

-- +goose StatementBegin
CREATE FUNCTION write_installation_audit(event uuid, who text, through text, operation text, action text, target text, result text, request text, changes json, personal_hash text,
    subject text, salt text, address text, user_agent text, email text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
BEGIN
    INSERT INTO audit_events (workspace_id, at, id, actor, via, operation, action, target, result, request_id, changes, personal_hash)
    VALUES ('00000000-0000-0000-0000-000000000000', moment, event, who, through, operation, action, target, result, request, changes, personal_hash);
    IF personal_hash <> '' THEN
        INSERT INTO audit_personal (workspace_id, at, event_id, subject, salt, address, user_agent, email)
        VALUES ('00000000-0000-0000-0000-000000000000', moment, event, subject, salt, address, user_agent, email);
    END IF;
END $$;

CREATE FUNCTION erase_audit(whose text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    erased bigint;
BEGIN
    DELETE FROM audit_personal WHERE subject = whose;
    GET DIAGNOSTICS erased = ROW_COUNT;
    RETURN erased;
END $$;

-- Writes the event of a transaction, at its end, if it has changed anything (or
-- always); says whether it did. The chain is the workspace's that it is in.
CREATE FUNCTION write_audit(always boolean, event uuid, who text, through text, operation text, action text, target text, result text, request text, changes json, personal_hash text,
    subject text, salt text, address text, user_agent text, email text) RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    chain uuid := nullif(current_setting('app.workspace_id', true), '')::uuid;
    moment timestamptz;
BEGIN
    IF NOT always AND pg_current_xact_id_if_assigned() IS NULL THEN
        RETURN false;
    END IF;
    IF current_user = 'corp_system' THEN
        chain := '00000000-0000-0000-0000-000000000000';
    ELSIF chain IS NULL THEN
        PERFORM public.write_installation_audit(event, who, through, operation, action, target, result, request, changes, personal_hash, subject, salt, address, user_agent, email);
        RETURN true;
    END IF;
    INSERT INTO public.audit_events (workspace_id, id, actor, via, operation, action, target, result, request_id, changes, personal_hash)
    VALUES (chain, event, who, through, operation, action, target, result, request, changes, personal_hash) RETURNING at INTO moment;
    IF personal_hash <> '' THEN
        INSERT INTO public.audit_personal (workspace_id, at, event_id, subject, salt, address, user_agent, email)
        VALUES (chain, moment, event, subject, salt, address, user_agent, email);
    END IF;
    RETURN true;
END $$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION write_installation_audit(uuid, text, text, text, text, text, text, text, json, text, text, text, text, text, text),
    write_audit(boolean, uuid, text, text, text, text, text, text, text, json, text, text, text, text, text, text), erase_audit(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION write_installation_audit(uuid, text, text, text, text, text, text, text, json, text, text, text, text, text, text) TO corp_app;
GRANT EXECUTE ON FUNCTION erase_audit(text) TO corp_system;
GRANT EXECUTE ON FUNCTION write_audit(boolean, uuid, text, text, text, text, text, text, text, json, text, text, text, text, text, text) TO corp_app, corp_system;
GRANT CREATE ON SCHEMA public TO corp_auth;
ALTER FUNCTION write_installation_audit(uuid, text, text, text, text, text, text, text, json, text, text, text, text, text, text) OWNER TO corp_auth;
ALTER FUNCTION erase_audit(text) OWNER TO corp_auth;
REVOKE CREATE ON SCHEMA public FROM corp_auth;

-- As in migration 10, with the audit log's tables. Those have no foreign keys.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION ensure_partitions(from_day date, months integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    missing record;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('corp.ensure_partitions'));
    FOR missing IN
        SELECT parent, m::date AS start, parent || '_' || to_char(m, 'YYYYMM') AS part
        FROM generate_series(date_trunc('month', from_day::timestamp), date_trunc('month', from_day::timestamp) + make_interval(months => months), interval '1 month') m,
            unnest(ARRAY['entries', 'calls', 'events', 'audit_events', 'audit_personal']) parent
        WHERE to_regclass(parent || '_' || to_char(m, 'YYYYMM')) IS NULL ORDER BY m
    LOOP
        IF made = 0 THEN
            PERFORM set_config('lock_timeout', '200ms', true);
            LOCK TABLE workspaces, prices, tasks, runs IN SHARE ROW EXCLUSIVE MODE;
        END IF;
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', missing.part, missing.parent);
        PERFORM protect(missing.part::regclass);
        IF missing.parent = 'audit_events' THEN
            EXECUTE format('CREATE TRIGGER stays_whole BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', missing.part);
        END IF;
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', missing.parent, missing.part,
            missing.start || ' 00:00:00+00', (missing.start + interval '1 month')::date || ' 00:00:00+00');
        made := made + 1;
    END LOOP;
    RETURN made;
END $$;

-- The audit log's months are kept for 90 days at least, whoever asks.
CREATE OR REPLACE FUNCTION drop_partition(parent text, month date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    part CONSTANT text := parent || '_' || to_char(month, 'YYYYMM');
    ends CONSTANT timestamp := date_trunc('month', month) + interval '1 month' + CASE WHEN parent LIKE 'audit%' THEN interval '90 days' ELSE interval '0' END;
BEGIN
    IF (parent IN ('entries', 'calls', 'events', 'audit_events', 'audit_personal') AND ends <= clock_timestamp() AT TIME ZONE 'UTC') IS NOT TRUE THEN
        RAISE EXCEPTION 'not a month that may be dropped: % of %', month, parent;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('corp.ensure_partitions'));
    PERFORM set_config('lock_timeout', '200ms', true);
    IF to_regclass(part) IS NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('DROP TABLE %I', part);
    RETURN true;
END $$;
-- +goose StatementEnd
SELECT ensure_partitions(now()::date, 3);

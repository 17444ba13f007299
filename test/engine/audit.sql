-- The oracle: what the database itself sees, written down by triggers that are
-- none of the product's. Transitions are kept in the order in which they happen
-- to a row; slots are counted at the commit of every claim, one claim of a
-- workspace at a time, so that no two can overlook each other.

CREATE SCHEMA audit;

CREATE TABLE audit.transitions (
    n            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind         text NOT NULL,
    workspace_id uuid NOT NULL,
    id           uuid NOT NULL,
    task_id      uuid NOT NULL,
    was          text,
    became       text NOT NULL,
    epoch        bigint,
    attempt      integer,
    reason       text NOT NULL,
    runner       text,
    not_before   timestamptz
);
CREATE INDEX ON audit.transitions (id, n);
CREATE INDEX ON audit.transitions (task_id, n);

CREATE TABLE audit.admissions (
    n               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at              timestamptz NOT NULL DEFAULT clock_timestamp(),
    workspace_id    uuid NOT NULL,
    run_id          uuid NOT NULL,
    in_use          integer NOT NULL,
    allowed         integer NOT NULL,  -- 0: without a limit; here and below
    limit_since     timestamptz NOT NULL,
    agent_in_use    integer NOT NULL,
    agent_allowed   integer NOT NULL,
    repo_in_use     integer NOT NULL,
    repo_allowed    integer NOT NULL,
    open_parents    integer NOT NULL,
    failed_parents  integer NOT NULL,
    early_ms        double precision NOT NULL,  -- how long before its time
    task_cancelled  boolean NOT NULL
);

CREATE TABLE audit.limits (
    workspace_id uuid NOT NULL,
    at           timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE FUNCTION audit.note_run() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO audit.transitions (kind, workspace_id, id, task_id, was, became, epoch, attempt, reason, runner, not_before)
    VALUES ('run', NEW.workspace_id, NEW.id, NEW.task_id, CASE TG_OP WHEN 'UPDATE' THEN OLD.state END, NEW.state, NEW.epoch, NEW.attempt, NEW.reason, NEW.runner_name, NEW.not_before);
    RETURN NULL;
END $$;

CREATE FUNCTION audit.note_task() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO audit.transitions (kind, workspace_id, id, task_id, was, became, attempt, reason)
    VALUES ('task', NEW.workspace_id, NEW.id, NEW.id, CASE TG_OP WHEN 'UPDATE' THEN OLD.state END, NEW.state, NEW.attempts, NEW.reason);
    RETURN NULL;
END $$;

CREATE FUNCTION audit.note_limit() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO audit.limits (workspace_id) VALUES (NEW.workspace_id);
    RETURN NULL;
END $$;

CREATE FUNCTION audit.note_admission() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('audit' || NEW.workspace_id, 0));
    INSERT INTO audit.admissions (workspace_id, run_id, in_use, allowed, limit_since, agent_in_use, agent_allowed, repo_in_use, repo_allowed,
        open_parents, failed_parents, early_ms, task_cancelled)
    SELECT NEW.workspace_id, NEW.id, held.n, coalesce(least(nullif(w.concurrency, 0), nullif(p.concurrency, 0)), 0),
        coalesce((SELECT max(l.at) FROM audit.limits l WHERE l.workspace_id = NEW.workspace_id), '-infinity'),
        held.agent, coalesce(a.concurrency, 0), held.repo, coalesce(g.concurrency, 0), parents.open, parents.failed,
        coalesce(extract(epoch FROM NEW.not_before - clock_timestamp()) * 1000, 0), t.cancel_requested_at IS NOT NULL
    FROM workspaces w
    JOIN plans p ON p.name = w.plan
    JOIN tasks t ON t.workspace_id = w.workspace_id AND t.id = NEW.task_id
    LEFT JOIN agents a ON a.workspace_id = w.workspace_id AND a.id = t.agent_id
    LEFT JOIN repositories g ON g.workspace_id = w.workspace_id AND g.id = t.repository_id
    CROSS JOIN LATERAL (
        SELECT count(*) AS n, count(*) FILTER (WHERE o.agent_id = t.agent_id) AS agent, count(*) FILTER (WHERE o.repository_id = t.repository_id) AS repo
        FROM runs r JOIN tasks o ON o.workspace_id = r.workspace_id AND o.id = r.task_id
        WHERE r.workspace_id = w.workspace_id AND r.state IN ('leased', 'running', 'waiting')) held
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE up.state IN ('queued', 'running', 'blocked')) AS open,
            count(*) FILTER (WHERE up.state IN ('failed', 'cancelled', 'dead') AND d.on_failure = 'cancel') AS failed
        FROM task_dependencies d JOIN tasks up ON up.workspace_id = d.workspace_id AND up.id = d.depends_on
        WHERE d.workspace_id = w.workspace_id AND d.task_id = NEW.task_id) parents
    WHERE w.workspace_id = NEW.workspace_id;
    RETURN NULL;
END $$;

CREATE TRIGGER audit_made AFTER INSERT ON runs FOR EACH ROW EXECUTE FUNCTION audit.note_run();
CREATE TRIGGER audit_changed AFTER UPDATE ON runs FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state OR OLD.epoch <> NEW.epoch) EXECUTE FUNCTION audit.note_run();
CREATE TRIGGER audit_made AFTER INSERT ON tasks FOR EACH ROW EXECUTE FUNCTION audit.note_task();
CREATE TRIGGER audit_changed AFTER UPDATE ON tasks FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION audit.note_task();
CREATE TRIGGER audit_limit AFTER UPDATE OF concurrency, plan ON workspaces FOR EACH ROW EXECUTE FUNCTION audit.note_limit();
CREATE CONSTRAINT TRIGGER audit_admitted AFTER UPDATE ON runs DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.state = 'leased' AND OLD.state <> 'leased') EXECUTE FUNCTION audit.note_admission();

-- Until when each lease was ever given, to know when its runner was last heard.
CREATE TABLE audit.leases (
    task_id uuid NOT NULL,
    run_id  uuid NOT NULL,
    attempt integer NOT NULL,
    epoch   bigint NOT NULL,
    until   timestamptz NOT NULL
);
CREATE INDEX ON audit.leases (task_id);

CREATE FUNCTION audit.note_lease() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO audit.leases (task_id, run_id, attempt, epoch, until) VALUES (NEW.task_id, NEW.id, NEW.attempt, NEW.epoch, NEW.lease_expires_at);
    RETURN NULL;
END $$;

CREATE TRIGGER audit_leased AFTER UPDATE OF lease_expires_at ON runs
    FOR EACH ROW WHEN (NEW.state = 'running' AND NEW.lease_expires_at IS NOT NULL AND NEW.lease_expires_at IS DISTINCT FROM OLD.lease_expires_at)
    EXECUTE FUNCTION audit.note_lease();

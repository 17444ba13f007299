-- What is kept, and for how long: docs/adr/0018-retention.md.

-- +goose Up

-- Months begin in UTC, whatever the session's time zone.
--
-- A partition is made beside its parent and then attached, which stops nobody who
-- reads or writes the parent. But its foreign keys stop those who write the tables
-- that they point to: these are locked first, so that nothing is half locked
-- while others wait, and only briefly waited for. The caller tries again.
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
            unnest(ARRAY['entries', 'calls', 'events']) parent
        WHERE to_regclass(parent || '_' || to_char(m, 'YYYYMM')) IS NULL ORDER BY m
    LOOP
        IF made = 0 THEN
            PERFORM set_config('lock_timeout', '200ms', true);
            LOCK TABLE workspaces, prices, tasks, runs IN SHARE ROW EXCLUSIVE MODE;
        END IF;
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', missing.part, missing.parent);
        PERFORM protect(missing.part::regclass);
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', missing.parent, missing.part,
            missing.start || ' 00:00:00+00', (missing.start + interval '1 month')::date || ' 00:00:00+00');
        made := made + 1;
    END LOOP;
    RETURN made;
END $$;

-- One month of one table, and never one that is not over: what asks has no other
-- right to remove anything from these tables.
CREATE FUNCTION drop_partition(parent text, month date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    part CONSTANT text := parent || '_' || to_char(month, 'YYYYMM');
BEGIN
    IF (parent IN ('entries', 'calls', 'events') AND date_trunc('month', month) + interval '1 month' <= clock_timestamp() AT TIME ZONE 'UTC') IS NOT TRUE THEN
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
REVOKE ALL ON FUNCTION drop_partition(text, date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION drop_partition(text, date) TO corp_system;

-- Which runs a month's entries belong to: its pages lie together, so a summary of
-- each range of them is enough.
CREATE INDEX runs_made ON runs USING brin (created_at);
GRANT SELECT (finished_at, result_id, patch_id) ON runs TO corp_system;

-- A file whose time is over is first nobody's to read, then its bytes go: a crash
-- between the two leaves nothing that is not known. The row stays, because tasks
-- and runs name it.
ALTER TABLE blobs
    ADD COLUMN expired_at timestamptz,
    ADD COLUMN removed_at timestamptz,
    ADD CHECK (removed_at IS NULL OR expired_at IS NOT NULL);
CREATE INDEX blobs_kept ON blobs (created_at) WHERE expired_at IS NULL;
CREATE INDEX blobs_expired ON blobs (expired_at) WHERE expired_at IS NOT NULL AND removed_at IS NULL;
CREATE INDEX tasks_source ON tasks (workspace_id, source_id) WHERE source_id IS NOT NULL;
CREATE INDEX runs_result ON runs (workspace_id, result_id) WHERE result_id IS NOT NULL;
CREATE INDEX runs_patch ON runs (workspace_id, patch_id) WHERE patch_id IS NOT NULL;
CREATE POLICY system ON blobs TO corp_system USING (true) WITH CHECK (true);
GRANT SELECT (workspace_id, id, created_at, expired_at, removed_at), UPDATE (expired_at, removed_at) ON blobs TO corp_system;
GRANT SELECT (source_id) ON tasks TO corp_system;

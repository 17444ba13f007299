-- Numbers for events, found as quickly while old versions of a row cannot be pruned.
-- A transaction that somebody forgot keeps every version of a workspace's head, and a
-- search by its key visits them all, from the oldest on. Searched backward, the newest
-- comes first; the second column, always the same, is what there is to search backward
-- by: an equal key alone has no order. The planner knows nothing of versions: it would
-- rather collect the few rows that it takes a table for, and sort them.

-- +goose Up

ALTER TABLE event_heads ADD COLUMN one smallint NOT NULL DEFAULT 1 CHECK (one = 1);
CREATE INDEX event_heads_newest ON event_heads (workspace_id, one);

-- +goose StatementBegin
CREATE FUNCTION number_events(workspace uuid, how_many bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off AS $$
DECLARE
    newest bigint;
BEGIN
    -- Who had to wait for the row holds a version that its statement does not see, and
    -- finds it with the next.
    FOR attempt IN 1..2 LOOP
        UPDATE public.event_heads SET seq = seq + how_many
        WHERE ctid = (SELECT ctid FROM public.event_heads WHERE workspace_id = workspace ORDER BY one DESC LIMIT 1 FOR NO KEY UPDATE)
        RETURNING seq INTO newest;
        EXIT WHEN FOUND;
    END LOOP;
    RETURN newest;
END $$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION number_events(uuid, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION number_events(uuid, bigint) TO corp_app, corp_system;

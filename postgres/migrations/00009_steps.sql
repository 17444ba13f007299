-- Steps belong to a journal: an attempt goes on with the one before it, or
-- begins the next. Keys are ordered by their bytes, whatever the database's collation.

-- +goose Up

ALTER TABLE steps
    ADD COLUMN journal integer NOT NULL DEFAULT 1 CHECK (journal > 0),
    ADD COLUMN bytes   integer NOT NULL DEFAULT 0 CHECK (bytes >= 0),  -- of output, so that no sum has to read it
    ALTER COLUMN key TYPE text COLLATE "C",
    DROP CONSTRAINT steps_pkey,
    ADD PRIMARY KEY (workspace_id, task_id, journal, key);

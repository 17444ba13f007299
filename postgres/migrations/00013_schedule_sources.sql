-- A schedule needs its uploaded source for as long as it submits tasks: retention
-- must see that.

-- +goose Up

ALTER TABLE schedules
    ADD COLUMN source_id uuid,
    ADD FOREIGN KEY (workspace_id, source_id) REFERENCES blobs (workspace_id, id);
CREATE INDEX schedules_source ON schedules (workspace_id, source_id) WHERE source_id IS NOT NULL;
GRANT SELECT (source_id) ON schedules TO corp_system;

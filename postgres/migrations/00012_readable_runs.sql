-- The leader reads the runs of all workspaces at once: a row that it cannot read
-- would keep all of them waiting, so there is none.

-- +goose Up

ALTER TABLE runs ADD CONSTRAINT runs_readable CHECK (
    isfinite(created_at) AND (not_before IS NULL OR isfinite(not_before)) AND array_position(labels, NULL) IS NULL);

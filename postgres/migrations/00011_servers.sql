-- Several servers on one database: issue B.

-- +goose Up

-- Where runners find each server's gateway, and which folder of blobs it uses.
ALTER TABLE servers
    ADD COLUMN gateway    text NOT NULL DEFAULT '',
    ADD COLUMN blob_store text NOT NULL DEFAULT '';

-- Whoever registered a runner is the one who may speak for it, at any server.
ALTER TABLE pool_runners ADD COLUMN created_by text NOT NULL DEFAULT '';

-- What a dead server held and did not account for was written down as estimated
-- calls. This much of it is still there to cover what that server's journal says
-- later: the same money is never counted twice.
ALTER TABLE allowances ADD COLUMN estimated_nanodollars bigint NOT NULL DEFAULT 0 CHECK (estimated_nanodollars >= 0);

-- One row: what all servers of the installation must have in common. The check is
-- a keyed hash, so it tells two secrets apart and says nothing about either.
CREATE TABLE installation (
    one          boolean PRIMARY KEY DEFAULT true CHECK (one),
    secret_check bytea NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT, INSERT, UPDATE (secret_check) ON installation TO corp_system;

-- The short name of a deleted workspace stands in links, bookmarks and host names of
-- others: nobody else is called so for a while.

-- +goose Up

CREATE TABLE former_slugs (
    slug  text PRIMARY KEY,
    since timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT, INSERT, UPDATE (since), DELETE ON former_slugs TO corp_auth;
GRANT SELECT ON former_slugs TO corp_system;

-- +goose StatementBegin
-- The last of a workspace but its name. While anything else is left, its foreign key
-- refuses. Names whose time is over go with it.
CREATE OR REPLACE FUNCTION bury_workspace(doomed uuid) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH gone AS (DELETE FROM workspaces w WHERE w.workspace_id = doomed AND w.delete_after <= now() RETURNING w.slug),
        kept AS (INSERT INTO former_slugs (slug) SELECT g.slug FROM gone g ON CONFLICT (slug) DO UPDATE SET since = now()),
        freed AS (DELETE FROM former_slugs f WHERE f.since < now() - interval '90 days' AND f.slug NOT IN (SELECT g.slug FROM gone g))
    SELECT EXISTS (SELECT FROM gone)
$$;
-- +goose StatementEnd

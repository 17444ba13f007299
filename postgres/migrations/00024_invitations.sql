-- An invitation ends with the key that it was made with, whoever's that is. Those that are
-- open already say nothing of one, and end with their maker's right.

-- +goose Up

ALTER TABLE invitations ADD COLUMN via text NOT NULL DEFAULT '';  -- the key, or the session
GRANT SELECT (via) ON invitations TO corp_app;

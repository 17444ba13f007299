-- The outbox: what the installation has to say to people. Whoever has something to
-- say adds a row in the same transaction and can read none; a loop sends them.
-- See docs/adr/0023-the-edge.md.

-- +goose Up

CREATE TABLE mails (
    id           uuid PRIMARY KEY,
    kind         text NOT NULL,
    recipient    text NOT NULL CHECK (length(recipient) BETWEEN 3 AND 254 AND recipient !~ '[[:cntrl:]]'),
    subject      text NOT NULL CHECK (subject !~ '[[:cntrl:]]'),
    body         bytea NOT NULL,       -- sealed, for this id, recipient and subject; empty once sent
    created_at   timestamptz NOT NULL DEFAULT now(),
    next_at      timestamptz NOT NULL DEFAULT now(),  -- not tried before; whoever tries moves it on first
    attempts     int NOT NULL DEFAULT 0,
    last_error   text NOT NULL DEFAULT '',
    announced_at timestamptz,          -- in the log, where there is no mail server
    sent_at      timestamptz,
    given_up_at  timestamptz
);
CREATE INDEX mails_due ON mails (next_at) WHERE sent_at IS NULL AND given_up_at IS NULL;
CREATE INDEX mails_created ON mails (created_at, id);

GRANT INSERT (id, kind, recipient, subject, body) ON mails TO corp_app;
GRANT SELECT, DELETE, UPDATE (body, next_at, attempts, last_error, announced_at, sent_at, given_up_at) ON mails TO corp_system;

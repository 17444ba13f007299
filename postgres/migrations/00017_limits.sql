-- What a plan contains. 0 is unlimited; an enterprise's own figures come with its contract.

-- +goose Up

ALTER TABLE plans
    ADD agents                  integer NOT NULL DEFAULT 0 CHECK (agents >= 0),
    ADD users                   integer NOT NULL DEFAULT 0 CHECK (users >= 0),
    ADD tasks_per_day           bigint NOT NULL DEFAULT 0 CHECK (tasks_per_day >= 0),
    ADD agent_minutes_per_month bigint NOT NULL DEFAULT 0 CHECK (agent_minutes_per_month >= 0),
    ADD requests_per_hour       bigint NOT NULL DEFAULT 0 CHECK (requests_per_hour BETWEEN 0 AND 1000000000),
    ADD request_burst           bigint NOT NULL DEFAULT 0 CHECK (request_burst BETWEEN 0 AND 1000000),  -- requests at once after a rest
    ADD streams                 integer NOT NULL DEFAULT 0 CHECK (streams >= 0),                       -- open at a time, on each server
    ADD messages_per_second     integer NOT NULL DEFAULT 0 CHECK (messages_per_second >= 0),           -- on each stream
    ADD priority                integer NOT NULL DEFAULT 0 CHECK (priority >= 0),
    -- The dearest request costs ten, of which three quarters of the burst must be enough.
    ADD CONSTRAINT plans_burst CHECK (requests_per_hour = 0 OR request_burst >= 14);

UPDATE plans p SET (agents, users, tasks_per_day, agent_minutes_per_month, requests_per_hour, request_burst, streams, messages_per_second, priority) =
    (v.agents, v.users, v.tasks, v.minutes, v.requests, v.burst, v.streams, v.messages, v.priority)
FROM (VALUES
    ('free',        3,  2,   50,   1000,   100,  20,  2,  5, 0),
    ('starter',    10,  5,  500,  10000,  1000,  50, 10, 20, 1),
    ('growth',     25, 20, 2000,  50000,  5000, 100, 25, 35, 1),
    ('pro',        50,  0,    0, 100000, 10000, 200, 50, 50, 2),
    ('enterprise',  0,  0,    0,      0,     0,   0,  0,  0, 2),
    ('unlimited',   0,  0,    0,      0,     0,   0,  0,  0, 0)
) AS v (name, agents, users, tasks, minutes, requests, burst, streams, messages, priority) WHERE v.name = p.name;


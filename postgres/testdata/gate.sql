-- The catalogue gate: every row is a fault in the schema. The allow-lists are
-- closed: whoever adds to them says here why a table may be without a workspace.
WITH
global (relname) AS (VALUES
    ('plans'), ('prices'), ('servers'), ('leaders'), ('operator_keys'), ('installation_providers'), ('pool_runners'), ('installation'), ('audit_sealed'), ('former_slugs'),  -- the installation's own
    ('email_links'), ('device_codes'), ('signing_keys'), ('mails'),                                                         -- signing in, before anybody is known
    ('schema_versions'), ('migration_hashes')),                                                                       -- how the schema came about
person (relname) AS (VALUES  -- a person's own: behind app.user_id
    ('users'), ('recovery_codes'), ('identities'), ('sessions'), ('refresh_tokens')),
extra_policy (relname, polname, rolname) AS (VALUES  -- beside one_workspace and rows: the system door and the look-ups
    ('workspaces', 'system', 'corp_system'), ('event_heads', 'system', 'corp_system'), ('tasks', 'system', 'corp_system'), ('runs', 'system', 'corp_system'),
    ('events', 'system', 'corp_system'), ('budgets', 'system', 'corp_system'), ('allowances', 'system', 'corp_system'), ('runners', 'system', 'corp_system'),
    ('idempotency_keys', 'system', 'corp_system'), ('agents', 'system', 'corp_system'), ('repositories', 'system', 'corp_system'), ('schedules', 'system', 'corp_system'), ('blobs', 'system', 'corp_system'),
    ('users', 'system', 'corp_system'), ('sessions', 'system', 'corp_system'), ('refresh_tokens', 'system', 'corp_system'), ('members', 'system', 'corp_system'),
    ('users', 'look_up', 'corp_auth'), ('identities', 'look_up', 'corp_auth'), ('sessions', 'look_up', 'corp_auth'), ('refresh_tokens', 'look_up', 'corp_auth'),
    ('members', 'look_up', 'corp_auth'), ('invitations', 'look_up', 'corp_auth'), ('invitations', 'take_back', 'corp_auth'),
    ('api_keys', 'end_keys', 'corp_auth'), ('workspaces', 'leave', 'corp_auth'), ('api_keys', 'look_up', 'corp_auth'), ('runs', 'look_up', 'corp_auth'), ('tasks', 'look_up', 'corp_auth'), ('workspaces', 'look_up', 'corp_auth'),
    ('workspaces', 'bury', 'corp_auth'), ('users', 'leave', 'corp_auth'), ('members', 'leave', 'corp_auth'), ('api_keys', 'leave', 'corp_auth'), ('invitations', 'leave', 'corp_auth'),  -- rows of what is due, and no others
    ('audit_events', 'system', 'corp_system'), ('audit_links', 'system', 'corp_system'), ('audit_checkpoints', 'system', 'corp_system'),  -- the sealer; no personal data
    ('audit_events', 'installation', 'corp_system'), ('audit_personal', 'installation', 'corp_system'), ('audit_events', 'definer', 'corp_auth'), ('audit_personal', 'definer', 'corp_auth')),
stays (relname) AS (VALUES ('audit_events'), ('audit_links'), ('audit_checkpoints')),  -- nobody changes a row, not even the owner
unique_anywhere (index) AS (VALUES  -- only the system door writes slugs; a key's hash is of 178 random bits
    ('workspaces_slug_key'), ('api_keys_hash_key'), ('invitations_hash_key')),
definer (proname, owner, caller) AS (VALUES
    ('auth_key', 'corp_auth', 'corp_app'), ('auth_run', 'corp_auth', 'corp_app'), ('auth_lease', 'corp_auth', 'corp_app'),
    ('auth_session', 'corp_auth', 'corp_app'), ('auth_email', 'corp_auth', 'corp_app'), ('auth_identity', 'corp_auth', 'corp_app'), ('auth_refresh', 'corp_auth', 'corp_app'),
    ('auth_link', 'corp_auth', 'corp_app'), ('spend_link', 'corp_auth', 'corp_app'), ('auth_invitation', 'corp_auth', 'corp_app'), ('auth_device', 'corp_auth', 'corp_app'),
    ('auth_device_code', 'corp_auth', 'corp_app'), ('answer_device', 'corp_auth', 'corp_app'), ('take_device', 'corp_auth', 'corp_app'),
    ('spend_my_links', 'corp_auth', 'corp_app'), ('end_my_keys', 'corp_auth', 'corp_app'), ('leave_behind', 'corp_auth', 'corp_app'), ('come_back', 'corp_auth', 'corp_app'),
    ('owners_beside', 'corp_auth', 'corp_app'), ('giver_role', 'corp_auth', 'corp_app'), ('take_back_my_invitations', 'corp_auth', 'corp_app'), ('take_back_invitations', 'corp_auth', 'corp_system'), ('held_in', 'corp_auth', 'corp_system'), ('purge_workspace', 'corp_auth', 'corp_system'), ('bury_workspace', 'corp_auth', 'corp_system'), ('purge_person', 'corp_auth', 'corp_system'),
    ('my_workspaces', 'corp_auth', 'corp_app'), ('our_people', 'corp_auth', 'corp_app'), ('revoke_key', 'corp_auth', 'corp_system'),
    ('write_installation_audit', 'corp_auth', 'corp_app'), ('erase_audit', 'corp_auth', 'corp_system'),
    ('ensure_partitions', 'corp_owner', 'corp_system'), ('drop_partition', 'corp_owner', 'corp_system')),
append_only (relname) AS (VALUES ('agent_versions'), ('blobs'), ('steps'), ('entries'), ('calls'), ('events'), ('idempotency_keys'), ('task_dependencies'), ('audit_events'), ('audit_personal'), ('audit_links'), ('audit_checkpoints')),
placed (relname, attname) AS (VALUES  -- limits and times that the leader places runs by, and that retention goes by
    ('blobs', 'workspace_id'), ('blobs', 'id'), ('blobs', 'created_at'), ('blobs', 'expired_at'), ('blobs', 'removed_at'),
    ('repositories', 'workspace_id'), ('repositories', 'id'), ('repositories', 'concurrency'),
    ('schedules', 'workspace_id'), ('schedules', 'id'), ('schedules', 'next_at'), ('schedules', 'paused'), ('schedules', 'archived_at'),
    ('schedules', 'source_id')),  -- retention keeps what a schedule needs
secret (relname, attname, rolname) AS (  -- what the system door and the look-ups must not read
    SELECT c.relname, a.attname, r.rolname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped,
        (VALUES ('corp_system'), ('corp_auth')) r (rolname)
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
        AND (r.rolname, c.relname, a.attname) NOT IN (SELECT 'corp_system', * FROM placed)
        AND NOT (r.rolname = 'corp_auth' AND EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'p' AND a.attnum = ANY (k.conkey)))  -- what purging finds rows by
        AND (c.relname IN ('agent_versions', 'repositories', 'providers', 'blobs', 'entries', 'calls', 'steps', 'schedules')
            OR a.attname IN ('prompt', 'check_command', 'text', 'data', 'spec', 'diffstat', 'check_result', 'instructions', 'credential', 'key', 'request_hash', 'totp_pending')
            OR r.rolname = 'corp_system' AND (a.attname IN ('password_hash', 'totp_secret', 'secret_hash', 'code_hash') OR c.relname IN ('sessions', 'device_codes') AND a.attname IN ('address', 'user_agent'))
            OR r.rolname = 'corp_system' AND (c.relname = 'api_keys' OR a.attname = 'run_key_hash'))),
roles (rolname) AS (VALUES ('corp_app'), ('corp_system'), ('corp_auth')),
privilege (name) AS (VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE'), ('TRUNCATE'), ('REFERENCES'), ('TRIGGER')),
rel AS (SELECT c.* FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace),
tab AS (SELECT * FROM rel WHERE relkind IN ('r', 'p')),
ten AS (SELECT t.*, a.attnum AS ws, a.attnotnull FROM tab t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attname = 'workspace_id' AND NOT a.attisdropped),
pol AS (
    SELECT t.relname, p.*, pg_get_expr(p.polqual, p.polrelid) AS qual, pg_get_expr(p.polwithcheck, p.polrelid) AS withcheck,
        ARRAY(SELECT CASE WHEN r = 0 THEN 'public' ELSE pg_get_userbyid(r)::text END FROM unnest(p.polroles) r) AS roles
    FROM tab t JOIN pg_policy p ON p.polrelid = t.oid),
deletable (rolname, relname) AS (VALUES
    ('corp_system', 'idempotency_keys'), ('corp_system', 'servers'), ('corp_system', 'sessions'), ('corp_system', 'email_links'), ('corp_system', 'device_codes'), ('corp_system', 'signing_keys'), ('corp_system', 'mails'),
    ('corp_app', 'members'), ('corp_app', 'recovery_codes'), ('corp_app', 'identities'), ('corp_auth', 'audit_personal'),
    ('corp_auth', 'workspaces'), ('corp_auth', 'users'), ('corp_auth', 'email_links'), ('corp_auth', 'device_codes'), ('corp_auth', 'former_slugs'), ('corp_auth', 'mails')),  -- when they are due
hidden (relname, attname) AS (VALUES  -- hashes of secrets: compared in the look-ups, never read
    ('api_keys', 'hash'), ('sessions', 'secret_hash'), ('invitations', 'hash'), ('email_links', 'hash'), ('device_codes', 'hash'), ('device_codes', 'code_hash')),
own (expr) AS (VALUES ('(user_id = ( SELECT (NULLIF(current_setting(''app.user_id''::text, true), ''''::text))::uuid AS "nullif"))')),
mine (expr) AS (VALUES ('(workspace_id = ( SELECT (NULLIF(current_setting(''app.workspace_id''::text, true), ''''::text))::uuid AS "nullif"))')),
going AS (SELECT * FROM ten WHERE NOT relispartition AND relname <> 'workspaces' AND relname NOT LIKE 'audit%'),  -- the rows that go with a workspace
due (expr) AS (VALUES (E'(workspace_id IN ( SELECT w.workspace_id\n   FROM workspaces w\n  WHERE ((w.delete_after <= now()) AND (w.suspended_at IS NULL))))')),
finding (rule, object) AS (
    SELECT 'row-level security is not enabled and forced', relname FROM ten WHERE NOT (relrowsecurity AND relforcerowsecurity)
    UNION ALL SELECT 'table without workspace_id', relname FROM tab WHERE oid NOT IN (SELECT oid FROM ten) AND relname NOT IN (SELECT relname FROM global UNION ALL SELECT relname FROM person)
    UNION ALL SELECT 'a person''s table that is not forced behind the person', relname FROM tab t WHERE relname IN (SELECT relname FROM person) AND NOT (relrowsecurity AND relforcerowsecurity AND EXISTS (
        SELECT FROM pol p, own WHERE p.polrelid = t.oid AND NOT p.polpermissive AND p.polcmd = '*' AND p.roles = '{corp_app}' AND p.qual = own.expr AND p.withcheck = own.expr))
    UNION ALL SELECT 'a person''s table whose keys are not by person', c.conname::text FROM pg_constraint c JOIN tab t ON t.oid = c.conrelid JOIN tab r ON r.oid = c.confrelid
        WHERE c.contype = 'f' AND t.relname IN (SELECT relname FROM person) AND r.relname IN (SELECT relname FROM person)
            AND NOT EXISTS (SELECT FROM unnest(c.conkey, c.confkey) k (a, b) JOIN pg_attribute x ON x.attrelid = t.oid AND x.attnum = k.a JOIN pg_attribute y ON y.attrelid = r.oid AND y.attnum = k.b
                WHERE x.attname = 'user_id' AND y.attname = 'user_id')
    UNION ALL SELECT 'workspace_id may be null', relname FROM ten WHERE NOT attnotnull
    UNION ALL SELECT 'no restrictive policy for the workspace', relname FROM ten t WHERE NOT EXISTS (
        SELECT FROM pol p, mine WHERE p.polrelid = t.oid AND NOT p.polpermissive AND p.polcmd = '*' AND p.roles = '{corp_app}' AND p.qual = mine.expr AND p.withcheck = mine.expr)
    UNION ALL SELECT 'table that a deleted workspace would leave behind', relname FROM going t WHERE NOT EXISTS (
        SELECT FROM pol p, due WHERE p.polrelid = t.oid AND p.polname = 'purge' AND p.polpermissive AND p.polcmd = '*' AND p.roles = '{corp_auth}' AND p.qual = due.expr AND p.withcheck = 'false')
    UNION ALL SELECT 'policy that is not on the list', relname || '.' || polname FROM pol p
        WHERE NOT (polname IN ('one_workspace', 'one_person', 'rows') AND roles = '{corp_app}') AND NOT (polname = 'purge' AND polrelid IN (SELECT oid FROM going))
            AND NOT EXISTS (SELECT FROM extra_policy e WHERE e.relname = p.relname AND e.polname = p.polname AND p.roles = ARRAY[e.rolname])
    UNION ALL SELECT 'policy that is missing', e.relname || '.' || e.polname FROM extra_policy e WHERE NOT EXISTS (SELECT FROM pol p WHERE p.relname = e.relname AND p.polname = e.polname AND p.roles = ARRAY[e.rolname])
    UNION ALL SELECT 'policy that is missing', t.relname || '.rows' FROM tab t WHERE (t.oid IN (SELECT oid FROM ten) OR t.relname IN (SELECT relname FROM person))
            AND NOT EXISTS (SELECT FROM pol p WHERE p.polrelid = t.oid AND p.polname = 'rows' AND p.polpermissive AND p.polcmd = '*' AND p.roles = '{corp_app}')
    UNION ALL SELECT 'setting read for every row', relname || '.' || polname FROM pol WHERE concat(qual, withcheck) LIKE '%current_setting%' AND concat(qual, withcheck) NOT LIKE '%SELECT%'
    UNION ALL SELECT 'foreign key without workspace_id', c.conname::text FROM pg_constraint c JOIN ten t ON t.oid = c.conrelid JOIN ten r ON r.oid = c.confrelid
        WHERE c.contype = 'f' AND NOT EXISTS (SELECT FROM unnest(c.conkey, c.confkey) k (a, b) WHERE k.a = t.ws AND k.b = r.ws)
    UNION ALL SELECT 'foreign key out of a workspace into a table that is not a list of the installation', c.conname::text FROM pg_constraint c JOIN ten t ON t.oid = c.conrelid JOIN tab r ON r.oid = c.confrelid
        WHERE c.contype = 'f' AND r.oid NOT IN (SELECT oid FROM ten) AND r.relname NOT IN ('plans', 'prices', 'users')
    UNION ALL SELECT 'unique without workspace_id', i.indexrelid::regclass::text FROM pg_index i JOIN ten t ON t.oid = i.indrelid
        WHERE i.indisunique AND NOT t.ws = ANY (i.indkey) AND i.indexrelid::regclass::text NOT IN (SELECT index FROM unique_anywhere)
    UNION ALL SELECT 'no index begins with workspace_id', relname FROM ten t WHERE NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = t.oid AND i.indkey[0] = t.ws AND i.indpred IS NULL)
    UNION ALL SELECT 'indexed column whose operators leak, so that the index is no use under row-level security', i.indexrelid::regclass || '.' || a.attname
        FROM ten t JOIN pg_index i ON i.indrelid = t.oid JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = ANY (i.indkey) JOIN pg_type y ON y.oid = a.atttypid
        WHERE y.typtype = 'e' OR y.typcategory = 'A' OR a.atttypid IN ('jsonb'::regtype, 'numeric'::regtype, 'tsvector'::regtype)
    UNION ALL SELECT 'view without security_invoker', relname FROM rel WHERE relkind = 'v' AND NOT coalesce(reloptions && ARRAY['security_invoker=true', 'security_invoker=on'], false)
    UNION ALL SELECT 'materialised view', relname FROM rel WHERE relkind = 'm'
    UNION ALL SELECT 'trigger', t.relname || '.' || g.tgname FROM pg_trigger g JOIN tab t ON t.oid = g.tgrelid
        WHERE NOT g.tgisinternal AND NOT (g.tgname IN ('stays', 'stays_whole') AND regexp_replace(t.relname, '_[0-9]{6}$', '') IN (SELECT relname FROM stays))
    UNION ALL SELECT 'rows that can be changed', t.relname || '.' || k.name FROM tab t, (VALUES ('stays', 27), ('stays_whole', 34)) k (name, kind)  -- BEFORE UPDATE OR DELETE of a row; BEFORE TRUNCATE
        WHERE regexp_replace(t.relname, '_[0-9]{6}$', '') IN (SELECT relname FROM stays)
            AND NOT EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = t.oid AND g.tgname = k.name AND g.tgtype = k.kind AND g.tgenabled IN ('O', 'A') AND g.tgqual IS NULL AND g.tgfoid = 'refuse_change'::regproc)
    UNION ALL SELECT 'definer function that is not on the list', p.proname::text FROM pg_proc p
        WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef AND NOT EXISTS (
            SELECT FROM definer d WHERE d.proname = p.proname AND d.owner = pg_get_userbyid(p.proowner) AND p.proconfig = '{"search_path=public, pg_temp"}'
                AND has_function_privilege(d.caller, p.oid, 'EXECUTE')
                AND NOT EXISTS (SELECT FROM aclexplode(p.proacl) x WHERE x.grantee NOT IN (d.caller::regrole::oid, p.proowner)))
    UNION ALL SELECT 'role that may log in or do more than it should', r.rolname FROM pg_roles r JOIN roles USING (rolname)
        WHERE rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication OR rolcanlogin <> (rolname <> 'corp_auth')
    UNION ALL SELECT 'role that owns a table or may become its owner', r.rolname || ' ' || t.relname FROM roles r, rel t WHERE pg_has_role(r.rolname, t.relowner, 'MEMBER')
    UNION ALL SELECT 'role that is a member of another one', r.rolname || ' of ' || m.rolname FROM roles r, pg_roles m WHERE m.rolname <> r.rolname AND pg_has_role(r.rolname, m.oid, 'MEMBER')
    UNION ALL SELECT 'right that nobody needs', r.rolname || ' ' || v.name || ' ' || t.relname FROM roles r, tab t, privilege v
        WHERE v.name IN ('TRUNCATE', 'REFERENCES', 'TRIGGER') AND has_table_privilege(r.rolname, t.oid, v.name)
            OR v.name = 'DELETE' AND has_table_privilege(r.rolname, t.oid, v.name) AND (r.rolname, t.relname) NOT IN (SELECT * FROM deletable)
                AND NOT (r.rolname = 'corp_auth' AND t.oid IN (SELECT oid FROM going))
            OR v.name = 'UPDATE' AND (r.rolname = 'corp_app' OR t.relname LIKE 'audit%' AND t.relname <> 'audit_sealed') AND t.relname IN (SELECT relname FROM append_only) AND has_any_column_privilege(r.rolname, t.oid, v.name)
            OR v.name IN ('INSERT', 'UPDATE') AND r.rolname = 'corp_app' AND t.relname IN (SELECT relname FROM global) AND (v.name, t.relname) NOT IN (('INSERT', 'email_links'), ('INSERT', 'device_codes'), ('INSERT', 'mails')) AND has_any_column_privilege(r.rolname, t.oid, v.name)
    UNION ALL SELECT 'partition reached past its parent', r.rolname || ' ' || t.relname FROM roles r, tab t WHERE t.relispartition AND (
        has_any_column_privilege(r.rolname, t.oid, 'SELECT') OR has_any_column_privilege(r.rolname, t.oid, 'INSERT') OR has_any_column_privilege(r.rolname, t.oid, 'UPDATE') OR has_table_privilege(r.rolname, t.oid, 'DELETE'))
    UNION ALL SELECT 'right of everybody', t.relname FROM rel t, aclexplode(t.relacl) x WHERE x.grantee = 0
    UNION ALL SELECT 'right of everybody', t.relname || '.' || a.attname FROM rel t JOIN pg_attribute a ON a.attrelid = t.oid, aclexplode(a.attacl) x WHERE x.grantee = 0
    UNION ALL SELECT 'sequence in a role''s hands', r.rolname || ' ' || s.relname FROM roles r, rel s WHERE s.relkind = 'S' AND has_sequence_privilege(r.rolname, s.oid, 'USAGE, SELECT, UPDATE')
    UNION ALL SELECT 'secret column readable by', s.rolname || ' ' || s.relname || '.' || s.attname FROM secret s
        WHERE has_column_privilege(s.rolname, format('public.%I', s.relname), s.attname, 'SELECT')
    UNION ALL SELECT 'hash readable by the application', relname || '.' || attname FROM hidden WHERE has_column_privilege('corp_app', format('public.%I', relname), attname, 'SELECT')
    UNION ALL SELECT 'schema in which a role may create', r.rolname FROM (SELECT rolname FROM roles UNION ALL SELECT 'public') r WHERE has_schema_privilege(r.rolname, 'public', 'CREATE')
)
SELECT DISTINCT rule, object FROM finding ORDER BY rule, object

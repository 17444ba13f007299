-- The catalogue gate: every row is a fault in the schema. The allow-lists are
-- closed: whoever adds to them says here why a table may be without a workspace.
WITH
global (relname) AS (VALUES
    ('plans'), ('prices'), ('servers'), ('leaders'), ('operator_keys'), ('installation_providers'), ('pool_runners'), ('installation'),  -- the installation's own
    ('schema_versions'), ('migration_hashes')),                                                                       -- how the schema came about
extra_policy (relname, polname, rolname) AS (VALUES  -- beside one_workspace and rows: the system door and the look-ups
    ('workspaces', 'system', 'corp_system'), ('event_heads', 'system', 'corp_system'), ('tasks', 'system', 'corp_system'), ('runs', 'system', 'corp_system'),
    ('events', 'system', 'corp_system'), ('budgets', 'system', 'corp_system'), ('allowances', 'system', 'corp_system'), ('runners', 'system', 'corp_system'),
    ('idempotency_keys', 'system', 'corp_system'), ('agents', 'system', 'corp_system'), ('repositories', 'system', 'corp_system'), ('schedules', 'system', 'corp_system'), ('blobs', 'system', 'corp_system'),
    ('api_keys', 'look_up', 'corp_auth'), ('runs', 'look_up', 'corp_auth'), ('tasks', 'look_up', 'corp_auth'), ('workspaces', 'look_up', 'corp_auth')),
unique_anywhere (index) AS (VALUES  -- only the system door writes slugs; a key's hash is of 178 random bits
    ('workspaces_slug_key'), ('api_keys_hash_key')),
definer (proname, owner, caller) AS (VALUES
    ('auth_key', 'corp_auth', 'corp_app'), ('auth_run', 'corp_auth', 'corp_app'), ('auth_lease', 'corp_auth', 'corp_app'),
    ('ensure_partitions', 'corp_owner', 'corp_system'), ('drop_partition', 'corp_owner', 'corp_system')),
append_only (relname) AS (VALUES ('agent_versions'), ('blobs'), ('steps'), ('entries'), ('calls'), ('events'), ('idempotency_keys'), ('task_dependencies')),
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
        AND (c.relname IN ('agent_versions', 'repositories', 'providers', 'blobs', 'entries', 'calls', 'steps', 'schedules')
            OR a.attname IN ('prompt', 'check_command', 'text', 'data', 'spec', 'diffstat', 'check_result', 'instructions', 'credential', 'key', 'request_hash')
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
mine (expr) AS (VALUES ('(workspace_id = ( SELECT (NULLIF(current_setting(''app.workspace_id''::text, true), ''''::text))::uuid AS "nullif"))')),
finding (rule, object) AS (
    SELECT 'row-level security is not enabled and forced', relname FROM ten WHERE NOT (relrowsecurity AND relforcerowsecurity)
    UNION ALL SELECT 'table without workspace_id', relname FROM tab WHERE oid NOT IN (SELECT oid FROM ten) AND relname NOT IN (SELECT relname FROM global)
    UNION ALL SELECT 'workspace_id may be null', relname FROM ten WHERE NOT attnotnull
    UNION ALL SELECT 'no restrictive policy for the workspace', relname FROM ten t WHERE NOT EXISTS (
        SELECT FROM pol p, mine WHERE p.polrelid = t.oid AND NOT p.polpermissive AND p.polcmd = '*' AND p.roles = '{corp_app}' AND p.qual = mine.expr AND p.withcheck = mine.expr)
    UNION ALL SELECT 'policy that is not on the list', relname || '.' || polname FROM pol p
        WHERE NOT (polname IN ('one_workspace', 'rows') AND roles = '{corp_app}')
            AND NOT EXISTS (SELECT FROM extra_policy e WHERE e.relname = p.relname AND e.polname = p.polname AND p.roles = ARRAY[e.rolname])
    UNION ALL SELECT 'setting read for every row', relname || '.' || polname FROM pol WHERE concat(qual, withcheck) LIKE '%current_setting%' AND concat(qual, withcheck) NOT LIKE '%SELECT%'
    UNION ALL SELECT 'foreign key without workspace_id', c.conname::text FROM pg_constraint c JOIN ten t ON t.oid = c.conrelid JOIN ten r ON r.oid = c.confrelid
        WHERE c.contype = 'f' AND NOT EXISTS (SELECT FROM unnest(c.conkey, c.confkey) k (a, b) WHERE k.a = t.ws AND k.b = r.ws)
    UNION ALL SELECT 'foreign key out of a workspace into a table that is not a list of the installation', c.conname::text FROM pg_constraint c JOIN ten t ON t.oid = c.conrelid JOIN tab r ON r.oid = c.confrelid
        WHERE c.contype = 'f' AND r.oid NOT IN (SELECT oid FROM ten) AND r.relname NOT IN ('plans', 'prices')
    UNION ALL SELECT 'unique without workspace_id', i.indexrelid::regclass::text FROM pg_index i JOIN ten t ON t.oid = i.indrelid
        WHERE i.indisunique AND NOT t.ws = ANY (i.indkey) AND i.indexrelid::regclass::text NOT IN (SELECT index FROM unique_anywhere)
    UNION ALL SELECT 'no index begins with workspace_id', relname FROM ten t WHERE NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = t.oid AND i.indkey[0] = t.ws AND i.indpred IS NULL)
    UNION ALL SELECT 'indexed column whose operators leak, so that the index is no use under row-level security', i.indexrelid::regclass || '.' || a.attname
        FROM ten t JOIN pg_index i ON i.indrelid = t.oid JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = ANY (i.indkey) JOIN pg_type y ON y.oid = a.atttypid
        WHERE y.typtype = 'e' OR y.typcategory = 'A' OR a.atttypid IN ('jsonb'::regtype, 'numeric'::regtype, 'tsvector'::regtype)
    UNION ALL SELECT 'view without security_invoker', relname FROM rel WHERE relkind = 'v' AND NOT coalesce(reloptions && ARRAY['security_invoker=true', 'security_invoker=on'], false)
    UNION ALL SELECT 'materialised view', relname FROM rel WHERE relkind = 'm'
    UNION ALL SELECT 'trigger', t.relname || '.' || g.tgname FROM pg_trigger g JOIN tab t ON t.oid = g.tgrelid WHERE NOT g.tgisinternal
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
            OR v.name = 'DELETE' AND has_table_privilege(r.rolname, t.oid, v.name) AND (r.rolname, t.relname) NOT IN (('corp_system', 'idempotency_keys'), ('corp_system', 'servers'))
            OR v.name = 'UPDATE' AND r.rolname = 'corp_app' AND t.relname IN (SELECT relname FROM append_only) AND has_any_column_privilege(r.rolname, t.oid, v.name)
            OR v.name IN ('INSERT', 'UPDATE') AND r.rolname = 'corp_app' AND t.relname IN (SELECT relname FROM global) AND has_any_column_privilege(r.rolname, t.oid, v.name)
    UNION ALL SELECT 'partition reached past its parent', r.rolname || ' ' || t.relname FROM roles r, tab t WHERE t.relispartition AND (
        has_any_column_privilege(r.rolname, t.oid, 'SELECT') OR has_any_column_privilege(r.rolname, t.oid, 'INSERT') OR has_any_column_privilege(r.rolname, t.oid, 'UPDATE') OR has_table_privilege(r.rolname, t.oid, 'DELETE'))
    UNION ALL SELECT 'right of everybody', t.relname FROM rel t, aclexplode(t.relacl) x WHERE x.grantee = 0
    UNION ALL SELECT 'right of everybody', t.relname || '.' || a.attname FROM rel t JOIN pg_attribute a ON a.attrelid = t.oid, aclexplode(a.attacl) x WHERE x.grantee = 0
    UNION ALL SELECT 'sequence in a role''s hands', r.rolname || ' ' || s.relname FROM roles r, rel s WHERE s.relkind = 'S' AND has_sequence_privilege(r.rolname, s.oid, 'USAGE, SELECT, UPDATE')
    UNION ALL SELECT 'secret column readable by', s.rolname || ' ' || s.relname || '.' || s.attname FROM secret s
        WHERE has_column_privilege(s.rolname, format('public.%I', s.relname), s.attname, 'SELECT')
    UNION ALL SELECT 'hash readable by the application', 'api_keys.hash' WHERE has_column_privilege('corp_app', 'public.api_keys', 'hash', 'SELECT')
    UNION ALL SELECT 'schema in which a role may create', r.rolname FROM (SELECT rolname FROM roles UNION ALL SELECT 'public') r WHERE has_schema_privilege(r.rolname, 'public', 'CREATE')
)
SELECT DISTINCT rule, object FROM finding ORDER BY rule, object

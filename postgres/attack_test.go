package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// twoFurnished are two workspaces with a row in every table.
func twoFurnished(t *testing.T) (env *pgtest.Env, mine, theirs corp.WorkspaceID) {
	t.Helper()
	env = pgtest.Database(t)
	mine, theirs = env.Workspace(t), env.Workspace(t)
	furnish(t, env, mine)
	furnish(t, env, theirs)
	return env, mine, theirs
}

// ask is one value of a statement on a connection that is open.
func ask[T any](t *testing.T, conn *pgx.Conn, sql string, args ...any) (v T) {
	t.Helper()
	ok(t, conn.QueryRow(t.Context(), sql, args...).Scan(&v))
	return v
}

const (
	selectColumns = `SELECT array_agg(quote_ident(attname) ORDER BY attnum) FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped`
	selectKey     = `
		SELECT array_agg(a.attname::text ORDER BY k.i) FROM pg_constraint c, unnest(c.conkey) WITH ORDINALITY k (n, i)
		JOIN pg_attribute a ON a.attnum = k.n WHERE a.attrelid = c.conrelid AND c.conrelid = $1::regclass AND c.contype = 'p'`
)

// What the two statements that write or change do with a row that is there already:
// nothing, when it is another workspace's.
// Attack case 24. Control: in its own workspace each statement does what it says, in every table that the server's role may write.
func TestNobodyWritesIntoAnotherWorkspaceByUpsertOrMerge(t *testing.T) {
	t.Parallel()
	env, mine, theirs := twoFurnished(t)
	super, app := connect(t, env.SuperURL), connect(t, env.AppURL)
	before := fingerprint(t, env, theirs)
	worked := map[string]int{}
	for _, table := range tenantTables(t, super) {
		key, columns := ask[[]string](t, super, selectKey, table), ask[[]string](t, super, selectColumns, table)
		row := `SELECT row_to_json(x)::text FROM ` + table + ` x WHERE workspace_id = $1 LIMIT 1`
		own, foreign := ask[string](t, super, row, mine), ask[string](t, super, row, theirs)
		var same []string
		for _, column := range key {
			same = append(same, "t."+column+" = s."+column)
		}
		change := anyColumn(t, super, table)
		column, _, _ := strings.Cut(change, " = ")
		from := `json_populate_record(NULL::` + table + `, $1::text::json) s`
		for what, sql := range map[string]string{
			"insert or nothing": `INSERT INTO ` + table + ` SELECT s.* FROM ` + from + ` ON CONFLICT DO NOTHING`,
			"insert or update":  `INSERT INTO ` + table + ` AS t SELECT s.* FROM ` + from + ` ON CONFLICT (` + strings.Join(key, ", ") + `) DO UPDATE SET ` + column + ` = t.` + column,
			"merge":             `MERGE INTO ` + table + ` t USING (SELECT * FROM ` + from + `) s ON ` + strings.Join(same, " AND ") + ` WHEN MATCHED THEN UPDATE SET ` + column + ` = t.` + column + ` WHEN NOT MATCHED THEN INSERT VALUES (s.` + strings.Join(columns, ", s.") + `)`,
			"merge and delete":  `MERGE INTO ` + table + ` t USING (SELECT * FROM ` + from + `) s ON ` + strings.Join(same, " AND ") + ` WHEN MATCHED THEN DELETE`,
		} {
			if _, err := asApp(t, app, mine.UUID(), sql, own); err == nil {
				worked[what]++
			} else if sqlState(err) != "42501" || strings.Contains(err.Error(), "row-level security") {
				t.Errorf("positive control: %s in %s: %v", what, table, err)
			}
			if n, err := asApp(t, app, mine.UUID(), sql, foreign); sqlState(err) != "42501" && (err != nil || n != 0 || what != "merge and delete") {
				t.Errorf("%s into another workspace's %s: %d rows, %v", what, table, n, err)
			}
		}
	}
	if worked["insert or nothing"] < 15 || worked["insert or update"] < 8 || worked["merge"] < 5 {
		t.Errorf("too few of the controls were allowed at all: %v", worked)
	}
	if after := fingerprint(t, env, theirs); after != before {
		t.Errorf("it was changed\n%s\n%s", before, after)
	}
	t.Logf("the server's own: %v", worked)
}

// A deletion that takes other rows along takes none of another workspace's or
// person's: there is no such key between workspaces' tables that does not hold the
// workspace, and a person's end leaves the others' sessions.
// Attack case 26. Control: the deleted person's own rows are gone.
func TestADeletionTakesAlongOnlyItsOwn(t *testing.T) {
	t.Parallel()
	env, mine, theirs := twoFurnished(t)
	loose := pgtest.Value[[]string](t, env, `
		SELECT coalesce(array_agg(c.conname::text), '{}') FROM pg_constraint c
		JOIN pg_attribute w ON w.attrelid = c.conrelid AND w.attname = 'workspace_id'
		WHERE c.contype = 'f' AND (c.confdeltype IN ('c', 'n', 'd') OR c.confupdtype IN ('c', 'n', 'd')) AND NOT w.attnum = ANY (c.conkey)`)
	if len(loose) > 0 {
		t.Errorf("keys that delete or change rows of workspaces and do not hold the workspace: %v", loose)
	}
	before := fingerprint(t, env, theirs)
	user := func(n int) string {
		id := corp.NewID[corp.UserID]().UUID()
		env.Exec(t, `INSERT INTO users (user_id, email, name) VALUES ($1::uuid, $2, 'u')`, id, fmt.Sprintf("%d@example.com", n))
		env.Exec(t, `INSERT INTO sessions (user_id, id, kind, address, user_agent, expires_at, idle_ms) SELECT $1::uuid, gen_random_uuid(), 'cli', '', '', now() + interval '1 hour', 60`, id)
		return id
	}
	a, b := user(1), user(2)
	env.Exec(t, `DELETE FROM users WHERE user_id = $1`, a)
	if n := pgtest.Value[int](t, env, `SELECT count(*)::int FROM sessions WHERE user_id = $1`, a); n != 0 {
		t.Errorf("%d sessions are left of the deleted person", n)
	}
	if n := pgtest.Value[int](t, env, `SELECT count(*)::int FROM sessions WHERE user_id = $1`, b); n != 1 {
		t.Errorf("%d sessions are left of the other person, want 1", n)
	}
	super := connect(t, env.SuperURL)
	for _, table := range tenantTables(t, super) {
		tx, err := super.Begin(t.Context())
		ok(t, err)
		// Refused because something points there, or done: either way within the workspace.
		if _, err := tx.Exec(t.Context(), `DELETE FROM `+table+` WHERE workspace_id = $1`, mine); err == nil {
			var n int64
			ok(t, tx.QueryRow(t.Context(), `SELECT count(*) FROM `+table+` WHERE workspace_id = $1`, theirs).Scan(&n))
			if n == 0 {
				t.Errorf("%s: another workspace's rows went along", table)
			}
		}
		ok(t, tx.Rollback(t.Context()))
	}
	if after := fingerprint(t, env, theirs); after != before {
		t.Errorf("it was changed\n%s\n%s", before, after)
	}
}

// secretKeys are the unique keys that hold no workspace: hashes of secrets, which
// nobody meets by chance, and the name that stands in host names.
var secretKeys = []string{"api_keys_hash_key", "invitations_hash_key", "workspaces_slug_key"}

// Every row of a workspace can stand in another one, too, under the same names and
// the same ids: nobody learns from a refusal what others have, and what has the same
// id is told apart.
// Attack cases 27 and 35. Control: each workspace reads its own thing by that id.
func TestTheSameNamesAndIDsInTwoWorkspacesAreTwoThings(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	theirs := env.Workspace(t)
	furnish(t, env, theirs)
	mine := corp.NewID[corp.WorkspaceID]()
	super := connect(t, env.SuperURL)
	_, err := super.Exec(t.Context(), `SET session_replication_role = replica`) // the order of the copies is no matter here
	ok(t, err)
	unique := map[string]string{"workspaces": `{"slug":"another"}`, "api_keys": `{"hash":"\\x01"}`, "invitations": `{"hash":"\\x01"}`}
	for _, table := range tenantTables(t, super) {
		extra := unique[table]
		if extra == "" {
			extra = "{}"
		}
		_, err := super.Exec(t.Context(), `
			INSERT INTO `+table+` SELECT r.* FROM `+table+` x, json_populate_record(NULL::`+table+`, (row_to_json(x)::jsonb || jsonb_build_object('workspace_id', $1::uuid) || $3::jsonb)::json) r
			WHERE x.workspace_id = $2`, mine, theirs, extra)
		if err != nil {
			t.Errorf("%s: the same again in another workspace: %v", table, err)
		}
	}
	global := pgtest.Value[[]string](t, env, `
		SELECT coalesce(array_agg(i.indexrelid::regclass::text ORDER BY 1), '{}') FROM pg_index i
		JOIN pg_attribute w ON w.attrelid = i.indrelid AND w.attname = 'workspace_id' JOIN pg_class c ON c.oid = i.indrelid
		WHERE i.indisunique AND NOT w.attnum = ANY (i.indkey) AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace`)
	for _, index := range global {
		if !containsPrefix(secretKeys, index) {
			t.Errorf("%s is unique over all workspaces: a refusal tells what others have", index)
		}
	}
	task := pgtest.Value[string](t, env, `SELECT id::text FROM tasks WHERE workspace_id = $1 AND prompt = 'p' LIMIT 1`, theirs)
	var id corp.TaskID
	ok(t, id.Scan(task))
	env.Exec(t, `UPDATE tasks SET prompt = 'mine' WHERE workspace_id = $1 AND id = $2::uuid`, mine, task)
	for ws, want := range map[corp.WorkspaceID]string{mine: "mine", theirs: "p"} {
		for range 2 {
			if got := must(env.DB.In(ws).Task(t.Context(), id))(t); got.Prompt != want {
				t.Errorf("%s reads %q, want %q", ws, got.Prompt, want)
			}
		}
	}
	_, err = env.DB.In(mine).CancelTask(t.Context(), actor, id)
	ok(t, err)
	if got := must(env.DB.In(theirs).Task(t.Context(), id))(t); got.CancelAt != nil {
		t.Error("the other workspace's task of the same id was cancelled")
	}
}

// A condition is never evaluated for a row that the policy hides, however it would
// tell of it: by an error, a cast, or a message.
// Attack case 28. Control: for somebody whom no policy binds the same statement fails, or tells.
func TestNoConditionTellsOfHiddenRows(t *testing.T) {
	t.Parallel()
	env, mine, theirs := twoFurnished(t)
	super, app := connect(t, env.SuperURL), connect(t, env.AppURL)
	for _, table := range tenantTables(t, super) {
		sql := `SELECT count(*) FROM ` + table + ` WHERE 1 / (CASE WHEN workspace_id = '` + theirs.UUID() + `' THEN 0 ELSE 1 END) = 1`
		if _, err := asApp(t, app, mine.UUID(), sql); err != nil {
			t.Errorf("%s: %v", table, err)
		}
		if _, err := super.Exec(t.Context(), sql); sqlState(err) != "22012" {
			t.Errorf("positive control: %s: %v", table, err)
		}
	}
	env.Exec(t, `UPDATE tasks SET prompt = CASE workspace_id WHEN $1::uuid THEN '7' ELSE 'hidden' END`, mine)
	for _, sql := range []string{
		`SELECT count(*) FROM tasks WHERE prompt::int > 0`,
		`SELECT count(*) FROM tasks WHERE ('{"' || prompt || '"}')::jsonb IS NOT NULL OR true`,
		`SELECT count(*) FROM tasks WHERE to_date(prompt, 'J') IS NOT NULL`,
	} {
		_, err := asApp(t, app, mine.UUID(), sql)
		if err != nil && strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v", sql, err)
		}
	}
	if _, err := super.Exec(t.Context(), `SELECT count(*) FROM tasks WHERE prompt::int > 0`); err == nil || !strings.Contains(err.Error(), "hidden") {
		t.Errorf("positive control: %v", err)
	}
	// A function of one's own, cheap enough to be evaluated first, if it can be made at all.
	const tell = `CREATE FUNCTION %s.tell(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE NOTICE 'told %%', $1; RETURN true; END $$`
	for _, schema := range []string{"pg_temp", "public"} {
		if _, err := app.Exec(t.Context(), fmt.Sprintf(tell, schema)); err == nil {
			t.Errorf("the server's role may make a function in %s", schema)
		}
	}
	var told strings.Builder
	config, err := pgx.ParseConfig(env.AppURL)
	ok(t, err)
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { told.WriteString(n.Message + "\n") }
	listening, err := pgx.ConnectConfig(t.Context(), config)
	ok(t, err)
	defer func() { _ = listening.Close(context.WithoutCancel(t.Context())) }()
	env.Exec(t, fmt.Sprintf(tell, "public"))
	if _, err := asApp(t, listening, mine.UUID(), `SELECT count(*) FROM tasks WHERE public.tell(prompt)`); err != nil {
		t.Fatal(err)
	}
	if got := told.String(); strings.Contains(got, "hidden") || !strings.Contains(got, "told 7") {
		t.Errorf("a function of somebody else's was told %q, want only its own workspace's 7", got)
	}
}

// Attack case 30. Control: the rows are read through their table.
func TestNoPartitionIsReachedPastItsTable(t *testing.T) {
	t.Parallel()
	env, mine, _ := twoFurnished(t)
	app, system := connect(t, env.AppURL), connect(t, env.SystemURL)
	partitions := pgtest.Value[[]string](t, env, `SELECT array_agg(c.oid::regclass::text ORDER BY 1) FROM pg_class c WHERE c.relispartition AND c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace`)
	if len(partitions) < 10 {
		t.Fatalf("only %d partitions", len(partitions))
	}
	for _, name := range partitions {
		for _, sql := range []string{`SELECT count(*) FROM ` + name, `DELETE FROM ` + name, `UPDATE ` + name + ` SET workspace_id = workspace_id`, `TRUNCATE ` + name, `COPY ` + name + ` TO STDOUT`, `ALTER TABLE ` + name + ` DISABLE ROW LEVEL SECURITY`, `DROP TABLE ` + name} {
			for who, conn := range map[string]*pgx.Conn{"the server's role": app, "the system's role": system} {
				if _, err := asApp(t, conn, mine.UUID(), sql); sqlState(err) != "42501" {
					t.Errorf("%s: %s: %v", who, sql, err)
				}
			}
		}
	}
	for _, parent := range []string{"entries", "calls", "events", "audit_events"} {
		if n, err := asApp(t, app, mine.UUID(), `SELECT workspace_id FROM `+parent); err != nil || n == 0 {
			t.Errorf("positive control: %s: %d rows, %v", parent, n, err)
		}
	}
}

// Statistics have the commonest values of a column, a plan how many rows there are,
// and a superuser's functions the disk: the server's roles get none of it.
// Attack case 32. Control: the superuser finds another workspace's values there.
func TestStatisticsAndFilesAreClosedToTheServersRoles(t *testing.T) {
	t.Parallel()
	env, mine, _ := twoFurnished(t)
	env.Exec(t, `UPDATE tasks SET prompt = 'commonest'`)
	env.Exec(t, `ANALYZE`)
	super := connect(t, env.SuperURL)
	const stats = `SELECT 1 FROM pg_stats WHERE schemaname = 'public' AND tablename = 'tasks' AND most_common_vals::text LIKE '%commonest%'`
	if tag, err := super.Exec(t.Context(), stats); err != nil || tag.RowsAffected() != 1 {
		t.Fatalf("positive control: %d rows, %v", tag.RowsAffected(), err)
	}
	tables := strings.Join(tenantTables(t, super), `', '`)
	for who, conn := range map[string]*pgx.Conn{"the server's role": connect(t, env.AppURL), "the system's role": connect(t, env.SystemURL)} {
		if n, err := asApp(t, conn, mine.UUID(), stats); err != nil || n != 0 {
			t.Errorf("%s reads %d statistics of other workspaces' rows, %v", who, n, err)
		}
		if n, err := asApp(t, conn, mine.UUID(), `SELECT 1 FROM pg_stats WHERE tablename IN ('`+tables+`')`); err != nil || n != 0 {
			t.Errorf("%s reads %d statistics, %v", who, n, err)
		}
		for _, sql := range []string{
			`SELECT count(*) FROM pg_statistic`, `SELECT * FROM pg_authid`, `SELECT * FROM pg_shadow`, `SELECT pg_read_file('PG_VERSION')`, `SELECT pg_ls_dir('.')`, `COPY plans TO '/tmp/x'`, `COPY plans TO PROGRAM 'cat'`, `COPY plans FROM PROGRAM 'id'`,
			`SELECT lo_import('/etc/passwd')`, `SET ROLE corp_owner`, `SET ROLE corp_auth`, `SET SESSION AUTHORIZATION corp_owner`, `SET session_replication_role = replica`, `ALTER ROLE corp_app BYPASSRLS`, `CREATE TABLE mine (x int)`, `CREATE TEMP TABLE mine (x int)`,
			`ALTER TABLE tasks DISABLE ROW LEVEL SECURITY`, `DROP POLICY one_workspace ON tasks`, `TRUNCATE tasks`,
			`CREATE POLICY mine ON tasks USING (true)`, `GRANT corp_owner TO corp_app`, `SELECT pg_reload_conf()`, `SELECT pg_stat_reset()`,
		} {
			if _, err := asApp(t, conn, mine.UUID(), sql); sqlState(err) != "42501" {
				t.Errorf("%s: %s: %v", who, sql, err)
			}
		}
		// Off, it makes a statement fail that a policy would narrow; it never lifts the policy.
		if n, err := asApp(t, conn, mine.UUID(), `SET LOCAL row_security = off; SELECT 1 FROM entries`); who == "the server's role" && err == nil {
			t.Errorf("with row_security off %s reads %d entries", who, n)
		}
	}
	if sequences := pgtest.Value[int](t, env, `SELECT count(*)::int FROM pg_sequences WHERE schemaname = 'public' AND sequencename NOT LIKE 'schema_versions%'`); sequences != 0 {
		t.Errorf("%d sequences count what all workspaces do", sequences)
	}
}

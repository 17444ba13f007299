package postgres_test

import (
	"context"
	_ "embed"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp/postgres/pgtest"
)

//go:embed testdata/gate.sql
var gate string

// gateFindings asks the catalogue in a transaction in which faults were planted,
// and takes them back.
func gateFindings(t *testing.T, conn *pgx.Conn, plant string) []string {
	t.Helper()
	ctx := t.Context()
	tx, err := conn.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	if plant != "" {
		if _, err := tx.Exec(ctx, plant); err != nil {
			t.Fatalf("plant %q: %v", plant, err)
		}
	}
	rows, err := tx.Query(ctx, gate)
	if err != nil {
		t.Fatal(err)
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		var rule, object string
		err := row.Scan(&rule, &object)
		return rule + ": " + object, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestTheCatalogueKeepsEveryRuleOfTenancy(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	conn := connect(t, env.SuperURL)
	for _, finding := range gateFindings(t, conn, "") {
		t.Error(finding)
	}
}

// A gate that never fails proves nothing: each rule must report its fault.
// Attack cases 29, 30 and 39. Control: a good table is not reported.
func TestTheCatalogueGateReportsEveryPlantedFault(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	conn := connect(t, env.SuperURL)
	const good = `CREATE TABLE things (workspace_id uuid NOT NULL REFERENCES workspaces, id uuid NOT NULL, PRIMARY KEY (workspace_id, id)); SELECT protect('things'), goes_with_workspace('things');`
	if found := gateFindings(t, conn, good); len(found) > 0 {
		t.Fatalf("a good table is reported: %v", found)
	}
	for _, fault := range []struct{ plant, want string }{
		{`CREATE TABLE notes (id uuid PRIMARY KEY)`, "table without workspace_id: notes"},
		{`CREATE TABLE notes (workspace_id uuid NOT NULL PRIMARY KEY)`, "row-level security is not enabled and forced: notes"},
		{`CREATE TABLE notes (workspace_id uuid NOT NULL PRIMARY KEY)`, "no restrictive policy for the workspace: notes"},
		{`ALTER TABLE tasks NO FORCE ROW LEVEL SECURITY`, "row-level security is not enabled and forced: tasks"},
		{`ALTER TABLE runs DISABLE ROW LEVEL SECURITY`, "row-level security is not enabled and forced: runs"},
		{`ALTER TABLE calls_` + thisMonth(t, conn) + ` NO FORCE ROW LEVEL SECURITY`, "row-level security is not enabled and forced: calls_"},
		{`CREATE TABLE notes (workspace_id uuid, id uuid PRIMARY KEY)`, "workspace_id may be null: notes"},
		{`CREATE TABLE notes (workspace_id uuid, id uuid PRIMARY KEY)`, "no index begins with workspace_id: notes"},
		{`DROP POLICY one_workspace ON tasks`, "no restrictive policy for the workspace: tasks"},
		{`DROP POLICY one_workspace ON tasks; CREATE POLICY one_workspace ON tasks AS RESTRICTIVE TO corp_app USING (true)`, "no restrictive policy for the workspace: tasks"},
		{`DROP POLICY one_workspace ON tasks; CREATE POLICY one_workspace ON tasks AS RESTRICTIVE FOR SELECT TO corp_app USING (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid))`, "no restrictive policy for the workspace: tasks"},
		{`DROP POLICY purge ON tasks`, "table that a deleted workspace would leave behind: tasks"},
		{`ALTER POLICY purge ON tasks USING (true)`, "table that a deleted workspace would leave behind: tasks"},
		{`ALTER POLICY purge ON tasks WITH CHECK (true)`, "table that a deleted workspace would leave behind: tasks"},
		{`CREATE POLICY purge ON audit_events TO corp_auth USING (true)`, "policy that is not on the list: audit_events.purge"},
		{`GRANT DELETE ON audit_events TO corp_auth`, "right that nobody needs: corp_auth DELETE audit_events"},
		{`GRANT SELECT (prompt) ON tasks TO corp_auth`, "secret column readable by: corp_auth tasks.prompt"},
		{`CREATE POLICY more ON tasks TO corp_app USING (true)`, "policy that is not on the list: tasks.more"},
		{`CREATE POLICY system ON entries TO corp_system USING (true)`, "policy that is not on the list: entries.system"},
		{`ALTER POLICY rows ON tasks TO public`, "policy that is not on the list: tasks.rows"},
		{`DROP POLICY system ON refresh_tokens`, "policy that is missing: refresh_tokens.system"},
		{`DROP POLICY rows ON sessions`, "policy that is missing: sessions.rows"},
		{`DROP POLICY rows ON calls_` + thisMonth(t, conn), "policy that is missing: calls_"},
		{`CREATE POLICY slow ON tasks AS RESTRICTIVE TO corp_app USING (workspace_id::text = current_setting('app.workspace_id'))`, "setting read for every row: tasks.slow"},
		{good + `CREATE UNIQUE INDEX things_id ON things (id); CREATE TABLE parts (workspace_id uuid NOT NULL, id uuid NOT NULL, thing_id uuid REFERENCES things (id), PRIMARY KEY (workspace_id, id)); SELECT protect('parts')`, "foreign key without workspace_id: parts_thing_id_fkey"},
		{good + `ALTER TABLE things ADD server uuid REFERENCES servers`, "foreign key out of a workspace into a table that is not a list of the installation: things_server_fkey"},
		{good + `CREATE UNIQUE INDEX things_id ON things (id)`, "unique without workspace_id: things_id"},
		{good + `ALTER TABLE things ADD tags text[]; CREATE INDEX things_tags ON things (workspace_id, tags)`, "indexed column whose operators leak, so that the index is no use under row-level security: things_tags.tags"},
		{`ALTER TABLE sessions NO FORCE ROW LEVEL SECURITY`, "a person's table that is not forced behind the person: sessions"},
		{`DROP POLICY one_person ON users`, "a person's table that is not forced behind the person: users"},
		{`ALTER TABLE refresh_tokens ADD FOREIGN KEY (session_id) REFERENCES sessions (id)`, "a person's table whose keys are not by person: refresh_tokens_session_id_fkey"},
		{`GRANT SELECT ON sessions TO corp_app`, "hash readable by the application: sessions.secret_hash"},
		{`GRANT UPDATE ON email_links TO corp_app`, "right that nobody needs: corp_app UPDATE email_links"},
		{`GRANT SELECT ON users TO corp_system`, "secret column readable by: corp_system users.password_hash"},
		{`GRANT EXECUTE ON FUNCTION auth_email(text) TO corp_system`, "definer function that is not on the list: auth_email"},
		{`CREATE VIEW open_tasks AS SELECT * FROM tasks`, "view without security_invoker: open_tasks"},
		{`CREATE MATERIALIZED VIEW totals AS SELECT count(*) FROM calls`, "materialised view: totals"}, //nolint:misspell // SQL's own word
		{`CREATE TRIGGER t BEFORE UPDATE ON plans FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()`, "trigger: plans.t"},
		{`DROP TRIGGER stays ON audit_events`, "rows that can be changed: audit_events.stays"},
		{`ALTER TABLE audit_events_` + thisMonth(t, conn) + ` DISABLE TRIGGER stays`, "rows that can be changed: audit_events_"},
		{`DROP TRIGGER stays_whole ON audit_events_` + thisMonth(t, conn), "rows that can be changed: audit_events_"},
		{`ALTER TABLE audit_links DISABLE TRIGGER ALL`, "rows that can be changed: audit_links.stays"},
		{`CREATE OR REPLACE TRIGGER stays BEFORE UPDATE ON audit_checkpoints FOR EACH ROW EXECUTE FUNCTION refuse_change()`, "rows that can be changed: audit_checkpoints.stays"},
		{`CREATE TRIGGER stays BEFORE UPDATE ON plans FOR EACH ROW EXECUTE FUNCTION refuse_change()`, "trigger: plans.stays"},
		{`GRANT UPDATE (actor) ON audit_events TO corp_system`, "right that nobody needs: corp_system UPDATE audit_events"},
		{`CREATE POLICY more ON audit_personal TO corp_system USING (true)`, "policy that is not on the list: audit_personal.more"},
		{`CREATE FUNCTION peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM tasks'`, "definer function that is not on the list: peek"},
		{`GRANT EXECUTE ON FUNCTION auth_key(bytea) TO public`, "definer function that is not on the list: auth_key"},
		{`ALTER FUNCTION auth_run(bytea) RESET search_path`, "definer function that is not on the list: auth_run"},
		{`ALTER FUNCTION auth_run(bytea) OWNER TO corp_owner`, "definer function that is not on the list: auth_run"},
		{`ALTER ROLE corp_app BYPASSRLS`, "role that may log in or do more than it should: corp_app"},
		{`ALTER ROLE corp_auth LOGIN`, "role that may log in or do more than it should: corp_auth"},
		{`ALTER TABLE plans OWNER TO corp_app`, "role that owns a table or may become its owner: corp_app plans"},
		{`GRANT corp_system TO corp_app`, "role that is a member of another one: corp_app of corp_system"},
		{`GRANT pg_read_all_data TO corp_system`, "role that is a member of another one: corp_system of pg_read_all_data"},
		{`GRANT TRUNCATE ON events TO corp_app`, "right that nobody needs: corp_app TRUNCATE events"},
		{`GRANT DELETE ON calls TO corp_app`, "right that nobody needs: corp_app DELETE calls"},
		{`GRANT UPDATE (cost_nanodollars) ON calls TO corp_app`, "right that nobody needs: corp_app UPDATE calls"},
		{`GRANT INSERT ON prices TO corp_app`, "right that nobody needs: corp_app INSERT prices"},
		{`GRANT SELECT ON entries_` + thisMonth(t, conn) + ` TO corp_app`, "partition reached past its parent: corp_app entries_"},
		{`GRANT SELECT ON plans TO public`, "right of everybody: plans"},
		{`GRANT SELECT (name) ON plans TO public`, "right of everybody: plans.name"},
		{`CREATE SEQUENCE volume; GRANT USAGE ON SEQUENCE volume TO corp_app`, "sequence in a role's hands: corp_app volume"},
		{`GRANT SELECT ON tasks TO corp_system`, "secret column readable by: corp_system tasks.prompt"},
		{`GRANT SELECT (run_key_hash) ON runs TO corp_system`, "secret column readable by: corp_system runs.run_key_hash"},
		{`GRANT SELECT ON api_keys TO corp_app`, "hash readable by the application: api_keys.hash"},
		{`GRANT CREATE ON SCHEMA public TO corp_app`, "schema in which a role may create: corp_app"},
	} {
		found := gateFindings(t, conn, fault.plant)
		if !containsPrefix(found, fault.want) {
			t.Errorf("planted %s\nwant %q\ngot %q", fault.plant, fault.want, found)
		}
	}
}

func thisMonth(t *testing.T, conn *pgx.Conn) (month string) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), `SELECT to_char(now(), 'YYYYMM')`).Scan(&month); err != nil {
		t.Fatal(err)
	}
	return month
}

func containsPrefix(list []string, prefix string) bool {
	for _, s := range list {
		if strings.HasPrefix(s, prefix) {
			return true
		}
	}
	return false
}

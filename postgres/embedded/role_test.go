package embedded

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// privileges of a role that would let it past row-level security, or make others.
type privileges struct {
	Login, Super, BypassRLS, CreateDB, CreateRole, Replication bool
	Memberships                                                int
}

func rolePrivileges(t *testing.T, s *Server) map[string]privileges {
	t.Helper()
	rows, err := connect(t, s.SuperURL("postgres")).Query(deadline(t), `
		SELECT rolname, rolcanlogin, rolsuper, rolbypassrls, rolcreatedb, rolcreaterole, rolreplication,
		       (SELECT count(*) FROM pg_auth_members m WHERE m.member = r.oid)
		FROM pg_roles r WHERE rolname LIKE 'corp%'`)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]privileges{}
	var name string
	var p privileges
	_, err = pgx.ForEachRow(rows, []any{&name, &p.Login, &p.Super, &p.BypassRLS, &p.CreateDB, &p.CreateRole, &p.Replication, &p.Memberships}, func() error {
		all[name] = p
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestRolesMayDoNoMoreThanTheyMust(t *testing.T) {
	t.Parallel()
	cfg := quick(t, newDir(t))
	s := startServer(t, cfg)
	want := map[string]privileges{
		SuperRole: {Login: true, Super: true, BypassRLS: true, CreateDB: true, CreateRole: true, Replication: true},
		OwnerRole: {Login: true}, AppRole: {Login: true}, SystemRole: {Login: true},
	}
	if diff := cmp.Diff(want, rolePrivileges(t, s)); diff != "" {
		t.Errorf("roles (-want +got):\n%s", diff)
	}
	// What somebody changed is put right by the next start.
	execute(t, s.SuperURL("postgres"), "ALTER ROLE corp_app SUPERUSER BYPASSRLS CREATEDB CREATEROLE REPLICATION",
		"ALTER ROLE corp_system NOLOGIN", "ALTER DATABASE corp OWNER TO corp_super", "GRANT ALL ON DATABASE corp TO PUBLIC")
	stopServer(t, s)
	s = startServer(t, cfg)
	if diff := cmp.Diff(want, rolePrivileges(t, s)); diff != "" {
		t.Errorf("roles after a restart (-want +got):\n%s", diff)
	}
	if owner := query[string](t, s.SuperURL("postgres"), "SELECT datdba::regrole::text FROM pg_database WHERE datname = 'corp'"); owner != OwnerRole {
		t.Errorf("the database belongs to %s, want %s", owner, OwnerRole)
	}
}

func TestEachURLLogsInAsItsRole(t *testing.T) {
	t.Parallel()
	s := startServer(t, quick(t, newDir(t)))
	for url, want := range map[string]string{
		s.AppURL(): "corp_app corp", s.SystemURL(): "corp_system corp", s.OwnerURL(): "corp_owner corp",
		s.SuperURL("postgres"): "corp_super postgres", s.SuperURL(Database): "corp_super corp",
	} {
		if got := query[string](t, url, "SELECT current_user || ' ' || current_database()"); got != want {
			t.Errorf("%s logs in as %s, want %s", url, got, want)
		}
	}
}

func TestTheAppCannotGetPastRowLevelSecurity(t *testing.T) {
	t.Parallel()
	s := startServer(t, quick(t, newDir(t)))
	execute(t, s.OwnerURL(),
		"CREATE TABLE doc (workspace text NOT NULL)", "INSERT INTO doc VALUES ('a'), ('b'), ('b')",
		"ALTER TABLE doc ENABLE ROW LEVEL SECURITY", "ALTER TABLE doc FORCE ROW LEVEL SECURITY",
		"CREATE POLICY own ON doc TO corp_app USING (workspace = current_setting('app.workspace', true))",
		"GRANT SELECT, INSERT ON doc TO corp_app")
	if n := query[int](t, s.AppURL(), "SELECT count(*) FROM doc"); n != 0 {
		t.Errorf("without a workspace %d rows are seen", n)
	}
	for _, statement := range []string{
		"SET app.workspace = 'a'; INSERT INTO doc VALUES ('b')",
		"SET row_security = off; SELECT * FROM doc",
		"ALTER TABLE doc DISABLE ROW LEVEL SECURITY",
		"SET ROLE corp_owner",
		"SET SESSION AUTHORIZATION corp_super",
		"ALTER ROLE corp_app BYPASSRLS",
		"CREATE ROLE other",
		"CREATE DATABASE other",
		"CREATE TABLE mine (n int)",
		"CREATE TEMPORARY TABLE mine (n int)",
		"CREATE EXTENSION pgcrypto",
		"ALTER SYSTEM SET fsync = off",
		"COPY (SELECT 1) TO PROGRAM 'true'",
		"SELECT pg_read_file('/etc/passwd')",
	} {
		_, err := connect(t, s.AppURL()).PgConn().Exec(deadline(t), statement).ReadAll()
		if _, ok := errors.AsType[*pgconn.PgError](err); !ok {
			t.Errorf("%s: %v, want that PostgreSQL refuses", statement, err)
		}
	}
	if _, err := pgx.Connect(deadline(t), s.url(AppRole, "postgres")); err == nil {
		t.Error("the app may connect to the maintenance database")
	}
}

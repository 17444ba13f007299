package postgres_test

import (
	"context"
	"io/fs"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/migrations"
	"github.com/genericcorp/corp/postgres/pgtest"
	"github.com/genericcorp/corp/postgres/schema"
)

// build is the migrations of some build: this one's, with changes.
func build(t *testing.T, changes map[string]string) fs.FS {
	t.Helper()
	files := fstest.MapFS{}
	names, err := fs.Glob(migrations.Files, "*.sql")
	ok(t, err)
	for _, name := range names {
		text, err := fs.ReadFile(migrations.Files, name)
		ok(t, err)
		files[name] = &fstest.MapFile{Data: text}
	}
	for name, text := range changes {
		files[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return files
}

func newest(t *testing.T) int64 {
	t.Helper()
	names, err := fs.Glob(migrations.Files, "*.sql")
	ok(t, err)
	slices.Sort(names)
	number, _, _ := strings.Cut(names[len(names)-1], "_")
	version, err := strconv.ParseInt(number, 10, 64)
	ok(t, err)
	return version
}

func TestMigratingAnEmptyDatabaseMakesTheSchemaAndDoingItAgainChangesNothing(t *testing.T) {
	t.Parallel()
	env := pgtest.Empty(t)
	from, to, err := schema.Migrate(t.Context(), env.OwnerURL)
	if err != nil || from != 0 || to != newest(t) {
		t.Fatalf("from %d to %d, %v", from, to, err)
	}
	before := catalogue(t, env)
	from, to, err = schema.Migrate(t.Context(), env.OwnerURL)
	if err != nil || from != to || to != newest(t) {
		t.Errorf("again: from %d to %d, %v", from, to, err)
	}
	if catalogue(t, env) != before {
		t.Error("the second time changed the catalogue")
	}
	db, err := postgres.Open(t.Context(), postgres.Config{AppURL: env.AppURL, SystemURL: env.SystemURL})
	ok(t, err)
	db.Close()
}

// catalogue is a fingerprint of everything in the schema.
func catalogue(t *testing.T, env *pgtest.Env) string {
	t.Helper()
	return pgtest.Value[string](t, env, `
		SELECT md5(string_agg(x, ',' ORDER BY x)) FROM (
			SELECT c.relname || c.relkind::text || coalesce(c.relacl::text, '') || c.relfilenode FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace
			UNION ALL SELECT version_id || tstamp::text FROM schema_versions
			UNION ALL SELECT version || hash::text FROM migration_hashes) AS all_of_it (x)`)
}

func TestSeveralMigratingAtOnceDoItOnce(t *testing.T) {
	t.Parallel()
	env := pgtest.Empty(t)
	var all sync.WaitGroup
	moved := make([]bool, 6)
	for i := range moved {
		all.Go(func() {
			from, to, err := schema.Migrate(t.Context(), env.OwnerURL)
			if err != nil {
				t.Error(err)
			}
			moved[i] = from != to
		})
	}
	all.Wait()
	n := 0
	for _, m := range moved {
		if m {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d of them migrated, want one", n)
	}
}

func TestASchemaFromANewerBuildIsRefused(t *testing.T) {
	t.Parallel()
	env := pgtest.Empty(t)
	newer := build(t, map[string]string{"00099_future.sql": "-- +goose Up\nSELECT 1;\n"})
	_, _, err := schema.MigrateWith(t.Context(), env.OwnerURL, newer)
	ok(t, err)
	_, _, err = schema.Migrate(t.Context(), env.OwnerURL)
	wantCode(t, err, "newer_schema")
	_, err = postgres.Open(t.Context(), postgres.Config{AppURL: env.AppURL, SystemURL: env.SystemURL})
	wantCode(t, err, "newer_schema")
}

func TestAnAppliedMigrationThatWasChangedIsRefused(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	changed := build(t, map[string]string{"00001_installation.sql": "-- +goose Up\nSELECT 1;\n", "00099_future.sql": "-- +goose Up\nCREATE TABLE future ();\n"})
	_, _, err := schema.MigrateWith(t.Context(), env.OwnerURL, changed)
	wantCode(t, err, "changed_migration")
	if pgtest.Value[bool](t, env, `SELECT to_regclass('future') IS NOT NULL`) {
		t.Error("it was applied all the same")
	}
}

func TestAMigrationThatFailsLeavesNothingAndCanBeMended(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	broken := build(t, map[string]string{"00099_future.sql": "-- +goose Up\nCREATE TABLE future ();\nSELECT 1/0;\n"})
	_, _, err := schema.MigrateWith(t.Context(), env.OwnerURL, broken)
	wantKind(t, err, corp.KindInternal)
	if pgtest.Value[bool](t, env, `SELECT to_regclass('future') IS NOT NULL`) {
		t.Error("half of it is there")
	}
	mended := build(t, map[string]string{"00099_future.sql": "-- +goose Up\nCREATE TABLE future ();\n"})
	from, to, err := schema.MigrateWith(t.Context(), env.OwnerURL, mended)
	if err != nil || from != newest(t) || to != 99 {
		t.Errorf("mended: from %d to %d, %v", from, to, err)
	}
}

func TestAnOldSchemaIsNotServed(t *testing.T) {
	t.Parallel()
	env := pgtest.Empty(t)
	_, err := postgres.Open(t.Context(), postgres.Config{AppURL: env.AppURL, SystemURL: env.SystemURL})
	wantCode(t, err, "old_schema")
}

func TestPreparingTwiceChangesNothing(t *testing.T) {
	t.Parallel()
	env := pgtest.Empty(t)
	ok(t, schema.Prepare(t.Context(), env.SuperURL, nil))
	ok(t, schema.Prepare(t.Context(), env.SuperURL, nil))
	wantKind(t, schema.Prepare(t.Context(), env.SuperURL, map[string]string{"postgres": "x"}), corp.KindInvalid)
	wantKind(t, schema.Prepare(t.Context(), env.SuperURL, map[string]string{"corp_app": "naïve"}), corp.KindInvalid)
}

// A managed server gives out no superuser: somebody who may create roles and
// owns the database must do.
func TestAnAdministratorWhoIsNoSuperuserCanPrepareAndMigrate(t *testing.T) {
	t.Parallel()
	env := pgtest.Empty(t)
	admin := "admin_of_" + env.Name
	env.Exec(t, `CREATE ROLE `+admin+` LOGIN CREATEROLE`)
	env.Exec(t, `ALTER DATABASE `+env.Name+` OWNER TO `+admin)
	for _, role := range []string{"corp_app", "corp_system", "corp_auth"} { // as if it had made them
		env.Exec(t, `GRANT `+role+` TO `+admin+` WITH ADMIN TRUE, INHERIT FALSE, SET FALSE`)
	}
	t.Cleanup(func() {
		env.Exec(t, `REASSIGN OWNED BY `+admin+` TO CURRENT_USER`)
		env.Exec(t, `DROP OWNED BY `+admin)
		env.Exec(t, `DROP ROLE `+admin)
	})
	u, err := url.Parse(env.SuperURL)
	ok(t, err)
	u.User = url.User(admin)
	ok(t, schema.Prepare(t.Context(), u.String(), nil))
	if _, _, err := schema.Migrate(t.Context(), u.String()); err != nil {
		t.Fatal(err)
	}
	db, err := postgres.Open(t.Context(), postgres.Config{AppURL: env.AppURL, SystemURL: env.SystemURL})
	ok(t, err)
	db.Close()
}

// Attack case 38. Control: a safe database is opened.
func TestOpenRefusesWhatIsNotSafe(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]struct {
		plant string
		role  string // who connects as the application; empty for corp_app
		says  string
	}{
		"superuser":        {role: "corp_super", says: "superuser"},
		"owner":            {role: "corp_owner", says: "owns the table"},
		"wrong door":       {role: "corp_system", says: "is not corp_app"},
		"bypassrls":        {plant: `CREATE ROLE {role} LOGIN BYPASSRLS IN ROLE corp_app`, role: "{role}", says: "BYPASSRLS"},
		"member of owner":  {plant: `CREATE ROLE {role} LOGIN IN ROLE corp_app, corp_owner`, role: "{role}", says: "may become its owner"},
		"both doors":       {plant: `CREATE ROLE {role} LOGIN IN ROLE corp_app, corp_system`, role: "{role}", says: "both doors"},
		"not forced":       {plant: `ALTER TABLE tasks NO FORCE ROW LEVEL SECURITY`, says: "The table tasks does not force"},
		"not enabled":      {plant: `ALTER TABLE tasks DISABLE ROW LEVEL SECURITY`, says: "The table tasks does not force"},
		"people's, too":    {plant: `ALTER TABLE sessions NO FORCE ROW LEVEL SECURITY`, says: "The table sessions does not force"},
		"people, disabled": {plant: `ALTER TABLE users DISABLE ROW LEVEL SECURITY`, says: "The table users does not force"},
		"forgotten table":  {plant: `CREATE TABLE notes (workspace_id uuid)`, says: "The table notes does not force"},
		"schema too old":   {plant: `DELETE FROM schema_versions WHERE version_id > 1`, says: "Run corp migrate"},
		"nothing is wrong": {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := pgtest.Database(t)
			unique := strings.NewReplacer("{role}", "role_of_"+env.Name).Replace
			if fault.plant != "" {
				env.Exec(t, unique(fault.plant))
			}
			u, err := url.Parse(env.AppURL)
			ok(t, err)
			if fault.role != "" {
				u.User = url.User(unique(fault.role))
				env.Exec(t, `GRANT CONNECT ON DATABASE `+env.Name+` TO `+unique(fault.role))
				t.Cleanup(func() {
					env.Exec(t, `REVOKE CONNECT ON DATABASE `+env.Name+` FROM `+unique(fault.role))
					if strings.Contains(fault.role, "{") {
						env.Exec(t, `DROP ROLE `+unique(fault.role))
					}
				})
			}
			db, err := postgres.Open(t.Context(), postgres.Config{AppURL: u.String(), SystemURL: env.SystemURL})
			if err == nil {
				db.Close()
			}
			if fault.says == "" {
				ok(t, err)
				return
			}
			wantKind(t, err, corp.KindInvalid)
			if err == nil || !strings.Contains(err.Error(), fault.says) && !strings.Contains(hint(err), fault.says) {
				t.Errorf("%v (%s), want it to say %q", err, hint(err), fault.says)
			}
		})
	}
}

func TestOpenSaysWhenNobodyAnswersAndNeverShowsAPassword(t *testing.T) {
	t.Parallel()
	dir := path.Join(t.TempDir(), "nobody")
	_, err := postgres.Open(context.Background(), postgres.Config{AppURL: "postgres://corp_app:hunter2@/corp?host=" + dir, SystemURL: "postgres://corp_system@/corp?host=" + dir})
	wantKind(t, err, corp.KindUnavailable)
	for _, garbled := range []string{"postgres://corp_app:hunter2@[/corp", "host='hunter2"} {
		_, err := postgres.Open(t.Context(), postgres.Config{AppURL: garbled})
		wantKind(t, err, corp.KindInvalid)
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the password is in %q", err)
		}
		if _, _, err := schema.Migrate(t.Context(), garbled); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the password is in %v", err)
		}
		if err := schema.Prepare(t.Context(), garbled, nil); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the password is in %v", err)
		}
	}
}

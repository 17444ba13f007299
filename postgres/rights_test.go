package postgres_test

import (
	_ "embed"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/rights.txt anew")

// rightsText is what each role may do, in full, and the policies that are not on every
// table: whoever changes a right changes it here too, where it is read in the review.
//
//go:embed testdata/rights.txt
var rightsText string

// listRights is what the catalogue says: for each role and table the rights, with
// their columns where it is not all of them; functions; policies.
const listRights = `
	WITH roles (role) AS (VALUES ('corp_app'), ('corp_system'), ('corp_auth')),
	tab AS (SELECT oid, relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm') AND NOT relispartition),
	columns AS (
		SELECT role, relname, p, i, has_table_privilege(role, t.oid, p) AS whole,
			(SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute a WHERE a.attrelid = t.oid AND attnum > 0 AND NOT attisdropped AND has_column_privilege(role, t.oid, attnum, p)) AS parts
		FROM roles, tab t, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) WITH ORDINALITY x (p, i)),
	rights AS (
		SELECT role, relname, i, p || CASE WHEN whole THEN '' ELSE '(' || parts || ')' END AS text FROM columns WHERE whole OR parts IS NOT NULL
		UNION ALL SELECT role, relname, 9 + i, p FROM roles, tab t, unnest(ARRAY['DELETE', 'TRUNCATE', 'TRIGGER']) WITH ORDINALITY x (p, i) WHERE has_table_privilege(role, t.oid, p))
	SELECT line FROM (
		SELECT 1 AS kind, role || ' ' || relname || ': ' || string_agg(text, ' ' ORDER BY i) AS line FROM rights GROUP BY role, relname
		UNION ALL SELECT 2, role || ' EXECUTE ' || p.oid::regprocedure FROM roles, pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND has_function_privilege(role, p.oid, 'EXECUTE')
		UNION ALL SELECT 3, 'everybody EXECUTE ' || p.oid::regprocedure FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) x WHERE p.pronamespace = 'public'::regnamespace AND x.grantee = 0
		UNION ALL SELECT 4, 'policy ' || c.relname || '.' || polname || ': ' || CASE WHEN polpermissive THEN '' ELSE 'restrictive ' END || polcmd::text || ' TO ' || ARRAY(SELECT r::regrole FROM unnest(polroles) r)::text ||
				regexp_replace(coalesce(' USING ' || pg_get_expr(polqual, polrelid), '') || coalesce(' CHECK ' || pg_get_expr(polwithcheck, polrelid), ''), '\s+', ' ', 'g')
			FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid WHERE NOT c.relispartition AND polname NOT IN ('one_workspace', 'one_person', 'rows')  -- those are the gate's
	) l ORDER BY kind, line`

// Write it anew with: go test ./postgres -run Rights -update
func TestTheRolesHaveTheRightsThatAreWrittenDown(t *testing.T) {
	t.Parallel()
	super := connect(t, newGround(t).env.SuperURL)
	if *update {
		if err := os.WriteFile("testdata/rights.txt", []byte(strings.Join(list(t, super, listRights), "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		rightsText = strings.Join(list(t, super, listRights), "\n") + "\n"
	}
	for _, fault := range listedFaults(t, super) {
		t.Errorf("%s; if it is meant: go test ./postgres -run Rights -update", fault)
	}
	for _, fault := range rightFaults(t, super, ordinaryTables(t, super)) {
		t.Error(fault)
	}
}

// listedFaults is how the catalogue differs from what is written down.
func listedFaults(t *testing.T, super session) (faults []string) {
	t.Helper()
	want, got := strings.Split(strings.TrimSpace(rightsText), "\n"), list(t, super, listRights)
	for _, line := range got {
		if !slices.Contains(want, line) {
			faults = append(faults, "testdata/rights.txt does not have: "+line)
		}
	}
	for _, line := range want {
		if !slices.Contains(got, line) {
			faults = append(faults, "testdata/rights.txt has, and the database has not: "+line)
		}
	}
	return faults
}

func ordinaryTables(t *testing.T, super session) []string {
	t.Helper()
	return list(t, super, `SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY 1`)
}

// may reads what is written down: whether the role has the right on the column.
func may(role, table, right, column string) bool {
	for line := range strings.Lines(rightsText) {
		rights, found := strings.CutPrefix(strings.TrimSpace(line), role+" "+table+": ")
		if !found {
			continue
		}
		for word := range strings.FieldsSeq(rights) {
			name, columns, some := strings.Cut(strings.TrimSuffix(word, ")"), "(")
			if name == right {
				return !some || slices.Contains(strings.Split(columns, ","), column)
			}
		}
	}
	return false
}

// tries runs statements as a role and returns those that were not refused for want
// of a right. It is one statement itself: there are thousands to try.
const tries = `
	CREATE OR REPLACE FUNCTION pg_temp.tries(role text, statements text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
	DECLARE statement text;
	BEGIN
		EXECUTE format('SET LOCAL ROLE %I', role);
		FOREACH statement IN ARRAY statements LOOP
			BEGIN
				EXECUTE statement;
				RETURN NEXT statement;
			EXCEPTION WHEN insufficient_privilege THEN NULL;
			END;
		END LOOP;
		RESET ROLE;
	END $$`

// rightFaults tries every column of the tables as every role: what is written down
// works, and what is not is refused.
func rightFaults(t *testing.T, super session, tables []string) (faults []string) {
	t.Helper()
	ctx := t.Context()
	_, err := super.Exec(ctx, tries)
	ok(t, err)
	for _, table := range tables {
		columns := list(t, super, `SELECT attname::text FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum`, table)
		for _, role := range []string{"corp_app", "corp_system", "corp_auth"} {
			expect := map[string]bool{}
			for _, c := range columns {
				expect[fmt.Sprintf(`SELECT %q FROM %s WHERE false`, c, table)] = may(role, table, "SELECT", c)
				expect[fmt.Sprintf(`UPDATE %s SET %q = DEFAULT`, table, c)+` WHERE false`] = may(role, table, "UPDATE", c)
				expect[fmt.Sprintf(`INSERT INTO %s (%q) SELECT NULL WHERE false`, table, c)] = may(role, table, "INSERT", c)
			}
			expect[`DELETE FROM `+table+` WHERE false`] = may(role, table, "DELETE", "")
			var all []string
			for statement := range expect {
				all = append(all, statement)
			}
			let := list(t, super, `SELECT pg_temp.tries($1, $2)`, role, all)
			for _, statement := range all {
				if got := slices.Contains(let, statement); got != expect[statement] {
					faults = append(faults, fmt.Sprintf("%s: %s: let through %v, written down %v", role, statement, got, expect[statement]))
				}
			}
		}
	}
	return faults
}

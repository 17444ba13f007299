//go:build mutations

package postgres_test

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// fault is a deliberate one in the schema, and what has to notice: the gate, which
// reads the catalogue, what is written down, or an attempt to get through.
type fault struct {
	kind, name string
	plant      string // SQL
	tried      func(t *testing.T, g ground, tx pgx.Tx) []string

	gate, written, behaviour string // the first that each said of it
}

// Attack case 39. Control: without a fault nobody complains.
//
// Every lock of the database is taken away, one at a time, in a clone of it, and put
// back: each policy, FORCE, row-level security itself, each composite key,
// the walls of each definer function, and each right that somebody does not have.
// "make test-mutations" runs it.
func TestEveryMissingLockOfTheDatabaseIsNoticed(t *testing.T) {
	super := connect(t, newGround(t).env.SuperURL)
	all := slices.Concat(policyFaults(t, super), forceFaults(t, super), compositeFaults(t, super), functionFaults(t, super), grantFaults(t, super))
	began := time.Now()
	t.Run("clones", func(t *testing.T) {
		const clones = 2
		for clone := range clones {
			t.Run(fmt.Sprint(clone), func(t *testing.T) {
				t.Parallel()
				g := newGround(t)
				super := connect(t, g.env.SuperURL)
				g.plant(t, super, &fault{kind: "none", name: "nothing", plant: "SELECT", tried: func(t *testing.T, g ground, tx pgx.Tx) []string { return g.everything(t, tx) }}, true)
				for i, f := range all {
					if i%clones == clone {
						g.plant(t, super, f, false)
					}
				}
			})
		}
	})
	tally(t, all, time.Since(began))
}

// plant tries one fault. control wants nobody to notice.
func (g ground) plant(t *testing.T, super *pgx.Conn, f *fault, control bool) {
	t.Helper()
	ctx := t.Context()
	tx, err := super.Begin(ctx)
	ok(t, err)
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	if _, err := tx.Exec(ctx, f.plant); err != nil {
		t.Fatalf("%s %s: plant %s: %v", f.kind, f.name, f.plant, err)
	}
	rows, err := tx.Query(ctx, gate)
	ok(t, err)
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		var rule, object string
		err := row.Scan(&rule, &object)
		return rule + ": " + object, err
	})
	ok(t, err)
	first := func(said []string) string { return strings.Join(said[:min(1, len(said))], "") }
	f.gate, f.written, f.behaviour = first(found), first(listedFaults(t, tx)), first(f.tried(t, g, tx))
	noticed := f.gate != "" || f.written != "" || f.behaviour != ""
	if noticed == control {
		t.Errorf("%s %s: noticed %v: gate %q, written down %q, behaviour %q", f.kind, f.name, noticed, f.gate, f.written, f.behaviour)
	}
}

// everything is all that is tried, for the control.
func (g ground) everything(t *testing.T, tx pgx.Tx) (faults []string) {
	t.Helper()
	for _, table := range protectedTables(t, tx) {
		faults = append(faults, g.tableFaults(t, tx, table)...)
	}
	for _, key := range foreignKeys(t, tx) {
		faults = append(faults, g.keyFaults(t, tx, key)...)
	}
	return slices.Concat(faults, definerFaults(t, tx, definers(t, tx)), rightFaults(t, tx, ordinaryTables(t, tx)))
}

// tableFaults is all that is tried with one table, or partition.
func (g ground) tableFaults(t *testing.T, tx pgx.Tx, table string) []string {
	t.Helper()
	faults := g.ownerFaults(t, tx, []string{table})
	app := acting{tx, "corp_app", ""}
	switch {
	case slices.Contains(tenantTables(t, tx), table):
		faults = append(faults, g.rowFaults(t, tx, app, []string{table}, g.workspaces())...)
		faults = append(faults, g.doorFaults(t, tx, []string{table})...)
	case slices.Contains(personTables(t, tx), table):
		faults = append(faults, g.rowFaults(t, tx, app, []string{table}, g.people())...)
		faults = append(faults, g.doorFaults(t, tx, []string{table})...)
	}
	return faults
}

func onTable(table string) func(*testing.T, ground, pgx.Tx) []string {
	return func(t *testing.T, g ground, tx pgx.Tx) []string { return g.tableFaults(t, tx, table) }
}

type policy struct {
	Table, Name, Role, Command string
	Permissive, Using, Check   bool // Using and Check: it says something else than true
}

// policyFaults drop each policy, and let each that checks something check nothing.
func policyFaults(t *testing.T, super *pgx.Conn) (all []*fault) {
	t.Helper()
	rows, err := super.Query(t.Context(), `
		SELECT c.relname::text AS table, polname::text AS name, polroles[1]::regrole::text AS role, CASE polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END AS command, polpermissive AS permissive,
			coalesce(pg_get_expr(polqual, polrelid), 'true') <> 'true' AS "using", coalesce(pg_get_expr(polwithcheck, polrelid), 'true') <> 'true' AS "check"
		FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid ORDER BY 1, 2`)
	ok(t, err)
	policies, err := pgx.CollectRows(rows, pgx.RowToStructByName[policy])
	ok(t, err)
	for _, p := range policies {
		drop := fmt.Sprintf(`DROP POLICY %s ON %s;`, p.Name, p.Table)
		all = append(all, &fault{kind: "policy dropped", name: p.Table + "." + p.Name, plant: drop, tried: onTable(p.Table)})
		open := func(using, check bool) string {
			made := fmt.Sprintf(`ALTER POLICY %s ON %s`, p.Name, p.Table)
			if using {
				made += ` USING (true)`
			}
			if check {
				made += ` WITH CHECK (true)`
			}
			return made
		}
		if p.Using {
			all = append(all, &fault{kind: "policy USING (true)", name: p.Table + "." + p.Name, plant: open(true, false), tried: onTable(p.Table)})
		}
		if p.Check {
			all = append(all, &fault{kind: "policy WITH CHECK (true)", name: p.Table + "." + p.Name, plant: open(false, true), tried: onTable(p.Table)})
		}
		if p.Using && p.Check {
			all = append(all, &fault{kind: "policy that says true", name: p.Table + "." + p.Name, plant: open(true, true), tried: onTable(p.Table)})
		}
		if !p.Permissive {
			all = append(all, &fault{kind: "restrictive policy made permissive", name: p.Table + "." + p.Name, tried: onTable(p.Table),
				plant: drop + fmt.Sprintf(`CREATE POLICY %s ON %s AS PERMISSIVE TO %s USING (true)`, p.Name, p.Table, p.Role)})
		}
	}
	return all
}

// forceFaults take row-level security from the owner, and from everybody.
func forceFaults(t *testing.T, super *pgx.Conn) (all []*fault) {
	t.Helper()
	for _, table := range protectedTables(t, super) {
		all = append(all,
			&fault{kind: "NO FORCE", name: table, plant: `ALTER TABLE ` + table + ` NO FORCE ROW LEVEL SECURITY`, tried: onTable(table)},
			&fault{kind: "DISABLE", name: table, plant: `ALTER TABLE ` + table + ` DISABLE ROW LEVEL SECURITY`, tried: onTable(table)})
	}
	return all
}

// compositeFaults leave the workspace, or the person, out of each foreign key.
func compositeFaults(t *testing.T, super *pgx.Conn) (all []*fault) {
	t.Helper()
	for _, key := range foreignKeys(t, super) {
		at := slices.Index(key.From, "workspace_id")
		if at < 0 {
			t.Fatalf("%s has no workspace_id: the gate tells", key.Name)
		}
		from, to := slices.Delete(slices.Clone(key.From), at, at+1), slices.Delete(slices.Clone(key.To), at, at+1)
		all = append(all, &fault{kind: "foreign key made simple", name: key.Name,
			plant: fmt.Sprintf(`ALTER TABLE %[1]s DROP CONSTRAINT %[2]s; ALTER TABLE %[3]s ADD CONSTRAINT only_once UNIQUE (%[5]s); ALTER TABLE %[1]s ADD CONSTRAINT %[2]s FOREIGN KEY (%[4]s) REFERENCES %[3]s (%[5]s)`,
				key.Child, key.Name, key.Parent, strings.Join(from, ", "), strings.Join(to, ", ")),
			tried: func(t *testing.T, g ground, tx pgx.Tx) []string { return g.keyFaults(t, tx, key) }})
	}
	name := list(t, super, `SELECT conname::text FROM pg_constraint WHERE conrelid = 'refresh_tokens'::regclass AND contype = 'f'`)[0]
	return append(all, &fault{kind: "foreign key made simple", name: name, tried: func(*testing.T, ground, pgx.Tx) []string { return nil },
		plant: `ALTER TABLE refresh_tokens DROP CONSTRAINT ` + name + `, ADD CONSTRAINT ` + name + ` FOREIGN KEY (session_id) REFERENCES sessions (id)`})
}

// functionFaults open each definer function to everybody, and let its caller say
// where it looks.
func functionFaults(t *testing.T, super *pgx.Conn) (all []*fault) {
	t.Helper()
	for _, name := range definers(t, super) {
		tried := func(t *testing.T, _ ground, tx pgx.Tx) []string { return definerFaults(t, tx, []string{name}) }
		all = append(all,
			&fault{kind: "EXECUTE to public", name: name, plant: `GRANT EXECUTE ON FUNCTION ` + name + ` TO public`, tried: tried},
			&fault{kind: "search_path reset", name: name, plant: `ALTER FUNCTION ` + name + ` RESET search_path`, tried: tried})
	}
	return all
}

// grantFaults give each role what it does not have: to read and to write each
// column, to delete and to empty each table.
func grantFaults(t *testing.T, super *pgx.Conn) (all []*fault) {
	t.Helper()
	for _, table := range ordinaryTables(t, super) {
		for _, role := range []string{"corp_app", "corp_system", "corp_auth"} {
			add := func(right string) {
				all = append(all, &fault{kind: "right given: " + strings.Fields(right)[0], name: role + " " + right + " " + table, plant: fmt.Sprintf(`GRANT %s ON %s TO %s`, right, table, role),
					tried: func(t *testing.T, _ ground, tx pgx.Tx) []string { return rightFaults(t, tx, []string{table}) }})
			}
			for _, right := range []string{"SELECT", "INSERT", "UPDATE"} {
				for _, column := range list(t, super, `SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND NOT has_column_privilege($2, attrelid, attnum, $3)`, table, role, right) {
					add(right + ` (` + column + `)`)
				}
			}
			for _, right := range list(t, super, `SELECT p FROM unnest(ARRAY['DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) p WHERE NOT has_table_privilege($1, $2::regclass, p)`, role, table) {
				add(right)
			}
		}
	}
	return all
}

// tally prints what became of each kind of fault, and writes it where it is asked to.
func tally(t *testing.T, all []*fault, took time.Duration) {
	t.Helper()
	kinds, sums := []string{}, map[string]*[5]int{}
	for _, f := range all {
		for _, kind := range []string{f.kind, "all"} {
			if sums[kind] == nil {
				kinds, sums[kind] = append(kinds, kind), &[5]int{}
			}
			n := sums[kind]
			n[0]++
			for i, said := range []string{cmp.Or(f.gate, f.written, f.behaviour), f.gate, f.written, f.behaviour} {
				if said != "" {
					n[i+1]++
				}
			}
		}
	}
	slices.SortStableFunc(kinds, func(a, b string) int { return cmp.Compare(sums[a][0], sums[b][0]) })
	var table strings.Builder
	fmt.Fprintf(&table, "%-36s | %-14s | %6s | %12s | %9s\n", "fault in the database", "noticed", "gate", "written down", "behaviour")
	for _, kind := range kinds {
		n := sums[kind]
		fmt.Fprintf(&table, "%-36s | %5d of %5d | %6d | %12d | %9d\n", kind, n[1], n[0], n[2], n[3], n[4])
	}
	_, _ = fmt.Fprintf(os.Stdout, "\n%s\nmutations of the database: %d of %d noticed (gate %d, written down %d, behaviour %d), in %v\n", table.String(),
		sums["all"][1], sums["all"][0], sums["all"][2], sums["all"][3], sums["all"][4], took.Round(time.Second))
}

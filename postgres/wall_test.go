package postgres_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Forced row-level security binds the owner too, and a partition is behind its own:
// whoever gets to it past its parent sees no more.
func TestNeitherTheOwnerNorAPartitionIsAWayAround(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	super := connect(t, g.env.SuperURL)
	for _, fault := range g.ownerFaults(t, super, protectedTables(t, super)) {
		t.Error(fault)
	}
}

// protectedTables are all that are behind row-level security, with the partitions.
func protectedTables(t *testing.T, super session) []string {
	t.Helper()
	return list(t, super, `
		SELECT DISTINCT c.relname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname IN ('workspace_id', 'user_id')
		WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1`)
}

func (g ground) ownerFaults(t *testing.T, super session, tables []string) (faults []string) {
	t.Helper()
	for _, table := range tables {
		for _, setting := range []string{"unset", g.mine.UUID()} {
			if n, err := asApp(t, owning{super}, setting, `SELECT 1 FROM `+table); err != nil || n > 0 {
				faults = append(faults, fmt.Sprintf("the owner sees %d rows of %s, %v", n, table, err))
			}
		}
		if !value[bool](t, super, `SELECT relispartition FROM pg_class WHERE oid = $1::regclass`, table) {
			continue
		}
		all := value[int64](t, super, `SELECT count(*) FROM `+table+` WHERE workspace_id = $1`, g.mine)
		n, err := asApp(t, granted{super, table}, g.mine.UUID(), `SELECT 1 FROM `+table)
		if err != nil || n != all {
			faults = append(faults, fmt.Sprintf("the partition %s shows %d rows of a workspace's %d, %v", table, n, all, err))
		}
	}
	return faults
}

// owning is who owns the tables, without what it inherits from the look-ups' role,
// whose functions it makes.
type owning struct{ session }

func (s owning) Begin(ctx context.Context) (pgx.Tx, error) {
	tx, err := s.session.Begin(ctx)
	if err == nil {
		_, err = tx.Exec(ctx, `REVOKE corp_auth FROM corp_owner; SET LOCAL ROLE corp_owner`)
	}
	return tx, err
}

// granted is the server's role with a right on one table that it should not have.
type granted struct {
	session
	table string
}

func (s granted) Begin(ctx context.Context) (pgx.Tx, error) {
	tx, err := s.session.Begin(ctx)
	if err == nil {
		_, err = tx.Exec(ctx, `GRANT SELECT ON `+s.table+` TO corp_app; SET LOCAL ROLE corp_app`)
	}
	return tx, err
}

// What the doors that look across workspaces have a right to, they see: a right
// without a policy is no use, and a policy that shows less breaks the server.
func TestTheDoorsAcrossWorkspacesSeeWhatIsTheirsAndNoMore(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	super := connect(t, g.env.SuperURL)
	for _, fault := range g.doorFaults(t, super, tenantTables(t, super)) {
		t.Error(fault)
	}
	for _, fault := range g.doorFaults(t, super, personTables(t, super)) {
		t.Error(fault)
	}
}

// nowhere is the workspace of the installation's own log.
const nowhere = "00000000-0000-0000-0000-000000000000"

// lookedUp are the tables that the look-ups before anybody is known read.
var lookedUp = []string{"api_keys", "audit_personal", "identities", "invitations", "members", "refresh_tokens", "runs", "sessions", "tasks", "users", "workspaces"}

func (g ground) doorFaults(t *testing.T, super session, tables []string) (faults []string) {
	t.Helper()
	wrong := func(form string, args ...any) { faults = append(faults, fmt.Sprintf(form, args...)) }
	for _, table := range tables {
		for _, role := range []string{"corp_system", "corp_auth"} {
			may := func(privilege string) string { // a column that the role may
				return strings.Join(list(t, super, `SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND has_column_privilege($2, attrelid, attnum, $3) LIMIT 1`, table, role, privilege), "")
			}
			count := func(which string) int64 { return value[int64](t, super, `SELECT count(*) FROM `+table+which) }
			if may("SELECT") != "" {
				all := count("")
				switch {
				case role == "corp_system" && table == "audit_personal":
					all = count(` WHERE workspace_id = '` + nowhere + `'`)
				case role == "corp_auth" && !slices.Contains(lookedUp, table):
					all = 0 // what is due: nothing
				}
				if n, err := asApp(t, acting{super, role, ""}, "unset", `SELECT 1 FROM `+table); err != nil || n != all {
					wrong("%s sees %d rows of %s, want %d, %v", role, n, table, all, err)
				}
			}
			if column := may("UPDATE"); column != "" {
				if n, err := asApp(t, acting{super, role, ""}, "unset", `UPDATE `+table+` SET `+column+` = NULL`); !reached(n, err) {
					wrong("%s updates no row of %s, %v", role, table, err)
				}
			}
			if !value[bool](t, super, `SELECT has_table_privilege($1, $2, 'DELETE')`, role, table) {
				continue
			}
			remove := `DELETE FROM ` + table
			if role == "corp_system" || table == "audit_personal" { // erasing asks whose it is
				if n, err := asApp(t, acting{super, role, ""}, "unset", remove); !reached(n, err) {
					wrong("%s deletes no row of %s, %v", role, table, err)
				}
				continue
			}
			faults = append(faults, g.dueFaults(t, super, table, remove)...)
		}
	}
	return append(faults, g.installationFaults(t, super, tables)...)
}

// reached tells whether a statement found a row: a constraint that is in the way, or
// what a policy asks of the row that would follow, has one before it.
func reached(n int64, err error) bool {
	return n > 0 || strings.HasPrefix(sqlState(err), "23") || err != nil && strings.Contains(err.Error(), "new row violates row-level security")
}

// dueFaults are of what removes people and workspaces whose time is over: those and
// no others, whatever a function of that role does.
func (g ground) dueFaults(t *testing.T, super session, table, remove string) (faults []string) {
	t.Helper()
	if n, err := asApp(t, acting{super, "corp_auth", ""}, "unset", remove); err != nil || n != 0 {
		faults = append(faults, fmt.Sprintf("what is not due is deleted from %s: %d rows, %v", table, n, err))
	}
	due := map[string]string{}
	if table != "users" {
		due["workspace"] = `UPDATE workspaces SET delete_after = now() - interval '1 hour' WHERE workspace_id = '` + g.theirs.UUID() + `'`
	}
	if slices.Contains([]string{"users", "members", "api_keys"}, table) {
		due["person"] = `UPDATE users SET delete_after = now() - interval '1 hour'; UPDATE api_keys k SET user_id = m.user_id FROM members m WHERE m.workspace_id = k.workspace_id`
	}
	for what, first := range due {
		if n, err := asApp(t, acting{super, "corp_auth", first}, "unset", remove); !reached(n, err) {
			faults = append(faults, fmt.Sprintf("nothing of a %s that is due is deleted from %s: %v", what, table, err))
		}
		if what == "workspace" {
			n, err := asApp(t, acting{super, "corp_auth", first}, "unset", remove+` WHERE workspace_id = $1`, g.mine)
			if err != nil || n != 0 {
				faults = append(faults, fmt.Sprintf("with one workspace due, another's rows are deleted from %s: %d, %v", table, n, err))
			}
		}
	}
	return faults
}

// installationFaults are of the doors that write the installation's log: there,
// and into no workspace's.
func (g ground) installationFaults(t *testing.T, super session, tables []string) (faults []string) {
	t.Helper()
	for table, insert := range map[string]string{
		"audit_events":   `INSERT INTO audit_events (workspace_id, id, actor, via, operation, action, target, result, request_id, changes, personal_hash) SELECT $1, gen_random_uuid(), '', '', '', '', '', 'done', '', '{}', ''`,
		"audit_personal": `INSERT INTO audit_personal (workspace_id, at, event_id, subject, salt, address, user_agent, email) SELECT $1, now(), gen_random_uuid(), '', '', '', '', ''`,
	} {
		if !slices.Contains(tables, table) {
			continue
		}
		for _, role := range []string{"corp_system", "corp_auth"} {
			if n, err := asApp(t, acting{super, role, ""}, "unset", insert, nowhere); n != 1 {
				faults = append(faults, fmt.Sprintf("positive control: %s cannot write %s of the installation: %v", role, table, err))
			}
			if n, err := asApp(t, acting{super, role, ""}, "unset", insert, g.theirs); sqlState(err) != "42501" {
				faults = append(faults, fmt.Sprintf("%s writes %s of a workspace: %d, %v", role, table, n, err))
			}
		}
	}
	return faults
}

// A function that acts with its owner's rights is called through one door, and
// whoever calls it cannot choose which tables it means.
func TestADefinerFunctionIsOneDoorsAndMeansItsOwnTables(t *testing.T) {
	t.Parallel()
	super := connect(t, newGround(t).env.SuperURL)
	names := definers(t, super)
	if len(names) < 20 {
		t.Fatalf("only %d definer functions", len(names))
	}
	for _, fault := range definerFaults(t, super, names) {
		t.Error(fault)
	}
}

func definers(t *testing.T, super session) []string {
	t.Helper()
	return list(t, super, `SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef ORDER BY 1`)
}

func definerFaults(t *testing.T, super session, names []string) (faults []string) {
	t.Helper()
	for _, name := range names {
		nothing := value[string](t, super, `SELECT p.proname || '(' || coalesce((SELECT string_agg('NULL::' || format_type(y, NULL), ', ' ORDER BY i) FROM unnest(p.proargtypes) WITH ORDINALITY a (y, i)), '') || ')' FROM pg_proc p WHERE p.oid = $1::regprocedure`, name)
		through := 0
		for _, role := range []string{"corp_app", "corp_system"} {
			_, err := asApp(t, acting{super, role, ""}, "unset", `SET LOCAL search_path = pg_catalog; SELECT public.`+nothing)
			switch sqlState(err) {
			case "42501": // refused
			case "42P01", "42883", "3F000", "42704":
				through++
				faults = append(faults, fmt.Sprintf("%s looks for its tables where its caller says: %v", name, err))
			default:
				through++
			}
		}
		if through != 1 {
			faults = append(faults, fmt.Sprintf("%s is called through %d doors", name, through))
		}
	}
	return faults
}

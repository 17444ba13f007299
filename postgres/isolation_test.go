package postgres_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/people"
	"github.com/genericcorp/corp/postgres/pgtest"
	"github.com/genericcorp/corp/postgres/trail"
)

// furnish puts at least one row into every table of a workspace: through the
// doors where there is a method, by hand where the product has none yet.
func furnish(t *testing.T, env *pgtest.Env, ws corp.WorkspaceID) {
	t.Helper()
	ctx, db := t.Context(), env.DB.In(ws)
	hash := sha256.Sum256(ws[:])
	must(db.CreateAPIKey(ctx, actor, corp.APIKey{Name: "k", Role: corp.RoleAdmin}, hash[:]))(t)
	repo := must(db.CreateRepository(ctx, actor, corp.NewID[corp.RepositoryID](), corp.RepositorySpec{Name: "r", URL: "https://git.example.com/r.git"}, []byte("sealed")))(t)
	must(db.CreateProvider(ctx, actor, corp.NewID[corp.ProviderID](), corp.ProviderSpec{Name: "p", Dialect: corp.DialectAnthropic, BaseURL: "https://api.example.com"}, []byte("sealed")))(t)
	blob := must(db.CreateBlob(ctx, actor, corp.Blob{ID: corp.NewID[corp.BlobID](), Kind: corp.BlobSource, SHA256: "00"}))(t)
	must(db.RegisterRunner(ctx, actor, registration(ws.String())))(t)
	task, _, err := db.SubmitTask(ctx, actor, corp.TaskSpec{Prompt: "p", RepositoryID: &repo.ID, Budget: new(corp.Dollar)}, postgres.Idempotency{Key: "k"})
	ok(t, err)
	lease := env.Running(t, ws, task.RunID)
	must(db.AppendEntries(ctx, task.RunID, lease.Epoch, []corp.Entry{{At: time.Now(), Kind: corp.EntryNote, Text: "t"}}))(t)
	must(db.GrantAllowance(ctx, corp.NewID[corp.ServerID](), task.ID, 1, 2))(t)
	ok(t, db.RecordCalls(ctx, []postgres.CallRecord{{Call: aCall(task, lease.Epoch, 1)}}))
	env.Exec(t, `INSERT INTO schedules (workspace_id, id, name, cron, spec, created_by) VALUES ($1, gen_random_uuid(), 's', '* * * * *', '{}', 'test')`, ws)
	ok(t, db.SaveSteps(ctx, task.RunID, lease.Epoch, 1, steps(0, 1)))
	other := env.Submit(t, ws, corp.TaskSpec{SourceID: &blob.ID, BaseCommit: strings.Repeat("a", 40)})
	env.Exec(t, `INSERT INTO task_dependencies (workspace_id, task_id, depends_on) VALUES ($1, $2, $3)`, ws, other.ID, task.ID)
	must(db.FinishRun(ctx, task.RunID, lease.Epoch, corp.Outcome{State: corp.RunSucceeded, Reason: corp.ReasonCompleted, ResultID: &blob.ID, PatchID: &blob.ID}))(t)
	user := corp.NewID[corp.UserID]()
	env.Exec(t, `INSERT INTO users (user_id, email, name) VALUES ($1, $1::uuid || '@example.com', 'u')`, user)
	env.Exec(t, `INSERT INTO members (workspace_id, user_id, role, created_by) VALUES ($1, $2, 'member', 'test')`, ws, user)
	must(people.New(env.DB.Door()).In(ws).Invite(ctx, actor, "somebody@example.com", corp.RoleViewer, append(hash[:], 1), time.Hour))(t)
	ok(t, trail.New(env.DB.Door()).Of(ws).Write(ctx, corp.AuditEvent{Actor: actor, Operation: "o", Personal: &corp.AuditPersonal{Address: "192.0.2.1"}}))
	env.Exec(t, `INSERT INTO audit_links SELECT workspace_id, 1, id, at, sha256('') FROM audit_events WHERE workspace_id = $1`, ws)
	env.Exec(t, `INSERT INTO audit_checkpoints VALUES ($1, 1, sha256(''), now(), 'k', '')`, ws)
}

func registration(instance string) corp.Registration {
	return corp.Registration{Protocols: []int{corp.ProtocolVersion}, Name: "r", Instance: instance, Slots: 2, Runtimes: []string{corp.RuntimeBuiltin}, Sandbox: "none", Version: "test"}
}

// aCall is a call of a task's first run that cost so much.
func aCall(task corp.Task, epoch int64, cost corp.Nanodollars) corp.Call {
	return corp.Call{
		ID: corp.NewID[corp.CallID](), At: time.Now().UTC().Truncate(time.Microsecond), TaskID: task.ID, RunID: task.RunID, AgentID: task.AgentID, Epoch: epoch,
		Provider: "anthropic", Dialect: corp.DialectAnthropic, ModelAsked: "m", ModelServed: "m", Usage: corp.Usage{FreshInput: 10, CacheRead: 2, Output: 3},
		Reserved: cost, Cost: cost, Outcome: corp.CallOK, Status: 200,
	}
}

func tenantTables(t *testing.T, conn session) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), `
		SELECT c.relname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'workspace_id'
		WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1`)
	ok(t, err)
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	ok(t, err)
	if len(tables) < 20 {
		t.Fatalf("only %d tables of workspaces: %v", len(tables), tables)
	}
	return tables
}

// asApp runs a statement as the server's role in a workspace and takes it back.
func asApp(t *testing.T, conn session, setting, sql string, args ...any) (n int64, err error) {
	t.Helper()
	return within(t, conn, "app.workspace_id", setting, sql, args...)
}

// within runs a statement with a setting, unless that is "unset", and takes it back.
func within(t *testing.T, conn session, name, setting, sql string, args ...any) (n int64, err error) {
	t.Helper()
	ctx := t.Context()
	tx, err := conn.Begin(ctx)
	ok(t, err)
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	if setting != "unset" {
		_, err = tx.Exec(ctx, `SELECT set_config($1, $2, true)`, name, setting)
		ok(t, err)
	}
	tag, err := tx.Exec(ctx, sql, args...)
	return tag.RowsAffected(), err
}

// T2, T3: for every table of the catalogue, the server's role reaches no row of
// another workspace, whatever it asks for.
// Attack cases 21, 22 and 24. Control: every table shows its own rows.
func TestNoRowOfAnotherWorkspaceCanBeReachedInAnyTable(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	super, app := connect(t, g.env.SuperURL), connect(t, g.env.AppURL)
	for _, fault := range g.rowFaults(t, super, app, tenantTables(t, super), g.workspaces()) {
		t.Error(fault)
	}
}

// The same of what is a person's alone.
func TestNoRowOfAnotherPersonCanBeReachedInAnyTable(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	super, app := connect(t, g.env.SuperURL), connect(t, g.env.AppURL)
	for _, fault := range g.rowFaults(t, super, app, personTables(t, super), g.people()) {
		t.Error(fault)
	}
}

// rowFaults is what the server's role reaches behind somebody else's lock.
func (g ground) rowFaults(t *testing.T, super, app session, tables []string, l lock) (faults []string) {
	t.Helper()
	const denied = "42501" // no privilege, or against row-level security
	wrong := func(form string, args ...any) { faults = append(faults, fmt.Sprintf(form, args...)) }
	for _, table := range tables {
		for _, id := range []string{l.mine, l.theirs} {
			if value[int64](t, super, `SELECT count(*) FROM `+table+` WHERE `+l.column+` = $1`, id) == 0 {
				t.Fatalf("%s is empty: let furnish put a row there, else this proves nothing", table)
			}
		}
		refused := func(what, setting, sql string, args ...any) {
			n, err := within(t, app, l.setting, setting, sql, args...)
			if sqlState(err) != denied && (err != nil || n != 0) {
				wrong("%s %s: %d rows, %v", what, table, n, err)
			}
		}
		visible, err := within(t, app, l.setting, l.mine, `SELECT `+l.column+` FROM `+table)
		if err != nil || visible == 0 {
			wrong("positive control: %s shows %d rows of its own, %v", table, visible, err)
		}
		for _, setting := range []string{"unset", ""} {
			refused("select without a setting from", setting, `SELECT `+l.column+` FROM `+table)
			refused("delete without a setting from", setting, `DELETE FROM `+table)
		}
		if _, err := within(t, app, l.setting, "not a uuid", `SELECT `+l.column+` FROM `+table); sqlState(err) != "22P02" {
			wrong("%s with a garbled setting: %v", table, err)
		}
		whose := ` WHERE ` + l.column + ` = $1`
		refused("select from", l.mine, `SELECT `+l.column+` FROM `+table+whose, l.theirs)
		refused("select the rest from", l.mine, `SELECT `+l.column+` FROM `+table+` WHERE `+l.column+` <> $1`, l.mine)
		refused("delete from", l.mine, `DELETE FROM `+table+whose, l.theirs)
		refused("update", l.mine, `UPDATE `+table+` SET `+anyColumn(t, super, table)+whose, l.theirs)
		refused("move a row out of", l.mine, `UPDATE `+table+` SET `+l.column+` = $1 WHERE `+l.column+` = $2`, l.theirs, l.mine)
		row := value[string](t, super, `SELECT row_to_json(x)::text FROM `+table+` x`+whose+` LIMIT 1`, l.theirs)
		n, err := within(t, app, l.setting, l.mine, `INSERT INTO `+table+` SELECT * FROM json_populate_record(NULL::`+table+`, $1::text::json)`, row)
		if sqlState(err) != denied {
			wrong("insert for another one into %s: %d rows, %v", table, n, err)
		}
	}
	return faults
}

// anyColumn is an assignment that changes nothing, to a column that the server's
// role may update if there is one.
func anyColumn(t *testing.T, super session, table string) string {
	t.Helper()
	var column string
	ok(t, super.QueryRow(t.Context(), `
		SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped
		ORDER BY has_column_privilege('corp_app', attrelid, attnum, 'UPDATE') DESC, attnum DESC LIMIT 1`, table).Scan(&column))
	return column + " = " + column
}

type foreignKey struct {
	Name, Child, Parent string
	From, To            []string // columns
}

// T2, T3: a row cannot point at another workspace's, even for somebody whom
// row-level security does not bind.
// Attack case 25. Control: each takes its own workspace's row.
func TestNoForeignKeyReachesIntoAnotherWorkspace(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	super := connect(t, g.env.SuperURL)
	keys := foreignKeys(t, super)
	for _, key := range keys {
		for _, fault := range g.keyFaults(t, super, key) {
			t.Error(fault)
		}
	}
	if len(keys) < 15 {
		t.Fatalf("only %d foreign keys between tables of workspaces", len(keys))
	}
	t.Logf("%d foreign keys", len(keys))
}

// foreignKeys are those from a table of workspaces to another one, or to itself.
func foreignKeys(t *testing.T, super session) []foreignKey {
	t.Helper()
	rows, err := super.Query(t.Context(), `
		SELECT c.conname::text AS name, c.conrelid::regclass::text AS child, c.confrelid::regclass::text AS parent,
			ARRAY(SELECT attname::text FROM unnest(c.conkey) WITH ORDINALITY k (n, i) JOIN pg_attribute ON attrelid = c.conrelid AND attnum = n ORDER BY i) AS "from",
			ARRAY(SELECT attname::text FROM unnest(c.confkey) WITH ORDINALITY k (n, i) JOIN pg_attribute ON attrelid = c.confrelid AND attnum = n ORDER BY i) AS "to"
		FROM pg_constraint c JOIN pg_class p ON p.oid = c.conrelid
		JOIN pg_attribute w ON w.attrelid = c.conrelid AND w.attname = 'workspace_id'
		JOIN pg_attribute r ON r.attrelid = c.confrelid AND r.attname = 'workspace_id'
		WHERE c.contype = 'f' AND NOT p.relispartition AND c.conparentid = 0 AND c.confrelid <> 'workspaces'::regclass ORDER BY 1`)
	ok(t, err)
	keys, err := pgx.CollectRows(rows, pgx.RowToStructByName[foreignKey])
	ok(t, err)
	return keys
}

// keyFaults tries to have a row point at one of its own workspace, and at another's.
func (g ground) keyFaults(t *testing.T, super session, key foreignKey) (faults []string) {
	t.Helper()
	if err := point(t, super, key, g.mine, g.mine); err != nil {
		faults = append(faults, fmt.Sprintf("positive control: %s does not take its own workspace's row: %v", key.Name, err))
	}
	if err := point(t, super, key, g.mine, g.theirs); sqlState(err) != "23503" {
		faults = append(faults, fmt.Sprintf("%s takes another workspace's row: %v", key.Name, err))
	}
	return faults
}

// point copies a child of one workspace, changed so that only the foreign key
// can be in the way, and lets it point at a parent of another.
func point(t *testing.T, super session, key foreignKey, from, to corp.WorkspaceID) error {
	t.Helper()
	ctx := t.Context()
	tx, err := super.Begin(ctx)
	ok(t, err)
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	columns, err := tx.Query(ctx, `
		SELECT a.attname::text, format_type(a.atttypid, NULL) FROM pg_attribute a WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`, key.Child)
	ok(t, err)
	type column struct{ Name, Type string }
	all, err := pgx.CollectRows(columns, pgx.RowToStructByPos[column])
	ok(t, err)
	values := make([]string, len(all))
	for i, c := range all {
		at := slices.Index(key.From, c.Name)
		switch {
		case c.Name == "workspace_id":
			values[i] = "$1::uuid"
		case at >= 0:
			values[i] = "p." + key.To[at]
		case key.Child == "tasks" && c.Name == "repository_url":
			values[i] = "CASE WHEN " + fmt.Sprint(slices.Contains(key.From, "repository_id") || slices.Contains(key.From, "source_id")) + " THEN '' ELSE 'https://x' END"
		case key.Child == "tasks" && (c.Name == "repository_id" || c.Name == "source_id"):
			values[i] = "NULL"
		case c.Name == "id":
			values[i] = "gen_random_uuid()"
		case c.Name == "attempt" || c.Name == "version" || c.Name == "index":
			values[i] = "c." + c.Name + " + 1000"
		case c.Name == "key" && c.Type == "text", c.Name == "name":
			values[i] = "gen_random_uuid()::text"
		case c.Name == "hash":
			values[i] = "sha256(gen_random_uuid()::text::bytea)"
		case c.Type == "bytea" || c.Name == "closed_at":
			values[i] = "NULL"
		case c.Name == "server_id":
			values[i] = "gen_random_uuid()"
		default:
			values[i] = "c." + c.Name
		}
	}
	source := key.Child
	switch key.Child {
	case "task_dependencies", "steps": // no column of their keys can be made up: make room
		source = "kept"
		_, err = tx.Exec(ctx, `CREATE TEMP TABLE kept AS SELECT * FROM `+key.Child+`; DELETE FROM `+key.Child)
	case "budgets": // a task has only one
		source = "(SELECT * FROM budgets WHERE task_id IS NULL)"
		_, err = tx.Exec(ctx, `DELETE FROM calls; DELETE FROM allowances; DELETE FROM budgets WHERE task_id IS NOT NULL`)
	}
	ok(t, err)
	tag, err := tx.Exec(ctx, `
		INSERT INTO `+key.Child+` SELECT `+strings.Join(values, ", ")+`
		FROM (SELECT * FROM `+source+` s WHERE s.workspace_id = $1 LIMIT 1) c, (SELECT * FROM `+key.Parent+` WHERE workspace_id = $2 LIMIT 1) p`, from, to)
	if err == nil && tag.RowsAffected() != 1 {
		return fmt.Errorf("%d rows", tag.RowsAffected())
	}
	return err
}

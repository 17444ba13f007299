package test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.yaml.in/yaml/v3"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/embedded"
	"github.com/genericcorp/corp/stage"
)

// withoutTexts are the operations that show nothing which a user has written.
var withoutTexts = []string{
	"health", "ready", "getSigningKeys", "listIssuers", // the installation's
	"getLimits", "listPrices", // plans and prices
	"getBatch", "getTaskWait", // numbers
	"downloadBlob",                                   // packed by git; "corp diff" shows what is in it
	"listAudit", "exportAudit", "getAuditCheckpoint", // ids, what they did, and hashes
}

// readOperation is one that reads, as the API's description has it.
type readOperation struct {
	id, path string
	person   bool
	queries  []string
}

// readOperations are all that a user of a workspace may read with. What they ask is
// the description's: an operation that is added is read too.
func readOperations(t *testing.T) (ops []readOperation) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "docs", "openapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Paths map[string]map[string]struct {
			ID         string `yaml:"operationId"`
			Action     string `yaml:"x-action"`
			Parameters []struct{ In, Name string }
		}
	}
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	for path, methods := range document.Paths {
		op, reads := methods["get"]
		action := corp.Action(op.Action)
		if !reads || corp.RoleOperator.May(action) || corp.RoleRunner.May(action) || op.ID == "stream" || op.ID == "finishElsewhere" { // followed all the time; answers a browser's redirect
			continue
		}
		r := readOperation{id: op.ID, path: path, person: op.Action == "person", queries: []string{""}}
		for _, p := range op.Parameters {
			switch {
			case p.In == "query" && p.Name == "limit":
				r.queries = append(r.queries, "?limit=200")
			case p.In == "query" && p.Name == "by":
				r.queries = append(r.queries, "?by=day", "?by=model", "?by=agent", "?by=task")
			case p.In == "query" && (p.Name == "task" || p.Name == "run"):
				r.queries = append(r.queries, "?"+p.Name+"={"+p.Name+"}")
			}
		}
		ops = append(ops, r)
	}
	if len(ops) < 30 {
		t.Fatalf("only %d operations that read", len(ops))
	}
	return ops
}

// targets are the paths to ask, filled in with somebody's own objects.
func (op readOperation) targets(named map[string]string) (targets []string) {
	var fill []string
	for name, value := range named {
		fill = append(fill, "{"+name+"}", value)
	}
	for _, query := range op.queries {
		targets = append(targets, strings.NewReplacer(fill...).Replace(op.path+query))
	}
	return targets
}

// startPostgres starts a PostgreSQL for a server, so that a test can look into it.
func startPostgres(t *testing.T) *embedded.Server {
	t.Helper()
	db, err := embedded.Start(t.Context(), embedded.Config{Dir: folder(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return db
}

// startOn starts a server on a PostgreSQL that is there.
func startOn(t *testing.T, db *embedded.Server, args ...string) *server {
	t.Helper()
	env := []string{"CORP_POSTGRES_URL=" + db.AppURL(), "CORP_POSTGRES_SYSTEM_URL=" + db.SystemURL(), "CORP_POSTGRES_ADMIN_URL=" + db.SuperURL("corp")}
	s := &server{t: t, data: folder(t), repos: folder(t), listen: freeAddress(t), gateway: freeAddress(t), log: new(stage.Log), env: env, args: args}
	if r := s.corpWith(t.Context(), env, "migrate"); r.code != 0 {
		t.Fatalf("corp migrate: exit %d %s%s", r.code, r.out, r.err)
	}
	s.up()
	t.Cleanup(func() { s.kill(syscall.SIGTERM) })
	return s
}

// checkColumns looks into every text of every table: a word stands in rows of its
// own workspace or person alone, and in the installation's own audit log. It returns how many columns hold one.
func checkColumns(t *testing.T, db *embedded.Server, all []*resident) (places int) {
	t.Helper()
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, db.SuperURL("corp"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	rows, err := conn.Query(ctx, `
		SELECT c.relname::text, a.attname::text, CASE WHEN EXISTS (SELECT FROM pg_attribute w WHERE w.attrelid = c.oid AND w.attname = 'workspace_id') THEN 'workspace_id' ELSE 'user_id' END
		FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
			AND a.atttypid IN ('text'::regtype, 'jsonb'::regtype, 'json'::regtype, 'text[]'::regtype)
			AND EXISTS (SELECT FROM pg_attribute w WHERE w.attrelid = c.oid AND w.attname IN ('workspace_id', 'user_id')) ORDER BY 1, 2`)
	if err != nil {
		t.Fatal(err)
	}
	type column struct{ Table, Name, Whose string }
	columns, err := pgx.CollectRows(rows, pgx.RowToStructByPos[column])
	if err != nil {
		t.Fatal(err)
	}
	var holding []string
	for _, c := range columns {
		mine := 0
		for _, u := range all {
			owner := any(u.ws.ID)
			if c.Whose == "user_id" {
				owner = u.user()
			}
			var own, foreign int
			err := conn.QueryRow(ctx, fmt.Sprintf(`SELECT count(*) FILTER (WHERE %[1]s = $2), count(*) FILTER (WHERE %[1]s NOT IN ($2, $3)) FROM %[2]s WHERE %[3]q::text LIKE '%%' || $1 || '%%'`, c.Whose, c.Table, c.Name), u.word, owner, corp.WorkspaceID{}).Scan(&own, &foreign)
			if err != nil {
				t.Fatal(err)
			}
			if foreign > 0 {
				t.Errorf("%s.%s has %d rows of others that hold %s", c.Table, c.Name, foreign, u.word)
			}
			mine += min(own, 1)
		}
		if mine > 0 && mine < len(all) {
			t.Errorf("%s.%s holds the words of %d of %d users", c.Table, c.Name, mine, len(all))
		}
		if name := c.Table + "." + c.Name; mine > 0 {
			holding = append(holding, name)
		} else if !slices.Contains(notWritten(t), name) {
			t.Errorf("no word stands in %s: have a user write one there, or add it to testdata/not-written.txt", name)
		}
	}
	return len(holding)
}

// notWritten are the columns of text that no user's words come into: states, names
// of the product's own, hashes, what only a runner or a failure writes.
func notWritten(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "not-written.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "#") {
			names = append(names, strings.Fields(line)...)
		}
	}
	return names
}

// user is the person's id.
func (u *resident) user() corp.UserID {
	u.t.Helper()
	me, err := u.person.Me(u.t.Context())
	u.done(err)
	return me.User.ID
}

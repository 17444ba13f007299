package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/postgres/pgerr"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// injections are what tools send that look for SQL behind a text. {victim} is
// another workspace.
var injections = []string{
	`' OR 1=1 --`, `x'); UPDATE tasks SET prompt = 'owned'; --`, `x"; DROP TABLE tasks; --`, `' UNION SELECT prompt FROM tasks --`, `\'; SELECT set_config('app.workspace_id', '{victim}', false); --`,
	`$1`, `$$; SELECT pg_sleep(9); $$`, `%' OR workspace_id = '{victim}' --`, `{{7*7}}${7*7}`, `x' || (SELECT 1/0) || '`, "x\n--\n';", `1 OR 1=1`,
}

// spots calls fn with a way to write a text at each place of a JSON value where there
// is one.
func spots(v any, at string, fn func(place string, write func(text string))) {
	switch v := v.(type) {
	case []any:
		for i, item := range v {
			if was, is := item.(string); is {
				fn(fmt.Sprintf("%s[%d]", at, i), func(text string) { v[i] = text })
				v[i] = was
			}
			spots(item, fmt.Sprintf("%s[%d]", at, i), fn)
		}
	case map[string]any:
		for name, item := range v {
			if was, is := item.(string); is {
				fn(at+"."+name, func(text string) { v[name] = text })
				v[name] = was
			}
			spots(item, at+"."+name, fn)
		}
	}
}

// names are those of the database that no answer has a reason to say: of constraints,
// indexes, functions, roles, and what its errors are made of.
func names(t *testing.T, env *pgtest.Env) []string {
	t.Helper()
	all := pgtest.Value[[]string](t, env, `
		SELECT array_agg(DISTINCT name) FROM (
			SELECT conname::text FROM pg_constraint WHERE connamespace = 'public'::regnamespace
			UNION SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('i', 'I', 'r', 'p', 'S')
			UNION SELECT proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace
			UNION SELECT rolname::text FROM pg_roles WHERE rolname LIKE 'corp%') x (name)
		WHERE name LIKE '%\_%'`)
	return append(all, "SQLSTATE", "pgconn", "pgx", "syntax error at", "violates", "row-level security", "relation \"", "duplicate key", "app.workspace_id", "pg_catalog", "42501", "23505", "23503", "23514", "22P02")
}

// said returns which of the names an answer says.
func said(body string, names []string) (found []string) {
	for _, name := range names {
		if strings.Contains(body, name) {
			found = append(found, name)
		}
	}
	return found
}

// Every text of every request is only a text, to the database too.
// Attack cases 31 and 33. Control: the same requests with ordinary texts succeed, in TestEveryOperationWithEveryRole; and the victim reads its tasks.
func TestNoTextOfARequestIsSQL(t *testing.T) {
	t.Parallel()
	h := ownHouse(t) // where nobody seals the victim's log meanwhile
	victim, o := newVictim(t, h), h.office(t)
	before := victim.fingerprint(t)
	forbidden, theirs := names(t, h.env), mapValues(victim.ids)
	var tried atomic.Int64
	t.Run("operations", func(t *testing.T) {
		for i, op := range operations {
			t.Run(op.id, func(t *testing.T) {
				t.Parallel()
				o := o
				if op.action == corp.RunnerLease || op.id == "redriveTask" || op.id == "downloadPatch" { // runners take what others submit
					o = h.office(t)
				}
				key := o.keys[corp.RoleOwner]
				if special, ok := map[corp.Action]string{corp.RunnerLease: o.keys[corp.RoleRunner], corp.WorkspaceManage: h.operator, corp.PriceWrite: h.operator, corp.UserManage: h.operator, person: o.visitor().access}[op.action]; ok {
					key = special
				}
				n := i // so that each place of all gets another few of them
				attack := func(place string, send func(text string) reply) {
					for range 3 {
						text := strings.ReplaceAll(injections[n%len(injections)], "{victim}", victim.ws.UUID())
						n++
						tried.Add(1)
						got := send(text)
						clean := strings.ReplaceAll(withoutRequestID(got.body), text, "")
						if quoted, err := json.Marshal(text); err == nil {
							clean = strings.ReplaceAll(clean, string(quoted[1:len(quoted)-1]), "")
						}
						if got.status >= 500 && got.status != http.StatusServiceUnavailable || len(said(clean, theirs)) > 0 {
							t.Errorf("%s with %q: %d %.300s", place, text, got.status, got.body)
						}
						if found := said(clean, forbidden); len(found) > 0 && got.status >= 400 {
							t.Errorf("%s with %q says %q: %.300s", place, text, found, got.body)
						}
					}
				}
				walkTexts(t, h, op, samples[op.id](t, o, o.keys[corp.RoleRunner])[0], key, attack)
			})
		}
	})
	if diff := cmp.Diff(before, victim.fingerprint(t)); diff != "" {
		t.Errorf("rows of the victim's changed:\n%s", diff)
	}
	if list, err := victim.owner().Tasks(t.Context(), client.TaskQuery{}, corp.Page{}); err != nil || !strings.Contains(asJSON(t, list), canary) {
		t.Errorf("positive control: %+v, %v", list, err)
	}
	if tried.Load() < 500 {
		t.Errorf("only %d were tried", tried.Load())
	}
	t.Logf("%d texts", tried.Load())
}

// walkTexts offers each place of a request where a text stands: of its path, query,
// headers and body.
func walkTexts(t *testing.T, h *house, op operation, s sample, key string, attack func(place string, send func(text string) reply)) {
	t.Helper()
	for name := range s.path {
		attack("path."+name, func(text string) reply {
			return withText(s, func(c *sample) { c.path = withHeader(without(s.path, name), name, text) }).send(t, h, op, key, nil)
		})
	}
	for name := range s.query {
		attack("query."+name, func(text string) reply {
			return withText(s, func(c *sample) {
				c.query = cloned(s.query)
				c.query.Set(name, text)
			}).send(t, h, op, key, nil)
		})
	}
	headers := slices.Sorted(maps.Keys(s.header))
	if op.id == "submitTask" || op.id == "listTasks" || op.id == "signIn" {
		headers = append(headers, "X-Request-ID", "User-Agent", "Idempotency-Key", "Last-Event-ID", "X-Forwarded-For", "Cookie")
	}
	for _, name := range headers {
		attack("header."+name, func(text string) reply {
			return withText(s, func(c *sample) {
				c.header = withHeader(without(s.header, name), name, strings.ReplaceAll(text, "\n", " "))
			}).send(t, h, op, key, nil)
		})
	}
	if s.body == nil {
		return
	}
	var v any
	if err := json.Unmarshal([]byte(asJSON(t, s.body)), &v); err != nil {
		t.Fatal(err)
	}
	spots(v, "body", func(place string, write func(text string)) {
		attack(place, func(text string) reply {
			write(text)
			return withText(s, func(c *sample) { c.body, c.bytes = nil, asJSON(t, v) }).send(t, h, op, key, nil)
		})
	})
}

func withText(s sample, change func(*sample)) sample {
	change(&s)
	return s
}

func without(m map[string]string, name string) map[string]string {
	left := map[string]string{}
	for k, v := range m {
		if k != name {
			left[k] = v
		}
	}
	return left
}

func cloned(q map[string][]string) (c map[string][]string) {
	c = map[string][]string{}
	for k, v := range q {
		c[k] = slices.Clone(v)
	}
	return c
}

// Whatever the database refuses, the answer says it in our words: nothing of its
// constraints, tables, values and codes.
// Attack case 33. Control: each refusal still says what to do next, and the cause is kept for the log.
func TestNoErrorOfTheDatabaseIsToldInItsOwnWords(t *testing.T) {
	t.Parallel()
	h := shared(t)
	forbidden := append(names(t, h.env), "Key (", "someone@example.com", "Failing row")
	codes := map[string]string{"u": "23505", "p": "23505", "f": "23503", "c": "23514", "x": "23P01"}
	n := 0
	try := func(pg *pgconn.PgError) {
		t.Helper()
		n++
		pg.Severity, pg.Detail, pg.Hint = "ERROR", "Key (email)=(someone@example.com) already exists. Failing row contains (1, 2).", "Perhaps you meant \"users.email\"."
		err := pgerr.Translate(t.Context(), pg)
		p := (&exchange{id: "req_of_the_test"}).problem(t.Context(), err)
		body := asJSON(t, p)
		if found := said(body, forbidden); len(found) > 0 || strings.Contains(body, pg.Message) {
			t.Errorf("%s %s is told as %s", pg.Code, pg.ConstraintName, body)
		}
		if p.Hint == "" || !strings.Contains(err.Error(), pg.Code) {
			t.Errorf("%s %s: no next step, or the cause is lost: %s, %v", pg.Code, pg.ConstraintName, body, err)
		}
	}
	type constraint struct{ Name, Table, Kind string }
	var all []constraint
	if err := json.Unmarshal(pgtest.Value[[]byte](t, h.env, `SELECT json_agg(json_build_object('Name', conname, 'Table', conrelid::regclass::text, 'Kind', contype)) FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 't' AND contype <> 'n'`), &all); err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		try(&pgconn.PgError{Code: codes[c.Kind], ConstraintName: c.Name, TableName: c.Table, SchemaName: "public", Message: `"` + c.Table + `" violates constraint "` + c.Name + `"`})
	}
	for _, code := range []string{"42501", "42601", "42P01", "42703", "22P02", "22012", "22021", "22P05", "23502", "25P02", "26000", "28P01", "3D000", "40001", "40P01", "42883", "53300", "54001", "55P03", "57014", "57P01", "58030", "P0001", "XX000", "XX001"} {
		try(&pgconn.PgError{Code: code, TableName: "users", ColumnName: "email", Message: `permission denied for table users: new row violates row-level security policy for table "users"`})
	}
	if n < 100 {
		t.Errorf("only %d errors", n)
	}
	// And over the wire, where names are taken.
	o := h.office(t)
	for _, c := range []struct{ route, body string }{
		{"/v1/agents", asJSON(t, someAgent())},
		{"/v1/repositories", asJSON(t, someRepository())},
		{"/v1/providers", asJSON(t, someProvider())},
		{"/v1/schedules", asJSON(t, corp.ScheduleSpec{Name: unique("s"), Cron: "@monthly", Task: corp.TaskSpec{Prompt: "x", RepositoryURL: someURL}})},
	} {
		first := h.do(t, o.keys[corp.RoleOwner], http.MethodPost, c.route, nil, c.body)
		second := h.do(t, o.keys[corp.RoleOwner], http.MethodPost, c.route, nil, c.body)
		if found := said(withoutRequestID(second.body), forbidden); first.status != http.StatusCreated || second.status != http.StatusConflict || len(found) > 0 {
			t.Errorf("%s: %d, then %d %s, which says %q", c.route, first.status, second.status, second.body, found)
		}
	}
}

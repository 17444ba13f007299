package trail_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/audit"
	"github.com/genericcorp/corp/postgres/door"
	"github.com/genericcorp/corp/postgres/pgtest"
	"github.com/genericcorp/corp/postgres/trail"
)

func TestAnOperationWritesOneEventWithItsFirstChange(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	ws := l.Workspace(t)
	ctx, p := pending(t.Context(), "given")
	db := l.Env.DB.In(ws)
	if _, err := db.Workspace(ctx); err != nil || p.Written() { // reading writes nothing
		t.Fatal(err, p.Written())
	}
	task, _, err := db.SubmitTask(ctx, "user_1", corp.TaskSpec{Prompt: "x", RepositoryURL: "https://git.example.com/a.git"}, idem(""))
	ok(t, err)
	if _, err := db.CancelTask(ctx, "user_1", task.ID); err != nil { // a second change of the same operation
		t.Fatal(err)
	}
	if got := l.events(t, ws); !p.Written() || !cmp.Equal(got, []string{task.ID.String()}) {
		t.Errorf("%v, want the task %s", got, task.ID)
	}
	if same := pgtest.Value[bool](t, l.Env, `SELECT (SELECT xmin FROM audit_events) = (SELECT xmin FROM events WHERE kind = 'task.queued')`); !same {
		t.Error("the event was not written by the transaction that made the task")
	}
	ctx, p = pending(t.Context(), "")
	if _, err := db.CreateBlob(ctx, "user_1", corp.Blob{ID: corp.NewID[corp.BlobID](), Kind: corp.BlobSource, Size: 1, SHA256: "x"}); err != nil || !p.Written() { // one statement
		t.Errorf("a transaction of one statement: %v %v", err, p.Written())
	}
	if n := len(l.events(t, ws)); n != 2 {
		t.Errorf("%d events", n)
	}
}

func TestAnAbortedTransactionLeavesNoEventAndARetriedOneOne(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	ws := l.Workspace(t)
	ctx, p := pending(t.Context(), "agent_1")
	in := l.Env.DB.Door().In(ws)
	change := func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE workspaces SET name = name || '!' WHERE workspace_id = $1`, ws)
		return err
	}
	fault := errors.New("it did not work")
	err := in.In(ctx, func(tx pgx.Tx) error {
		ok(t, change(tx))
		return fault
	})
	if !errors.Is(err, fault) && corp.KindOf(err) != corp.KindInternal || p.Written() || len(l.events(t, ws)) > 0 {
		t.Fatal(err, l.events(t, ws))
	}
	tries := 0
	ok(t, in.In(ctx, func(tx pgx.Tx) error {
		if tries++; tries < 3 {
			if _, err := tx.Exec(ctx, `DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40001'; END $$`); err != nil {
				return err
			}
		}
		return change(tx)
	}))
	if got := l.events(t, ws); tries != 3 || !p.Written() || !cmp.Equal(got, []string{"agent_1"}) {
		t.Errorf("after %d tries: %v", tries, got)
	}
	// A commit that the database refuses leaves none either: nothing of it is there.
	ctx, p = pending(t.Context(), "agent_2")
	l.Exec(t, `CREATE TABLE slow (workspace_id uuid UNIQUE DEFERRABLE INITIALLY DEFERRED); GRANT INSERT ON slow TO corp_app; INSERT INTO slow VALUES ('00000000-0000-0000-0000-000000000001')`)
	err = in.In(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO slow VALUES ('00000000-0000-0000-0000-000000000001')`)
		return err
	})
	if err == nil || p.Written() || len(l.events(t, ws)) != 1 {
		t.Errorf("%v %v", err, l.events(t, ws))
	}
}

func TestWhatHappensOutsideAWorkspaceIsInTheInstallationsLog(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	ctx, p := pending(t.Context(), "x")
	made, err := l.Env.DB.System("test").CreateWorkspace(ctx, "operator_1", "acme", "Acme", "free")
	ok(t, err)
	if !p.Written() {
		t.Error("the system door wrote nothing")
	}
	_, err = l.Env.DB.Door().App().Exec(ctx, `SELECT write_audit(true, $1, 'a', '', 'signIn', 'x', 'nobody yet', 'denied', '', NULL, 'h', 'a', 's', '', '', '')`, corp.NewID[corp.AuditID]())
	ok(t, err)
	if got := l.events(t, corp.WorkspaceID{}); !cmp.Equal(got, []string{made.ID.String(), "nobody yet"}) {
		t.Errorf("%v", got)
	}
	if got := l.events(t, made.ID); len(got) > 0 {
		t.Errorf("the workspace's log has %v", got)
	}
}

// Attack cases 21 and 22. Control: the installation's own event is seen by its own role.
func TestALogIsSeenFromItsWorkspaceOnly(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	mine, theirs := l.Workspace(t), l.Workspace(t)
	l.write(t, theirs, "secret")
	l.write(t, corp.WorkspaceID{}, "the installation's")
	l.seal(t)
	if got := l.events(t, mine); len(got) > 0 {
		t.Errorf("%v", got)
	}
	if report, bad := l.verify(t, mine); bad != nil || report.Rows > 0 {
		t.Errorf("%+v %v", report, bad)
	}
	conn := as(t, l.AppURL)
	for _, table := range []string{"audit_events", "audit_personal", "audit_links", "audit_checkpoints"} {
		for _, ws := range []string{"", mine.UUID(), "00000000-0000-0000-0000-000000000000"} {
			var n int
			tx, err := conn.Begin(t.Context())
			ok(t, err)
			_, err = tx.Exec(t.Context(), `SELECT set_config('app.workspace_id', $1, true)`, ws)
			ok(t, err)
			ok(t, tx.QueryRow(t.Context(), `SELECT count(*)::int FROM `+table+` WHERE workspace_id = $1`, theirs.UUID()).Scan(&n))
			if n > 0 {
				t.Errorf("%d rows of %s are seen from %q", n, table, ws)
			}
			ok(t, tx.Rollback(t.Context()))
		}
	}
	var n int
	if err := as(t, l.SystemURL).QueryRow(t.Context(), `SELECT count(*)::int FROM audit_personal`).Scan(&n); err != nil || n != 1 {
		t.Errorf("the system role sees the personal data of %d events, want the installation's 1: %v", n, err)
	}
}

// Attack case 43. Control: what was written is still there and is verified.
func TestNobodyChangesTheLogNotEvenItsOwner(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	ws := l.Workspace(t)
	l.write(t, ws, "a", "b")
	l.seal(t)
	month := pgtest.Value[string](t, l.Env, `SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYYMM')`)
	for who, url := range map[string]string{"the application": l.AppURL, "the system role": l.SystemURL, "the owner": l.OwnerURL, "the superuser": l.SuperURL} {
		conn := as(t, url)
		if who == "the owner" { // forced row-level security hides the rows from it; even without that they stay
			l.Exec(t, `ALTER TABLE audit_events NO FORCE ROW LEVEL SECURITY; ALTER TABLE audit_links NO FORCE ROW LEVEL SECURITY; ALTER TABLE audit_checkpoints NO FORCE ROW LEVEL SECURITY;
				ALTER TABLE audit_events_`+month+` NO FORCE ROW LEVEL SECURITY`)
		}
		if who == "the application" {
			_, err := conn.Exec(t.Context(), `SELECT set_config('app.workspace_id', $1, false)`, ws.UUID())
			ok(t, err)
		}
		for _, table := range []string{"audit_events", "audit_events_" + month, "audit_links", "audit_checkpoints"} {
			column := "workspace_id"
			for _, sql := range []string{`UPDATE ` + table + ` SET ` + column + ` = ` + column, `DELETE FROM ` + table, `TRUNCATE ` + table} {
				_, err := conn.Exec(t.Context(), sql)
				if err == nil || !strings.Contains(err.Error(), "42501") {
					t.Errorf("%s: %s: %v", who, sql, err)
				}
			}
		}
	}
	conn := as(t, l.AppURL)
	_, err := conn.Exec(t.Context(), `SELECT set_config('app.workspace_id', $1, false)`, ws.UUID())
	ok(t, err)
	for _, sql := range []string{
		`INSERT INTO audit_events (workspace_id, id, at, actor, via, operation, action, target, result, request_id, personal_hash) VALUES ($1, gen_random_uuid(), now() - interval '1 hour', '', '', '', '', '', 'done', '', '')`,
		`INSERT INTO audit_events (workspace_id, id, xid, actor, via, operation, action, target, result, request_id, personal_hash) VALUES ($1, gen_random_uuid(), '1', '', '', '', '', '', 'done', '', '')`,
		`INSERT INTO audit_links (workspace_id, seq, event_id, event_at, hash) VALUES ($1, 9, gen_random_uuid(), now(), '')`,
		`INSERT INTO audit_checkpoints (workspace_id, seq, hash, at, key_id, signature) VALUES ($1, 9, '', now(), '', '')`,
		`DELETE FROM audit_personal WHERE workspace_id = $1`, `UPDATE audit_personal SET email = '' WHERE workspace_id = $1`,
	} {
		if _, err := conn.Exec(t.Context(), sql, ws.UUID()); err == nil || !strings.Contains(err.Error(), "42501") {
			t.Errorf("the application: %s: %v", sql, err)
		}
	}
	if _, bad := l.verify(t, ws); bad != nil {
		t.Error(bad)
	}
}

func TestManyOperationsAtOnceWriteOneEventEach(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	ws := l.Workspace(t)
	const many = 24
	var all sync.WaitGroup
	for range many {
		all.Go(func() {
			ctx, p := pending(t.Context(), "")
			if _, err := l.Env.DB.In(ws).CreateAgent(ctx, "user_1", corp.AgentSpec{Name: strings.ToLower(corp.NewSecret("")[:12]), Model: "anthropic/x"}); err != nil || !p.Written() {
				t.Error(err, p.Written())
			}
		})
	}
	all.Wait()
	seen := map[string]bool{}
	for _, target := range l.events(t, ws) {
		seen[target] = strings.HasPrefix(target, "agent_")
	}
	if len(seen) != many {
		t.Errorf("%d targets of %d", len(seen), many)
	}
}

func TestTheListFiltersAndPages(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	ws := l.Workspace(t)
	l.write(t, ws, "a", "b", "c")
	other := someEvent("d")
	other.Actor, other.Operation, other.Result = "key_2", "archiveAgent", corp.AuditDenied
	ok(t, l.Of(ws).Write(t.Context(), other))
	list := func(f trail.Filter, p corp.Page) corp.List[corp.AuditEvent] {
		found, err := l.Of(ws).Events(t.Context(), f, p)
		ok(t, err)
		return found
	}
	first := list(trail.Filter{}, corp.Page{Limit: 3})
	if len(first.Items) != 3 || first.NextCursor == "" || first.Items[0].Target != "d" || first.Items[1].Personal == nil || first.Items[1].Personal.Address != "192.0.2.7" {
		t.Fatalf("%+v", first)
	}
	if rest := list(trail.Filter{}, corp.Page{Cursor: first.NextCursor}); len(rest.Items) != 1 || rest.Items[0].Target != "a" {
		t.Errorf("%+v", rest)
	}
	at := first.Items[1].At // of c
	for name, f := range map[string]trail.Filter{"actor": {Actor: "key_2"}, "operation": {Operation: "archiveAgent"}, "result": {Result: corp.AuditDenied}, "from": {From: first.Items[0].At}} {
		if got := list(f, corp.Page{}); len(got.Items) != 1 || got.Items[0].Target != "d" {
			t.Errorf("%s: %+v", name, got.Items)
		}
	}
	if got := list(trail.Filter{To: at}, corp.Page{}); len(got.Items) != 2 {
		t.Errorf("until c: %+v", got.Items)
	}
	if h := audit.PersonalHash(first.Items[0].Personal); h == "" || h != first.Items[0].PersonalHash {
		t.Errorf("the personal data does not give its hash")
	}
}

// An operation of a workspace is in its log, whatever the system door writes on the
// way; a person's own is the installation's, but for joining a workspace.
func TestEachDoorWritesIntoItsOwnLog(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	ws, db := l.Workspace(t), l.Env.DB.Door()
	touch := func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `SELECT pg_current_xact_id()`)
		return err
	}
	event := func(target string) (context.Context, *door.Pending) {
		p := door.NewPending(someEvent(target))
		return door.WithAudit(t.Context(), p), p
	}
	ctx, p := event("the workspace's")
	p.In(ws)
	ok(t, db.System("test").In(ctx, touch))
	_, err := door.ExecSystem(ctx, db.System("test"), `UPDATE servers SET seen_at = now()`)
	ok(t, err)
	if p.Written() {
		t.Error("the system door took the event of a workspace")
	}
	ok(t, db.In(ws).In(ctx, touch))
	ctx, _ = event("a person's")
	ok(t, db.User(corp.NewID[corp.UserID]()).In(ctx, touch))
	ctx, _ = event("joining")
	ok(t, db.User(corp.NewID[corp.UserID]()).Into(ctx, ws, touch))
	ctx, _ = event("nobody's")
	ok(t, db.Auth().In(ctx, touch))
	ctx, _ = event("the operator's")
	ok(t, db.System("test").In(ctx, touch))
	if got := l.events(t, ws); !cmp.Equal(got, []string{"the workspace's", "joining"}) {
		t.Errorf("the workspace's log: %q", got)
	}
	if got := l.events(t, corp.WorkspaceID{}); !cmp.Equal(got, []string{"a person's", "nobody's", "the operator's"}) {
		t.Errorf("the installation's log: %q", got)
	}
	l.seal(t)
	for _, of := range []corp.WorkspaceID{ws, {}} {
		if _, bad := l.verify(t, of); bad != nil {
			t.Error(bad)
		}
	}
}

func TestARepeatedRequestSaysWhatItMadeBefore(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	ws := l.Workspace(t)
	var made corp.TaskID
	for range 2 {
		ctx, p := pending(t.Context(), "")
		task, _, err := l.Env.DB.In(ws).SubmitTask(ctx, "user_1", corp.TaskSpec{Prompt: "x", RepositoryURL: "https://git.example.com/a.git"}, idem("k"))
		ok(t, err)
		ok(t, l.Of(ws).WritePending(ctx, p)) // as the API does when nothing was changed
		made = task.ID
	}
	if got := l.events(t, ws); !cmp.Equal(got, []string{made.String(), made.String()}) {
		t.Errorf("%q", got)
	}
}

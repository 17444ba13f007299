package api

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/audit"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/postgres/pgtest"
	"github.com/genericcorp/corp/postgres/trail"
)

// written is what the log says of one request.
func (h *house) written(t *testing.T, requestID string) []corp.AuditEvent {
	t.Helper()
	const find = `SELECT coalesce(json_agg(json_build_object('actor', actor, 'operation', operation, 'action', action, 'target', target, 'result', result, 'changes', changes, 'personal_hash', personal_hash)), '[]')
		FROM audit_events WHERE request_id = $1`
	var events []corp.AuditEvent
	if err := json.Unmarshal(pgtest.Value[[]byte](t, h.env, find, requestID), &events); err != nil {
		t.Fatal(err)
	}
	return events
}

// Every operation that changes something leaves exactly one event
// with who and what, and so does everyone who may not. Reading leaves none.
// Attack case 45. Control: reading, and what failed, leaves none.
func TestEveryOperationThatChangesSomethingLeavesOneEvent(t *testing.T) {
	t.Parallel()
	h := shared(t)
	var done, refused atomic.Int64
	t.Run("operations", func(t *testing.T) {
		for _, op := range operations {
			t.Run(op.id, func(t *testing.T) {
				t.Parallel()
				o := h.office(t)
				for _, c := range callers {
					if c.far || c.role == "" {
						continue
					}
					key, want, maker := c.key(h, o, o), expected(op, c), o.keys[corp.RoleRunner]
					switch { // keys of their own: of many denials of one a second, only ten are recorded
					case c.role == corp.RoleOperator:
						key = h.installationKey(t, corp.RoleOperator, corp.KeyPrefixOp)
					case key == h.pool:
						key = h.installationKey(t, corp.RoleRunner, corp.KeyPrefixRunner)
						maker = key
					case op.tag == "keys", op.action == person && c.session:
						maker = key
					}
					for _, s := range samples[op.id](t, o, maker) {
						request := unique("audited")
						s.header = withHeader(s.header, "X-Request-ID", request)
						got := s.send(t, h, op, key, nil)
						events := h.written(t, request)
						switch {
						case want == http.StatusForbidden:
							refused.Add(1)
							oneEvent(t, op, c, events, corp.AuditDenied)
						case got.status >= http.StatusBadRequest: // not what the sample is for: another caller used its object up
							if len(events) > 0 {
								t.Errorf("%s as %s: %d, and %v", op, c.name, got.status, events)
							}
						case audits(huma.Operation{OperationID: op.id, Method: op.route[:strings.IndexByte(op.route, ' ')]}):
							done.Add(1)
							oneEvent(t, op, c, events, corp.AuditDone)
						case len(events) > 0:
							t.Errorf("%s as %s is not audited, and left %v", op, c.name, events)
						}
						if want == http.StatusForbidden {
							break // one is enough: more than ten a second are only counted
						}
					}
				}
			})
		}
	})
	t.Logf("%d events of what was done, %d of what was refused", done.Load(), refused.Load())
}

func withHeader(header map[string]string, name, value string) map[string]string {
	more := map[string]string{name: value}
	maps.Copy(more, header)
	return more
}

func oneEvent(t *testing.T, op operation, c caller, events []corp.AuditEvent, result corp.AuditResult) {
	t.Helper()
	if len(events) != 1 {
		t.Errorf("%s as %s: %d events", op, c.name, len(events))
		return
	}
	e := events[0]
	if e.Actor == "" || e.Operation != op.id || e.Action != op.action || e.Result != result || e.PersonalHash == "" {
		t.Errorf("%s as %s: %+v", op, c.name, e)
	}
	wantsTarget := result == corp.AuditDone && !strings.HasPrefix(op.route, "GET ") && op.id != "redriveTasks"
	if wantsTarget && e.Target == "" {
		t.Errorf("%s as %s: no target: %+v", op, c.name, e)
	}
}

func TestTheListOfWhatIsNotAuditedIsExact(t *testing.T) {
	t.Parallel()
	for id, why := range unaudited {
		i := slices.IndexFunc(operations, func(op operation) bool { return op.id == id })
		if i < 0 || why == "" || strings.HasPrefix(operations[i].route, "GET ") || operations[i].action != corp.RunnerLease {
			t.Errorf("%s is no operation of a lease that changes something, or has no reason", id)
		}
	}
	for id := range auditedReads {
		if !slices.ContainsFunc(operations, func(op operation) bool { return op.id == id && strings.HasPrefix(op.route, "GET ") }) {
			t.Errorf("%s is no operation that reads", id)
		}
	}
}

func TestAFailedOperationLeavesNoEvent(t *testing.T) {
	t.Parallel()
	h := shared(t)
	o := h.office(t)
	for name, try := range map[string][3]string{
		"wrong input": {"POST", "/v1/tasks", `{"prompt":""}`}, "a missing thing": {"POST", "/v1/tasks/" + missingID("task") + "/cancel", ""}, "no such route": {"POST", "/v1/nothing", ""},
	} {
		request := unique("failed")
		got := h.do(t, o.keys[corp.RoleOwner], try[0], try[1], map[string]string{"X-Request-ID": request}, try[2])
		if events := h.written(t, request); got.status < 400 || len(events) > 0 {
			t.Errorf("%s: %d, %v", name, got.status, events)
		}
	}
}

func TestAFloodOfDenialsIsCounted(t *testing.T) {
	t.Parallel()
	d, now := newDenials(), time.Unix(1_000, 0)
	recorded := 0
	for range 100 {
		if _, due := d.due("k", now); due {
			recorded++
		}
	}
	if recorded != denialsPerSecond {
		t.Errorf("%d of 100 were recorded", recorded)
	}
	if _, due := d.due("other", now); !due {
		t.Error("another credential was refused a record")
	}
	if untold, due := d.due("k", now.Add(time.Second)); !due || untold != 100-denialsPerSecond {
		t.Errorf("%d, %v", untold, due)
	}
	if untold, due := d.due("k", now.Add(time.Second)); !due || untold != 0 {
		t.Errorf("they were told twice: %d, %v", untold, due)
	}
	h := shared(t)
	o := h.office(t)
	request := unique("flood")
	for range 40 {
		h.do(t, o.keys[corp.RoleViewer], "POST", "/v1/agents", map[string]string{"X-Request-ID": request}, "{}")
	}
	events := h.written(t, request)
	if len(events) < denialsPerSecond || len(events) > 40 {
		t.Errorf("%d events of 40 denials", len(events))
	}
}

// sealed seals all logs of the house.
func (h *house) sealed(t *testing.T, ws corp.WorkspaceID) {
	t.Helper()
	key, err := h.ring.SigningKey(audit.KeyLabel)
	if err != nil {
		t.Fatal(err)
	}
	logs, signer := trail.New(h.env.DB.Door()), audit.NewSigner(key)
	pgtest.Eventually(t, 30*time.Second, "the log to be sealed", func(ctx context.Context) bool {
		b, err := logs.Backlog(ctx)
		if err != nil {
			return false
		}
		for _, u := range b.Logs {
			if _, _, err := logs.Seal(ctx, b, u, signer); err != nil {
				t.Logf("seal: %v", err)
			}
		}
		return pgtest.Value[int](t, h.env, `SELECT count(*)::int FROM audit_events e WHERE workspace_id = $1 AND NOT EXISTS (SELECT FROM audit_links l WHERE l.event_id = e.id)`, ws.UUID()) == 0
	})
}

func TestAnExportIsVerifiedWithTheServersKeyAndIsAnEventItself(t *testing.T) {
	t.Parallel()
	h := shared(t)
	o := h.office(t)
	for range 5 {
		o.agentOf(t)
	}
	log := o.as(corp.RoleAdmin).Audit()
	if c := must[client.Checkpoint](t)(log.Checkpoint(t.Context())); c.Seq != 0 || c.PublicKey == "" {
		t.Errorf("%+v", c)
	}
	h.sealed(t, o.ws)
	c := must[client.Checkpoint](t)(log.Checkpoint(t.Context()))
	key := must[ed25519.PublicKey](t)(audit.ParsePublicKey(c.PublicKey))
	var kept audit.Checkpoint
	b, _ := json.Marshal(c)
	if err := json.Unmarshal(b, &kept); err != nil {
		t.Fatal(err)
	}
	export := func(ws corp.WorkspaceID, l client.AuditLog) (audit.Report, error) {
		in, err := l.Export(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = in.Close() }()
		return audit.Verify(in, audit.Expect{Keys: []ed25519.PublicKey{key}, Checkpoints: []audit.Checkpoint{kept}, WorkspaceID: &ws})
	}
	if report, err := export(o.ws, log); err != nil || report.Rows != 5 || report.Hash.String() != c.Hash {
		t.Errorf("%+v %v", report, err)
	}
	h.sealed(t, o.ws)
	if report, err := export(o.ws, log); err != nil || report.Rows != 6 {
		t.Errorf("the export is no event: %+v %v", report, err)
	}
	h.sealed(t, corp.WorkspaceID{})
	if report, err := export(corp.WorkspaceID{}, h.with(h.operator).InstallationAudit()); err != nil {
		t.Errorf("the installation's: %+v %v", report, err)
	}
	list := must[corp.List[corp.AuditEvent]](t)(log.List(t.Context(), client.AuditFilter{Operation: "createAgent", From: time.Now().Add(-time.Hour), To: time.Now().Add(time.Hour)}, corp.Page{}))
	if len(list.Items) != 5 || list.Items[0].Personal == nil || list.Items[0].Personal.Address == "" || !strings.HasPrefix(list.Items[0].Target, "agent_") {
		t.Errorf("%+v", list.Items)
	}
}

func TestALongExportIsSentInPieces(t *testing.T) {
	t.Parallel()
	h := ownHouse(t)
	o := h.office(t)
	h.env.Exec(t, `INSERT INTO audit_events (workspace_id, id, actor, via, operation, action, target, result, request_id, personal_hash)
		SELECT $1::uuid, gen_random_uuid(), 'a', '', 'o', 'x', repeat('t', 200), 'done', '', '' FROM generate_series(1, 5000)`, o.ws.UUID())
	h.sealed(t, o.ws)
	in, err := o.owner().Audit().Export(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	var all bytes.Buffer
	if _, err := all.ReadFrom(in); err != nil {
		t.Fatal(err)
	}
	report, err := audit.Verify(&all, audit.Expect{})
	bad, _ := errors.AsType[*audit.TamperError](err)
	if err != nil || report.Rows < 5000 {
		t.Errorf("%+v %v", report, bad)
	}
}

func TestErasingIsTheOperatorsAndIsRecorded(t *testing.T) {
	t.Parallel()
	h := shared(t)
	o := h.office(t)
	o.agentOf(t)
	list := must[corp.List[corp.AuditEvent]](t)(o.owner().Audit().List(t.Context(), client.AuditFilter{}, corp.Page{}))
	who := list.Items[0].Actor
	if _, err := o.owner().EraseAudit(t.Context(), who); corp.KindOf(err) != corp.KindForbidden {
		t.Errorf("an owner erases: %v", err)
	}
	if n := must[client.Erased](t)(h.with(h.operator).EraseAudit(t.Context(), who)); n.Events < 1 {
		t.Errorf("%+v", n)
	}
	list = must[corp.List[corp.AuditEvent]](t)(o.owner().Audit().List(t.Context(), client.AuditFilter{}, corp.Page{}))
	for _, e := range list.Items {
		if e.Actor == who && e.Personal != nil || e.PersonalHash == "" {
			t.Errorf("%+v", e)
		}
	}
	mine := must[corp.List[corp.AuditEvent]](t)(h.with(h.operator).InstallationAudit().List(t.Context(), client.AuditFilter{Operation: "eraseAudit"}, corp.Page{Limit: corp.MaxPage}))
	if !slices.ContainsFunc(mine.Items, func(e corp.AuditEvent) bool { return e.Target == string(who) }) {
		t.Error("who was erased is not recorded")
	}
}

func TestARefusedSignInIsRecordedInTheInstallationsLog(t *testing.T) {
	t.Parallel()
	h := ownHouse(t)
	known := h.office(t).person(t, corp.RoleMember)
	for _, email := range []string{known.email, "nobody@example.com"} {
		login := func(password string) reply {
			return h.do(t, "", http.MethodPost, "/v1/auth/login", map[string]string{"User-Agent": "a browser"}, fmt.Sprintf(`{"email":%q,"password":%q}`, email, password))
		}
		refused := login("wrong-password-7")
		if refused.status != http.StatusUnauthorized {
			t.Fatalf("%+v", refused)
		}
		list := must[corp.List[corp.AuditEvent]](t)(h.with(h.operator).InstallationAudit().List(t.Context(), client.AuditFilter{Operation: "signIn"}, corp.Page{}))
		e := list.Items[0]
		if e.Personal == nil || e.Personal.Salt == "" {
			t.Fatalf("%+v", e)
		}
		want := corp.AuditPersonal{Salt: e.Personal.Salt, Email: email, Address: "127.0.0.1", UserAgent: "a browser"}
		if e.RequestID != refused.header.Get("X-Request-Id") || e.Actor != corp.ActorUnknown || e.Result != corp.AuditDenied || *e.Personal != want {
			t.Errorf("%s: %+v, %+v", email, e, e.Personal)
		}
	}
}

// Who tries many accounts at once hides nobody else's attempt: each is recorded.
// Erasing a person erases what was typed as their address, too.
func TestEveryAccountsRefusedSignInsAreRecordedAndErasedWithIt(t *testing.T) {
	t.Parallel()
	h := ownHouse(t)
	known := h.office(t).person(t, corp.RoleMember)
	refused := func(email string) (request string) {
		t.Helper()
		request = unique("refused")
		if got := h.do(t, "", http.MethodPost, "/v1/auth/login", map[string]string{"X-Request-ID": request}, fmt.Sprintf(`{"email":%q,"password":"wrong-password-7"}`, email)); got.status != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", email, got.status, got.body)
		}
		return request
	}
	var all sync.WaitGroup
	requests := make([]string, 15)
	for i := range requests {
		all.Go(func() { requests[i] = refused(fmt.Sprintf("nobody-%d@example.com", i)) })
	}
	all.Wait()
	recorded := func() map[string]string {
		found := map[string]string{}
		for _, e := range must[corp.List[corp.AuditEvent]](t)(h.with(h.operator).InstallationAudit().List(t.Context(), client.AuditFilter{Operation: "signIn"}, corp.Page{Limit: corp.MaxPage})).Items {
			if found[e.RequestID] = "erased"; e.Personal != nil {
				found[e.RequestID] = e.Personal.Email
			}
		}
		return found
	}
	mine := refused(" " + strings.ToUpper(known.email))
	was := recorded()
	for i, request := range requests {
		if was[request] != fmt.Sprintf("nobody-%d@example.com", i) {
			t.Errorf("of attempt %d %q is recorded", i, was[request])
		}
	}
	if was[mine] != known.email {
		t.Errorf("of a known account's %q is recorded", was[mine])
	}
	must[client.Erased](t)(h.with(h.operator).EraseAudit(t.Context(), corp.Actor(known.id.String())))
	now := recorded()
	if was[mine] = "erased"; !maps.Equal(now, was) {
		t.Errorf("%v, want %v", now, was)
	}
}

// What an issuer sends a browser back with is a GET, and signs somebody in.
func TestWhoSignsInElsewhereIsRecorded(t *testing.T) {
	t.Parallel()
	h := shared(t)
	query, cookie := h.office(t).elsewhere(t)
	request := unique("elsewhere")
	got := h.do(t, "", http.MethodGet, ElsewherePath+"/ours?"+query.Encode(), map[string]string{"Cookie": cookie, "X-Request-ID": request}, "")
	events := h.written(t, request)
	if got.status != http.StatusSeeOther || len(events) != 1 || !strings.HasPrefix(string(events[0].Actor), "user_") || events[0].Result != corp.AuditDone {
		t.Errorf("%d, %+v", got.status, events)
	}
}

func TestAKeyFromWhereItMustNotBeUsedIsRecorded(t *testing.T) {
	t.Parallel()
	h := shared(t)
	o := h.office(t)
	secret := corp.NewSecret(corp.KeyPrefixLive)
	key := newKey(corp.ActorSystem, "at home", corp.RoleAdmin, secret, nil)
	key.Addresses = []string{"203.0.113.0/24"}
	key = must[corp.APIKey](t)(h.env.DB.In(o.ws).CreateAPIKey(t.Context(), corp.ActorSystem, key, h.ring.Hash(secret)))
	request := unique("stolen")
	got := h.do(t, secret, http.MethodGet, "/v1/tasks", map[string]string{"X-Request-ID": request}, "")
	events := h.written(t, request)
	if got.status != http.StatusForbidden || len(events) != 1 || events[0].Result != corp.AuditDenied || string(events[0].Actor) != key.ID.String() {
		t.Errorf("%d, %+v", got.status, events)
	}
}

// A copy of a refresh credential is used. What that changes, it ends, is told as what
// it is, and once; what changes nothing is not told.
// Attack case 17. Control: its first use is recorded as done.
func TestARefreshCredentialThatIsRefusedIsNotRecordedAsDone(t *testing.T) {
	t.Parallel()
	h := ownHouse(t)
	p := h.office(t).person(t, corp.RoleMember)
	refresh := func() (int, []corp.AuditEvent) {
		request := unique("refresh")
		got := h.do(t, "", http.MethodPost, "/v1/auth/refresh", map[string]string{"X-Request-ID": request}, fmt.Sprintf(`{"refresh":%q}`, p.refresh))
		return got.status, h.written(t, request)
	}
	if status, events := refresh(); status != http.StatusOK || len(events) != 1 || events[0].Result != corp.AuditDone {
		t.Errorf("%d, %+v", status, events)
	}
	h.env.Exec(t, `UPDATE refresh_tokens SET used_at = used_at - interval '1 hour'`)
	if status, events := refresh(); status != http.StatusUnauthorized || len(events) != 1 || events[0].Result != corp.AuditDenied || string(events[0].Actor) != p.id.String() {
		t.Errorf("a copy: %d, %+v", status, events)
	}
	if status, events := refresh(); status != http.StatusUnauthorized || len(events) != 0 {
		t.Errorf("of a session that has ended: %d, %+v", status, events)
	}
}

package api

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/genericcorp/corp"
)

// TestEveryOperationWithEveryRole walks the table: each operation is asked for by
// everybody there is, and what they get is what testdata/allowed.txt says and
// nothing else.
// Attack case 3. Control: each role succeeds at what the table gives it.
func TestEveryOperationWithEveryRole(t *testing.T) {
	t.Parallel()
	h := shared(t)
	var cases atomic.Int64
	t.Run("operations", func(t *testing.T) {
		for _, op := range operations {
			t.Run(op.id, func(t *testing.T) {
				t.Parallel()
				n, faults := walk(t, h, h, op, callers)
				cases.Add(n)
				for _, fault := range faults {
					t.Error(fault)
				}
			})
		}
	})
	if t.Failed() {
		return
	}
	t.Logf("matrix: %d operations x %d callers = %d cases", len(operations), len(callers), cases.Load())
	if want := int64(len(operations) * len(callers)); cases.Load() < want {
		t.Errorf("%d cases were walked, want at least %d", cases.Load(), want)
	}
}

// caller is somebody who asks. role is "" for a credential that is none here, and
// for a person who is in no workspace.
type caller struct {
	name string
	role corp.Role
	key  func(h *house, o, other *office) string

	far     bool        // of another workspace
	session bool        // signed in, and no key
	scope   corp.Action // what the key is narrowed to
}

var callers = []caller{
	{name: "nobody", key: func(*house, *office, *office) string { return "" }},
	{name: "an unknown key", key: func(*house, *office, *office) string { return corp.NewSecret(corp.KeyPrefixLive) }},
	{name: "a run's key", key: func(_ *house, o, _ *office) string { return o.working().RunKey }},
	{name: "a lease's secret", key: func(_ *house, o, _ *office) string { return o.working().Secret }},
	{name: "viewer", role: corp.RoleViewer, key: keyOfRole(corp.RoleViewer)},
	{name: "member", role: corp.RoleMember, key: keyOfRole(corp.RoleMember)},
	{name: "admin", role: corp.RoleAdmin, key: keyOfRole(corp.RoleAdmin)},
	{name: "owner", role: corp.RoleOwner, key: keyOfRole(corp.RoleOwner)},
	{name: "an owner with a narrowed key", role: corp.RoleOwner, scope: corp.TaskRead, key: func(_ *house, o, _ *office) string { return o.narrowed(corp.TaskRead) }},
	{name: "a service key", role: corp.RoleAdmin, key: func(_ *house, o, _ *office) string { return o.service() }},
	{name: "runner", role: corp.RoleRunner, key: keyOfRole(corp.RoleRunner)},
	{name: "pool runner", role: corp.RoleRunner, key: func(h *house, _, _ *office) string { return h.pool }},
	{name: "operator", role: corp.RoleOperator, key: func(h *house, _, _ *office) string { return h.operator }},
	{name: "somebody who is signed in and in no workspace", session: true, key: func(_ *house, o, _ *office) string { return o.stranger().access }},
	{name: "a viewer who is signed in", role: corp.RoleViewer, session: true, key: func(_ *house, o, _ *office) string { return o.visitor().access }},
	{name: "an owner who is signed in", role: corp.RoleOwner, session: true, key: func(_ *house, o, _ *office) string { return o.person(o.tb, corp.RoleOwner).access }},
	{name: "another workspace's owner", role: corp.RoleOwner, far: true, key: func(_ *house, _, other *office) string { return other.keys[corp.RoleOwner] }},
	{name: "another workspace's runner", role: corp.RoleRunner, far: true, key: func(_ *house, _, other *office) string { return other.keys[corp.RoleRunner] }},
}

func keyOfRole(r corp.Role) func(*house, *office, *office) string {
	return func(_ *house, o, _ *office) string { return o.keys[r] }
}

// walk asks a server for one operation as each of the callers, and says what was not
// as it should be. What they ask about is in the house.
func walk(t *testing.T, h, at *house, op operation, as []caller) (cases int64, faults []string) {
	t.Helper()
	o, other := h.office(t), h.office(t)
	refused := samples[op.id](t, o, o.keys[corp.RoleRunner])
	wrong := func(form string, args ...any) { faults = append(faults, op.String()+" "+fmt.Sprintf(form, args...)) }
	for _, c := range as {
		key := c.key(h, o, other)
		want := expected(op, c)
		tried := refused
		if want == op.success() {
			maker := key
			if (c.role != corp.RoleRunner && op.tag != "keys" && op.action != person) || c.far {
				maker = o.keys[corp.RoleRunner]
			}
			tried = samples[op.id](t, o, maker)
		}
		for _, s := range tried {
			cases++
			got := s.send(t, at, op, key, nil)
			switch {
			case c.far && want == op.success() && op.action != public:
				if fault := checkFar(t, op, s, o, got); fault != "" {
					wrong("as %s: %s", c.name, fault)
				}
			case got.status != want && (s.status == 0 || got.status != s.status):
				wrong("as %s: %d, want %d: %s", c.name, got.status, want, got.body)
			}
			if got.status == http.StatusUnauthorized && got.header.Get("WWW-Authenticate") == "" {
				wrong("as %s: a 401 without WWW-Authenticate", c.name)
			}
			if got.status >= 400 && got.problem(t).Hint == "" {
				wrong("as %s: no next step: %s", c.name, got.body)
			}
		}
	}
	return cases, faults
}

// checkFar is for a credential that may do such things, but elsewhere: it gets
// its own workspace's answer when the request names nothing, and otherwise what a
// missing thing gets.
func checkFar(t *testing.T, op operation, s sample, o *office, got reply) string {
	t.Helper()
	names := len(s.path) > 0 || s.query.Has("task") || s.query.Has("run") || s.query.Has("agent") || s.query.Has("schedule") || op.id == "submitTask" || op.id == "submitBatch" || op.id == "redriveTasks" || op.id == "createSchedule" || s.header["Corp-Runner"] != ""
	switch {
	case strings.Contains(got.body, o.ws.String()):
		return "it shows the other workspace's id: " + got.body
	case names && got.status != http.StatusNotFound && got.status != http.StatusConflict:
		return fmt.Sprintf("%d %s", got.status, got.body)
	case names && got.status == http.StatusConflict && got.problem(t).Kind != corp.KindLeaseLost:
		return "a conflict that tells that it is there: " + got.body
	case !names && got.status != op.success():
		return fmt.Sprintf("on its own workspace: %d %s", got.status, got.body)
	}
	return ""
}

// A caller who may not do a thing does not learn whether the request was right.
// Attack case 3. Control: who may do it gets past the role, in TestEveryOperationWithEveryRole.
func TestTheRoleIsAskedBeforeTheRequestIsRead(t *testing.T) {
	t.Parallel()
	h := shared(t)
	o := h.office(t)
	for _, op := range operations {
		if op.action == public || op.action == signedIn {
			continue
		}
		method, target, _ := strings.Cut(op.route, " ")
		target = strings.NewReplacer("{", "", "}", "").Replace(target) + "?nonsense=1"
		if got := h.do(t, "", method, target, nil, "{"); got.status != http.StatusUnauthorized {
			t.Errorf("%s without a key: %d %s", op, got.status, got.body)
		}
		key := o.keys[corp.RoleViewer]
		if corp.RoleViewer.May(op.action) {
			key = o.keys[corp.RoleRunner]
		}
		if got := h.do(t, key, method, target, nil, "{"); got.status != http.StatusForbidden {
			t.Errorf("%s with too little a role: %d %s", op, got.status, got.body)
		}
	}
}

// Nothing in a request but the credential says which workspace it is about.
// Attack case 5. Control: each request answers with the caller's own workspace.
func TestTheWorkspaceComesFromTheCredentialAlone(t *testing.T) {
	t.Parallel()
	h := shared(t)
	mine, theirs := h.office(t), h.office(t)
	want := h.do(t, mine.keys[corp.RoleOwner], "GET", "/v1/workspace", nil, "").body
	for name, value := range map[string]string{
		"X-Workspace-ID": theirs.ws.String(), "X-Tenant": theirs.ws.UUID(), "X-Forwarded-Host": "victim.example.com", "X-Original-URL": "/v1/workspaces",
		"X-HTTP-Method-Override": "DELETE", "Cookie": "workspace=" + theirs.ws.String(), "Corp-Workspace": theirs.ws.String(),
	} {
		got := h.do(t, mine.keys[corp.RoleOwner], "GET", "/v1/workspace", map[string]string{name: value}, "")
		if got.status != 200 || got.body != want {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	if got := h.do(t, mine.keys[corp.RoleOwner], "GET", "/v1/workspace?workspace_id="+theirs.ws.String(), nil, ""); got.status != 422 {
		t.Errorf("a workspace in the query: %d %s", got.status, got.body)
	}
}

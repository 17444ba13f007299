package api

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/genericcorp/corp"
)

// TestEveryOperationWithEveryRole walks the table: each operation is asked for by
// everybody there is, and what they get is what corp.Role.May says and nothing else.
func TestEveryOperationWithEveryRole(t *testing.T) {
	t.Parallel()
	h := shared(t)
	var cases atomic.Int64
	t.Run("operations", func(t *testing.T) {
		for _, op := range operations {
			t.Run(op.id, func(t *testing.T) {
				t.Parallel()
				cases.Add(walk(t, h, op))
			})
		}
	})
	if t.Failed() {
		return
	}
	t.Logf("%d cases: %d operations x %d callers", cases.Load(), len(operations), len(callers))
	if want := int64(len(operations) * len(callers)); cases.Load() < want {
		t.Errorf("%d cases were walked, want at least %d", cases.Load(), want)
	}
}

// caller is somebody who asks. role is "" for a credential that is none here.
type caller struct {
	name string
	role corp.Role
	key  func(h *house, o, other *office) string
	far  bool // of another workspace
}

var callers = []caller{
	{"nobody", "", func(*house, *office, *office) string { return "" }, false},
	{"a run key", "", func(*house, *office, *office) string { return corp.NewSecret(corp.KeyPrefixRun) }, false},
	{"an unknown key", "", func(*house, *office, *office) string { return corp.NewSecret(corp.KeyPrefixLive) }, false},
	{"viewer", corp.RoleViewer, func(_ *house, o, _ *office) string { return o.keys[corp.RoleViewer] }, false},
	{"member", corp.RoleMember, func(_ *house, o, _ *office) string { return o.keys[corp.RoleMember] }, false},
	{"admin", corp.RoleAdmin, func(_ *house, o, _ *office) string { return o.keys[corp.RoleAdmin] }, false},
	{"owner", corp.RoleOwner, func(_ *house, o, _ *office) string { return o.keys[corp.RoleOwner] }, false},
	{"runner", corp.RoleRunner, func(_ *house, o, _ *office) string { return o.keys[corp.RoleRunner] }, false},
	{"pool runner", corp.RoleRunner, func(h *house, _, _ *office) string { return h.pool }, false},
	{"operator", corp.RoleOperator, func(h *house, _, _ *office) string { return h.operator }, false},
	{"another workspace's owner", corp.RoleOwner, func(_ *house, _, other *office) string { return other.keys[corp.RoleOwner] }, true},
	{"another workspace's runner", corp.RoleRunner, func(_ *house, _, other *office) string { return other.keys[corp.RoleRunner] }, true},
}

func walk(t *testing.T, h *house, op operation) (cases int64) {
	t.Helper()
	o, other := h.office(t), h.office(t)
	refused := samples[op.id](t, o, o.keys[corp.RoleRunner])
	for _, c := range callers {
		key := c.key(h, o, other)
		want := expected(op, c)
		tried := refused
		if want == op.success() {
			maker := key
			if c.role != corp.RoleRunner || c.far {
				maker = o.keys[corp.RoleRunner]
			}
			tried = samples[op.id](t, o, maker)
		}
		for _, s := range tried {
			cases++
			status := want
			if c.far && want == op.success() {
				status = 0 // decided below
			}
			got := s.send(t, h, op, key, nil)
			switch {
			case status == 0:
				checkFar(t, op, c, s, o, got)
			case got.status != status && (s.status == 0 || got.status != s.status):
				t.Errorf("%s as %s: %d, want %d: %s", op, c.name, got.status, status, got.body)
			}
			if got.status == http.StatusUnauthorized && got.header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s as %s: a 401 without WWW-Authenticate", op, c.name)
			}
			if got.status >= 400 && got.problem(t).Hint == "" {
				t.Errorf("%s as %s: no next step: %s", op, c.name, got.body)
			}
		}
	}
	return cases
}

// expected is what the one table of roles says.
func expected(op operation, c caller) int {
	switch {
	case op.action == public:
		return op.success()
	case c.role == "":
		return http.StatusUnauthorized
	case op.action == signedIn || c.role.May(op.action):
		return op.success()
	default:
		return http.StatusForbidden
	}
}

// checkFar is for a credential that may do such things, but elsewhere: it gets
// its own workspace's answer when the request names nothing, and otherwise what a
// missing thing gets.
func checkFar(t *testing.T, op operation, c caller, s sample, o *office, got reply) {
	t.Helper()
	names := len(s.path) > 0 || s.query.Has("task") || s.query.Has("run") || s.query.Has("agent") || s.query.Has("schedule") || op.id == "submitTask" || op.id == "submitBatch" || op.id == "redriveTasks" || op.id == "createSchedule" || s.header["Corp-Runner"] != ""
	switch {
	case names && got.status != http.StatusNotFound && got.status != http.StatusConflict:
		t.Errorf("%s as %s: %d %s", op, c.name, got.status, got.body)
	case names && got.status == http.StatusConflict && got.problem(t).Kind != corp.KindLeaseLost:
		t.Errorf("%s as %s: a conflict that tells that it is there: %s", op, c.name, got.body)
	case !names && got.status != op.success():
		t.Errorf("%s as %s on its own workspace: %d %s", op, c.name, got.status, got.body)
	}
	if strings.Contains(got.body, o.ws.String()) {
		t.Errorf("%s as %s shows the other workspace's id: %s", op, c.name, got.body)
	}
}

// A caller who may not do a thing does not learn whether the request was right.
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

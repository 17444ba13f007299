package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/genericcorp/corp"
)

// Each bad input ends in an answer that names the field and the next step.
func TestBadInputNamesItsFieldAndTheNextStep(t *testing.T) {
	t.Parallel()
	o := shared(t).office(t)
	good := `"prompt":"x","repository_url":"https://example.com/a/b.git"`
	wrongID := corp.NewID[corp.RunID]().String()
	for _, c := range []struct {
		name, route, body string
		status            int
		field             string
	}{
		{"no body", "POST /v1/tasks", "", 400, "body"},
		{"half a body", "POST /v1/tasks", `{"prompt":`, 400, "body"},
		{"a list for an object", "POST /v1/tasks", `[]`, 422, "body"},
		{"null", "POST /v1/tasks", `null`, 422, "body"},
		{"a missing field", "POST /v1/tasks", `{"repository_url":"https://example.com/a"}`, 422, "prompt"},
		{"an empty field", "POST /v1/tasks", `{"prompt":"","repository_url":"https://example.com/a"}`, 422, "prompt"},
		{"an unknown field", "POST /v1/tasks", `{` + good + `,"promt":"y"}`, 422, "promt"},
		{"a field in another case", "POST /v1/tasks", `{` + good + `,"Priority":1}`, 422, "Priority"},
		{"a field twice", "POST /v1/tasks", `{` + good + `,"prompt":"y"}`, 400, "prompt"},
		{"a text for a number", "POST /v1/tasks", `{` + good + `,"priority":"1"}`, 422, "priority"},
		{"a fraction", "POST /v1/tasks", `{` + good + `,"priority":1.5}`, 422, "priority"},
		{"too large a number", "POST /v1/tasks", `{` + good + `,"priority":10}`, 422, "priority"},
		{"a huge number", "POST /v1/tasks", `{` + good + `,"budget_nanodollars":1e30}`, 422, "budget_nanodollars"},
		{"a negative budget", "POST /v1/tasks", `{` + good + `,"budget_nanodollars":-1}`, 422, "budget_nanodollars"},
		{"a bad id", "POST /v1/tasks", `{"prompt":"x","repository_id":"repo_1"}`, 422, "repository_id"},
		{"an id of another kind", "POST /v1/tasks", `{"prompt":"x","repository_id":"` + wrongID + `"}`, 422, "repository_id"},
		{"the id of nothing", "POST /v1/tasks", `{"prompt":"x","repository_id":"repo_` + strings.Repeat("0", 26) + `"}`, 422, "body"},
		{"a path for a URL", "POST /v1/tasks", `{"prompt":"x","repository_url":"/etc/passwd"}`, 422, "repository_url"},
		{"no source", "POST /v1/tasks", `{"prompt":"x"}`, 422, "repository_url"},
		{"a bad base", "POST /v1/tasks", `{` + good + `,"base":"--upload-pack=x"}`, 422, "base"},
		{"a short commit", "POST /v1/tasks", `{` + good + `,"base_commit":"abc"}`, 422, "base_commit"},
		{"the zero character", "POST /v1/tasks", `{` + good + `,"check":"a\u0000b"}`, 400, "check"},
		{"too long a timeout", "POST /v1/tasks", `{` + good + `,"timeout_seconds":86401}`, 422, "timeout_seconds"},
		{"a bad label", "POST /v1/tasks", `{` + good + `,"labels":["a","b c"]}`, 422, "labels[1]"},
		{"a number for a label", "POST /v1/tasks", `{` + good + `,"labels":["a",1]}`, 422, "labels[1]"},
		{"an agent that is not there", "POST /v1/tasks", `{` + good + `,"agent":"nobody"}`, 404, "agent"},
		{"a start that is given twice", "POST /v1/tasks", `{` + good + `,"not_before":"2026-01-01T00:00:00Z","delay_seconds":5}`, 422, "delay_seconds"},
		{"a deadline that is given twice", "POST /v1/tasks", `{` + good + `,"deadline_at":"2036-01-01T00:00:00Z","deadline_seconds":5}`, 422, "deadline_seconds"},
		{"a deadline that is over", "POST /v1/tasks", `{` + good + `,"deadline_at":"2020-01-01T00:00:00Z"}`, 422, "deadline_at"},
		{"a deadline before the start", "POST /v1/tasks", `{` + good + `,"deadline_seconds":5,"delay_seconds":5}`, 422, "deadline_seconds"},
		{"a start beyond a year", "POST /v1/tasks", `{` + good + `,"not_before":"2999-01-01T00:00:00Z"}`, 422, "not_before"},
		{"a negative delay", "POST /v1/tasks", `{` + good + `,"delay_seconds":-1}`, 422, "delay_seconds"},
		{"a delay beyond a year", "POST /v1/tasks", `{` + good + `,"delay_seconds":31536001}`, 422, "delay_seconds"},
		{"a start that is no time", "POST /v1/tasks", `{` + good + `,"not_before":"22:30"}`, 422, "not_before"},
		{"a pause beyond its cap", "POST /v1/tasks", `{` + good + `,"retry":{"base_ms":9,"cap_ms":8}}`, 422, "retry.cap_ms"},
		{"a negative pause", "POST /v1/tasks", `{` + good + `,"retry":{"base_ms":-9,"cap_ms":8}}`, 422, "retry.base_ms"},
		{"a schedule without a task", "POST /v1/schedules", `{"name":"a","cron":"@daily"}`, 422, "task"},
		{"a schedule's bad name", "POST /v1/schedules", `{"name":"A","cron":"@daily","task":{` + good + `}}`, 422, "name"},
		{"a schedule's bad expression", "POST /v1/schedules", `{"name":"a","cron":"0 25 * * *","task":{` + good + `}}`, 422, "cron"},
		{"a schedule that never comes", "POST /v1/schedules", `{"name":"a","cron":"0 0 30 2 *","task":{` + good + `}}`, 422, "cron"},
		{"a schedule by the stopwatch", "POST /v1/schedules", `{"name":"a","cron":"@every 1s","task":{` + good + `}}`, 422, "cron"},
		{"a schedule on Mars", "POST /v1/schedules", `{"name":"a","cron":"@daily","time_zone":"Mars/Olympus","task":{` + good + `}}`, 422, "time_zone"},
		{"a schedule's policy that is none", "POST /v1/schedules", `{"name":"a","cron":"@daily","missed":"all","task":{` + good + `}}`, 422, "missed"},
		{"a schedule's task without a prompt", "POST /v1/schedules", `{"name":"a","cron":"@daily","task":{"prompt":"","repository_url":"https://example.com/a"}}`, 422, "task.prompt"},
		{"a schedule's task without a source", "POST /v1/schedules", `{"name":"a","cron":"@daily","task":{"prompt":"x"}}`, 422, "task.repository_url"},
		{"a schedule's task at one moment", "POST /v1/schedules", `{"name":"a","cron":"@daily","task":{` + good + `,"not_before":"2036-01-01T00:00:00Z"}}`, 422, "task.not_before"},
		{"a schedule's agent that is not there", "POST /v1/schedules", `{"name":"a","cron":"@daily","task":{` + good + `,"agent":"nobody"}}`, 404, "task.agent"},
		{"too large a body", "POST /v1/tasks", `{"prompt":"` + strings.Repeat("x", 1<<20) + `"}`, 413, "body"},
		{"a model without a provider", "POST /v1/agents", `{"name":"a","model":"gpt-5"}`, 422, "model"},
		{"a bad name", "POST /v1/agents", `{"name":"A b","model":"a/b"}`, 422, "name"},
		{"an unknown runtime", "POST /v1/agents", `{"name":"a","model":"a/b","runtime":"claude"}`, 422, "runtime"},
		{"a URL with a password", "POST /v1/repositories", `{"name":"a","url":"https://u:p@example.com/a"}`, 422, "url"},
		{"a nested field that is missing", "POST /v1/repositories", `{"name":"a","url":"https://example.com/a","credential":{"username":"u"}}`, 422, "credential.password"},
		{"a provider without a key", "POST /v1/providers", `{"name":"a","dialect":"anthropic","base_url":"https://example.com"}`, 422, "key"},
		{"an unknown dialect", "POST /v1/providers", `{"name":"a","dialect":"x","base_url":"https://example.com","key":"k"}`, 422, "dialect"},
		{"a base URL with /v1", "POST /v1/providers", `{"name":"a","dialect":"anthropic","base_url":"https://example.com/v1","key":"k"}`, 422, "base_url"},
		{"a role that is none", "POST /v1/keys", `{"name":"a","role":"operator"}`, 422, "role"},
		{"a key that is over", "POST /v1/keys", `{"name":"a","role":"viewer","expires_at":"2020-01-01T00:00:00Z"}`, 422, "expires_at"},
		{"a date that is none", "POST /v1/keys", `{"name":"a","role":"viewer","expires_at":"tomorrow"}`, 422, "expires_at"},
		{"a budget and none", "PATCH /v1/workspace", `{"budget_nanodollars":1,"no_budget":true}`, 422, "no_budget"},
		{"a plan by the tenant", "PATCH /v1/workspace", `{"plan":"enterprise"}`, 422, "plan"},
		{"an unknown parameter", "GET /v1/tasks?sort=asc", "", 422, "sort"},
		{"a parameter twice", "GET /v1/tasks?limit=1&limit=2", "", 422, "limit"},
		{"a limit of none", "GET /v1/tasks?limit=0", "", 422, "limit"},
		{"too large a limit", "GET /v1/tasks?limit=501", "", 422, "limit"},
		{"a limit that is no number", "GET /v1/tasks?limit=many", "", 422, "limit"},
		{"a state that is none", "GET /v1/tasks?state=sleeping", "", 422, "state"},
		{"a cursor that is none", "GET /v1/tasks?cursor=x", "", 422, "cursor"},
		{"bytes in a parameter", "GET /v1/tasks?agent=%ff", "", 422, "agent"},
		{"the zero character in a parameter", "GET /v1/tasks?agent=%00", "", 422, "agent"},
		{"the zero character in a path", "GET /v1/agents/a%00b", "", 422, "path"},
		{"a bad id in a path", "GET /v1/tasks/7", "", 422, "task"},
		{"an id of another kind in a path", "GET /v1/tasks/" + wrongID, "", 422, "task"},
		{"the id of nothing in a path", "GET /v1/tasks/task_" + strings.Repeat("0", 26), "", 422, "task"},
		{"the id of nothing in a parameter", "GET /v1/tasks?parent=task_" + strings.Repeat("0", 26), "", 422, "parent"},
		{"a grouping that is none", "GET /v1/usage?by=mood", "", 422, "by"},
		{"a time that is none", "GET /v1/usage?from=yesterday", "", 422, "from"},
		{"a time that ends before it begins", "GET /v1/usage?from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z", "", 422, "to"},
		{"a stream of nothing until final", "GET /v1/stream?until=final", "", 422, "until"},
		{"a stream's cursor that is none", "GET /v1/stream?after=x", "", 422, "after"},
		{"a stream's cursor of the future", "GET /v1/stream?after=e:99999999", "", 422, "after"},
		{"a stream of a bad id", "GET /v1/stream?task=7", "", 422, "task"},
		{"an empty upload", "POST /v1/blobs", "", 422, "body"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			method, target, _ := strings.Cut(c.route, " ")
			got := o.do(t, o.keys[corp.RoleOwner], method, target, nil, c.body)
			p := got.problem(t)
			if got.status != c.status || p.Field != c.field {
				t.Errorf("%d field %q, want %d %q: %s", got.status, p.Field, c.status, c.field, got.body)
			}
			if p.Hint == "" || !strings.HasSuffix(p.Detail, ".") || p.RequestID == "" || p.Status != got.status || got.header.Get("X-Request-Id") != p.RequestID {
				t.Errorf("not a whole problem: %s", got.body)
			}
			for _, leak := range []string{"json:", "Go ", "huma", "pq:", "SQLSTATE", "strconv", "corp."} {
				if strings.Contains(p.Detail+p.Hint, leak) {
					t.Errorf("%q shows our inside: %s", leak, got.body)
				}
			}
		})
	}
}

// What only the server decides is refused in every body.
// decided are what only the server says of a thing.
var decided = []string{"workspace_id", "created_by", "created_at", "owner_id", "user_id", "id", "hash", "role", "plan", "state", "version", "spent_nanodollars", "__proto__", "constructor"}

// objects calls fn with each object inside a JSON value, but for those in which the
// caller writes what they like.
func objects(v any, at string, fn func(place string, object map[string]any)) {
	switch v := v.(type) {
	case []any:
		for i, item := range v {
			objects(item, fmt.Sprintf("%s[%d]", at, i), fn)
		}
	case map[string]any:
		fn(at, v)
		for name, item := range v {
			if name != "data" && name != "output" {
				objects(item, strings.TrimPrefix(at+"."+name, "."), fn)
			}
		}
	}
}

// Attack case 4. Control: the same body without the field too many succeeds.
func TestNoBodySetsWhatOnlyTheServerDecides(t *testing.T) {
	t.Parallel()
	h := shared(t)
	o := h.office(t)
	n := 0
	for _, op := range operations {
		key := o.keys[corp.RoleOwner]
		if special, ok := map[corp.Action]string{corp.RunnerLease: o.keys[corp.RoleRunner], corp.WorkspaceManage: h.operator, corp.PriceWrite: h.operator, corp.UserManage: h.operator}[op.action]; ok {
			key = special
		}
		if op.action == person {
			key = o.person(t, corp.RoleViewer).access // whom nothing was done to yet
		}
		method, _, _ := strings.Cut(op.route, " ")
		if method == http.MethodGet || op.upload {
			continue
		}
		maker := o.keys[corp.RoleRunner]
		if op.tag == "keys" || op.action == person {
			maker = key
		}
		s := samples[op.id](t, o, maker)[0]
		if s.body == nil {
			continue
		}
		var v any
		if err := json.Unmarshal([]byte(asJSON(t, s.body)), &v); err != nil {
			t.Fatal(err)
		}
		good := s
		objects(v, "", func(place string, object map[string]any) {
			for _, field := range decided {
				if _, meant := object[field]; meant {
					continue // such as which role an invitation is for: what is wrong there is other tests' matter
				}
				n++
				object[field] = "x"
				s.body, s.bytes = nil, asJSON(t, v)
				delete(object, field)
				want := strings.TrimPrefix(place+"."+field, ".")
				got := s.send(t, h, op, key, nil)
				if p := got.problem(t); got.status != http.StatusUnprocessableEntity || p.Field != want {
					t.Errorf("%s with %s: %d %s", op, want, got.status, got.body)
				}
			}
		})
		if got := good.send(t, h, op, key, nil); got.status != op.success() {
			t.Errorf("positive control: %s: %d %s", op, got.status, got.body)
		}
	}
	if n < 500 {
		t.Errorf("only %d bodies", n)
	}
	t.Logf("%d bodies with a field too many", n)
}

func TestAnIdempotencyKeyMakesOneTask(t *testing.T) {
	t.Parallel()
	o := shared(t).office(t)
	body := asJSON(t, corp.TaskSpec{Prompt: "x", RepositoryURL: someURL})
	post := func(key, body string) reply {
		return o.do(t, o.keys[corp.RoleMember], "POST", "/v1/tasks", map[string]string{"Idempotency-Key": key}, body)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	ids, created := map[corp.TaskID]int{}, 0
	for range 32 {
		wg.Go(func() {
			got := post("once", body)
			task := made[corp.Task](t, got)
			mu.Lock()
			defer mu.Unlock()
			ids[task.ID]++
			if got.status == http.StatusCreated {
				created++
			} else if got.header.Get("Idempotency-Replayed") != "true" {
				t.Errorf("a replay that does not say so: %v", got.header)
			}
		})
	}
	wg.Wait()
	if len(ids) != 1 || created != 1 {
		t.Errorf("%d tasks, %d created", len(ids), created)
	}
	// The same task, written differently, is the same request.
	if got := post("once", ` { "repository_url":"`+someURL+`" , "prompt":"x" } `); got.status != http.StatusOK {
		t.Errorf("the same in another order: %d %s", got.status, got.body)
	}
	if got := post("once", asJSON(t, corp.TaskSpec{Prompt: "y", RepositoryURL: someURL})); got.status != http.StatusConflict {
		t.Errorf("another task under the key: %d %s", got.status, got.body)
	}
	for _, bad := range []string{strings.Repeat("k", 201), "a b", "ä"} {
		if got := post(bad, body); got.status != 422 || got.problem(t).Field != "Idempotency-Key" {
			t.Errorf("%.10q: %d %s", bad, got.status, got.body)
		}
	}
	if list := must[corp.List[corp.Task]](t)(o.owner().Tasks(t.Context(), noFilter, corp.Page{})); len(list.Items) != 1 {
		t.Errorf("%d tasks", len(list.Items))
	}
}

// Attack cases 13 and 60. Control: keys of one's own role and below are made and work.
func TestNobodyMakesAKeyAboveTheirOwnRole(t *testing.T) {
	t.Parallel()
	o := shared(t).office(t)
	for _, c := range []struct {
		by, of corp.Role
		ok     bool
	}{
		{corp.RoleAdmin, corp.RoleOwner, false},
		{corp.RoleAdmin, corp.RoleAdmin, true},
		{corp.RoleAdmin, corp.RoleRunner, true},
		{corp.RoleOwner, corp.RoleOwner, true},
		{corp.RoleMember, corp.RoleMember, true},
		{corp.RoleMember, corp.RoleAdmin, false},
		{corp.RoleMember, corp.RoleRunner, false},
		{corp.RoleViewer, corp.RoleViewer, false},
		{corp.RoleRunner, corp.RoleRunner, false},
	} {
		got := o.do(t, o.keys[c.by], "POST", "/v1/keys", nil, asJSON(t, apiKeyRequest{Name: "x", Role: c.of}))
		if (got.status == http.StatusCreated) != c.ok {
			t.Errorf("%s makes %s: %d %s", c.by, c.of, got.status, got.body)
		}
		if !c.ok {
			continue
		}
		key := made[newAPIKey](t, got)
		if who := must[any](t)(anyOf(o.with(key.Key).Whoami(t.Context()))); fmt.Sprint(who) == "" {
			t.Error("the key does not work")
		}
		if !strings.HasPrefix(key.Key, key.APIKey.Prefix[:8]) || strings.Contains(key.APIKey.Prefix, key.Key[12:30]) {
			t.Errorf("the shown part %q of %q", key.APIKey.Prefix, key.Key)
		}
	}
	for by, ok := range map[corp.Role]bool{corp.RoleMember: false, corp.RoleAdmin: true} {
		got := o.do(t, o.keys[by], "POST", "/v1/keys", nil, asJSON(t, apiKeyRequest{Name: "x", Role: corp.RoleViewer, Service: true}))
		if (got.status == http.StatusCreated) != ok {
			t.Errorf("%s makes a key of the workspace's own: %d %s", by, got.status, got.body)
		}
	}
	_, owners := o.key(t, corp.RoleOwner)
	for _, c := range []struct {
		by corp.Role
		ok bool
	}{{corp.RoleMember, false}, {corp.RoleAdmin, false}, {corp.RoleOwner, true}} {
		if got := o.do(t, o.keys[c.by], "DELETE", "/v1/keys/"+owners.String(), nil, ""); (got.status < 300) != c.ok {
			t.Errorf("%s revokes an owner's key: %d %s", c.by, got.status, got.body)
		}
	}
	_, viewers := o.key(t, corp.RoleViewer)
	if got := o.do(t, o.keys[corp.RoleMember], "DELETE", "/v1/keys/"+viewers.String(), nil, ""); got.status != http.StatusNotFound {
		t.Errorf("a member revokes somebody else's key: %d %s", got.status, got.body)
	}
	if got := o.do(t, o.keys[corp.RoleAdmin], "POST", "/v1/invitations", nil, asJSON(t, invitationRequest{Email: "eve@example.com", Role: corp.RoleOwner})); got.status != http.StatusForbidden {
		t.Errorf("an admin invites an owner: %d %s", got.status, got.body)
	}
}

func anyOf[T any](v T, err error) (any, error) { return v, err }

// Attack case 12. Control: it was accepted before.
func TestARevokedKeyEndsAtOnceHere(t *testing.T) {
	t.Parallel()
	o := shared(t).office(t)
	key, id := o.key(t, corp.RoleViewer)
	if got := o.do(t, key, "GET", "/v1/tasks", nil, ""); got.status != 200 {
		t.Fatal(got.body)
	}
	must[corp.APIKey](t)(o.owner().RevokeAPIKey(t.Context(), id))
	if got := o.do(t, key, "GET", "/v1/tasks", nil, ""); got.status != 401 {
		t.Errorf("after the end of the key: %d %s", got.status, got.body)
	}
	expiring := made[newAPIKey](t, o.do(t, o.keys[corp.RoleOwner], "POST", "/v1/keys", nil, asJSON(t, apiKeyRequest{Name: "x", Role: corp.RoleViewer, ExpiresAt: new(time.Now().Add(time.Hour))})))
	o.env.Exec(t, `UPDATE api_keys SET expires_at = now() - interval '1 second' WHERE id = $1`, expiring.APIKey.ID.UUID())
	if got := o.do(t, expiring.Key, "GET", "/v1/tasks", nil, ""); got.status != 401 {
		t.Errorf("after its time: %d %s", got.status, got.body)
	}
}

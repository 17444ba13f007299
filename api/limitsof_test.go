package api

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
)

// Who is counted by what, of callers and operations of every kind.
func TestEveryCallerIsCountedByItsOwn(t *testing.T) {
	t.Parallel()
	l, err := newLimiter(nil, nil, func(context.Context) ([]corp.Plan, error) {
		return []corp.Plan{{Name: "free", RequestsPerHour: 100, RequestBurst: 20}, {Name: "unlimited"}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	a := &API{limits: l}
	ws, user := corp.NewID[corp.WorkspaceID](), corp.NewID[corp.UserID]()
	person := corp.Identity{Workspace: ws, User: user, Plan: "free", Actor: corp.Actor(user.String()), Via: "sess_1"}
	inside := "{" + ws.String() + "}:"
	for name, c := range map[string]struct {
		who    corp.Identity
		from   string
		action corp.Action
		method string
		id     string
		want   map[string]int64 // cost by key
		closed int
	}{
		"reading":             {who: person, action: corp.TaskRead, method: "GET", want: map[string]int64{inside + "requests": 1, inside + "class:read": 1, inside + "credential:sess_1": 1, inside + "user:" + user.String(): 1}},
		"a key of nobody":     {who: corp.Identity{Workspace: ws, Plan: "free", Actor: "key_1"}, action: corp.TaskRead, method: "GET", want: map[string]int64{inside + "requests": 1, inside + "class:read": 1, inside + "credential:key_1": 1}},
		"submitting":          {who: person, action: corp.TaskWrite, method: "POST", id: "submitBatch", want: map[string]int64{inside + "requests": 10, inside + "class:submit": 10, inside + "credential:sess_1": 10, inside + "user:" + user.String(): 10}},
		"cancelling":          {who: person, action: corp.TaskWrite, method: "POST", id: "cancelTask", want: map[string]int64{inside + "requests": 2, inside + "class:write": 2, inside + "credential:sess_1": 2, inside + "user:" + user.String(): 2}},
		"making a key":        {who: corp.Identity{Workspace: ws, Plan: "unlimited", Actor: "key_1"}, action: corp.APIKeyWrite, method: "POST", want: map[string]int64{inside + "make-keys": 1}, closed: 1},
		"ending a key":        {who: corp.Identity{Workspace: ws, Plan: "unlimited", Actor: "key_1"}, action: corp.APIKeyWrite, method: "DELETE"},
		"unlimited":           {who: corp.Identity{Workspace: ws, Plan: "unlimited", Actor: "key_1"}, action: corp.TaskRead, method: "GET"},
		"a runner":            {who: corp.Identity{Workspace: ws, Plan: "free", Actor: "key_1", Role: corp.RoleRunner}, action: corp.RunnerLease, method: "POST", want: map[string]int64{inside + "runner:key_1": 1}},
		"a runner of a pool":  {who: corp.Identity{Actor: "op_1", Role: corp.RoleRunner}, action: corp.RunnerLease, method: "POST"},
		"the operator":        {who: corp.Identity{Actor: "op_1"}, action: corp.ServerRead, method: "GET"},
		"in no workspace":     {who: corp.Identity{User: user, Actor: corp.Actor(user.String())}, action: signedIn, method: "POST", want: map[string]int64{"{" + user.String() + "}:user": 1}},
		"signing in":          {from: "2001:db8::1", action: public, method: "POST", want: map[string]int64{"{2001:db8::/64}:sign-in": 1}, closed: 1},
		"signing in at home":  {from: "127.0.0.1", action: public, method: "POST"},
		"back from elsewhere": {from: "192.0.2.1", action: public, method: "GET", id: "finishElsewhere", want: map[string]int64{"{192.0.2.1/32}:sign-in": 1}, closed: 1},
		"health":              {from: "192.0.2.1", action: public, method: "GET"},
	} {
		x := &exchange{who: c.who}
		if c.from != "" {
			x.address = netip.MustParseAddr(c.from)
		}
		asks, err := a.limitsOf(t.Context(), x, c.action, &huma.Operation{Method: c.method, OperationID: c.id})
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]int64
		closed := 0
		for _, ask := range asks {
			if got == nil {
				got = map[string]int64{}
			}
			got[ask.Key] = ask.Cost
			if ask.Policy.FailClosed {
				closed++
			}
			if err := ask.Policy.Check(); err != nil || ask.Cost > ask.Policy.Burst {
				t.Errorf("%s: %+v %v", name, ask, err)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" || closed != c.closed {
			t.Errorf("%s: %d fail closed\n%s", name, closed, diff)
		}
	}
}

func TestASubmissionCostsTenReadings(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]int64{"listTasks": 1, "cancelTask": 2, "submitTask": 10, "submitBatch": 10} {
		i := slices.IndexFunc(operations, func(op operation) bool { return op.id == id })
		method, _, _ := strings.Cut(operations[i].route, " ")
		if _, cost := classOf(&huma.Operation{OperationID: id, Method: method}); cost != want {
			t.Errorf("%s costs %d, want %d", id, cost, want)
		}
	}
}

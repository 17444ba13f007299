package api

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// Somebody who has just signed up makes a workspace, and gives it a task at once.
func TestAFoundedWorkspaceTakesATaskAtOnce(t *testing.T) {
	t.Parallel()
	o := shared(t).office(t)
	p := o.stranger()
	slug := strings.ToLower(unique("ws"))
	ws := must[corp.Workspace](t)(o.with(p.access).FoundWorkspace(t.Context(), client.MyWorkspaceRequest{Slug: slug}))
	in := must[client.Access](t)(o.with(p.access).WorkIn(t.Context(), ws.ID))
	task := must[corp.Task](t)(o.with(in.Access).SubmitTask(t.Context(), corp.TaskSpec{Prompt: "Fix it.", RepositoryURL: someURL}, ""))
	agents := must[corp.List[corp.Agent]](t)(o.with(in.Access).Agents(t.Context(), corp.Page{})).Items
	if len(agents) != 1 || agents[0].AgentSpec != corp.FirstAgent() || agents[0].CreatedBy != corp.Actor(p.id.String()) || agents[0].ID != task.AgentID {
		t.Errorf("%+v, the task has %s", agents, task.AgentID)
	}
	_, err := o.with(p.access).FoundWorkspace(t.Context(), client.MyWorkspaceRequest{Slug: slug})
	if err == nil {
		t.Error("a short name was given twice")
	}
	if me := must[client.Me](t)(o.with(in.Access).Me(t.Context())); len(me.Workspaces) != 1 || me.Workspaces[0].Role != corp.RoleOwner {
		t.Errorf("%+v", me.Workspaces)
	}
}

// A token or a key that was refused because its workspace was out of use is good as soon
// as that is in use again, without waiting for what the server remembers.
func TestWhatWasRefusedInADeletedWorkspaceIsGoodAtOnceWhenItIsRestored(t *testing.T) {
	t.Parallel()
	o := shared(t).office(t)
	p := o.stranger()
	ws := must[corp.Workspace](t)(o.with(p.access).FoundWorkspace(t.Context(), client.MyWorkspaceRequest{Slug: strings.ToLower(unique("ws"))}))
	in := must[client.Access](t)(o.with(p.access).WorkIn(t.Context(), ws.ID)).Access
	key := must[client.NewAPIKey](t)(o.with(in).CreateAPIKey(t.Context(), client.APIKeyRequest{Name: "k", Role: corp.RoleViewer})).Key
	must[client.Deletion](t)(o.with(in).DeleteWorkspace(t.Context(), ws.ID))
	if got := o.do(t, in, http.MethodGet, "/v1/agents", nil, ""); got.status != http.StatusUnauthorized || !strings.Contains(got.body, "other_workspace") {
		t.Fatalf("in a deleted workspace: %d %s", got.status, got.body)
	}
	is := func(credential string, status int) func(context.Context) bool {
		return func(context.Context) bool {
			return o.do(t, credential, http.MethodGet, "/v1/agents", nil, "").status == status
		}
	}
	for range 20 {
		pgtest.Eventually(t, identityTTL, "the key to be refused", is(key, http.StatusUnauthorized))
		if err := o.with(p.access).RestoreWorkspace(t.Context(), ws.ID); err != nil {
			t.Fatal(err)
		}
		again := must[client.Access](t)(o.with(p.access).WorkIn(t.Context(), ws.ID)).Access
		for _, credential := range []string{again, key} {
			pgtest.Eventually(t, identityTTL/2, "the credential to be good before it would be forgotten", is(credential, http.StatusOK))
		}
		must[client.Deletion](t)(o.with(again).DeleteWorkspace(t.Context(), ws.ID))
		o.do(t, again, http.MethodGet, "/v1/agents", nil, "") // is remembered to be refused
	}
}

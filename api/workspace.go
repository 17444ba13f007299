package api

import (
	"context"
	"strings"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// whoamiBody mirrors client.Whoami.
type whoamiBody struct {
	WorkspaceID corp.WorkspaceID `json:"workspace_id,omitzero"`
	Actor       corp.Actor       `json:"actor"`
	Role        corp.Role        `json:"role" enum:"viewer,member,admin,owner,runner,operator"`
	Name        string           `json:"name" doc:"Of the key."`
	Runner      string           `json:"runner,omitempty" enum:"pool,workspace"`
	Version     string           `json:"version" doc:"Of the server."`
}

func (a *API) whoami(_ context.Context, who corp.Identity, _ *nothing) (*body[whoamiBody], error) {
	return &body[whoamiBody]{whoamiBody{who.Workspace, who.Actor, who.Role, who.Name, who.Runner, a.Version}}, nil
}

func (a *API) workspace(ctx context.Context, who corp.Identity, _ *nothing) (*body[corp.Workspace], error) {
	return answer(a.DB.In(who.Workspace).Workspace(ctx))
}

type updateWorkspaceInput struct{ Body corp.WorkspaceUpdate }

func (a *API) updateWorkspace(ctx context.Context, who corp.Identity, in *updateWorkspaceInput) (*body[corp.Workspace], error) {
	u := in.Body
	if u.Budget != nil && u.NoBudget {
		return nil, corp.Invalid("no_budget", "A workspace cannot have a budget and none.", "Give either budget_nanodollars or no_budget.")
	}
	if u.Name != nil && strings.TrimSpace(*u.Name) == "" {
		return nil, corp.Invalid("name", "A workspace must have a name.", "Leave name out to keep the present one.")
	}
	door.Describe(ctx, who.Workspace.String(), u)
	return answer(a.DB.In(who.Workspace).UpdateWorkspace(ctx, who.Actor, u))
}

package api

import (
	"context"

	"github.com/genericcorp/corp"
)

// AgentInput names an agent in the path. What inputs have in common has exported
// names: huma looks into no other embedded field.
type AgentInput struct {
	Agent string `path:"agent" maxLength:"80" doc:"Name or id."`
}

type agentSpecInput struct{ Body corp.AgentSpec }

type updateAgentInput struct {
	AgentInput
	Body corp.AgentSpec
}

func (a *API) agents(ctx context.Context, who corp.Identity, in *PageInput) (*body[corp.List[corp.Agent]], error) {
	return answerList(a.DB.In(who.Workspace).Agents(ctx, in.page()))
}

func (a *API) agent(ctx context.Context, who corp.Identity, in *AgentInput) (*body[corp.Agent], error) {
	return answer(a.DB.In(who.Workspace).Agent(ctx, in.Agent))
}

func (a *API) createAgent(ctx context.Context, who corp.Identity, in *agentSpecInput) (*body[corp.Agent], error) {
	if err := checkAgent(in.Body); err != nil {
		return nil, err
	}
	return answer(a.DB.In(who.Workspace).CreateAgent(ctx, who.Actor, in.Body))
}

func (a *API) updateAgent(ctx context.Context, who corp.Identity, in *updateAgentInput) (*body[corp.Agent], error) {
	if err := checkAgent(in.Body); err != nil {
		return nil, err
	}
	db := a.DB.In(who.Workspace)
	agent, err := db.Agent(ctx, in.Agent)
	if err != nil {
		return nil, err
	}
	return answer(db.UpdateAgent(ctx, who.Actor, agent.ID, in.Body))
}

func (a *API) archiveAgent(ctx context.Context, who corp.Identity, in *AgentInput) (*body[corp.Agent], error) {
	db := a.DB.In(who.Workspace)
	agent, err := db.Agent(ctx, in.Agent)
	if err != nil {
		return nil, err
	}
	return answer(db.ArchiveAgent(ctx, who.Actor, agent.ID))
}

func checkAgent(spec corp.AgentSpec) error {
	if _, _, ok := corp.SplitModel(spec.Model); !ok {
		return corp.Invalid("model", "An agent's model names its provider too.", "Write it as PROVIDER/MODEL, for instance anthropic/claude-sonnet-4-5.")
	}
	return nil
}

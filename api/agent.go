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

// agentRequest is an agent's definition and, beside its versions, its limit.
type agentRequest struct {
	corp.AgentSpec
	Concurrency *int `json:"concurrency,omitempty" minimum:"0" maximum:"1000000" doc:"Runs of it that may be leased at a time; 0 is no limit of its own. Left out, it stays as it is."`
}

type createAgentInput struct{ Body agentRequest }

type updateAgentInput struct {
	AgentInput
	Body agentRequest
}

// limitRequest mirrors client.LimitRequest.
type limitRequest struct {
	Concurrency int `json:"concurrency" minimum:"0" maximum:"1000000" doc:"Runs that may be leased at a time; 0 is no limit of its own."`
}

type limitAgentInput struct {
	AgentInput
	Body limitRequest
}

func (a *API) agents(ctx context.Context, who corp.Identity, in *PageInput) (*body[corp.List[corp.Agent]], error) {
	return answerList(a.DB.In(who.Workspace).Agents(ctx, in.page()))
}

func (a *API) agent(ctx context.Context, who corp.Identity, in *AgentInput) (*body[corp.Agent], error) {
	return answer(a.DB.In(who.Workspace).Agent(ctx, in.Agent))
}

func (a *API) createAgent(ctx context.Context, who corp.Identity, in *createAgentInput) (*body[corp.Agent], error) {
	if err := checkAgent(in.Body.AgentSpec); err != nil {
		return nil, err
	}
	db := a.DB.In(who.Workspace)
	made, err := db.CreateAgent(ctx, who.Actor, in.Body.AgentSpec)
	if err == nil && in.Body.Concurrency != nil {
		made, err = db.LimitAgent(ctx, who.Actor, made.ID, *in.Body.Concurrency)
	}
	return answer(made, err)
}

func (a *API) updateAgent(ctx context.Context, who corp.Identity, in *updateAgentInput) (*body[corp.Agent], error) {
	if err := checkAgent(in.Body.AgentSpec); err != nil {
		return nil, err
	}
	db := a.DB.In(who.Workspace)
	agent, err := db.Agent(ctx, in.Agent)
	if err != nil {
		return nil, err
	}
	agent, err = db.UpdateAgent(ctx, who.Actor, agent.ID, in.Body.AgentSpec)
	if err == nil && in.Body.Concurrency != nil {
		agent, err = db.LimitAgent(ctx, who.Actor, agent.ID, *in.Body.Concurrency)
	}
	return answer(agent, err)
}

func (a *API) limitAgent(ctx context.Context, who corp.Identity, in *limitAgentInput) (*body[corp.Agent], error) {
	db := a.DB.In(who.Workspace)
	agent, err := db.Agent(ctx, in.Agent)
	if err != nil {
		return nil, err
	}
	return answer(db.LimitAgent(ctx, who.Actor, agent.ID, in.Body.Concurrency))
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

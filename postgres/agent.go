package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

const selectAgents = `
	SELECT a.id, v.version, a.name, v.runtime, v.model, v.instructions, v.max_turns, v.max_tokens, a.concurrency, v.created_by, a.created_at, a.archived_at
	FROM agents a JOIN agent_versions v ON v.workspace_id = a.workspace_id AND v.agent_id = a.id `

var scanAgent = pgx.RowToStructByName[corp.Agent]

// CreateAgent makes version 1 of an agent. A name in use is a conflict; one more
// than the plan has is a limit.
func (w WorkspaceDB) CreateAgent(ctx context.Context, actor corp.Actor, spec corp.AgentSpec) (agent corp.Agent, err error) {
	id := corp.NewID[corp.AgentID]()
	err = w.door.In(ctx, func(tx pgx.Tx) error {
		if err := w.oneMore(ctx, tx, lockAgents, countAgents, noRoomForAgent); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO agents (workspace_id, id, name, created_by) VALUES ($1, $2, $3, $4)`, w.door.ID, id, spec.Name, actor); err != nil {
			return err
		}
		agent, err = w.addVersion(ctx, tx, actor, id, 1, spec)
		return err
	})
	return agent, err
}

// UpdateAgent makes a new version of an agent. Tasks keep the version that they
// were submitted with. An archived agent cannot be changed.
func (w WorkspaceDB) UpdateAgent(ctx context.Context, actor corp.Actor, id corp.AgentID, spec corp.AgentSpec) (agent corp.Agent, err error) {
	err = w.door.In(ctx, func(tx pgx.Tx) error {
		version, err := door.CollectOne(ctx, tx, "agent", pgx.RowTo[int], `
			UPDATE agents SET name = $3, version = version + 1 WHERE workspace_id = $1 AND id = $2 AND archived_at IS NULL RETURNING version`, w.door.ID, id, spec.Name)
		if err != nil {
			return err
		}
		agent, err = w.addVersion(ctx, tx, actor, id, version, spec)
		return err
	})
	return agent, err
}

func (w WorkspaceDB) addVersion(ctx context.Context, tx pgx.Tx, actor corp.Actor, id corp.AgentID, version int, spec corp.AgentSpec) (corp.Agent, error) {
	runtime := spec.Runtime
	if runtime == "" {
		runtime = corp.RuntimeBuiltin
	}
	kind := "agent.updated"
	if version == 1 {
		kind = "agent.created"
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO agent_versions (workspace_id, agent_id, version, runtime, model, instructions, max_turns, max_tokens, created_by)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`, w.door.ID, id, version, runtime, spec.Model, spec.Instructions, spec.MaxTurns, spec.MaxTokens, actor)
	if err != nil {
		return corp.Agent{}, err
	}
	agent, err := door.CollectOne(ctx, tx, "agent", scanAgent, selectAgents+`WHERE a.workspace_id = $1 AND a.id = $2 AND v.version = $3`, w.door.ID, id, version)
	if err != nil {
		return corp.Agent{}, err
	}
	w.door.Emit(tx, door.Event{Kind: kind, Data: door.About{ID: id.String(), Name: agent.Name, By: actor}})
	return agent, nil
}

// LimitAgent says how many runs of an agent, of whatever version, may be leased at
// a time; 0 is no limit of its own. A lowered limit stops no run. An archived
// agent cannot be changed.
func (w WorkspaceDB) LimitAgent(ctx context.Context, actor corp.Actor, id corp.AgentID, concurrency int) (agent corp.Agent, err error) {
	err = w.door.In(ctx, func(tx pgx.Tx) error {
		if err := w.limit(ctx, tx, "agents", "agent", id, concurrency); err != nil {
			return err
		}
		agent, err = door.CollectOne(ctx, tx, "agent", scanAgent, selectAgents+`WHERE a.workspace_id = $1 AND a.id = $2 AND v.version = a.version`, w.door.ID, id)
		if err != nil {
			return err
		}
		w.door.Emit(tx, door.Event{Kind: "agent.limited", Data: door.About{ID: id.String(), Name: agent.Name, By: actor}})
		return nil
	})
	return agent, err
}

// limit sets the concurrency of a row of a table that has the column.
func (w WorkspaceDB) limit(ctx context.Context, tx pgx.Tx, table, noun string, id any, concurrency int) error {
	tag, err := tx.Exec(ctx, `UPDATE `+table+` SET concurrency = $3 WHERE workspace_id = $1 AND id = $2 AND archived_at IS NULL`, w.door.ID, id, concurrency)
	if err == nil && tag.RowsAffected() == 0 {
		return corp.NotFound(noun)
	}
	door.Say(tx, Notice{Kind: NoticeLimits, Workspace: w.door.ID})
	return err
}

// ArchiveAgent puts an agent away: no new task may name it, and its name is free
// again. Its tasks keep it. Archiving twice changes nothing.
func (w WorkspaceDB) ArchiveAgent(ctx context.Context, actor corp.Actor, id corp.AgentID) (agent corp.Agent, err error) {
	err = w.door.In(ctx, func(tx pgx.Tx) error {
		changed, err := archive(ctx, tx, w.door.ID, "agents", id)
		if err != nil {
			return err
		}
		agent, err = door.CollectOne(ctx, tx, "agent", scanAgent, selectAgents+`WHERE a.workspace_id = $1 AND a.id = $2 AND v.version = a.version`, w.door.ID, id)
		if err != nil || !changed {
			return err
		}
		w.door.Emit(tx, door.Event{Kind: "agent.archived", Data: door.About{ID: id.String(), Name: agent.Name, By: actor}})
		return nil
	})
	return agent, err
}

// Agent returns the newest version of the agent with this id, archived or not,
// or of the one that has this name now.
func (w WorkspaceDB) Agent(ctx context.Context, nameOrID string) (corp.Agent, error) {
	id, _ := corp.ParseID[corp.AgentID](nameOrID) // a name: the zero id, which is nobody's
	return door.QueryOne(ctx, w.door, "agent", scanAgent, selectAgents+`
		WHERE a.workspace_id = $1 AND v.version = a.version AND (a.id = $2 OR a.name = $3 AND a.archived_at IS NULL)`, id, nameOrID)
}

// AgentVersion returns one version of an agent, from 1.
func (w WorkspaceDB) AgentVersion(ctx context.Context, id corp.AgentID, version int) (corp.Agent, error) {
	return door.QueryOne(ctx, w.door, "agent", scanAgent, selectAgents+`WHERE a.workspace_id = $1 AND a.id = $2 AND v.version = $3`, id, version)
}

// Agents lists the newest versions of the agents that are not archived.
func (w WorkspaceDB) Agents(ctx context.Context, p corp.Page) (corp.List[corp.Agent], error) {
	from, limit, err := door.Start(p)
	if err != nil {
		return corp.List[corp.Agent]{}, err
	}
	found, err := door.Query(ctx, w.door, scanAgent, selectAgents+`
		WHERE a.workspace_id = $1 AND v.version = a.version AND a.archived_at IS NULL AND (a.created_at, a.id) < ($2, $3)
		ORDER BY a.created_at DESC, a.id DESC LIMIT $4`, from.At, from.ID, limit+1)
	return door.Page(found, limit, func(a corp.Agent) door.Position { return door.At(a.CreatedAt, a.ID) }), err
}

// archive marks a row of a table that has the column, once.
func archive(ctx context.Context, tx pgx.Tx, ws corp.WorkspaceID, table string, id any) (changed bool, err error) {
	tag, err := tx.Exec(ctx, `UPDATE `+table+` SET archived_at = now() WHERE workspace_id = $1 AND id = $2 AND archived_at IS NULL`, ws, id)
	return tag.RowsAffected() == 1, err
}

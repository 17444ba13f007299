package acp

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"sync"
)

// AgentHandlers are what an agent does. Each may run at the same time as the
// others, but a session has one turn at a time. Their contexts end when the
// client cancels or leaves.
type AgentHandlers struct {
	Info Implementation
	// Meta is told with the capabilities: what the agent does beyond the protocol.
	Meta json.RawMessage
	// NewSession begins a session and returns its id.
	NewSession func(context.Context, SessionRequest) (string, error)
	// LoadSession takes up an old session and tells its conversation as updates.
	LoadSession func(context.Context, SessionRequest) error
	// Prompt runs a turn. A turn whose context ended answers StopCancelled,
	// whatever it returns.
	Prompt func(context.Context, PromptRequest) (PromptResult, error)
}

// Agent is the agent's side of a connection to a client.
type Agent struct {
	conn *Conn
	do   AgentHandlers

	mu    sync.Mutex
	turns map[string]context.CancelFunc // by session
}

// NewAgent makes an agent that speaks over its standard input and output; Run
// it. maxMessage is in bytes; 0 means DefaultMaxMessage.
func NewAgent(stdin io.Reader, stdout io.Writer, maxMessage int, logger *slog.Logger, do AgentHandlers) *Agent {
	a := &Agent{conn: NewConn(stdin, stdout, maxMessage, logger), do: do, turns: map[string]context.CancelFunc{}}
	a.conn.Handle(methodInitialize, a.greet)
	a.conn.Handle(methodAuthenticate, func(context.Context, json.RawMessage) Work {
		return func() (any, error) { return struct{}{}, nil } // it needs none, so any is right
	})
	a.conn.Handle(methodNewSession, a.newSession)
	a.conn.Handle(methodLoadSession, a.loadSession)
	a.conn.Handle(methodPrompt, a.prompt)
	a.conn.HandleNotification(methodCancel, a.cancel)
	return a
}

// Run serves the client until it closes its side (nil) or the context ends.
func (a *Agent) Run(ctx context.Context) error { return a.conn.Run(ctx) }

// Update tells the client what happened; update is an object with a
// sessionUpdate field.
func (a *Agent) Update(ctx context.Context, sessionID string, update any) error {
	return a.conn.Notify(ctx, methodUpdate, map[string]any{"sessionId": sessionID, "update": update})
}

// Ask makes a request of the client that is beyond the protocol; its method
// begins with an underscore. It returns the raw answer, or an *RPCError. It must
// not be called from a notification handler.
func (a *Agent) Ask(ctx context.Context, method string, params any) (json.RawMessage, error) {
	return a.conn.Call(ctx, method, params)
}

// RequestPermission asks the client and returns the kind of the option chosen,
// or PermissionCancelled. It must not be called from a notification handler.
func (a *Agent) RequestPermission(ctx context.Context, p PermissionRequest) (PermissionKind, error) {
	raw, err := a.conn.Call(ctx, methodPermission, p)
	if err != nil {
		return PermissionCancelled, err
	}
	var result permissionResult
	if err := json.Unmarshal(raw, &result); err != nil {
		return PermissionCancelled, fmt.Errorf("read answer to session/request_permission: %w", err)
	}
	for _, o := range p.Options {
		if result.Outcome.Outcome == "selected" && o.ID == result.Outcome.OptionID {
			return o.Kind, nil
		}
	}
	return PermissionCancelled, nil
}

func (a *Agent) greet(_ context.Context, params json.RawMessage) Work {
	return func() (any, error) {
		var p struct {
			ProtocolVersion int `json:"protocolVersion"`
		}
		if err := json.Unmarshal(params, &p); err != nil {
			return nil, Refuse(CodeInvalidParams, "The request cannot be read: %v.", err)
		}
		// Whatever version the client asked for, this is the one that is spoken;
		// a client that cannot ends the connection.
		return InitializeResult{
			ProtocolVersion:   Version,
			AgentCapabilities: AgentCapabilities{LoadSession: a.do.LoadSession != nil, Meta: a.do.Meta},
			AgentInfo:         &a.do.Info,
			AuthMethods:       []AuthMethod{},
		}, nil
	}
}

func (a *Agent) newSession(ctx context.Context, params json.RawMessage) Work {
	return func() (any, error) {
		var p SessionRequest
		if err := json.Unmarshal(params, &p); err != nil {
			return nil, Refuse(CodeInvalidParams, "The request cannot be read: %v.", err)
		}
		id, err := a.do.NewSession(ctx, p)
		if err != nil {
			return nil, err
		}
		return SessionResult{SessionID: id}, nil
	}
}

func (a *Agent) loadSession(ctx context.Context, params json.RawMessage) Work {
	return func() (any, error) {
		var p SessionRequest
		if err := json.Unmarshal(params, &p); err != nil {
			return nil, Refuse(CodeInvalidParams, "The request cannot be read: %v.", err)
		}
		if a.do.LoadSession == nil {
			return nil, Refuse(CodeMethodNotFound, "This agent does not load sessions.")
		}
		return struct{}{}, a.do.LoadSession(ctx, p)
	}
}

// prompt notes the turn before it returns, so that a cancel that follows at
// once finds it.
func (a *Agent) prompt(ctx context.Context, params json.RawMessage) Work {
	var p PromptRequest
	if err := json.Unmarshal(params, &p); err != nil {
		return func() (any, error) { return nil, Refuse(CodeInvalidParams, "The request cannot be read: %v.", err) }
	}
	ctx, cancel := context.WithCancel(ctx)
	a.mu.Lock()
	_, busy := a.turns[p.SessionID]
	if !busy {
		a.turns[p.SessionID] = cancel
	}
	a.mu.Unlock()
	if busy {
		cancel()
		return func() (any, error) {
			return nil, Refuse(CodeInvalidRequest, "The session has a turn in hand; wait for its end or cancel it.")
		}
	}
	return func() (any, error) {
		defer cancel()
		result, err := a.do.Prompt(ctx, p)
		a.mu.Lock()
		delete(a.turns, p.SessionID)
		a.mu.Unlock()
		if ctx.Err() != nil {
			return PromptResult{StopReason: StopCancelled, Meta: result.Meta}, nil
		}
		return result, err
	}
}

func (a *Agent) cancel(_ context.Context, params json.RawMessage) {
	var p struct {
		SessionID string `json:"sessionId"`
	}
	if json.Unmarshal(params, &p) != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if cancel, ok := a.turns[p.SessionID]; ok {
		cancel()
	}
}

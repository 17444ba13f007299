package acp

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/genericcorp/corp"
)

// ClientOptions are the runner's side of a connection.
type ClientOptions struct {
	// Info names the client to the agent.
	Info Implementation
	// OnUpdate receives every update in order, on the reading goroutine: while
	// it runs nothing more is read, and it must not call the agent.
	OnUpdate func(Update)
	// OnPermission decides a request for permission by kind. Its context ends
	// when the turn is cancelled. Without it, every request is rejected.
	OnPermission func(context.Context, PermissionRequest) PermissionKind
	// Extensions take up the agent's requests that are beyond the protocol, by
	// method; its name begins with an underscore.
	Extensions map[string]RequestHandler
	// MaxMessage is the longest message in bytes; 0 means DefaultMaxMessage.
	MaxMessage int
	// Logger gets what the agent prints that is no message.
	Logger *slog.Logger
}

// Client is the runner's side of a connection to one agent process.
type Client struct {
	conn    *Conn
	options ClientOptions
	stop    context.CancelFunc
	ended   chan struct{}
	err     error // set before ended is closed

	mu      sync.Mutex
	waiting map[string]map[*context.CancelFunc]struct{} // permissions, by session
}

// Start begins to speak with an agent over its standard output and input. The
// connection ends when the agent closes its output, the context ends or Close
// is called; it then closes both streams.
func Start(ctx context.Context, stdout io.Reader, stdin io.Writer, options ClientOptions) *Client {
	ctx, stop := context.WithCancel(ctx)
	c := &Client{
		conn:    NewConn(stdout, stdin, options.MaxMessage, options.Logger),
		options: options, stop: stop, ended: make(chan struct{}),
		waiting: map[string]map[*context.CancelFunc]struct{}{},
	}
	c.conn.HandleNotification(methodUpdate, c.update)
	c.conn.Handle(methodPermission, c.permission)
	for method, handler := range options.Extensions {
		c.conn.Handle(method, handler)
	}
	go func() {
		defer close(c.ended)
		defer stop()
		c.err = c.conn.Run(ctx)
	}()
	return c
}

// Close ends the connection and closes both streams, which tells the agent to end.
func (c *Client) Close() {
	c.stop()
	<-c.ended
}

// Done is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.ended }

// Err says why the connection ended; nil, once Done is closed, means that the
// agent closed its output.
func (c *Client) Err() error {
	<-c.ended
	return c.err
}

// Junk returns how many lines the agent printed that were no messages.
func (c *Client) Junk() int64 { return c.conn.Junk() }

// This is the first call: the two sides agree on the protocol version. It
// offers the agent neither files nor terminals, because an agent works on the
// checkout in its sandbox itself. An agent that does not speak version 1 is
// refused with a *corp.Error.
func (c *Client) Initialize(ctx context.Context) (*InitializeResult, error) { //nolint:misspell // the protocol's own word
	raw, err := c.conn.Call(ctx, methodInitialize, map[string]any{
		"protocolVersion": Version,
		"clientCapabilities": map[string]any{
			"fs":       map[string]bool{"readTextFile": false, "writeTextFile": false},
			"terminal": false,
		},
		"clientInfo": c.options.Info,
	})
	if err != nil {
		return nil, err
	}
	result := &InitializeResult{Raw: raw}
	if err := json.Unmarshal(raw, result); err != nil {
		return nil, fmt.Errorf("read the agent's first answer: %w", err)
	}
	if result.ProtocolVersion != Version {
		return nil, corp.Invalid("protocolVersion",
			fmt.Sprintf("The agent speaks version %d of the Agent Client Protocol; this runner speaks version %d.", result.ProtocolVersion, Version),
			"Install a version of the agent that speaks version 1.")
	}
	return result, nil
}

// Authenticate signs in by one of the methods that the agent named.
func (c *Client) Authenticate(ctx context.Context, methodID string) error {
	_, err := c.conn.Call(ctx, methodAuthenticate, map[string]string{"methodId": methodID})
	return err
}

// NewSession begins a session in the folder cwd, an absolute path as the agent sees it.
func (c *Client) NewSession(ctx context.Context, cwd string, servers []MCPServer) (*SessionResult, error) {
	return c.NewSessionWith(ctx, cwd, servers, nil)
}

// NewSessionWith is NewSession with something that is beyond the protocol in the
// request's _meta.
func (c *Client) NewSessionWith(ctx context.Context, cwd string, servers []MCPServer, meta json.RawMessage) (*SessionResult, error) {
	request, err := sessionRequest("", cwd, servers)
	if err != nil {
		return nil, err
	}
	request.Meta = meta
	raw, err := c.conn.Call(ctx, methodNewSession, request)
	if err != nil {
		return nil, err
	}
	result := &SessionResult{Raw: raw}
	if err := json.Unmarshal(raw, result); err != nil {
		return nil, fmt.Errorf("read answer to session/new: %w", err)
	}
	if result.SessionID == "" {
		return nil, fmt.Errorf("read answer to session/new: %w", Refuse(CodeInternal, "The agent named no session."))
	}
	return result, nil
}

// LoadSession takes up an old session from the agent's own state. The agent
// tells its whole conversation again as updates before this returns. An agent
// that does not know the session answers an *RPCError.
func (c *Client) LoadSession(ctx context.Context, id, cwd string, servers []MCPServer) error {
	request, err := sessionRequest(id, cwd, servers)
	if err != nil {
		return err
	}
	_, err = c.conn.Call(ctx, methodLoadSession, request)
	return err
}

func sessionRequest(id, cwd string, servers []MCPServer) (SessionRequest, error) {
	request := SessionRequest{ID: id, Cwd: cwd, MCPServers: []json.RawMessage{}}
	for _, s := range servers {
		s.Type = "http"
		if s.Headers == nil {
			s.Headers = []Header{} // the schema wants a list
		}
		raw, err := json.Marshal(s)
		if err != nil {
			return SessionRequest{}, fmt.Errorf("encode MCP server: %w", err)
		}
		request.MCPServers = append(request.MCPServers, raw)
	}
	return request, nil
}

// SetMode changes how the agent asks for permission, by one of its own modes.
func (c *Client) SetMode(ctx context.Context, sessionID, modeID string) error {
	_, err := c.conn.Call(ctx, methodSetMode, map[string]string{"sessionId": sessionID, "modeId": modeID})
	return err
}

// Prompt runs one turn and returns how it ended. Every update of the turn has
// been given to OnUpdate by then. When the context ends first, the agent is
// told to cancel and the turn's outcome is not waited for; to learn it, use
// Cancel and keep waiting.
func (c *Client) Prompt(ctx context.Context, sessionID, text string) (*PromptResult, error) {
	raw, err := c.conn.Call(ctx, methodPrompt, map[string]any{"sessionId": sessionID, "prompt": []Text{TextBlock(text)}})
	if err != nil {
		if ctx.Err() != nil {
			c.dropPermissions(sessionID)
			c.conn.offer(request{Version: rpcVersion, Method: methodCancel, Params: map[string]string{"sessionId": sessionID}})
		}
		return nil, err
	}
	result := &PromptResult{Raw: raw}
	if err := json.Unmarshal(raw, result); err != nil {
		return nil, fmt.Errorf("read answer to session/prompt: %w", err)
	}
	return result, nil
}

// Cancel asks the agent to end the turn in hand; its Prompt then returns with
// StopCancelled. Requests for permission that wait are answered as cancelled.
func (c *Client) Cancel(ctx context.Context, sessionID string) error {
	c.dropPermissions(sessionID)
	return c.conn.Notify(ctx, methodCancel, map[string]string{"sessionId": sessionID})
}

func (c *Client) update(_ context.Context, params json.RawMessage) {
	var p struct {
		SessionID string          `json:"sessionId"`
		Update    json.RawMessage `json:"update"`
	}
	var kind struct {
		Kind string `json:"sessionUpdate"`
	}
	if json.Unmarshal(params, &p) != nil || json.Unmarshal(p.Update, &kind) != nil {
		c.conn.noteJunk(params)
		return
	}
	if c.options.OnUpdate != nil {
		c.options.OnUpdate(Update{SessionID: p.SessionID, Kind: kind.Kind, Raw: p.Update})
	}
}

func (c *Client) permission(ctx context.Context, params json.RawMessage) Work {
	var p PermissionRequest
	if err := json.Unmarshal(params, &p); err != nil {
		return func() (any, error) { return nil, Refuse(CodeInvalidParams, "The request cannot be read: %v.", err) }
	}
	ctx, cancel := context.WithCancel(ctx)
	c.mu.Lock()
	if c.waiting[p.SessionID] == nil {
		c.waiting[p.SessionID] = map[*context.CancelFunc]struct{}{}
	}
	c.waiting[p.SessionID][&cancel] = struct{}{}
	c.mu.Unlock()
	return func() (any, error) {
		defer c.forgetPermission(p.SessionID, &cancel)
		kind := PermissionRejectOnce
		if c.options.OnPermission != nil {
			kind = c.options.OnPermission(ctx, p)
		}
		if ctx.Err() != nil {
			kind = PermissionCancelled
		}
		return permissionResult{Outcome: choose(p.Options, kind)}, nil
	}
}

func (c *Client) forgetPermission(session string, cancel *context.CancelFunc) {
	(*cancel)()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting[session], cancel)
	if len(c.waiting[session]) == 0 {
		delete(c.waiting, session)
	}
}

func (c *Client) dropPermissions(session string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for cancel := range c.waiting[session] {
		(*cancel)()
	}
}

// choose finds the option of the wanted kind. An agent that does not offer it
// gets a narrower one of the same sense, never a wider permission.
func choose(options []PermissionOption, want PermissionKind) permissionOutcome {
	kinds := []PermissionKind{want}
	switch want {
	case PermissionAllowAlways:
		kinds = append(kinds, PermissionAllowOnce)
	case PermissionRejectOnce:
		kinds = append(kinds, PermissionRejectAlways)
	case PermissionRejectAlways:
		kinds = append(kinds, PermissionRejectOnce)
	default: // nothing stands in for it
	}
	for _, kind := range kinds {
		for _, o := range options {
			if o.Kind == kind && kind != PermissionCancelled {
				return permissionOutcome{Outcome: "selected", OptionID: o.ID}
			}
		}
	}
	return permissionOutcome{Outcome: "cancelled"}
}

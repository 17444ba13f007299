package builtin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/runner/acp"
)

// server is the agent as a client sees it: its sessions and their turns.
type server struct {
	cfg    Config
	agent  *acp.Agent
	vendor *vendor
	store  sessions
	logger *slog.Logger

	mu       sync.Mutex
	sessions map[string]*session
}

func newServer(cfg Config, stdin io.Reader, stdout io.Writer, logger *slog.Logger) *server {
	s := &server{cfg: cfg, vendor: newVendor(cfg, dialectOf(cfg.Dialect)), store: newSessions(cfg.Home), logger: logger, sessions: map[string]*session{}}
	s.cfg.Env = commandEnv(cfg)
	s.agent = acp.NewAgent(stdin, stdout, 0, logger, acp.AgentHandlers{
		Info: cfg.info(), Meta: capabilities, NewSession: s.newSession, LoadSession: s.loadSession, Prompt: s.prompt,
	})
	return s
}

// commandEnv is the environment of commands: defaults that keep programs from
// waiting for a person, then what was given, without the run's key.
func commandEnv(cfg Config) []string {
	env := []string{"PAGER=cat", "GIT_PAGER=cat", "GIT_TERMINAL_PROMPT=0", "GIT_EDITOR=true", "TERM=dumb", "NO_COLOR=1"} //nolint:misspell // the variable is called so
	for _, v := range cfg.Env {
		if !strings.Contains(v, cfg.Key) {
			env = append(env, v)
		}
	}
	return env
}

func (s *server) run(ctx context.Context) error {
	defer s.close()
	return s.agent.Run(ctx)
}

func (s *server) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, open := range s.sessions {
		_ = open.checkout.root.Close() // only looked through
	}
	s.vendor.client.CloseIdleConnections()
}

func (s *server) newSession(_ context.Context, r acp.SessionRequest) (string, error) {
	opened := &session{ID: newID("session_"), Model: s.cfg.Model}
	var err error
	if opened.journal, err = newJournal(r.Meta, s.sendStep(opened.ID), s.logger); err != nil {
		return "", err
	}
	if err := s.begin(opened, r); err != nil {
		return "", err
	}
	return opened.ID, nil
}

// loadSession takes a conversation up again, in a checkout that may be another
// copy, and tells it as the protocol asks. Its updates are marked as told before.
func (s *server) loadSession(ctx context.Context, r acp.SessionRequest) error {
	loaded, err := s.store.load(r.ID)
	switch {
	case errors.Is(err, errNoSession):
		return acp.Refuse(acp.CodeNotFound, "There is no session %.60q in the agent's home.", r.ID)
	case err != nil:
		return acp.Refuse(acp.CodeInternal, "The session could not be loaded: %v.", err)
	}
	if err := s.begin(loaded, r); err != nil {
		return err
	}
	t := s.teller(loaded)
	t.meta = map[string]any{"corp": map[string]any{"replay": true}}
	replay(ctx, t, loaded.Messages)
	return nil
}

func (s *server) begin(opened *session, r acp.SessionRequest) error {
	if !filepath.IsAbs(r.Cwd) {
		return acp.Refuse(acp.CodeInvalidParams, "cwd must be an absolute path.")
	}
	if len(r.MCPServers) > 0 {
		return acp.Refuse(acp.CodeInvalidParams, "The built-in agent connects to no MCP servers; pass none.")
	}
	c, err := openCheckout(r.Cwd)
	if err != nil {
		return acp.Refuse(acp.CodeInvalidParams, "The checkout cannot be opened: %v.", err)
	}
	opened.checkout = c
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, twice := s.sessions[opened.ID]; twice {
		_ = c.root.Close() // not used
		return acp.Refuse(acp.CodeInvalidRequest, "The session is open already.")
	}
	s.sessions[opened.ID] = opened
	return nil
}

func (s *server) teller(of *session) *teller {
	return &teller{send: s.agent.Update, session: of.ID, logger: s.logger}
}

// outcome is what a turn's answer says in _meta.corp. Reason is empty when the
// model believes that it is done.
type outcome struct {
	Reason corp.Reason `json:"reason"`
	Detail string      `json:"detail"`
	Calls  int         `json:"calls"` // of the model, without those of an earlier attempt
	Usage  corp.Usage  `json:"usage"`
}

func (s *server) prompt(ctx context.Context, p acp.PromptRequest) (acp.PromptResult, error) {
	s.mu.Lock()
	of, ok := s.sessions[p.SessionID]
	s.mu.Unlock()
	if !ok {
		return acp.PromptResult{}, acp.Refuse(acp.CodeNotFound, "There is no session %.60q; begin or load one first.", p.SessionID)
	}
	asked, err := readPrompt(p.Prompt)
	if err != nil {
		return acp.PromptResult{}, err
	}
	of.say(asked...)
	t := s.turn(ctx, of)
	err = t.run(ctx)
	out := outcome{Calls: t.asked, Usage: t.usage}
	result := acp.PromptResult{StopReason: acp.StopEndTurn}
	switch {
	case ctx.Err() != nil:
		result.StopReason, out.Reason, out.Detail = acp.StopCancelled, corp.ReasonCancelled, "The turn was cancelled."
	case err != nil:
		why := reasonOf(err)
		result.StopReason, out.Reason, out.Detail = why.claim, why.reason, why.detail
	}
	t.save()
	if result.Meta, err = json.Marshal(map[string]outcome{"corp": out}); err != nil {
		return acp.PromptResult{}, fmt.Errorf("encode outcome: %w", err)
	}
	return result, nil
}

// sendStep hands a step to the client and waits until it is kept.
func (s *server) sendStep(session string) func(context.Context, int, corp.Step) error {
	return func(ctx context.Context, number int, step corp.Step) error {
		_, err := s.agent.Ask(ctx, methodStep, map[string]any{"sessionId": session, "journal": number, "key": step.Key, "output": step.Output})
		if errors.Is(err, acp.ErrClosed) {
			<-ctx.Done() // the client has left: nothing more may be paid for
		}
		return err
	}
}

func (s *server) turn(ctx context.Context, of *session) *turn {
	t := &turn{
		cfg: s.cfg, session: of, store: s.store, vendor: s.vendor, tools: toolbox(),
		teller: s.teller(of), repeats: newRepeats(), logger: s.logger, journal: of.journal,
	}
	of.journal = nil // it is of one turn: the first
	t.bench = &workbench{checkout: of.checkout, cfg: s.cfg, plan: func(entries []planEntry) {
		t.teller.tell(ctx, update{SessionUpdate: "plan", Entries: entries})
	}}
	return t
}

// readPrompt takes the text out of a prompt. A linked resource is passed on by
// its address; the agent announced nothing else.
func readPrompt(blocks []json.RawMessage) ([]block, error) {
	var asked []block
	for _, raw := range blocks {
		var b struct {
			Type string `json:"type"`
			Text string `json:"text"`
			URI  string `json:"uri"`
		}
		if err := json.Unmarshal(raw, &b); err != nil {
			return nil, acp.Refuse(acp.CodeInvalidParams, "A content block cannot be read: %v.", err)
		}
		switch b.Type {
		case "text":
		case "resource_link":
			b.Text = "See " + b.URI
		default:
			return nil, acp.Refuse(acp.CodeInvalidParams, "The built-in agent takes text, not %.50q.", b.Type)
		}
		if strings.TrimSpace(b.Text) != "" {
			asked = append(asked, block{Type: blockText, Text: b.Text})
		}
	}
	if len(asked) == 0 {
		return nil, acp.Refuse(acp.CodeInvalidParams, "The prompt is empty.")
	}
	return asked, nil
}

// replay tells a conversation again.
func replay(ctx context.Context, t *teller, messages []message) {
	for _, m := range messages {
		for _, b := range m.Content {
			t.begin()
			switch {
			case b.Type == blockText && m.Role == roleUser:
				t.chunk(ctx, "user_message_chunk", b.Text)
			case b.Type == blockText:
				t.chunk(ctx, "agent_message_chunk", b.Text)
			case b.Type == blockThinking && b.Thinking != nil:
				t.chunk(ctx, "agent_thought_chunk", *b.Thinking)
			case b.Type == blockToolUse:
				t.started(ctx, b.ID, call{title: b.Name, kind: "other", input: b.Input})
			case b.Type == blockToolResult:
				t.finished(ctx, b.ToolUseID, result{text: b.Content, failed: b.IsError})
			}
			t.flush(ctx)
		}
	}
}

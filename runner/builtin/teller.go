package builtin

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/runner/acp"
)

const (
	chunkBytes    = 400                    // of an answer, told at once
	chunkTime     = 250 * time.Millisecond // or after this long, when more comes
	maxInputShown = 16 << 10               // bytes
)

// teller tells the client what happens in a session. That it could not is only
// logged: the connection's end ends the turn as well.
type teller struct {
	send    func(ctx context.Context, sessionID string, update any) error
	session string
	meta    map[string]any // added to every update; nil but when an old session is told again
	logger  *slog.Logger

	kind, message string // of the chunks
	pending       []byte
	since         time.Time
}

type update struct {
	SessionUpdate string `json:"sessionUpdate"`

	Content   any         `json:"content,omitempty"`
	MessageID string      `json:"messageId,omitempty"`
	Entries   []planEntry `json:"entries,omitempty"`

	ToolCallID string          `json:"toolCallId,omitempty"`
	Title      string          `json:"title,omitempty"`
	Kind       string          `json:"kind,omitempty"`
	Status     string          `json:"status,omitempty"`
	Locations  []location      `json:"locations,omitempty"`
	RawInput   json.RawMessage `json:"rawInput,omitempty"`

	Used *int64         `json:"used,omitempty"`
	Size *int64         `json:"size,omitempty"`
	Meta map[string]any `json:"_meta,omitempty"`
}

type contentOf struct {
	Type    string   `json:"type"` // "content"
	Content acp.Text `json:"content"`
}

func (t *teller) tell(ctx context.Context, u update) {
	if u.Meta == nil {
		u.Meta = t.meta
	}
	if err := t.send(ctx, t.session, u); err != nil {
		t.logger.Debug("update was not sent", "error", err)
	}
}

// chunk tells a piece of an answer. Pieces of a few bytes are collected: each
// costs the runner, the server and every dashboard an event.
func (t *teller) chunk(ctx context.Context, kind, text string) {
	if kind != t.kind {
		t.flush(ctx)
		t.kind = kind
	}
	if len(t.pending) == 0 {
		t.since = time.Now()
	}
	t.pending = append(t.pending, text...)
	if len(t.pending) >= chunkBytes || time.Since(t.since) > chunkTime {
		t.flush(ctx)
	}
}

func (t *teller) flush(ctx context.Context) {
	if len(t.pending) == 0 {
		return
	}
	t.tell(ctx, update{SessionUpdate: t.kind, Content: acp.TextBlock(string(t.pending)), MessageID: t.message})
	t.pending = t.pending[:0]
}

// begin starts a new message, so that what follows is not taken for its sequel.
func (t *teller) begin() {
	t.message = newID("message_")
	t.pending = t.pending[:0]
}

func (t *teller) hearing(ctx context.Context) hearing {
	return hearing{
		text:    func(s string) { t.chunk(ctx, "agent_message_chunk", s) },
		thought: func(s string) { t.chunk(ctx, "agent_thought_chunk", s) },
	}
}

// note tells a thought of the program's own, not of the model's.
func (t *teller) note(ctx context.Context, text string) {
	t.tell(ctx, update{
		SessionUpdate: "agent_thought_chunk", Content: acp.TextBlock(text), MessageID: newID("message_"),
		Meta: map[string]any{"corp": map[string]any{"note": true}},
	})
}

// replayed tells that the work goes on after what an earlier attempt did.
func (t *teller) replayed(ctx context.Context, text string, answers, results int) {
	t.tell(ctx, update{
		SessionUpdate: "agent_thought_chunk", Content: acp.TextBlock(text), MessageID: newID("message_"),
		Meta: map[string]any{"corp": map[string]any{"note": true, "replayed": map[string]int{"answers": answers, "results": results}}},
	})
}

func (t *teller) started(ctx context.Context, id string, c call) {
	u := update{SessionUpdate: "tool_call", ToolCallID: id, Title: c.title, Kind: c.kind, Status: "in_progress", Locations: c.locations}
	if c.title == "" {
		u.Title = c.kind
	}
	if c.kind != kindEdit && len(c.input) <= maxInputShown && json.Valid(c.input) {
		u.RawInput = c.input // an edit shows better as its diff
	}
	t.tell(ctx, u)
}

func (t *teller) finished(ctx context.Context, id string, r result) {
	u := update{SessionUpdate: "tool_call_update", ToolCallID: id, Status: "completed"}
	content := []any{contentOf{Type: "content", Content: acp.TextBlock(r.text)}}
	if r.failed {
		u.Status = "failed"
	}
	if r.diff != nil {
		content = []any{r.diff}
	}
	u.Content = content
	t.tell(ctx, u)
}

func (t *teller) used(ctx context.Context, used, window int, usage corp.Usage, model string) {
	u, size := int64(used), int64(window)
	t.tell(ctx, update{
		SessionUpdate: "usage_update", Used: &u, Size: &size,
		Meta: map[string]any{"corp": map[string]any{"usage": usage, "model": model}},
	})
}

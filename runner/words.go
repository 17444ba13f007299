package runner

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/runner/acp"
)

// said is something for the transcript.
type said struct {
	key  string // what may be joined with the one before; empty joins nothing
	kind corp.EntryKind
	text string
	raw  json.RawMessage
}

// update is what the runner reads of an agent's update. All of it is kept raw.
type update struct {
	Content    json.RawMessage `json:"content"` // one block in a chunk, a list in a tool call
	ToolCallID string          `json:"toolCallId"`
	Title      string          `json:"title"`
	Status     string          `json:"status"`
	Entries    []struct {
		Content string `json:"content"`
		Status  string `json:"status"`
	} `json:"entries"`
	Meta json.RawMessage `json:"_meta"`
}

type block struct {
	Type    string          `json:"type"`
	Text    string          `json:"text"`
	Content json.RawMessage `json:"content"`
	Path    string          `json:"path"`
}

// sayings translates an agent's update. The raw JSON of a plain piece of text
// is not kept beside the text: it holds nothing else, and comes once a token.
func sayings(u acp.Update) said {
	var parsed update
	if json.Unmarshal(u.Raw, &parsed) != nil {
		return said{kind: corp.EntryRaw, raw: u.Raw}
	}
	switch u.Kind {
	case "agent_message_chunk":
		return chunk(corp.EntryMessage, u, parsed)
	case "agent_thought_chunk":
		return chunk(corp.EntryThought, u, parsed)
	case "tool_call", "tool_call_update":
		return action(u, parsed)
	case "plan":
		return said{kind: corp.EntryPlan, text: plan(parsed), raw: u.Raw}
	default:
		return said{key: u.Kind, kind: corp.EntryRaw, raw: u.Raw}
	}
}

func chunk(kind corp.EntryKind, u acp.Update, parsed update) said {
	var b block
	_ = json.Unmarshal(parsed.Content, &b) // what is no block is kept raw
	s := said{key: u.Kind, kind: kind, text: b.Text}
	if b.Type != "text" || parsed.Meta != nil {
		s.raw = u.Raw
	}
	return s
}

func action(u acp.Update, parsed update) said {
	s := said{key: parsed.ToolCallID, kind: corp.EntryAction, raw: u.Raw}
	var blocks []block
	_ = json.Unmarshal(parsed.Content, &blocks)
	var text strings.Builder
	text.WriteString(parsed.Title)
	if parsed.Status != "" && parsed.Status != "pending" {
		fmt.Fprintf(&text, " [%s]", parsed.Status)
	}
	for _, b := range blocks {
		switch b.Type {
		case "diff":
			s.kind, s.key = corp.EntryDiff, ""
			fmt.Fprintf(&text, "\n%s", b.Path)
		case "content":
			var inner block
			if json.Unmarshal(b.Content, &inner) == nil && inner.Text != "" {
				fmt.Fprintf(&text, "\n%s", inner.Text)
			}
		}
	}
	s.text = strings.TrimSpace(text.String()) + "\n"
	return s
}

func plan(parsed update) string {
	var text strings.Builder
	for _, e := range parsed.Entries {
		mark := " "
		switch e.Status {
		case "completed":
			mark = "x"
		case "in_progress":
			mark = ">"
		}
		fmt.Fprintf(&text, "[%s] %s\n", mark, e.Content)
	}
	return text.String()
}

// together makes one JSON value of the raw updates of an entry: the update
// itself when there is one, a list otherwise. What is too much is left out and
// counted.
func together(raw []json.RawMessage) json.RawMessage {
	total := 0
	for i, r := range raw {
		if total += len(r) + 1; total > maxData {
			left := 0
			for _, rest := range raw[i:] {
				left += len(rest)
			}
			raw = append(raw[:i:i], json.RawMessage(fmt.Sprintf(`{"omitted_bytes":%d}`, left)))
			break
		}
	}
	switch len(raw) {
	case 0:
		return nil
	case 1:
		return raw[0]
	default:
		return append(append(json.RawMessage{'['}, bytes.Join(asBytes(raw), []byte{','})...), ']')
	}
}

func asBytes(raw []json.RawMessage) [][]byte {
	all := make([][]byte, len(raw))
	for i, r := range raw {
		all[i] = r
	}
	return all
}

// clean makes text that a database takes: valid, and without NUL.
func clean(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

func cleanJSON(raw json.RawMessage) json.RawMessage {
	if raw == nil || utf8.Valid(raw) {
		return raw
	}
	return bytes.ToValidUTF8(raw, []byte("\uFFFD"))
}

// cut shortens text to at most n bytes, at a whole character, and says so.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	note := fmt.Sprintf("\n[%d bytes in all]", len(s))
	// What is cut in the middle of a character is dropped with it.
	return strings.ToValidUTF8(s[:max(n-len(note), 0)], "") + note
}

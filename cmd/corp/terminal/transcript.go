package terminal

import (
	"fmt"
	"io"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

// Transcript writes a run's entries and state changes for people. What agents
// wrote is cleaned of control characters, so that it cannot drive the terminal.
type Transcript struct {
	W      io.Writer
	Colour bool
	kind   corp.EntryKind // of the text that is being continued
	ended  bool           // that text ended with a line
}

const (
	styleDim   = "\x1b[2m"
	styleBold  = "\x1b[1m"
	styleReset = "\x1b[0m"
)

// Add writes what an update says to people.
func (t *Transcript) Add(u client.Update) {
	switch {
	case u.Entry != nil:
		t.Entry(*u.Entry)
	case u.Event != nil:
		t.event(*u.Event)
	}
}

// event shows what happens to the task and its runs; the rest is for dashboards.
func (t *Transcript) event(e corp.Event) {
	if !strings.HasPrefix(e.Kind, "run.") && e.Kind != "task.dead" {
		return
	}
	data := gjson.ParseBytes(e.Data)
	line := strings.Replace(e.Kind, ".", " ", 1)
	if runner := data.Get("runner_name").String(); runner != "" {
		line += " on " + runner
	}
	if reason := data.Get("reason").String(); reason != "" {
		line += " (" + reason + ")"
	}
	if detail := data.Get("detail").String(); detail != "" {
		line += ": " + detail
	}
	t.line(styleDim, "· ", Clean(line))
}

// Entry writes an entry of a run.
func (t *Transcript) Entry(e corp.Entry) {
	text := Clean(e.Text)
	switch e.Kind {
	case corp.EntryMessage, corp.EntryThought:
		t.text(e.Kind, text)
	case corp.EntryAction, corp.EntryDiff:
		t.action(text)
	case corp.EntryNote:
		t.line(styleDim, "· ", text)
	case corp.EntryRaw:
	default:
		t.line("", "  ", text)
	}
}

// action shows that a tool was called, and how it ended only when it failed:
// what it printed is in the transcript for those who ask.
func (t *Transcript) action(text string) {
	title, rest, _ := strings.Cut(text, "\n")
	title = strings.TrimSuffix(strings.TrimSuffix(title, " [in_progress]"), " [pending]")
	if title != "" && !strings.HasPrefix(title, "[") {
		t.line(styleBold, "● ", title)
		title, rest, _ = strings.Cut(rest, "\n")
	}
	if title == "[failed]" {
		t.line("", "  ✗ ", LastLines(rest, 8))
	}
}

// Note writes a remark of ours.
func (t *Transcript) Note(text string) { t.line(styleDim, "· ", Clean(text)) }

// text goes on with the running text when it is of the same kind, because
// agents write in pieces.
func (t *Transcript) text(kind corp.EntryKind, text string) {
	if text == "" {
		return
	}
	if t.kind != kind {
		t.Flush()
		t.kind = kind
	}
	if kind == corp.EntryThought {
		text = t.style(styleDim, text)
	}
	_, _ = io.WriteString(t.W, text)
	t.ended = strings.HasSuffix(text, "\n")
}

// line writes a line of its own.
func (t *Transcript) line(style, mark, text string) {
	t.Flush()
	text = strings.TrimRight(text, "\n")
	if text == "" {
		return
	}
	_, _ = fmt.Fprintln(t.W, t.style(style, mark+strings.ReplaceAll(text, "\n", "\n"+strings.Repeat(" ", len([]rune(mark))))))
}

// Flush ends the running text.
func (t *Transcript) Flush() {
	if t.kind != "" && !t.ended {
		_, _ = fmt.Fprintln(t.W)
	}
	t.kind, t.ended = "", false
}

func (t *Transcript) style(style, text string) string {
	if !t.Colour || style == "" {
		return text
	}
	return style + text + styleReset
}

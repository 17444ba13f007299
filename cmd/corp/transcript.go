package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

// transcript writes a run's entries and state changes for people. What agents
// wrote is cleaned of control characters, so that it cannot drive the terminal.
type transcript struct {
	w      io.Writer
	colour bool
	kind   corp.EntryKind // of the text that is being continued
	ended  bool           // that text ended with a line
}

const (
	styleDim   = "\x1b[2m"
	styleBold  = "\x1b[1m"
	styleReset = "\x1b[0m"
)

func (t *transcript) add(u client.Update) {
	switch {
	case u.Entry != nil:
		t.entry(*u.Entry)
	case u.Event != nil:
		t.event(*u.Event)
	}
}

// event shows what happens to the task and its runs; the rest is for dashboards.
func (t *transcript) event(e corp.Event) {
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
	t.line(styleDim, "· ", clean(line))
}

func (t *transcript) entry(e corp.Entry) {
	text := clean(e.Text)
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
func (t *transcript) action(text string) {
	title, rest, _ := strings.Cut(text, "\n")
	title = strings.TrimSuffix(strings.TrimSuffix(title, " [in_progress]"), " [pending]")
	if title != "" && !strings.HasPrefix(title, "[") {
		t.line(styleBold, "● ", title)
		title, rest, _ = strings.Cut(rest, "\n")
	}
	if title == "[failed]" {
		t.line("", "  ✗ ", lastLines(rest, 8))
	}
}

// text goes on with the running text when it is of the same kind, because
// agents write in pieces.
func (t *transcript) text(kind corp.EntryKind, text string) {
	if text == "" {
		return
	}
	if t.kind != kind {
		t.flush()
		t.kind = kind
	}
	if kind == corp.EntryThought {
		text = t.style(styleDim, text)
	}
	_, _ = io.WriteString(t.w, text)
	t.ended = strings.HasSuffix(text, "\n")
}

func (t *transcript) line(style, mark, text string) {
	t.flush()
	text = strings.TrimRight(text, "\n")
	if text == "" {
		return
	}
	_, _ = fmt.Fprintln(t.w, t.style(style, mark+strings.ReplaceAll(text, "\n", "\n"+strings.Repeat(" ", len([]rune(mark))))))
}

// flush ends the running text.
func (t *transcript) flush() {
	if t.kind != "" && !t.ended {
		_, _ = fmt.Fprintln(t.w)
	}
	t.kind, t.ended = "", false
}

func (t *transcript) style(style, text string) string {
	if !t.colour || style == "" {
		return text
	}
	return style + text + styleReset
}

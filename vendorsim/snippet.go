package vendorsim

import (
	"errors"
	"fmt"
	"strings"
	"text/template"
)

// maxText bounds one rendered text, so that a mistaken template or size cannot
// take the machine's memory.
const maxText = 64 << 20

// errTooLong reports a text beyond its bound.
var errTooLong = errors.New("the text is too long")

// scene is what a template sees of the conversation.
type scene struct {
	Model       string
	System      string
	Prompt      string   // text of the first user message
	LastUser    string   // text of the last user message that has any
	ToolResult  string   // the last tool result
	ToolResults []string // all tool results of the last message
	Turn        int      // answers given so far
	capture     capture
}

// captureError reports a template that asks for a group that no expression has.
type captureError struct{ what string }

func (e *captureError) Error() string { return "no expression of the match captures " + e.what }

// Capture returns the text of a named group.
func (s *scene) Capture(name string) (string, error) {
	text, ok := s.capture.named[name]
	if !ok {
		return "", &captureError{fmt.Sprintf("a group named %q", name)}
	}
	return text, nil
}

// Group returns the text of the n-th group, counting from 1 over all expressions.
func (s *scene) Group(n int) (string, error) {
	if n < 1 || n > len(s.capture.groups) {
		return "", &captureError{fmt.Sprintf("a group %d", n)}
	}
	return s.capture.groups[n-1], nil
}

var snippetFuncs = template.FuncMap{
	"json":    func(s string) string { return string(appendString(nil, s)) },
	"trim":    strings.TrimSpace,
	"replace": func(old, with, s string) string { return strings.ReplaceAll(s, old, with) },
}

// snippet is a text that may hold a template.
type snippet struct {
	literal string
	tmpl    *template.Template
}

// parseSnippet compiles a text and, if it is a template, tries it on a made-up
// scene, so that an unknown field or group is found at load time.
func parseSnippet(text string, known capture) (snippet, error) {
	if !strings.Contains(text, "{{") {
		return snippet{literal: text}, nil
	}
	t, err := template.New("text").Funcs(snippetFuncs).Option("missingkey=error").Parse(text)
	if err != nil {
		return snippet{}, fmt.Errorf("parse template: %w", err)
	}
	s := snippet{tmpl: t}
	_, err = s.render(&scene{capture: known})
	_, isCapture := errors.AsType[*captureError](err)
	if isCapture || (err != nil && strings.Contains(err.Error(), "can't evaluate field")) {
		return snippet{}, tidy(err)
	}
	return s, nil
}

// render returns the text for the scene, always valid UTF-8.
func (s snippet) render(sc *scene) (string, error) { return s.renderWithin(sc, maxText) }

func (s snippet) renderWithin(sc *scene, limit int) (string, error) {
	if s.tmpl == nil {
		return s.literal, nil
	}
	out := limitedText{limit: limit}
	if err := s.tmpl.Execute(&out, sc); err != nil {
		return "", fmt.Errorf("fill template: %w", err)
	}
	return strings.ToValidUTF8(out.text.String(), "\ufffd"), nil
}

// limitedText is a builder that refuses more than limit bytes.
type limitedText struct {
	text  strings.Builder
	limit int
}

// Write appends p, or fails with errTooLong.
func (l *limitedText) Write(p []byte) (int, error) {
	if l.text.Len()+len(p) > l.limit {
		return 0, errTooLong
	}
	return l.text.Write(p)
}

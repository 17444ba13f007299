package builtin

import (
	"context"
	"fmt"
	"strings"
)

const (
	maxEditHelp   = 6 << 10  // bytes of an error that shows the file
	maxDiffText   = 32 << 10 // bytes of each side of a shown diff
	editContext   = 3        // lines around a change
	maxShownHits  = 10
	maxShownLines = 12 // of each place that was perhaps meant
)

type editInput struct {
	Path       string `json:"path"`
	Old        string `json:"old"`
	New        string `json:"new"`
	ReplaceAll bool   `json:"replace_all"`
}

func editTool() tool {
	return define("edit",
		"Replace a text in a file by another. old must be in the file exactly once, with its whitespace and without the line numbers that read shows; take in neighbouring lines to make it unique, or set replace_all.",
		`{"type":"object","properties":{"path":{"type":"string","description":"Path relative to the checkout."},"old":{"type":"string","description":"The exact text to replace."},"new":{"type":"string","description":"What to put in its place."},"replace_all":{"type":"boolean","description":"Replace every occurrence."}},"required":["path","old","new"]}`,
		func(w *workbench, in editInput) call {
			return changing(w, "Edit ", in.Path, func(ctx context.Context) result { return edit(ctx, w, in) })
		})
}

// changing is the call of a tool that changes one file.
func changing(w *workbench, verb, name string, do func(context.Context) result) call {
	c := call{title: verb + clip(name, 200), kind: kindEdit, do: do}
	if rel, err := w.checkout.rel(name); err == nil {
		c.title = verb + clip(rel, 200)
		c.locations = []location{{Path: w.checkout.abs(rel)}}
	}
	return c
}

func edit(ctx context.Context, w *workbench, in editInput) result {
	rel, err := w.checkout.writable(in.Path)
	if err != nil {
		return failure(err)
	}
	content, err := w.checkout.load(rel)
	if err != nil {
		return failure(err)
	}
	if isBinary(content) {
		return failure(misused("%s is a binary file; edit works on text.", rel))
	}
	before := string(content)
	from, to := in.Old, in.New
	if strings.Contains(before, "\r\n") && !strings.Contains(from, "\r") {
		// The model sees lines without their ends, so it writes them with \n.
		from, to = strings.ReplaceAll(from, "\n", "\r\n"), strings.ReplaceAll(strings.ReplaceAll(to, "\r\n", "\n"), "\n", "\r\n")
	}
	count := 0
	if from != "" {
		count = strings.Count(before, from)
	}
	if err := checkEdit(rel, before, from, to, count, in.ReplaceAll); err != nil {
		return failure(err)
	}
	after := strings.ReplaceAll(before, from, to)
	if ctx.Err() != nil {
		return failure(context.Cause(ctx))
	}
	if err := w.checkout.store(rel, []byte(after)); err != nil {
		return failure(err)
	}
	text := fmt.Sprintf("Edited %s.", rel)
	if count > 1 {
		text = fmt.Sprintf("Edited %s in %d places.", rel, count)
	}
	d := passage(w.checkout.abs(rel), before, after)
	return result{text: text + "\n" + changedLines(before, after), diff: d, changed: true, digest: digestOf([]byte(after))}
}

// checkEdit says why an edit cannot be made, so that the next try can.
func checkEdit(rel, before, from, to string, count int, all bool) error {
	switch {
	case from == "" && before == "":
		return misused("%s is empty, so there is nothing to replace. Use write.", rel)
	case from == "":
		return misuse("old is empty. Give the exact text to replace; to make a new file, use write.")
	case from == to:
		return misuse("old and new are the same, so nothing would change.")
	case count == 0:
		return notFound(rel, before, from)
	case count > 1 && !all:
		return misused("old is in %s %d times, at %s. Take in neighbouring lines to make it unique, or set replace_all. Nothing was changed.", rel, count, hitLines(before, from))
	default:
		return nil
	}
}

func hitLines(text, from string) string {
	var lines []string
	at, line := 0, 1
	for len(lines) < maxShownHits {
		i := strings.Index(text[at:], from)
		if i < 0 {
			return "lines " + strings.Join(lines, ", ")
		}
		line += strings.Count(text[at:at+i], "\n")
		lines = append(lines, fmt.Sprint(line))
		line += strings.Count(from, "\n")
		at += i + len(from)
	}
	return "lines " + strings.Join(lines, ", ") + " and more"
}

// notFound shows where the text may have been meant.
func notFound(rel, before, from string) error {
	file := strings.Split(strings.ReplaceAll(before, "\r\n", "\n"), "\n")
	want := strings.Split(strings.Trim(strings.ReplaceAll(from, "\r\n", "\n"), "\n"), "\n")
	places := nearest(file, want, 3)
	if len(places) == 0 {
		return misused("old is not in %s, nor anything like it. Read the file, or search for where the text is. Nothing was changed.", rel)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "old is not in %s exactly. Nothing was changed.", rel)
	shown := min(len(want), maxShownLines)
	best := file[places[0].line:min(len(file), places[0].line+len(want))]
	if hint := whitespaceHint(best, want); hint != "" {
		fmt.Fprintf(&b, " Line %d differs only in whitespace: %s.", places[0].line+1, hint)
	}
	b.WriteString(" The nearest lines are:\n")
	for _, p := range places {
		if p.score < places[0].score/2 || b.Len() > maxEditHelp {
			break
		}
		b.WriteString(numbered(file[p.line:min(len(file), p.line+shown)], p.line))
		b.WriteString("\n")
	}
	return misuse(b.String())
}

// whitespaceHint names the difference between two passages if whitespace is all of it.
func whitespaceHint(file, want []string) string {
	if len(file) != len(want) {
		return ""
	}
	hint := ""
	for i := range file {
		if squeeze(file[i]) != squeeze(want[i]) {
			return ""
		}
		if hint == "" && file[i] != want[i] {
			hint = fmt.Sprintf("the file has %s, old has %s", describe(file[i]), describe(want[i]))
		}
	}
	return hint
}

func describe(line string) string {
	indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
	text := "no indentation"
	tabs, spaces := strings.Count(indent, "\t"), strings.Count(indent, " ")
	switch {
	case tabs > 0 && spaces > 0:
		text = fmt.Sprintf("%d tabs and %d spaces of indentation", tabs, spaces)
	case tabs > 0:
		text = fmt.Sprintf("%d tabs of indentation", tabs)
	case spaces > 0:
		text = fmt.Sprintf("%d spaces of indentation", spaces)
	}
	if line != strings.TrimRight(line, " \t") {
		text += " and blanks at the end"
	}
	return text
}

// passage makes the diff of a change: the lines that differ, with some around
// them.
func passage(abs, before, after string) *diff {
	first, oldEnd, newEnd := changedRange(before, after)
	oldText := lineSlice(before, first, oldEnd)
	d := &diff{Type: "diff", Path: abs, Old: &oldText, New: lineSlice(after, first, newEnd), Meta: map[string]any{"corp": map[string]any{"line": first + 1}}}
	if len(oldText) > maxDiffText || len(d.New) > maxDiffText {
		oldText, d.New = clip(oldText, maxDiffText), clip(d.New, maxDiffText)
		d.Meta["corp"] = map[string]any{"line": first + 1, "truncated": true}
	}
	return d
}

// changedRange returns the lines (from 0) in which two texts differ, with
// context: [first, oldEnd) of the one and [first, newEnd) of the other.
func changedRange(before, after string) (first, oldEnd, newEnd int) {
	a, b := splitLines(before), splitLines(after)
	for first < len(a) && first < len(b) && a[first] == b[first] {
		first++
	}
	oldEnd, newEnd = len(a), len(b)
	for oldEnd > first && newEnd > first && a[oldEnd-1] == b[newEnd-1] {
		oldEnd--
		newEnd--
	}
	first = max(0, first-editContext)
	return first, min(len(a), oldEnd+editContext), min(len(b), newEnd+editContext)
}

func splitLines(text string) []string { return strings.SplitAfter(text, "\n") }

func lineSlice(text string, from, to int) string {
	return strings.Join(splitLines(text)[from:to], "")
}

// changedLines shows the model what the changed place looks like now.
func changedLines(before, after string) string {
	const shown = 40
	first, _, end := changedRange(before, after)
	lines := strings.Split(strings.TrimSuffix(strings.ReplaceAll(lineSlice(after, first, min(end, first+shown)), "\r\n", "\n"), "\n"), "\n")
	text := numbered(lines, first)
	if end > first+shown {
		text += fmt.Sprintf("[the change goes on to line %d]\n", end)
	}
	return text
}

type writeInput struct {
	Path    string  `json:"path"`
	Content *string `json:"content"`
}

func writeTool() tool {
	return define("write",
		"Create a file with the given content, with the folders above it, or overwrite one. To change a part of a file, use edit.",
		`{"type":"object","properties":{"path":{"type":"string","description":"Path relative to the checkout."},"content":{"type":"string","description":"The whole content."}},"required":["path","content"]}`,
		func(w *workbench, in writeInput) call {
			return changing(w, "Write ", in.Path, func(ctx context.Context) result { return write(ctx, w, in) })
		})
}

func write(ctx context.Context, w *workbench, in writeInput) result {
	rel, err := w.checkout.writable(in.Path)
	if err != nil {
		return failure(err)
	}
	if in.Content == nil {
		return failure(misuse("content is missing. Give the whole content of the file; for an empty file, an empty text."))
	}
	if ctx.Err() != nil {
		return failure(context.Cause(ctx))
	}
	before, existed := w.previous(rel)
	if err := w.checkout.store(rel, []byte(*in.Content)); err != nil {
		return failure(err)
	}
	abs := w.checkout.abs(rel)
	if !existed {
		return result{
			text: fmt.Sprintf("Created %s, %d bytes.", rel, len(*in.Content)), changed: true, digest: digestOf([]byte(*in.Content)),
			diff: &diff{Type: "diff", Path: abs, New: clip(*in.Content, maxDiffText)},
		}
	}
	return result{text: fmt.Sprintf("Overwrote %s, %d bytes.", rel, len(*in.Content)), changed: before != *in.Content, diff: passage(abs, before, *in.Content), digest: digestOf([]byte(*in.Content))}
}

// previous returns what a file holds that is about to be overwritten, as far as
// it can be shown, and whether there is one.
func (w *workbench) previous(rel string) (before string, existed bool) {
	content, err := w.checkout.load(rel)
	switch {
	case err != nil:
		_, err := w.checkout.root.Lstat(rel)
		return "", err == nil
	case isBinary(content):
		return "", true
	default:
		return string(content), true
	}
}

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/genericcorp/corp"
)

func checkOutput(format string) error {
	switch format {
	case "table", "json", "yaml":
		return nil
	default:
		return usageError{corp.Invalid("output", fmt.Sprintf("%q is not an output format.", format), "Use table, json or yaml.")}
	}
}

// print writes value as JSON or YAML, or calls table for people.
func (o *options) print(value any, table func(w *tabwriter.Writer)) error {
	switch o.Output {
	case "json":
		return printJSON(o.env.Out, value)
	case "yaml":
		return printYAML(o.env.Out, value)
	default:
		w := tabwriter.NewWriter(o.env.Out, 0, 4, 2, ' ', 0)
		table(w)
		return w.Flush()
	}
}

func printJSON(w io.Writer, value any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(value)
}

// printYAML goes through JSON, so that both formats have the same names.
func printYAML(w io.Writer, value any) error {
	b, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("write yaml: %w", err)
	}
	var node yaml.Node
	if err := yaml.Unmarshal(b, &node); err != nil {
		return fmt.Errorf("write yaml: %w", err)
	}
	plain(&node)
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(&node); err != nil {
		return fmt.Errorf("write yaml: %w", err)
	}
	return e.Close()
}

// plain drops JSON's braces and quotes, so that people can read the YAML.
func plain(n *yaml.Node) {
	n.Style &^= yaml.FlowStyle | yaml.DoubleQuotedStyle
	for _, child := range n.Content {
		plain(child)
	}
}

// row writes tab-separated cells.
func row(w io.Writer, cells ...any) {
	text := make([]string, len(cells))
	for i, c := range cells {
		text[i] = oneLine(fmt.Sprint(c))
	}
	_, _ = fmt.Fprintln(w, strings.Join(text, "\t"))
}

// oneLine keeps what agents and repositories wrote from moving the cursor:
// control characters become spaces.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if steers(r) {
			return ' '
		}
		return r
	}, s)
}

// clean is oneLine for text that keeps its lines.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && steers(r) {
			return ' '
		}
		return r
	}, s)
}

// steers says whether a terminal takes a character for a command, or shows what
// follows in another order than it is read in.
func steers(r rune) bool {
	return r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

// cleanTo copies text for a terminal, cleaned line by line.
func cleanTo(w io.Writer, from io.Reader) error {
	lines := bufio.NewReaderSize(from, 64<<10)
	for {
		piece, err := lines.ReadSlice('\n')
		if _, failed := io.WriteString(w, clean(string(piece))); failed != nil {
			return failed
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

// shorten cuts text to n runes.
func shorten(s string, n int) string {
	r := []rune(strings.TrimSpace(oneLine(s)))
	if len(r) <= n {
		return string(r)
	}
	return string(r[:n-1]) + "…"
}

// ago writes how long ago t was.
func ago(t time.Time) string {
	d := time.Since(t)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", max(int(d.Seconds()), 0))
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	default:
		return t.Format(time.DateOnly)
	}
}

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/cmd/corp/terminal"
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
		text[i] = terminal.OneLine(fmt.Sprint(c))
	}
	_, _ = fmt.Fprintln(w, strings.Join(text, "\t"))
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

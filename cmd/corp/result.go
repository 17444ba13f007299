package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/genericcorp/corp/cmd/corp/terminal"
)

// showResult writes what came of a run.
func (o *options) showResult(r runResult, source *source) error {
	return o.print(r, func(w *tabwriter.Writer) {
		row(w)
		row(w, "state", stateAndReason(string(r.State), r.Reason))
		if r.Detail != "" {
			row(w, "detail", r.Detail)
		}
		if r.Branch != "" {
			row(w, "branch", r.Branch+" "+source.where(r))
			row(w, "commit", r.Commit)
		}
		if d := r.Diffstat; d != nil {
			row(w, "diff", fmt.Sprintf("%s, +%d -%d", count(d.Files, "file"), d.Insertions, d.Deletions))
			for i, p := range d.Paths {
				if i == 10 {
					row(w, "", fmt.Sprintf("… and %d more", len(d.Paths)-i))
					break
				}
				row(w, "", fmt.Sprintf("%s +%d -%d", p.Path, p.Insertions, p.Deletions))
			}
		}
		if c := r.Check; c != nil {
			verdict := "passed"
			if !c.Passed {
				verdict = fmt.Sprintf("failed with exit code %d", c.ExitCode)
			}
			row(w, "check", fmt.Sprintf("%s: %s (%.1fs)", c.Command, verdict, c.Seconds))
			if !c.Passed {
				for line := range strings.Lines(terminal.LastLines(c.Output, 12)) {
					row(w, "", line)
				}
			}
		}
		row(w, "calls", count(r.Calls, "model call")+simulatedNote(r.Simulated))
		row(w, "tokens", fmt.Sprintf("%d in (%d fresh, %d from the cache, %d into it), %d out", r.Usage.Input(), r.Usage.FreshInput, r.Usage.CacheRead, r.Usage.CacheWriteShort+r.Usage.CacheWriteLong, r.Usage.Output))
		row(w, "cost", fmt.Sprintf("%s%s", r.Cost, simulatedNote(r.Simulated)))
		row(w, "time", fmt.Sprintf("%.1fs", r.Seconds))
	})
}

// count writes a number of things.
func count[N int | int64](n N, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func simulatedNote(simulated bool) string {
	if simulated {
		return " (simulated)"
	}
	return ""
}

package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

func newCall(o *options) *cobra.Command {
	var task, run string
	return parent("call", "Look at the ledger of model calls", newList(o, lister[corp.Call]{
		short: "List model calls, newest first",
		watch: true,
		flags: func(cmd *cobra.Command) {
			cmd.Flags().StringVar(&task, "task", "", "only those of a task")
			cmd.Flags().StringVar(&run, "run", "", "only those of a run")
		},
		page: func(ctx context.Context, c *client.Client, p corp.Page) (corp.List[corp.Call], error) {
			query, err := callQuery(task, run)
			if err != nil {
				return corp.List[corp.Call]{}, err
			}
			return c.Calls(ctx, query, p)
		},
		header: []any{"AT", "MODEL", "OUTCOME", "FRESH", "CACHE READ", "CACHE WRITE", "OUTPUT", "COST", "MS", "NOTE", "RUN"},
		columns: func(k corp.Call) []any {
			return []any{
				k.At.Format(time.TimeOnly), modelOf(k), k.Outcome, k.Usage.FreshInput, k.Usage.CacheRead,
				k.Usage.CacheWriteShort + k.Usage.CacheWriteLong, k.Usage.Output, k.Cost, k.LatencyMS, callNote(k), k.RunID,
			}
		},
	}))
}

func callQuery(task, run string) (q client.CallQuery, err error) {
	if task != "" {
		if q.Task, err = parseArg[corp.TaskID](task); err != nil {
			return q, err
		}
	}
	if run != "" {
		q.Run, err = parseArg[corp.RunID](run)
	}
	return q, err
}

func callNote(k corp.Call) string {
	note := ""
	if k.Simulated {
		note += "simulated "
	}
	if k.Estimated {
		note += "estimated "
	}
	return note + k.Detail
}

func newUsage(o *options) *cobra.Command {
	var by, since string
	cmd := &cobra.Command{
		Use: "usage", Short: "Sum up model calls and run time", Args: cobra.NoArgs,
		Long: "Sums up the ledger: calls, tokens, cost and the time that runs were carried out.",
	}
	cmd.Flags().StringVar(&by, "by", "", "day, model, agent or task (default: one total)")
	cmd.Flags().StringVar(&since, "since", "", "from this day (2026-01-31) or this long ago (24h)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		from, err := parseSince(since)
		if err != nil {
			return err
		}
		c, err := o.connect()
		if err != nil {
			return err
		}
		totals, err := c.Usage(cmd.Context(), client.UsageQuery{From: from, By: by})
		if err != nil {
			return err
		}
		return o.print(totals, func(w *tabwriter.Writer) {
			row(w, "KEY", "CALLS", "FRESH", "CACHE READ", "CACHE WRITE", "OUTPUT", "COST", "RUN TIME", "NOTE")
			for _, t := range totals {
				note := ""
				if t.Simulated {
					note = "with simulated calls"
				}
				row(w, t.Key, t.Calls, t.Usage.FreshInput, t.Usage.CacheRead, t.Usage.CacheWriteShort+t.Usage.CacheWriteLong, t.Usage.Output, t.Cost, fmt.Sprintf("%.0fs", t.RunSeconds), note)
			}
		})
	}
	return cmd
}

func parseSince(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		return time.Now().Add(-d).UTC(), nil
	}
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return t, usageError{corp.Invalid("since", fmt.Sprintf("%q is neither a day nor a duration.", text), "Write 2026-01-31, or 24h.")}
	}
	return t, nil
}

// modelOf names the model that answered; without an answer, the one that was asked.
func modelOf(k corp.Call) string {
	model := k.ModelServed
	if model == "" {
		model = k.ModelAsked
	}
	if k.Provider == "" {
		return model
	}
	return k.Provider + "/" + strings.TrimPrefix(model, k.Provider+"/")
}

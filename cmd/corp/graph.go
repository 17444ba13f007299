package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/cmd/corp/terminal"
)

// graphFlags say what a task follows and is a part of.
type graphFlags struct {
	after     []string
	onFailure string
	parent    string
}

func (g *graphFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSliceVar(&g.after, "after", nil, "start when these tasks have ended (TASK,TASK,…)")
	f.StringVar(&g.onFailure, "on-failure", "", "with --after, when one does not succeed: cancel (the default) or continue")
	f.StringVar(&g.parent, "parent", "", "the task that this one is a part of; cancelling that cancels this")
}

func (g *graphFlags) read(f *pflag.FlagSet, spec *corp.TaskSpec) error {
	// An empty value is a script's unset variable: the task would start at once, or
	// outlive the tree that it was to be a part of.
	if f.Changed("after") && len(g.after) == 0 {
		return usageError{corp.Invalid("after", "No task is named.", "Name those that it follows, or leave --after out.")}
	}
	if g.onFailure != "" && len(g.after) == 0 {
		return usageError{corp.Invalid("on-failure", "There is no task to fail.", "Name one with --after.")}
	}
	switch g.onFailure {
	case "", corp.OnFailureCancel, corp.OnFailureContinue:
	default:
		return usageError{corp.Invalid("on-failure", fmt.Sprintf("%q is not what can be done then.", g.onFailure), "Use cancel or continue.")}
	}
	for _, text := range g.after {
		id, err := parseFlag[corp.TaskID]("after", strings.TrimSpace(text))
		if err != nil {
			return err
		}
		spec.After = append(spec.After, corp.Dependency{TaskID: id, OnFailure: g.onFailure})
	}
	if f.Changed("parent") {
		id, err := parseFlag[corp.TaskID]("parent", g.parent)
		if err != nil {
			return err
		}
		spec.ParentID = &id
	}
	return nil
}

func newTaskTree(o *options) *cobra.Command {
	return newChange(o, "tree TASK", "Show a task and all beneath it",
		func(ctx context.Context, c *client.Client, text string) (corp.Tree, error) {
			id, err := parseArg[corp.TaskID](text)
			if err != nil {
				return corp.Tree{}, err
			}
			return c.Tree(ctx, id)
		},
		func(tree corp.Tree) error {
			return o.print(tree, func(w *tabwriter.Writer) {
				row(w, "TASK", "STATE", "AGENT", "PROMPT")
				for _, n := range tree.Nodes {
					row(w, strings.Repeat("  ", n.Depth-1)+n.TaskID.String(), stateAndReason(string(n.State), n.Reason), n.Agent, terminal.Shorten(n.Prompt, 50))
				}
				if tree.More {
					row(w, "… and more")
				}
			})
		})
}

// redriveFlags say which tasks to redrive when none are named.
type redriveFlags struct {
	spec            corp.RedriveSpec
	state, reason   string
	batch, schedule string
	before          string
	limit           int
}

func newTaskRedrive(o *options) *cobra.Command {
	var r redriveFlags
	cmd := &cobra.Command{
		Use:   "redrive [TASK…]",
		Short: "Give dead or failed tasks all their attempts anew",
		Long: `Redrives the tasks that are named, or all that the flags match, the oldest
first. Each gets as many attempts as it had at first, under the same budget; the
errors of those before remain. Tasks that were cancelled because they follow one
of these stay cancelled.`,
		Example: `  corp task redrive --state dead --agent default --dry-run
  corp task redrive --state dead --reason provider_unavailable`,
	}
	f := cmd.Flags()
	f.StringVar(&r.state, "state", "", "dead or failed")
	f.StringVar(&r.spec.Agent, "agent", "", "only those of an agent")
	f.StringVar(&r.reason, "reason", "", "only those that, or whose last run, ended for this reason")
	f.StringVar(&r.batch, "batch", "", "only those of a batch")
	f.StringVar(&r.schedule, "schedule", "", "only those that a schedule submitted")
	f.StringVar(&r.before, "before", "", "only those that were submitted before this time")
	f.IntVar(&r.limit, "limit", 0, "at most so many (0: all)")
	f.BoolVar(&r.spec.DryRun, "dry-run", false, "change nothing, and say how many these would be")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if (len(args) == 0) == (r.state == "") || len(args) > 0 && cmd.Flags().NFlag() > 0 && anyChanged(cmd, "agent", "reason", "batch", "schedule", "before", "limit", "dry-run") {
			return usageError{corp.Invalid("state", "Say which tasks: either by their ids, or by --state and other flags.", "For instance: corp task redrive --state dead --dry-run")}
		}
		c, err := o.connect()
		if err != nil {
			return err
		}
		if len(args) > 0 {
			return o.redriveNamed(cmd.Context(), c, args)
		}
		return o.redriveMatching(cmd.Context(), c, r)
	}
	return cmd
}

func anyChanged(cmd *cobra.Command, names ...string) bool {
	for _, name := range names {
		if cmd.Flags().Changed(name) {
			return true
		}
	}
	return false
}

func (o *options) redriveNamed(ctx context.Context, c *client.Client, args []string) error {
	ids := make([]corp.TaskID, len(args))
	for i, text := range args {
		var err error
		if ids[i], err = parseArg[corp.TaskID](text); err != nil {
			return err
		}
	}
	tasks := make([]corp.Task, 0, len(ids))
	for _, id := range ids {
		task, err := c.RedriveTask(ctx, id)
		if err != nil {
			return fmt.Errorf("redrive %s: %w", id, err)
		}
		tasks = append(tasks, task)
	}
	return o.print(tasks, func(w *tabwriter.Writer) {
		for _, t := range tasks {
			row(w, changedTask(t))
		}
	})
}

// redriveMatching asks again and again until nothing is left of what matched when
// it began: a task that dies once more meanwhile is left alone.
func (o *options) redriveMatching(ctx context.Context, c *client.Client, r redriveFlags) error {
	spec, err := r.read(ctx, c)
	if err != nil {
		return err
	}
	var done corp.Redriven
	for {
		spec.Limit = maxRedrive
		if r.limit > 0 {
			spec.Limit = min(r.limit-done.Redriven, maxRedrive)
		}
		part, err := c.RedriveTasks(ctx, spec)
		if err != nil {
			return err
		}
		if spec.EndedBefore == nil {
			done.At, spec.EndedBefore = part.At, &part.At
		}
		done.Redriven, done.More = done.Redriven+part.Redriven, part.More
		if spec.DryRun || !part.More || part.Redriven == 0 || done.Redriven == r.limit {
			break
		}
	}
	return o.print(done, func(w *tabwriter.Writer) {
		more := ""
		if done.More {
			more = " There are more."
		}
		verb := "redriven"
		if spec.DryRun {
			verb = "would be redriven"
		}
		row(w, fmt.Sprintf("%s %s.%s", count(done.Redriven, "task"), verb, more))
	})
}

// maxRedrive is the most that one request redrives.
const maxRedrive = 1000

func (r *redriveFlags) read(ctx context.Context, c *client.Client) (corp.RedriveSpec, error) {
	spec := r.spec
	spec.State, spec.Reason = corp.TaskState(r.state), corp.Reason(r.reason)
	if r.limit < 0 {
		return spec, usageError{corp.Invalid("limit", "The limit is not negative.", "Leave it out for all.")}
	}
	if r.batch != "" {
		id, err := parseFlag[corp.BatchID]("batch", r.batch)
		if err != nil {
			return spec, err
		}
		spec.BatchID = &id
	}
	if r.schedule != "" {
		schedule, err := c.Schedule(ctx, r.schedule)
		if err != nil {
			return spec, err
		}
		spec.ScheduleID = &schedule.ID
	}
	if r.before != "" {
		at, err := parseTime("before", r.before, time.Now())
		if err != nil {
			return spec, err
		}
		spec.CreatedBefore = &at
	}
	return spec, nil
}

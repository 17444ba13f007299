package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/cmd/corp/terminal"
)

func newTask(o *options) *cobra.Command {
	var query client.TaskQuery
	var state, reason, parentID, batch string
	list := newList(o, lister[corp.Task]{
		short: "List tasks, newest first",
		watch: true,
		flags: func(cmd *cobra.Command) {
			cmd.Flags().StringVar(&state, "state", "", "queued, running, blocked, succeeded, failed, cancelled or dead")
			cmd.Flags().StringVar(&query.Agent, "agent", "", "only those of an agent")
			cmd.Flags().StringVar(&query.Schedule, "schedule", "", "only those that a schedule submitted")
			cmd.Flags().StringVar(&reason, "reason", "", "only those that are in their state for this reason")
			cmd.Flags().StringVar(&parentID, "parent", "", "only the parts of a task")
			cmd.Flags().StringVar(&batch, "batch", "", "only those of a batch")
		},
		page: func(ctx context.Context, c *client.Client, p corp.Page) (corp.List[corp.Task], error) {
			query.State, query.Reason = corp.TaskState(state), corp.Reason(reason)
			var err error
			if query.Parent, err = optionalArg[corp.TaskID](parentID); err != nil {
				return corp.List[corp.Task]{}, err
			}
			if query.Batch, err = optionalArg[corp.BatchID](batch); err != nil {
				return corp.List[corp.Task]{}, err
			}
			return c.Tasks(ctx, query, p)
		},
		header: []any{"TASK", "STATE", "REASON", "AGENT", "RUNS", "COST", "CREATED", "PROMPT"},
		columns: func(t corp.Task) []any {
			return []any{t.ID, t.State, t.Reason, t.Agent, t.Attempts, t.Spent, ago(t.CreatedAt), terminal.Shorten(t.Prompt, 50)}
		},
	})
	change := func(use, short string, do func(context.Context, *client.Client, corp.TaskID) (corp.Task, error)) *cobra.Command {
		return newChange(o, use+" TASK", short,
			func(ctx context.Context, c *client.Client, text string) (corp.Task, error) {
				id, err := parseArg[corp.TaskID](text)
				if err != nil {
					return corp.Task{}, err
				}
				return do(ctx, c, id)
			},
			func(t corp.Task) error {
				return o.print(t, func(w *tabwriter.Writer) { row(w, changedTask(t)) })
			})
	}
	return parent("task", "List, show, cancel, retry and redrive tasks", list, newTaskShow(o), newTaskWhy(o), newTaskTree(o), newTaskRedrive(o),
		change("cancel", "Cancel a task and all beneath it; running ones are told to stop", func(ctx context.Context, c *client.Client, id corp.TaskID) (corp.Task, error) {
			return c.CancelTask(ctx, id)
		}),
		change("retry", "Give a task that ended badly another run", func(ctx context.Context, c *client.Client, id corp.TaskID) (corp.Task, error) {
			return c.RetryTask(ctx, id)
		}),
	)
}

func changedTask(t corp.Task) string {
	if t.CancelAt != nil && !t.State.Final() {
		return fmt.Sprintf("Task %s is being cancelled; its runner is told at its next heartbeat.", t.ID)
	}
	return strings.TrimSpace(fmt.Sprintf("Task %s %s. %s", t.ID, t.State.Phrase(), t.Detail))
}

// taskWithRuns is what "task show" prints.
type taskWithRuns struct {
	corp.Task
	Runs []corp.Run `json:"runs"`
}

func newTaskShow(o *options) *cobra.Command {
	var watch bool
	cmd := &cobra.Command{Use: "show TASK", Short: "Show a task and its runs", Args: cobra.ExactArgs(1)}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it again whenever it changes")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := parseArg[corp.TaskID](args[0])
		if err != nil {
			return err
		}
		c, err := o.connect()
		if err != nil {
			return err
		}
		show := func(ctx context.Context) error { return o.showTask(ctx, c, id) }
		if watch {
			return o.watch(cmd.Context(), c, client.StreamQuery{Tasks: []corp.TaskID{id}, UntilFinal: true}, show)
		}
		return show(cmd.Context())
	}
	return cmd
}

func (o *options) showTask(ctx context.Context, c *client.Client, id corp.TaskID) error {
	var t taskWithRuns
	var err error
	if t.Task, err = c.Task(ctx, id); err != nil {
		return err
	}
	if t.Runs, err = collect(ctx, corp.MaxPage, func(ctx context.Context, p corp.Page) (corp.List[corp.Run], error) { return c.Runs(ctx, id, p) }); err != nil {
		return err
	}
	return o.print(t, func(w *tabwriter.Writer) {
		row(w, "task", t.ID)
		row(w, "state", stateAndReason(string(t.State), t.Reason))
		if t.Detail != "" {
			row(w, "detail", t.Detail)
		}
		row(w, "agent", fmt.Sprintf("%s (version %d)", t.Agent, t.AgentVersion))
		row(w, "base", strings.TrimSpace(t.RepositoryURL+" "+t.Base+" "+t.BaseCommit))
		if t.Check != "" {
			row(w, "check", t.Check)
		}
		if len(t.Labels) > 0 {
			row(w, "labels", strings.Join(t.Labels, ", "))
		}
		row(w, "limits", fmt.Sprintf("%d s a run, %s, priority %d", t.TimeoutSeconds, count(t.MaxAttempts, "run"), t.Priority))
		if t.NotBefore != nil {
			row(w, "starts", "not before "+t.NotBefore.Local().Format("2006-01-02 15:04:05 MST"))
		}
		if t.DeadlineAt != nil {
			row(w, "deadline", t.DeadlineAt.Local().Format("2006-01-02 15:04:05 MST"))
		}
		if t.Budget != nil {
			row(w, "spent", fmt.Sprintf("%s of %s", t.Spent, *t.Budget))
		} else {
			row(w, "spent", fmt.Sprintf("%s, no budget", t.Spent))
		}
		showPlace(w, t.Task)
		row(w, "created", fmt.Sprintf("%s by %s", ago(t.CreatedAt), t.CreatedBy))
		row(w, "prompt", terminal.Shorten(t.Prompt, 200))
		row(w)
		row(w, "RUN", "ATTEMPT", "STATE", "RUNNER", "CALLS", "COST", "BRANCH", "DETAIL")
		for _, r := range slices.Backward(t.Runs) { // the first attempt first
			row(w, r.ID, r.Attempt, stateAndReason(string(r.State), r.Reason), r.RunnerName, r.Calls, r.Cost, r.Branch, terminal.Shorten(r.Detail, 80))
		}
	})
}

// showPlace shows how a task hangs together with others.
func showPlace(w *tabwriter.Writer, t corp.Task) {
	if t.ParentID != nil {
		row(w, "part of", *t.ParentID)
	}
	for _, d := range t.After {
		row(w, "follows", fmt.Sprintf("%s (if that fails: %s)", d.TaskID, d.OnFailure))
	}
	if t.BatchID != nil {
		row(w, "batch", *t.BatchID)
	}
	if t.Redrives > 0 {
		row(w, "redriven", count(t.Redrives, "time"))
	}
}

func stateAndReason(state string, reason corp.Reason) string {
	if reason == corp.ReasonNone {
		return state
	}
	return fmt.Sprintf("%s (%s)", state, reason)
}

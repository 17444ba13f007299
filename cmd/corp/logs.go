package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/cmd/corp/terminal"
)

func newLogs(o *options) *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use: "logs TASK|RUN", Short: "Show the transcript of a run", Args: cobra.ExactArgs(1),
		Long: "Shows what the agent thought, said and did. For a task: the transcript of its latest run.",
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the task or run ends")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := o.connect()
		if err != nil {
			return err
		}
		if follow {
			return o.followLogs(cmd.Context(), c, args[0])
		}
		run, err := findRun(cmd.Context(), c, args[0])
		if err != nil {
			return err
		}
		entries, err := allEntries(cmd.Context(), c, run)
		if err != nil {
			return err
		}
		if o.Output != "table" {
			return o.print(entries, nil)
		}
		t := &terminal.Transcript{W: o.env.Out, Colour: o.env.Terminal}
		for _, e := range entries {
			t.Entry(e)
		}
		t.Flush()
		ended, err := c.Run(cmd.Context(), run)
		if err == nil && ended.State.Final() {
			t.Note(strings.TrimSuffix("run "+stateAndReason(string(ended.State), ended.Reason)+": "+ended.Detail, ": "))
		}
		return err
	}
	return cmd
}

func (o *options) followLogs(ctx context.Context, c *client.Client, arg string) error {
	query := client.StreamQuery{UntilFinal: true} // entries from the first, events from now on
	if strings.HasPrefix(arg, corp.TaskID{}.Prefix()+"_") {
		id, err := parseArg[corp.TaskID](arg)
		if err != nil {
			return err
		}
		query.Tasks = []corp.TaskID{id}
	} else {
		id, err := parseArg[corp.RunID](arg)
		if err != nil {
			return err
		}
		query.Runs = []corp.RunID{id}
	}
	t := &terminal.Transcript{W: o.env.Out, Colour: o.env.Terminal}
	defer t.Flush()
	for update, err := range c.Stream(ctx, query) {
		switch {
		case err != nil && ctx.Err() != nil:
			return nil // ctrl-c is how a person ends following
		case err != nil:
			return err
		case o.Output == "table":
			t.Add(update)
		default:
			if err := o.print(update, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// findRun takes a run's id, or a task's for its latest run.
func findRun(ctx context.Context, c *client.Client, arg string) (corp.RunID, error) {
	if !strings.HasPrefix(arg, corp.TaskID{}.Prefix()+"_") {
		return parseArg[corp.RunID](arg)
	}
	id, err := parseArg[corp.TaskID](arg)
	if err != nil {
		return corp.RunID{}, err
	}
	t, err := c.Task(ctx, id)
	if err == nil && t.RunID.IsZero() {
		err = corp.Conflict(fmt.Sprintf("Task %s has no run yet. %s", id, t.Detail), "See \"corp task show\" for what it waits for.")
	}
	return t.RunID, err
}

func allEntries(ctx context.Context, c *client.Client, run corp.RunID) ([]corp.Entry, error) {
	all := []corp.Entry{}
	for after := int64(-1); ; {
		page, err := c.Entries(ctx, run, after, corp.MaxPage)
		if err != nil {
			return nil, err
		}
		if len(page) == 0 {
			return all, nil
		}
		all = append(all, page...)
		after = page[len(page)-1].Index
	}
}

func newDiff(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "diff TASK|RUN", Short: "Show what a run changed, as a patch", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := o.connect()
			if err != nil {
				return err
			}
			run, err := findRun(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			patch, err := c.Patch(cmd.Context(), run)
			if err != nil {
				return err
			}
			if err = o.showPatch(patch); err != nil {
				err = fmt.Errorf("read the patch: %w", err)
			}
			if closed := patch.Close(); err == nil {
				err = closed
			}
			return err
		},
	}
}

// showPatch writes a patch byte for byte, so that git applies it; but on a
// terminal what an agent wrote into its files must not act.
func (o *options) showPatch(patch io.Reader) error {
	if o.env.Terminal {
		return terminal.CleanTo(o.env.Out, patch)
	}
	_, err := io.Copy(o.env.Out, patch)
	return err
}

package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/cmd/corp/batchfile"
)

func newBatch(o *options) *cobra.Command {
	status := func(use, short string, do func(context.Context, *client.Client, corp.BatchID) (corp.BatchStatus, error)) *cobra.Command {
		return newChange(o, use+" BATCH", short,
			func(ctx context.Context, c *client.Client, text string) (corp.BatchStatus, error) {
				id, err := parseArg[corp.BatchID](text)
				if err != nil {
					return corp.BatchStatus{}, err
				}
				return do(ctx, c, id)
			}, o.showBatch)
	}
	return parent("batch", "Submit many tasks at once, all or none", newBatchSubmit(o),
		status("show", "Show how far a batch has come", func(ctx context.Context, c *client.Client, id corp.BatchID) (corp.BatchStatus, error) {
			return c.Batch(ctx, id)
		}),
		status("cancel", "Cancel what has not ended of a batch", func(ctx context.Context, c *client.Client, id corp.BatchID) (corp.BatchStatus, error) {
			return c.CancelBatch(ctx, id)
		}),
	)
}

func (o *options) showBatch(b corp.BatchStatus) error {
	return o.print(b, func(w *tabwriter.Writer) {
		row(w, "batch", b.ID)
		row(w, "created", fmt.Sprintf("%s by %s", ago(b.CreatedAt), b.CreatedBy))
		row(w, "tasks", fmt.Sprintf("%d, %d have not ended", b.Total, b.Open))
		for _, state := range []corp.TaskState{corp.TaskBlocked, corp.TaskQueued, corp.TaskRunning, corp.TaskSucceeded, corp.TaskFailed, corp.TaskCancelled, corp.TaskDead} {
			if n := b.States[state]; n > 0 {
				row(w, "  "+state, n)
			}
		}
	})
}

func newBatchSubmit(o *options) *cobra.Command {
	var repo string
	cmd := &cobra.Command{
		Use:   "submit FILE",
		Short: "Submit the tasks of a file, all or none",
		Long: `Reads tasks from a YAML or JSON file (a list, or one under "tasks") or from a
JSON Lines file (one task a line); - reads YAML from the standard input. A task
has the fields of the API; ref names it for the after of others:

  - ref: build
    prompt: make the build green
    check: make build
  - prompt: write the release notes
    after: [{ref: build}]`,
		Example: `  corp batch submit --repo https://git.example.com/team/app.git tasks.yaml`,
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&repo, "repo", "", "path, URL or name of the repository of the tasks that name none")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		spec, err := batchfile.Read(o.env.In, args[0])
		if err != nil {
			return err
		}
		if repo == "" {
			if err := haveSources(spec.Tasks); err != nil {
				return err
			}
		}
		c, err := o.connect()
		if err != nil {
			return err
		}
		if repo != "" {
			if err := o.giveSource(cmd.Context(), c, repo, spec.Tasks); err != nil {
				return err
			}
		}
		batch, err := c.SubmitBatch(cmd.Context(), spec, "")
		if err != nil {
			return err
		}
		return o.print(batch, func(w *tabwriter.Writer) {
			states := map[corp.TaskState]int{}
			for _, t := range batch.Tasks {
				states[t.State]++
			}
			row(w, fmt.Sprintf("Batch %s: %d tasks, %d queued, %d blocked.", batch.ID, len(batch.Tasks), states[corp.TaskQueued], states[corp.TaskBlocked]))
			row(w, fmt.Sprintf("Look with: corp batch show %s", batch.ID))
		})
	}
	return cmd
}

func hasSource(t *corp.TaskSpec) bool {
	return t.RepositoryID != nil || t.RepositoryURL != "" || t.SourceID != nil
}

func haveSources(tasks []corp.BatchTask) error {
	for i := range tasks {
		if !hasSource(&tasks[i].TaskSpec) {
			return usageError{corp.Invalid("repo", fmt.Sprintf("The task tasks[%d] does not say where its code is.", i), "Name a repository for all such tasks with --repo, or give the task a repository_url.")}
		}
	}
	return nil
}

// giveSource gives the tasks that do not say where their code is the repository
// that the user named. A path is uploaded once for each base.
func (o *options) giveSource(ctx context.Context, c *client.Client, repo string, tasks []corp.BatchTask) error {
	found := map[string]corp.TaskSpec{}
	for i := range tasks {
		t := &tasks[i].TaskSpec
		if hasSource(t) {
			continue
		}
		source, known := found[t.Base]
		if !known {
			source.Base = t.Base
			if _, err := o.findSource(ctx, c, repo, &source); err != nil {
				return err
			}
			found[t.Base] = source
		}
		t.RepositoryID, t.RepositoryURL, t.SourceID, t.BaseCommit = source.RepositoryID, source.RepositoryURL, source.SourceID, source.BaseCommit
	}
	return nil
}

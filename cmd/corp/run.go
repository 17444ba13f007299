package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/cmd/corp/terminal"
)

// runRequest is what "corp run" was asked to do.
type runRequest struct {
	specFlags
	delayFlags
	graphFlags
	quiet  bool // no transcript
	detach bool
}

func newRun(o *options) *cobra.Command {
	var r runRequest
	cmd := &cobra.Command{
		Use:   "run --repo PATH|URL [flags] PROMPT",
		Short: "Give an agent a task on a repository, watch it, get a branch",
		Long: `Submits a task and follows it to its end. With a path, the repository's base
commit is uploaded and the result is fetched into the branch corp/<task>; your
working tree, index and HEAD stay as they are. With a URL, the branch is pushed.

Exit code: 0 the run succeeded and its check passed, 2 the input is wrong,
3 the run failed or its time or deadline passed, 4 it was cancelled, 5 a money limit was reached, 1 all else.`,
		Example: `  corp run --repo . --check "go test ./..." --budget 0.50 "fix the failing test"
  corp run --repo https://git.example.com/team/app.git --base main -o json "update the docs"`,
		Args: cobra.MinimumNArgs(1),
	}
	r.specFlags.add(cmd)
	r.delayFlags.add(cmd)
	r.graphFlags.add(cmd)
	f := cmd.Flags()
	f.BoolVarP(&r.quiet, "quiet", "q", false, "no transcript, only the result")
	f.BoolVar(&r.detach, "detach", false, "print the task's id and end")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		now := time.Now()
		if err := r.specFlags.read(cmd.Flags(), args, now, o.env.Err); err != nil {
			return err
		}
		if err := r.delayFlags.read(&r.spec, now); err != nil {
			return err
		}
		if err := r.graphFlags.read(cmd.Flags(), &r.spec); err != nil {
			return err
		}
		c, err := o.connect()
		if err != nil {
			return err
		}
		return o.runTask(cmd.Context(), c, r)
	}
	return cmd
}

// runTask submits, follows, fetches and reports. The error it returns sets the
// exit code by the contract.
func (o *options) runTask(ctx context.Context, c *client.Client, r runRequest) error {
	source, err := o.findSource(ctx, c, r.repo, &r.spec)
	if err != nil {
		return err
	}
	task, err := c.SubmitTask(ctx, r.spec, "")
	if err != nil {
		return err
	}
	if r.detach {
		return o.showDetached(task)
	}
	progress := o.progress(r.quiet)
	_, _ = fmt.Fprintf(progress, "task %s on %s\n", task.ID, source)
	if err := o.followAndSayWhy(ctx, c, task.ID, progress); err != nil {
		return err
	}
	// What follows must be done even after ctrl-c, which has cancelled the task.
	ctx = context.WithoutCancel(ctx)
	result, err := readResult(ctx, c, task.ID)
	if err != nil {
		return err
	}
	if err := source.fetch(ctx, c, &result); err != nil {
		return err
	}
	if err := o.showResult(result, source); err != nil {
		return err
	}
	return result.exit()
}

func (o *options) showDetached(task corp.Task) error {
	if o.Output != "table" {
		return o.print(task, nil)
	}
	_, err := fmt.Fprintln(o.env.Out, task.ID)
	return err
}

// progress is where the transcript goes: the output, unless that is for programs.
func (o *options) progress(quiet bool) io.Writer {
	switch {
	case quiet:
		return io.Discard
	case o.Output == "table":
		return o.env.Out
	default:
		return o.env.Err
	}
}

// follow streams a task's transcript until it is final. When ctx ends it cancels
// the task and waits for that.
func (o *options) follow(ctx context.Context, c *client.Client, id corp.TaskID, w io.Writer) error {
	query := client.StreamQuery{Tasks: []corp.TaskID{id}, After: "e:0", UntilFinal: true}
	t := &terminal.Transcript{W: w, Colour: o.env.Terminal}
	for update, err := range c.Stream(ctx, query) {
		if err != nil {
			if ctx.Err() == nil {
				return err
			}
			break
		}
		t.Add(update)
	}
	t.Flush()
	if ctx.Err() == nil {
		return nil
	}
	_, _ = fmt.Fprintln(o.env.Err, "cancelling the task … (ctrl-c again does not wait for it)")
	patient, stop := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer stop()
	if _, err := c.CancelTask(patient, id); err != nil && corp.KindOf(err) != corp.KindConflict {
		return err
	}
	for _, err := range c.Stream(patient, query) {
		if err != nil {
			return fmt.Errorf("wait for the task to be cancelled: %w", err)
		}
	}
	return nil
}

// runResult is what "corp run" reports: the facts of the contract.
type runResult struct {
	TaskID    corp.TaskID       `json:"task_id"`
	RunID     corp.RunID        `json:"run_id"`
	State     corp.TaskState    `json:"state"`
	Reason    corp.Reason       `json:"reason"`
	Detail    string            `json:"detail"`
	Branch    string            `json:"branch"`
	Commit    string            `json:"commit"`
	Diffstat  *corp.Diffstat    `json:"diffstat"`
	Check     *corp.CheckResult `json:"check"`
	Calls     int64             `json:"calls"`
	Usage     corp.Usage        `json:"usage"`
	Cost      corp.Nanodollars  `json:"cost_nanodollars"`
	Seconds   float64           `json:"seconds"`
	Attempts  int               `json:"attempts"`
	Simulated bool              `json:"simulated"`
	Sandbox   string            `json:"sandbox"`

	resultID *corp.BlobID
	pushed   bool
}

// readResult puts together what came of a task: the last run's outcome, and the
// sums over all its runs.
func readResult(ctx context.Context, c *client.Client, id corp.TaskID) (runResult, error) {
	t, err := c.Task(ctx, id)
	if err != nil {
		return runResult{}, err
	}
	runs, err := collect(ctx, corp.MaxPage, func(ctx context.Context, p corp.Page) (corp.List[corp.Run], error) { return c.Runs(ctx, id, p) })
	if err != nil {
		return runResult{}, err
	}
	r := runResult{TaskID: id, RunID: t.RunID, State: t.State, Reason: t.Reason, Detail: t.Detail, Attempts: t.Attempts}
	for _, run := range runs {
		r.Calls += run.Calls
		r.Usage = r.Usage.Add(run.Usage)
		r.Cost = corp.AddMoney(r.Cost, run.Cost)
		r.Simulated = r.Simulated || run.Simulated
		if run.ID == t.RunID {
			r.Branch, r.Commit, r.Diffstat, r.Check = run.Branch, run.Commit, run.Diffstat, run.Check
			r.Sandbox, r.resultID, r.pushed = run.Sandbox, run.ResultID, run.Pushed
		}
	}
	end := time.Now()
	if t.FinishedAt != nil {
		end = *t.FinishedAt
	}
	r.Seconds = end.Sub(t.CreatedAt).Seconds()
	return r, nil
}

// exit says with which code the command ends.
func (r runResult) exit() error {
	switch {
	case r.State == corp.TaskSucceeded:
		return nil
	case r.Reason == corp.ReasonBudget:
		return codeError(exitLimit)
	case r.State == corp.TaskCancelled:
		return codeError(exitCancelled)
	default:
		return codeError(exitFailed)
	}
}

// isPath tells a repository on this machine from a URL or a name.
func isPath(repo string) bool {
	if strings.Contains(repo, "://") || (strings.Contains(repo, "@") && strings.Contains(repo, ":")) {
		return false
	}
	if _, err := os.Stat(repo); err == nil || !errors.Is(err, os.ErrNotExist) {
		return true
	}
	return strings.ContainsAny(repo, `/\.`)
}
